//! The sums of the family against the same sums in f64 over the reference as it is interpolated: what a device adds to the
//! error of the interpolation.

use super::super::Outcome;
use super::super::project::{linear, padded_transform, rotations};
use crate::fourier::{HalfImage, HalfVolume};
use crate::likelihood::{BAND_EDGE_PX, ImageModel, band_window, spectrum_at};
use crate::ops::align::{
    Align, AlignImage, AlignLevel, NormalEquations, PARAMETERS, PixelPose, PosePrior, ShellSums,
};
use crate::ops::grid::PaddedGrid;
use crate::parity::phantom::Truth;
use ndarray::Array3;
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;
use vitreous_model::aberrations::EvenPhase;
use vitreous_model::conventions::{shell_of, signed_frequency};
use vitreous_model::ctf::CtfParams;

/// Box edges, with padding and the band of each: nothing, one, a grid that ends before the band, even, prime, and a band of
/// more than 4096 points.
const CASES: [(usize, f64, f64); 6] =
    [(0, 2.0, 2.0), (1, 2.0, 2.0), (5, 2.0, 2.0), (16, 2.0, 5.0), (31, 2.0, 12.3), (107, 1.0, 50.0)];

/// Images of a case; the last has no start.
const IMAGES: usize = 5;

/// Pixel size, Å.
const PIXEL_A: f64 = 2.5;

/// Errors are taken relative to the sum of what is summed, sign apart. Coordinates in single precision are off by up to 3e-5
/// of a grid step, and terms by that times their slope, at random; phases and CTF by 2e-6.
const SUM_BOUND: f64 = 1e-5;

/// A derivative jumps where the grid's cells meet: in the largest case a point of 4247 may count to the neighbouring cell.
const DERIVATIVE_BOUND: f64 = 3e-4;

/// Poses and equations of one image must not depend on what stands beside it.
const SAME: f64 = 0.0;

/// White noise: every point of a band counts.
fn noise_volume(n: usize) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
    Array3::from_shape_simple_fn((n, n, n), || rng.random_range(-1.0..1.0))
}

/// The images of a case and what is known of them.
struct Setting {
    images: Vec<HalfImage>,
    ctfs: Vec<Option<CtfParams>>,
    noises: Vec<Vec<f64>>,
    amplitudes: Vec<f64>,
    starts: Vec<Vec<PixelPose>>,
}

impl Setting {
    fn new(n: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(500 + n as u64);
        let mut images = vec![HalfImage::zeros_box(n); IMAGES];
        for value in images.iter_mut().flat_map(|image| image.data_mut()) {
            *value = Complex32::new(rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)) * n as f32;
        }
        let mut ctfs: Vec<Option<CtfParams>> =
            (0..IMAGES).map(|i| Truth::random(0.0, &mut rng).ctf.filter(|_| i != 1)).collect();
        if let Some(ctf) = &mut ctfs[0] {
            ctf.even = EvenPhase { zernike: [0.1, -3.0, 2.0, 5.0, 60.0, -40.0, 30.0, 25.0, -80.0] };
        }
        // one spectrum ends early, one is empty
        let lengths = [n / 2 + 1, n / 3, 0, n, n];
        let noises =
            lengths.map(|length| (0..length).map(|_| rng.random_range(0.2..2.0) * (n * n) as f64).collect());
        let mut start = |rotation| {
            let shift_px = [0; 2].map(|_| rng.random_range(-2.0..2.0));
            PixelPose { rotation, shift_px }
        };
        let mut starts: Vec<Vec<PixelPose>> =
            rotations(IMAGES - 1, n as u64).into_iter().map(|rotation| vec![start(rotation)]).collect();
        starts.push(Vec::new());
        let amplitudes = vec![0.7, 1.0, 1.2, 0.0, 1.0];
        Self { images, ctfs, noises: noises.into(), amplitudes, starts }
    }

    fn model(&self, i: usize) -> ImageModel<'_> {
        ImageModel {
            image: &self.images[i],
            ctf: self.ctfs[i].as_ref(),
            pixel_size_a: PIXEL_A,
            noise: &self.noises[i],
            amplitude: self.amplitudes[i],
        }
    }

    fn align_images(&self) -> Vec<AlignImage<'_>> {
        (0..IMAGES)
            .map(|i| AlignImage {
                model: self.model(i),
                starts: &self.starts[i],
                prior: if i == 2 { PosePrior::of_shift(3.0) } else { PosePrior::NONE },
            })
            .collect()
    }
}

