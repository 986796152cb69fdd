//! One exposure: what lies in the ice, and the frames the camera counts of it.
//!
//! Electrons at a pixel in frame f: `d a² · (1 + g) · (1 - 2σ ∫φ ⊗ c)`, with the dose d per frame, the pixel a, the
//! interaction parameter σ, a gentle gradient g of ice thickness, the projected potential φ of particles and ice above
//! the mean, and c of `vitreous_model::ctf`: the linear (weak-phase) image of a particle that is dark at underfocus.
//! Each frame's transform is attenuated by the dose at its end, then read where the motion says, by quintic B-splines
//! whose prefilter is applied in Fourier space.

use super::camera::Camera;
use super::motion::{Amount, Motion};
use super::potential::{Potential, filter};
use super::random::{Purpose, normal, rotation, stream, uniform};
use super::{placement, scattering};
use ndarray::{Array2, s};
use num_complex::Complex32;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use vitreous_compute::fourier::{HalfImage, next_5_smooth};
use vitreous_model::conventions::centre;
use vitreous_model::ctf::CtfParams;
use vitreous_model::dose::attenuation;
use vitreous_model::pose::Rotation;

/// Pixels of content beyond the largest motion on each side, so that splines have their neighbours.
const SPARE_PX: f64 = 12.0;
/// Largest change of intensity by the gradient of ice thickness, at the edges.
const GRADIENT: f64 = 0.05;
/// Half-power frequency of the ice's structure, 1/Å, and the order of its fall-off: beyond the ring of water at 3.7 Å
/// little is left.
const ICE_LIMIT: (f64, i32) = (0.33, 8);
/// Distance of neighbours relative to the particle's diameter.
const SPACING: f64 = 1.05;
/// Entries of the table of spline weights per pixel.
const SPLINE_STEPS: usize = 2048;
/// Samples of the attenuation per frame, even in |k|.
const DAMAGE_STEPS: usize = 4096;

/// What all exposures have in common.
pub struct Setup<'a> {
    /// Makes particles.
    pub potential: &'a Potential<'a>,
    /// Box in which a particle is drawn, pixels.
    pub patch_px: usize,
    /// Diameter of a particle, pixels.
    pub diameter_px: f64,
    /// Least distance of a particle's centre from the edge, pixels, without motion.
    pub margin_px: f64,
    /// Particles wanted.
    pub particles: usize,
    /// Pixel size, Å.
    pub pixel_a: f64,
    /// Root mean square of the ice's projected potential per pixel, V·Å.
    pub ice_rms: f64,
    /// Amount of motion.
    pub amount: Amount,
    /// Range of the mean defocus, and largest astigmatism, Å.
    pub defocus_a: [f64; 3],
    /// CTF without defocus.
    pub optics: CtfParams,
    /// Factor on the critical dose.
    pub damage_factor: f64,
    /// The camera.
    pub camera: &'a Camera,
    /// Seed of everything.
    pub seed: u64,
}

/// The random facts of an exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// Its CTF.
    pub ctf: CtfParams,
    /// Its motion.
    pub motion: Motion,
    /// Where particles lie in the first frame, pixels.
    pub positions_px: Vec<[f64; 2]>,
    /// How they lie.
    pub rotations: Vec<Rotation>,
    /// Gradient of the intensity along x and y, from -1 to 1 over the frame.
    pub gradient: [f64; 2],
}

impl Scene {
    /// The scene of exposure `index`.
    pub fn random(setup: &Setup<'_>, index: u64) -> Self {
        let rng = &mut stream(setup.seed, Purpose::Exposure, index, 0);
        let ctf = random_ctf(rng, setup.optics, setup.defocus_a);
        let mut motion = Motion::random(rng, setup.amount);
        if setup.amount.fine_px > 0.0 {
            // with numbers of its own: without it everything stays as it was
            motion.add_fine(&mut stream(setup.seed, Purpose::FineMotion, index, 0), setup.amount);
        }
        let margin = setup.margin_px + setup.amount.largest_px();
        let distance = SPACING * setup.diameter_px;
        let positions_px = placement::positions(rng, setup.particles, setup.amount.size, distance, margin);
        let rotations = positions_px.iter().map(|_| rotation(rng)).collect();
        let gradient = [0, 1].map(|_| uniform(rng, -GRADIENT, GRADIENT));
        Self { ctf, motion, positions_px, rotations, gradient }
    }
}

