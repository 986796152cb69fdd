//! Odd and even phases of an optics group, from sums over its particles of each coefficient.
//!
//! Nothing is unwrapped: coefficients of polynomials are found by Newton's method on the likelihood of the complex sums,
//! first at low resolution, where phases are small, then further out.

use super::compare::Compared;
use super::lattice::{Lattice, Point};
use nalgebra::{DMatrix, DVector};
use vitreous_model::aberrations::{Aberrations, coma_of_mrad};
use vitreous_model::units::Millimetre;

/// Parts of the largest radius to which the fit goes in turn.
const STAGES: [f64; 3] = [0.5, 0.75, 1.0];
/// Steps of Newton's method in a stage.
const STEPS: usize = 30;
/// A fit ends when a step gains less than this, nats.
const ENOUGH: f64 = 1e-6;
/// Standard deviation of the prior of each polynomial at the largest radius, rad.
const PRIOR_SD: f64 = 20.0;
/// Steps of the sums, which are kept as whole numbers so that no order of adding matters: parts of a nat.
const PER_NAT: f64 = (1u64 << 24) as f64;
/// Contributions of an image to a sum are cut here, nats; those of good images are below 100.
const LARGEST: f32 = 1e6;

/// Number of columns of an odd sum: real and imaginary part of `X c conj(P)/σ²`, and `c² |P|²/σ²`.
pub const ODD_COLUMNS: usize = 3;
/// Number of columns of an even sum: the two complex quadratures of [`super::defocus`], and `|P|²/σ²`.
pub const EVEN_COLUMNS: usize = 5;

/// Sums over images of some columns at every coefficient, exact in any order.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    columns: usize,
    values: Vec<i64>,
}

impl Sums {
    /// All zero.
    pub fn new(columns: usize, points: usize) -> Self {
        Self { columns, values: vec![0; columns * points] }
    }

    /// Adds what one image has: numbers of the first point, then of the second ….
    pub fn add(&mut self, image: &[f32]) {
        self.values.iter_mut().zip(image).for_each(|(sum, &value)| *sum += whole(value));
    }

    /// Whole numbers, to be added over ranks.
    pub fn data_mut(&mut self) -> &mut [i64] {
        &mut self.values
    }

    /// Column `column` at `point`, nats.
    pub fn get(&self, point: usize, column: usize) -> f64 {
        self.values[point * self.columns + column] as f64 / PER_NAT
    }
}

/// A number of nats in whole steps; no number is none.
pub fn whole(value: f32) -> i64 {
    (f64::from(value.clamp(-LARGEST, LARGEST)) * PER_NAT).round() as i64
}

/// What an image adds to the odd sums.
pub fn odd_of(compared: &Compared) -> Vec<f32> {
    let points = compared.cross.iter().zip(&compared.norm).zip(&compared.turn);
    points
        .flat_map(|((cross, norm), turn)| [cross.re * turn.im, cross.im * turn.im, norm * turn.im * turn.im])
        .collect()
}

/// What an image adds to the even sums.
pub fn even_of(compared: &Compared) -> Vec<f32> {
    let points = compared.cross.iter().zip(&compared.norm).zip(&compared.turn);
    points
        .flat_map(|((cross, &norm), turn)| {
            let twice = turn * turn;
            [2.0 * cross.re * turn.re, 2.0 * cross.re * turn.im, norm * twice.re, norm * twice.im, norm]
        })
        .collect()
}

/// A fit: coefficients of the basis, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Coefficients of polynomials whose radius is 1 at the largest |k|, rad.
    pub coefficients: Vec<f64>,
    /// Their standard errors.
    pub errors: Vec<f64>,
    /// Gain of log-likelihood, nats.
    pub gain: f64,
}

/// x, y, r²x, r²y, x³ - 3xy², 3x²y - y³.
pub fn odd_basis(x: f64, y: f64) -> [f64; 6] {
    let r2 = x * x + y * y;
    [x, y, r2 * x, r2 * y, x * x * x - 3.0 * x * y * y, 3.0 * x * x * y - y * y * y]
}

/// r², x² - y², 2xy, r⁴, r²(x² - y²), r²·2xy, and the real and imaginary parts of (x + iy)⁴.
pub fn even_basis(x: f64, y: f64) -> [f64; 8] {
    let (r2, re, im) = (x * x + y * y, x * x - y * y, 2.0 * x * y);
    [r2, re, im, r2 * r2, r2 * re, r2 * im, re * re - im * im, 2.0 * re * im]
}

/// The odd phase φ for which `Re Q exp(iφ)`, Q the sums, is largest.
pub fn fit_odd(lattice: &Lattice, sums: &Sums) -> Fitted {
    // twice the sum is the log-likelihood; the curvature that is expected does not turn negative far from the maximum
    newton(lattice, &odd_basis, &|point, phase| {
        let (sin, cos) = phase.sin_cos();
        let (re, im) = (sums.get(point, 0), sums.get(point, 1));
        [2.0 * (re * cos - im * sin), -2.0 * (re * sin + im * cos), 2.0 * sums.get(point, 2)]
    })
}

