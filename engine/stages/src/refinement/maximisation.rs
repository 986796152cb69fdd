//! From poses to maps: insertion, the half maps, their FSC, the prior it gives and the regularised maps.

use super::Settings;
use super::chunks::Chunks;
use super::data::Data;
use super::expectation::cropped;
use super::schedule::{Geometry, radius_at};
use super::state::{Mode, ParticleState, State};
use crate::{Ctx, StageError};
use ndarray::{Array3, Zip};
use rayon::prelude::*;
use std::ops::Range;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::fsc::{CorrectedFsc, corrected_fsc};
use vitreous_compute::mask::{AutoMask, Level, USUAL_LEAST_PART, USUAL_LEVEL, auto_mask};
use vitreous_compute::nonuniform::{self, Regularised};
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceSums};
use vitreous_compute::reconstruct::tau2_from_fsc;
use vitreous_compute::slices::{Ewald, PosedImage, SliceBuffer};
use vitreous_jobs::refinement::{Masking, Regularisation};
use vitreous_model::half_set::HalfSet;

/// Largest coefficient of an image that the fixed-point sums allow for, in standard deviations of its noise.
const LARGEST_COEFFICIENT_SD: f64 = 3000.0;

/// No noise variance is smaller: its reciprocal has to be a number in single precision.
pub const LEAST_NOISE: f64 = f32::MIN_POSITIVE as f64;

/// Weight of the FSC in the prior; RELION's tau2_fudge of 3-D refinement.
const TAU2_FACTOR: f64 = 1.0;

/// The automatic mask is made of the map low-passed to this resolution, Å, or to what it has if that is worse.
const MASK_LOW_PASS_A: f64 = 12.0;
/// A map has to be this much better than the mask's low-pass.
const MASK_LOW_PASS_FACTOR: f64 = 1.5;
/// The mask reaches beyond the particle by this share of the resolution …
const MASK_EXTENSION: f64 = 0.4;
/// … between these, Å.
const MASK_EXTENSION_A: (f64, f64) = (4.0, 14.0);
/// Its edge is as wide as this share of the resolution …
const MASK_EDGE: f64 = 0.6;
/// … between these, Å.
const MASK_EDGE_A: (f64, f64) = (6.0, 16.0);

/// Slices of both halves under accumulation, for some classes.
pub struct Accumulation<'a, D: Insert> {
    device: &'a D,
    data: &'a Data,
    state: &'a State,
    grid: PaddedGrid,
    classes: Range<usize>,
    sums: Vec<[D::Accumulator; 2]>,
    buffer: SliceBuffer,
}

fn device_error(error: InsertError) -> StageError {
    StageError::input(
        format!("a particle could not be inserted: {error}"),
        "look at the stack for images that are not normalised",
    )
}

impl<'a, D: Insert> Accumulation<'a, D> {
    /// Empty sums of `classes` for a working box; noise and amplitudes are those of `state`.
    ///
    /// # Errors
    /// The device lacks memory.
    pub fn new(
        device: &'a D,
        data: &'a Data,
        settings: &Settings,
        state: &'a State,
        box_px: usize,
        classes: Range<usize>,
    ) -> Result<Self, StageError> {
        let (noise, amplitudes) = (&state.noise, &state.amplitudes);
        let grid =
            PaddedGrid::for_sums(box_px, settings.padding_of(box_px), PaddedGrid::last_shell_end(box_px));
        let least = noise.iter().flatten().copied().fold(f64::INFINITY, f64::min).max(LEAST_NOISE);
        let images = data.usable.len() as u64;
        let most = amplitudes.iter().copied().fold(1.0, f64::max);
        let scale =
            FixedPoint::new(most * LARGEST_COEFFICIENT_SD / least.sqrt(), most * most / least, images);
        let empty = || device.accumulator(grid, scale).map_err(device_error);
        let sums = classes.clone().map(|_| Ok([empty()?, empty()?])).collect::<Result<_, StageError>>()?;
        let diameter_a = data.geometry.diameter_a;
        let buffer = SliceBuffer::new(settings.curvature.map(|curvature| Ewald { curvature, diameter_a }));
        Ok(Self { device, data, state, grid, classes, sums, buffer })
    }

