//! One evaluation of logL with gradient and Hessian, the unit of work of Levenberg–Marquardt: box 128, radius 60, one
//! thread, by instruction set, beside the same sums point by point.

use divan::{Bencher, black_box};
use num_complex::Complex32;
use vitreous_compute::cpu::align::lattice::{Lattice, LatticeImage};
use vitreous_compute::cpu::align::normal::NormalJob;
use vitreous_compute::cpu::align::simd::normal_equations;
use vitreous_compute::cpu::pose_search::simd::Simd;
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::ImageModel;
use vitreous_compute::ops::align::PixelPose;
use vitreous_compute::parity::project::blob_volume;
use vitreous_model::pose::Rotation;

const BOX: usize = 128;
const RMAX: f64 = 60.0;

fn main() {
    divan::main();
}

struct Setting {
    projector: Projector,
    lattice: Lattice,
    image: LatticeImage,
    weights: Vec<f32>,
    pose: PixelPose,
}

fn setting() -> Setting {
    let projector = Projector::new(blob_volume(BOX, 1).view(), 2.0).expect("blobs should be a cube");
    let lattice = Lattice::new(BOX);
    let pose =
        PixelPose { rotation: Rotation::from_rotation_vector([0.3, -0.7, 1.1]), shift_px: [1.3, -0.4] };
    let mut slice = HalfImage::zeros_box(BOX);
    projector.slice(pose.rotation, RMAX, &mut slice).expect("the slice should fit");
    let noise = vec![1.0; BOX / 2 + 1];
    let model = ImageModel { image: &slice, ctf: None, pixel_size_a: 1.0, noise: &noise, amplitude: 1.0 };
    let weights = lattice.band(RMAX);
    let mut image = LatticeImage::default();
    image.read(&lattice, &model, weights.len(), weights.len());
    Setting { projector, lattice, image, weights, pose }
}

#[divan::bench(args = Simd::available().iter().map(|simd| format!("{simd:?}")).collect::<Vec<_>>())]
fn evaluation_by_width(bencher: Bencher<'_, '_>, name: &str) {
    let simd =
        Simd::available().into_iter().find(|simd| format!("{simd:?}") == name).unwrap_or(Simd::Portable);
    let s = setting();
    let job = NormalJob {
        projector: &s.projector,
        lattice: &s.lattice,
        image: &s.image,
        weights: &s.weights,
        pose: s.pose,
    };
    bencher.bench(|| normal_equations(simd, black_box(&job)));
}

#[divan::bench]
fn evaluation_point_by_point(bencher: Bencher<'_, '_>) {
    let s = setting();
    bencher.bench(|| point_by_point(black_box(&s)));
}

/// logL, gradient and the upper triangle of the Hessian, as the contract of the family has them.
fn point_by_point(s: &Setting) -> [f32; 21] {
    let m = s.pose.rotation.matrix().map(|row| row.map(|v| v as f32));
    let per_px = std::f32::consts::TAU / BOX as f32;
    let mut sums = [0f32; 21];
    for i in 0..s.weights.len() {
        let (qx, qy) = (s.lattice.qx[i], s.lattice.qy[i]);
        let k = [0, 1, 2].map(|row: usize| m[row][0] * qx + m[row][1] * qy);
        let (value, gradient) = s.projector.value_and_gradient(k);
        let c = s.image.transfer[i];
        let along =
            |column: usize| -> Complex32 { (0..3).map(|row| gradient[row] * (c * m[row][column])).sum() };
        let (gx, gy, gz) = (along(0), along(1), along(2));
        let model = value * c;
        let (sin, cos) =
            (per_px * (qx * s.pose.shift_px[0] as f32 + qy * s.pose.shift_px[1] as f32)).sin_cos();
        let x = Complex32::new(s.image.re[i], s.image.im[i]) * Complex32::new(cos, sin);
        let turned = Complex32::new(model.im, -model.re) * per_px;
        let d = [gz * qy, gz * -qx, gy * qx - gx * qy, turned * qx, turned * qy];
        let weight = s.weights[i];
        sums[0] += weight * ((x * model.conj()).re * 2.0 - model.norm_sqr());
        let mut at = 6;
        for a in 0..5 {
            sums[1 + a] += 2.0 * weight * ((x - model) * d[a].conj()).re;
            for b in a..5 {
                sums[at] += 2.0 * weight * (d[a] * d[b].conj()).re;
                at += 1;
            }
        }
    }
    sums
}
