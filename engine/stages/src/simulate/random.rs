//! Random numbers that depend on the seed and on what they are for, never on threads, ranks or order.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vitreous_model::pose::Rotation;

/// What random numbers are for; each purpose has its own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Gain pattern, by row.
    Gain,
    /// Defective pixels.
    Defects,
    /// Defocus, motion and particles of a movie.
    Exposure,
    /// Structure of the ice, by movie and row.
    Ice,
    /// Electrons, by movie and row of a frame.
    Electrons,
    /// Pose and defocus of a particle image.
    Particle,
    /// White noise of a particle image.
    Noise,
    /// How a particle differs from the model.
    Conformation,
    /// Fine motion of a movie.
    FineMotion,
    /// Error of a particle image's defocus.
    DefocusError,
}

/// The stream of a purpose, an item and a part of it.
pub fn stream(seed: u64, purpose: Purpose, item: u64, part: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8 + 1;
    key[16..24].copy_from_slice(&item.to_le_bytes());
    key[24..].copy_from_slice(&part.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A number of the standard normal distribution.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    rng.sample(StandardNormal)
}

/// A number between `low` and `high`.
pub fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// A rotation, all alike probable: a four-dimensional normal vector, normalised.
pub fn rotation(rng: &mut ChaCha8Rng) -> Rotation {
    let [w, x, y, z] = std::array::from_fn(|_| normal(rng));
    Rotation::new(w, x, y, z)
}
