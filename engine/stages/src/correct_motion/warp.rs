//! The second pass over a movie: every frame is read where the motion has carried it, and added to a few weighted sums.
//!
//! The work goes by bands of rows, in parallel; within a band the frames are added one after the other, so the result
//! does not depend on the number of threads. A pixel of the output at `x` is the frame at `x + u(x, f)`; the displacement
//! is held constant over tiles of [`SEGMENT`] × [`SEGMENT`] pixels, which is wrong by at most half a tile times its
//! gradient (0.015 pixel for a strong local motion of 5 pixels over a frame of 2500). Beyond its edges a frame is
//! continued from the opposite edge, as by a shift in Fourier space, so that the division by the interpolation's transfer
//! leaves no ringing; a margin as wide as the motion is therefore not to be used.
//!
//! Memory: the frames of a batch ([`BUDGET_FRAMES`](super::movie::BUDGET_FRAMES)), the sums, and a band per thread.

use super::hot_pixels::Defects;
use super::kernel::Kernel;
use super::motion_field::{MODES, MotionField, modes};
use super::movie::{Movie, MovieError, RawFrame};
use super::simd::{self, SEGMENT, Segment, TAPS};
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Rows of a band: enough that the rows read beyond its edges are few, few enough that sums and rows stay in cache.
const BAND_ROWS: usize = 4 * SEGMENT;

/// Weighted sums of the warped frames, still under the interpolation's transfer function.
pub struct Sums {
    width: usize,
    height: usize,
    /// Row length, whole segments.
    stride: usize,
    terms: usize,
    /// `[height, terms, stride]`.
    values: Vec<f32>,
}

impl Sums {
    /// One sum, `[height, width]`.
    pub fn term(&self, term: usize) -> ArrayView2<'_, f32> {
        let shape = (self.height, self.width);
        let strides = (self.terms * self.stride, 1);
        ArrayView2::from_shape(
            ndarray::ShapeBuilder::strides(shape, strides),
            &self.values[term * self.stride..],
        )
        .expect("the sums should hold every row")
    }

    /// Number of sums.
    pub fn terms(&self) -> usize {
        self.terms
    }
}

/// Warps all frames and adds them up with the weights `[term][frame]`. `kept` are the frames, if the first pass could
/// keep them; else they are read again.
///
/// # Errors
/// A frame that cannot be read.
pub fn warp(
    movie: &Movie,
    kept: Option<Vec<RawFrame>>,
    defects: &Defects,
    field: &MotionField,
    weights: &[Vec<f64>],
) -> Result<Sums, MovieError> {
    let (width, height) = (movie.width(), movie.height());
    let stride = width.next_multiple_of(SEGMENT);
    let terms = weights.len();
    let mut sums = Sums { width, height, stride, terms, values: vec![0.0; height * terms * stride] };
    let kernel = Kernel::default();
    let mut add_batch = |start: usize, batch: &[RawFrame]| {
        let job = Batch { movie, defects, field, weights, kernel: &kernel, start, frames: batch };
        sums.values
            .par_chunks_mut((BAND_ROWS * terms * stride).max(1))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (band, out)| {
                job.add_band(band * BAND_ROWS, out, scratch)
            });
    };
    if let Some(frames) = kept {
        add_batch(0, &frames);
        return Ok(sums);
    }
    let mut start = 0;
    while start < movie.frames {
        // the first frame of a batch tells how many of its kind fit
        let mut batch = movie.read(start, start + 1)?;
        let end = (start + movie.batch(batch[0].bytes())).min(movie.frames);
        batch.extend(movie.read(start + 1, end)?);
        add_batch(start, &batch);
        start = end;
    }
    Ok(sums)
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    rows: Vec<f32>,
    line: Vec<f32>,
    warped: Vec<f32>,
    along_y: Vec<Segment>,
    along_x: Vec<Segment>,
}

struct Batch<'a> {
    movie: &'a Movie,
    defects: &'a Defects,
    field: &'a MotionField,
    weights: &'a [Vec<f64>],
    kernel: &'a Kernel,
    /// Number of the first frame.
    start: usize,
    frames: &'a [RawFrame],
}

