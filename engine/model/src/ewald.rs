//! The curvature of the Ewald sphere: where in the transform of a thick particle the coefficients of its image lie.
//!
//! An electron scattered by k loses nothing of its energy, so what an image shows of a particle is not the plane `kz = 0`
//! of its transform F but two caps, `kz = ±s` with `s = λ k² / 2`:
//!
//! `X(k) = P(k) F(k, ±s) + P*(k) F(k, ∓s)`, `P = exp(iθ) / 2i`, with θ the phase of the CTF, `c = sin θ = P + P*`
//! (DeRosier 2000, Ultramicroscopy 81, 83; Russo & Henderson 2018, Ultramicroscopy 187, 56). It is the same as to say that
//! each layer of the particle has a defocus of its own: a layer at height z of the image frame has the defocus
//! `Δf - z` ([`Curvature::Forward`]) or `Δf + z` ([`Curvature::Reversed`]).
//!
//! Defocus grows along the beam. With right-handed image axes "forward" so means that z points against the flight of the
//! electrons: the image shows the specimen as seen from the source; "reversed", as seen from the detector. Which of the two a
//! camera gives, nobody writes down, and a map of the wrong hand exchanges them: if the curvature of a microscope is known
//! from one specimen, it tells the hand of every other. Forward is what RELION calls `--ewald`, reversed what it does with
//! `--reverse_curvature` as well (compared with its 3.1.3 on simulated layers, `reconstruct`'s README).

use serde::{Deserialize, Serialize};

/// Which way the Ewald sphere is curved in the image frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curvature {
    /// The defocus falls with z; P has `kz = +s`.
    Forward,
    /// The defocus grows with z; P has `kz = -s`.
    Reversed,
}

impl Curvature {
    /// Defocus of a layer less that of the layer at z = 0, over the layer's z.
    pub fn sign(self) -> f64 {
        match self {
            Self::Forward => -1.0,
            Self::Reversed => 1.0,
        }
    }
}

/// s, in 1/Å: by how much a coefficient at frequency `k` (1/Å) lies off the plane `kz = 0`.
///
/// ```
/// use vitreous_model::{ewald::offset_per_a, units::Kilovolt};
/// // the phase that it makes at the edge of a particle of 700 Å, at 300 kV and 3.7 Å: a quarter turn
/// let s = offset_per_a(Kilovolt(300.0).wavelength_a(), 1.0 / 3.7);
/// assert!((std::f64::consts::TAU * 350.0 * s / std::f64::consts::FRAC_PI_2 - 1.0).abs() < 0.01);
/// ```
pub fn offset_per_a(wavelength_a: f64, k: f64) -> f64 {
    0.5 * wavelength_a * k * k
}

/// How much F is alike on both caps, `⟨F(k, s) F*(k, -s)⟩ / ⟨|F|²⟩`, for a particle that fills a sphere of `diameter_a`: the
/// normalised transform of the sphere at a distance of `2 offset_per_a`.
///
/// ```
/// use vitreous_model::ewald::likeness;
/// assert_eq!(likeness(700.0, 0.0), 1.0);
/// // zero where tan x = x, x = 4.4934 = π D 2s
/// assert!(likeness(700.0, 4.493409458 / (std::f64::consts::TAU * 700.0)).abs() < 1e-9);
/// ```
pub fn likeness(diameter_a: f64, offset_per_a: f64) -> f64 {
    let x = std::f64::consts::TAU * diameter_a * offset_per_a;
    if x.abs() < 1e-2 {
        return 1.0 - 0.1 * x * x;
    }
    let (sin, cos) = x.sin_cos();
    3.0 * (sin - x * cos) / (x * x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_meets_the_formula() {
        // 1 - x²/10 + x⁴/280 - …: at x = 0.01 the next term is 4e-11
        let at = |x: f64| likeness(1.0, x / std::f64::consts::TAU);
        assert!((at(0.009_999_9) - at(0.010_000_1)).abs() < 1e-8);
    }
}