/// A sum, and the sum of its terms' sizes.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    size: f64,
}

impl Sum {
    fn add(&mut self, term: f64) {
        self.value += term;
        self.size += term.abs();
    }

    fn error(&self, found: f64) -> f64 {
        let error = (found - self.value).abs();
        if error == 0.0 { 0.0 } else { error / self.size }
    }
}

/// One image at a pose beside the interpolated reference.
struct Oracle<'a> {
    padded: HalfVolume,
    grid: PaddedGrid,
    model: ImageModel<'a>,
    pose: PixelPose,
}

/// One point of the half plane: image moved back by the shift, model, and the model's derivatives.
struct Point {
    radius: f64,
    image: Complex64,
    model: Complex64,
    derivatives: [Complex64; PARAMETERS],
}

impl Oracle<'_> {
    /// One of each Friedel pair inside Nyquist; points beyond `reach` have no model.
    fn points(&self, reach: f64) -> Vec<Point> {
        let n = self.grid.n();
        let mut points = Vec::new();
        for (y, row) in self.model.image.data().rows().into_iter().enumerate() {
            for (x, value) in row.iter().enumerate() {
                let (qx, qy) = (x as f64, signed_frequency(y, n) as f64);
                let radius = qx.hypot(qy);
                if (qx > 0.0 || qy > 0.0) && radius < 0.5 * n as f64 {
                    let [tx, ty] = self.pose.shift_px;
                    let turned = Complex64::cis(TAU * (qx * tx + qy * ty) / n as f64);
                    let image = Complex64::new(value.re.into(), value.im.into()) * turned;
                    let (model, derivatives) =
                        if radius <= reach { self.modelled(qx, qy) } else { Default::default() };
                    points.push(Point { radius, image, model, derivatives });
                }
            }
        }
        points
    }

    fn modelled(&self, qx: f64, qy: f64) -> (Complex64, [Complex64; PARAMETERS]) {
        let scale = self.grid.scale();
        let transfer = self.model.amplitude * f64::from(self.model.lattice_ctf().value(qx, qy));
        let rotation = self.pose.rotation;
        let k = rotation.apply([qx, qy, 0.0]).map(|c| c * scale);
        let model = linear(&self.padded, k) * transfer;
        // along an axis the interpolation runs straight from one end of its cell to the other
        let gradient = [0, 1, 2].map(|axis| {
            let mut ends = [k, k];
            ends[0][axis] = k[axis].floor();
            ends[1][axis] = k[axis].floor() + 1.0;
            (linear(&self.padded, ends[1]) - linear(&self.padded, ends[0])) * (scale * transfer)
        });
        let columns = rotation.matrix();
        let [gx, gy, gz] = [0, 1, 2]
            .map(|column: usize| (0..3).map(|row| gradient[row] * columns[row][column]).sum::<Complex64>());
        let per_px = Complex64::new(0.0, -TAU / self.grid.n() as f64);
        let derivatives = [gz * qy, gz * -qx, gy * qx - gx * qy, model * per_px * qx, model * per_px * qy];
        (model, derivatives)
    }

    /// logL, gradient and Hessian row by row.
    fn normal_equations(&self, rmax: f64) -> Vec<Sum> {
        let reach = self.grid.radius(0.5 * self.grid.n() as f64).floor();
        let rmax = rmax.min(reach - 0.5 * BAND_EDGE_PX).max(1.0);
        let mut sums = vec![Sum::default(); 1 + PARAMETERS + PARAMETERS * PARAMETERS];
        for point in self.points(reach).into_iter().filter(|point| point.radius <= reach) {
            let weight = band_window(point.radius, rmax) / spectrum_at(self.model.noise, point.radius);
            sums[0].add(weight * 2.0 * (point.image * point.model.conj()).re);
            sums[0].add(-weight * point.model.norm_sqr());
            let residual = point.image - point.model;
            for (a, da) in point.derivatives.iter().enumerate() {
                sums[1 + a].add(2.0 * weight * (residual * da.conj()).re);
                for (b, db) in point.derivatives.iter().enumerate() {
                    sums[1 + PARAMETERS + a * PARAMETERS + b].add(2.0 * weight * (da * db.conj()).re);
                }
            }
        }
        sums
    }

    /// Residual, cross, model and points of each shell.
    fn shell_sums(&self, rmax: f64) -> [Vec<Sum>; 4] {
        let shells = self.grid.n() / 2 + 1;
        let over = if self.model.amplitude == 0.0 { 0.0 } else { 1.0 / self.model.amplitude };
        let mut sums = [(); 4].map(|()| vec![Sum::default(); shells]);
        for point in self.points(self.grid.radius(rmax)) {
            let shell = shell_of(point.radius).min(shells - 1);
            let mut add = |list: usize, term| sums[list][shell].add(term);
            add(0, (point.image - point.model).norm_sqr());
            add(1, (point.image * point.model.conj()).re * over);
            add(2, point.model.norm_sqr() * over * over);
            add(3, 1.0);
        }
        sums
    }
}

