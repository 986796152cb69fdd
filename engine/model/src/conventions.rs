//! The conventions of the project, each sentence checked by the code below it.
//!
//! Converters of other programs' files cite this page; nothing else may define a sign, an origin or an angle.
//!
//! # Arrays, pixels and origins
//! Images are stored row by row with x fastest, volumes slice by slice: an ndarray of shape `[ny, nx]` or `[nz, ny, nx]`
//! in standard layout has the byte order of an MRC file. (Code that indexes `[x][y][z]` transposes, which mirrors the
//! hand.) Row 0 is the first row stored in an MRC file and is drawn at the bottom.
//!
//! The centre of an axis of `n` pixels, about which we rotate and from which shifts count, is pixel `n / 2`
//! (integer division), for even and for odd `n`.
//! ```
//! use vitreous_model::conventions::centre;
//! assert_eq!((centre(8), centre(7)), (4, 3));
//! ```
//!
//! # Fourier transforms
//! The forward transform has `exp(-2πi qx/N)` and no factor; the inverse has `1/N` per axis. A real image's transform
//! keeps the columns `qx = 0 ..= nx/2`; the other axes run `0, 1, …, -1` (corner layout). At an even size the Nyquist
//! index `n/2` counts as positive.
//! ```
//! use vitreous_model::conventions::signed_frequency;
//! assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|i| signed_frequency(i, 8)), [0, 1, 2, 3, 4, -3, -2, -1]);
//! assert_eq!([0, 1, 2, 3, 4].map(|i| signed_frequency(i, 5)), [0, 1, 2, -2, -1]);
//! ```
//! Phases of particles and maps are counted from the centre of the box: before anything is interpolated or shifted,
//! coefficient `q` is multiplied by `exp(+2πi Σ q·(n/2)/n)`, for even n the sign `(-1)^(qx+qy+qz)`.
//! A spatial frequency is `q / (n · pixel size)`, in 1/Å.
//! ```
//! use vitreous_model::conventions::frequency_per_a;
//! assert_eq!(frequency_per_a(16.0, 64, 2.0), 0.125);
//! ```
//!
//! # Rotation
//! A pose's rotation R is active and takes the image frame to the volume frame: the transform of the projection at
//! `q = (qx, qy)` is the volume's transform at `k = R (qx, qy, 0)`. In real space the projection is
//! `P(x, y) = ∫ V(R (x, y, z)) dz`. Inside, rotations are quaternions ([`crate::pose::Rotation`]); RELION's angles are
//! `R = Rz(rot) · Ry(tilt) · Rz(psi)` (the transpose of the matrix A that RELION writes).
//! ```
//! use vitreous_model::pose::Rotation;
//! let r = Rotation::from_euler_zyz_deg(30.0, 50.0, 70.0).matrix();
//! let golden = [[-0.279454, -0.694109, 0.663414], [0.923721, -0.005813, 0.383022], [-0.262003, 0.719846, 0.642788]];
//! for (row, expected) in r.iter().zip(golden) {
//!     for (value, want) in row.iter().zip(expected) { assert!((value - want).abs() < 1e-6); }
//! }
//! ```
//! A cryoSPARC pose is a rotation vector in the standard Rodrigues sense, and R itself.
//! ```
//! use vitreous_model::pose::Rotation;
//! let r = Rotation::from_rotation_vector([0.3, -0.5, 0.8]).matrix();
//! let golden = [[0.590175, -0.744660, -0.311728], [0.606517, 0.663851, -0.437537], [0.532757, 0.069155, 0.843438]];
//! for (row, expected) in r.iter().zip(golden) {
//!     for (value, want) in row.iter().zip(expected) { assert!((value - want).abs() < 1e-6); }
//! }
//! ```
//! Multiplying R by `Rz(psi)` on the right turns the particle in the image plane: `P_psi(r, θ) = P_0(r, θ + psi)` in
//! polar Fourier coordinates.
//!
//! # Shift
//! A pose's shift t is where the particle's centre lies relative to the centre of its box, in Å, x then y: the image is
//! `X(q) = c(q) · P_R(q) · exp(-2πi q·t/(N a))`, and `X(q) exp(+2πi q·t/(N a))` has the particle back in the centre.
//! RELION's `rlnOriginXAngst` is what must be added to bring it back: `t = -rlnOriginAngst`.
//!
//! # Contrast transfer function
//! `c = + sin(π λ Δz u² - (π/2) Cs λ³ u⁴ + phase shift + asin(amplitude contrast))` with u in 1/Å, underfocus positive
//! in Å, so c is positive at low frequency and c(0) is about +amplitude contrast: particles of protein are *white* on
//! disk (extraction inverts the micrograph). `Δz = (U+V)/2 + (U-V)/2 cos 2(azimuth - angle)`, the angle from the x axis
//! to the direction of U, in degrees. RELION's signs are the same; cisTEM's function is the negative.
//! Phase shifts are folded modulo 360°, never 180°: half a turn flips the sign.
//! ```
//! use vitreous_model::{ctf::CtfParams, units::*};
//! let ctf = |phase| CtfParams { defocus_u_a: 21000.0, defocus_v_a: 18000.0, astigmatism_angle: Degrees(35.0),
//!     phase_shift: Degrees(phase), voltage: Kilovolt(300.0), cs: Millimetre(2.7), amplitude_contrast: 0.1,
//!     even: Default::default() };
//! for (u, azimuth, phase, value) in [(0.0, 0.0, 0.0, 0.1), (0.05, 0.0, 0.0, -0.051068), (0.1, 35.0, 0.0, 0.470653),
//!     (0.1, 125.0, 0.0, -0.978997), (0.2, 80.0, 0.0, -0.645607), (0.1, 0.0, 90.0, 0.992759)] {
//!     let got = ctf(phase).value(u, f64::to_radians(azimuth));
//!     assert!((got - value).abs() < 2e-6, "{u} {azimuth}: {got} {value}");
//! }
//! ```
//!
//! # Aberrations of an optics group
//! With k = (x, y) in 1/Å the image is `X(k) = c(M k) P(M k) exp(-iφ(M k))`: the odd phase φ is taken away by multiplying
//! with `exp(+iφ)`. A beam tilt b along x and y has `φ = 2π Cs λ² |k|² (k·b)`.
//! ```
//! use vitreous_model::{aberrations::*, units::*};
//! let tilted = Aberrations { beam_tilt_mrad: [1.0, 0.0], ..Aberrations::default() };
//! // 0.36° · 10⁷ Cs λ² k³ of RELION: 2.7 mm, 300 kV, 0.25 1/Å
//! let phase = tilted.odd_phase(0.25, 0.0, 0.0196876, Millimetre(2.7));
//! assert!((phase.to_degrees() - 0.36 * 2.7e7 * 0.0196876f64.powi(2) * 0.25f64.powi(3)).abs() < 1e-9);
//! assert_eq!(tilted.odd_phase(-0.25, 0.0, 0.0196876, Millimetre(2.7)), -phase);
//! ```
//! Other odd terms are coefficients, in rad, of Zernike polynomials whose radius is |k| in 1/Å, in RELION's order and with
//! its sign, which is the other: `φ = - Σ odd Z`. Trefoil has the coefficients 2 (sine) and 5 (cosine).
//! ```
//! use vitreous_model::{aberrations::*, units::*};
//! let mut trefoil = Aberrations::default();
//! trefoil.odd[5] = 40.0;
//! assert!((trefoil.odd_phase(0.25, 0.0, 0.02, Millimetre(2.7)) + 40.0 * 0.25f64.powi(3)).abs() < 1e-12);
//! // a turn by 120° leaves it as it is, one by 60° reverses it
//! let at = |degrees: f64| {
//!     let (s, c) = degrees.to_radians().sin_cos();
//!     trefoil.odd_phase(0.25 * c, 0.25 * s, 0.02, Millimetre(2.7))
//! };
//! assert!((at(130.0) - at(10.0)).abs() < 1e-12 && (at(70.0) + at(10.0)).abs() < 1e-12);
//! ```
//! Even terms beyond defocus, astigmatism and Cs are coefficients likewise, and are taken from the argument of the sine:
//! `c = sin(… - Σ even Z)`.
//! ```
//! use vitreous_model::{aberrations::EvenPhase, ctf::CtfParams, units::*};
//! let mut ctf = CtfParams { defocus_u_a: 0.0, defocus_v_a: 0.0, astigmatism_angle: Degrees(0.0),
//!     phase_shift: Degrees(0.0), voltage: Kilovolt(300.0), cs: Millimetre(0.0), amplitude_contrast: 0.0,
//!     even: EvenPhase::default() };
//! ctf.even.zernike[8] = -100.0;
//! // the last polynomial is x⁴ - 6 x² y² + y⁴
//! assert!((ctf.value(0.25, 0.0) - (100.0 * 0.25f64.powi(4)).sin()).abs() < 1e-12);
//! ```
//! The magnification matrix M is RELION's `rlnMagMat`: the image's coefficient at k shows the particle's at M k. The poses
//! of our tables are those of the image freed of its magnification, `X(M⁻¹ k)`: a shift t of the image as it was taken
//! is `M⁻ᵀ t` there. (`ci/bench aberrations` has RELION find what this formula planted.)
//! ```
//! use vitreous_model::aberrations::Aberrations;
//! let stretched = Aberrations { magnification: [[1.25, 0.0], [0.0, 1.0]], ..Aberrations::default() };
//! assert_eq!(stretched.shift_without([10.0, 3.0]), [8.0, 3.0]);
//! ```
//!
//! # Dose
//! Doses are in e/Å² at the specimen. A frame's damage is computed from the dose at its end, pre-exposure included
//! ([`crate::dose`]).
//!
//! # Half-sets
//! The halves of a gold-standard refinement are One and Two; files say 1 and 2 ([`crate::half_set::HalfSet`]).
//!
//! # FSC shells
//! Shell s holds the coefficients with `round(|q|) = s`, q in Fourier pixels; its frequency is `s / (N a)`. The
//! resolution at a threshold is that of the last shell before the curve first drops under it; a curve that never
//! drops reports the Nyquist limit `2a`, and says so.
//! ```
//! use vitreous_model::conventions::{resolution_at, shell_of};
//! assert_eq!((shell_of(0.49), shell_of(0.5), shell_of(1.49)), (0, 1, 1));
//! // box 8 of 2 Å: shells 0..=4, Nyquist 4 Å
//! assert_eq!(resolution_at(&[1.0, 0.9, 0.4, 0.6, 0.0], 0.5, 8, 2.0), (16.0, true));
//! assert_eq!(resolution_at(&[1.0, 0.9, 0.9, 0.9, 0.9], 0.5, 8, 2.0), (4.0, false));
//! ```
//!
//! # Handedness
//! A projection image cannot tell a map from its mirror; ab-initio maps have an arbitrary hand until a person decides.
//! A map is flipped by x to -x; its particles' rotations R become `M_x R M_z` ([`crate::pose::Rotation::of_mirrored_map`]).

