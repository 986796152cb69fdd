//! Errors of the lenses that all images of an optics group share: beam tilt, odd and even aberrations, anisotropic
//! magnification. Signs and the order of the coefficients are in [`crate::conventions`].

use crate::units::Millimetre;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Coefficients of odd Zernike polynomials up to the fifth order.
pub const ODD_COEFFICIENTS: usize = 12;
/// Coefficients of even Zernike polynomials up to the fourth order.
pub const EVEN_COEFFICIENTS: usize = 9;
/// The matrix that changes nothing.
pub const IDENTITY: [[f64; 2]; 2] = [[1.0, 0.0], [0.0, 1.0]];

/// A phase that is the same at k and -k, and is taken from the argument of the contrast transfer function.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EvenPhase {
    /// Coefficients of [`even_zernike`], rad.
    pub zernike: [f64; EVEN_COEFFICIENTS],
}

impl EvenPhase {
    /// Whether all coefficients are 0.
    pub fn is_none(&self) -> bool {
        self.zernike.iter().all(|&c| c == 0.0)
    }

    /// The phase at `(kx, ky)` 1/Å, rad.
    pub fn value(&self, kx: f64, ky: f64) -> f64 {
        self.zernike.iter().zip(even_zernike(kx, ky)).map(|(c, z)| c * z).sum()
    }
}

/// The aberrations of an optics group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Aberrations {
    /// Beam tilt along x and y, mrad.
    pub beam_tilt_mrad: [f64; 2],
    /// Coefficients of [`odd_zernike`], rad: what there is beyond the beam tilt.
    pub odd: [f64; ODD_COEFFICIENTS],
    /// The even part beyond defocus, astigmatism and Cs.
    pub even: EvenPhase,
    /// Magnification matrix M, row by row: the image's coefficient at k shows the particle's at M k.
    pub magnification: [[f64; 2]; 2],
}

impl Default for Aberrations {
    fn default() -> Self {
        Self {
            beam_tilt_mrad: [0.0; 2],
            odd: [0.0; ODD_COEFFICIENTS],
            even: EvenPhase::default(),
            magnification: IDENTITY,
        }
    }
}

impl Aberrations {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the odd phase is 0 everywhere.
    pub fn has_odd(&self) -> bool {
        self.beam_tilt_mrad != [0.0; 2] || self.odd.iter().any(|&c| c != 0.0)
    }

    /// Whether the magnification is anisotropic or not 1.
    pub fn has_magnification(&self) -> bool {
        self.magnification != IDENTITY
    }

    /// The odd phase φ at `(kx, ky)` 1/Å, rad; the image shows `c P exp(-iφ)`.
    pub fn odd_phase(&self, kx: f64, ky: f64, wavelength_a: f64, cs: Millimetre) -> f64 {
        let [x, y] = self.beam_tilt_mrad;
        let tilt = coma_of_mrad(wavelength_a, cs) * (kx * kx + ky * ky) * (kx * x + ky * y);
        let odd: f64 = self.odd.iter().zip(odd_zernike(kx, ky)).map(|(c, z)| c * z).sum();
        tilt - odd
    }

    /// The same phases with third-order coma (coefficients 3 and 4) written as beam tilt, which RELION takes in its place;
    /// as they are where Cs is 0 and a tilt does nothing.
    pub fn with_coma_as_tilt(mut self, wavelength_a: f64, cs: Millimetre) -> Self {
        let scale = coma_of_mrad(wavelength_a, cs);
        if scale == 0.0 {
            return self;
        }
        // Z = (3 r² - 2) x: the part 3 r² x is a tilt, the rest a shift
        for (axis, coma, shift) in [(0, 4, 1), (1, 3, 0)] {
            let coefficient = std::mem::take(&mut self.odd[coma]);
            self.beam_tilt_mrad[axis] -= 3.0 * coefficient / scale;
            self.odd[shift] -= 2.0 * coefficient;
        }
        self
    }

    /// A shift seen in an image as it was taken, in the image freed of its magnification.
    pub fn shift_without(&self, shift_a: [f64; 2]) -> [f64; 2] {
        if !self.has_magnification() {
            return shift_a;
        }
        let [[a, b], [c, d]] = self.magnification;
        let determinant = a * d - b * c;
        // the transpose of the inverse
        [(d * shift_a[0] - c * shift_a[1]) / determinant, (a * shift_a[1] - b * shift_a[0]) / determinant]
    }

    /// The opposite of [`Aberrations::shift_without`].
    pub fn shift_with(&self, shift_a: [f64; 2]) -> [f64; 2] {
        if !self.has_magnification() {
            return shift_a;
        }
        let [[a, b], [c, d]] = self.magnification;
        [a * shift_a[0] + c * shift_a[1], b * shift_a[0] + d * shift_a[1]]
    }

    /// How much longer the particle looks along its longest direction than along its shortest, as a fraction.
    pub fn anisotropy(&self) -> f64 {
        let [[a, b], [c, d]] = self.magnification;
        // singular values of a 2 × 2 matrix
        let (sum, difference) = ((a + d).hypot(c - b), (a - d).hypot(b + c));
        let (large, small) = (0.5 * (sum + difference), 0.5 * (sum - difference).abs());
        large / small - 1.0
    }
}

