//! CPU twin of [`crate::ops::pose_search`]: polar Fourier samples, a radial basis per angular frequency, small real
//! matrix products and a transform over the in-plane angle, directions in lanes.
//!
//! The in-plane angle is exact in polar coordinates: `P_psi(r, θ) = P_0(r, θ + psi)`, so the cross term of formula (1)
//! is `C(psi) = Re Σ_m ε_m e^{-i m psi} S_m` with `S_m = Σ_j y_m(r_j) conj p_m(r_j)`, ε_0 = 1 and 2 otherwise; y are the
//! modes of the image times phases, CTF and `2π w r / s2`, p those of the reference. The norm needs the even angular
//! orders of c² and of |P|² only: `Σ_j (π w r / s2) Σ_Q (c²)_Q conj (|P|²)_Q e^{-i Q psi}`, Q = 0, ±2, ±4.
//!
//! | file | |
//! |---|---|
//! | `basis` | the radial basis |
//! | `rows` | an image's radial coefficients at all shifts |
//! | `kernel`, `lane_fft` | the inner loop |
//! | `lanes` | vectors of floats |
//! | `simd` | its width, chosen at run time |

pub mod basis;
pub mod kernel;
pub mod lane_fft;
pub mod lanes;
pub mod rows;
pub mod simd;

use crate::cpu::project::Projector;
use crate::device::Cpu;
use crate::likelihood::band_end;
use crate::ops::pose_search::{
    PoseSearch, PoseSearchError, Scoring, SearchGeometry, SearchImage, ViewScores, ViewsRequest,
};
use crate::polar::{ImageSampler, PolarGrid};
use basis::RadialBasis;
use kernel::{AlignedFloats, BlockBest, BlockJob, KernelScratch, NORM_ORDERS, Pairing};
use lane_fft::LaneFft;
use num_complex::Complex32;
use rayon::prelude::*;
use rows::{RowJob, Rows, RowsScratch, ShiftPhases, log_prior_of_shifts, whiten};
use simd::Simd;
use vitreous_model::pose::Rotation;

/// A reference prepared for searching.
#[derive(Debug, Clone)]
pub struct CpuViews {
    geometry: SearchGeometry,
    grid: PolarGrid,
    points: Vec<[f64; 2]>,
    sampler: ImageSampler,
    basis: RadialBasis,
    phases: ShiftPhases,
    fft: LaneFft,
    simd: Simd,
    /// Radial coefficients: `[block][rank][re, im][lanes]`.
    reference: AlignedFloats,
    /// Angular powers: `[block][ring][order][re, im][lanes]`.
    powers: AlignedFloats,
    scoring: Scoring,
    evidence: bool,
}

impl CpuViews {
    /// Prepares a reference for kernels of the given width.
    ///
    /// # Errors
    /// The band does not fit, nothing is to be searched, or the reference is empty.
    pub fn new(slicer: &Projector, request: &ViewsRequest<'_>, simd: Simd) -> Result<Self, PoseSearchError> {
        check(slicer, request)?;
        let box_px = slicer.grid().n();
        let grid = PolarGrid::new(box_px, request.rmax, request.diameter_px, request.shifts.reach_px());
        let points: Vec<[f64; 2]> = grid.points().collect();
        let rotations: Vec<Rotation> = request.directions.list.iter().map(|d| d.rotation).collect();
        let (modes, powers): (Vec<_>, Vec<_>) =
            rotations.par_iter().map(|&rotation| view_of(slicer, &grid, &points, rotation)).unzip();
        let basis = RadialBasis::new(&grid, &modes, request.ctf_power, request.noise, request.truncation)
            .ok_or(PoseSearchError::NoSignal { rmax: request.rmax })?;
        // room for the highest order on both sides, and for the astigmatic norm
        let orders = (basis.m_count() - 1).max(NORM_ORDERS[2]);
        let n_psi = LaneFft::good_length(2 * orders + 1);
        let fft = LaneFft::new(n_psi).expect("a good length should have small factors");
        let lanes = simd.lanes();
        Ok(Self {
            geometry: SearchGeometry {
                directions: request.directions.clone(),
                n_psi,
                shifts: request.shifts.clone(),
                operators: request.directions.group.rotations(),
            },
            sampler: ImageSampler::new(&grid, request.rmax),
            phases: ShiftPhases::new(&grid, &request.shifts.list),
            reference: in_lanes(lanes, &modes, |view| basis.project(&grid, view)),
            powers: in_lanes(lanes, &powers, Clone::clone),
            grid,
            points,
            basis,
            fft,
            simd,
            scoring: request.scoring,
            evidence: request.evidence,
        })
    }

