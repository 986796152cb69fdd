//! The map and its parts: what is subtracted, what is kept, in which half-set, up to which resolution.

use crate::half_maps::Halves;
use crate::particle_sets::PIXEL_TOLERANCE;
use crate::{Ctx, Input, StageError, cubic_map};
use ndarray::{Array3, ArrayView3};
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::{HalfVolume, low_pass_weight};
use vitreous_compute::fsc::{corrected_fsc, fsc_of_maps, of_combined};
use vitreous_compute::likelihood::spectrum_at;
use vitreous_compute::mask::{AutoMask, Level, USUAL_LEAST_PART, USUAL_LEVEL, auto_mask};
use vitreous_formats::mrc;
use vitreous_jobs::subtract_signal::{MaskOf, SubtractSignal};
use vitreous_model::conventions::{centre, resolution_at};
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::particle::ParticleSet;

/// By how much the automatic mask of the other part grows, and how wide its edge is, Å: as `sharpen` has it.
const STRUCTURE: (f64, f64) = (6.0, 8.0);
/// The map is low-passed to this for that mask, Å, or to 1.5 times its resolution if that is coarser.
const STRUCTURE_LOW_PASS_A: f64 = 12.0;
/// Half maps are trusted as far as their FSC stays above this.
const TRUSTED_FSC: f64 = 0.143;
/// Shells over which a map fades out where it ends.
const EDGE_SHELLS: f64 = 4.0;
/// Values of a mask may miss 0 to 1 by this much: a resampled one overshoots at its edge.
const OVERSHOOT: f32 = 0.1;
/// Padding of the transforms that slices are interpolated in.
const PADDING: f64 = 2.0;
/// Seed of the phase randomisation.
const SEED: u64 = 1;

/// The map as it was read, and the masks of its parts, all `[n, n, n]`.
pub(super) struct Parts {
    /// The map of all particles.
    pub map: Array3<f32>,
    /// The maps of the halves, not filtered.
    pub halves: Option<[Array3<f32>; 2]>,
    /// Mask of the subtracted part.
    pub subtracted: Array3<f32>,
    /// Mask of the kept part.
    pub kept: Array3<f32>,
    /// FSC of the halves in the mask of the structure, by shell.
    pub fsc: Option<Vec<f64>>,
}

impl Parts {
    /// Reads and checks the volume and the mask of a job on particles of `set`.
    ///
    /// # Errors
    /// Maps or a mask that are broken, of another box or pixel size than the images, or a mask that is none.
    pub fn load(ctx: &Ctx<'_>, params: &SubtractSignal, set: &ParticleSet) -> Result<Self, StageError> {
        let input = ctx.input("volume")?;
        let volume = cubic_map::read(&input.path)?;
        let voxel_a = input.output.pixel_size_a.unwrap_or(volume.voxel_a);
        check_box(input, set, volume.data.dim().0, voxel_a)?;
        let halves = input.parts.contains_key("half1").then(|| Halves::read(input)).transpose()?;
        if let Some(halves) = &halves {
            check_box(input, set, halves.n(), voxel_a)?;
        }
        let marked = read_mask(ctx.input("mask")?, set.box_px as usize)?;
        let both = halves.as_ref().map_or_else(|| volume.data.clone(), Halves::mean);
        let rough_a = halves.as_ref().map_or(0.0, |halves| {
            let [one, two] = &halves.maps;
            resolution_at(&fsc_of_maps(one.view(), two.view(), None), TRUSTED_FSC, halves.n(), voxel_a).0
        });
        let other = other_part(ctx, params, &both, &marked, voxel_a, rough_a)?;
        let whole = &marked + &other;
        let fsc = halves.as_ref().map(|halves| {
            let [one, two] = &halves.maps;
            corrected_fsc(one.view(), two.view(), whole.view(), SEED).corrected
        });
        let (subtracted, kept) = match params.mask_of {
            MaskOf::Subtracted => (marked, other),
            MaskOf::Kept => (other, marked),
        };
        for (name, part) in [("subtracted", &subtracted), ("kept", &kept)] {
            if part.iter().all(|value| *value < 0.5) {
                return Err(nothing_left(ctx, name)?);
            }
        }
        Ok(Self { map: volume.data, halves: halves.map(|halves| halves.maps), subtracted, kept, fsc })
    }

    /// Edge of the box, voxels.
    fn n(&self) -> usize {
        self.map.dim().0
    }

    /// Resolution in Å up to which the halves agree.
    pub fn resolution_a(&self, pixel_size_a: f64) -> Option<f64> {
        self.fsc.as_ref().map(|fsc| resolution_at(fsc, TRUSTED_FSC, self.n(), pixel_size_a).0)
    }

