//! Images freed of the aberrations of their optics group that do not belong to the contrast transfer function: the odd
//! phase is turned back, the magnification undone. What is left is `X(k) = c(k) P(k)`.
//!
//! The magnification is undone by evaluating the image's transform between its points: in real space `X(M⁻¹ k)` is
//! `|det M| x(Mᵀ r)`, and x is taken there from a grid twice as fine, which a transform padded with zeros gives, with a
//! Kaiser-Bessel kernel whose transform was divided out before (a type-2 non-uniform FFT; error below 1e-4 of the image).

use crate::fourier::HalfImage;
use crate::polar::sample::bessel_i0;
use nalgebra::DMatrix;
use ndarray::Array2;
use num_complex::Complex32;
use std::f64::consts::{PI, TAU};
use vitreous_model::conventions::{centre, signed_frequency};
use vitreous_model::exposure::OpticsGroup;

/// Points of the fine grid a kernel covers along an axis.
const WIDTH: usize = 6;
/// Points of the fine grid per pixel.
const OVERSAMPLING: usize = 2;
/// Points that are read at once along a row; those beyond the kernel have no weight.
const LANES: usize = 8;
/// Degree of the polynomials that stand for the kernel between two points: good to 1e-6.
const DEGREE: usize = 9;

/// What frees images of one optics group, box and pixel size of their aberrations.
#[derive(Debug, Clone)]
pub struct ImageCorrection {
    n: usize,
    /// `exp(+iφ)`, `[n, n/2 + 1]`.
    turn: Option<Array2<Complex32>>,
    resampling: Option<Resampling>,
}

impl ImageCorrection {
    /// For images of `n` pixels of `pixel_a` Å; `None` if there is nothing to do.
    pub fn new(group: &OpticsGroup, n: usize, pixel_a: f64) -> Option<Self> {
        let own = &group.aberrations;
        let turn = own.has_odd().then(|| {
            let (wavelength_a, edge_a) = (group.voltage.wavelength_a(), n as f64 * pixel_a);
            Array2::from_shape_fn((n, n / 2 + 1), |(y, x)| {
                if n.is_multiple_of(2) && (x == n / 2 || y == n / 2) {
                    // the sum of two frequencies with opposite phases
                    return Complex32::ONE;
                }
                let (kx, ky) = (x as f64 / edge_a, signed_frequency(y, n) as f64 / edge_a);
                let (sin, cos) = own.odd_phase(kx, ky, wavelength_a, group.cs).sin_cos();
                Complex32::new(cos as f32, sin as f32)
            })
        });
        let resampling = own.has_magnification().then(|| Resampling::new(n, own.magnification));
        (turn.is_some() || resampling.is_some()).then_some(Self { n, turn, resampling })
    }

    /// The image `[n, n]` without aberrations.
    ///
    /// # Panics
    /// If the image is of another box.
    pub fn apply(&self, image: Array2<f32>) -> Array2<f32> {
        assert_eq!(image.dim(), (self.n, self.n), "an image should be of the box of its correction");
        let image = match &self.resampling {
            Some(resampling) => resampling.apply(&image),
            None => image,
        };
        let Some(turn) = &self.turn else { return image };
        let mut half = HalfImage::of_box(image.view());
        half.data_mut().zip_mut_with(turn, |value, turn| *value *= turn);
        half.into_box()
    }
}

/// Takes an image at `Mᵀ r` for every pixel r, both from the centre.
#[derive(Debug, Clone)]
struct Resampling {
    n: usize,
    matrix: [[f64; 2]; 2],
    /// One over the kernel's transform by |q|.
    undo: Vec<f32>,
    weights: KernelWeights,
}

impl Resampling {
    fn new(n: usize, matrix: [[f64; 2]; 2]) -> Self {
        let kernel = Kernel::new();
        let undo = (0..=n / 2).map(|q| (1.0 / kernel.transform(q, OVERSAMPLING * n)) as f32).collect();
        Self { n, matrix, undo, weights: KernelWeights::of(&kernel) }
    }

