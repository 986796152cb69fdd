//! Known answers of the transforms, against sums over the definition in f64.

use super::*;
use ndarray::{Array2, Array3};
use num_complex::{Complex32, Complex64};
use rand::{RngExt, SeedableRng};
use std::f64::consts::TAU;
use vitreous_model::conventions::{centre, signed_frequency};

fn noise_image(ny: usize, nx: usize, seed: u64) -> Array2<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((ny, nx), || rng.random_range(-1.0f32..1.0))
}

fn noise_volume(n: usize, seed: u64) -> Array3<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array3::from_shape_simple_fn((n, n, n), || rng.random_range(-1.0f32..1.0))
}

/// The transform by its definition.
fn slow(image: &Array2<f32>, origin: [usize; 2]) -> Array2<Complex64> {
    let (ny, nx) = image.dim();
    Array2::from_shape_fn((ny, nx / 2 + 1), |(qy, qx)| {
        let mut sum = Complex64::ZERO;
        for ((y, x), &value) in image.indexed_iter() {
            let turns = signed_frequency(qy, ny) as f64 * (y as f64 - origin[0] as f64) / ny as f64
                + qx as f64 * (x as f64 - origin[1] as f64) / nx as f64;
            sum += f64::from(value) * Complex64::cis(-TAU * turns);
        }
        sum
    })
}

fn largest_difference(got: &Array2<Complex32>, want: &Array2<Complex64>) -> f64 {
    got.iter()
        .zip(want)
        .map(|(a, b)| (Complex64::new(a.re.into(), a.im.into()) - b).norm())
        .fold(0.0, f64::max)
}

#[test]
fn transforms_equal_the_definition() {
    for (ny, nx) in [(1, 1), (2, 2), (4, 6), (5, 7), (8, 5), (13, 12)] {
        let image = noise_image(ny, nx, 1);
        let corner = HalfImage::of(image.view());
        assert!(largest_difference(corner.data(), &slow(&image, [0, 0])) < 1e-4, "{ny} {nx}");
        let centred = HalfImage::of_box(image.view());
        assert!(
            largest_difference(centred.data(), &slow(&image, [centre(ny), centre(nx)])) < 1e-4,
            "{ny} {nx}"
        );
        for back in [corner.into_pixels(), centred.into_box()] {
            assert!(back.iter().zip(&image).all(|(a, b)| (a - b).abs() < 1e-5), "{ny} {nx}");
        }
    }
    assert_eq!(HalfImage::of(Array2::zeros((0, 4)).view()).into_pixels().dim(), (0, 4));
}

#[test]
fn large_images_go_the_parallel_way_to_the_same_pixels() {
    let image = noise_image(600, 1001, 2);
    let back = HalfImage::of_box(image.view()).into_box();
    assert!(back.iter().zip(&image).all(|(a, b)| (a - b).abs() < 1e-5));
    // Parseval over the full transform
    let half = HalfImage::of(image.view());
    let power: f64 = half
        .data()
        .indexed_iter()
        .map(|((_, x), v)| friedel_count(x, 1001) as f64 * f64::from(v.norm_sqr()))
        .sum();
    let pixels: f64 = image.iter().map(|v| f64::from(v * v)).sum();
    assert!((power / (600.0 * 1001.0) / pixels - 1.0).abs() < 1e-5);
}

#[test]
fn rows_near_the_origin_are_those_of_the_whole_image() {
    for (ny, nx, reach, columns) in [(40, 64, 7, 20), (33, 50, 16, 26), (8, 9, 0, 5)] {
        let mut half = HalfImage::of(noise_image(ny, nx, 8).view());
        half.data_mut().slice_mut(ndarray::s![.., columns..]).fill(Complex32::ZERO);
        let whole = half.clone().into_pixels();
        let rows = half.into_rows_near_origin(reach, columns);
        assert_eq!(rows.dim(), (2 * reach + 1, nx));
        for ((y, x), value) in rows.indexed_iter() {
            assert!((value - whole[[(y + ny - reach) % ny, x]]).abs() < 1e-6, "{ny} x {nx}: {y}, {x}");
        }
    }
}

#[test]
fn the_centre_phase_is_a_multiplication() {
    for n in [6, 7] {
        let image = noise_image(n, n, 3);
        let mut half = HalfImage::of(image.view());
        half.phases_to_centre();
        let centred = HalfImage::of_box(image.view());
        assert!(half.data().iter().zip(centred.data()).all(|(a, b)| (a - b).norm() < 1e-5));
        half.phases_to_corner();
        let corner = HalfImage::of(image.view());
        assert!(half.data().iter().zip(corner.data()).all(|(a, b)| (a - b).norm() < 1e-5));
    }
}