/// A CTF with a mean defocus in `[low, high]` and an astigmatism up to `most` (all Å).
pub fn random_ctf(
    rng: &mut rand_chacha::ChaCha8Rng,
    optics: CtfParams,
    [low, high, most]: [f64; 3],
) -> CtfParams {
    let mean = uniform(rng, low, high);
    let half = 0.5 * uniform(rng, 0.0, most);
    let angle = uniform(rng, -90.0, 90.0);
    CtfParams {
        defocus_u_a: mean + half,
        defocus_v_a: mean - half,
        astigmatism_angle: vitreous_model::units::Degrees(angle),
        ..optics
    }
}

/// The specimen of a scene, ready to be exposed: its contrast's spline coefficients in Fourier space.
pub struct Exposed<'a> {
    setup: &'a Setup<'a>,
    scene: &'a Scene,
    index: u64,
    contrast: HalfImage,
    /// Pixels of the canvas before the frame's first.
    pad: usize,
    spline: Spline,
    phases: super::motion::RowPhases,
}

impl<'a> Exposed<'a> {
    /// Draws particles and ice on a canvas larger than the frame and applies the CTF.
    pub fn new(setup: &'a Setup<'a>, scene: &'a Scene, index: u64) -> Self {
        let pad = (setup.amount.largest_px() + SPARE_PX).ceil() as usize;
        let [nx, ny] = setup.amount.size.map(|n| next_5_smooth(n + 2 * pad));
        let mut canvas = Array2::<f32>::zeros((ny, nx));
        draw_particles(setup, scene, pad, &mut canvas);
        let mut contrast = HalfImage::of(canvas.view());
        add_ice(setup, index, &mut contrast);
        let (ctf, pixel) = (scene.ctf, setup.pixel_a);
        let sigma = scattering::interaction_parameter(ctf.voltage.0, ctf.voltage.wavelength_a());
        filter(&mut contrast, pixel, |kx, ky| {
            let response = spline_response(kx * pixel) * spline_response(ky * pixel);
            2.0 * sigma * ctf.value(kx.hypot(ky), ky.atan2(kx)) / response
        });
        // the mean of the potential changes the dose, not the contrast
        contrast.data_mut()[[0, 0]] = Complex32::new(0.0, 0.0);
        let phases = scene.motion.row_phases(setup.amount.size[0]);
        Self { setup, scene, index, contrast, pad, spline: Spline::new(), phases }
    }

    /// Counts of frame `frame`, `[height, width]`.
    pub fn frame(&self, frame: usize) -> Array2<f32> {
        let [width, height] = self.setup.amount.size;
        let mean = self.setup.amount.dose_per_frame * self.setup.pixel_a.powi(2);
        let coefficients = self.attenuated(frame).into_pixels();
        let mut counts = Array2::zeros((height, width));
        let cells: &mut [f32] = counts.as_slice_mut().expect("a new array should be contiguous");
        cells.par_chunks_mut(width).enumerate().for_each_init(
            || vec![[0.0; 2]; width],
            |backward, (y, row)| {
                self.scene.motion.row(frame, y, &self.phases, backward);
                let tilt_y = self.scene.gradient[1] * (2.0 * y as f64 / height as f64 - 1.0);
                for (x, (value, b)) in row.iter_mut().zip(backward.iter()).enumerate() {
                    let at = [x as f64 - b[0], y as f64 - b[1]].map(|v| v + self.pad as f64);
                    let tilt = 1.0 + tilt_y + self.scene.gradient[0] * (2.0 * x as f64 / width as f64 - 1.0);
                    let contrast = f64::from(self.spline.read(&coefficients, at));
                    *value = (mean * tilt * (1.0 - contrast)).max(0.0) as f32;
                }
                let part = (frame * height + y) as u64;
                let mut rng = stream(self.setup.seed, Purpose::Electrons, self.index, part);
                self.setup.camera.count(y, mean, row, &mut rng);
            },
        );
        counts
    }

