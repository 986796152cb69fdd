//! Copies of image files on a disk of this node: what stages ask for, and images that are read from a copy as long as it
//! can be read.
//!
//! The engine keeps the copies (`vitreous-cache`), if the lane has a scratch folder. Nothing depends on one: every image
//! opened here falls back on its original, in the middle of a movie if need be.

use crate::Ctx;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use vitreous_formats::{FormatError, FrameSource, ImageHeader};
use vitreous_model::event::EventKind;

/// Copies of files on a disk of this node, held for this process.
pub trait NodeCopies: Send + Sync {
    /// Brings copies of files to the node, as far as there is room, and returns when that is done. `stop` ends it early;
    /// `progress` is told of bytes copied and to copy. What came of all that was asked for so far, in one sentence; empty if
    /// there is no cache.
    fn fetch(&self, files: &[PathBuf], stop: &dyn Fn() -> bool, progress: &dyn Fn(u64, u64)) -> String;
    /// Holds the copies that are there already, and makes none.
    fn find(&self, files: &[PathBuf]);
    /// The copy of a file that is held.
    fn copy_of(&self, file: &Path) -> Option<PathBuf>;
    /// Gives a copy back.
    fn release(&self, file: &Path);
    /// A copy cannot be read: it is not used any more.
    fn reject(&self, file: &Path, why: &str);
    /// Movies are to be copied before they are read.
    fn takes_movies(&self) -> bool;
    /// What came of all that was asked for so far, in one sentence; empty if nothing was.
    fn told(&self) -> String;
}

/// No cache: every file is read where it lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCopies;

impl NodeCopies for NoCopies {
    fn fetch(&self, _files: &[PathBuf], _stop: &dyn Fn() -> bool, _progress: &dyn Fn(u64, u64)) -> String {
        String::new()
    }
    fn find(&self, _files: &[PathBuf]) {}
    fn copy_of(&self, _file: &Path) -> Option<PathBuf> {
        None
    }
    fn release(&self, _file: &Path) {}
    fn reject(&self, _file: &Path, _why: &str) {}
    fn takes_movies(&self) -> bool {
        false
    }
    fn told(&self) -> String {
        String::new()
    }
}

const MIB: u64 = 1 << 20;

/// Brings copies of files to this node and says how far it is.
pub(crate) fn fetch(ctx: &Ctx<'_>, files: &[PathBuf]) {
    let said = std::cell::Cell::new(false);
    let progress = |done: u64, total: u64| {
        let total = total.div_ceil(MIB);
        if !said.replace(true) {
            ctx.say(EventKind::Phase { name: "copying to the node, MiB".into(), total });
        }
        ctx.say(EventKind::Progress { done: done / MIB, total });
    };
    let outcome = ctx.copies.fetch(files, &|| (ctx.stop)(), &progress);
    if !outcome.is_empty() {
        ctx.say(EventKind::Message { text: outcome });
    }
}

/// Says what came of the copies of movies, at the end of a stage that asked for them one by one.
pub(crate) fn tell(ctx: &Ctx<'_>) {
    let told = ctx.copies.told();
    if ctx.copies.takes_movies() && !told.is_empty() {
        ctx.say(EventKind::Message { text: told });
    }
}

/// How a file is opened as images.
pub(crate) type Open = dyn Fn(&Path) -> Result<Box<dyn FrameSource>, FormatError> + Send + Sync;

/// Images of a file, from its copy as long as that can be read. [`FrameSource::path`] is that of the original.
struct NearImages {
    original: PathBuf,
    open: Box<Open>,
    copies: Arc<dyn NodeCopies>,
    copy: Box<dyn FrameSource>,
    fallback: OnceLock<Box<dyn FrameSource>>,
    /// The copy is given back when the images are closed.
    is_released: bool,
}

/// Opens a file, or its copy if one is held, which is given back afterwards if `is_released`.
///
/// # Errors
/// Those of the original.
pub(crate) fn open(
    copies: &Arc<dyn NodeCopies>,
    original: &Path,
    is_released: bool,
    open: Box<Open>,
) -> Result<Box<dyn FrameSource>, FormatError> {
    let Some(path) = copies.copy_of(original) else { return open(original) };
    match open(&path) {
        Ok(copy) => Ok(Box::new(NearImages {
            original: original.into(),
            open,
            copies: Arc::clone(copies),
            copy,
            fallback: OnceLock::new(),
            is_released,
        })),
        Err(error) => {
            // a copy is not to blame for what fails with its original, too: too many open files, a broken file
            let images = open(original)?;
            copies.reject(original, &error.to_string());
            Ok(images)
        }
    }
}

impl NearImages {
    /// Reads from the copy; from the original once that has failed.
    fn read<R>(
        &self,
        mut read: impl FnMut(&dyn FrameSource) -> Result<R, FormatError>,
    ) -> Result<R, FormatError> {
        if let Some(original) = self.fallback.get() {
            return read(&**original);
        }
        let error = match read(&*self.copy) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let original = (self.open)(&self.original)?;
        let done = read(&*original)?;
        // the original can be read, so it was the copy's fault
        self.copies.reject(&self.original, &error.to_string());
        let _ = self.fallback.set(original);
        Ok(done)
    }
}

