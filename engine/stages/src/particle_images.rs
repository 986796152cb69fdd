//! Images of a particle set: stacks opened once, images read on demand by any thread, unfit particles found beforehand.

use crate::node_copies::{self, NodeCopies};
use crate::{Ctx, StageError};
use ndarray::Array2;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use vitreous_compute::aberrations::ImageCorrection;
use vitreous_formats::{FormatError, FrameSource, open_image};
use vitreous_model::particle::ParticleSet;

/// Stacks held open at once: well under the 1,024 files that many systems allow a process.
const MOST_OPEN: usize = 256;

/// Images of a block that are asked for at once: some file servers take milliseconds to answer, and a disk is not kept
/// busier by more.
const READERS: usize = 4;

/// The image stacks of a particle set. Nothing is kept in memory but paths and some open files.
pub struct ParticleImages {
    box_px: usize,
    /// Path and number of images.
    stacks: Vec<(PathBuf, usize)>,
    open: Mutex<HashMap<u32, Arc<dyn FrameSource>>>,
    copies: Arc<dyn NodeCopies>,
    /// By particle: stack and image in it; `None` for a particle that has no readable image.
    places: Vec<Option<(u32, u32)>>,
    /// Of the optics groups whose images are to be corrected.
    corrections: Vec<ImageCorrection>,
    /// By particle: its place in `corrections`; empty if there is none.
    correction_of: Vec<Option<u16>>,
}

/// A particle that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub struct UnfitParticle {
    /// Its place in the set.
    pub index: usize,
    /// What it is, for the report: `000012@path/stack.mrcs`.
    pub item: String,
    /// Why, in one sentence.
    pub reason: String,
}

impl UnfitParticle {
    /// The particle at a place of a set, and why it cannot be used.
    pub fn of(set: &ParticleSet, index: usize, reason: impl Into<String>) -> Self {
        let particle = &set.particles[index];
        let item = format!("{:06}@{}", particle.stack_index + 1, particle.stack_path);
        Self { index, item, reason: reason.into() }
    }
}

impl ParticleImages {
    /// Opens the stacks of a set and lists the particles whose image is missing or of the wrong size.
    pub fn open(ctx: &Ctx<'_>, set: &ParticleSet) -> (Self, Vec<UnfitParticle>) {
        let mut images = Self {
            box_px: set.box_px as usize,
            stacks: Vec::new(),
            open: Mutex::default(),
            copies: Arc::clone(&ctx.copies),
            places: Vec::new(),
            corrections: Vec::new(),
            correction_of: Vec::new(),
        };
        let mut unfit = Vec::new();
        let mut known: HashMap<&str, Result<u32, String>> = HashMap::new();
        for (index, particle) in set.particles.iter().enumerate() {
            let path = particle.stack_path.as_str();
            let stack = known.entry(path).or_insert_with(|| images.open_stack(ctx, path));
            let place = stack.clone().and_then(|stack| images.place(stack, particle.stack_index));
            let place = match place {
                Ok(place) => Some(place),
                Err(reason) => {
                    unfit.push(UnfitParticle::of(set, index, reason));
                    None
                }
            };
            images.places.push(place);
        }
        // copies that another job left serve this one, even if it reads each image once
        ctx.copies.find(&images.paths());
        (images, unfit)
    }

    /// Brings the stacks to a disk of this node first, where the lane has one: for stages that read every image again and
    /// again. Every image is read all the same if that fails.
    pub fn bring_near(&self, ctx: &Ctx<'_>) {
        node_copies::fetch(ctx, &self.paths());
        // what is open may be an original
        self.open.lock().expect("opening a file should not panic").clear();
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.stacks.iter().map(|(path, _)| path.clone()).collect()
    }

    /// As [`ParticleImages::open`], and the images come without the odd aberrations and the magnification of their optics
    /// groups: for whatever compares them with a map or makes one of them. Images that are only copied stay as they are.
    pub fn open_corrected(ctx: &Ctx<'_>, set: &ParticleSet) -> (Self, Vec<UnfitParticle>) {
        let (mut images, unfit) = Self::open(ctx, set);
        let mut known: HashMap<u32, u16> = HashMap::new();
        for group in &set.optics {
            let correction = ImageCorrection::new(group, images.box_px, set.pixel_size_a);
            if let Some(correction) = correction {
                known.insert(group.number, images.corrections.len() as u16);
                images.corrections.push(correction);
            }
        }
        if !known.is_empty() {
            images.correction_of =
                set.particles.iter().map(|p| known.get(&p.optics_group).copied()).collect();
        }
        (images, unfit)
    }

    /// An image as it was stored, freed of what is to be corrected.
    fn corrected(&self, index: usize, pixels: Array2<f32>) -> Array2<f32> {
        match self.correction_of.get(index).copied().flatten() {
            Some(place) => self.corrections[usize::from(place)].apply(pixels),
            None => pixels,
        }
    }

