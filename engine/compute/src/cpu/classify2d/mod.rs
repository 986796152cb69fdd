//! CPU twin of [`crate::ops::classify2d`]: the kernels of [`crate::cpu::pose_search`] with class averages in place of
//! views, two of them in each lane.
//!
//! The search over all classes keeps the best score of each; only the few classes that can hold a share of the
//! posterior are then evaluated pose by pose (`scores`), and the image's angular modes at the shifts that matter are
//! added to them (`posterior`). An in-plane turn of a mode is a phase, so that a class takes an image with its whole
//! posterior over angles for the price of one pose.

mod posterior;
pub mod scores;

use crate::cpu::pose_search::basis::RadialBasis;
use crate::cpu::pose_search::kernel::{
    AlignedFloats, BlockBest, BlockJob, KernelScratch, NORM_ORDERS, Pairing,
};
use crate::cpu::pose_search::lane_fft::LaneFft;
use crate::cpu::pose_search::rows::{RowJob, Rows, RowsScratch, ShiftPhases, log_prior_of_shifts, whiten};
use crate::cpu::pose_search::simd::Simd;
use crate::device::Cpu;
use crate::fourier::HalfImage;
use crate::likelihood::band_end;
use crate::ops::classify2d::{Assignment, ClassesRequest, Classify2d, Contribution, FixedSums, SumsLayout};
use crate::ops::pose_search::{PoseSearchError, SearchImage, ShiftGrid};
use crate::polar::{ImageSampler, PolarGrid};
use ndarray::Array2;
use num_complex::Complex32;
use posterior::Posterior;
use rayon::prelude::*;
use scores::{ClassJob, ScoresScratch};

/// Classes whose best score lies further under the best of all, in nats at temperature 1, get no share.
const WINDOW_NATS: f32 = 9.0;

/// Most classes an image is shared between.
const MOST_CLASSES: usize = 12;

/// Class averages prepared for a step.
#[derive(Debug, Clone)]
pub struct CpuClasses {
    layout: SumsLayout,
    /// Rings that poses are found with.
    search: PolarGrid,
    /// Rings that images are added on; the first of them are those of `search`.
    summed: PolarGrid,
    points: Vec<[f64; 2]>,
    sampler: ImageSampler,
    basis: RadialBasis,
    shifts: ShiftGrid,
    phases: ShiftPhases,
    fft: LaneFft,
    simd: Simd,
    /// Radial coefficients of pairs of classes: `[block][rank][2][re, im][lanes]`.
    reference: AlignedFloats,
    /// Angular powers of pairs: `[block][ring][order][2][re, im][lanes]`.
    powers: AlignedFloats,
    averages: Vec<Average>,
    log_prior: Vec<f32>,
    temperature: f32,
}

/// One class average on the rings of the search.
#[derive(Debug, Clone)]
struct Average {
    /// Modes, as the grid counts them.
    modes: Vec<[f32; 2]>,
    /// Radial coefficients.
    coefficients: Vec<[f32; 2]>,
    /// Angular powers, `[ring][order]`.
    powers: Vec<[f32; 2]>,
}

impl CpuClasses {
    /// Prepares averages for kernels of the given width.
    ///
    /// # Errors
    /// The band does not fit, nothing is to be searched, or all averages are empty.
    pub fn new(request: &ClassesRequest<'_>, simd: Simd) -> Result<Self, PoseSearchError> {
        let box_px = check(request)?;
        let reach = request.shifts.reach_px();
        let search = PolarGrid::new(box_px, request.rmax, request.diameter_px, reach);
        let rings = request.summed_rings.clamp(search.rings.len(), request.layout.grid.rings.len());
        let summed = PolarGrid::of_rings(box_px, rings, request.diameter_px, reach);
        let sampler = ImageSampler::new(&summed, rings as f64);
        let sampled: Vec<(Vec<[f32; 2]>, Vec<[f32; 2]>)> =
            request.averages.par_iter().map(|average| modes_and_powers(average, &sampler, &search)).collect();
        let modes: Vec<Vec<[f32; 2]>> = sampled.iter().map(|(modes, _)| modes.clone()).collect();
        let basis = RadialBasis::new(&search, &modes, request.ctf_power, request.noise, request.truncation)
            .ok_or(PoseSearchError::NoSignal { rmax: request.rmax })?;
        let averages: Vec<Average> = sampled
            .into_iter()
            .map(|(modes, powers)| Average { coefficients: basis.project(&search, &modes), modes, powers })
            .collect();
        let orders = (basis.m_count() - 1).max(NORM_ORDERS[2]);
        let fft = LaneFft::new(LaneFft::good_length(2 * orders + 1))
            .expect("a good length should have small factors");
        let lanes = simd.lanes();
        Ok(Self {
            layout: request.layout.clone(),
            points: summed.points().collect(),
            phases: ShiftPhases::new(&summed, &request.shifts.list),
            reference: in_pairs(lanes, &averages, |average| &average.coefficients),
            powers: in_pairs(lanes, &averages, |average| &average.powers),
            shifts: request.shifts.clone(),
            log_prior: request.log_prior.iter().map(|&prior| prior as f32).collect(),
            temperature: request.temperature.max(1e-3) as f32,
            search,
            summed,
            sampler,
            basis,
            fft,
            simd,
            averages,
        })
    }

