//! The images of a particle set, changed or not, in new stacks: stack by stack, so that a stopped job goes on where it was,
//! and some images at a time, so that memory does not grow with the set. Jobs say what happens to an image.

pub(crate) mod report;
#[cfg(test)]
pub(crate) mod tests;

use crate::items::{Item, Outcome};
use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::{Ctx, StageError};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::UNIX_EPOCH;
use vitreous_formats::FormatError;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_model::particle::{Particle, ParticleSet};

/// Folder of the stacks in the job's folder.
const FOLDER: &str = "particles";
/// Images that are read and changed before they are written: what is held in memory at once.
const IMAGES_AT_ONCE: usize = 128;
/// Images of a stack of particles of unknown exposure, where a stack is an exposure: a few tens of MiB.
const UNPLACED_PER_STACK: usize = 1000;

/// How the new images are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Form {
    /// Box edge, pixels.
    pub box_px: usize,
    /// Å.
    pub pixel_size_a: f64,
    /// As 16-bit floats; else as 32-bit ones.
    pub float16: bool,
    /// Images of a stack; `None`: a stack is an exposure.
    pub images_per_stack: Option<u32>,
}

/// What came of a stack: the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Images that could not be used: their place among those of the stack, and why.
    bad: Vec<(u32, String)>,
}

/// A stack to be written.
struct Stack {
    /// In the job's folder.
    file: String,
    /// Places in the set of its particles, in the order of the set.
    members: Vec<usize>,
}

/// The work of writing a set anew.
pub(crate) struct Rewriting<'a> {
    set: &'a ParticleSet,
    images: ParticleImages,
    /// Why a particle's image cannot be had, by its place in the set.
    unfit: HashMap<usize, String>,
    stacks: Vec<Stack>,
    form: Form,
}

impl<'a> Rewriting<'a> {
    /// Opens the stacks of a set and deals its particles out to new ones.
    pub fn new(ctx: &Ctx<'_>, set: &'a ParticleSet, form: Form) -> Self {
        Self::of(ParticleImages::open(ctx, set), set, form)
    }

    /// The same of images freed of odd aberrations and magnification; the new set must not have them any more.
    pub fn of_corrected(ctx: &Ctx<'_>, set: &'a ParticleSet, form: Form) -> Self {
        Self::of(ParticleImages::open_corrected(ctx, set), set, form)
    }

    fn of((images, unfit): (ParticleImages, Vec<UnfitParticle>), set: &'a ParticleSet, form: Form) -> Self {
        let unfit = unfit.into_iter().map(|particle| (particle.index, particle.reason)).collect();
        Self { set, images, unfit, stacks: deal_out(set, form.images_per_stack), form }
    }

    /// The stacks as items. One is done again when its images, the files they come from, their form, or `settings` have
    /// changed.
    pub fn items(&self, ctx: &Ctx<'_>, settings: &str) -> Vec<Item> {
        let mut stamps: HashMap<&str, String> = HashMap::new();
        for particle in &self.set.particles {
            let path = particle.stack_path.as_str();
            stamps.entry(path).or_insert_with(|| stamp(ctx, path));
        }
        let item = |stack: &Stack| {
            let sources = stack.members.iter().map(|&index| {
                let Particle { stack_path, stack_index, .. } = &self.set.particles[index];
                (stack_path, *stack_index, &stamps[stack_path.as_str()])
            });
            let hash = sources.fold(FNV_START, |hash, (path, index, stamp)| {
                let parts = [path.as_bytes(), &index.to_le_bytes(), stamp.as_bytes()];
                parts.into_iter().fold(hash, fnv)
            });
            let fingerprint = format!("{settings} {:?} {} {hash:016x}", self.form, stack.members.len());
            Item { name: stack.file.clone(), fingerprint }
        };
        self.stacks.iter().map(item).collect()
    }

    /// Leaves a particle out, unless there is a reason already.
    pub fn leave_out(&mut self, index: usize, reason: impl Into<String>) {
        self.unfit.entry(index).or_insert_with(|| reason.into());
    }

    /// Whether a particle is not left out, as far as is known before its image is read.
    pub fn is_fit(&self, index: usize) -> bool {
        !self.unfit.contains_key(&index)
    }

    /// Writes one stack; `change` is what happens to the image of a particle (its place in the set), `[n, n]` to `[m, m]`.
    /// Images that cannot be used are left out of it; a stack without any is not written.
    ///
    /// # Errors
    /// A stack that cannot be written.
    pub fn write(
        &self,
        ctx: &Ctx<'_>,
        stack: usize,
        change: &(dyn Fn(usize, Array2<f32>) -> Array2<f32> + Sync),
    ) -> Result<Written, StageError> {
        let Stack { file, members } = &self.stacks[stack];
        let Form { box_px, pixel_size_a, float16, .. } = self.form;
        let sample = if float16 { SampleType::Float16 } else { SampleType::Float32 };
        let spec = MrcSpec::images(box_px, box_px, pixel_size_a).sample(sample);
        let mut written = Written { bad: Vec::new() };
        if members.iter().all(|index| self.unfit.contains_key(index)) {
            written.bad =
                (0..).zip(members).map(|(place, index)| (place, self.unfit[index].clone())).collect();
            return Ok(written);
        }
        let path = ctx.job_dir.join(file);
        let result = ctx.create(file, |out| -> Result<(), StageError> {
            let mut writer = MrcWriter::new(out, &path, spec).map_err(StageError::writing)?;
            for (block, some) in members.chunks(IMAGES_AT_ONCE).enumerate() {
                let changed = |&index: &usize| self.read(index).map(|image| change(index, image));
                let images: Vec<Result<Array2<f32>, String>> = some.par_iter().map(changed).collect();
                for (place, image) in (block * IMAGES_AT_ONCE..).zip(images) {
                    if let Err(reason) = append(&mut writer, image)? {
                        written.bad.push((place as u32, reason));
                    }
                }
            }
            if writer.sections() == 0 {
                return Err(StageError::Input { what: String::new(), hint: String::new() });
            }
            writer.finish().map_err(StageError::writing)?;
            Ok(())
        });
        match result {
            // nothing of it could be used: there is no stack
            Err(StageError::Input { .. }) if written.bad.len() == members.len() => Ok(written),
            result => result.map(|_| written),
        }
    }

