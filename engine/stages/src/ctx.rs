//! Everything a stage may see and touch.

use crate::node_copies::{NoCopies, NodeCopies};
use crate::{Slice, StageError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use vitreous_compute::comm::Comm;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::event::EventKind;
use vitreous_model::lineage::Ancestor;
use vitreous_model::outputs::Output;
use vitreous_model::params::Params;
use vitreous_model::report::{Figure, Skipped};

/// One input of a job: an output of an earlier one, its paths made absolute.
#[derive(Debug, Clone)]
pub struct Input {
    /// Job it comes from, e.g. `J2`.
    pub job: String,
    /// What that job says of it.
    pub output: Output,
    /// Main file, absolute.
    pub path: PathBuf,
    /// Further files by role, absolute.
    pub parts: BTreeMap<String, PathBuf>,
}

/// The surroundings of a stage. The engine makes one per rank.
pub struct Ctx<'a> {
    /// Name of the job, e.g. `J3`.
    pub job: String,
    /// All parameters after defaults.
    pub params: Value,
    /// Inputs by slot; a slot may be filled by several jobs.
    pub inputs: BTreeMap<String, Vec<Input>>,
    /// Root of the project; relative paths in tables and parameters count from here.
    pub project_dir: PathBuf,
    /// Folder of this job.
    pub job_dir: PathBuf,
    /// What this rank computes on: the host's cores, or a GPU that was granted.
    pub device: &'a AnyDevice,
    /// The other ranks.
    pub comm: &'a dyn Comm,
    /// Threads this rank may use; the rayon pool has as many.
    pub threads: usize,
    /// Memory granted to this rank, MiB: the smallest limit of scheduler, control group and machine; `None`: not known.
    pub memory_mib: Option<u64>,
    /// The lane's folder on a disk of this node; `None`: it has none. Files there come and go with jobs; [`Ctx::copies`] is
    /// the way to use it.
    pub scratch_dir: Option<PathBuf>,
    /// Copies of files on a disk of this node.
    pub copies: Arc<dyn NodeCopies>,
    /// Says something to the user, from rank 0 (other ranks' events are dropped).
    pub event: &'a (dyn Fn(EventKind) + Sync),
    /// True once the job was asked to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Only this part of the items is to be done, by a stage that works item by item (`items::for_each_item`).
    pub slice: Option<Slice>,
    /// Tells this process from others that may write into the job's folder at the same time or have done so before:
    /// attempt, slice, start. Part of the names of logs.
    pub writer: String,
    /// Name of this host: part of the names of temporary files, because process numbers are unique on one host only.
    pub host: String,
    /// True once a later start of the same job has taken over: nothing may be written any more.
    pub superseded: &'a (dyn Fn() -> bool + Sync),
    /// Writes an image figure to a PNG file, whole or not at all.
    pub draw: &'a (dyn Fn(&Path, &Figure) -> std::io::Result<()> + Sync),
    /// Reads what the records of the jobs tell that this one rests on, by number. For rank 0 of a stage that tells people
    /// how a result came about; numbers come from inputs, not from here.
    pub lineage: &'a (dyn Fn() -> Vec<Ancestor> + Sync),
    outputs: Mutex<Vec<Output>>,
    skipped: Mutex<Vec<Skipped>>,
}

