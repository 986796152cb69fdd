//! Following a running microscope: which movies are complete, and what is remembered of them from run to run.
//!
//! A movie is taken when its file has been quiet for a while: not changed for `settle_s`, by the clock of the file
//! server that holds the job's folder. Movies may lie on another server with another clock: a file that looks younger
//! than it is, or of the future, is taken when later runs have seen it unchanged for that time, by the one clock alone.
//! A quiet file that is not whole (its header tells of more than there is, or it has fewer frames than the others) is
//! still left for later while it is [`GIVEN_UP_S`] young, and then left out with the reason.

use super::run::Header;
use crate::exposure_files::{self, Unfit};
use crate::{Ctx, StageError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use vitreous_formats::FormatError;

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
    /// When it was first seen like this, by the clock of the job's folder, seconds since 1970.
    since_s: f64,
    /// Its header, once it was whole.
    header: Option<Header>,
    /// Name of its exposure, once it was registered.
    name: Option<String>,
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
    /// Clock of the job's folder, seconds since 1970.
    now_s: f64,
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
        let mut watch = Self {
            memory: read_memory(&ctx.job_dir.join(MEMORY)),
            now_s: server_time_s(ctx)?,
            settled: Vec::new(),
            still_written: 0,
        };
        let stamps: Vec<Option<(u64, u64)>> = files.par_iter().map(|path| stamp(path)).collect();
        let mut present = BTreeMap::new();
        for (path, stamp) in files.into_iter().zip(stamps) {
            // moved away since it was listed
            let Some((bytes, modified_ns)) = stamp else { continue };
            let key = exposure_files::table_path(ctx, &path);
            let before = watch.memory.movies.remove(&key);
            let name = before.as_ref().and_then(|seen| seen.name.clone());
            let unchanged = before.filter(|seen| (seen.bytes, seen.modified_ns) == (bytes, modified_ns));
            let fresh = Seen { bytes, modified_ns, since_s: watch.now_s, header: None, name };
            let seen = unchanged.unwrap_or(fresh);
            if watch.quiet_s(&seen) >= settle_s {
                watch.settled.push(path);
            } else {
                watch.still_written += 1;
            }
            present.insert(key, seen);
        }
        // of movies that are gone, names stay taken
        present
            .extend(std::mem::take(&mut watch.memory.movies).into_iter().filter(|(_, s)| s.name.is_some()));
        watch.memory.movies = present;
        Ok(watch)
    }

    /// How long a movie has certainly, or by its server's clock, not changed, seconds.
    fn quiet_s(&self, seen: &Seen) -> f64 {
        (self.now_s - seen.modified_ns as f64 * 1e-9).max(self.now_s - seen.since_s)
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
            let seen = self.memory.movies.get(&exposure_files::table_path(ctx, Path::new(path)));
            seen.is_none_or(|seen| self.quiet_s(seen) < GIVEN_UP_S)
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
        movies: &[(PathBuf, Header)],
        names: &[String],
        pixel_size_a: Option<f64>,
    ) -> Result<(), StageError> {
        self.memory.pixel_size_a = pixel_size_a;
        for ((path, _), name) in movies.iter().zip(names) {
            if let Some(seen) = self.memory.movies.get_mut(&exposure_files::table_path(ctx, path)) {
                seen.name = Some(name.clone());
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

/// Length and time of a file; `None` if it is gone.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    let modified = found.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some((found.len(), u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX)))
}

/// The clock of the server of the job's folder: the time it gives to a file made now, seconds since 1970.
fn server_time_s(ctx: &Ctx<'_>) -> Result<f64, StageError> {
    let path = ctx.create(CLOCK, |_| Ok::<(), StageError>(()))?;
    let modified: SystemTime = std::fs::metadata(&path)
        .and_then(|found| found.modified())
        .map_err(|source| StageError::io(&path, source))?;
    Ok(modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}