/// Equations as a list: logL, gradient, Hessian row by row.
fn listed(found: &NormalEquations) -> Vec<f64> {
    let NormalEquations { log_likelihood, gradient, hessian } = found;
    [&[*log_likelihood], &gradient[..], hessian.as_flattened()].concat()
}

/// Largest errors of logL, of derivatives and of shell sums over all images of a case.
fn errors_of<D: Align>(device: &D, (n, pad, rmax): (usize, f64, f64)) -> [f64; 3] {
    let volume = noise_volume(n);
    let slicer = device.slicer(volume.view(), pad, n as f64).expect("a cubic volume should be accepted");
    let setting = Setting::new(n);
    let images = setting.align_images();
    let equations = device.normal_equations(&slicer, rmax, &images);
    let shells = device.shell_sums(&slicer, rmax, &images);
    let mut errors = [0.0f64; 3];
    let mut see = |which: usize, error: f64| {
        // NaN stays
        if error.is_nan() || error > errors[which] {
            errors[which] = error;
        }
    };
    if (equations.len(), shells.len()) != (IMAGES, IMAGES) {
        return [f64::NAN; 3];
    }
    for (i, image) in images.iter().enumerate() {
        let Some(&pose) = image.starts.first() else {
            let none = vec![0.0; n / 2 + 1];
            let zeros =
                ShellSums { residual: none.clone(), cross: none.clone(), model: none.clone(), points: none };
            see(0, if equations[i] == NormalEquations::default() { 0.0 } else { f64::NAN });
            see(2, if shells[i] == zeros { 0.0 } else { f64::NAN });
            continue;
        };
        let grid = device.slicer_grid(&slicer);
        let oracle = Oracle { padded: padded_transform(&volume, &grid), grid, model: setting.model(i), pose };
        let mut prior = NormalEquations::default();
        image.prior.add_to(&pose, &mut prior);
        let wanted = oracle.normal_equations(rmax);
        for (at, ((sum, &prior), &found)) in
            wanted.iter().zip(&listed(&prior)).zip(&listed(&equations[i])).enumerate()
        {
            let mut sum = *sum;
            sum.add(prior);
            see(usize::from(at > 0), sum.error(found));
        }
        let ShellSums { residual, cross, model, points } = &shells[i];
        for (wanted, found) in oracle.shell_sums(rmax).iter().zip([residual, cross, model, points]) {
            see(2, if wanted.len() == found.len() { 0.0 } else { f64::NAN });
            wanted.iter().zip(found).for_each(|(sum, &found)| see(2, sum.error(found)));
        }
    }
    errors
}