    fn open_stack(&mut self, ctx: &Ctx<'_>, path: &str) -> Result<u32, String> {
        let absolute = ctx.resolve(path);
        let source = open_image(&absolute).map_err(|error| error.to_string())?;
        let header = source.header();
        if (header.width, header.height) != (self.box_px, self.box_px) {
            let (width, height, n) = (header.width, header.height, self.box_px);
            return Err(format!("{path}: images are {width} × {height} px, the table says {n} × {n}"));
        }
        self.stacks.push((absolute, header.frames));
        Ok(self.stacks.len() as u32 - 1)
    }

    fn place(&self, stack: u32, image: u32) -> Result<(u32, u32), String> {
        let (path, images) = &self.stacks[stack as usize];
        if (image as usize) < *images {
            return Ok((stack, image));
        }
        Err(format!("{}: image {} was asked for, the stack has {images}", path.display(), image + 1))
    }

    /// The stack, from the open ones or opened now; when too many are open, all are let go.
    fn source(&self, stack: u32) -> Result<Arc<dyn FrameSource>, FormatError> {
        let mut open = self.open.lock().expect("opening a file should not panic");
        if let Some(source) = open.get(&stack) {
            return Ok(source.clone());
        }
        if open.len() >= MOST_OPEN {
            open.clear();
        }
        let path = &self.stacks[stack as usize].0;
        let source: Arc<dyn FrameSource> =
            Arc::from(node_copies::open(&self.copies, path, false, Box::new(open_image))?);
        open.insert(stack, source.clone());
        Ok(source)
    }

    /// Refuses a set of which more than `max_bad_fraction` is unfit; lists the others as skipped (rank 0 reports).
    ///
    /// # Errors
    /// [`StageError::TooManyBad`].
    pub fn accept(
        ctx: &Ctx<'_>,
        unfit: &[UnfitParticle],
        total: usize,
        max_bad_fraction: f64,
    ) -> Result<(), StageError> {
        let Some(first) = unfit.first() else { return Ok(()) };
        let bad = unfit.len();
        if bad as f64 > max_bad_fraction * total as f64 || bad == total {
            let first = format!("{}: {}", first.item, first.reason);
            return Err(StageError::TooManyBad {
                what: "particles".into(),
                bad,
                total,
                allowed: max_bad_fraction,
                first,
            });
        }
        for particle in unfit {
            ctx.skip(&particle.item, &particle.reason);
        }
        Ok(())
    }

    /// Box edge, pixels.
    pub fn box_px(&self) -> usize {
        self.box_px
    }

    /// Whether a particle has an image.
    pub fn has(&self, index: usize) -> bool {
        self.places.get(index).is_some_and(Option::is_some)
    }

    /// The image of a particle, as [`ParticleImages::read`], if it shows anything.
    ///
    /// # Errors
    /// Why it cannot be used, in one sentence: it cannot be read, holds what is no number, or is the same everywhere.
    pub fn read_fit(&self, index: usize) -> Result<Array2<f32>, String> {
        let pixels = self.read_stored(index).map_err(|error| error.to_string())?;
        // rounding leaves some power in the transform of a constant, so it is the pixels that tell
        let first = pixels.iter().next();
        if pixels.iter().all(|value| Some(value) == first) {
            return Err("its image is constant".into());
        }
        Ok(self.corrected(index, pixels))
    }

    /// The image `[box, box]` of a particle by its place in the set; row 0 first.
    ///
    /// # Errors
    /// A particle without image ([`ParticleImages::has`]), or a stack that cannot be read any more.
    pub fn read(&self, index: usize) -> Result<Array2<f32>, StageError> {
        Ok(self.corrected(index, self.read_stored(index)?))
    }

    fn read_stored(&self, index: usize) -> Result<Array2<f32>, StageError> {
        let Some((stack, image)) = self.places.get(index).copied().flatten() else {
            return Err(StageError::input(format!("particle {index} has no image"), ""));
        };
        let mut pixels = Array2::zeros((self.box_px, self.box_px));
        let out = pixels.as_slice_mut().expect("a new image should be contiguous");
        let source = self.source(stack)?;
        source.read_frame_at(image as usize, out)?;
        vitreous_formats::image::check_finite(source.path(), out, self.box_px, self.box_px).map_err(
            |error: FormatError| StageError::input(error.to_string(), "repair or leave out the stack"),
        )?;
        Ok(pixels)
    }

    /// The images of several particles as they are stored, in order. They are read by threads of their own, which mostly wait for a disk,
    /// and keep none of the pool's from computing.
    ///
    /// # Errors
    /// As [`ParticleImages::read`]: that of the first particle that has one, of those each thread came to.
    fn read_block(&self, indices: &[usize]) -> Result<Vec<Array2<f32>>, StageError> {
        let share = indices.len().div_ceil(READERS).max(1);
        let read =
            |some: &[usize]| some.iter().map(|&index| self.read_stored(index)).collect::<Result<Vec<_>, _>>();
        std::thread::scope(|scope| {
            let readers: Vec<_> = indices.chunks(share).map(|some| scope.spawn(move || read(some))).collect();
            let mut images = Vec::with_capacity(indices.len());
            for reader in readers {
                images.extend(reader.join().expect("reading an image should not panic")?);
            }
            Ok(images)
        })
    }

