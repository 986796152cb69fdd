//! Cases of [`crate::ops::motion_correlation`]: measures, powers of rings and correlation images against their definition in
//! double precision, and independence of stacks from each other.

use super::{Outcome, largest_relative};
use crate::movie::band::{Band, Spectrum};
use crate::movie::ring_power::RingPower;
use crate::ops::motion_correlation::{Measure, MotionCorrelation, Pair, Wanted};
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Columns and rows of the images, cutoff of the band, stacks, frames, rings: nothing, one frame, images of two pixels, odd and
/// prime sizes, more rows than a block of threads has, whole vectors of columns.
const CASES: [([usize; 2], f64, usize, usize, usize); 7] = [
    ([8, 8], 0.4, 0, 0, 4),
    ([8, 8], 0.4, 2, 0, 4),
    ([12, 10], 0.4, 1, 1, 4),
    ([2, 2], 0.4, 1, 3, 2),
    ([23, 37], 0.42, 2, 3, 5),
    ([40, 96], 0.45, 1, 4, 6),
    ([38, 20], 0.42, 3, 5, 8),
];

/// Products of four numbers with phases, rounded each, sums of up to some ten of them in single precision: a few 1e-7 of the
/// magnitudes.
const MEASURE_BOUND: f64 = 3e-6;
/// Squared magnitudes rounded a few times, then double precision.
const POWER_BOUND: f64 = 1e-6;
/// As [`MEASURE_BOUND`]; the transform adds its own rounding.
const IMAGE_BOUND: f64 = 3e-6;

/// Spectra with what they are measured with.
struct Stacks {
    band: Band,
    rings: usize,
    spectra: Vec<Vec<Spectrum>>,
    displacements: Vec<Vec<Pair>>,
    weights: Vec<f32>,
}

impl Stacks {
    fn noise(
        ([nx, ny], cutoff, stacks, frames, rings): ([usize; 2], f64, usize, usize, usize),
        seed: u64,
    ) -> Self {
        let band = Band::new(nx, ny, cutoff);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut spectrum = || {
            let mut plane = || -> Vec<f32> {
                // padding is zero
                let inside = |i: usize| i % band.stride <= band.kx_max;
                (0..band.len()).map(|i| if inside(i) { rng.random_range(-1.0..1.0) } else { 0.0 }).collect()
            };
            Spectrum { re: plane(), im: plane() }
        };
        let spectra = (0..stacks).map(|_| (0..frames).map(|_| spectrum()).collect()).collect();
        let mut shift = || [0, 1].map(|_| rng.random_range(-3.0..3.0));
        let displacements = (0..stacks).map(|_| (0..frames).map(|_| shift()).collect()).collect();
        let weights = band.weights(|frequency| (-4.0 * frequency).exp());
        Self { band, rings, spectra, displacements, weights }
    }

    fn on<D: MotionCorrelation>(&self, device: &D) -> D::Stacks {
        device.motion_stacks(&self.band, self.rings, self.spectra.clone())
    }

    /// The aligned spectra of a stack and their sum, by the definition.
    fn aligned(&self, stack: usize) -> (Vec<Vec<Complex64>>, Vec<Complex64>) {
        let band = &self.band;
        let of_frame = |(spectrum, d): (&Spectrum, &Pair)| -> Vec<Complex64> {
            let turned = |i: usize| {
                let (x, y) = (i % band.stride, i / band.stride);
                let angle = f64::from(band.omega_x[x]) * d[0] + f64::from(band.omega_y[y]) * d[1];
                Complex64::new(spectrum.re[i].into(), spectrum.im[i].into())
                    * Complex64::from_polar(1.0, angle)
            };
            (0..band.len()).map(turned).collect()
        };
        let moved: Vec<Vec<Complex64>> =
            self.spectra[stack].iter().zip(&self.displacements[stack]).map(of_frame).collect();
        let sum = (0..band.len()).map(|i| moved.iter().map(|frame| frame[i]).sum()).collect();
        (moved, sum)
    }
}

/// Runs all cases on a device.
pub fn run<D: MotionCorrelation>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (index, case) in CASES.into_iter().enumerate() {
        let stacks = Stacks::noise(case, index as u64);
        let ([nx, ny], _, count, frames, _) = case;
        let name = format!("{count} stacks of {frames} frames of {nx} x {ny}");
        measures(device, &stacks, &name, &mut outcomes);
        powers(device, &stacks, &name, &mut outcomes);
        images(device, &stacks, &name, &mut outcomes);
    }
    alone(device, &mut outcomes);
    outcomes
}