/// Phase of a beam tilt of 1 mrad at 1 1/Å along it: 2π Cs λ² · 10⁻³.
pub fn coma_of_mrad(wavelength_a: f64, cs: Millimetre) -> f64 {
    TAU * cs.0 * 1e7 * wavelength_a * wavelength_a * 1e-3
}

/// Odd Zernike polynomials at `(x, y)`: orders 1, 3 and 5, each from the sine of the highest angle to its cosine.
pub fn odd_zernike(x: f64, y: f64) -> [f64; ODD_COEFFICIENTS] {
    let r2 = x * x + y * y;
    let (re3, im3) = (x * x * x - 3.0 * x * y * y, 3.0 * x * x * y - y * y * y);
    let (re2, im2) = (x * x - y * y, 2.0 * x * y);
    let (re5, im5) = (re3 * re2 - im3 * im2, re3 * im2 + im3 * re2);
    let (third, fifth, trefoil) = (3.0 * r2 - 2.0, (10.0 * r2 - 12.0) * r2 + 3.0, 5.0 * r2 - 4.0);
    [y, x, im3, third * y, third * x, re3, im5, trefoil * im3, fifth * y, fifth * x, trefoil * re3, re5]
}

/// Even Zernike polynomials at `(x, y)`: orders 0, 2 and 4, each from the sine of the highest angle to its cosine.
pub fn even_zernike(x: f64, y: f64) -> [f64; EVEN_COEFFICIENTS] {
    let r2 = x * x + y * y;
    let (re2, im2) = (x * x - y * y, 2.0 * x * y);
    let fourth = 4.0 * r2 - 3.0;
    [
        1.0,
        im2,
        2.0 * r2 - 1.0,
        re2,
        2.0 * re2 * im2,
        fourth * im2,
        (6.0 * r2 - 6.0) * r2 + 1.0,
        fourth * re2,
        re2 * re2 - im2 * im2,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_those_of_zernike() {
        let (r, angle) = (0.7f64, 0.4f64);
        let (x, y) = (r * angle.cos(), r * angle.sin());
        // radial polynomials from factorials, the angular part by the sign of m
        let radial = |n: i32, m: i32| -> f64 {
            let factorial = |k: i32| (1..=k).map(f64::from).product::<f64>();
            (0..=(n - m) / 2)
                .map(|k| {
                    f64::from(if k % 2 == 0 { 1 } else { -1 }) * factorial(n - k) * r.powi(n - 2 * k)
                        / (factorial(k) * factorial((n + m) / 2 - k) * factorial((n - m) / 2 - k))
                })
                .sum()
        };
        let zernike = |n: i32, m: i32| {
            let turned = f64::from(m.abs()) * angle;
            radial(n, m.abs()) * if m < 0 { turned.sin() } else { turned.cos() }
        };
        let expect = |orders: &[i32]| -> Vec<f64> {
            orders
                .iter()
                .flat_map(|&n| (-n..=n).step_by(2).map(move |m| (n, m)))
                .map(|(n, m)| zernike(n, m))
                .collect()
        };
        for (found, expected) in [
            (odd_zernike(x, y).to_vec(), expect(&[1, 3, 5])),
            (even_zernike(x, y).to_vec(), expect(&[0, 2, 4])),
        ] {
            assert_eq!(found.len(), expected.len());
            assert!(
                found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12),
                "{found:?} {expected:?}"
            );
        }
    }

    #[test]
    fn coma_is_a_tilt_and_a_shift() {
        let mut odd = [0.0; ODD_COEFFICIENTS];
        (odd[3], odd[4], odd[5]) = (20.0, -35.0, 7.0);
        let before = Aberrations { odd, beam_tilt_mrad: [0.1, 0.2], ..Aberrations::default() };
        let after = before.with_coma_as_tilt(0.0196876, Millimetre(2.7));
        assert!(after.odd[3] == 0.0 && after.odd[4] == 0.0 && after.odd[5] == 7.0);
        let phase = |a: &Aberrations| a.odd_phase(0.2, -0.13, 0.0196876, Millimetre(2.7));
        assert!((phase(&before) - phase(&after)).abs() < 1e-12);
        assert_eq!(before.with_coma_as_tilt(0.0196876, Millimetre(0.0)), before);
    }

    #[test]
    fn shifts_go_there_and_back() {
        let aberrations =
            Aberrations { magnification: [[1.01, 0.003], [-0.002, 0.99]], ..Aberrations::default() };
        let there = aberrations.shift_without([3.0, -7.0]);
        let back = aberrations.shift_with(there);
        assert!((back[0] - 3.0).abs() < 1e-12 && (back[1] + 7.0).abs() < 1e-12);
        // q · t = (M q) · t'
        let (q, m) = ([0.3, 0.8], aberrations.magnification);
        let k = [m[0][0] * q[0] + m[0][1] * q[1], m[1][0] * q[0] + m[1][1] * q[1]];
        assert!((q[0] * 3.0 - q[1] * 7.0 - k[0] * there[0] - k[1] * there[1]).abs() < 1e-12);
        assert!((aberrations.anisotropy() - 0.0202).abs() < 2e-4, "{}", aberrations.anisotropy());
        assert_eq!(Aberrations::default().anisotropy(), 0.0);
    }
}
