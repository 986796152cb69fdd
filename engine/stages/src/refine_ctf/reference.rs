//! The map that images are compared with: masked, weighed by what its halves have in common, ready for slicing.

use super::lattice::Lattice;
use crate::half_maps::Halves;
use crate::{Ctx, Input, StageError, cubic_map};
use ndarray::Array3;
use std::path::Path;
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::{corrected_fsc, of_combined};
use vitreous_formats::mrc;
use vitreous_jobs::refine_ctf::RefineCtf;
use vitreous_model::conventions::resolution_at;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::ParticleSet;

/// Padding of the maps' transforms: with 2 the same errors are left, for a sixth more time (BENCHMARKS.md).
const PADDING: f64 = 1.5;
/// Automatic mask: how far it grows, and its edge, Å.
const MASK_A: [f64; 2] = [6.0, 8.0];
/// Where the halves' FSC tells how far to compare.
const THRESHOLD: f64 = 0.143;
/// Pixel sizes are the same within this fraction.
const SAME_PIXEL: f64 = 1e-3;
/// Seed of the phases that correct the FSC for the mask.
const FSC_SEED: u64 = 1;

/// One map for all particles, or one for each half.
pub struct Reference {
    maps: Vec<Projector>,
    /// Finest resolution that is compared, Å.
    pub finest_a: f64,
}

impl Reference {
    /// Reads and prepares the maps.
    ///
    /// # Errors
    /// Maps or a mask that are missing, broken, or not of the particles' box and pixel size; no resolution is known.
    pub fn read(ctx: &Ctx<'_>, params: &RefineCtf, set: &ParticleSet) -> Result<Self, StageError> {
        let input = ctx.input("volume")?;
        let given_mask =
            ctx.optional_input("mask").map(|mask| &mask.path).or_else(|| input.parts.get("mask"));
        if ["half1", "half2"].iter().all(|role| input.parts.contains_key(*role)) {
            let halves = Halves::read(input)?;
            check_size(&input.path, halves.n(), halves.pixel_a, set)?;
            return Self::of_halves(params, set, halves, given_mask.map(|path| path.as_path()));
        }
        Self::of_map(params, set, input, given_mask.map(|path| path.as_path()))
    }

    fn of_halves(
        params: &RefineCtf,
        set: &ParticleSet,
        halves: Halves,
        mask: Option<&Path>,
    ) -> Result<Self, StageError> {
        let mask = match mask {
            Some(path) => halves.mask(path)?,
            None => halves.automatic_mask(None, MASK_A[0], MASK_A[1])?,
        };
        let [one, two] = &halves.maps;
        let fsc = corrected_fsc(one.view(), two.view(), mask.view(), FSC_SEED).corrected;
        let (known_a, _) = resolution_at(&fsc, THRESHOLD, halves.n(), halves.pixel_a);
        let finest_a = params.max_resolution.unwrap_or(known_a);
        let has_halves = set.particles.iter().all(|particle| particle.half.is_some());
        let rmax = halves.n() as f64 * halves.pixel_a / finest_a;
        let prepare = |map: &Array3<f32>, weight: &dyn Fn(f64) -> f64| {
            // the part of the coefficient that is signal, until the curve first vanishes
            let mut shells: Vec<f64> = fsc.iter().map(|&f| weight(f.clamp(0.0, 1.0))).collect();
            let end = shells.iter().skip(1).position(|&w| w <= 0.0).map_or(shells.len(), |at| at + 1);
            shells[end..].fill(0.0);
            projector(map * &mask, Some(&shells), rmax)
        };
        let maps = if has_halves {
            vec![prepare(one, &|f| f)?, prepare(two, &|f| f)?]
        } else {
            vec![prepare(&halves.mean(), &|f| of_combined(f))?]
        };
        Ok(Self { maps, finest_a })
    }