    fn apply(&self, image: &Array2<f32>) -> Array2<f32> {
        let n = self.n;
        let fine_n = OVERSAMPLING * n;
        let [[a, b], [c, d]] = self.matrix;
        let half = HalfImage::of_box(image.view());
        let mut padded = HalfImage::zeros_box(fine_n);
        {
            let mut data = padded.data_mut();
            let scale = (OVERSAMPLING * OVERSAMPLING) as f32 * (a * d - b * c).abs() as f32;
            for y in 0..n {
                let qy = signed_frequency(y, n);
                // Nyquist is left out: it is the sum of two frequencies that go different ways
                if n.is_multiple_of(2) && y == n / 2 {
                    continue;
                }
                let to = qy.rem_euclid(fine_n as isize) as usize;
                for x in 0..n.div_ceil(2) {
                    let weight = scale * self.undo[x] * self.undo[qy.unsigned_abs()];
                    data[[to, x]] = half.data()[[y, x]] * weight;
                }
            }
        }
        // the first points once more beyond the last, so that no place reaches over the end
        let fine = padded.into_box();
        let stride = fine_n + LANES;
        let mut cyclic: Vec<f32> = Vec::with_capacity(stride * stride);
        for y in (0..fine_n).chain(0..LANES) {
            let row = fine.row(y % fine_n);
            cyclic.extend(row.iter().chain(row.iter().cycle().take(LANES)));
        }
        let (middle, fine_middle) = (centre(n) as f64, centre(fine_n) as f64);
        let along = |r: f64| {
            let position = OVERSAMPLING as f64 * r + fine_middle;
            let first = (position - 0.5 * WIDTH as f64).ceil();
            let weights = self.weights.at((first - position) as f32 + 0.5 * WIDTH as f32);
            ((first as i64).rem_euclid(fine_n as i64) as usize, weights)
        };
        Array2::from_shape_fn((n, n), |(y, x)| {
            let (x, y) = (x as f64 - middle, y as f64 - middle);
            let ((first_x, along_x), (first_y, along_y)) = (along(a * x + c * y), along(b * x + d * y));
            let mut sum = [0f32; LANES];
            for (i, weight) in along_y[..WIDTH].iter().enumerate() {
                let start = (first_y + i) * stride + first_x;
                let points = &cyclic[start..start + LANES];
                (0..LANES).for_each(|lane| sum[lane] += points[lane] * weight);
            }
            (0..LANES).map(|lane| sum[lane] * along_x[lane]).sum()
        })
    }
}

/// Weights of the points around a place, each a polynomial of where the place lies between two points.
#[derive(Debug, Clone)]
struct KernelWeights {
    /// Coefficients by power, from the highest, of all points; those beyond the kernel's are 0.
    powers: [[f32; LANES]; DEGREE + 1],
}

impl KernelWeights {
    /// Polynomials through the kernel's values at Chebyshev's nodes.
    fn of(kernel: &Kernel) -> Self {
        let nodes: [f64; DEGREE + 1] =
            std::array::from_fn(|i| (PI * (i as f64 + 0.5) / (DEGREE + 1) as f64).cos());
        let matrix =
            DMatrix::from_fn(DEGREE + 1, DEGREE + 1, |i, power| nodes[i].powi((DEGREE - power) as i32));
        let values = DMatrix::from_fn(DEGREE + 1, WIDTH, |i, point| {
            kernel.value(0.5 * (nodes[i] + 1.0) - 0.5 * WIDTH as f64 + point as f64)
        });
        let solved = matrix.lu().solve(&values).expect("Chebyshev's nodes should differ");
        let mut powers = [[0.0; LANES]; DEGREE + 1];
        for (power, lanes) in powers.iter_mut().enumerate() {
            (0..WIDTH).for_each(|point| lanes[point] = solved[(power, point)] as f32);
        }
        Self { powers }
    }

    /// Weights for a place whose first point lies `part` (0 to 1) of a point inside the kernel's end.
    #[inline(always)]
    fn at(&self, part: f32) -> [f32; LANES] {
        let s = 2.0 * part - 1.0;
        let mut weights = self.powers[0];
        for coefficients in &self.powers[1..] {
            (0..LANES).for_each(|lane| weights[lane] = weights[lane] * s + coefficients[lane]);
        }
        weights
    }
}

/// The Kaiser-Bessel kernel on the fine grid.
struct Kernel {
    beta: f64,
}

impl Kernel {
    fn new() -> Self {
        let oversampling = OVERSAMPLING as f64;
        // Beatty, Nishimura & Pauly 2005, IEEE Trans. Med. Imaging 24, 799, eq. 5
        Self { beta: PI * ((WIDTH as f64 / oversampling * (oversampling - 0.5)).powi(2) - 0.8).sqrt() }
    }

    /// Its value `u` fine points from the middle.
    fn value(&self, u: f64) -> f64 {
        let inside = 1.0 - (2.0 * u / WIDTH as f64).powi(2);
        if inside < 0.0 { 0.0 } else { bessel_i0(self.beta * inside.sqrt()) / bessel_i0(self.beta) }
    }