    /// The image of a particle, or why there is none.
    pub fn read(&self, index: usize) -> Result<Array2<f32>, String> {
        match self.unfit.get(&index) {
            Some(reason) => Err(reason.clone()),
            None => self.images.read(index).map_err(|error| error.to_string()),
        }
    }

    /// The set with its new images, without the particles that have none; these are listed as skipped. On rank 0.
    ///
    /// # Errors
    /// More particles without image than `max_bad_fraction` of the set.
    pub fn collect(
        &self,
        ctx: &Ctx<'_>,
        outcomes: &[Outcome<Written>],
        max_bad_fraction: f64,
    ) -> Result<ParticleSet, StageError> {
        let mut places: Vec<Option<(usize, u32)>> = vec![None; self.set.particles.len()];
        let mut unfit = Vec::new();
        for (number, (stack, outcome)) in self.stacks.iter().zip(outcomes).enumerate() {
            let reasons: HashMap<u32, &str> = match outcome {
                Outcome::Done(written) => {
                    written.bad.iter().map(|(place, why)| (*place, why.as_str())).collect()
                }
                Outcome::Skipped(why) => {
                    (0..stack.members.len() as u32).map(|place| (place, why.as_str())).collect()
                }
            };
            let mut image = 0;
            for (place, &index) in (0..).zip(&stack.members) {
                match reasons.get(&place) {
                    Some(reason) => unfit.push(UnfitParticle::of(self.set, index, *reason)),
                    None => {
                        places[index] = Some((number, image));
                        image += 1;
                    }
                }
            }
        }
        unfit.sort_by_key(|particle| particle.index);
        ParticleImages::accept(ctx, &unfit, self.set.particles.len(), max_bad_fraction)?;
        let paths: Vec<String> = self.stacks.iter().map(|stack| ctx.table_path(&stack.file)).collect();
        let placed = self.set.particles.iter().zip(places).filter_map(|(particle, place)| {
            let (stack, stack_index) = place?;
            Some(Particle { stack_path: paths[stack].clone(), stack_index, ..particle.clone() })
        });
        Ok(ParticleSet {
            optics: self.set.optics.clone(),
            box_px: self.form.box_px as u32,
            pixel_size_a: self.form.pixel_size_a,
            particles: placed.collect(),
        })
    }
}

/// Appends an image; the inner error is why it cannot be used.
///
/// # Errors
/// A disk that is full, or the like.
fn append<W: std::io::Write + std::io::Seek>(
    writer: &mut MrcWriter<W>,
    image: Result<Array2<f32>, String>,
) -> Result<Result<(), String>, StageError> {
    let image = match image {
        Ok(image) => image,
        Err(reason) => return Ok(Err(reason)),
    };
    match writer.append(image.as_slice().expect("a particle image should be contiguous")) {
        Ok(()) => Ok(Ok(())),
        Err(error @ FormatError::Io { .. }) => Err(StageError::writing(error)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Which particles go into which stack: those of an exposure together, or so many in the order of the set.
fn deal_out(set: &ParticleSet, images_per_stack: Option<u32>) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    let mut by_file: HashMap<String, usize> = HashMap::new();
    let mut unplaced = 0;
    for (index, particle) in set.particles.iter().enumerate() {
        let name = match (images_per_stack, &particle.pick) {
            (Some(images), _) => format!("{:06}", index / images as usize + 1),
            // a name may come from another program, and must stay in the folder
            (None, Some(pick)) => pick.exposure.replace('/', "_"),
            (None, None) => {
                unplaced += 1;
                format!("unplaced-{:04}", (unplaced - 1) / UNPLACED_PER_STACK + 1)
            }
        };
        let file = format!("{FOLDER}/{name}.mrcs");
        let stack = *by_file.entry(file).or_insert_with_key(|file| {
            stacks.push(Stack { file: file.clone(), members: Vec::new() });
            stacks.len() - 1
        });
        stacks[stack].members.push(index);
    }
    stacks
}

/// Size and time of change of a file, to see whether it was replaced; empty if it is not there.
pub(crate) fn stamp(ctx: &Ctx<'_>, path: &str) -> String {
    let Ok(meta) = std::fs::metadata(ctx.resolve(path)) else { return String::new() };
    let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{} {}", meta.len(), changed.unwrap_or_default().as_nanos())
}

/// Start of the FNV-1a hash.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The FNV-1a hash with these bytes added.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