/// All cases.
pub(super) fn run<D: Align>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for case in CASES {
        let errors = errors_of(device, case);
        let measures = [
            ("logL over the sum of its terms", SUM_BOUND),
            ("derivatives over the sums of their terms", DERIVATIVE_BOUND),
            ("sums by shell over the sums of their terms", SUM_BOUND),
        ];
        for (error, (measure, bound)) in errors.into_iter().zip(measures) {
            let case = format!("interpolated reference, box {}", case.0);
            outcomes.push(Outcome { case, measure, error, bound });
        }
    }
    outcomes.push(together(device));
    outcomes.push(nothing_to_do(device));
    outcomes
}

/// Images together and each on its own: how many poses differ.
fn together<D: Align>(device: &D) -> Outcome {
    const BOX: usize = 16;
    const LAST: f64 = 4.0;
    let volume = noise_volume(BOX);
    let slicer = device.slicer(volume.view(), 2.0, 8.0).expect("a cubic volume should be accepted");
    let mut setting = Setting::new(BOX);
    for (i, starts) in setting.starts.iter_mut().enumerate() {
        // 1, 3, 5 … of them, and none
        if let Some(&first) = starts.first() {
            let more = rotations(2 * i, 40 + i as u64);
            starts.extend(more.into_iter().map(|rotation| PixelPose { rotation, ..first }));
        }
    }
    let images = setting.align_images();
    // the last band is not the widest: images are read for that one
    let levels = [(3.0, 3), (5.0, 2), (LAST, 2)].map(|(rmax, keep)| AlignLevel { rmax, keep });
    let all = device.align(&slicer, &levels, &images);
    let alone = images.iter().flat_map(|image| device.align(&slicer, &levels, std::slice::from_ref(image)));
    let mut differing = usize::from(all.len() != IMAGES);
    for ((image, together), alone) in images.iter().zip(&all).zip(alone) {
        let few = together.len() > 2 || together.is_empty() != image.starts.is_empty();
        differing += usize::from(few || *together != alone);
        // what is said of a pose is what is found there, and it is better than where it began
        for found in together {
            let here = AlignImage { starts: &[found.pose], ..*image };
            let equations = device.normal_equations(&slicer, LAST, &[here]);
            let same =
                (equations[0].log_likelihood, equations[0].hessian) == (found.log_likelihood, found.hessian);
            differing += usize::from(!same);
        }
    }
    Outcome {
        case: format!("images together and alone, box {BOX}"),
        measure: "poses that differ",
        error: differing as f64,
        bound: SAME,
    }
}

/// No images, no levels, and boxes without points.
fn nothing_to_do<D: Align>(device: &D) -> Outcome {
    let mut wrong = 0;
    let level = AlignLevel { rmax: 5.0, keep: 1 };
    for (n, levels) in [(0, vec![level]), (1, vec![level]), (16, vec![])] {
        let volume = noise_volume(n);
        let slicer = device.slicer(volume.view(), 2.0, n as f64).expect("a cubic volume should be accepted");
        let setting = Setting::new(n);
        let images = setting.align_images();
        wrong += usize::from(device.align(&slicer, &levels, &images) != vec![Vec::new(); IMAGES]);
        wrong += device.align(&slicer, &[level], &[]).len();
        wrong +=
            device.normal_equations(&slicer, 5.0, &[]).len() + device.shell_sums(&slicer, 5.0, &[]).len();
    }
    Outcome { case: "nothing to align".into(), measure: "wrong results", error: wrong as f64, bound: SAME }
}
