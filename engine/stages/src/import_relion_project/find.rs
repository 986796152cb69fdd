//! Which files of a RELION project hold its newest movies, micrographs, picks and particles.
//!
//! RELION keeps a job in `Type/jobNNN/`, numbered through all types. A job that ended has a file `RELION_JOB_EXIT_SUCCESS`,
//! `…_FAILURE` or `…_ABORTED` (3.1 and later), and `default_pipeline.star` has its state, as a number (3.1: 2 finished, 3
//! failed, 4 aborted) or a word (4.0: `Succeeded`, `Failed`, `Aborted`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitreous_formats::star::StarFile;

/// Files of micrographs, by the type of the job, the later steps first: of those of one step the newest is taken.
const MICROGRAPHS: [&[(&str, &str)]; 3] = [
    &[("CtfFind", "micrographs_ctf.star"), ("Select", "micrographs.star")],
    &[("MotionCorr", "corrected_micrographs.star")],
    &[("Import", "micrographs.star")],
];
/// Files of particles; `*` stands for the newest iteration.
const PARTICLES: [(&str, &str); 13] = [
    ("Extract", "particles.star"),
    ("Select", "particles.star"),
    ("Class2D", "run_data.star"),
    ("Class2D", "run*_it*_data.star"),
    ("Class3D", "run_data.star"),
    ("Class3D", "run*_it*_data.star"),
    ("InitialModel", "run*_it*_data.star"),
    ("Refine3D", "run_data.star"),
    ("CtfRefine", "particles_ctf_refine.star"),
    ("Polish", "shiny.star"),
    ("Subtract", "particles_subtracted.star"),
    ("JoinStar", "join_particles.star"),
    ("Import", "particles.star"),
];
/// Jobs that pick.
const PICKERS: [&str; 2] = ["AutoPick", "ManualPick"];
/// States of jobs in `default_pipeline.star` that make their files unfit.
const UNFIT: [&str; 4] = ["3", "4", "Failed", "Aborted"];

/// A RELION project and what became of its jobs.
pub(super) struct Project {
    folder: PathBuf,
    /// States by the job's folder, such as `Extract/job012/`.
    states: HashMap<String, String>,
}

/// A job: its number and folder.
type Job = (u32, PathBuf);

impl Project {
    /// Reads the states of the jobs, if there is a pipeline file.
    pub fn open(folder: &Path) -> Self {
        let states = StarFile::read(&folder.join("default_pipeline.star")).ok().map(|file| states(&file));
        Self { folder: folder.into(), states: states.unwrap_or_default() }
    }

    /// Whether it has any folder of jobs.
    pub fn has_jobs(&self) -> bool {
        let types = MICROGRAPHS.iter().flat_map(|step| step.iter()).chain(&PARTICLES).map(|(name, _)| *name);
        types.chain(PICKERS).any(|name| !self.jobs(name).is_empty())
    }

    /// The newest file of movies.
    pub fn movies(&self) -> Option<PathBuf> {
        self.newest(&[("Import", "movies.star")])
    }

    /// The newest file of micrographs.
    pub fn micrographs(&self) -> Option<PathBuf> {
        MICROGRAPHS.iter().find_map(|step| self.newest(step))
    }

    /// The newest file of particles.
    pub fn particles(&self) -> Option<PathBuf> {
        self.newest(&PARTICLES)
    }

    /// The newest files of picks, as a list of them or a pattern.
    pub fn picks(&self) -> Option<PathBuf> {
        let mut jobs: Vec<Job> = PICKERS.iter().flat_map(|name| self.jobs(name)).collect();
        jobs.sort_unstable_by(|a, b| b.cmp(a));
        jobs.into_iter().find_map(|(_, job)| picks_of(&job))
    }

    /// Of the newest job that has one of the files, that file.
    fn newest(&self, kinds: &[(&str, &str)]) -> Option<PathBuf> {
        let found = kinds.iter().flat_map(|(name, file)| {
            self.jobs(name).into_iter().filter_map(|(number, job)| Some((number, newest_of(&job, file)?)))
        });
        found.max_by_key(|(number, _)| *number).map(|(_, path)| path)
    }

    /// The jobs of a type that are fit.
    fn jobs(&self, name: &str) -> Vec<Job> {
        let Ok(entries) = std::fs::read_dir(self.folder.join(name)) else { return Vec::new() };
        let job = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.ok()?;
            let folder = entry.file_name().to_string_lossy().into_owned();
            let number = folder.strip_prefix("job")?.parse().ok()?;
            self.is_fit(&format!("{name}/{folder}/"), &entry.path()).then(|| (number, entry.path()))
        };
        entries.filter_map(job).collect()
    }

    fn is_fit(&self, name: &str, folder: &Path) -> bool {
        let has = |end: &str| folder.join(format!("RELION_JOB_EXIT_{end}")).exists();
        if has("SUCCESS") {
            return true;
        }
        let state = self.states.get(name).map(String::as_str);
        !(has("FAILURE") || has("ABORTED") || state.is_some_and(|state| UNFIT.contains(&state)))
    }
}

/// The states of all jobs.
fn states(file: &StarFile) -> HashMap<String, String> {
    let Some(table) = file.table("pipeline_processes") else { return HashMap::new() };
    let labels = ["rlnPipeLineProcessStatusLabel", "rlnPipeLineProcessStatus"];
    let state = labels.iter().find_map(|label| table.find(label));
    let (Some(name), Some(state)) = (table.find("rlnPipeLineProcessName"), state) else {
        return HashMap::new();
    };
    let mut states = HashMap::new();
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        states.insert(row.cells[name].to_string(), row.cells[state].to_string());
    }
    states
}

/// The file of a job; of a pattern, which stands for iterations, the last by name.
fn newest_of(job: &Path, file: &str) -> Option<PathBuf> {
    if !file.contains('*') {
        return Some(job.join(file)).filter(|path| path.is_file());
    }
    let (folder, pattern) = (glob::Pattern::escape(&job.to_string_lossy()), file);
    let mut files: Vec<PathBuf> =
        glob::glob(&format!("{folder}/{pattern}")).ok()?.filter_map(Result::ok).collect();
    // run_ct25_it030 comes after run_it025: the iteration counts
    let iteration = |path: &Path| -> Option<u32> {
        let name = path.file_name()?.to_string_lossy().into_owned();
        name.rsplit_once("_it")?.1.split('_').next()?.parse().ok()
    };
    files.sort_by_key(|path| iteration(path));
    files.pop()
}

/// What a picker's job wrote: RELION 4's list, or a pattern for the files of 3.1.
fn picks_of(job: &Path) -> Option<PathBuf> {
    let lists = ["autopick.star", "manualpick.star"].map(|name| job.join(name));
    if let Some(list) = lists.into_iter().find(|path| path.is_file()) {
        return Some(list);
    }
    let folder = glob::Pattern::escape(&job.to_string_lossy());
    ["autopick", "manualpick"].iter().find_map(|suffix| {
        let pattern = format!("{folder}/**/*_{suffix}.star");
        // coords_suffix_autopick.star holds a name, no places
        let is_pick = |path: &PathBuf| path.parent() != Some(job);
        let any = glob::glob(&pattern).ok()?.filter_map(Result::ok).any(|path| is_pick(&path));
        any.then(|| PathBuf::from(format!("{folder}/*/**/*_{suffix}.star")))
    })
}
