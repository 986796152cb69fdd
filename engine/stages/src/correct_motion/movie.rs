//! The frames of one movie: read, corrected by the gain reference, and kept in memory only as far as a budget allows.

use super::hot_pixels::Defects;
use super::simd;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use vitreous_formats::image::FrameSource;

/// Memory for frames held at one time, in frames of `f32`. Frames that are whole numbers from 0 to 255 are held as
/// bytes, so that four times as many fit; a movie that fits as a whole is decoded only once.
pub const BUDGET_FRAMES: usize = 8;

/// A movie opened for reading.
pub struct Movie {
    /// The file.
    pub source: Box<dyn FrameSource>,
    /// Gain reference `[height, width]` on the frames' grid, to be multiplied; `None` if the movie is corrected.
    pub gain: Option<Arc<[f32]>>,
    /// Index in the file of the first frame used.
    pub first: usize,
    /// Frames used.
    pub frames: usize,
}

/// Why frames could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MovieError {
    /// The file.
    #[error(transparent)]
    Format(#[from] vitreous_formats::error::FormatError),
    /// A pixel is NaN or infinite.
    #[error(
        "{path}: frame {frame} (from 0) is {value} at column {x}, row {y}, expected a finite number; write the movie again"
    )]
    NotFinite {
        /// The file.
        path: String,
        /// Frame.
        frame: usize,
        /// Value.
        value: f32,
        /// Column.
        x: usize,
        /// Row.
        y: usize,
    },
}

/// A frame in memory, gain not applied.
#[derive(Debug, Clone)]
pub enum RawFrame {
    /// Whole numbers from 0 to 255.
    Bytes(Vec<u8>),
    /// Anything else.
    Floats(Vec<f32>),
}

impl RawFrame {
    /// Takes the values out of `values` unless bytes can hold them.
    fn new(values: &mut Vec<f32>, path: &Path, frame: usize, width: usize) -> Result<Self, MovieError> {
        let mut bytes = vec![0; values.len()];
        if simd::narrow(values, &mut bytes) {
            return Ok(Self::Bytes(bytes));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (x, y) = (at % width.max(1), at / width.max(1));
            let path = path.display().to_string();
            return Err(MovieError::NotFinite { path, frame, value: values[at], x, y });
        }
        Ok(Self::Floats(std::mem::take(values)))
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(values) => values.len(),
            Self::Floats(values) => 4 * values.len(),
        }
    }

    /// The value of one pixel.
    pub fn value(&self, index: usize) -> f32 {
        match self {
            Self::Bytes(values) => f32::from(values[index]),
            Self::Floats(values) => values[index],
        }
    }

    /// Adds pixels `start ..` to a sum.
    pub fn add_to(&self, start: usize, sum: &mut [f32]) {
        let end = start + sum.len();
        match self {
            Self::Bytes(values) => simd::add_bytes(sum, &values[start..end]),
            Self::Floats(values) => simd::add(sum, &values[start..end]),
        }
    }
}

impl Movie {
    /// Columns.
    pub fn width(&self) -> usize {
        self.source.header().width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.source.header().height
    }

    /// Frames that may be held at one time when each takes `bytes`, at least one per thread.
    pub fn batch(&self, bytes: usize) -> usize {
        let budget = BUDGET_FRAMES * 4 * self.width() * self.height();
        (budget / bytes.max(1)).max(rayon::current_num_threads()).min(self.frames.max(1))
    }

    /// Reads frames `start .. end` (counted from [`Movie::first`]), one per thread at a time.
    ///
    /// # Errors
    /// The first frame, in order, that cannot be read or holds values that are not finite.
    pub fn read(&self, start: usize, end: usize) -> Result<Vec<RawFrame>, MovieError> {
        let (width, len) = (self.width(), self.source.header().frame_len());
        let results: Vec<Result<RawFrame, MovieError>> = (start..end)
            .into_par_iter()
            .map_init(Vec::new, |values, frame| {
                values.resize(len, 0.0);
                self.source.read_frame_at(self.first + frame, values)?;
                RawFrame::new(values, self.source.path(), self.first + frame, width)
            })
            .collect();
        results.into_iter().collect()
    }

    /// Writes one row of a frame into `out`, gain applied, defects as they are.
    pub fn gain_corrected_row(&self, raw: &RawFrame, row: usize, out: &mut [f32]) {
        let source = row * self.width()..(row + 1) * self.width();
        let gain = self.gain.as_ref().map(|gain| &gain[source.clone()]);
        match (raw, gain) {
            (RawFrame::Bytes(bytes), Some(gain)) => simd::widen_product(&bytes[source], gain, out),
            (RawFrame::Bytes(bytes), None) => simd::widen(&bytes[source], out),
            (RawFrame::Floats(values), gain) => {
                out.copy_from_slice(&values[source]);
                if let Some(gain) = gain {
                    simd::multiply(out, gain);
                }
            }
        }
    }

    /// Writes rows `first .. last` of a frame into `out`, gain applied and defects replaced. Row `r` starts at
    /// `(r - first) · stride`; what lies beyond a row's end is left as it is.
    pub fn corrected_rows(
        &self,
        raw: &RawFrame,
        frame: usize,
        defects: &Defects,
        (first, last): (usize, usize),
        stride: usize,
        out: &mut [f32],
    ) {
        let width = self.width();
        for row in first..last {
            self.gain_corrected_row(raw, row, &mut out[(row - first) * stride..][..width]);
        }
        for defect in defects.in_rows(width, first, last) {
            let value = Defects::replacement(defect, frame)
                .map_or(0.0, |index| raw.value(index) * self.gain.as_ref().map_or(1.0, |gain| gain[index]));
            out[(defect.index / width - first) * stride + defect.index % width] = value;
        }
    }
}
