//! The frames of one movie: read, corrected by the gain reference, and kept in memory only as far as a budget allows.

use super::hot_pixels::Defects;
use super::simd;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use vitreous_formats::image::FrameSource;

/// Memory for frames held at one time, in frames of `f32`. Frames of electrons counted are held in half bytes, so that
/// eight times as many fit (in bytes, four times, if there are many large counts); a movie that fits as a whole is decoded
/// only once.
pub const BUDGET_FRAMES: usize = 8;

/// A frame in which one pixel of so many, or more, counts [`simd::MOST`] or more is held in bytes.
const RARE: usize = 64;

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
    /// Small whole numbers.
    Counts(Counts),
    /// Whole numbers from 0 to 255.
    Bytes(Vec<u8>),
    /// Anything else.
    Floats(Vec<f32>),
}

/// A frame in half bytes.
#[derive(Debug, Clone)]
pub struct Counts {
    width: usize,
    /// Every row packed by [`simd::pack`].
    packed: Vec<u8>,
    /// Index in the frame and value of every pixel of [`simd::MOST`] or more, by rising index.
    large: Vec<(u32, u8)>,
}

impl Counts {
    /// Packs a frame, unless too many of its pixels are large.
    fn new(bytes: &[u8], width: usize) -> Option<Self> {
        let half = width.div_ceil(2);
        if width == 0 || u32::try_from(bytes.len()).is_err() {
            return None;
        }
        let mut packed = vec![0; bytes.len() / width * half];
        let mut large = Vec::new();
        for (row, (bytes, out)) in bytes.chunks_exact(width).zip(packed.chunks_exact_mut(half)).enumerate() {
            if simd::pack(bytes, out) {
                let of_row = bytes.iter().enumerate().filter(|(_, value)| **value >= simd::MOST);
                large.extend(of_row.map(|(x, value)| ((row * width + x) as u32, *value)));
            }
        }
        (large.len() * RARE <= bytes.len()).then_some(Self { width, packed, large })
    }

    fn row(&self, row: usize) -> &[u8] {
        let half = self.width.div_ceil(2);
        &self.packed[row * half..(row + 1) * half]
    }

    /// Column and value of the row's large counts.
    fn large_of(&self, row: usize) -> impl Iterator<Item = (usize, u8)> {
        let (first, last) = (row * self.width, (row + 1) * self.width);
        let start = self.large.partition_point(|(index, _)| (*index as usize) < first);
        let of_row = self.large[start..].iter().take_while(move |(index, _)| (*index as usize) < last);
        of_row.map(move |(index, value)| (*index as usize - first, *value))
    }

    fn value(&self, index: usize) -> u8 {
        let half = self.width.div_ceil(2);
        let (row, x) = (index / self.width, index % self.width);
        let at = row * half;
        let value = if x < half { self.packed[at + x] & simd::MOST } else { self.packed[at + x - half] >> 4 };
        if value < simd::MOST {
            return value;
        }
        let found = self.large.binary_search_by_key(&index, |(at, _)| *at as usize);
        found.map_or(value, |at| self.large[at].1)
    }
}

/// Buffers of one reading thread.
#[derive(Default)]
pub struct ReadBuffers {
    bytes: Vec<u8>,
    floats: Vec<f32>,
}

impl RawFrame {
    /// The smallest form that holds the whole numbers `bytes`.
    fn of_bytes(bytes: &[u8], width: usize) -> Self {
        Counts::new(bytes, width).map_or_else(|| Self::Bytes(bytes.to_vec()), Self::Counts)
    }

