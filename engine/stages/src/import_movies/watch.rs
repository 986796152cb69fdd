//! Following a running microscope: which movies are complete, and what is remembered of them from run to run.
//!
//! A movie is taken when its file has been quiet for a while: not changed, nor arrived (a copy may keep the time of its
//! original; the time it came is in its inode), for `settle_s`, by the clock of the file server that holds the job's
//! folder. Movies may lie on another server with another clock: a file that looks younger
//! than it is, or of the future, is taken when later runs have seen it unchanged for that time, by the one clock alone.
//! A quiet file that is not whole (its header tells of more than there is, or it has fewer frames than the others) is
//! still left for later while it is [`GIVEN_UP_S`] young, and then left out with the reason.

use super::run::{Header, Movie};
use crate::exposure_files::{self, Unfit};
use crate::{Ctx, StageError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use vitreous_formats::FormatError;
use vitreous_model::acquisition::Acquisition;

/// What is remembered, in the job's folder. Deleting it costs reading all headers again, and movies of equal names may
/// change them.
const MEMORY: &str = "records/watched.json";
/// A file made anew for its time.
const CLOCK: &str = "records/clock";
/// A file that is not whole and has not changed for this time will never be, seconds.
const GIVEN_UP_S: f64 = 3600.0;
/// The fraction of unfit movies counts from this many movies on: the first files of a night are often tests.
const COUNTED_FROM: usize = 10;

/// A movie as it was seen last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    /// Length of the file, bytes.
    bytes: u64,
    /// When it was last changed by its server's clock, nanoseconds since 1970.
    modified_ns: u64,
    /// When it was first seen like this, by the clock of the job's folder, nanoseconds since 1970.
    since_ns: u64,
    /// Its header, once it was whole.
    header: Option<Header>,
    /// Name of its exposure, once it was registered.
    name: Option<String>,
    /// What the microscope's file beside it says, once it was there.
    #[serde(default)]
    acquisition: Option<Acquisition>,
    /// Number of its optics group, once it was registered.
    #[serde(default)]
    group: Option<u32>,
}

/// All that is remembered, by path as in tables.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The pixel size of the movies' headers: decided once, so that a movie that comes first later cannot change the
    /// last digits of all others.
    pixel_size_a: Option<f64>,
    movies: BTreeMap<String, Seen>,
}

/// One look at the movies.
pub(super) struct Watch {
    memory: Memory,
    /// Clock of the job's folder, nanoseconds since 1970.
    now_ns: u64,
    /// How long each movie has not changed, by path as in tables, seconds.
    quiet_s: HashMap<String, f64>,
    /// Movies that have been quiet long enough, in the order of the list.
    settled: Vec<PathBuf>,
    still_written: usize,
}

impl Watch {
    /// Looks at `files`, which are sorted.
    ///
    /// # Errors
    /// The job's folder cannot be written.
    pub fn begin(ctx: &Ctx<'_>, files: Vec<PathBuf>, settle_s: f64) -> Result<Self, StageError> {
        let now_ns = server_time_ns(ctx)?;
        Ok(Self::begin_at(ctx, files, settle_s, now_ns))
    }

    /// The same at a given time.
    fn begin_at(ctx: &Ctx<'_>, files: Vec<PathBuf>, settle_s: f64, now_ns: u64) -> Self {
        let mut watch = Self {
            memory: read_memory(&ctx.job_dir.join(MEMORY)),
            now_ns,
            quiet_s: HashMap::new(),
            settled: Vec::new(),
            still_written: 0,
        };
        let times: Vec<Option<Times>> = files.par_iter().map(|path| Times::of(path)).collect();
        let mut present = BTreeMap::new();
        for (path, times) in files.into_iter().zip(times) {
            // moved away since it was listed
            let Some(Times { bytes, modified_ns, arrived_ns }) = times else { continue };
            let key = exposure_files::table_path(ctx, &path);
            let before = watch.memory.movies.remove(&key);
            let name = before.as_ref().and_then(|seen| seen.name.clone());
            let group = before.as_ref().and_then(|seen| seen.group);
            let unchanged = before.filter(|seen| (seen.bytes, seen.modified_ns) == (bytes, modified_ns));
            let fresh =
                Seen { bytes, modified_ns, since_ns: now_ns, header: None, name, acquisition: None, group };
            let seen = unchanged.unwrap_or(fresh);
            // for certain, or by the clock of the movies' server
            let quiet_s = watch.since(seen.since_ns).max(watch.since(modified_ns.max(arrived_ns)));
            if quiet_s >= settle_s {
                watch.settled.push(path);
            } else {
                watch.still_written += 1;
            }
            watch.quiet_s.insert(key.clone(), quiet_s);
            present.insert(key, seen);
        }
        // of movies that are gone, names stay taken
        present
            .extend(std::mem::take(&mut watch.memory.movies).into_iter().filter(|(_, s)| s.name.is_some()));
        watch.memory.movies = present;
        watch
    }

