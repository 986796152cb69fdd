//! Cases of [`crate::ops::insert`]: the sums against their definition in f64, adjointness to projection, and
//! independence of the order of images.

use super::{Outcome, largest_relative, nmse, project};
use crate::ops::grid::PaddedGrid;
use crate::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceBatch};
use ndarray::{Array3, Axis, s};
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use vitreous_model::conventions::signed_frequency;
use vitreous_model::pose::Rotation;

/// Box edge, padding, band limit and number of images: empty, one pixel, odd, prime, even, unpadded, and a production
/// size with a low band limit.
const CASES: [(usize, f64, f64, usize); 11] = [
    (0, 2.0, 4.0, 1),
    (1, 2.0, 4.0, 2),
    (2, 2.0, 4.0, 2),
    (5, 2.0, 2.0, 3),
    (13, 2.0, 7.0, 3),
    (16, 2.0, 0.0, 2),
    (16, 2.0, 8.0, 0),
    (16, 1.0, 8.0, 4),
    (16, 1.5, 8.5, 3),
    (24, 2.0, 12.0, 4),
    (128, 2.0, 10.0, 2),
];

/// A coordinate is off by up to 3e-5 of a grid step at 256 steps from the origin (here at most 48), so a weight by as
/// much; squared 1e-9, with room for the products' own rounding.
const NMSE_BOUND: f64 = 1e-8;
/// As [`NMSE_BOUND`] for the worst grid point, where errors of several images may add.
const LARGEST_BOUND: f64 = 1e-3;
/// Both sides of the adjoint identity are sums of products of the same single-precision weights up to rounding.
const ADJOINT_BOUND: f64 = 1e-4;

/// Images to insert.
pub struct Batch {
    /// See [`SliceBatch`].
    pub numerator: Array3<Complex32>,
    /// See [`SliceBatch`].
    pub weight: Array3<f32>,
    /// See [`SliceBatch`].
    pub rotations: Vec<Rotation>,
    /// See [`SliceBatch`].
    pub bends: Vec<f32>,
    /// See [`SliceBatch`].
    pub rmax: f64,
}

impl Batch {
    /// Seeded noise: components within ±2, weights below 1; the first rotation is the identity. Slices are flat.
    pub fn noise(n: usize, rmax: f64, images: usize, seed: u64) -> Self {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let shape = (images, n, n / 2 + 1);
        let mut rotations = project::rotations(images, seed + 1);
        if let Some(first) = rotations.first_mut() {
            *first = Rotation::IDENTITY;
        }
        Self {
            numerator: Array3::from_shape_simple_fn(shape, || {
                Complex32::new(rng.random_range(-2.0..2.0), rng.random_range(-2.0..2.0))
            }),
            weight: Array3::from_shape_simple_fn(shape, || rng.random_range(0.0..1.0)),
            rotations,
            bends: Vec::new(),
            rmax,
        }
    }

    /// The same with slices bent either way, and flat ones among them.
    pub fn bent(self) -> Self {
        let bends = (0..self.rotations.len()).map(|image| [0.02, -0.005, 0.0][image % 3]).collect();
        Self { bends, ..self }
    }

    /// All of it.
    pub fn view(&self) -> SliceBatch<'_> {
        SliceBatch {
            numerator: self.numerator.view(),
            weight: self.weight.view(),
            rotations: &self.rotations,
            bends: &self.bends,
            rmax: self.rmax,
        }
    }

    /// One image of it.
    pub fn one(&self, image: usize) -> SliceBatch<'_> {
        SliceBatch {
            numerator: self.numerator.slice(s![image..=image, .., ..]),
            weight: self.weight.slice(s![image..=image, .., ..]),
            rotations: &self.rotations[image..=image],
            bends: self.bends.get(image..=image).unwrap_or_default(),
            rmax: self.rmax,
        }
    }
}

/// Runs all cases on a device.
pub fn run<D: Insert>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (seed, (n, pad, rmax, images)) in CASES.into_iter().enumerate() {
        let batch = Batch::noise(n, rmax, images, seed as u64);
        definition(device, n, pad, &batch, &mut outcomes);
        definition(device, n, pad, &batch.bent(), &mut outcomes);
    }
    adjoint(device, &mut outcomes);
    order(device, &mut outcomes);
    refusals(device, &mut outcomes);
    outcomes
}