#[test]
fn whole_pixel_shifts_roll_the_image() {
    let image = noise_image(9, 8, 4);
    let mut half = HalfImage::of(image.view());
    half.shift(3.0, -2.0);
    let moved = half.into_pixels();
    for ((y, x), value) in moved.indexed_iter() {
        let source = image[[(y + 2) % 9, (x + 8 - 3) % 8]];
        assert!((value - source).abs() < 1e-5);
    }
}

#[test]
fn volumes_round_trip_and_agree_with_images() {
    for n in [1, 4, 7, 10] {
        let volume = noise_volume(n, 5);
        for back in
            [HalfVolume::of(volume.view()).into_voxels(), HalfVolume::of_box(volume.view()).into_box()]
        {
            assert!(back.iter().zip(&volume).all(|(a, b)| (a - b).abs() < 1e-5), "{n}");
        }
        // the plane qz = 0 is the transform of the projection along z
        let projection = volume.sum_axis(ndarray::Axis(0));
        let plane = HalfImage::of_box(projection.view());
        let half = HalfVolume::of_box(volume.view());
        let slice = half.data().index_axis(ndarray::Axis(0), 0);
        assert!(slice.iter().zip(plane.data()).all(|(a, b)| (a - b).norm() < 1e-3), "{n}");
        let mut corner = HalfVolume::of(volume.view());
        corner.phases_to_centre();
        assert!(corner.data().iter().zip(half.data()).all(|(a, b)| (a - b).norm() < 1e-3), "{n}");
    }
}

#[test]
fn padding_and_cropping_are_inverse() {
    for (n, m) in [(4, 8), (5, 8), (5, 9), (6, 9)] {
        let volume = noise_volume(n, 6);
        let half = HalfVolume::of_box_padded(volume.view(), m);
        assert_eq!(half.n(), m);
        let back = half.into_box_cropped(n);
        assert!(back.iter().zip(&volume).all(|(a, b)| (a - b).abs() < 1e-5), "{n} {m}");
    }
}

/// A function both grids can hold, sampled on a box of `n` about its centre.
fn band_limited(n: usize) -> Array2<f32> {
    let c = centre(n) as f64;
    Array2::from_shape_fn((n, n), |(y, x)| {
        let (y, x) = ((y as f64 - c) / n as f64, (x as f64 - c) / n as f64);
        (0.3 + (TAU * (2.0 * x - y)).cos() + 0.5 * (TAU * (x + 3.0 * y) + 1.0).sin()) as f32
    })
}

#[test]
fn resampling_is_exact_for_what_both_grids_hold() {
    for n in [8, 9, 10, 12, 15] {
        for target in [8, 9, 11, 14, 20] {
            let resampled = resample_box(band_limited(n).view(), target);
            let want = band_limited(target);
            assert!(resampled.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{n} to {target}");
        }
    }
}

#[test]
fn growing_and_shrinking_again_gives_the_noise_back() {
    for (ny, nx, ty, tx) in [(6, 8, 9, 11), (7, 5, 8, 12), (6, 6, 12, 12), (5, 8, 5, 9)] {
        let image = noise_image(ny, nx, 7);
        let back = resample_image(resample_image(image.view(), ty, tx).view(), ny, nx);
        assert!(back.iter().zip(&image).all(|(a, b)| (a - b).abs() < 1e-5), "{ny} {nx}");
    }
    for (n, m) in [(6, 9), (7, 10), (6, 10)] {
        let volume = noise_volume(n, 8);
        let back = resample_volume(resample_volume(volume.view(), m).view(), n);
        assert!(back.iter().zip(&volume).all(|(a, b)| (a - b).abs() < 1e-5), "{n} {m}");
    }
}

#[test]
fn power_of_white_noise_is_flat() {
    let image = noise_image(128, 96, 9);
    let power = shell_power(&HalfImage::of(image.view()));
    assert_eq!(power.len(), 65);
    let expected = 128.0 * 96.0 / 3.0; // variance 1/3 of the uniform distribution, per pixel
    assert!(power[5..].iter().all(|p| (p / expected - 1.0).abs() < 0.5));
    let volume = noise_volume(24, 10);
    let power = shell_power_volume(&HalfVolume::of(volume.view()));
    assert!(power[4..].iter().all(|p| (p / (24f64.powi(3) / 3.0) - 1.0).abs() < 0.3));
}

#[test]
fn low_pass_has_its_half_at_the_radius() {
    assert_eq!(low_pass_weight(3.0, 5.0, 2.0), 1.0);
    assert!((low_pass_weight(5.0, 5.0, 2.0) - 0.5).abs() < 1e-12);
    assert_eq!(low_pass_weight(6.0, 5.0, 2.0), 0.0);
    assert!((high_pass_weight(5.5, 5.0, 2.0) + low_pass_weight(5.5, 5.0, 2.0) - 1.0).abs() < 1e-12);
    assert_eq!((low_pass_weight(5.0, 5.0, 0.0), low_pass_weight(5.1, 5.0, 0.0)), (1.0, 0.0));
}