    /// Reads the images of blocks of particles ahead of the work on them. `work` is given a function that returns the
    /// images of the first block, then of the second …; meanwhile the block after that is read, and no other, so that two
    /// blocks are in memory. What is not asked for is not read further.
    ///
    /// The function's error is that of [`ParticleImages::read`], or of more calls than there are blocks.
    pub fn read_ahead<R>(
        &self,
        blocks: &[&[usize]],
        work: impl FnOnce(&mut dyn FnMut() -> Result<Vec<Array2<f32>>, StageError>) -> R,
    ) -> R {
        std::thread::scope(|scope| {
            // a reader waits with its block until it is taken
            let (sender, receiver) = mpsc::sync_channel(0);
            scope.spawn(move || {
                for block in blocks {
                    let images = self.read_block(block);
                    let failed = images.is_err();
                    if sender.send(images).is_err() || failed {
                        break;
                    }
                }
            });
            let mut asked = blocks.iter();
            let mut next = || {
                let images = receiver
                    .recv()
                    .unwrap_or_else(|_| Err(StageError::input("no more images are to be read", "")))?;
                let block = asked.next().copied().unwrap_or_default();
                if self.correction_of.is_empty() {
                    return Ok(images);
                }
                let pairs = block.par_iter().zip(images);
                Ok(pairs.map(|(&index, pixels)| self.corrected(index, pixels)).collect())
            };
            let result = work(&mut next);
            // the reader may be waiting for somebody to take its block
            drop(receiver);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_stacks::tests::{Scene, noise};
    use crate::node_copies::tests::CopiesIn;
    use vitreous_compute::comm::Solo;
    use vitreous_kernels_cuda::AnyDevice;

    fn open(scene: &Scene) -> ParticleImages {
        let ctx =
            Ctx::new(&scene.path().join("J9"), scene.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        ParticleImages::open(&ctx, &scene.set).0
    }

    #[test]
    fn blocks_come_in_order_and_whole() {
        let scene = Scene::new(16);
        let images = open(&scene);
        let blocks: [&[usize]; 4] = [&[0, 1, 2, 3, 4, 5], &[], &[6], &[6, 0]];
        let read = images.read_ahead(&blocks, |next| {
            let read: Vec<Vec<Array2<f32>>> = blocks.iter().map(|_| next().unwrap()).collect();
            assert!(next().unwrap_err().to_string().contains("no more images"));
            read
        });
        for (block, read) in blocks.iter().zip(read) {
            assert_eq!(read, block.iter().map(|&index| images.read(index).unwrap()).collect::<Vec<_>>());
        }
        let first = images.read_ahead(&blocks[..1], |next| next().unwrap());
        assert_eq!(first[5].as_slice().unwrap(), noise(16, 1, 7), "image 7 of stack a");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test spoils a copy")]
    fn images_come_from_copies_and_are_the_same() {
        let scene = Scene::new(16);
        let folder = tempfile::tempdir().unwrap();
        let copies = Arc::new(CopiesIn { folder: folder.path().into(), ..CopiesIn::default() });
        let mut ctx =
            Ctx::new(&scene.path().join("J9"), scene.path(), &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
        ctx.copies = copies.clone();
        let images = ParticleImages::open(&ctx, &scene.set).0;
        let all = 0..scene.set.particles.len();
        let direct: Vec<_> = all.clone().map(|index| images.read(index).unwrap()).collect();
        images.bring_near(&ctx);
        assert_eq!(copies.held.lock().unwrap().len(), images.stacks.len());
        // copies of zeros would be seen
        let first = copies.copy_of(&images.stacks[0].0).unwrap();
        let mut bytes = std::fs::read(&first).unwrap();
        bytes[1024..].fill(0);
        std::fs::write(&first, &bytes).unwrap();
        assert!(images.read(0).unwrap().iter().all(|value| *value == 0.0), "it is the copy that is read");
        std::fs::remove_dir_all(folder.path()).unwrap();
        images.open.lock().unwrap().clear();
        let near: Vec<_> = all.map(|index| images.read(index).unwrap()).collect();
        assert_eq!(near, direct, "with the copies gone the originals are read");
        assert_eq!(copies.rejected.lock().unwrap().len(), images.stacks.len());
    }

    #[test]
    fn a_bad_image_is_named_and_work_that_ends_early_is_not_waited_for() {
        let mut scene = Scene::new(16);
        scene.set.particles[4].stack_index = 99;
        let images = open(&scene);
        let blocks: [&[usize]; 3] = [&[0, 1], &[2, 4], &[5]];
        images.read_ahead(&blocks, |next| {
            assert!(next().is_ok());
            assert!(next().unwrap_err().to_string().contains("particle 4 has no image"));
            assert!(next().is_err());
        });
        assert_eq!(images.read_ahead(&blocks, |next| next().unwrap().len()), 2);
        assert_eq!(images.read_ahead(&blocks, |_| 7), 7);
    }
}