    /// Centre of the kept part's mask, (x, y, z) from the centre of the box, Å.
    pub fn kept_centre_a(&self, pixel_size_a: f64) -> [f64; 3] {
        let middle = centre(self.n()) as f64;
        let mut sums = [0.0; 4];
        for ((z, y, x), &weight) in self.kept.indexed_iter() {
            let weight = f64::from(weight);
            let terms = [x, y, z].map(|i| weight * (i as f64 - middle));
            (0..3).for_each(|axis| sums[axis] += terms[axis]);
            sums[3] += weight;
        }
        [0, 1, 2].map(|axis| sums[axis] / sums[3] * pixel_size_a)
    }

    /// What the maps of a half, or of all particles, are multiplied by in Fourier space, by shell: the share of signal in
    /// each coefficient as the halves tell, and a soft end.
    fn filter(&self, of_half: bool, params: &SubtractSignal, pixel_size_a: f64) -> Vec<f64> {
        let n = self.n();
        let nyquist = n as f64 / 2.0;
        let wanted = params.max_resolution.map(|a| n as f64 * pixel_size_a / a);
        let trusted = self.fsc.as_ref().map(|fsc| {
            let first_bad = (1..fsc.len()).find(|&shell| fsc[shell] < TRUSTED_FSC);
            first_bad.map_or(f64::INFINITY, |shell| shell as f64 - 0.5 * EDGE_SHELLS)
        });
        let end = [wanted, trusted].into_iter().flatten().fold(f64::INFINITY, f64::min);
        let weight = |shell: usize| {
            let share = match &self.fsc {
                None => 1.0,
                Some(fsc) if of_half => fsc[shell].clamp(0.0, 1.0),
                Some(fsc) => of_combined(fsc[shell]).clamp(0.0, 1.0),
            };
            let low_pass = if end < nyquist { low_pass_weight(shell as f64, end, EDGE_SHELLS) } else { 1.0 };
            share * low_pass
        };
        (0..=n / 2).map(weight).collect()
    }

    /// The maps ready to be projected. Only those that particles of the set need.
    pub fn projectors(&self, params: &SubtractSignal, set: &ParticleSet) -> Projectors {
        let filters = [true, false].map(|of_half| self.filter(of_half, params, set.pixel_size_a));
        let last = |filter: &Vec<f64>| filter.iter().rposition(|weight| *weight > 0.0).unwrap_or(1);
        // the coefficients at Nyquist cannot be shifted
        let highest = (self.n() as f64 - 1.0) / 2.0;
        let band_px = (last(&filters[0]).max(last(&filters[1])) as f64).clamp(1.0, highest.max(1.0));
        let pair = |map: &Array3<f32>, filter: &[f64]| {
            let mut half = HalfVolume::of_box(map.view());
            half.weigh(|r| if r > band_px + 1.0 { 0.0 } else { spectrum_at(filter, r) });
            let map = half.into_box();
            let projector = |mask: Array3<f32>| {
                Projector::with_radius((&map * &mask).view(), PADDING, band_px + 1.0)
                    .expect("the map should be a cube")
            };
            Pair {
                whole: projector(&self.subtracted + &self.kept),
                subtracted: projector(self.subtracted.clone()),
            }
        };
        let needs_both =
            self.halves.is_none() || set.particles.iter().any(|particle| particle.half.is_none());
        Projectors {
            halves: self.halves.as_ref().map(|maps| maps.each_ref().map(|map| pair(map, &filters[0]))),
            both: needs_both.then(|| pair(&self.both(), &filters[1])),
            band_px,
        }
    }

    /// The map of all particles: the mean of the halves, which have no filter yet, or the map as given.
    fn both(&self) -> Array3<f32> {
        match &self.halves {
            Some([one, two]) => (one + two) * 0.5,
            None => self.map.clone(),
        }
    }

    /// Writes the map and the mask of the kept part, moved so that `centre_a` (x, y, z, Å) is in the middle of a box of
    /// `n` voxels, and declares the outputs.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_kept(
        &self,
        ctx: &Ctx<'_>,
        n: usize,
        centre_a: [f64; 3],
        pixel_size_a: f64,
    ) -> Result<(), StageError> {
        let moved = |map: ArrayView3<'_, f32>| {
            let mut half = HalfVolume::of_box(map);
            half.shift(centre_a.map(|a| -a / pixel_size_a));
            half.into_box_cropped(n)
        };
        let write = |file: &str, map: &Array3<f32>| {
            ctx.create_at_path(file, |path| mrc::write_volume(path, map, pixel_size_a)).map(|_| ())
        };
        let described = |slot: &str, kind, file: &str| Output {
            pixel_size_a: Some(pixel_size_a),
            box_px: Some(n as u32),
            ..Output::new(slot, kind, file, 1)
        };
        write("map.mrc", &moved((&self.map * &self.kept).view()))?;
        let mut volume = described("volume", Kind::Volume, "map.mrc");
        for (role, half) in ["half1", "half2"].into_iter().zip(self.halves.iter().flatten()) {
            let file = format!("{role}.mrc");
            write(&file, &moved((half * &self.kept).view()))?;
            volume.parts.insert(role.into(), file);
        }
        // a band-limited edge overshoots
        write("mask.mrc", &moved(self.kept.view()).mapv(|value| value.clamp(0.0, 1.0)))?;
        ctx.output(volume);
        ctx.output(described("mask", Kind::Mask, "mask.mrc"));
        Ok(())
    }
}

