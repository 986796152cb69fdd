//! Where a run of several starts was: of each start how it went, and its sums.

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
    /// Mini-batches of the march, once it is over.
    pub march_end: Option<usize>,
    /// Mean log evidence of held-out particles after the march, nats; `None` if none were held out.
    pub held_out_score: Option<f64>,
    /// By class, the correlation of the map with itself under the point group; empty when it was imposed from the start.
    pub axes: Vec<f64>,
    /// By class, the FSC of the halves by shell; empty before there are any.
    pub fsc: Vec<Vec<f64>>,
    /// By class, the share of the last mini-batch that fell to it.
    pub shares: Vec<f64>,
}

/// One start.
pub struct State {
    /// How it went so far.
    pub course: Course,
    /// The sums after the last mini-batch: one list entry a class, or two while there are halves.
    pub sums: Vec<SliceSums>,
}

/// The first line of `checkpoint/start-N.bin`; the sums follow.
#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    course: Course,
    maps: usize,
}

fn name(start: usize) -> String {
    format!("checkpoint/start-{start:02}.bin")
}

/// Saves a start.
///
/// # Errors
/// The file cannot be written.
pub fn save(ctx: &Ctx<'_>, start: usize, fingerprint: &str, state: &State) -> Result<(), StageError> {
    if !ctx.is_root() {
        return Ok(());
    }
    let header =
        Header { fingerprint: fingerprint.into(), course: state.course.clone(), maps: state.sums.len() };
    let name = name(start);
    let path = ctx.job_dir.join(&name);
    ctx.create(&name, |file| -> Result<(), StageError> {
        let write = |file: &mut dyn Write| -> std::io::Result<()> {
            serde_json::to_writer(&mut *file, &header)?;
            file.write_all(b"\n")?;
            state.sums.iter().try_for_each(|sums| write_sums(file, sums))
        };
        write(file).map_err(|source| StageError::io(&path, source))
    })?;
    Ok(())
}

fn write_sums(file: &mut dyn Write, sums: &SliceSums) -> std::io::Result<()> {
    for value in &sums.numerator {
        file.write_all(&value.re.to_le_bytes())?;
        file.write_all(&value.im.to_le_bytes())?;
    }
    sums.weight.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
}

/// Reads a start back; `None` if there is none of the same fingerprint. A broken file counts as none: the start is
/// then run again.
pub fn load(ctx: &Ctx<'_>, start: usize, fingerprint: &str, grid: PaddedGrid) -> Option<State> {
    let mut bytes = Vec::new();
    std::fs::File::open(ctx.job_dir.join(name(start))).ok()?.read_to_end(&mut bytes).ok()?;
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let length = 12 * grid.len();
    let body = &bytes[end + 1..];
    if header.fingerprint != fingerprint || body.len() != length * header.maps {
        return None;
    }
    let sums = body.chunks_exact(length).map(|part| read_sums(part, grid)).collect::<Option<Vec<_>>>()?;
    Some(State { course: header.course, sums })
}

fn read_sums(bytes: &[u8], grid: PaddedGrid) -> Option<SliceSums> {
    let (numerator, weight) = bytes.split_at(8 * grid.len());
    let float = |chunk: &[u8]| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    let numerator = numerator.chunks_exact(8).map(|c| Complex32::new(float(c), float(&c[4..]))).collect();
    let weight = weight.chunks_exact(4).map(float).collect();
    Some(SliceSums {
        grid,
        numerator: ndarray::Array3::from_shape_vec(grid.dim(), numerator).ok()?,
        weight: ndarray::Array3::from_shape_vec(grid.dim(), weight).ok()?,
    })
}
