//! One step of 2-D classification, timed: an image against 50 classes with 13 shifts, one thread.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use vitreous_compute::cpu::classify2d::CpuClasses;
use vitreous_compute::cpu::pose_search::simd::Simd;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::ImageModel;
use vitreous_compute::ops::classify2d::{ClassesRequest, Classify2d, FixedSums, SumsLayout};
use vitreous_compute::ops::pose_search::{SearchImage, ShiftGrid, Truncation};
use vitreous_compute::parity::phantom::{Phantom, Truth};
use vitreous_compute::polar::PolarGrid;

const BOX: usize = 64;
const CLASSES: usize = 50;
const IMAGES: usize = 8;
const RMAX: f64 = 16.0;
/// Energy of a slice, nats.
const ENERGY: f64 = 300.0;

fn main() {
    divan::main();
}

#[divan::bench(args = Simd::available().iter().map(|simd| format!("{simd:?}")).collect::<Vec<_>>())]
fn classify_one_image_by_width(bencher: Bencher<'_, '_>, name: &str) {
    let simd =
        Simd::available().into_iter().find(|simd| format!("{simd:?}") == name).unwrap_or(Simd::Portable);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let phantom = Phantom::new(BOX, 0.56, 14, 11);
    let variance = phantom.variance_for_energy(RMAX, ENERGY);
    let noise = vec![variance * (BOX * BOX) as f64; BOX / 2 + 1];
    let truths: Vec<Truth> = (0..CLASSES).map(|_| Truth::random(2.0, &mut rng)).collect();
    let averages: Vec<Array2<f32>> = truths
        .iter()
        .map(|truth| {
            let plain = Truth { shift_px: [0.0; 2], ctf: None, ..*truth };
            phantom.image(&plain, 0.0, &mut rng).into_box()
        })
        .collect();
    let images: Vec<HalfImage> =
        truths[..IMAGES].iter().map(|truth| phantom.image(truth, variance, &mut rng)).collect();
    let rings = RMAX as usize + 4;
    let layout = SumsLayout {
        classes: CLASSES,
        grid: Arc::new(PolarGrid::of_rings(BOX, rings, phantom.diameter_px, 0.0)),
        reference_noise: Arc::new(noise.clone()),
    };
    let shifts = ShiftGrid::disc(2.5, 1.2);
    let request = ClassesRequest {
        averages: &averages,
        log_prior: &[0.0; CLASSES],
        rmax: RMAX,
        diameter_px: phantom.diameter_px,
        shifts: &shifts,
        ctf_power: &[0.5],
        noise: &noise,
        truncation: Truncation::default(),
        temperature: 1.0,
        layout: &layout,
        summed_rings: rings,
    };
    let classes = CpuClasses::new(&request, simd).expect("the case should be valid");
    let search: Vec<SearchImage<'_>> = (images.iter().zip(&truths))
        .map(|(image, truth)| SearchImage {
            model: ImageModel {
                image,
                ctf: truth.ctf.as_ref(),
                pixel_size_a: phantom.pixel_size_a(),
                noise: &noise,
                amplitude: 1.0,
            },
            centre_px: [0.0; 2],
            shift_sigma_px: f64::INFINITY,
        })
        .collect();
    let mut sums = FixedSums::zeros(layout.clone());
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread should start");
    bencher.counter(ItemsCount::new(IMAGES)).bench_local(|| {
        pool.install(|| black_box(Cpu.classify(&classes, black_box(&search), &[0; IMAGES], &mut sums)))
    });
}
