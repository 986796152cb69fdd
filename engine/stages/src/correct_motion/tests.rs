//! Known motion recovered, sums against their formulas, and the stage as a whole with good and bad input.

use super::compose::compose;
use super::correct::{Settings, correct};
use super::dose_weights::DoseWeights;
use super::motion_field::{MODES, MotionField};
use super::movie::{Movie, MovieError};
use super::simulated::{Memory, Recipe, global_part, rms_difference};
use super::warp::warp;
use ndarray::{Array2, ArrayView2};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Poisson};
use rayon::prelude::*;
use std::sync::Arc;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::HalfImage;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::dose::attenuation;

pub(super) fn settings() -> Settings {
    Settings {
        pixel_size_a: 1.0,
        dose_per_frame: 1.5,
        pre_exposure: 0.0,
        voltage_factor: None,
        patches: [4, 4],
        b_factor_px2: 20.0,
        binning: 1.0,
        hot_pixel_sd: 6.0,
        odd_even: false,
    }
}

fn movie(memory: Memory) -> Movie {
    let frames = memory.frames.len();
    Movie { source: Box::new(memory), gain: None, first: 0, frames }
}

#[test]
fn known_motion_is_recovered() {
    let recipe = Recipe::default();
    let found = correct(&Cpu, &movie(recipe.counted()), &settings()).unwrap();
    let truth = recipe.truth();
    let still = MotionField::new(truth.width, truth.height, vec![[[0.0; MODES]; 2]; recipe.frames]);
    let (all, nothing) = (rms_difference(&found.field, &truth, 5), rms_difference(&still, &truth, 5));
    let global_only = rms_difference(&global_part(&found.field), &truth, 5);
    assert!(all <= 0.15, "rms error {all} px of {nothing} px, without local motion {global_only} px");
    assert!(all < 0.45 * global_only, "{all} px, without local motion {global_only} px");
    let middle = rms_difference(&global_part(&found.field), &global_part(&truth), 1);
    assert!(middle <= 0.12, "global error {middle} px");
    assert!(found.local_gain > 10.0);
}

#[test]
fn weak_data_are_not_made_worse_by_local_motion() {
    for seed in [3, 4, 5, 6, 7, 8, 9, 10] {
        let recipe = Recipe { contrast: 0.12, dose: 0.5, local: 0.0, seed, ..Recipe::default() };
        let movie = movie(recipe.counted());
        let with = correct(&Cpu, &movie, &settings()).unwrap();
        let without = correct(&Cpu, &movie, &Settings { patches: [1, 1], ..settings() }).unwrap();
        let truth = recipe.truth();
        let (with, without) =
            (rms_difference(&with.field, &truth, 5), rms_difference(&without.field, &truth, 5));
        assert!(with <= 1.05 * without, "seed {seed}: {with} px with, {without} px without local motion");
    }
}

#[test]
fn noise_alone_does_not_run_away() {
    let recipe = Recipe { contrast: 0.0, dose: 0.3, local: 0.0, ..Recipe::default() };
    let found = correct(&Cpu, &movie(recipe.counted()), &settings()).unwrap();
    assert!(found.field.coefficients.iter().flatten().flatten().all(|c| c.is_finite() && c.abs() < 200.0));
    assert!(found.micrographs.plain.iter().all(|v| v.is_finite()));
}

#[test]
fn hot_pixels_do_not_hold_the_motion_back() {
    let recipe = Recipe { local: 0.0, ..Recipe::default() };
    let mut memory = recipe.counted();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let hot: Vec<usize> = (0..60).map(|_| rng.random_range(0..512 * 480)).collect();
    let glow = Poisson::new(30.0f64).unwrap();
    for frame in &mut memory.frames {
        hot.iter().for_each(|&i| frame[i] = glow.sample(&mut rng) as f32);
    }
    let found = correct(&Cpu, &movie(memory), &settings()).unwrap();
    assert!(found.bad_pixels[0] >= 58 && found.bad_pixels[0] <= 75, "{:?}", found.bad_pixels);
    let error = rms_difference(&found.field, &recipe.truth(), 3);
    assert!(error <= 0.15, "{error} px");
    let largest = found.micrographs.plain.iter().fold(0.0f32, |a, v| a.max(*v));
    // 20 frames of 1.5 electrons, contrast and noise; a hot pixel would give 600
    assert!(largest < 100.0, "{largest}");
}

