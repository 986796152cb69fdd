//! Cropping against sums written out in double precision, and the stage as a whole.

use super::DownsampleParticles;
use super::crop::Boxes;
use crate::image_stacks::tests::{Scene, noise};
use ndarray::Array2;
use num_complex::Complex64;
use serde_json::{Value, json};
use std::f64::consts::TAU;
use vitreous_model::params::BadParam;
use vitreous_model::particle::Particle;

fn boxes(params: Value, source: usize, pixel_size_a: f64) -> Result<Boxes, BadParam> {
    Boxes::of(&serde_json::from_value(params).unwrap(), source, pixel_size_a)
}

/// The coefficient at frequency (qx, qy) per edge, phases from the centre pixel `n/2`, over the number of pixels.
fn coefficient(image: &Array2<f32>, qx: i32, qy: i32) -> Complex64 {
    let n = image.nrows();
    let from_centre = |i: usize| i as f64 - (n / 2) as f64;
    let term = |((y, x), value): ((usize, usize), &f32)| {
        let turns = (f64::from(qx) * from_centre(x) + f64::from(qy) * from_centre(y)) / n as f64;
        f64::from(*value) * Complex64::cis(-TAU * turns)
    };
    image.indexed_iter().map(term).sum::<Complex64>() / (n * n) as f64
}

#[test]
fn the_transform_of_the_result_is_the_cropped_transform_of_the_image() {
    for (source, output) in [(24, 16), (25, 16), (36, 18), (17, 16), (50, 32)] {
        let image = Array2::from_shape_vec((source, source), noise(source, 5, source as u64)).unwrap();
        let boxes = Boxes { source, crop: source, output };
        let small = boxes.apply(image.clone());
        assert_eq!(small.dim(), (output, output));
        // the Nyquist row and column hold two frequencies at once
        let highest = output as i32 / 2 - 1;
        for (qx, qy) in [(0, 0), (1, 0), (0, -1), (3, 2), (-4, 5), (highest, -highest), (highest, 0)] {
            let (before, after) = (coefficient(&image, qx, qy), coefficient(&small, qx, qy));
            assert!((before - after).norm() < 1e-6, "{source} → {output} at ({qx}, {qy}): {before} {after}");
        }
    }
}

#[test]
fn the_centre_stays_the_centre() {
    // a blob 3 Å right of and 2 Å above the centre pixel, whatever the boxes
    let blob = |n: usize, pixel_a: f64| {
        Array2::from_shape_fn((n, n), |(y, x)| {
            let from = |i: usize, at_a: f64| (i as f64 - (n / 2) as f64) * pixel_a - at_a;
            (-(from(x, 3.0).powi(2) + from(y, 2.0).powi(2)) / (2.0 * 6f64.powi(2))).exp() as f32
        })
    };
    for (source, crop, output) in [(64, 64, 32), (65, 65, 32), (64, 48, 48), (65, 48, 24), (63, 50, 20)] {
        let boxes = Boxes { source, crop, output };
        let pixel_a = boxes.pixel_size_a(1.5);
        assert!((pixel_a - 1.5 * crop as f64 / output as f64).abs() < 1e-12);
        let (found, expected) = (boxes.apply(blob(source, 1.5)), blob(output, pixel_a));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // what a box of 60 Å or more cuts off such a blob
        assert!(worst < 2e-3, "{boxes:?}: {worst}");
    }
}

#[test]
fn boxes_follow_from_what_is_given() {
    let of = |params| boxes(params, 360, 0.8).map(|boxes| (boxes.crop, boxes.output));
    assert_eq!(of(json!({"output_box": 128})).unwrap(), (360, 128));
    assert_eq!(of(json!({"crop_box": 300})).unwrap(), (300, 300));
    assert_eq!(of(json!({"crop_box": 300, "output_box": 100})).unwrap(), (300, 100));
    // 288 Å at 3 Å are 96 pixels, at 2.9 Å 99.3: 100
    assert_eq!(of(json!({"pixel_size": 3.0})).unwrap(), (360, 96));
    assert_eq!(of(json!({"pixel_size": 2.9})).unwrap(), (360, 100));
    assert_eq!(of(json!({"pixel_size": 0.8})).unwrap(), (360, 360));
    for (params, key, word) in [
        (json!({"crop_box": 362}), "crop_box", "360 px"),
        (json!({"output_box": 362}), "output_box", "360 px"),
        (json!({"pixel_size": 0.7}), "pixel_size", "0.8 Å"),
        (json!({"pixel_size": 50.0}), "pixel_size", "leaves images"),
    ] {
        let error = of(params).unwrap_err();
        assert!(error.key == key && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn all_of_a_particle_but_its_image_stays() {
    let scene = Scene::new(24);
    let (report, new) = scene.run_alone(&DownsampleParticles, json!({"output_box": 16})).unwrap();
    assert_eq!((new.box_px, new.pixel_size_a), (16, 2.25));
    assert_eq!(report.get("nyquist_A"), Some(4.5));
    let boxes = Boxes { source: 24, crop: 24, output: 16 };
    for (new, old) in new.particles.iter().zip(&scene.set.particles) {
        assert_eq!(scene.image(new), boxes.apply(scene.image(old)));
        // shifts are in Å, coordinates in pixels of the micrograph: neither changes
        let same =
            Particle { stack_path: old.stack_path.clone(), stack_index: old.stack_index, ..new.clone() };
        assert_eq!(same, *old);
    }
    let params = json!({"crop_box": 20, "pixel_size": 1.8, "float16": true, "images_per_stack": 4});
    let (_, new) = scene.run_alone(&DownsampleParticles, params).unwrap();
    assert_eq!((new.box_px, new.particles[6].stack_path.as_str()), (18, "J9/particles/000002.mrcs"));
    assert!((new.pixel_size_a - 30.0 / 18.0).abs() < 1e-12);
    let error = scene.run_alone(&DownsampleParticles, json!({"output_box": 32})).unwrap_err();
    assert!(error.to_string().contains("must not be larger than the images (24 px)"), "{error}");
}