    /// Adds a chunk's images, whole-box transforms, at their poses.
    ///
    /// # Errors
    /// An image beyond all bounds.
    pub fn add(
        &mut self,
        range: Range<usize>,
        images: &[HalfImage],
        particles: &[ParticleState],
    ) -> Result<(), StageError> {
        let (data, state, n) = (self.data, self.state, self.grid.n());
        let pixel_a = data.geometry.pixel_in(n);
        for half in HalfSet::BOTH {
            let which: Vec<usize> = range.clone().filter(|&which| data.halves[which] == half).collect();
            let images: Vec<HalfImage> =
                which.par_iter().map(|&which| cropped(&images[which - range.start], n)).collect();
            for (place, class) in self.classes.clone().enumerate() {
                let posed: Vec<PosedImage<'_>> = which
                    .iter()
                    .zip(&images)
                    .flat_map(|(&which, image)| {
                        let in_mode = move |mode: &Mode| PosedImage {
                            image,
                            ctf: data.ctf(which),
                            rotation: mode.pose.rotation,
                            shift_px: mode.pose.shift_a.map(|a| a / pixel_a),
                            noise: &state.noise[data.noise_index(which)],
                            amplitude: state.amplitudes[data.amplitude_index(which)],
                            share: mode.share,
                        };
                        let modes = &particles[which - range.start].modes;
                        modes.iter().filter(move |mode| mode.class == class && mode.share > 0.0).map(in_mode)
                    })
                    .collect();
                let batch = self.buffer.fill(&self.grid, PaddedGrid::last_shell_end(n), pixel_a, &posed);
                self.device.insert(&mut self.sums[place][half.index()], &batch).map_err(device_error)?;
            }
        }
        Ok(())
    }

    /// Sums of all ranks, on all ranks, by class.
    ///
    /// # Errors
    /// The device failed.
    pub fn collect(self, ctx: &Ctx<'_>) -> Result<Vec<[FixedGrid; 2]>, StageError> {
        let Self { device, sums, .. } = self;
        let collected = |[first, second]: [D::Accumulator; 2]| {
            let mut grids =
                [device.collect(first).map_err(device_error)?, device.collect(second).map_err(device_error)?];
            grids.iter_mut().for_each(|grid| ctx.comm.sum_in_place_i64(grid.data_mut()));
            Ok(grids)
        };
        sums.into_iter().map(collected).collect()
    }
}

/// Half maps and what follows from them, on one working box.
pub struct HalfMaps {
    /// Sums of slices, symmetrised, low frequencies joined.
    pub sums: [SliceSums; 2],
    /// Maps without regularisation.
    pub plain: [Array3<f32>; 2],
    /// The mask.
    pub mask: Array3<f32>,
    /// Their correlation.
    pub fsc: CorrectedFsc,
    /// τ² by shell, per half.
    pub tau2: [Vec<f64>; 2],
    /// Maps filtered by place, where that is how they are.
    pub by_place: Option<Regularised>,
    /// First shell beyond the joined ones.
    pub joined: usize,
}

impl HalfMaps {
    /// Maps from sums of slices. `resolved` is the radius known so far, for the automatic mask.
    pub fn new(
        ctx: &Ctx<'_>,
        data: &Data,
        settings: &Settings,
        grids: [FixedGrid; 2],
        resolved: f64,
    ) -> Self {
        let join_radius = data.geometry.edge_a() / settings.join_halves_below_a;
        let [mut first, mut second] = grids.map(|grid| grid.to_sums());
        join(&mut first, &mut second, join_radius);
        let sums = [first, second].map(|sums| sums.symmetrised(settings.symmetry));
        let plain = [0, 1].map(|half: usize| sums[half].map(None, f64::INFINITY));
        let mask = mask_of(ctx, data, settings, &plain, resolved);
        let fsc = corrected_fsc(plain[0].view(), plain[1].view(), mask.view(), settings.seed);
        let tau2 =
            [0, 1].map(|half: usize| tau2_from_fsc(&fsc.corrected, &sums[half].shell_weight(), TAU2_FACTOR));
        let by_place = (settings.regularisation == Regularisation::ByPlace).then(|| {
            nonuniform::regularised(plain.each_ref().map(|half| half.view()), mask.view(), join_radius)
        });
        Self { sums, plain, mask, fsc, tau2, by_place, joined: join_radius.floor() as usize + 1 }
    }