#[test]
fn a_fixed_pattern_does_not_hold_the_motion_back() {
    // a gain that varies by 5 % from pixel to pixel and is not corrected
    let recipe = Recipe { local: 0.0, ..Recipe::default() };
    let mut memory = recipe.counted();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let gain = Normal::new(1.0f32, 0.05).unwrap();
    let gain: Vec<f32> = (0..recipe.width * recipe.height).map(|_| gain.sample(&mut rng)).collect();
    memory.frames.iter_mut().for_each(|frame| frame.iter_mut().zip(&gain).for_each(|(v, g)| *v *= g));
    let found = correct(&Cpu, &movie(memory), &settings()).unwrap();
    let error = rms_difference(&found.field, &recipe.truth(), 3);
    assert!(error <= 0.2, "{error} px");
}

#[test]
fn more_frames_than_small_copies_are_grouped() {
    let recipe = Recipe { width: 256, height: 256, frames: 150, dose: 0.4, local: 0.0, ..Recipe::default() };
    let found =
        correct(&Cpu, &movie(recipe.counted()), &Settings { dose_per_frame: 0.2, ..settings() }).unwrap();
    assert_eq!(found.field.frames(), 150);
    let error = rms_difference(&found.field, &recipe.truth(), 1);
    assert!(error <= 0.35, "{error} px");
}

#[test]
fn odd_frames_are_summed_by_themselves() {
    let recipe = Recipe { width: 200, height: 150, frames: 7, local: 0.0, ..Recipe::default() };
    let wanted = Settings { odd_even: true, voltage_factor: Some(1.0), ..settings() };
    let found = correct(&Cpu, &movie(recipe.counted()), &wanted).unwrap();
    let plain = correct(&Cpu, &movie(recipe.counted()), &Settings { odd_even: false, ..wanted }).unwrap();
    assert_eq!(found.micrographs.weighted, plain.micrographs.weighted);
    assert!(plain.micrographs.odd.is_none());
    let odd = found.micrographs.odd.unwrap();
    // 4 of 7 frames
    let part = odd.mean().unwrap() / found.micrographs.plain.mean().unwrap();
    assert!((part - 4.0 / 7.0).abs() < 0.01, "{part}");
}

#[test]
fn one_frame_is_its_own_sum() {
    let recipe = Recipe { frames: 1, width: 200, height: 150, ..Recipe::default() };
    let memory = recipe.counted();
    // a single frame's counts scatter too widely to tell hot pixels
    let found = correct(&Cpu, &movie(memory.clone()), &Settings { hot_pixel_sd: 1e6, ..settings() }).unwrap();
    assert_eq!(found.field.at(0, 10.0, 10.0), [0.0, 0.0]);
    let image = ArrayView2::from_shape((150, 200), &memory.frames[0]).unwrap();
    let low = |image: ArrayView2<'_, f32>| band_limited(image, 0.25);
    assert_close(low(found.micrographs.plain.view()).view(), low(image).view(), 0.02);
}

/// Root mean square difference relative to the standard deviation of `want`.
fn assert_close(got: ArrayView2<'_, f32>, want: ArrayView2<'_, f32>, bound: f32) {
    let power = |values: Array2<f32>| values.mapv(|v| v * v).mean().unwrap();
    let deviation = power(want.mapv(|v| v - want.mean().unwrap())).sqrt();
    let difference = power(&got - &want).sqrt();
    assert!(difference <= bound * deviation, "differs by {} standard deviations", difference / deviation);
}

