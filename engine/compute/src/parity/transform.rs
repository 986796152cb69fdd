//! Cases of [`crate::ops::transform`]: the sum that defines a transform in f64, Parseval, the way back, and images that
//! are transformed alone or among others.

use super::{Outcome, largest_relative, nmse};
use crate::fourier::{HalfImage, friedel_count};
use crate::ops::transform::{PhaseOrigin, Transform};
use ndarray::{Array2, ArrayView2};
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use std::f64::consts::TAU;

/// Rows and columns: nothing, one, two, odd, primes, each small factor alone and together, two
/// larger ones, not square; lines whose largest
/// prime factor is large (101, 251) or beyond what is done by direct sums (257); and lines too long for one block, along
/// either axis.
const SIZES: [(usize, usize); 25] = [
    (0, 0),
    (0, 4),
    (3, 0),
    (1, 1),
    (1, 2),
    (2, 1),
    (2, 2),
    (3, 5),
    (7, 77),
    (49, 4),
    (8, 9),
    (16, 16),
    (25, 27),
    (31, 31),
    (36, 35),
    (44, 44),
    (30, 64),
    (64, 30),
    (13, 202),
    (251, 4),
    (5, 257),
    (3, 3124),
    (2, 4092),
    (1540, 3),
    (1600, 4),
];

/// A butterfly rounds to 6e-8 of its values and there are about a dozen in a row: 1e-13. Primes are summed directly, where
/// rounding grows with the root of half their number: 251 add 4e-13.
const NMSE_BOUND: f64 = 1e-12;
/// As [`NMSE_BOUND`] for the worst coefficient, five deviations from the mean.
const LARGEST_BOUND: f64 = 1e-5;
/// The sums of squares differ by twice the error along the coefficients, which averages out.
const PARSEVAL_BOUND: f64 = 1e-6;

/// Runs all cases on a device.
pub fn run<D: Transform>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (seed, (ny, nx)) in (0..).zip(SIZES) {
        // large images one at a time
        let images = if ny * nx > 2000 { 1 } else { 3 };
        for origin in [PhaseOrigin::Corner, PhaseOrigin::Centre] {
            one_size(device, &noise(images, ny, nx, seed), origin, &mut outcomes);
        }
    }
    for (seed, (ny, nx)) in (100..).zip([(1, 1), (5, 6), (6, 5), (8, 16), (4, 3124)]) {
        any_coefficients(device, ny, nx, seed, &mut outcomes);
    }
    company(device, &mut outcomes);
    refusals(device, &mut outcomes);
    outcomes
}

/// Seeded images of noise within ±1, and a mean of 0.5 so that rows are not all alike.
pub fn noise(images: usize, ny: usize, nx: usize, seed: u64) -> Vec<Array2<f32>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..images)
        .map(|_| Array2::from_shape_simple_fn((ny, nx), || rng.random_range(-1.0..1.0f32) + 0.5))
        .collect()
}

fn views(images: &[Array2<f32>]) -> Vec<ArrayView2<'_, f32>> {
    images.iter().map(|image| image.view()).collect()
}

/// `exp(-2πi k/n)` for all k.
fn roots(n: usize) -> Vec<Complex64> {
    (0..n).map(|k| Complex64::from_polar(1.0, -TAU * k as f64 / n as f64)).collect()
}

/// The definition, first along rows, then along columns, in f64.
pub fn oracle(image: ArrayView2<'_, f32>, [y0, x0]: [usize; 2]) -> Array2<Complex64> {
    let (ny, nx) = image.dim();
    let (along_y, along_x) = (roots(ny), roots(nx));
    let rows = Array2::from_shape_fn((ny, nx / 2 + 1), |(y, qx)| -> Complex64 {
        (0..nx).map(|x| along_x[qx * (x + nx - x0) % nx] * f64::from(image[[y, x]])).sum()
    });
    Array2::from_shape_fn((ny, nx / 2 + 1), |(qy, qx)| -> Complex64 {
        (0..ny).map(|y| along_y[qy * (y + ny - y0) % ny] * rows[[y, qx]]).sum()
    })
}

fn complex_pairs<'a>(
    got: &'a Array2<Complex32>,
    want: &'a Array2<Complex64>,
) -> impl Iterator<Item = (f64, f64)> + Clone {
    got.iter().zip(want).flat_map(|(got, want)| [(f64::from(got.re), want.re), (f64::from(got.im), want.im)])
}