/// Bits of the measures of all cases.
pub fn checksum<D: MotionCorrelation>(device: &D) -> Vec<u64> {
    let mut bits = Vec::new();
    for (index, case) in CASES.into_iter().enumerate() {
        let stacks = Stacks::noise(case, index as u64);
        let wanted = Wanted::Measures(&stacks.weights);
        let (measures, _) = device.measure_stacks(&stacks.on(device), &stacks.displacements, wanted);
        bits.extend(measures.iter().flatten().flat_map(numbers).map(f64::to_bits));
    }
    bits
}

fn numbers(measure: &Measure) -> [f64; 7] {
    let Measure { value, slope, curvature, slope_variance } = *measure;
    [value, slope[0], slope[1], curvature[0], curvature[1], slope_variance[0], slope_variance[1]]
}

fn measures<D: MotionCorrelation>(device: &D, stacks: &Stacks, case: &str, outcomes: &mut Vec<Outcome>) {
    let wanted = Wanted::Measures(&stacks.weights);
    let (got, _) = device.measure_stacks(&stacks.on(device), &stacks.displacements, wanted);
    let band = &stacks.band;
    let mut error = if got.len() == stacks.spectra.len() { 0.0f64 } else { f64::INFINITY };
    for (stack, got) in got.iter().enumerate() {
        let (moved, sum) = stacks.aligned(stack);
        if got.len() != moved.len() {
            error = f64::INFINITY;
        }
        for (got, frame) in got.iter().zip(&moved) {
            let (mut want, mut size) = ([0.0; 7], [0.0; 7]);
            for i in 0..band.len() {
                let others = sum[i] - frame[i];
                let product = others.conj() * frame[i];
                let omega = [band.omega_x[i % band.stride], band.omega_y[i / band.stride]].map(f64::from);
                let w = f64::from(stacks.weights[i]);
                let power = 0.5 * w * w * others.norm_sqr() * frame[i].norm_sqr();
                let slope = omega.map(|omega| -w * omega * product.im);
                let curvature = omega.map(|omega| w * omega * omega * product.re);
                let variance = omega.map(|omega| omega * omega * power);
                let parts = [
                    w * product.re,
                    slope[0],
                    slope[1],
                    curvature[0],
                    curvature[1],
                    variance[0],
                    variance[1],
                ];
                let norm = w * product.norm();
                let sizes = [norm, norm * omega[0].abs(), norm * omega[1].abs()];
                let squares = omega.map(|omega| norm * omega * omega);
                let sizes = [sizes[0], sizes[1], sizes[2], squares[0], squares[1], variance[0], variance[1]];
                (0..7).for_each(|q| (want[q], size[q]) = (want[q] + parts[q], size[q] + sizes[q]));
            }
            let got = numbers(got);
            let off = |q: usize| if got[q] == want[q] { 0.0 } else { (got[q] - want[q]).abs() / size[q] };
            // NaN must not pass
            error = (0..7).map(off).fold(error, |a, b| if b <= a { a } else { b });
        }
    }
    let measure = "largest error of a measure, relative to the sum of magnitudes";
    outcomes.push(Outcome { case: case.into(), measure, error, bound: MEASURE_BOUND });
}

/// Powers by ring of one stack or all, by the definition.
fn power_of(stacks: &Stacks, which: std::ops::Range<usize>) -> RingPower {
    let ring = stacks.band.rings(stacks.rings);
    let mut power = RingPower::new(stacks.rings, stacks.spectra.first().map_or(0, Vec::len));
    for stack in which {
        let (moved, sum) = stacks.aligned(stack);
        for (i, &ring) in ring.iter().enumerate().filter(|(_, ring)| usize::from(**ring) <= stacks.rings) {
            power.of_sum[usize::from(ring)] += sum[i].norm_sqr();
            power.of_frames[usize::from(ring)] += moved.iter().map(|frame| frame[i].norm_sqr()).sum::<f64>();
            power.count[usize::from(ring)] += 1.0;
        }
    }
    power
}

