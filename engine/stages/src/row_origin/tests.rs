//! Micrographs of noise and particles cut from them, in every way.

use super::*;
use crate::particle_sets::tests::{optics, particle, write_stack};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_kernels_cuda::AnyDevice;

const SIZE: (usize, usize) = (300, 240);
const BOX: usize = 48;
const PLACES: [[usize; 2]; 5] = [[60, 50], [200, 70], [120, 130], [240, 180], [70, 190]];

fn noise(seed: u64) -> Array2<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (width, height) = SIZE;
    let white = Array2::from_shape_fn((height, width), |_| random.random_range(-1.0f32..1.0));
    // noise of images is not white, and a slope of ice is larger than any of it
    Array2::from_shape_fn((height, width), |(y, x)| {
        let around = white
            .slice(s![y.saturating_sub(1)..(y + 2).min(height), x.saturating_sub(1)..(x + 2).min(width)]);
        around.mean().unwrap_or(0.0) + 0.5 * white[[y, x]] + 0.05 * x as f32
    })
}

/// A project with the micrograph, and particles cut from it in a way: inverted, at places that count from the other end.
fn scene(folder: &Path, way: Way) -> ParticleSet {
    let micrograph = noise(3);
    let mut file = MrcWriter::create(&folder.join("m.mrc"), MrcSpec::images(SIZE.0, SIZE.1, 1.5)).unwrap();
    file.append(micrograph.as_slice().unwrap()).unwrap();
    file.finish().unwrap();
    let cut = |[x, y]: [usize; 2]| {
        let mut image = micrograph.slice(s![y - BOX / 2..y + BOX / 2, x - BOX / 2..x + BOX / 2]).to_owned();
        if way.mirrored {
            image.invert_axis(ndarray::Axis(0));
        }
        image.iter().map(|value| 7.0 - 3.0 * value).collect::<Vec<f32>>()
    };
    write_stack(folder, "s.mrcs", BOX, &PLACES.map(cut));
    let particles = PLACES.iter().enumerate().map(|(index, [x, y])| {
        let mut one = particle(index as u64, "s.mrcs", index as u32, "m");
        let pick = one.pick.as_mut().unwrap();
        let row = if way.other_end { SIZE.1 - y } else { *y };
        (pick.x_px, pick.y_px) = (*x as f64, row as f64);
        one
    });
    ParticleSet {
        optics: vec![optics(1, "x", 300.0)],
        box_px: BOX as u32,
        pixel_size_a: 1.5,
        particles: particles.collect(),
    }
}

fn look(folder: &Path, set: &ParticleSet, file: &str) -> Option<Verdict> {
    let ctx = Ctx::new(&folder.join("J9"), folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let (images, _) = ParticleImages::open(&ctx, set);
    let sight = Sight { path: folder.join(file), pixel_size_a: Some(1.5) };
    compare(&ctx, set, &images, &[("m".to_string(), sight)].into())
}

#[test]
fn every_way_is_told_from_the_others() {
    for way in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let set = scene(folder.path(), way);
        let verdict = look(folder.path(), &set, "m.mrc").unwrap();
        assert_eq!(verdict.way(), Some(way), "{verdict:?}");
        assert!(verdict.of(way) > 0.95, "{verdict:?}");
        // inverted as particles are
        assert_eq!((verdict.compared, verdict.same_contrast), (PARTICLES, 0));
    }
}

#[test]
fn other_noise_is_no_way_and_what_cannot_be_read_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let set = scene(folder.path(), WAYS[0]);
    let mut file =
        MrcWriter::create(&folder.path().join("n.mrc"), MrcSpec::images(SIZE.0, SIZE.1, 1.5)).unwrap();
    file.append(noise(4).as_slice().unwrap()).unwrap();
    file.finish().unwrap();
    let verdict = look(folder.path(), &set, "n.mrc").unwrap();
    assert_eq!(verdict.way(), None, "{verdict:?}");
    assert_eq!(look(folder.path(), &set, "gone.mrc"), None);
    assert_eq!(look(folder.path(), &set, "s.mrcs"), None);
}

#[test]
fn binned_and_displaced_images_are_still_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut set = scene(folder.path(), WAYS[3]);
    let micrograph = noise(3);
    // 24 px of 3 Å; places that are off by a pixel and a half
    let cut = |[x, y]: [usize; 2]| {
        let mut image = micrograph.slice(s![y - BOX / 2..y + BOX / 2, x - BOX / 2..x + BOX / 2]).to_owned();
        image.invert_axis(ndarray::Axis(0));
        binned(&image, 2).into_iter().collect::<Vec<f32>>()
    };
    write_stack(folder.path(), "s.mrcs", BOX / 2, &PLACES.map(cut));
    (set.box_px, set.pixel_size_a) = (BOX as u32 / 2, 3.0);
    for one in &mut set.particles {
        one.pick.as_mut().unwrap().x_px += 1.5;
    }
    let verdict = look(folder.path(), &set, "m.mrc").unwrap();
    assert_eq!(verdict.way(), Some(WAYS[3]), "{verdict:?}");
    assert_eq!(verdict.same_contrast, PARTICLES);
}