    /// Radius up to which there is something to compare images with, Fourier pixels: where the corrected FSC falls below
    /// 0.143, or what the best parts of the map reach beyond that.
    pub fn resolved(&self) -> f64 {
        self.radius_at(0.143).max(self.by_place.as_ref().map_or(0.0, |maps| maps.reached))
    }

    /// Radius at which the corrected FSC falls below a threshold, Fourier pixels; not counting joined shells.
    pub fn radius_at(&self, threshold: f64) -> f64 {
        radius_at(&self.fsc.corrected, threshold, self.joined)
    }

    /// The regularised halves.
    pub fn regularised(&self) -> [Array3<f32>; 2] {
        if let Some(maps) = &self.by_place {
            return maps.halves.clone();
        }
        [0, 1].map(|half: usize| self.sums[half].map(Some(&self.tau2[half]), f64::INFINITY))
    }

    /// The regularised map of both halves.
    pub fn combined(&self) -> Array3<f32> {
        if let Some(maps) = &self.by_place {
            return maps.combined.clone();
        }
        let mut all = self.sums[0].clone();
        all.add(&self.sums[1]);
        let tau2: Vec<f64> = self.tau2[0].iter().zip(&self.tau2[1]).map(|(a, b)| 0.5 * (a + b)).collect();
        all.map(Some(&tau2), f64::INFINITY)
    }
}

/// Makes the sums of two halves the same, their mean, up to `radius` Fourier pixels: below it they cannot be told apart
/// anyway, and so they keep one orientation.
fn join(first: &mut SliceSums, second: &mut SliceSums, radius: f64) {
    let grid = first.grid;
    let reach = grid.reach() as f64;
    let limit2 = (radius * grid.scale()).powi(2);
    let inside = |z: usize, y: usize, x: usize| {
        (z as f64 - reach).powi(2) + (y as f64 - reach).powi(2) + (x * x) as f64 <= limit2
    };
    Zip::indexed(&mut first.numerator).and(&mut second.numerator).par_for_each(|(z, y, x), a, b| {
        if inside(z, y, x) {
            *a = (*a + *b) * 0.5;
            *b = *a;
        }
    });
    Zip::indexed(&mut first.weight).and(&mut second.weight).par_for_each(|(z, y, x), a, b| {
        if inside(z, y, x) {
            *a = (*a + *b) * 0.5;
            *b = *a;
        }
    });
}

/// The given mask, one made from the map, or the sphere, on the box of the maps.
fn mask_of(
    ctx: &Ctx<'_>,
    data: &Data,
    settings: &Settings,
    plain: &[Array3<f32>; 2],
    resolved: f64,
) -> Array3<f32> {
    let box_px = plain[0].dim().0;
    let resampled = |mask: &Array3<f32>| {
        // a mask keeps its values, not those of its transform
        vitreous_compute::fourier::resample_volume(mask.view(), box_px).mapv(|v| v.clamp(0.0, 1.0))
    };
    if let Some(mask) = &data.given_mask {
        return resampled(mask);
    }
    if settings.masking == Masking::None {
        return Array3::ones(plain[0].dim());
    }
    let sphere = resampled(&data.sphere);
    if settings.masking == Masking::Sphere {
        return sphere;
    }
    let map = (&plain[0] + &plain[1]) * 0.5 * &sphere;
    match auto_mask(map.view(), &mask_settings(&data.geometry, box_px, resolved)) {
        Ok(masked) => masked.mask * sphere,
        Err(error) => {
            log::warn!("{}: no automatic mask in this iteration, the sphere is used: {error}", ctx.job);
            sphere
        }
    }
}

fn mask_settings(geometry: &Geometry, box_px: usize, resolved: f64) -> AutoMask {
    let edge_a = geometry.edge_a();
    let resolution_a = edge_a / resolved.max(1.0);
    let low_pass_a = MASK_LOW_PASS_A.max(MASK_LOW_PASS_FACTOR * resolution_a);
    let within = |share: f64, (low, high): (f64, f64)| {
        (share * low_pass_a).clamp(low, high) / geometry.pixel_in(box_px)
    };
    AutoMask {
        low_pass_radius: edge_a / low_pass_a,
        level: Level::OfHigh(USUAL_LEVEL),
        least_part: USUAL_LEAST_PART,
        extend_px: within(MASK_EXTENSION, MASK_EXTENSION_A),
        edge_px: within(MASK_EDGE, MASK_EDGE_A),
    }
}