    /// Seconds from a time to now; negative for one in the future.
    fn since(&self, then_ns: u64) -> f64 {
        (i128::from(self.now_ns) - i128::from(then_ns)) as f64 * 1e-9
    }

    /// The movies that are not being written, as far as their files' times tell.
    pub fn settled(&self) -> &[PathBuf] {
        &self.settled
    }

    /// Movies that are left for a later run.
    pub fn still_written(&self) -> usize {
        self.still_written
    }

    /// The headers of [`Watch::settled`]; those that are known are not read again.
    ///
    /// # Errors
    /// [`StageError::Stopped`] when asked to stop.
    pub fn headers(&mut self, ctx: &Ctx<'_>) -> Result<Vec<Result<Header, FormatError>>, StageError> {
        let keys: Vec<String> =
            self.settled.iter().map(|path| exposure_files::table_path(ctx, path)).collect();
        let known: Vec<Option<Header>> =
            keys.iter().map(|key| self.memory.movies.get(key)?.header.clone()).collect();
        let unknown = self.settled.iter().zip(&known).filter(|(_, header)| header.is_none());
        let unknown: Vec<PathBuf> = unknown.map(|(path, _)| path.clone()).collect();
        let mut read = exposure_files::read_headers(ctx, "new movies", &unknown)?.into_iter();
        let mut headers = Vec::with_capacity(keys.len());
        for (key, known) in keys.iter().zip(known) {
            let header = match known {
                Some(header) => Ok(header),
                None => {
                    read.next().expect("every unknown header should have been read").map(|h| Header::of(&h))
                }
            };
            if let (Ok(header), Some(seen)) = (&header, self.memory.movies.get_mut(key)) {
                seen.header = Some(header.clone());
            }
            headers.push(header);
        }
        Ok(headers)
    }

    /// Lists unfit movies as left out, but for young ones, which may still become whole.
    ///
    /// # Errors
    /// [`StageError::TooManyBad`] if more than `max_bad_fraction` of at least [`COUNTED_FROM`] movies are unfit.
    pub fn leave_out(
        &mut self,
        ctx: &Ctx<'_>,
        unfit: Vec<Unfit>,
        max_bad_fraction: f64,
    ) -> Result<(), StageError> {
        let is_young = |(path, _): &Unfit| {
            let quiet_s = self.quiet_s.get(&exposure_files::table_path(ctx, Path::new(path)));
            quiet_s.is_none_or(|quiet_s| *quiet_s < GIVEN_UP_S)
        };
        let (young, unfit): (Vec<Unfit>, Vec<Unfit>) = unfit.into_iter().partition(is_young);
        self.still_written += young.len();
        let total = self.settled.len() - young.len();
        if total < COUNTED_FROM {
            unfit.iter().for_each(|(item, reason)| ctx.skip(item, reason));
            return Ok(());
        }
        exposure_files::leave_out(ctx, "movies", &unfit, total, max_bad_fraction)
    }

    /// Names by which movies are registered already.
    pub fn names(&self, ctx: &Ctx<'_>) -> HashMap<PathBuf, String> {
        let named = |(key, seen): (&String, &Seen)| Some((ctx.resolve(key), seen.name.clone()?));
        self.memory.movies.iter().filter_map(named).collect()
    }

