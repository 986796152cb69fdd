//! The frames of one movie: read, and kept in memory only as far as a budget allows.

use rayon::prelude::*;
use std::sync::Arc;
use vitreous_compute::movie::detector::Detector;
use vitreous_compute::movie::frame::RawFrame;
use vitreous_compute::ops::warp::WarpError;
use vitreous_formats::image::FrameSource;

/// Memory for frames held at one time, in frames of `f32`. Frames of electrons counted are held in half bytes, so that
/// eight times as many fit (in bytes, four times, if there are many large counts); a movie that fits as a whole is decoded
/// only once.
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
    /// The frames could not be added up.
    #[error(transparent)]
    Warp(#[from] WarpError),
}

/// Buffers of one reading thread.
#[derive(Default)]
pub struct ReadBuffers {
    bytes: Vec<u8>,
    floats: Vec<f32>,
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

    /// The detector.
    pub fn detector(&self) -> Detector {
        Detector { width: self.width(), height: self.height(), gain: self.gain.clone() }
    }

    /// Frames that may be held at one time when each takes `bytes`, at least one per thread.
    pub fn batch(&self, bytes: usize) -> usize {
        let budget = BUDGET_FRAMES * 4 * self.width() * self.height();
        (budget / bytes.max(1)).max(rayon::current_num_threads()).min(self.frames.max(1))
    }

    /// Reads frame `frame` (counted from [`Movie::first`]) on the calling thread.
    ///
    /// # Errors
    /// A frame that cannot be read or holds values that are not finite.
    pub fn read_one(&self, frame: usize, buffers: &mut ReadBuffers) -> Result<RawFrame, MovieError> {
        let (width, len) = (self.width(), self.source.header().frame_len());
        let at = self.first + frame;
        buffers.bytes.resize(len, 0);
        if self.source.read_bytes_at(at, &mut buffers.bytes)? {
            return Ok(RawFrame::of_bytes(&buffers.bytes, width));
        }
        buffers.floats.resize(len, 0.0);
        self.source.read_frame_at(at, &mut buffers.floats)?;
        let ReadBuffers { bytes, floats } = buffers;
        RawFrame::of_floats(floats, bytes, width).map_err(|index| MovieError::NotFinite {
            path: self.source.path().display().to_string(),
            frame: at,
            value: floats[index],
            x: index % width.max(1),
            y: index / width.max(1),
        })
    }

    /// Reads frames `start .. end`, one per thread at a time.
    ///
    /// # Errors
    /// The first frame, in order, that cannot be read or holds values that are not finite.
    pub fn read(&self, start: usize, end: usize) -> Result<Vec<RawFrame>, MovieError> {
        let results: Vec<Result<RawFrame, MovieError>> = (start..end)
            .into_par_iter()
            .map_init(ReadBuffers::default, |buffers, frame| self.read_one(frame, buffers))
            .collect();
        results.into_iter().collect()
    }
}
