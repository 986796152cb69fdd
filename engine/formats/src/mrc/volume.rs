//! Density maps: a whole MRC file as one array, and back.

use super::convert;
use super::header::{MrcHeader, Statistics};
use super::reader::MrcReader;
use crate::error::FormatError;
use crate::image::{FrameSource, check_finite};
use crate::samples::{ByteOrder, SampleType, encode};
use ndarray::Array3;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Relative difference of voxel edges up to which a map counts as cubic; headers hold them as f32 quotients.
const CUBIC_TOLERANCE: f64 = 1e-3;

/// A density map.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Values, shape `[nz, ny, nx]`, x fastest.
    pub data: Array3<f32>,
    /// Voxel edge along x, Å; 1 if the file does not say.
    pub voxel_a: f64,
    /// Voxel edges along x, y, z, Å.
    pub voxel_xyz_a: [f64; 3],
    /// Position of the first voxel along x, y, z, Å.
    pub origin_a: [f64; 3],
}

impl Volume {
    /// All three voxel edges are the same within the precision of a header.
    pub fn has_cubic_voxels(&self) -> bool {
        self.voxel_xyz_a.iter().all(|v| (v / self.voxel_a - 1.0).abs() <= CUBIC_TOLERANCE)
    }
}

/// Reads an MRC or CCP4 map; axes in a foreign order are put into ours. All values are finite.
///
/// # Errors
/// A file that cannot be read, is no MRC map, is cut off, or holds NaN or infinity.
pub fn read_volume(path: &Path) -> Result<Volume, FormatError> {
    let reader = MrcReader::open(path)?;
    let header = reader.mrc_header();
    let [columns, rows, sections] = header.size;
    let mut values = vec![0f32; columns * rows * sections];
    for (section, out) in values.chunks_exact_mut(columns * rows).enumerate() {
        reader.read_frame_at(section, out)?;
    }
    check_finite(path, &values, columns, rows)?;
    let stored = Array3::from_shape_vec((sections, rows, columns), values)
        .expect("the buffer should have the header's size");
    let voxel_xyz_a = convert::voxel_a(header).unwrap_or([1.0; 3]);
    Ok(Volume {
        data: in_our_axis_order(stored, header.axes),
        voxel_a: voxel_xyz_a[0],
        voxel_xyz_a,
        origin_a: convert::origin_a(header, voxel_xyz_a),
    })
}

/// `stored` has shape `[sections, rows, columns]`; `axes` says which of x, y, z columns, rows and sections run along.
fn in_our_axis_order(stored: Array3<f32>, axes: [usize; 3]) -> Array3<f32> {
    if axes == [0, 1, 2] {
        return stored;
    }
    // ndarray axis of `stored` that runs along x, y, z: columns are axis 2, rows 1, sections 0.
    let along = |axis: usize| 2 - axes.iter().position(|&a| a == axis).expect("axes should be a permutation");
    stored.permuted_axes([along(2), along(1), along(0)]).as_standard_layout().into_owned()
}

/// Writes a density map of cubic voxels to `path`: mode 2, ISPG 1, origin 0.
///
/// # Errors
/// A file that cannot be written, or values that are not finite.
pub fn write_volume(path: &Path, data: &Array3<f32>, voxel_a: f64) -> Result<(), FormatError> {
    let io = |e| FormatError::io(path, "write", e);
    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    write_volume_to(&mut out, path, data, voxel_a, [0.0; 3])?;
    out.into_inner().map_err(|e| io(e.into_error()))?;
    Ok(())
}

/// The same to an open `out` (which `path` names in messages), with the position of the first voxel in Å.
///
/// # Errors
/// As [`write_volume`].
pub fn write_volume_to<W: Write>(
    out: &mut W,
    path: &Path,
    data: &Array3<f32>,
    voxel_a: f64,
    origin_a: [f64; 3],
) -> Result<(), FormatError> {
    let (nz, ny, nx) = data.dim();
    let data = data.as_standard_layout();
    let values = data.as_slice().expect("standard layout should be contiguous");
    check_finite(path, values, nx, ny)?;
    let header = MrcHeader {
        size: [nx, ny, nz],
        sample: SampleType::Float32,
        start: [0; 3],
        intervals: [nx, ny, nz].map(|n| n as i32),
        cell_a: [nx, ny, nz].map(|n| (n as f64 * voxel_a) as f32),
        axes: [0, 1, 2],
        statistics: Moments::of(values).statistics(),
        space_group: 1,
        extended_bytes: 0,
        extended_type: [0; 4],
        origin_a: origin_a.map(|o| o as f32),
        order: ByteOrder::Little,
    };
    let io = |e| FormatError::io(path, "write", e);
    out.write_all(&header.to_bytes()).map_err(io)?;
    let mut raw = Vec::new();
    for section in values.chunks(nx.max(1) * ny.max(1)) {
        raw.clear();
        encode(SampleType::Float32, section, &mut raw).expect("finite values should fit f32");
        out.write_all(&raw).map_err(io)?;
    }
    out.flush().map_err(io)
}

/// Sums from which a header's statistics follow; f64, in the order of the values.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    count: u64,
    sum: f64,
    squares: f64,
    min: f32,
    max: f32,
    /// First value: subtracted from all, so that a large mean does not eat the deviation.
    pivot: f64,
}

impl Moments {
    /// Nothing yet.
    pub const EMPTY: Self =
        Self { count: 0, sum: 0.0, squares: 0.0, min: f32::INFINITY, max: f32::NEG_INFINITY, pivot: 0.0 };

    /// Of `values`.
    pub fn of(values: &[f32]) -> Self {
        let mut moments = Self::EMPTY;
        moments.add(values);
        moments
    }

    /// Takes `values` into account.
    pub fn add(&mut self, values: &[f32]) {
        if self.count == 0 {
            self.pivot = values.first().map_or(0.0, |v| f64::from(*v));
        }
        for &value in values {
            let offset = f64::from(value) - self.pivot;
            self.sum += offset;
            self.squares += offset * offset;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.count += values.len() as u64;
    }

    /// As a header states them; undetermined of nothing.
    pub fn statistics(&self) -> Statistics {
        if self.count == 0 {
            return Statistics { min: 0.0, max: -1.0, mean: -2.0, rms: -1.0 };
        }
        let mean = self.sum / self.count as f64;
        let variance = (self.squares / self.count as f64 - mean * mean).max(0.0);
        Statistics {
            min: self.min,
            max: self.max,
            mean: (mean + self.pivot) as f32,
            rms: variance.sqrt() as f32,
        }
    }
}