    /// Number of radial coefficients of a class.
    pub fn rank(&self) -> usize {
        self.basis.rank()
    }

    /// Finds an image's posterior and calls `add` with what it gives to each class.
    fn classify(
        &self,
        image: &SearchImage<'_>,
        work: &mut Workspace,
        add: impl FnMut(usize, &Contribution),
    ) -> Assignment {
        self.prepare(image, work);
        self.best_of_classes(work);
        let candidates = self.candidates(&work.best_scores);
        let posterior = self.posterior(&candidates, work);
        self.contribute(image, &posterior, work, add)
    }

    /// Fills the samples, the transfer and the rows of an image.
    fn prepare(&self, image: &SearchImage<'_>, work: &mut Workspace) {
        let ctf = image.model.lattice_ctf();
        let amplitude = image.model.amplitude as f32;
        work.samples = self.sampler.samples(image.model.image, image.centre_px, &mut work.plane);
        work.transfer.clear();
        work.transfer.extend(self.points.iter().map(|&[qx, qy]| amplitude * ctf.value(qx, qy)));
        work.whitened.clear();
        work.whitened.extend_from_slice(&work.samples[..self.search.samples()]);
        let (metric, norm) = (self.basis.root_metric(), &mut work.rows.norm);
        whiten(&self.search, metric, image.model.noise, &work.transfer, &mut work.whitened, norm);
        work.rows.log_prior = log_prior_of_shifts(&self.shifts.list, image.shift_sigma_px);
        let job =
            RowJob { grid: &self.search, basis: &self.basis, phases: &self.phases, samples: &work.whitened };
        self.simd.shifted_rows(&job, &mut work.folded, &mut work.rows);
    }

    /// Best score of each class over angles and shifts, the class's prior included.
    fn best_of_classes(&self, work: &mut Workspace) {
        let lanes = self.simd.lanes();
        let reference_size = self.basis.rank() * 4 * lanes;
        let powers_size = self.search.rings.len() * 4 * NORM_ORDERS.len() * lanes;
        work.best_scores.clear();
        for block in 0..self.averages.len().div_ceil(2 * lanes) {
            let job = BlockJob {
                fft: &self.fft,
                offsets: self.basis.offsets(),
                pairing: Pairing::Two,
                reference: &self.reference.floats()[block * reference_size..(block + 1) * reference_size],
                powers: &self.powers.floats()[block * powers_size..(block + 1) * powers_size],
                rows: &work.rows,
                free_amplitude: false,
                evidence: false,
            };
            work.best.reset(lanes);
            self.simd.search_block(&job, &mut work.kernel, &mut work.best);
            let wanted = (self.averages.len() - 2 * lanes * block).min(2 * lanes);
            work.best_scores.extend_from_slice(&work.best.value[..wanted]);
        }
        work.best_scores.iter_mut().zip(&self.log_prior).for_each(|(score, prior)| *score += prior);
    }

    /// The classes that can hold a share, best first; ties go to the lower number.
    fn candidates(&self, scores: &[f32]) -> Vec<usize> {
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let floor = top - WINDOW_NATS * self.temperature;
        let mut found: Vec<usize> = (0..scores.len()).filter(|&class| scores[class] >= floor).collect();
        found.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        found.truncate(MOST_CLASSES);
        found
    }

    /// All scores of the candidates, and the poses among them that matter.
    fn posterior(&self, candidates: &[usize], work: &mut Workspace) -> Posterior {
        let mut all = Vec::with_capacity(candidates.len());
        for &class in candidates {
            let average = &self.averages[class];
            let job = ClassJob {
                fft: &self.fft,
                offsets: self.basis.offsets(),
                coefficients: &average.coefficients,
                powers: &average.powers,
                rows: &work.rows,
            };
            let mut scores = std::mem::take(&mut work.scores);
            self.simd.scores_of_class(&job, &mut work.score_scratch, &mut scores);
            all.push((class, self.log_prior[class], scores));
        }
        let posterior = Posterior::new(&all, self.fft.points(), self.temperature);
        if let Some((_, _, scores)) = all.pop() {
            work.scores = scores;
        }
        posterior
    }
}