    /// The contrast that is left at the end of a frame.
    fn attenuated(&self, frame: usize) -> HalfImage {
        let dose = self.setup.amount.dose_per_frame * (frame + 1) as f64;
        let pixel = self.setup.pixel_a;
        // up to the corner of the band
        let largest = std::f64::consts::SQRT_2 * 0.5 / pixel;
        let step = largest / (DAMAGE_STEPS - 1) as f64;
        let table: Vec<f64> =
            (0..DAMAGE_STEPS).map(|i| attenuation(i as f64 * step, dose, self.setup.damage_factor)).collect();
        let mut half = self.contrast.clone();
        filter(&mut half, pixel, |kx, ky| {
            table[((kx.hypot(ky) / step).round() as usize).min(DAMAGE_STEPS - 1)]
        });
        half
    }
}

/// Adds the particles' projected potentials, each drawn in its own patch.
fn draw_particles(setup: &Setup<'_>, scene: &Scene, pad: usize, canvas: &mut Array2<f32>) {
    let patch = |(position, rotation): (&[f64; 2], &Rotation)| {
        let whole = position.map(f64::round);
        let part = [position[0] - whole[0], position[1] - whole[1]];
        (whole, setup.potential.projection(*rotation, part).into_box())
    };
    let patches: Vec<([f64; 2], Array2<f32>)> =
        scene.positions_px.par_iter().zip(&scene.rotations).map(patch).collect();
    let n = setup.patch_px;
    let (rows, columns) = canvas.dim();
    for (whole, image) in patches {
        // in order, so that overlapping edges add up the same way always; what lies beyond the canvas is cut off
        let first = whole.map(|v| v as isize + pad as isize - centre(n) as isize);
        let [x, y] = [(first[0], columns), (first[1], rows)].map(|(first, limit)| {
            let low = first.clamp(0, limit as isize);
            (low as usize, (first + n as isize).clamp(low, limit as isize) as usize, (low - first) as usize)
        });
        let source = image.slice(s![y.2..y.2 + y.1 - y.0, x.2..x.2 + x.1 - x.0]);
        let mut target = canvas.slice_mut(s![y.0..y.1, x.0..x.1]);
        target += &source;
    }
}

/// Adds the structure of amorphous ice: white noise up to the limit of water's structure.
fn add_ice(setup: &Setup<'_>, index: u64, sum: &mut HalfImage) {
    if setup.ice_rms <= 0.0 {
        return;
    }
    let (ny, nx) = (sum.ny(), sum.nx());
    let mut noise = Array2::<f32>::zeros((ny, nx));
    let cells = noise.as_slice_mut().expect("a new array should be contiguous");
    cells.par_chunks_mut(nx).enumerate().for_each(|(y, row)| {
        let mut rng = stream(setup.seed, Purpose::Ice, index, y as u64);
        row.iter_mut().for_each(|v| *v = (setup.ice_rms * normal(&mut rng)) as f32);
    });
    let mut ice = HalfImage::of(noise.view());
    let (limit, order) = ICE_LIMIT;
    filter(&mut ice, setup.pixel_a, |kx, ky| 1.0 / (1.0 + (kx.hypot(ky) / limit).powi(order)));
    let mut target = sum.data_mut();
    target += ice.data();
}

/// Response of sampled quintic B-splines at `f` cycles per pixel.
fn spline_response(f: f64) -> f64 {
    (66.0 + 52.0 * (TAU * f).cos() + 2.0 * (2.0 * TAU * f).cos()) / 120.0
}

/// Quintic B-splines, tabulated.
struct Spline {
    /// Weights of the six neighbours at each fraction of a pixel, and two zeros that fill a vector register.
    weights: Vec<[f32; 8]>,
}

impl Spline {
    fn new() -> Self {
        let weights = (0..=SPLINE_STEPS)
            .map(|i| {
                let t = i as f64 / SPLINE_STEPS as f64;
                // neighbours at -2 … 3 from the pixel below; the spline is 0 at 4 and 5
                std::array::from_fn(|j| quintic(t - (j as f64 - 2.0)) as f32)
            })
            .collect();
        Self { weights }
    }