/// An image without its frequencies over `limit` cycles per pixel along either axis.
fn band_limited(image: ArrayView2<'_, f32>, limit: f64) -> Array2<f32> {
    let (height, width) = image.dim();
    let mut half = HalfImage::of(image);
    for ((y, x), value) in half.data_mut().indexed_iter_mut() {
        let (fy, fx) = (signed_frequency(y, height) as f64 / height as f64, x as f64 / width as f64);
        if fy.abs() > limit || fx > limit {
            *value = Default::default();
        }
    }
    half.into_pixels()
}

#[test]
fn a_shift_by_the_warp_is_a_shift_by_phases() {
    let (width, height) = (240, 208);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let white = Array2::from_shape_fn((height, width), |_| rng.random_range(-1.0f32..1.0));
    for (limit, bound) in [(0.25, 0.01), (0.4, 0.05)] {
        shift_and_read_back(band_limited(white.view(), limit), bound);
    }
}

/// Moves an image by phases, lets the warp read it back, and compares.
fn shift_and_read_back(image: Array2<f32>, bound: f64) {
    let (height, width) = image.dim();
    let mut moved = HalfImage::of(image.view());
    moved.shift(2.37, -1.71);
    let moved: Vec<f32> = moved.into_pixels().into_iter().collect();
    let still: Vec<f32> = image.iter().copied().collect();
    let shift = |u: f64, v: f64| {
        let mut c = [[0.0; MODES]; 2];
        (c[0][0], c[1][0]) = (u, v);
        c
    };
    let field = MotionField { width, height, coefficients: vec![shift(0.0, 0.0), shift(2.37, -1.71)] };
    let movie = movie(Memory::new(width, height, vec![still, moved]));
    let weights = DoseWeights::plain(2);
    let size = [width, height];
    let sums = warp(&Cpu, &movie, None, &Arc::default(), &field, &weights.by_frame, size).unwrap();
    let sum = compose(sums, &weights, 1.0, 1.0).plain;
    let power = |a: &Array2<f32>| a.iter().map(|v| f64::from(v * v)).sum::<f64>();
    let want = image.mapv(|v| 2.0 * v);
    let error = (power(&(&sum - &want)) / power(&want)).sqrt();
    assert!(error <= bound, "relative error {error}");
}

#[test]
fn dose_weights_are_those_of_the_formula() {
    let (width, height, frames) = (96, 80, 12);
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let white = |_| Array2::from_shape_fn((height, width), |_| rng.random_range(0.0f32..10.0));
    let smooth = (0..frames).map(white).map(|image| band_limited(image.view(), 0.25).into_iter().collect());
    let memory = Memory::new(width, height, smooth.collect());
    let (pixel, factor, per_frame, before) = (1.3, 0.8, 3.0, 2.0);
    let doses: Vec<f64> = (1..=frames).map(|f| before + per_frame * f as f64).collect();
    let weights = DoseWeights::new(&doses, pixel, factor);
    let field = MotionField { width, height, coefficients: vec![[[0.0; MODES]; 2]; frames] };
    let movie = movie(memory.clone());
    let size = [width, height];
    let sums = warp(&Cpu, &movie, None, &Arc::default(), &field, &weights.by_frame, size).unwrap();
    let got = compose(sums, &weights, pixel, 1.0).weighted.unwrap();

    let mut want = HalfImage::zeros(height, width);
    for (f, frame) in memory.frames.iter().enumerate() {
        let spectrum = HalfImage::of(ArrayView2::from_shape((height, width), frame).unwrap());
        for ((y, x), value) in want.data_mut().indexed_iter_mut() {
            let v = signed_frequency(y, height) as f64 / (height as f64 * pixel);
            let u = (x as f64 / (width as f64 * pixel)).hypot(v);
            let norm = doses.iter().map(|d| attenuation(u, *d, factor).powi(2)).sum::<f64>().sqrt();
            let weight = attenuation(u, doses[f], factor) / norm * (frames as f64).sqrt();
            *value += spectrum.data()[[y, x]] * weight as f32;
        }
    }
    assert_close(got.view(), want.into_pixels().view(), 0.02);
}