/// The centre pixel of an axis of `n` pixels.
pub const fn centre(n: usize) -> usize {
    n / 2
}

/// The signed frequency of index `i` of an axis of `n` points in corner layout; Nyquist is positive.
pub const fn signed_frequency(i: usize, n: usize) -> isize {
    if i <= n / 2 { i as isize } else { i as isize - n as isize }
}

/// Spatial frequency in 1/Å of `q` Fourier pixels in a box of `n` pixels of `pixel_size_a` Å.
pub fn frequency_per_a(q: f64, n: usize, pixel_size_a: f64) -> f64 {
    q / (n as f64 * pixel_size_a)
}

/// The FSC shell of a radius in Fourier pixels.
pub fn shell_of(radius: f64) -> usize {
    (radius + 0.5).floor() as usize
}

/// Resolution in Å at which an FSC curve (by shell, from 0) first falls under `threshold`, for a box of `n` pixels of
/// `pixel_size_a` Å, and whether it fell at all (`false`: the resolution is the Nyquist limit).
/// A curve that is under the threshold from shell 1 on gives the box edge, `n · pixel_size_a`.
pub fn resolution_at(fsc: &[f64], threshold: f64, n: usize, pixel_size_a: f64) -> (f64, bool) {
    let last = (n / 2).min(fsc.len().saturating_sub(1));
    // NaN counts as a fall
    match (1..=last).find(|&shell| fsc[shell].is_nan() || fsc[shell] < threshold) {
        Some(shell) => (n as f64 * pixel_size_a / (shell - 1).max(1) as f64, true),
        None => (2.0 * pixel_size_a, false),
    }
}