/// New noise spectra from the residual power of all chunks; shells beyond the working box keep the images' power.
/// Groups of few particles are drawn towards their half's mean.
pub fn noise_from(data: &Data, chunks: &Chunks<'_>, residual: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
    /// Particles from which on a group's own spectrum outweighs that of all.
    const ENOUGH: f64 = 1000.0;
    let lists = 2 * data.group_count;
    let shells = residual.first().and_then(|chunk| chunk.first()).map_or(0, Vec::len);
    let mut counts = vec![0.0; lists];
    for which in 0..chunks.range(chunks.count().max(1) - 1).end {
        counts[data.noise_index(which)] += 1.0;
    }
    let mut sums = vec![vec![0.0; shells]; lists];
    for chunk in residual {
        for (sum, part) in sums.iter_mut().zip(chunk) {
            sum.iter_mut().zip(part).for_each(|(a, b)| *a += b);
        }
    }
    let mut spectra = Vec::with_capacity(lists);
    for half in 0..2 {
        let groups = half * data.group_count..(half + 1) * data.group_count;
        let images: f64 = counts[groups.clone()].iter().sum();
        let all: Vec<f64> = (0..shells)
            .map(|shell| groups.clone().map(|g| sums[g][shell]).sum::<f64>() / images.max(1.0))
            .collect();
        for (group, index) in groups.enumerate() {
            let own: Vec<f64> = sums[index].iter().map(|sum| sum / counts[index].max(1.0)).collect();
            let mut spectrum = vitreous_compute::spectra::shrunk(&own, &all, counts[index], ENOUGH);
            // the last shells of the working box are cut by its corners
            spectrum.truncate(shells.saturating_sub(1));
            let rest = &data.power[group][spectrum.len().min(data.power[group].len())..];
            spectrum.extend(rest);
            if let Some(&second) = spectrum.get(1) {
                // DC carries nothing and is never used, but must not be zero
                spectrum[0] = second;
            }
            spectra.push(spectrum.into_iter().map(|v| v.max(LEAST_NOISE)).collect());
        }
    }
    spectra
}

/// New amplitudes from the cross and norm terms of all particles in their order: each group's ratio of the two relative
/// to that of its half, drawn to 1, then normalised so that particles of a half have a mean of 1.
pub fn amplitudes_from(data: &Data, fits: &[[f64; 2]]) -> Vec<f64> {
    /// Standard deviation of the prior about 1: what micrographs of one session differ by.
    const SPREAD: f64 = 0.2;
    /// Nothing beyond these is believed.
    const RANGE: (f64, f64) = (0.2, 5.0);
    let groups = data.amplitude_names.len();
    let mut sums = vec![[0.0; 3]; 2 * groups];
    for (which, [cross, norm]) in fits.iter().enumerate() {
        let sum = &mut sums[data.amplitude_index(which)];
        *sum = [sum[0] + cross, sum[1] + norm, sum[2] + 1.0];
    }
    let of_half = |half: &[[f64; 3]]| -> Vec<f64> {
        let [cross, norm, count] = half.iter().fold([0.0; 3], |a, b| [0, 1, 2].map(|i| a[i] + b[i]));
        let mean = cross / norm;
        if !(mean > 0.0 && mean.is_finite()) {
            return vec![1.0; groups];
        }
        let shrunk = |[cross, norm, _]: &[f64; 3]| {
            let precision = SPREAD.powi(-2);
            // logL = 2 a cross - a² norm, in units of the half's mean amplitude
            let (cross, norm) = (2.0 * cross * mean, 2.0 * norm * mean * mean);
            ((cross + precision) / (norm + precision)).clamp(RANGE.0, RANGE.1)
        };
        let relative: Vec<f64> = half.iter().map(shrunk).collect();
        let sum: f64 = relative.iter().zip(half).map(|(a, [_, _, count])| a * count).sum();
        relative.iter().map(|a| a * count / sum).collect()
    };
    sums.chunks(groups.max(1)).flat_map(of_half).collect()
}

/// Root-mean-square shift along an axis, Å, for the prior of the next iteration; at least a pixel of the images.
pub fn shift_sigma_a(state: &State, geometry: &Geometry) -> f64 {
    let sum: f64 = state.particles.iter().map(|p| p.pose().shift_a.iter().map(|a| a * a).sum::<f64>()).sum();
    (sum / (2.0 * state.particles.len().max(1) as f64)).sqrt().max(geometry.pixel_size_a)
}
