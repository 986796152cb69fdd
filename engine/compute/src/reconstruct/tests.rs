//! Known answers: a phantom whose slices are exact, reconstructed from random views.

use super::*;
use crate::device::Cpu;
use crate::fsc::fsc;
use crate::ops::insert::{FixedPoint, Insert, SliceBatch};
use crate::parity::project::rotations;
use crate::parity::symmetric_phantom::SymmetricPhantom;
use vitreous_model::pose::Rotation;

const N: usize = 48;

fn phantom(group: PointGroup) -> SymmetricPhantom {
    SymmetricPhantom::new(N, 20, 1.0, 11.0, group, 5)
}

/// Sums over exact, noise-free slices with weight `weight(qx, qy)` and σ² = 1.
fn sums(phantom: &SymmetricPhantom, views: &[Rotation], weight: f32, rmax: f64) -> SliceSums {
    sums_on(PaddedGrid::for_sums(N, 2.0, rmax), phantom, views, weight, rmax)
}

fn sums_on(
    grid: PaddedGrid,
    phantom: &SymmetricPhantom,
    views: &[Rotation],
    weight: f32,
    rmax: f64,
) -> SliceSums {
    let mut accumulator = Cpu.accumulator(grid, FixedPoint::new(1e4, 10.0, 10_000)).unwrap();
    for chunk in views.chunks(100) {
        let mut numerator = Array3::zeros((chunk.len(), N, N / 2 + 1));
        numerator.outer_iter_mut().into_par_iter().zip(chunk.par_iter()).for_each(|(mut to, &view)| {
            to.assign(&(phantom.slice(view, rmax).into_data() * weight));
        });
        let weights = Array3::from_elem(numerator.dim(), weight);
        let batch = SliceBatch {
            numerator: numerator.view(),
            weight: weights.view(),
            rotations: chunk,
            bends: &[],
            rmax,
        };
        Cpu.insert(&mut accumulator, &batch).unwrap();
    }
    Cpu.collect(accumulator).unwrap().to_sums()
}

#[test]
fn a_phantom_comes_back_from_its_slices() {
    let phantom = phantom(PointGroup::C1);
    let sums = sums(&phantom, &rotations(1200, 7), 1.0, 24.0);
    let map = sums.map(None, 23.0);
    let mask = crate::mask::sphere(N, 18.0, 3.0);
    let curve = fsc(&HalfVolume::of_box((&map * &mask).view()), &phantom.transform());
    // Near the origin the density of slices, 1/r, is not even over the neighbours that one grid point gathers, so the
    // error falls with the shell: box 128 and 2500 views have 1.1e-4 at shell 5, then 2e-5, and 1.2e-4 again at 0.35 N,
    // where views grow sparse.
    for (shell, c) in curve.iter().enumerate().take(18).skip(2) {
        let bound = if shell < 4 { 1e-3 } else { 3e-4 };
        assert!(1.0 - c < bound, "shell {shell}: {:e} in {curve:?}", 1.0 - c);
    }
    let truth = phantom.volume();
    let scale =
        map.iter().zip(&truth).map(|(a, b)| a * b).sum::<f32>() / truth.iter().map(|b| b * b).sum::<f32>();
    assert!((scale - 1.0).abs() < 0.01, "the map has the unit of the images, got {scale}");
}

/// At any padding: the shell of Nyquist's frequency has points on both sides of it.
#[test]
fn the_last_shell_is_whole() {
    let phantom = phantom(PointGroup::C1);
    let end = PaddedGrid::last_shell_end(N);
    let exact = Array3::from_shape_fn((N, N, N / 2 + 1), |(z, y, x)| {
        let value = phantom.coefficient([x, y, z].map(|i| signed_frequency(i, N) as f64));
        Complex32::new(value.re as f32, value.im as f32)
    });
    let truth = HalfVolume::from_data(N, exact).unwrap();
    for pad in [1.25, 1.5, 2.0] {
        let grid = PaddedGrid::for_sums(N, pad, end);
        let map = sums_on(grid, &phantom, &rotations(1200, 7), 1.0, end).map(None, f64::INFINITY);
        let curve = fsc(&HalfVolume::of_box(map.view()), &truth);
        println!("padding {pad}: {:?}", &curve[20..]);
        assert!(curve[N / 2 - 1] > 0.98 && curve[N / 2] > 0.93, "padding {pad}: {:?}", &curve[18..]);
    }
}