#[test]
fn fourier_cropping_keeps_the_mean_and_halves_the_size() {
    let recipe = Recipe { frames: 3, width: 201, height: 150, ..Recipe::default() };
    let found = correct(&Cpu, &movie(recipe.counted()), &Settings { binning: 2.0, ..settings() }).unwrap();
    let plain = found.micrographs.plain;
    assert_eq!(plain.dim(), (76, 100));
    assert!((plain.mean().unwrap() - 4.5).abs() < 0.2, "{}", plain.mean().unwrap());
}

#[test]
fn threads_and_batches_change_no_bit() {
    let recipe = Recipe { width: 300, height: 260, frames: 14, ..Recipe::default() };
    let memory = recipe.counted();
    let dosed = Settings { voltage_factor: Some(1.0), ..settings() };
    let run = |threads: usize, half: bool| {
        let mut memory = memory.clone();
        // halves are no whole numbers: such a movie is not kept, but read twice and in batches
        memory.frames.iter_mut().flatten().for_each(|v| *v *= if half { 0.5 } else { 1.0 });
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| correct(&Cpu, &movie(memory), &dosed).unwrap())
    };
    let (one, two) = (run(1, false), run(2, false));
    assert_eq!(one.field, two.field);
    assert_eq!(one.micrographs.weighted, two.micrographs.weighted);
    assert_eq!(one.micrographs.plain, two.micrographs.plain);
    let halves = run(2, true);
    let doubled = halves.micrographs.plain.mapv(|v| 2.0 * v);
    assert_close(doubled.view(), one.micrographs.plain.view(), 1e-4);
}

#[test]
fn a_pixel_that_is_not_a_number_is_named() {
    let mut memory = Recipe { width: 80, height: 70, frames: 4, ..Recipe::default() }.counted();
    memory.frames[2][3 * 80 + 7] = f32::NAN;
    let error = correct(&Cpu, &movie(memory), &settings()).err().unwrap();
    assert!(matches!(error, MovieError::NotFinite { frame: 2, x: 7, y: 3, .. }), "{error}");
}

/// A real micrograph moved by phases and counted again.
#[test]
fn a_real_micrograph_that_was_moved_is_found_again() {
    let Some(data) = crate::test_data() else { return };
    let path = data.join("micrographs/fei-extended.mrc");
    let source = vitreous_formats::open_image(&path).unwrap();
    let (width, height) = (source.header().width, source.header().height);
    let mut pixels = vec![0.0; source.header().frame_len()];
    source.read_frame_at(0, &mut pixels).unwrap();
    let whole = ArrayView2::from_shape((height, width), &pixels).unwrap();
    let edge = 1280;
    let mean = whole.mean().unwrap();
    let piece =
        whole.slice(ndarray::s![400..400 + edge, 700..700 + edge]).mapv(|v| (v / mean).clamp(0.2, 2.0));
    let recipe = Recipe { width: edge, height: edge, frames: 16, local: 0.0, ..Recipe::default() };
    let truth = recipe.truth();
    let spectrum = HalfImage::of(piece.view());
    let frames = truth.centre_track().into_par_iter().enumerate().map(|(frame, [u, v])| {
        let mut rng = ChaCha8Rng::seed_from_u64(21 + frame as u64);
        let mut moved = spectrum.clone();
        moved.shift(u, v);
        let mut count = |mean: f32| Poisson::new(1.2 * mean.max(0.05)).unwrap().sample(&mut rng);
        moved.into_pixels().into_iter().map(&mut count).collect()
    });
    let memory = Memory::new(edge, edge, frames.collect());
    let real = Settings { pixel_size_a: 0.85378, patches: [5, 5], ..settings() };
    let found = correct(&Cpu, &movie(memory), &real).unwrap();
    let error = rms_difference(&found.field, &truth, 3);
    assert!(error <= 0.2, "{error} px");
}