    /// Takes the values out of `buffers.floats` unless less can hold them.
    fn of_floats(
        buffers: &mut ReadBuffers,
        path: &Path,
        frame: usize,
        width: usize,
    ) -> Result<Self, MovieError> {
        let ReadBuffers { bytes, floats } = buffers;
        bytes.resize(floats.len(), 0);
        if simd::narrow(floats, bytes) {
            return Ok(Self::of_bytes(bytes, width));
        }
        if let Some(at) = floats.iter().position(|v| !v.is_finite()) {
            let (x, y) = (at % width.max(1), at / width.max(1));
            let path = path.display().to_string();
            return Err(MovieError::NotFinite { path, frame, value: floats[at], x, y });
        }
        Ok(Self::Floats(std::mem::take(floats)))
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Counts(counts) => counts.packed.len() + 8 * counts.large.len(),
            Self::Bytes(values) => values.len(),
            Self::Floats(values) => 4 * values.len(),
        }
    }

    /// The value of one pixel.
    pub fn value(&self, index: usize) -> f32 {
        match self {
            Self::Counts(counts) => f32::from(counts.value(index)),
            Self::Bytes(values) => f32::from(values[index]),
            Self::Floats(values) => values[index],
        }
    }

    /// Adds a row of `width` pixels to `sum`; whole numbers to `counts` instead, which the caller adds to the sum (at
    /// least every 257 frames, for 255 is the largest).
    pub fn add_row(&self, row: usize, width: usize, sum: &mut [f32], counts: &mut [u16]) {
        match self {
            Self::Counts(frame) => {
                simd::add_packed(counts, frame.row(row));
                frame.large_of(row).for_each(|(x, value)| counts[x] += u16::from(value - simd::MOST));
            }
            Self::Bytes(values) => simd::add_bytes(counts, &values[row * width..(row + 1) * width]),
            Self::Floats(values) => simd::add(sum, &values[row * width..(row + 1) * width]),
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
        RawFrame::of_floats(buffers, self.source.path(), at, width)
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

    /// Writes one row of a frame into `out`, gain applied, defects as they are.
    pub fn gain_corrected_row(&self, raw: &RawFrame, row: usize, out: &mut [f32]) {
        let source = row * self.width()..(row + 1) * self.width();
        let gain = self.gain.as_ref().map(|gain| &gain[source.clone()]);
        match (raw, gain) {
            (RawFrame::Counts(counts), gain) => {
                match gain {
                    Some(gain) => simd::unpack_product(counts.row(row), gain, out),
                    None => simd::unpack(counts.row(row), out),
                }
                for (x, value) in counts.large_of(row) {
                    out[x] = f32::from(value) * gain.map_or(1.0, |gain| gain[x]);
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_in_half_bytes_is_the_frame() {
        let (width, height) = (37, 20);
        let mut bytes: Vec<u8> = (0..width * height).map(|i| (i * 7919 % 15) as u8).collect();
        for (i, large) in [15, 255, 16, 200].into_iter().enumerate() {
            bytes[i * 180 + 36] = large;
        }
        let frame = RawFrame::of_bytes(&bytes, width);
        assert!(matches!(frame, RawFrame::Counts(_)) && frame.bytes() < bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            assert_eq!(frame.value(index), f32::from(*byte));
        }
        let gain: Vec<f32> = (0..width * height).map(|i| 0.5 + (i % 3) as f32).collect();
        for row in 0..height {
            let of_row = row * width..(row + 1) * width;
            let (mut sum, mut counts) = (vec![0.0; width], vec![0; width]);
            frame.add_row(row, width, &mut sum, &mut counts);
            assert_eq!(counts, bytes[of_row.clone()].iter().map(|b| u16::from(*b)).collect::<Vec<_>>());
            assert_eq!(sum, vec![0.0; width]);
        }
        let memory = super::super::simulated::Memory::new(width, height, vec![vec![0.0; width * height]]);
        let movie = Movie { source: Box::new(memory), gain: Some(gain.clone().into()), first: 0, frames: 1 };
        let mut out = vec![0.0; width];
        for row in 0..height {
            movie.gain_corrected_row(&frame, row, &mut out);
            for (x, value) in out.iter().enumerate() {
                assert_eq!(*value, f32::from(bytes[row * width + x]) * gain[row * width + x]);
            }
        }
    }

    #[test]
    fn a_frame_of_large_counts_is_held_in_bytes() {
        let frame = RawFrame::of_bytes(&[20; 100], 10);
        assert!(matches!(frame, RawFrame::Bytes(_)));
        assert_eq!(frame.value(55), 20.0);
    }
}