    /// Number of radial coefficients of a view, for reports and benchmarks.
    pub fn rank(&self) -> usize {
        self.basis.rank()
    }

    /// Scores of one image.
    fn score(&self, image: &SearchImage<'_>, work: &mut Workspace) -> ViewScores {
        self.prepare_rows(image, work);
        let lanes = self.simd.lanes();
        let count = self.geometry.directions.list.len();
        let views = 2 * count;
        let mut scores = ViewScores {
            best: vec![f32::NEG_INFINITY; views],
            psi: vec![0; views],
            shift: vec![0; views],
            log_sum: if self.evidence { vec![f32::NEG_INFINITY; views] } else { Vec::new() },
        };
        let reference_size = self.basis.rank() * 2 * lanes;
        let powers_size = self.grid.rings.len() * 2 * NORM_ORDERS.len() * lanes;
        for block in 0..count.div_ceil(lanes) {
            let job = BlockJob {
                fft: &self.fft,
                offsets: self.basis.offsets(),
                pairing: Pairing::Mirror,
                reference: &self.reference.floats()[block * reference_size..(block + 1) * reference_size],
                powers: &self.powers.floats()[block * powers_size..(block + 1) * powers_size],
                rows: &work.rows,
                free_amplitude: self.scoring == Scoring::FreeAmplitude,
                evidence: self.evidence,
            };
            work.best.reset(lanes);
            self.simd.search_block(&job, &mut work.kernel, &mut work.best);
            for lane in 0..lanes.min(count - block * lanes) {
                for side in 0..2 {
                    let (view, at) = (2 * (block * lanes + lane) + side, side * lanes + lane);
                    scores.best[view] = work.best.value[at];
                    scores.psi[view] = work.best.psi[at] as u16;
                    scores.shift[view] = work.best.row[at] as u16;
                    if self.evidence {
                        scores.log_sum[view] = work.best.value[at] + work.best.sum[at].ln();
                    }
                }
            }
        }
        scores
    }