    /// The value at (column, row) of the image whose spline coefficients these are; beyond the edge it goes on cyclically.
    fn read(&self, coefficients: &Array2<f32>, at: [f64; 2]) -> f32 {
        let (rows, columns) = coefficients.dim();
        let cells = coefficients.as_slice().expect("spline coefficients should be contiguous");
        let split = |v: f64| {
            let below = v.floor();
            let step = ((v - below) * SPLINE_STEPS as f64).round() as usize;
            (below as isize, &self.weights[step.min(SPLINE_STEPS)])
        };
        let ((x0, wx), (y0, wy)) = (split(at[0]), split(at[1]));
        let mut sum = 0.0;
        let inside = x0 >= 2 && x0 + 5 < columns as isize;
        for (j, wy) in wy[..6].iter().enumerate() {
            let y = (y0 + j as isize - 2).rem_euclid(rows as isize) as usize;
            let row = &cells[y * columns..(y + 1) * columns];
            let line: f32 = if inside {
                let first = (x0 - 2) as usize;
                let near: &[f32; 8] =
                    row[first..first + 8].try_into().expect("eight neighbours should be inside");
                let products: [f32; 8] = std::array::from_fn(|i| near[i] * wx[i]);
                products[..4].iter().zip(&products[4..]).map(|(a, b)| a + b).sum()
            } else {
                let x = |i: usize| (x0 + i as isize - 2).rem_euclid(columns as isize) as usize;
                wx.iter().enumerate().map(|(i, w)| row[x(i)] * w).sum()
            };
            sum += wy * line;
        }
        sum
    }
}

/// The quintic B-spline centred on 0, of support (-3, 3).
fn quintic(t: f64) -> f64 {
    let t = t.abs();
    let power = |v: f64| v.max(0.0).powi(5);
    (power(3.0 - t) - 6.0 * power(2.0 - t) + 15.0 * power(1.0 - t)) / 120.0
}

/// Root mean square over the disc of `radius_px` of a projection in its box.
pub fn disc_rms(image: &Array2<f32>, radius_px: f64) -> f64 {
    let (c, mut sum, mut count) = (centre(image.nrows()) as f64, 0.0, 0.0f64);
    for ((y, x), v) in image.indexed_iter() {
        if (y as f64 - c).hypot(x as f64 - c) <= radius_px {
            sum += f64::from(*v).powi(2);
            count += 1.0;
        }
    }
    (sum / count.max(1.0)).sqrt()
}

/// Azimuth-dependent CTF as a filter on a transform of a box.
pub fn apply_ctf(half: &mut HalfImage, ctf: &CtfParams, pixel_a: f64) {
    filter(half, pixel_a, |kx, ky| ctf.value(kx.hypot(ky), ky.atan2(kx)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splines_with_their_prefilter_shift_smooth_images_exactly() {
        let n = 60;
        let wave = |x: f64, y: f64| (TAU * 7.0 * x / 60.0 + 1.0).cos() * (TAU * 4.0 * y / 60.0).sin();
        let image = Array2::from_shape_fn((n, n), |(y, x)| wave(x as f64, y as f64) as f32);
        let mut half = HalfImage::of(image.view());
        filter(&mut half, 1.0, |kx, ky| 1.0 / (spline_response(kx) * spline_response(ky)));
        let (coefficients, spline) = (half.into_pixels(), Spline::new());
        for at in [[20.3, 30.7], [0.2, 59.6], [41.0, 7.0], [-1.5, 62.25]] {
            let found = f64::from(spline.read(&coefficients, at));
            // aliases of a wave of 7/60 cycles per pixel: (7/53)^6 = 5e-6; table steps: 1/4096 px of slope 0.7
            assert!((found - wave(at[0], at[1])).abs() < 5e-4, "{at:?}: {found}");
        }
        let sum: f64 = (-3..=3).map(|i| quintic(f64::from(i) + 0.3)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