/// Buffers of one thread.
#[derive(Debug, Clone, Default)]
struct Workspace {
    plane: Vec<Complex32>,
    folded: RowsScratch,
    rows: Rows,
    kernel: KernelScratch,
    best: BlockBest,
    best_scores: Vec<f32>,
    samples: Vec<Complex32>,
    whitened: Vec<Complex32>,
    transfer: Vec<f32>,
    score_scratch: ScoresScratch,
    scores: Vec<f32>,
    modes: Vec<f32>,
}

/// The box of the averages.
fn check(request: &ClassesRequest<'_>) -> Result<usize, PoseSearchError> {
    let Some(first) = request.averages.first() else { return Err(PoseSearchError::Empty("class average")) };
    let box_px = first.nrows();
    let reach = box_px as f64 / 2.0 - 1.0;
    let fits = request.rmax >= 2.0
        && band_end(request.rmax) as f64 <= reach
        && band_end(request.rmax) <= request.layout.grid.rings.len()
        && request.diameter_px > 0.0
        && request.diameter_px <= box_px as f64;
    if !fits {
        let (rmax, diameter_px) = (request.rmax, request.diameter_px);
        return Err(PoseSearchError::BandOutsideBox { box_px, reach, rmax, diameter_px });
    }
    if request.shifts.list.is_empty() {
        return Err(PoseSearchError::Empty("shift"));
    }
    Ok(box_px)
}

/// Modes and angular powers of an average on a grid whose samples are the sampler's first.
fn modes_and_powers(
    average: &Array2<f32>,
    sampler: &ImageSampler,
    grid: &PolarGrid,
) -> (Vec<[f32; 2]>, Vec<[f32; 2]>) {
    let samples = sampler.samples(&HalfImage::of_box(average.view()), [0.0; 2], &mut Vec::new());
    let mut modes = Vec::with_capacity(grid.modes());
    let mut powers = Vec::with_capacity(grid.rings.len() * NORM_ORDERS.len());
    for ring in &grid.rings {
        let values: Vec<[f32; 2]> =
            samples[ring.first..ring.first + ring.count].iter().map(|v| [v.re, v.im]).collect();
        modes.extend(ring.modes(&values));
        powers.extend(ring.even_orders(values.iter().map(|v| v[0] * v[0] + v[1] * v[1])));
    }
    (modes, powers)
}

/// Lists of complex values as `[block][value][2][re, im][lanes]`: a block holds `lanes` classes and then as many again;
/// missing ones are zero.
fn in_pairs(
    lanes: usize,
    averages: &[Average],
    values: impl for<'a> Fn(&'a Average) -> &'a Vec<[f32; 2]>,
) -> AlignedFloats {
    let length = averages.first().map_or(0, |average| values(average).len());
    let mut out = AlignedFloats::zeros(averages.len().div_ceil(2 * lanes) * length * 4 * lanes);
    let floats = out.floats_mut();
    for (class, average) in averages.iter().enumerate() {
        let (block, place) = (class / (2 * lanes), class % (2 * lanes));
        let start = block * length * 4 * lanes + 2 * (place / lanes) * lanes + place % lanes;
        for (index, value) in values(average).iter().enumerate() {
            floats[start + 4 * index * lanes] = value[0];
            floats[start + (4 * index + 1) * lanes] = value[1];
        }
    }
    out
}

impl Classify2d for Cpu {
    type Classes = CpuClasses;

    fn prepare_classes(&self, request: &ClassesRequest<'_>) -> Result<CpuClasses, PoseSearchError> {
        CpuClasses::new(request, Simd::detect())
    }

    fn angles(&self, classes: &CpuClasses) -> usize {
        classes.fft.points()
    }

    fn classify(
        &self,
        classes: &CpuClasses,
        images: &[SearchImage<'_>],
        halves: &[usize],
        sums: &mut FixedSums,
    ) -> Vec<Assignment> {
        // one set of sums a thread: integers, so that the division into pieces does not matter
        let piece = images.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts: Vec<(Vec<Assignment>, FixedSums)> = images
            .par_chunks(piece)
            .zip(halves.par_chunks(piece))
            .map(|(images, halves)| {
                let mut part = FixedSums::zeros(classes.layout.clone());
                let mut work = Workspace::default();
                let one = |(image, &half): (&SearchImage<'_>, &usize)| {
                    classes.classify(image, &mut work, |class, given| part.add(class, half, given))
                };
                (images.iter().zip(halves).map(one).collect(), part)
            })
            .collect();
        let mut all = Vec::with_capacity(images.len());
        for (assignments, part) in parts {
            all.extend(assignments);
            sums.merge(&part);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu_at_every_width() {
        for simd in Simd::available() {
            parity::assert_all(&parity::classify2d::run(&Cpu, &|request| CpuClasses::new(request, simd)));
        }
    }
}