    /// Fills `work.rows` with the image at all shifts.
    fn prepare_rows(&self, image: &SearchImage<'_>, work: &mut Workspace) {
        let ctf = image.model.lattice_ctf();
        let amplitude = image.model.amplitude as f32;
        let mut samples = self.sampler.samples(image.model.image, image.centre_px, &mut work.plane);
        let transfer: Vec<f32> = self.points.iter().map(|&[qx, qy]| amplitude * ctf.value(qx, qy)).collect();
        let (metric, norm) = (self.basis.root_metric(), &mut work.rows.norm);
        whiten(&self.grid, metric, image.model.noise, &transfer, &mut samples, norm);
        work.rows.log_prior = log_prior_of_shifts(&self.geometry.shifts.list, image.shift_sigma_px);
        let job = RowJob { grid: &self.grid, basis: &self.basis, phases: &self.phases, samples: &samples };
        self.simd.shifted_rows(&job, &mut work.folded, &mut work.rows);
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
}

fn check(slicer: &Projector, request: &ViewsRequest<'_>) -> Result<(), PoseSearchError> {
    let box_px = slicer.grid().n();
    let reach = slicer.grid().radius(0.5 * box_px as f64);
    let fits = request.rmax >= 2.0
        && band_end(request.rmax) as f64 <= reach
        && request.diameter_px > 0.0
        && request.diameter_px <= box_px as f64;
    if !fits {
        return Err(PoseSearchError::BandOutsideBox {
            box_px,
            reach,
            rmax: request.rmax,
            diameter_px: request.diameter_px,
        });
    }
    if request.directions.list.is_empty() {
        return Err(PoseSearchError::Empty("direction"));
    }
    if request.shifts.list.is_empty() {
        return Err(PoseSearchError::Empty("shift"));
    }
    Ok(())
}

/// Modes (all rings) and angular powers (per ring and order) of the reference's view.
fn view_of(
    slicer: &Projector,
    grid: &PolarGrid,
    points: &[[f64; 2]],
    rotation: Rotation,
) -> (Vec<[f32; 2]>, Vec<[f32; 2]>) {
    let m = rotation.matrix();
    let mut modes = Vec::with_capacity(grid.modes());
    let mut powers = Vec::with_capacity(grid.rings.len() * NORM_ORDERS.len());
    for ring in &grid.rings {
        let samples: Vec<[f32; 2]> = points[ring.first..ring.first + ring.count]
            .iter()
            .map(|&[qx, qy]| {
                let value = slicer.value([0, 1, 2].map(|i| (m[i][0] * qx + m[i][1] * qy) as f32));
                [value.re, value.im]
            })
            .collect();
        modes.extend(ring.modes(&samples));
        powers.extend(ring.even_orders(samples.iter().map(|v| v[0] * v[0] + v[1] * v[1])));
    }
    (modes, powers)
}

/// Lists of complex values, one list per direction, as `[block][value][re, im][lanes]`; missing lanes are zero.
pub(super) fn in_lanes<T: Sync>(
    lanes: usize,
    views: &[T],
    values: impl Fn(&T) -> Vec<[f32; 2]> + Sync,
) -> AlignedFloats {
    let lists: Vec<Vec<[f32; 2]>> = views.par_iter().map(&values).collect();
    let length = lists.first().map_or(0, Vec::len);
    let mut out = AlignedFloats::zeros(lists.len().div_ceil(lanes) * length * 2 * lanes);
    let floats = out.floats_mut();
    for (direction, list) in lists.iter().enumerate() {
        let block = direction / lanes * length * 2 * lanes + direction % lanes;
        for (index, value) in list.iter().enumerate() {
            floats[block + 2 * index * lanes] = value[0];
            floats[block + (2 * index + 1) * lanes] = value[1];
        }
    }
    out
}

impl PoseSearch for Cpu {
    type Views = CpuViews;

    fn prepare_views(
        &self,
        slicer: &Projector,
        request: &ViewsRequest<'_>,
    ) -> Result<CpuViews, PoseSearchError> {
        CpuViews::new(slicer, request, Simd::detect())
    }

    fn geometry<'a>(&self, views: &'a CpuViews) -> &'a SearchGeometry {
        &views.geometry
    }

    fn score_views(&self, views: &CpuViews, images: &[SearchImage<'_>]) -> Vec<ViewScores> {
        images.par_iter().map_init(Workspace::default, |work, image| views.score(image, work)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::pose_search::run(&Cpu));
    }

    #[test]
    fn every_width_scores_alike() {
        let case = &parity::pose_search::cases()[1];
        let setting = case.setting();
        let slicer = Projector::new(setting.phantom.volume().view(), 2.0).unwrap();
        let images = case.search_images(&setting);
        let of_width = |simd: Simd| -> Vec<ViewScores> {
            let views = CpuViews::new(&slicer, &case.request(&setting), simd).unwrap();
            images.iter().map(|image| views.score(image, &mut Workspace::default())).collect()
        };
        let plain = of_width(Simd::Portable);
        for simd in Simd::available() {
            for (found, plain) in of_width(simd).iter().zip(&plain) {
                let lists = [(&found.best, &plain.best), (&found.log_sum, &plain.log_sum)];
                for (a, b) in lists.into_iter().flat_map(|(a, b)| a.iter().zip(b)) {
                    // sums of some hundred terms in single precision
                    assert!((a - b).abs() < 1e-2, "{simd:?}: {a} {b}");
                }
            }
        }
    }
}