/// The phase that is to be added to the argument of the CTF.
pub fn fit_even(lattice: &Lattice, sums: &Sums) -> Fitted {
    newton(lattice, &even_basis, &|point, phase| {
        let (sin, cos) = phase.sin_cos();
        let (sin2, cos2) = (2.0 * sin * cos, cos * cos - sin * sin);
        let [b_re, b_im, a_re, a_im, norm] = [0, 1, 2, 3, 4].map(|column| sums.get(point, column));
        let first = (b_re * cos - b_im * sin, b_re * sin + b_im * cos);
        let second = (a_re * cos2 - a_im * sin2, a_re * sin2 + a_im * cos2);
        [first.1 + 0.5 * second.0, first.0 - second.1, norm + second.0]
    })
}

/// Maximises the sum over points of the first number of `terms`, which also gives its slope and a positive curvature.
fn newton<const K: usize>(
    lattice: &Lattice,
    basis: &dyn Fn(f64, f64) -> [f64; K],
    terms: &dyn Fn(usize, f64) -> [f64; 3],
) -> Fitted {
    let normal = |point: &Point| point.q.map(|q| f64::from(q) / lattice.rmax);
    let bases: Vec<[f64; K]> = lattice.points.iter().map(|p| basis(normal(p)[0], normal(p)[1])).collect();
    let radius: Vec<f64> = lattice.points.iter().map(|p| normal(p)[0].hypot(normal(p)[1])).collect();
    let phase = |c: &DVector<f64>, point: usize| -> f64 {
        bases[point].iter().zip(c.iter()).map(|(b, c)| b * c).sum()
    };
    let prior = PRIOR_SD.powi(-2);
    let total = |c: &DVector<f64>, reach: f64| -> f64 {
        let inside = (0..bases.len()).filter(|&point| radius[point] <= reach);
        inside.map(|point| terms(point, phase(c, point))[0]).sum::<f64>() - 0.5 * prior * c.norm_squared()
    };
    let mut c = DVector::<f64>::zeros(K);
    let mut curvature = DMatrix::<f64>::identity(K, K);
    for reach in STAGES {
        let mut value = total(&c, reach);
        for _ in 0..STEPS {
            let mut gradient = -&c * prior;
            curvature = DMatrix::identity(K, K) * prior;
            for point in (0..bases.len()).filter(|&point| radius[point] <= reach) {
                let [_, slope, bend] = terms(point, phase(&c, point));
                for i in 0..K {
                    gradient[i] += slope * bases[point][i];
                    (0..K)
                        .for_each(|j| curvature[(i, j)] += bend.max(0.0) * bases[point][i] * bases[point][j]);
                }
            }
            let Some(step) = curvature.clone().cholesky().map(|factor| factor.solve(&gradient)) else {
                break;
            };
            let mut part = 1.0;
            let better = std::iter::repeat_with(|| {
                let there = &c + &step * part;
                part *= 0.5;
                (total(&there, reach), there)
            })
            .take(8)
            .find(|(found, _)| *found > value);
            let Some((found, there)) = better else { break };
            let gain = found - value;
            (c, value) = (there, found);
            if gain < ENOUGH {
                break;
            }
        }
    }
    let covariance = curvature.try_inverse().unwrap_or_else(|| DMatrix::zeros(K, K));
    let value =
        |c: &DVector<f64>| (0..bases.len()).map(|point| terms(point, phase(c, point))[0]).sum::<f64>();
    Fitted {
        gain: value(&c) - value(&DVector::zeros(K)),
        errors: (0..K).map(|i| covariance[(i, i)].max(0.0).sqrt()).collect(),
        coefficients: c.iter().copied().collect(),
    }
}

/// Adds a fitted odd phase to a group's aberrations.
pub fn add_odd(own: &mut Aberrations, fitted: &[f64], kmax: f64, wavelength_a: f64, cs: Millimetre) {
    let &[x, y, coma_x, coma_y, trefoil_x, trefoil_y] = fitted else { return };
    let (first, third) = (kmax, kmax.powi(3));
    own.odd[1] -= x / first;
    own.odd[0] -= y / first;
    // a tilt is coma; kept as such only where there is no Cs to make one of the other
    let (coma_x, coma_y) = (coma_x / third, coma_y / third);
    own.odd[4] -= coma_x / 3.0;
    own.odd[3] -= coma_y / 3.0;
    own.odd[1] -= 2.0 * coma_x / 3.0;
    own.odd[0] -= 2.0 * coma_y / 3.0;
    own.odd[5] -= trefoil_x / third;
    own.odd[2] -= trefoil_y / third;
    *own = own.with_coma_as_tilt(wavelength_a, cs);
}

