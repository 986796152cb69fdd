//! Cases of [`crate::ops::project`]: the interpolation against its formula in f64, and what any projection must obey.

use super::{Outcome, largest_relative, nmse};
use crate::fourier::{HalfImage, HalfVolume};
use crate::ops::grid::PaddedGrid;
use crate::ops::project::Project;
use ndarray::{Array3, Axis};
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use vitreous_model::conventions::{centre, signed_frequency};
use vitreous_model::pose::Rotation;

/// Box edges: nothing, one, odd, prime, even.
const SIZES: [usize; 7] = [0, 1, 2, 5, 13, 16, 32];

/// Padding of the cases.
const PAD: f64 = 2.0;

/// Single-precision coordinates are off by up to 3e-5 of a grid step at radius 256, and a coefficient by that times
/// its slope; rounding of the sums adds 1e-7.
const NMSE_BOUND: f64 = 1e-10;
/// As [`NMSE_BOUND`], for the worst point.
const LARGEST_BOUND: f64 = 1e-4;
/// Outermost blob centre of [`blob_volume`], as a fraction of the box edge.
const BLOB_REACH: f64 = 0.14 * 1.733;

/// Linear interpolation lets through the neighbouring copies of the object: at `u = x / padded edge` each is
/// `sinc²(1 - u) / sinc²(u) = (u / (1 - u))²` of the object itself. Two copies along each of two axes in quadrature
/// give twice that for all mass at the outermost centre; measured 0.4 of it.
fn slice_theorem_bound(pad: f64) -> f64 {
    let u = BLOB_REACH / pad;
    2.0 * (u / (1.0 - u)).powi(2)
}

/// A sum of soft blobs within half of a box of `n`, values of order 1.
pub fn blob_volume(n: usize, seed: u64) -> Array3<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let c = centre(n) as f64;
    let size = n as f64;
    let blobs: Vec<[f64; 4]> = (0..12)
        .map(|_| {
            let [x, y, z] = [0, 1, 2].map(|_| rng.random_range(-0.14..0.14) * size);
            [x, y, z, rng.random_range(0.4..1.0)]
        })
        .collect();
    let width = (0.035 * size).max(0.8);
    Array3::from_shape_fn((n, n, n), |(z, y, x)| {
        let p = [x as f64 - c, y as f64 - c, z as f64 - c];
        let density: f64 = blobs
            .iter()
            .map(|b| {
                let d2: f64 = (0..3).map(|i| (p[i] - b[i]).powi(2)).sum();
                b[3] * (-0.5 * d2 / (width * width)).exp()
            })
            .sum();
        density as f32
    })
}

/// Seeded rotations, uniform over all.
pub fn rotations(count: usize, seed: u64) -> Vec<Rotation> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || rng.sample::<f64, _>(rand_distr::StandardNormal);
    (0..count).map(|_| Rotation::new(normal(), normal(), normal(), normal())).collect()
}

/// Runs all cases on a device.
pub fn run<D: Project>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (seed, n) in SIZES.into_iter().enumerate() {
        let volume = blob_volume(n, seed as u64);
        let radius = n as f64 / 2.0;
        interpolation(device, &volume, radius, &rotations(4, seed as u64 + 100), &mut outcomes);
    }
    // a band limit well inside the box
    interpolation(device, &blob_volume(32, 9), 6.0, &rotations(3, 109), &mut outcomes);
    slice_theorem(device, &mut outcomes);
    quarter_turns(device, &mut outcomes);
    outcomes
}

fn parts(value: Complex32) -> [f64; 2] {
    [f64::from(value.re), f64::from(value.im)]
}

/// Compares with linear interpolation by its definition.
fn interpolation<D: Project>(
    device: &D,
    volume: &Array3<f32>,
    rmax: f64,
    rotations: &[Rotation],
    outcomes: &mut Vec<Outcome>,
) {
    let n = volume.dim().0;
    let slicer = device.slicer(volume.view(), PAD, rmax).expect("a cubic volume should be accepted");
    let grid = device.slicer_grid(&slicer);
    let slices = device.slices(&slicer, rotations, rmax).expect("slices should be made");
    let padded = padded_transform(volume, &grid);
    let mut pairs = Vec::new();
    for (slice, rotation) in slices.iter().zip(rotations) {
        for ((y, x), &got) in slice.data().indexed_iter() {
            let (qx, qy) = (x as f64, signed_frequency(y, n) as f64);
            let inside = qx.hypot(qy) <= grid.radius(rmax);
            let k = rotation.apply([qx, qy, 0.0]).map(|c| c * grid.scale());
            let want = if inside { linear(&padded, k) } else { Complex64::ZERO };
            let [re, im] = parts(got);
            pairs.extend([(re, want.re), (im, want.im)]);
        }
    }
    let case = format!("linear interpolation, box {n}, rmax {rmax}");
    outcomes.push(Outcome {
        case: case.clone(),
        measure: "NMSE",
        error: nmse(pairs.iter().copied()),
        bound: NMSE_BOUND,
    });
    outcomes.push(Outcome {
        case,
        measure: "largest error",
        error: largest_relative(pairs.iter().copied()),
        bound: LARGEST_BOUND,
    });
}