impl Batch<'_> {
    /// Adds all frames of the batch to the rows `first_row ..` that `out` holds.
    fn add_band(&self, first_row: usize, out: &mut [f32], scratch: &mut Scratch) {
        let stride = self.movie.width().next_multiple_of(SEGMENT);
        let terms = self.weights.len();
        let rows = out.len() / (terms * stride);
        for (offset, raw) in self.frames.iter().enumerate() {
            let frame = self.start + offset;
            let (low, high) = self.rows_needed(frame, first_row, rows);
            self.fill_rows(raw, frame, (low, high), stride, &mut scratch.rows);
            let margin = self.margin(frame);
            scratch.line.resize(stride + 2 * margin, 0.0);
            scratch.warped.resize(stride, 0.0);
            for row in 0..rows {
                if row % SEGMENT == 0 {
                    self.plan_tiles(frame, first_row + row, (low, margin), stride, scratch);
                }
                warp_row(scratch, (row % SEGMENT) * stride, (self.movie.width(), margin), stride);
                for (term, sum) in
                    out[row * terms * stride..][..terms * stride].chunks_mut(stride).enumerate()
                {
                    simd::add_scaled(sum, self.weights[term][frame] as f32, &scratch.warped);
                }
            }
        }
    }

    /// Displacement at pixel `(x, y)` of a frame.
    fn displacement(&self, frame: usize, x: f64, y: f64) -> [f64; 2] {
        let (x, y) = self.field.normalised(x, y);
        let modes: [f64; MODES] = modes(x, y);
        self.field.coefficients[frame].map(|c| c.iter().zip(modes).map(|(c, m)| c * m).sum())
    }

    /// Pixels on either side of a row that its displacement and the kernel may reach.
    fn margin(&self, frame: usize) -> usize {
        let bound: f64 = self.field.coefficients[frame][0].iter().map(|c| c.abs()).sum();
        // no displacement larger than the frame makes sense
        (bound.min(self.movie.width() as f64).ceil() as usize) + TAPS + SEGMENT
    }

    /// First and last (excluded) row of the frame that a band needs; may lie outside of the frame.
    fn rows_needed(&self, frame: usize, first_row: usize, rows: usize) -> (isize, isize) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let last_tile = rows.div_ceil(SEGMENT) - 1;
        for tile in 0..=last_tile {
            for x in (0..self.movie.width()).step_by(SEGMENT) {
                let shift = self.tile_displacement(frame, x, first_row + tile * SEGMENT)[1];
                low = low.min(shift);
                high = high.max(shift);
            }
        }
        let reach = TAPS as isize / 2;
        (
            first_row as isize + low.floor() as isize - reach,
            (first_row + rows) as isize + high.ceil() as isize + reach + 1,
        )
    }

    /// Displacement in the middle of the tile whose corner is pixel `(x, y)`, limited to the size of the frame.
    fn tile_displacement(&self, frame: usize, x: usize, y: usize) -> [f64; 2] {
        let half = (SEGMENT as f64 - 1.0) / 2.0;
        let [u, v] = self.displacement(frame, x as f64 + half, y as f64 + half);
        let (width, height) = (self.movie.width() as f64, self.movie.height() as f64);
        [u.clamp(-width, width), v.clamp(-height, height)]
    }

    /// Rows `low .. high` of the corrected frame, which is continued cyclically.
    fn fill_rows(
        &self,
        raw: &RawFrame,
        frame: usize,
        (low, high): (isize, isize),
        stride: usize,
        out: &mut Vec<f32>,
    ) {
        let height = self.movie.height();
        out.resize((high - low) as usize * stride, 0.0);
        let mut row = low;
        while row < high {
            let first = row.rem_euclid(height as isize) as usize;
            let count = (height - first).min((high - row) as usize);
            let target = &mut out[(row - low) as usize * stride..];
            self.movie.corrected_rows(raw, frame, self.defects, (first, first + count), stride, target);
            row += count as isize;
        }
    }

    /// Taps and starting points of a row of tiles that begins at output row `y`.
    fn plan_tiles(
        &self,
        frame: usize,
        y: usize,
        (low, margin): (isize, usize),
        stride: usize,
        scratch: &mut Scratch,
    ) {
        scratch.along_x.clear();
        scratch.along_y.clear();
        for x in (0..stride).step_by(SEGMENT) {
            let [u, v] = self.tile_displacement(frame, x, y);
            let (row, taps) = self.kernel.at(y as f64 + v);
            scratch.along_y.push(Segment { start: (row - low) as usize * stride + x, taps: *taps });
            let (column, taps) = self.kernel.at((x + margin) as f64 + u);
            // padding columns at the end of a row may reach too far; what they hold is never used
            let column = (column.max(0) as usize).min(stride + 2 * margin - SEGMENT - TAPS + 1);
            scratch.along_x.push(Segment { start: column, taps: *taps });
        }
    }
}

/// Interpolates one row: along the columns into the middle of `line`, then along `line`.
fn warp_row(scratch: &mut Scratch, row_offset: usize, (width, margin): (usize, usize), stride: usize) {
    let Scratch { rows, line, warped, along_y, along_x } = scratch;
    simd::interpolate_columns(&rows[row_offset..], stride, along_y, &mut line[margin..margin + stride]);
    for at in 0..margin {
        line[at] = line[margin + (at + width * margin - margin) % width];
    }
    for at in margin + width..line.len() {
        line[at] = line[margin + (at - margin) % width];
    }
    simd::interpolate_row(line, along_x, warped);
}