/// Transform, Parseval and the way back of images of one size.
fn one_size<D: Transform>(
    device: &D,
    images: &[Array2<f32>],
    origin: PhaseOrigin,
    outcomes: &mut Vec<Outcome>,
) {
    let (ny, nx) = images[0].dim();
    let case = format!("{} image(s) of {ny}×{nx}, origin {origin:?}", images.len());
    let mut add = |measure: &'static str, error: f64, bound: f64| {
        outcomes.push(Outcome { case: case.clone(), measure, error, bound });
    };
    let halves = device.forward(&views(images), origin).expect("images of one size should be transformed");
    let back = device.inverse(&halves, origin).expect("transforms of one size should be transformed back");
    let wrong = halves.iter().any(|half| (half.ny(), half.nx()) != (ny, nx))
        || back.iter().any(|image| image.dim() != (ny, nx))
        || (halves.len(), back.len()) != (images.len(), images.len());
    add("results of another number or size", f64::from(u8::from(wrong)), 0.0);
    for ((image, half), back) in images.iter().zip(&halves).zip(&back) {
        let want = oracle(image.view(), origin.pixel(ny, nx));
        add("NMSE", nmse(complex_pairs(half.data(), &want)), NMSE_BOUND);
        add("largest error", largest_relative(complex_pairs(half.data(), &want)), LARGEST_BOUND);
        let power: f64 = half
            .data()
            .indexed_iter()
            .map(|((_, x), value)| friedel_count(x, nx) as f64 * f64::from(value.norm_sqr()))
            .sum();
        let squares: f64 = image.iter().map(|v| f64::from(*v).powi(2)).sum();
        let error = (power / (ny * nx).max(1) as f64 - squares).abs() / squares.max(f64::MIN_POSITIVE);
        add("Parseval", error, PARSEVAL_BOUND);
        let pairs = back.iter().zip(image).map(|(got, want)| (f64::from(*got), f64::from(*want)));
        // two transforms, so twice the error of one
        add("NMSE of the way back", nmse(pairs.clone()), 2.0 * NMSE_BOUND);
        add("largest error of the way back", largest_relative(pairs), LARGEST_BOUND);
    }
}

/// The inverse of coefficients that are no real image's transform, by its definition: columns, then rows without what a
/// real row cannot have.
fn any_coefficients<D: Transform>(device: &D, ny: usize, nx: usize, seed: u64, outcomes: &mut Vec<Outcome>) {
    let parts = noise(2, ny, nx / 2 + 1, seed);
    let data = Array2::from_shape_fn((ny, nx / 2 + 1), |at| Complex32::new(parts[0][at], parts[1][at]));
    let half = HalfImage::from_data(nx, data.clone()).expect("the shape should belong to the size");
    let images = device.inverse(&[half], PhaseOrigin::Corner).expect("one transform should be inverted");
    let (along_y, along_x) = (roots(ny), roots(nx));
    let columns = Array2::from_shape_fn((ny, nx / 2 + 1), |(y, qx)| -> Complex64 {
        (0..ny)
            .map(|qy| {
                let value = data[[qy, qx]];
                along_y[qy * y % ny].conj() * Complex64::new(value.re.into(), value.im.into())
            })
            .sum()
    });
    let want = Array2::from_shape_fn((ny, nx), |(y, x)| -> f64 {
        let terms = (0..=nx / 2).map(|qx| {
            let count = friedel_count(qx, nx);
            let value = columns[[y, qx]];
            let value = if count == 1 { Complex64::from(value.re) } else { value };
            count as f64 * (along_x[qx * x % nx].conj() * value).re
        });
        terms.sum::<f64>() / (ny * nx) as f64
    });
    let pairs = images[0].iter().zip(&want).map(|(got, want)| (f64::from(*got), *want));
    let case = format!("inverse of any coefficients of {ny}×{nx}");
    outcomes.push(Outcome {
        case: case.clone(),
        measure: "NMSE",
        error: nmse(pairs.clone()),
        bound: NMSE_BOUND,
    });
    outcomes.push(Outcome {
        case,
        measure: "largest error",
        error: largest_relative(pairs),
        bound: LARGEST_BOUND,
    });
}

/// An image's transform is the same alone and among many, one of which is a million times as bright.
fn company<D: Transform>(device: &D, outcomes: &mut Vec<Outcome>) {
    let mut images = noise(40, 9, 12, 90);
    images[16].mapv_inplace(|v| 1e6 * v);
    let origin = PhaseOrigin::Centre;
    let among = device.forward(&views(&images), origin).expect("images of one size should be transformed");
    let back = device.inverse(&among, origin).expect("transforms should be transformed back");
    let mut different = 0;
    for index in [0, 15, 17, 39] {
        let alone =
            device.forward(&views(&images[index..=index]), origin).expect("one image should be transformed");
        let alone_back = device.inverse(&alone, origin).expect("one transform should be transformed back");
        different += usize::from(alone[0] != among[index]) + usize::from(alone_back[0] != back[index]);
    }
    outcomes.push(Outcome {
        case: "images alone and among others".into(),
        measure: "results that differ",
        error: different as f64,
        bound: 0.0,
    });
}

/// Images of several sizes are refused; none give none.
fn refusals<D: Transform>(device: &D, outcomes: &mut Vec<Outcome>) {
    let mut images = noise(1, 4, 6, 91);
    images.extend(noise(1, 6, 4, 92));
    let halves = [HalfImage::zeros(4, 6), HalfImage::zeros(4, 7)];
    let origin = PhaseOrigin::Corner;
    let refused =
        device.forward(&views(&images), origin).is_err() && device.inverse(&halves, origin).is_err();
    let none = device.forward(&[], origin).is_ok_and(|all| all.is_empty())
        && device.inverse(&[], origin).is_ok_and(|all| all.is_empty());
    outcomes.push(Outcome {
        case: "several sizes, and no image".into(),
        measure: "not refused, or something of nothing",
        error: f64::from(u8::from(!(refused && none))),
        bound: 0.0,
    });
}