/// Maps of one half-set, or of all particles, ready to be projected.
pub(super) struct Pair {
    /// The whole structure.
    pub whole: Projector,
    /// The part that is subtracted.
    pub subtracted: Projector,
}

/// The maps that particles are compared with.
pub(super) struct Projectors {
    halves: Option<[Pair; 2]>,
    both: Option<Pair>,
    /// Largest radius at which anything is subtracted, Fourier pixels.
    pub band_px: f64,
}

impl Projectors {
    /// The maps for a particle of a half: of its half alone, where there are half maps.
    pub fn of(&self, half: Option<HalfSet>) -> &Pair {
        match (&self.halves, half) {
            (Some(halves), Some(half)) => &halves[half.index()],
            _ => {
                self.both.as_ref().expect("the map of all particles should be there for those without a half")
            }
        }
    }
}

fn check_box(input: &Input, set: &ParticleSet, n: usize, voxel_a: f64) -> Result<(), StageError> {
    let (box_px, pixel_a) = (set.box_px as usize, set.pixel_size_a);
    if n == box_px && (voxel_a / pixel_a - 1.0).abs() < PIXEL_TOLERANCE {
        return Ok(());
    }
    Err(StageError::input(
        format!(
            "{}: found a box of {n} voxels of {voxel_a} Å, expected that of the images, {box_px} of {pixel_a} Å",
            input.path.display()
        ),
        format!("bring the map there: resample-volume --box-size {box_px} --pixel-size {pixel_a}"),
    ))
}

/// The mask, 0 to 1.
fn read_mask(input: &Input, n: usize) -> Result<Array3<f32>, StageError> {
    let path = input.path.display();
    let mask = mrc::read_volume(&input.path)?.data;
    let (z, y, x) = mask.dim();
    if (z, y, x) != (n, n, n) {
        return Err(StageError::input(
            format!("{path}: found {x} × {y} × {z} voxels, expected the box of the images, {n} × {n} × {n}"),
            "make a mask of the map's box (make-mask, resample-volume)",
        ));
    }
    let (least, largest) = mask.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
    if least < -OVERSHOOT || largest > 1.0 + OVERSHOOT {
        return Err(StageError::input(
            format!("{path}: found values from {least} to {largest}, expected a mask from 0 to 1"),
            "make a mask of it with make-mask",
        ));
    }
    Ok(mask.mapv(|value| value.clamp(0.0, 1.0)))
}

/// Mask of the part of the structure that the given mask does not mark: an automatic one of the map without the marked part,
/// times `1 - mask`.
fn other_part(
    ctx: &Ctx<'_>,
    params: &SubtractSignal,
    map: &Array3<f32>,
    marked: &Array3<f32>,
    voxel_a: f64,
    rough_a: f64,
) -> Result<Array3<f32>, StageError> {
    let rest = marked.mapv(|value| 1.0 - value);
    let low_pass_a = STRUCTURE_LOW_PASS_A.max(1.5 * rough_a).max(3.0 * voxel_a);
    let how = AutoMask {
        low_pass_radius: map.dim().0 as f64 * voxel_a / low_pass_a,
        level: Level::OfHigh(USUAL_LEVEL),
        least_part: USUAL_LEAST_PART,
        extend_px: STRUCTURE.0 / voxel_a,
        edge_px: STRUCTURE.1 / voxel_a,
    };
    match auto_mask((map * &rest).view(), &how) {
        Ok(masked) => Ok(masked.mask * rest),
        Err(_) if params.mask_of == MaskOf::Subtracted => Err(nothing_left(ctx, "kept")?),
        Err(_) => Err(nothing_left(ctx, "subtracted")?),
    }
}

/// The error of a mask that leaves nothing of the structure in one of the parts.
fn nothing_left(ctx: &Ctx<'_>, part: &str) -> Result<StageError, StageError> {
    let path = ctx.input("mask")?.path.display().to_string();
    Ok(StageError::input(
        format!("{path}: no voxel of the structure is left in the {part} part"),
        "give a mask of a part of the structure, and say with mask_of which part it marks",
    ))
}

/// Refuses an output box that is larger than the images.
///
/// # Errors
/// If it is.
pub(super) fn output_box(params: &SubtractSignal, box_px: u32) -> Result<usize, BadParam> {
    let size = params.output_box.unwrap_or(box_px);
    let why = format!("must not be larger than the images ({box_px} px)");
    BadParam::unless(size <= box_px, "output_box", size, &why).map(|()| size as usize)
}