    /// What the file beside a movie said, and the number of its optics group.
    pub fn known(&self, ctx: &Ctx<'_>, path: &Path) -> (Option<Acquisition>, Option<u32>) {
        let seen = self.memory.movies.get(&exposure_files::table_path(ctx, path));
        seen.map_or((None, None), |seen| (seen.acquisition.clone(), seen.group))
    }

    /// The pixel size that was read from the first movies' headers.
    pub fn pixel_size_a(&self) -> Option<f64> {
        self.memory.pixel_size_a
    }

    /// Remembers what was registered. To be called before the table is written, so that no later run gives a name of
    /// the table to another movie.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember(
        mut self,
        ctx: &Ctx<'_>,
        movies: &[Movie],
        names: &[String],
        groups: &[u32],
        pixel_size_a: Option<f64>,
    ) -> Result<(), StageError> {
        self.memory.pixel_size_a = pixel_size_a;
        for ((movie, name), group) in movies.iter().zip(names).zip(groups) {
            if let Some(seen) = self.memory.movies.get_mut(&exposure_files::table_path(ctx, &movie.path)) {
                seen.name = Some(name.clone());
                seen.acquisition.clone_from(&movie.acquisition);
                seen.group = Some(*group);
            }
        }
        let path = ctx.job_dir.join(MEMORY);
        ctx.create(MEMORY, |out| {
            serde_json::to_writer(out, &self.memory).map_err(|error| StageError::io(&path, error.into()))
        })?;
        Ok(())
    }
}

/// What the last run remembered; nothing if it left nothing, or something of another version.
fn read_memory(path: &Path) -> Memory {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// What the file system says of a file.
struct Times {
    bytes: u64,
    /// When its content changed, nanoseconds since 1970.
    modified_ns: u64,
    /// When its inode changed: when it was written, copied or moved here.
    arrived_ns: u64,
}

impl Times {
    /// `None` if it is gone.
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let ns = |seconds: i64, ns: i64| u64::try_from(seconds * 1_000_000_000 + ns).unwrap_or_default();
        Some(Self {
            bytes: found.len(),
            modified_ns: ns(found.mtime(), found.mtime_nsec()),
            arrived_ns: ns(found.ctime(), found.ctime_nsec()),
        })
    }
}

/// The clock of the server of the job's folder: the time it gives to a file made now, nanoseconds since 1970.
fn server_time_ns(ctx: &Ctx<'_>) -> Result<u64, StageError> {
    let path = ctx.create(CLOCK, |_| Ok::<(), StageError>(()))?;
    let missing = || StageError::io(&path, std::io::ErrorKind::NotFound.into());
    Times::of(&path).map(|times| times.modified_ns).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_compute::comm::Solo;
    use vitreous_kernels_cuda::AnyDevice;

    const HOUR_NS: u64 = 3_600_000_000_000;

    #[test]
    fn a_movie_that_never_becomes_whole_is_given_up_and_a_copy_is_as_young_as_its_arrival() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Ctx::new(&dir.path().join("J1"), dir.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        let movie = dir.path().join("m.mrc");
        let original = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::create(&movie).unwrap().set_modified(original).unwrap();
        let now_ns = server_time_ns(&ctx).unwrap();
        let look = |later_ns| Watch::begin_at(&ctx, vec![movie.clone()], 60.0, now_ns + later_ns);
        let watch = look(HOUR_NS / 120);
        assert_eq!((watch.settled().len(), watch.still_written()), (0, 1), "it came half a minute ago");
        let unfit = || vec![(movie.display().to_string(), "cut off".to_string())];
        let mut watch = look(HOUR_NS / 2);
        assert_eq!((watch.settled().len(), watch.still_written()), (1, 0));
        watch.leave_out(&ctx, unfit(), 0.5).unwrap();
        assert_eq!((watch.still_written(), ctx.skipped().len()), (1, 0));
        let mut watch = look(HOUR_NS + HOUR_NS / 60);
        watch.leave_out(&ctx, unfit(), 0.5).unwrap();
        assert_eq!((watch.still_written(), ctx.skipped().len()), (0, 1));
    }
}