    fn of_map(
        params: &RefineCtf,
        set: &ParticleSet,
        input: &Input,
        mask: Option<&Path>,
    ) -> Result<Self, StageError> {
        let volume = cubic_map::read(&input.path)?;
        let n = volume.data.dim().0;
        check_size(&input.path, n, input.output.pixel_size_a.unwrap_or(volume.voxel_a), set)?;
        let finest_a = params.max_resolution.ok_or_else(|| {
            StageError::input(
                format!("{}: the map has no halves that would tell its resolution", input.path.display()),
                "give --max-resolution, or a map with halves (reconstruct, refine-homogeneous)",
            )
        })?;
        let map = match mask {
            None => volume.data,
            Some(path) => {
                let mask = mrc::read_volume(path)?.data;
                if mask.dim() != volume.data.dim() {
                    let (z, y, x) = mask.dim();
                    return Err(StageError::input(
                        format!("{}: {x} × {y} × {z} voxels, expected {n} × {n} × {n}", path.display()),
                        "make a mask of the map's box",
                    ));
                }
                volume.data * mask
            }
        };
        let rmax = n as f64 * set.pixel_size_a / finest_a;
        Ok(Self { maps: vec![projector(map, None, rmax)?], finest_a })
    }

    /// Whether each half has a map of its own.
    pub fn has_halves(&self) -> bool {
        self.maps.len() > 1
    }

    /// The map for particles of a half.
    pub fn of(&self, half: Option<HalfSet>) -> &Projector {
        match half {
            Some(half) if self.has_halves() => &self.maps[half.index()],
            _ => &self.maps[0],
        }
    }

    /// The map of the other half, which has nothing of the particle's own noise: that would pull the phases of a group to 0.
    /// A group has one set of coefficients for both halves, so that nothing of a particle passes from one to the other.
    pub fn of_other(&self, half: Option<HalfSet>) -> &Projector {
        match half {
            Some(half) if self.has_halves() => &self.maps[1 - half.index()],
            _ => &self.maps[0],
        }
    }

    /// The coefficients that are compared.
    ///
    /// # Errors
    /// There are none between the two resolutions.
    pub fn lattice(&self, params: &RefineCtf, set: &ParticleSet) -> Result<Lattice, StageError> {
        let n = set.box_px as usize;
        let edge_a = n as f64 * set.pixel_size_a;
        let wavelength_a = set.optics.iter().map(|group| group.voltage.wavelength_a()).fold(0.0, f64::max);
        let largest_a = super::defocus::largest_offset_a(params.defocus_sd);
        let radii = [edge_a / params.min_resolution, edge_a / self.finest_a];
        let lattice = Lattice::new(n, set.pixel_size_a, radii, largest_a, wavelength_a);
        if lattice.points.len() < 100 {
            return Err(StageError::input(
                format!(
                    "there is too little to compare between {} Å and {:.1} Å, the finest that the map is good for",
                    params.min_resolution, self.finest_a
                ),
                "raise --min-resolution, or refine the map further first",
            ));
        }
        Ok(lattice)
    }
}

fn check_size(path: &Path, n: usize, pixel_a: f64, set: &ParticleSet) -> Result<(), StageError> {
    if n == set.box_px as usize && (pixel_a / set.pixel_size_a - 1.0).abs() < SAME_PIXEL {
        return Ok(());
    }
    Err(StageError::input(
        format!(
            "{}: {n} voxels of {pixel_a} Å, the particles have {} pixels of {} Å",
            path.display(),
            set.box_px,
            set.pixel_size_a
        ),
        "reconstruct from these particles, or bring the map to their box and pixel size (resample-volume)",
    ))
}

/// A map whose shells are weighed, ready for slices up to `rmax` Fourier pixels.
fn projector(map: Array3<f32>, shells: Option<&[f64]>, rmax: f64) -> Result<Projector, StageError> {
    let map = match shells {
        None => map,
        Some(shells) => {
            let mut half = HalfVolume::of_box(map.view());
            half.weigh(|r| shells.get((r + 0.5) as usize).copied().unwrap_or(0.0));
            half.into_box()
        }
    };
    Projector::with_radius(map.view(), PADDING, rmax + 1.0)
        .map_err(|error| StageError::input(error.to_string(), "give a cubic map"))
}
