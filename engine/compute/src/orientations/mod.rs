//! How evenly views cover a structure: what of Fourier space they sample ([`sampling`]), and how the halves of a map agree
//! from direction to direction ([`mod@conical_fsc`]).

pub mod conical_fsc;
pub mod sampling;

pub use conical_fsc::conical_fsc;
pub use sampling::Sampling;

/// Centres of cells of equal area on the sphere: `bands` in z from 1 down to -1, `sectors` in longitude from 0 on.
///
/// ```
/// let cells = vitreous_compute::orientations::cells(4, 8);
/// assert_eq!((cells.len(), cells[0][2], cells[31][2]), (32, 0.75, -0.75));
/// ```
pub fn cells(bands: usize, sectors: usize) -> Vec<[f64; 3]> {
    let cell = |index: usize| {
        let z = 1.0 - 2.0 * ((index / sectors) as f64 + 0.5) / bands as f64;
        let (s, c) = (std::f64::consts::TAU * ((index % sectors) as f64 + 0.5) / sectors as f64).sin_cos();
        let r = (1.0 - z * z).sqrt();
        [r * c, r * s, z]
    };
    (0..bands * sectors).map(cell).collect()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