/// A number made from all bits of a fixed case: equal on all devices and for any number of threads.
pub fn checksum<D: Insert>(device: &D) -> u64 {
    let (grid, batch) = (PaddedGrid::new(40, 2.0, 20.0), Batch::noise(40, 20.0, 20, 77).bent());
    let sums = inserted(device, grid, &[batch.view()]);
    sums.data().iter().fold(0u64, |hash, &v| (hash ^ v as u64).wrapping_mul(0x0100_0000_01b3))
}

fn inserted<D: Insert>(device: &D, grid: PaddedGrid, batches: &[SliceBatch<'_>]) -> FixedGrid {
    let mut sums =
        device.accumulator(grid, FixedPoint::new(4.0, 2.0, 1000)).expect("a small grid should fit");
    for batch in batches {
        device.insert(&mut sums, batch).expect("a good batch should be accepted");
    }
    device.collect(sums).expect("sums should come back")
}

/// The definition: both mates of every coefficient, over all of the grid, in f64.
fn oracle(grid: &PaddedGrid, batch: &Batch) -> (Array3<Complex64>, Array3<f64>) {
    let reach = grid.reach() as i64;
    let edge = 2 * grid.reach() + 1;
    let mut numerator = Array3::<Complex64>::zeros((edge, edge, edge));
    let mut weight = Array3::<f64>::zeros((edge, edge, edge));
    let n = grid.n();
    let radius = batch.view().radius(grid);
    for (image, rotation) in batch.rotations.iter().enumerate() {
        let coefficients = batch.numerator.index_axis(Axis(0), image);
        for ((y, x), value) in coefficients.indexed_iter() {
            let (qx, qy) = (x as f64, signed_frequency(y, n) as f64);
            if qx.hypot(qy) > radius || (x == 0 && qy < 0.0) {
                continue;
            }
            let value = Complex64::new(value.re.into(), value.im.into());
            let w = f64::from(batch.weight[[image, y, x]]);
            let z = f64::from(batch.view().bend(image)) * (qx * qx + qy * qy);
            let k = rotation.apply([qx, qy, z]).map(|c| c * grid.scale());
            let mut spread = |k: [f64; 3], value: Complex64| {
                for corner in 0..8usize {
                    let p = [0, 1, 2].map(|i| k[i].floor() as i64 + (corner >> i & 1) as i64);
                    let t: f64 = (0..3).map(|i| 1.0 - (k[i] - p[i] as f64).abs()).product();
                    if t > 0.0 {
                        let index = [2, 1, 0].map(|i| (p[i] + reach) as usize);
                        numerator[index] += value * t;
                        weight[index] += w * t;
                    }
                }
            };
            if x == 0 && y == 0 {
                spread(k, value.re.into());
            } else {
                spread(k, value);
                spread(k.map(|c| -c), value.conj());
            }
        }
    }
    (numerator.slice_move(s![.., .., grid.reach()..]), weight.slice_move(s![.., .., grid.reach()..]))
}

fn definition<D: Insert>(device: &D, n: usize, pad: f64, batch: &Batch, outcomes: &mut Vec<Outcome>) {
    let grid = PaddedGrid::for_sums(n, pad, batch.rmax);
    let sums = inserted(device, grid, &[batch.view()]).to_sums();
    let (numerator, weight) = oracle(&grid, batch);
    let mut pairs: Vec<(f64, f64)> = sums
        .numerator
        .iter()
        .zip(&numerator)
        .flat_map(|(got, want)| [(f64::from(got.re), want.re), (f64::from(got.im), want.im)])
        .collect();
    pairs.extend(sums.weight.iter().zip(&weight).map(|(&got, &want)| (f64::from(got), want)));
    let (images, bent) = (batch.rotations.len(), if batch.bends.is_empty() { "flat" } else { "bent" });
    let case = format!("{images} {bent} images of box {n}, padding {pad}, rmax {}", batch.rmax);
    let (nmse, largest) = (nmse(pairs.iter().copied()), largest_relative(pairs.iter().copied()));
    outcomes.push(Outcome { case: case.clone(), measure: "NMSE", error: nmse, bound: NMSE_BOUND });
    outcomes.push(Outcome { case, measure: "largest error", error: largest, bound: LARGEST_BOUND });
}

/// `⟨P v, d⟩ = ⟨v, Pᵀ d⟩` for the interpolation of a Hermitian grid and the insertion of one image.
fn adjoint<D: Insert>(device: &D, outcomes: &mut Vec<Outcome>) {
    let n = 20;
    let volume = project::blob_volume(n, 40);
    let projector =
        crate::cpu::project::Projector::new(volume.view(), 2.0).expect("a cube should be accepted");
    let grid = *projector.grid();
    let batch = Batch::noise(n, n as f64, 3, 41);
    for image in 0..3 {
        let mut slice = crate::fourier::HalfImage::zeros_box(n);
        projector.slice(batch.rotations[image], batch.rmax, &mut slice).expect("sizes should agree");
        let radius = grid.radius(batch.rmax);
        let (mut left, mut size) = (0.0, 0.0);
        for ((y, x), value) in slice.data().indexed_iter() {
            let qy = signed_frequency(y, n);
            if (x as f64).hypot(qy as f64) > radius || (x == 0 && qy < 0) {
                continue;
            }
            let times = if x == 0 && y == 0 { 1.0 } else { 2.0 };
            let d = batch.numerator[[image, y, x]];
            left += times * f64::from((value * d.conj()).re);
            size += times * f64::from(value.norm() * d.norm());
        }
        let sums = inserted(device, grid, &[batch.one(image)]).to_sums();
        let (_, _, width) = grid.dim();
        let right: f64 = projector
            .coefficients()
            .iter()
            .zip(&sums.numerator)
            .enumerate()
            .map(|(i, (v, g))| if i % width == 0 { 1.0 } else { 2.0 } * f64::from((v * g.conj()).re))
            .sum();
        outcomes.push(Outcome {
            case: format!("adjoint of projection, image {image}"),
            measure: "difference of inner products",
            error: (left - right).abs() / size,
            bound: ADJOINT_BOUND,
        });
    }
}

/// One batch, and its images one by one from the last, give the same bits.
fn order<D: Insert>(device: &D, outcomes: &mut Vec<Outcome>) {
    let grid = PaddedGrid::new(21, 2.0, 9.0);
    let batch = Batch::noise(21, 9.0, 7, 50).bent();
    let together = inserted(device, grid, &[batch.view()]);
    let backwards: Vec<SliceBatch<'_>> = (0..7).rev().map(|i| batch.one(i)).collect();
    let apart = inserted(device, grid, &backwards);
    let different = together.data().iter().zip(apart.data()).filter(|(a, b)| a != b).count();
    outcomes.push(Outcome {
        case: "order of images".into(),
        measure: "integers that differ",
        error: different as f64,
        bound: 0.0,
    });
}

/// Values beyond the scale, not a number, or of the wrong shape are refused and add nothing.
fn refusals<D: Insert>(device: &D, outcomes: &mut Vec<Outcome>) {
    let grid = PaddedGrid::new(8, 2.0, 4.0);
    let mut too_large = Batch::noise(8, 4.0, 2, 60);
    too_large.numerator[[1, 2, 3]].im = 1e30;
    let mut no_number = Batch::noise(8, 4.0, 2, 61);
    no_number.weight[[0, 2, 3]] = f32::NAN;
    let misshapen = Batch::noise(9, 4.0, 2, 62);
    let mut too_bent = Batch::noise(8, 4.0, 2, 63).bent();
    too_bent.bends[1] = 3.0;
    let mut half_bent = Batch::noise(8, 4.0, 2, 64).bent();
    half_bent.bends.pop();
    let all = [
        ("too large", too_large),
        ("NaN", no_number),
        ("wrong box", misshapen),
        ("bent too far", too_bent),
        ("without some bends", half_bent),
    ];
    for (case, batch) in all {
        let mut sums =
            device.accumulator(grid, FixedPoint::new(4.0, 2.0, 10)).expect("a small grid should fit");
        let refused = matches!(
            device.insert(&mut sums, &batch.view()),
            Err(InsertError::TooLarge { .. } | InsertError::Shape { .. })
        );
        let empty = device.collect(sums).is_ok_and(|sums| sums.data().iter().all(|&v| v == 0));
        outcomes.push(Outcome {
            case: format!("a batch that is {case}"),
            measure: "not refused, or partly added",
            error: f64::from(u8::from(!(refused && empty))),
            bound: 0.0,
        });
    }
}
