use super::density::correlation;
use super::*;
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vitreous_model::symmetry::PointGroup;

/// Blobs at random places (and, with a group, at their equivalents) in a box of `n`.
fn blobs(n: usize, group: PointGroup, placement: &Placement, seed: u64) -> Array3<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let inverse = placement.rotation;
    let mut centres = Vec::new();
    for _ in 0..9 {
        let p = [0, 1, 2].map(|_| (random.random::<f64>() - 0.5) * 0.55 * n as f64);
        for operator in group.rotations() {
            let turned = inverse.apply(operator.apply(p));
            centres.push([0, 1, 2].map(|a| turned[a] + placement.shift_px[a] + (n / 2) as f64));
        }
    }
    let width = 0.04 * n as f64;
    Array3::from_shape_fn((n, n, n), |(z, y, x)| {
        let value: f64 = centres
            .iter()
            .map(|c| {
                let d2 = (x as f64 - c[0]).powi(2) + (y as f64 - c[1]).powi(2) + (z as f64 - c[2]).powi(2);
                (-0.5 * d2 / (width * width)).exp()
            })
            .sum();
        value as f32
    })
}

fn pairs<'a>(a: &'a Array3<f32>, b: &'a Array3<f32>) -> impl Iterator<Item = (f32, f32)> + 'a {
    a.iter().copied().zip(b.iter().copied())
}

#[test]
fn even_rotations_are_even() {
    let rotations: Vec<_> = even_rotations(2000).collect();
    // 2000 rotations: cells of about 19.6°
    for probe in even_rotations(17) {
        let nearest = rotations.iter().map(|r| r.angle_to_rad(probe)).fold(f64::INFINITY, f64::min);
        assert!(nearest.to_degrees() < 20.0, "{}", nearest.to_degrees());
    }
}

#[test]
fn a_turned_shifted_and_mirrored_map_is_found() {
    let identity = Placement::turned(Rotation::IDENTITY);
    let fixed = blobs(48, PointGroup::C1, &identity, 3);
    let true_placement =
        Placement { rotation: Rotation::from_euler_zyz_deg(40.0, 70.0, -20.0), shift_px: [1.5, -2.0, 0.7] };
    let moving = blobs(48, PointGroup::C1, &true_placement, 3);
    let found = align(fixed.view(), moving.view(), true);
    assert!(!found.mirrored);
    let error_deg = found.placement.rotation.angle_to_rad(true_placement.rotation).to_degrees();
    assert!(error_deg < 0.3, "{error_deg}");
    assert!(correlation(pairs(&fixed, &found.apply(moving.view()))) > 0.99);

    let found = align(fixed.view(), rigid::mirrored(moving.view()).view(), true);
    assert!(found.mirrored && found.correlation > 0.99, "{found:?}");
}

#[test]
fn axes_are_found_and_brought_to_their_places() {
    for (name, seed) in [("C3", 1), ("D7", 3), ("O", 5)] {
        let group: PointGroup = name.parse().unwrap();
        let setting = Placement {
            rotation: Rotation::from_euler_zyz_deg(25.0, 55.0, 10.0),
            shift_px: [1.0, -1.5, 0.5],
        };
        let map = blobs(48, group, &setting, seed);
        let axes = find_axes(map.view(), group);
        assert!(axes.correlation > 0.97, "{name}: {}", axes.correlation);
        let straight = resampled(map.view(), &axes.placement);
        let symmetric = symmetrised(straight.view(), group);
        let agreement = correlation(pairs(&straight, &symmetric));
        assert!(agreement > 0.98, "{name}: {agreement}");
    }
}

#[test]
fn a_quarter_turn_is_exact() {
    let map = blobs(32, PointGroup::C1, &Placement::turned(Rotation::IDENTITY), 9);
    let turned = resampled(map.view(), &Placement::turned(Rotation::from_euler_zyz_deg(90.0, 0.0, 0.0)));
    // R = Rz(90°): out(x, y) = V(-y, x)
    for (z, y, x) in [(16, 14, 20), (12, 20, 18)] {
        let want = map[[z, x, 32 - y]];
        assert!((turned[[z, y, x]] - want).abs() < 1e-4, "{} {want}", turned[[z, y, x]]);
    }
}