/// Adds a phase fitted to the argument of the CTF to a group's aberrations.
pub fn add_even(own: &mut Aberrations, fitted: &[f64], kmax: f64) {
    let &[r2, re, im, r4, r2_re, r2_im, re4, im4] = fitted else { return };
    let (second, fourth) = (kmax.powi(-2), kmax.powi(-4));
    let even = &mut own.even.zernike;
    // the polynomials of `even_zernike` by powers; what they have of a constant is taken away again
    let spherical = -r4 * fourth / 6.0;
    let defocus = 0.5 * (-r2 * second + 6.0 * spherical);
    let (along, across) = (-r2_re * fourth / 4.0, -r2_im * fourth / 4.0);
    even[6] += spherical;
    even[2] += defocus;
    even[0] += defocus - spherical;
    even[7] += along;
    even[5] += across;
    even[3] += -re * second + 3.0 * along;
    even[1] += -im * second + 3.0 * across;
    even[8] -= re4 * fourth;
    even[4] -= im4 * fourth;
}

/// Coma of a beam tilt of 1 mrad at the largest |k|, rad; for errors of a fitted tilt.
pub fn coma_at(kmax: f64, wavelength_a: f64, cs: Millimetre) -> f64 {
    coma_of_mrad(wavelength_a, cs) * kmax.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitted_phases_become_aberrations_of_the_same_phase() {
        let (kmax, wavelength_a, cs) = (0.3, 0.0197, Millimetre(2.7));
        let (x, y) = (0.4, -0.7);
        let odd = [0.3, -0.2, 1.5, 0.8, -0.6, 0.9];
        let mut own = Aberrations::default();
        add_odd(&mut own, &odd, kmax, wavelength_a, cs);
        let expected: f64 = odd_basis(x, y).iter().zip(odd).map(|(b, c)| b * c).sum();
        let found = own.odd_phase(x * kmax, y * kmax, wavelength_a, cs);
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        assert!(own.odd[3] == 0.0 && own.beam_tilt_mrad[0] != 0.0);
        let even = [0.7, -0.4, 0.2, 1.1, 0.5, -0.3, 0.6, -0.9];
        add_even(&mut own, &even, kmax);
        let expected: f64 = even_basis(x, y).iter().zip(even).map(|(b, c)| b * c).sum();
        let found = own.even.value(x * kmax, y * kmax);
        assert!((found + expected).abs() < 1e-9, "{found} {expected}");
        assert!(own.even.value(0.0, 0.0).abs() < 1e-12, "no constant");
    }

    #[test]
    fn phases_of_many_turns_are_found_from_sums() {
        let lattice = Lattice::new(96, 1.0, [4.0, 44.0], 1000.0, 0.02);
        let odd = [0.5, -1.0, 7.0, -5.0, 4.0, 3.0];
        let even = [2.0, -1.0, 0.5, 6.0, -2.0, 3.0, 5.0, -4.0];
        let mut odd_sums = Sums::new(ODD_COLUMNS, lattice.points.len());
        let mut even_sums = Sums::new(EVEN_COLUMNS, lattice.points.len());
        // images of two arguments χ, without noise
        let (mut odd_image, mut even_image) = (Vec::new(), Vec::new());
        for point in &lattice.points {
            let [x, y] = point.q.map(|q| f64::from(q) / lattice.rmax);
            let phase: f64 = odd_basis(x, y).iter().zip(odd).map(|(b, c)| b * c).sum();
            let norm = (-2.0 * (x * x + y * y)).exp();
            odd_image.extend([norm * phase.cos(), -norm * phase.sin(), norm].map(|v| v as f32));
            let phase: f64 = even_basis(x, y).iter().zip(even).map(|(b, c)| b * c).sum();
            let mut columns = [0.0; EVEN_COLUMNS];
            for chi in [0.3 + 40.0 * (x * x + y * y), 1.9 + 23.0 * (x * x + y * y)] {
                let cross = norm * (chi + phase).sin();
                let own = [
                    2.0 * cross * chi.cos(),
                    2.0 * cross * chi.sin(),
                    norm * (2.0 * chi).cos(),
                    norm * (2.0 * chi).sin(),
                    norm,
                ];
                columns.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            }
            even_image.extend(columns.map(|v| v as f32));
        }
        odd_sums.add(&odd_image);
        even_sums.add(&even_image);
        let found = fit_odd(&lattice, &odd_sums);
        assert!(found.coefficients.iter().zip(odd).all(|(a, b)| (a - b).abs() < 0.02), "{found:?}");
        assert!(found.gain > 0.0);
        let found = fit_even(&lattice, &even_sums);
        assert!(found.coefficients.iter().zip(even).all(|(a, b)| (a - b).abs() < 0.02), "{found:?}");
    }
}