/// The transform that the contract says is interpolated.
pub(super) fn padded_transform(volume: &Array3<f32>, grid: &PaddedGrid) -> HalfVolume {
    let window = grid.window();
    let divided = Array3::from_shape_fn(volume.dim(), |(z, y, x)| {
        (f64::from(volume[[z, y, x]]) / (window[z] * window[y] * window[x])) as f32
    });
    HalfVolume::of_box_padded(divided.view(), grid.padded_n())
}

/// The sum over eight neighbours of a point in grid steps, in f64, any sign of any index.
pub(super) fn linear(volume: &HalfVolume, k: [f64; 3]) -> Complex64 {
    let m = volume.n() as i64;
    let at = |x: i64, y: i64, z: i64| {
        let wrap = |i: i64| i.rem_euclid(m) as usize;
        let value = if x >= 0 {
            volume.data()[[wrap(z), wrap(y), x as usize]]
        } else {
            volume.data()[[wrap(-z), wrap(-y), -x as usize]].conj()
        };
        Complex64::new(value.re.into(), value.im.into())
    };
    let base = k.map(|c| c.floor());
    let mut sum = Complex64::ZERO;
    for corner in 0..8usize {
        let bit = [corner & 1, corner >> 1 & 1, corner >> 2 & 1];
        let weight: f64 =
            (0..3).map(|i| if bit[i] == 1 { k[i] - base[i] } else { 1.0 - (k[i] - base[i]) }).product();
        if weight > 0.0 {
            let p: [i64; 3] = [0, 1, 2].map(|i| base[i] as i64 + bit[i] as i64);
            sum += at(p[0], p[1], p[2]) * weight;
        }
    }
    sum
}

/// The slice of the identity is the transform of the projection along z.
fn slice_theorem<D: Project>(device: &D, outcomes: &mut Vec<Outcome>) {
    for (n, pad) in [(32, 2.0), (45, 2.0), (45, 4.0)] {
        let volume = blob_volume(n, 20);
        let slicer = device.slicer(volume.view(), pad, n as f64).expect("a cubic volume should be accepted");
        let grid = device.slicer_grid(&slicer);
        let slices = device.slices(&slicer, &[Rotation::IDENTITY], n as f64).expect("slices should be made");
        let projection = HalfImage::of_box(volume.sum_axis(Axis(0)).view());
        let radius = grid.radius(n as f64);
        let pairs =
            projection.data().indexed_iter().zip(slices[0].data()).flat_map(|(((y, x), want), got)| {
                let inside = (x as f64).hypot(signed_frequency(y, n) as f64) <= radius;
                let want = if inside { parts(*want) } else { [0.0; 2] };
                let got = parts(*got);
                [(got[0], want[0]), (got[1], want[1])]
            });
        outcomes.push(Outcome {
            case: format!("projection-slice theorem, box {n}, padding {pad}"),
            measure: "rms error",
            error: nmse(pairs).sqrt(),
            bound: slice_theorem_bound(pad),
        });
    }
}

/// Turning the view by 90° about z turns the slice, exactly (up to the rounding of cos 90°).
fn quarter_turns<D: Project>(device: &D, outcomes: &mut Vec<Outcome>) {
    let n = 17;
    let volume = blob_volume(n, 30);
    let slicer = device.slicer(volume.view(), PAD, n as f64).expect("a cubic volume should be accepted");
    let turn = Rotation::from_euler_zyz_deg(0.0, 0.0, 90.0);
    for base in rotations(3, 31) {
        let slices = device.slices(&slicer, &[base, base * turn], 7.0).expect("slices should be made");
        // P_turned(qx, qy) = P(-qy, qx)
        let at = |qx: isize, qy: isize| {
            let (flip, qx, qy) = if qx < 0 { (true, -qx, -qy) } else { (false, qx, qy) };
            let value = slices[0].data()[[qy.rem_euclid(n as isize) as usize, qx as usize]];
            if flip { value.conj() } else { value }
        };
        let pairs = slices[1].data().indexed_iter().flat_map(|((y, x), &got)| {
            let (got, want) = (parts(got), parts(at(-signed_frequency(y, n), x as isize)));
            [(got[0], want[0]), (got[1], want[1])]
        });
        outcomes.push(Outcome {
            case: "quarter turn in the plane".into(),
            measure: "largest error",
            error: largest_relative(pairs),
            bound: 1e-5,
        });
    }
}