fn powers<D: MotionCorrelation>(device: &D, stacks: &Stacks, case: &str, outcomes: &mut Vec<Outcome>) {
    let on_device = stacks.on(device);
    let want = power_of(stacks, 0..stacks.spectra.len());
    let (_, all) = device.measure_stacks(&on_device, &stacks.displacements, Wanted::AllPower);
    let (none, sums) = device.measure_stacks(&on_device, &stacks.displacements, Wanted::Power);
    let relative = |got: &[f64], want: &[f64]| match got.len() == want.len() {
        true => largest_relative(got.iter().copied().zip(want.iter().copied())),
        false => f64::INFINITY,
    };
    let zero = vec![0.0; want.of_frames.len()];
    for (measure, error) in [
        ("power of sums", relative(&all.of_sum, &want.of_sum)),
        ("power of frames", relative(&all.of_frames, &want.of_frames)),
        ("coefficients of rings", relative(&all.count, &want.count)),
        ("power of sums alone", relative(&sums.of_sum, &want.of_sum)),
        ("power of frames that is not wanted", relative(&sums.of_frames, &zero)),
        ("measures that are not wanted", none.iter().flatten().count() as f64),
    ] {
        outcomes.push(Outcome { case: case.into(), measure, error, bound: POWER_BOUND });
    }
}

fn images<D: MotionCorrelation>(device: &D, stacks: &Stacks, case: &str, outcomes: &mut Vec<Outcome>) {
    let (b_factor, limit) = (3.0, 2.5);
    let none = Vec::new();
    let displacements = stacks.displacements.first().unwrap_or(&none);
    let got = device.correlation_images(&mut stacks.on(device), displacements, b_factor, limit);
    let band = &stacks.band;
    let measure = "largest error of a correlation, relative to the sum of magnitudes";
    let mut error = if got.len() == displacements.len() { 0.0f64 } else { f64::INFINITY };
    if !displacements.is_empty() {
        let (moved, sum) = stacks.aligned(0);
        let power = power_of(stacks, 0..1).whitening();
        let last = power.len() as f64 - 1.0;
        let weights = band.weights(|s| {
            power.get((s * 2.0 * last).round() as usize).copied().unwrap_or(0.0)
                * (-2.0 * b_factor * s * s).exp()
        });
        for (image, frame) in got.iter().zip(&moved) {
            let product = |i: usize| (sum[i] - frame[i]).conj() * frame[i] * f64::from(weights[i]);
            let area = band.nx as f64 / image.step[0] * (band.ny as f64 / image.step[1]);
            // frequencies that the grid of the image holds
            let holds = |i: usize| {
                let (x, y) = (i % band.stride, (i / band.stride).abs_diff(band.ky_max));
                let [mx, my] = [band.nx as f64 / image.step[0], band.ny as f64 / image.step[1]];
                (x as f64) < mx / 2.0 - 0.5 && (y as f64) < my / 2.0 - 0.5
            };
            let held: Vec<usize> = (0..band.len()).filter(|&i| holds(i)).collect();
            let size: f64 = held.iter().map(|&i| product(i).norm()).sum::<f64>() * 2.0 / area;
            let width = 2 * image.half[0] + 1;
            for (at, value) in image.values.iter().enumerate() {
                let steps =
                    [(at % width) as f64 - image.half[0] as f64, (at / width) as f64 - image.half[1] as f64];
                let want: f64 = held
                    .iter()
                    .map(|&i| {
                        let omega =
                            [band.omega_x[i % band.stride], band.omega_y[i / band.stride]].map(f64::from);
                        let angle = omega[0] * steps[0] * image.step[0] + omega[1] * steps[1] * image.step[1];
                        (product(i) * Complex64::from_polar(1.0, angle)).re
                    })
                    .sum::<f64>()
                    * 2.0
                    / area;
                let off = if size == 0.0 {
                    f64::from(*value).abs()
                } else {
                    (f64::from(*value) - want).abs() / size
                };
                error = if off <= error { error } else { off };
            }
        }
    }
    outcomes.push(Outcome { case: case.into(), measure, error, bound: IMAGE_BOUND });
}

/// A stack is measured the same whatever others stand beside it.
fn alone<D: MotionCorrelation>(device: &D, outcomes: &mut Vec<Outcome>) {
    let stacks = Stacks::noise(([24, 18], 0.42, 3, 4, 6), 20);
    let wanted = Wanted::Measures(&stacks.weights);
    let (together, _) = device.measure_stacks(&stacks.on(device), &stacks.displacements, wanted);
    let mut differ = 0;
    for stack in 0..3 {
        let one = device.motion_stacks(&stacks.band, stacks.rings, vec![stacks.spectra[stack].clone()]);
        let (by_itself, _) = device.measure_stacks(&one, &stacks.displacements[stack..=stack], wanted);
        let bits = |measures: &[Measure]| -> Vec<u64> {
            measures.iter().flat_map(numbers).map(f64::to_bits).collect()
        };
        differ += usize::from(bits(&together[stack]) != bits(&by_itself[0]));
    }
    outcomes.push(Outcome {
        case: "stacks by themselves".into(),
        measure: "stacks that differ from among others",
        error: differ as f64,
        bound: 0.0,
    });
}