#[test]
fn symmetry_completes_what_few_views_lack() {
    let group = PointGroup::Dihedral(3);
    let phantom = phantom(group);
    let sums = sums(&phantom, &rotations(120, 8), 1.0, 24.0);
    let truth = phantom.transform();
    let plain = fsc(&HalfVolume::of_box(sums.map(None, 20.0).view()), &truth);
    let weight = sums.shell_weight()[10];
    let symmetric = sums.symmetrised(group);
    assert!((symmetric.shell_weight()[10] / (6.0 * weight) - 1.0).abs() < 0.02);
    let map = symmetric.map(None, 20.0);
    let better = fsc(&HalfVolume::of_box(map.view()), &truth);
    assert!(better[14] > plain[14] && better[14] > 0.97, "{} {}", plain[14], better[14]);
    // the map obeys V(g x) = V(x): the 2-fold about x of D3 takes (x, y, z) to (x, -y, -z), voxel on voxel
    let c = N / 2;
    for (dz, dy, dx) in [(3, 5, 7), (1, 2, -4), (6, -3, 2)] {
        let at = |z: i32, y: i32, x: i32| map[[z, y, x].map(|d| (c as i32 + d) as usize)];
        let (a, b) = (at(dz, dy, dx), at(-dz, -dy, dx));
        assert!((a - b).abs() < 1e-3 * map.iter().copied().fold(0.0, f32::max), "{a} {b}");
    }
}

#[test]
fn sums_over_a_group_are_sums_over_its_rotations() {
    let grid = PaddedGrid::new(12, 2.0, 6.0);
    let (edge, _, width) = grid.dim();
    let mut sums = SliceSums {
        grid,
        numerator: Array3::from_shape_fn(grid.dim(), |(z, y, x)| {
            Complex32::new(((z * 31 + y * 17 + x * 7) % 13) as f32, ((z * 5 + y * 3 + x) % 11) as f32)
        }),
        weight: Array3::from_shape_fn(grid.dim(), |(z, y, x)| ((z + 2 * y + 3 * x) % 5) as f32),
    };
    // the plane kx = 0 holds both mates
    for z in 0..edge {
        for y in 0..edge {
            let mate = (
                sums.numerator[[edge - 1 - z, edge - 1 - y, 0]],
                sums.weight[[edge - 1 - z, edge - 1 - y, 0]],
            );
            sums.numerator[[z, y, 0]] = mate.0.conj();
            sums.weight[[z, y, 0]] = mate.1;
        }
    }
    let reach = grid.reach() as f32;
    for name in ["C4", "D2", "T", "O", "D3", "C6", "I1", "I2"] {
        let group: PointGroup = name.parse().unwrap();
        let symmetric = sums.clone().symmetrised(group);
        for (z, y, x) in [
            (edge / 2, edge / 2, 3),
            (edge / 2 + 4, edge / 2 - 3, 2),
            (edge / 2 - 5, edge / 2 + 1, 4),
            (edge / 2 + 2, edge / 2 + 6, 0),
        ] {
            assert!(x < width);
            let k = [x as f64, y as f64 - f64::from(reach), z as f64 - f64::from(reach)];
            let (mut numerator, mut weight) = (Complex32::ZERO, 0.0);
            for g in group.rotations() {
                let (a, b) = sums.at(g.apply(k).map(|v| v as f32));
                numerator += a;
                weight += b;
            }
            let (a, b) = (symmetric.numerator[[z, y, x]], symmetric.weight[[z, y, x]]);
            // cosets interpolate sums of interpolations in another order
            assert!(
                (a - numerator).norm() < 2e-3 * numerator.norm().max(10.0),
                "{name} {k:?}: {a} {numerator}"
            );
            assert!((b - weight).abs() < 2e-3 * weight.max(10.0), "{name} {k:?}: {b} {weight}");
        }
    }
}

#[test]
fn the_filter_is_the_fsc_for_t_1_and_uniform_weight() {
    let grid = PaddedGrid::new(16, 2.0, 8.0);
    let sums = SliceSums {
        grid,
        numerator: Array3::from_elem(grid.dim(), Complex32::new(3.0, 0.0)),
        weight: Array3::from_elem(grid.dim(), 3.0),
    };
    let curve: Vec<f64> = (0..9).map(|s| 0.95 - 0.1 * s as f64).collect();
    let tau2 = tau2_from_fsc(&curve, &sums.shell_weight(), 1.0);
    let filtered = sums.filtered(Some(&tau2), 8.0);
    for shell in 1..8 {
        // Num / W is 1, so what is left is the filter
        let value = f64::from(filtered.data()[[0, 0, 2 * shell]].re);
        assert!((value - curve[shell]).abs() < 1e-5, "{shell}: {value}");
    }
    assert_eq!(filtered.data()[[12, 12, 0]], Complex32::ZERO);
    // twice the data with the prior of one half
    let mut both = sums.clone();
    both.add(&sums);
    let value = f64::from(both.filtered(Some(&tau2), 8.0).data()[[0, 0, 8]].re);
    assert!((value - crate::fsc::of_combined(curve[4])).abs() < 1e-5);
}

#[test]
fn empty_sums_give_an_empty_map() {
    let grid = PaddedGrid::new(8, 2.0, 4.0);
    let sums = crate::ops::insert::FixedGrid::zeros(grid, FixedPoint::new(1.0, 1.0, 1)).to_sums();
    assert!(sums.map(None, 4.0).iter().all(|&v| v == 0.0));
    assert!(sums.map(Some(&[1.0; 5]), 4.0).iter().all(|&v| v == 0.0));
    assert!(sums.shell_power().iter().all(|&v| v == 0.0));
}
