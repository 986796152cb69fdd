//! Where a run of several starts was: finished starts, and the sums of the one under way.

use crate::{Ctx, StageError};
use num_complex::Complex32;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::SliceSums;

/// Progress of one start, batch by batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Band of each mini-batch, Fourier pixels.
    pub rmax: Vec<f64>,
    /// Poses of a particle still likely, on average, in each mini-batch.
    pub effective_poses: Vec<f64>,
    /// Noise variance by shell.
    pub noise: Vec<f64>,
}

/// Result of a finished start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// How it went.
    pub course: Course,
    /// Mean log evidence of held-out particles, nats.
    pub held_out_score: f64,
    /// The start ended with few likely poses per particle.
    pub converged: bool,
}

/// The state of one start in `checkpoint/start-N.bin`: a line of JSON, then the sums.
#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    course: Course,
    finished: Option<Finished>,
}

/// What was read back.
pub struct Saved {
    /// How it went so far.
    pub course: Course,
    /// The sums after the last batch in `course`.
    pub sums: SliceSums,
    /// Set once the start is over.
    pub finished: Option<Finished>,
}

fn name(start: usize) -> String {
    format!("checkpoint/start-{start:02}.bin")
}

/// Saves a start.
///
/// # Errors
/// The file cannot be written.
pub fn save(
    ctx: &Ctx<'_>,
    start: usize,
    fingerprint: &str,
    course: &Course,
    sums: &SliceSums,
    finished: Option<&Finished>,
) -> Result<(), StageError> {
    if !ctx.is_root() {
        return Ok(());
    }
    let header =
        Header { fingerprint: fingerprint.into(), course: course.clone(), finished: finished.cloned() };
    let name = name(start);
    let path = ctx.job_dir.join(&name);
    ctx.create(&name, |file| -> Result<(), StageError> {
        let write = |file: &mut dyn Write| -> std::io::Result<()> {
            serde_json::to_writer(&mut *file, &header)?;
            file.write_all(b"\n")?;
            for value in &sums.numerator {
                file.write_all(&value.re.to_le_bytes())?;
                file.write_all(&value.im.to_le_bytes())?;
            }
            for value in &sums.weight {
                file.write_all(&value.to_le_bytes())?;
            }
            Ok(())
        };
        write(file).map_err(|source| StageError::io(&path, source))
    })?;
    Ok(())
}

/// Reads a start back; `None` if there is none of the same fingerprint. A broken file counts as none: the start is
/// then run again.
pub fn load(ctx: &Ctx<'_>, start: usize, fingerprint: &str, grid: PaddedGrid) -> Option<Saved> {
    let mut bytes = Vec::new();
    std::fs::File::open(ctx.job_dir.join(name(start))).ok()?.read_to_end(&mut bytes).ok()?;
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let points = grid.len();
    let body = &bytes[end + 1..];
    if header.fingerprint != fingerprint || body.len() != 12 * points {
        return None;
    }
    let float = |chunk: &[u8]| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    let numerator =
        body[..8 * points].chunks_exact(8).map(|c| Complex32::new(float(c), float(&c[4..]))).collect();
    let weight = body[8 * points..].chunks_exact(4).map(float).collect();
    let sums = SliceSums {
        grid,
        numerator: ndarray::Array3::from_shape_vec(grid.dim(), numerator).ok()?,
        weight: ndarray::Array3::from_shape_vec(grid.dim(), weight).ok()?,
    };
    Some(Saved { course: header.course, sums, finished: header.finished })
}