    /// Its transform at q of a grid of `fine_n` points, by the midpoint rule, fine enough for its small step at the ends.
    fn transform(&self, q: usize, fine_n: usize) -> f64 {
        const PARTS: usize = 4096;
        let reach = WIDTH as f64 / 2.0;
        let step = 2.0 * reach / PARTS as f64;
        let term = |i: usize| {
            let u = (i as f64 + 0.5) * step - reach;
            self.value(u) * (TAU * q as f64 * u / fine_n as f64).cos()
        };
        step * (0..PARTS).map(term).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::aberrations::Aberrations;
    use vitreous_model::units::{Kilovolt, Millimetre};

    fn group(aberrations: Aberrations) -> OpticsGroup {
        OpticsGroup {
            number: 1,
            name: String::new(),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            movie_pixel_size_a: 1.0,
            aberrations,
        }
    }

    /// Gaussian blobs as seen through the optics: by the formula, coefficient by coefficient.
    fn seen(n: usize, pixel_a: f64, group: &OpticsGroup) -> Array2<f32> {
        let blobs = [([6.0, -3.0], 1.6, 1.0), ([-8.0, 5.0], 2.0, -0.7), ([1.0, 11.0], 1.3, 0.5)];
        let own = &group.aberrations;
        let [[a, b], [c, d]] = own.magnification;
        let edge_a = n as f64 * pixel_a;
        let mut half = HalfImage::zeros_box(n);
        for ((y, x), value) in half.data_mut().indexed_iter_mut() {
            let (qx, qy) = (x as f64, signed_frequency(y, n) as f64);
            if x == n / 2 || y == n / 2 {
                continue;
            }
            let (mx, my) = (a * qx + b * qy, c * qx + d * qy);
            let phase = own.odd_phase(mx / edge_a, my / edge_a, group.voltage.wavelength_a(), group.cs);
            for ([bx, by], sigma, weight) in blobs {
                let size = weight * (-2.0 * (PI * sigma / n as f64).powi(2) * (mx * mx + my * my)).exp();
                let angle = -TAU * (mx * bx + my * by) / n as f64 - phase;
                *value += Complex32::from_polar((100.0 * size) as f32, angle as f32);
            }
        }
        half.into_box()
    }

    fn error(n: usize, pixel_a: f64, aberrations: Aberrations) -> f64 {
        let aberrant = group(aberrations);
        let correction = ImageCorrection::new(&aberrant, n, pixel_a).unwrap();
        let found = correction.apply(seen(n, pixel_a, &aberrant));
        let plain = seen(n, pixel_a, &group(Aberrations::default()));
        let power = |image: &Array2<f32>| image.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        (power(&(&found - &plain)) / power(&plain)).sqrt()
    }

    #[test]
    fn polynomials_are_the_kernel() {
        let kernel = Kernel::new();
        let weights = KernelWeights::of(&kernel);
        for step in 0..=200 {
            let part = f64::from(step) / 200.0;
            for (point, weight) in weights.at(part as f32).into_iter().enumerate() {
                let wanted = if point < WIDTH { kernel.value(part - 3.0 + point as f64) } else { 0.0 };
                assert!((f64::from(weight) - wanted).abs() < 3e-6, "{part} {point}: {weight}, {wanted}");
            }
        }
    }

    #[test]
    fn images_come_out_as_without_aberrations() {
        let mut odd = [0.0; 12];
        (odd[2], odd[5], odd[9]) = (40.0, -25.0, 3.0);
        let phases = Aberrations { beam_tilt_mrad: [1.5, -0.8], odd, ..Aberrations::default() };
        assert!(error(64, 1.2, phases) < 1e-5);
        let magnification = [[1.02, 0.006], [-0.004, 0.985]];
        let stretched = Aberrations { magnification, ..Aberrations::default() };
        for n in [64, 63] {
            assert!(error(n, 1.2, stretched) < 3e-4, "{n}: {}", error(n, 1.2, stretched));
        }
        let both = Aberrations { magnification, ..phases };
        assert!(error(64, 1.2, both) < 3e-4);
    }

    #[test]
    fn nothing_is_done_where_there_is_nothing_to_do() {
        let mut none = Aberrations::default();
        assert!(ImageCorrection::new(&group(none), 32, 1.0).is_none());
        // the even part is the CTF's
        none.even.zernike[8] = 5.0;
        assert!(ImageCorrection::new(&group(none), 32, 1.0).is_none());
    }
}
