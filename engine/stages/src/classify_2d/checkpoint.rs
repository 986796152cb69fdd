//! The state of a classification, and its file.

use crate::{Ctx, StageError};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use vitreous_compute::ops::classify2d::{ClassSums, SumsLayout};

/// File in the job folder.
const FILE: &str = "checkpoint/classification.bin";

/// What was found of one particle; `None` in a list of them until it has been in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Most probable class, from 0.
    pub class: u32,
    /// Its probability.
    pub probability: f64,
    /// In-plane angle, radians.
    pub psi_rad: f64,
    /// Where the particle lies, Å from the centre of its box.
    pub shift_a: [f64; 2],
    /// ln evidence, nats.
    pub log_evidence: f64,
    /// What the classes' detail adds to its log-likelihood, nats.
    pub detail: f64,
}

impl Found {
    /// Numbers of [`Found::to_numbers`].
    pub const NUMBERS: usize = 7;

    /// As numbers, for an exchange between ranks or a file.
    pub fn to_numbers(self) -> [f64; Self::NUMBERS] {
        let [x, y] = self.shift_a;
        [f64::from(self.class), self.probability, self.psi_rad, x, y, self.log_evidence, self.detail]
    }

    /// Back from numbers.
    pub fn from_numbers(
        [class, probability, psi_rad, x, y, log_evidence, detail]: [f64; Self::NUMBERS],
    ) -> Self {
        Self { class: class as u32, probability, psi_rad, shift_a: [x, y], log_evidence, detail }
    }
}

/// How an iteration went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IterationRecord {
    /// Band, Fourier pixels of the working box.
    pub rmax: f64,
    /// Particles.
    pub particles: u64,
    /// Mean log evidence, nats.
    pub log_evidence: f64,
    /// Mean number of poses the posterior of a particle was spread over.
    pub effective_poses: f64,
    /// Part of the particles seen before that changed their class; `None` if none was.
    pub changed: Option<f64>,
    /// Classes with particles.
    pub filled: u32,
}

/// Everything an iteration starts from.
#[derive(Debug, Clone)]
pub struct State {
    /// Iterations done.
    pub iteration: usize,
    /// By usable particle.
    pub found: Vec<Option<Found>>,
    /// Noise variance s2 by shell, per optics group.
    pub noise: Vec<Vec<f64>>,
    /// Sums.
    pub sums: ClassSums,
    /// Rings the sums were taken on.
    pub rings: usize,
    /// All iterations.
    pub history: Vec<IterationRecord>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    iteration: usize,
    noise: Vec<Vec<f64>>,
    rings: usize,
    history: Vec<IterationRecord>,
}

/// Saves the state: a line of JSON, then the particles, then the sums.
///
/// # Errors
/// The file cannot be written.
pub fn save(ctx: &Ctx<'_>, fingerprint: &str, state: &State) -> Result<(), StageError> {
    if !ctx.is_root() {
        return Ok(());
    }
    let header = Header {
        fingerprint: fingerprint.into(),
        iteration: state.iteration,
        noise: state.noise.clone(),
        rings: state.rings,
        history: state.history.clone(),
    };
    let path = ctx.job_dir.join(FILE);
    ctx.create(FILE, |file| -> Result<(), StageError> {
        let write = |file: &mut dyn Write| -> std::io::Result<()> {
            serde_json::to_writer(&mut *file, &header)?;
            file.write_all(b"\n")?;
            for found in &state.found {
                let numbers = found.map_or([f64::NAN; Found::NUMBERS], Found::to_numbers);
                numbers.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))?;
            }
            state.sums.values().iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
        };
        write(file).map_err(|source| StageError::io(&path, source))
    })?;
    Ok(())
}

/// Reads the state back on rank 0 and gives it to all; `None` if there is none of the same fingerprint. A broken file
/// counts as none.
pub fn load(ctx: &Ctx<'_>, fingerprint: &str, particles: usize, layout: &SumsLayout) -> Option<State> {
    let mut bytes = Vec::new();
    if ctx.is_root() {
        // a file that cannot be read counts as none
        let _ = std::fs::File::open(ctx.job_dir.join(FILE)).and_then(|mut file| file.read_to_end(&mut bytes));
    }
    ctx.comm.broadcast(0, &mut bytes);
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let (numbers, rest) = bytes[end + 1..].as_chunks::<8>();
    if header.fingerprint != fingerprint || !rest.is_empty() || numbers.len() < particles * Found::NUMBERS {
        return None;
    }
    let numbers: Vec<f64> = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let (found, sums) = numbers.split_at(particles * Found::NUMBERS);
    let found = found.as_chunks::<{ Found::NUMBERS }>().0.iter();
    Some(State {
        iteration: header.iteration,
        found: found.map(|n| (!n[0].is_nan()).then(|| Found::from_numbers(*n))).collect(),
        noise: header.noise,
        sums: ClassSums::from_values(layout.clone(), sums.to_vec())?,
        rings: header.rings,
        history: header.history,
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    #[test]
    fn numbers_come_back_from_json_to_the_last_bit() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for _ in 0..20_000 {
            let value = random.random_range(0.0..1.0f64) * 10f64.powi(random.random_range(-30..30));
            let back: f64 = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{value:e}");
        }
    }
}
