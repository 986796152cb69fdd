//! Anisotropic magnification of an optics group: the displacement of coefficients, linear in q, that makes the map's
//! slices look most like the images. It is symmetric: a turn belongs to the poses.

use super::compare::Compared;
use super::lattice::Lattice;
use super::phases::whole;
use nalgebra::{Matrix3, Vector3};
use num_complex::Complex32;

/// Normal equations of the three elements xx, xy and yy, as whole numbers (see [`super::phases`]): six of the matrix, three
/// of the right side. Unit of length is the largest radius.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms(pub [i64; 9]);

/// Standard deviation of the prior of each element.
const PRIOR_SD: f64 = 0.05;

impl Terms {
    /// Those of an image whose CTF is right.
    pub fn of(lattice: &Lattice, compared: &Compared) -> Self {
        let mut sums = [0.0f64; 9];
        let points = lattice.points.iter().zip(&compared.gradient).zip(&compared.both).zip(&compared.turn);
        for (((point, [gx, gy]), [seen, value]), turn) in points {
            // only what turns the phase of a coefficient counts: amplitudes differ for other reasons, too
            let size = value.norm();
            if size <= 0.0 {
                continue;
            }
            let across = |other: &Complex32| (value.re * other.im - value.im * other.re) / size;
            let (gx, gy) = (turn.im * across(gx), turn.im * across(gy));
            // displacements count in Fourier pixels, q in parts of the largest radius
            let [x, y] = point.q;
            let columns = [gx * x, gx * y + gy * x, gy * y];
            let rest = across(seen);
            let mut at = 0;
            for (place, first) in columns.iter().enumerate() {
                for second in &columns[place..] {
                    sums[at] += f64::from(first * second);
                    at += 1;
                }
            }
            for column in columns {
                sums[at] += f64::from(column * rest);
                at += 1;
            }
        }
        let (inverse, square) = (lattice.rmax.recip(), lattice.rmax.powi(-2));
        Self(std::array::from_fn(|i| whole((sums[i] * if i < 6 { square } else { inverse }) as f32)))
    }

    /// Adds those of another image.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    /// The matrix that brings q to where the map is like the image there, and the standard error of the anisotropy.
    pub fn best(&self, lattice: &Lattice) -> ([[f64; 2]; 2], f64) {
        let per_nat = 1.0 / whole(1.0) as f64;
        let [a, b, c, d, e, f, x, y, z] = self.0.map(|value| value as f64 * per_nat);
        let prior = (PRIOR_SD * lattice.rmax).powi(-2);
        let matrix = Matrix3::new(a, b, c, b, d, e, c, e, f) + Matrix3::identity() * prior;
        let Some(inverse) = matrix.try_inverse() else { return ([[1.0, 0.0], [0.0, 1.0]], f64::NAN) };
        // the elements times the largest radius
        let [xx, xy, yy]: [f64; 3] = (inverse * Vector3::new(x, y, z) / lattice.rmax).into();
        let half = Vector3::new(0.5, 0.0, -0.5);
        let error = 2.0 * (inverse * half).dot(&half).max(0.0).sqrt() / lattice.rmax;
        ([[1.0 + xx, xy], [xy, 1.0 + yy]], error)
    }
}

/// The product of two matrices.
pub fn product(a: [[f64; 2]; 2], b: [[f64; 2]; 2]) -> [[f64; 2]; 2] {
    [0, 1].map(|i: usize| [0, 1].map(|j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j]))
}

/// The inverse of a matrix near the identity.
pub fn inverse([[a, b], [c, d]]: [[f64; 2]; 2]) -> [[f64; 2]; 2] {
    let determinant = a * d - b * c;
    [[d / determinant, -b / determinant], [-c / determinant, a / determinant]]
}
