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
    /// Part of the particles seen before that changed their class; NaN if none was.
    pub changed: f64,
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
    /// Radius to which most classes agree, Fourier pixels; `None` before the first iteration.
    pub resolved: Option<f64>,
    /// Empty classes that take half of a full one: `(full, empty)`.
    pub splits: Vec<(usize, usize)>,
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
    resolved: Option<f64>,
    splits: Vec<(usize, usize)>,
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
        resolved: state.resolved,
        splits: state.splits.clone(),
        rings: state.rings,
        // JSON has no NaN: -1 stands for it
        history: state.history.iter().map(|record| without_nan(*record, f64::NAN, -1.0)).collect(),
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

/// The record with `from` in the place of `to` where a number may be missing.
fn without_nan(record: IterationRecord, from: f64, to: f64) -> IterationRecord {
    let is_from = if from.is_nan() { record.changed.is_nan() } else { record.changed == from };
    IterationRecord { changed: if is_from { to } else { record.changed }, ..record }
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
        resolved: header.resolved,
        splits: header.splits,
        sums: ClassSums::from_values(layout.clone(), sums.to_vec())?,
        rings: header.rings,
        history: header.history.into_iter().map(|record| without_nan(record, -1.0, f64::NAN)).collect(),
    })
}