impl<'a> Ctx<'a> {
    /// A context without inputs; the engine and tests fill the public fields.
    pub fn new(
        job_dir: &Path,
        project_dir: &Path,
        device: &'a AnyDevice,
        comm: &'a dyn Comm,
        event: &'a (dyn Fn(EventKind) + Sync),
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            job: String::new(),
            params: Value::Null,
            inputs: BTreeMap::new(),
            project_dir: project_dir.into(),
            job_dir: job_dir.into(),
            device,
            comm,
            threads: rayon::current_num_threads(),
            memory_mib: None,
            scratch_dir: None,
            copies: Arc::new(NoCopies),
            event,
            stop,
            slice: None,
            writer: String::new(),
            host: String::new(),
            superseded: &|| false,
            draw: &|_, _| Ok(()),
            lineage: &Vec::new,
            outputs: Mutex::default(),
            skipped: Mutex::default(),
        }
    }

    /// A context in which another stage does a part of this job, in a folder of this job, on the same ranks. It has no
    /// inputs; its outputs and skipped items are its own. `event` is told what it says.
    pub fn part<'b>(&'b self, folder: &str, params: Value, event: &'b (dyn Fn(EventKind) + Sync)) -> Ctx<'b> {
        let job_dir = self.job_dir.join(folder);
        let fresh = Ctx::new(&job_dir, &self.project_dir, self.device, self.comm, event, self.stop);
        Ctx {
            job: format!("{}/{folder}", self.job),
            params,
            threads: self.threads,
            memory_mib: self.memory_mib,
            scratch_dir: self.scratch_dir.clone(),
            copies: Arc::clone(&self.copies),
            writer: self.writer.clone(),
            host: self.host.clone(),
            superseded: self.superseded,
            draw: self.draw,
            lineage: self.lineage,
            ..fresh
        }
    }

    /// The parameters as the job type's struct.
    ///
    /// # Errors
    /// Parameters that are not of this job type.
    pub fn params<P: Params>(&self) -> Result<P, StageError> {
        Ok(vitreous_jobs::job_type::parse(&self.params)?)
    }

    /// The first input of a slot.
    ///
    /// # Errors
    /// The slot is empty.
    pub fn input(&self, slot: &str) -> Result<&Input, StageError> {
        self.optional_input(slot).ok_or_else(|| {
            StageError::input(
                format!("input `{slot}` is missing"),
                format!("name the job that makes it: --{slot} J1"),
            )
        })
    }

    /// The first input of a slot, if it is filled.
    pub fn optional_input(&self, slot: &str) -> Option<&Input> {
        self.inputs.get(slot).and_then(|inputs| inputs.first())
    }

    /// A path of a table or parameter as an absolute one.
    pub fn resolve(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        if path.is_absolute() { path.into() } else { self.project_dir.join(path) }
    }

    /// The path under which a file of this job stands in tables: relative to the project directory, if inside.
    pub fn table_path(&self, name: &str) -> String {
        let path = self.job_dir.join(name);
        path.strip_prefix(&self.project_dir).unwrap_or(&path).to_string_lossy().into_owned()
    }

    /// Rank 0, which writes what there is one of.
    pub fn is_root(&self) -> bool {
        self.comm.rank() == 0
    }

    /// Says something to the user.
    pub fn say(&self, kind: EventKind) {
        if self.is_root() {
            (self.event)(kind);
        }
    }

    /// Ends the stage if it was asked to stop. Call it after a checkpoint.
    ///
    /// # Errors
    /// [`StageError::Stopped`] or [`StageError::Superseded`], if so.
    pub fn check_stop(&self) -> Result<(), StageError> {
        if !(self.stop)() {
            return Ok(());
        }
        self.check_superseded()?;
        Err(StageError::Stopped)
    }

    /// The same for stages whose ranks work in step: they agree, so that none stops while another waits for it. Every
    /// rank calls it at the same point.
    ///
    /// # Errors
    /// [`StageError::Stopped`] or [`StageError::Superseded`] on every rank, if any was asked.
    pub fn check_stop_together(&self) -> Result<(), StageError> {
        let mine = self.check_stop();
        let is_superseded = matches!(mine, Err(StageError::Superseded));
        let mut asked = [i64::from(mine.is_err()), i64::from(is_superseded)];
        self.comm.sum_in_place_i64(&mut asked);
        match asked {
            [0, _] => Ok(()),
            [_, 0] => Err(StageError::Stopped),
            _ => Err(StageError::Superseded),
        }
    }

    /// Ends the stage if a later start of the same job has taken over. Everything that writes calls it first.
    ///
    /// # Errors
    /// [`StageError::Superseded`], if so.
    pub fn check_superseded(&self) -> Result<(), StageError> {
        if (self.superseded)() { Err(StageError::Superseded) } else { Ok(()) }
    }

    /// Writes a file of this job so that no reader sees half of it: a temporary file in the same folder is filled by
    /// `fill`, synced and renamed. `name` may have folders, which are made. Returns the path.
    ///
    /// # Errors
    /// What `fill` returns, or the failed file operation by path, or [`StageError::Superseded`] when a later start of
    /// this job has taken over; the temporary file is removed.
    pub fn create<E: Into<StageError>>(
        &self,
        name: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
    ) -> Result<PathBuf, StageError> {
        self.create_at_path(name, |temporary| {
            let io = |source| StageError::io(temporary, source);
            let mut writer = BufWriter::new(File::create(temporary).map_err(io)?);
            fill(&mut writer).map_err(Into::into)?;
            writer.flush().map_err(io)
        })
    }

    /// The same for libraries that insist on a path (HDF5): `fill` writes the temporary file it is given.
    ///
    /// # Errors
    /// As [`Ctx::create`].
    pub fn create_at_path<E: Into<StageError>>(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, StageError> {
        let path = self.job_dir.join(name);
        let folder = path.parent().unwrap_or(&self.job_dir).to_path_buf();
        std::fs::create_dir_all(&folder).map_err(|source| StageError::io(&folder, source))?;
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (host, process, rank) = (&self.host, std::process::id(), self.comm.rank());
        let temporary = folder.join(format!(".{file_name}.{host}-{process}-{rank}.tmp"));
        let finish = || -> Result<(), StageError> {
            let io = |source| StageError::io(&path, source);
            File::open(&temporary).and_then(|file| file.sync_all()).map_err(io)?;
            self.check_superseded()?;
            std::fs::rename(&temporary, &path).map_err(io)
        };
        let result = fill(&temporary).map_err(Into::into).and_then(|()| finish());
        match result {
            Ok(()) => Ok(path),
            Err(error) => {
                // the first error is the one to tell; a leftover temporary file is harmless
                let _ = std::fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// A new file in a folder for measuring its disk, open for writing and reading. It has no name any more, so that it is
    /// gone when it is closed or this process ends, however it ends.
    ///
    /// # Errors
    /// A file that cannot be made, or [`StageError::Superseded`].
    pub fn nameless_file(&self, folder: &Path) -> Result<File, StageError> {
        self.check_superseded()?;
        let (host, process, rank) = (&self.host, std::process::id(), self.comm.rank());
        let path = folder.join(format!(".vitreous-{host}-{process}-{rank}.tmp"));
        let io = |source| StageError::io(&path, source);
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(io)?;
        std::fs::remove_file(&path).map_err(io)?;
        Ok(file)
    }

    /// Leaves the picture of an item, an image figure, in the job's folder: `pictures/NAME.png`. Pages that follow a running
    /// job show the newest.
    ///
    /// # Errors
    /// A file that cannot be written, or [`StageError::Superseded`].
    pub fn picture(&self, name: &str, figure: &Figure) -> Result<(), StageError> {
        let folder = self.job_dir.join(vitreous_model::report::PICTURES);
        std::fs::create_dir_all(&folder).map_err(|source| StageError::io(&folder, source))?;
        self.check_superseded()?;
        let path = folder.join(format!("{name}.png"));
        (self.draw)(&path, figure).map_err(|source| StageError::io(&path, source))
    }

    /// Declares an output; the engine writes `outputs.json` in this order when the stage has succeeded.
    pub fn output(&self, output: Output) {
        self.outputs.lock().expect("no stage should panic while it declares an output").push(output);
    }

    /// The outputs declared so far.
    pub fn declared_outputs(&self) -> Vec<Output> {
        self.outputs.lock().expect("no stage should panic while it declares an output").clone()
    }

    /// Leaves an item out: it is told to the user and listed in the report. To be called on rank 0, after gathering.
    pub fn skip(&self, item: impl Into<String>, reason: impl Into<String>) {
        let skipped = Skipped { item: item.into(), reason: reason.into() };
        self.say(EventKind::Skipped { item: skipped.item.clone(), reason: skipped.reason.clone() });
        self.skipped.lock().expect("no stage should panic while it skips an item").push(skipped);
    }

    /// The items left out so far.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.skipped.lock().expect("no stage should panic while it skips an item").clone()
    }
}