impl Drop for NearImages {
    fn drop(&mut self) {
        if self.is_released {
            self.copies.release(&self.original);
        }
    }
}

impl FrameSource for NearImages {
    fn header(&self) -> &ImageHeader {
        self.copy.header()
    }

    fn path(&self) -> &Path {
        &self.original
    }

    fn dropped_raw_frames(&self) -> usize {
        self.copy.dropped_raw_frames()
    }

    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        self.read(|images| images.read_frame_at(frame, out))
    }

    fn read_bytes_at(&self, frame: usize, out: &mut [u8]) -> Result<bool, FormatError> {
        self.read(|images| images.read_bytes_at(frame, out))
    }

    fn read_frame_in_pool(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        self.read(|images| images.read_frame_in_pool(frame, out))
    }
}

/// Copies in a folder, for tests.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use vitreous_formats::mrc::{MrcSpec, MrcWriter};
    use vitreous_formats::open_image;

    /// Copies of what was fetched, in a folder, under numbers.
    #[derive(Default)]
    pub(crate) struct CopiesIn {
        pub folder: PathBuf,
        pub held: Mutex<BTreeMap<PathBuf, PathBuf>>,
        pub rejected: Mutex<Vec<PathBuf>>,
        pub released: Mutex<Vec<PathBuf>>,
        pub movies: bool,
    }

    impl NodeCopies for CopiesIn {
        fn fetch(&self, files: &[PathBuf], _stop: &dyn Fn() -> bool, _progress: &dyn Fn(u64, u64)) -> String {
            let mut held = self.held.lock().unwrap();
            for file in files {
                let copy =
                    self.folder.join(format!("{}-{}", held.len(), file.file_name().unwrap().display()));
                std::fs::copy(file, &copy).unwrap();
                held.insert(file.clone(), copy);
            }
            format!("{} files are here", held.len())
        }
        fn find(&self, _files: &[PathBuf]) {}
        fn copy_of(&self, file: &Path) -> Option<PathBuf> {
            self.held.lock().unwrap().get(file).cloned()
        }
        fn release(&self, file: &Path) {
            self.held.lock().unwrap().remove(file);
            self.released.lock().unwrap().push(file.into());
        }
        fn reject(&self, file: &Path, _why: &str) {
            self.held.lock().unwrap().remove(file);
            self.rejected.lock().unwrap().push(file.into());
        }
        fn takes_movies(&self) -> bool {
            self.movies
        }
        fn told(&self) -> String {
            String::new()
        }
    }

    fn write_images(path: &Path, values: &[f32]) {
        let file = std::fs::File::create(path).unwrap();
        let mut writer = MrcWriter::new(file, path, MrcSpec::images(8, 8, 1.0)).unwrap();
        values.iter().for_each(|value| writer.append(&[*value; 64]).unwrap());
        writer.finish().unwrap();
    }

    #[test]
    fn a_copy_is_read_until_it_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("a.mrcs");
        write_images(&original, &[1.0, 2.0, 3.0]);
        let copies = Arc::new(CopiesIn { folder: folder.path().into(), ..CopiesIn::default() });
        copies.fetch(std::slice::from_ref(&original), &|| false, &|_, _| {});
        let copy = copies.copy_of(&original).unwrap();
        // told apart from the original by its first image
        write_images(&copy, &[10.0, 2.0, 3.0]);
        let shared: Arc<dyn NodeCopies> = copies.clone();
        let images = open(&shared, &original, true, Box::new(open_image)).unwrap();
        let value = |frame| {
            let mut out = [0.0; 64];
            images.read_frame_at(frame, &mut out).map(|()| out[63])
        };
        assert_eq!((value(0).unwrap(), images.path()), (10.0, original.as_path()));
        std::fs::File::options().write(true).open(&copy).and_then(|file| file.set_len(1024 + 64)).unwrap();
        assert_eq!(value(1).unwrap(), 2.0, "the copy ends in its first image");
        assert_eq!(value(0).unwrap(), 1.0, "from now on the original is read");
        assert_eq!(copies.rejected.lock().unwrap().as_slice(), std::slice::from_ref(&original));
        assert!(value(3).is_err(), "there is no such image anywhere");
        drop(images);
        assert_eq!(copies.released.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_copy_that_cannot_be_opened_is_rejected_and_one_is_not_for_the_originals_faults() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("a.mrcs");
        write_images(&original, &[1.0]);
        let copies = Arc::new(CopiesIn { folder: folder.path().into(), ..CopiesIn::default() });
        let fetch = || copies.fetch(std::slice::from_ref(&original), &|| false, &|_, _| {});
        fetch();
        let shared: Arc<dyn NodeCopies> = copies.clone();
        let images = open(&shared, &original, false, Box::new(open_image)).unwrap();
        assert!(images.read_frame_at(5, &mut [0.0; 64]).is_err());
        assert!(copies.rejected.lock().unwrap().is_empty(), "the original has no image 5 either");
        std::fs::remove_file(copies.copy_of(&original).unwrap()).unwrap();
        assert!(open(&shared, &original, false, Box::new(open_image)).is_ok());
        assert_eq!(copies.rejected.lock().unwrap().len(), 1);
    }
}
