//! The second pass over a movie: every frame is read where the motion has carried it, and added to a few weighted sums.
//!
//! The work goes by bands of rows, in parallel; within a band the frames are added in order, so the result does not
//! depend on the number of threads. A pixel of the output at `x` is the frame at `x + u(x, f)`; the displacement is held
//! constant over tiles of [`SEGMENT`] × [`SEGMENT`] pixels, which is wrong by at most half a tile times its gradient
//! (0.015 pixel for a strong local motion of 5 pixels over a frame of 2500).
//!
//! Beyond its edges a frame is continued from the opposite edge, as by a shift in Fourier space, so that the division by
//! the interpolation's transfer leaves no ringing; a margin as wide as the motion is therefore not to be used. Sums whose
//! edges have lengths that are bad for transforms (4092 = 4 · 3 · 11 · 31) are made a little larger; on the way from one
//! edge to the opposite one a frame then fades from the one to the other.
//!
//! Memory: the frames of a batch ([`BUDGET_FRAMES`](super::movie::BUDGET_FRAMES)), the sums, and a band per thread.

use super::hot_pixels::Defects;
use super::kernel::Kernel;
use super::motion_field::{MODES, MotionField, modes};
use super::movie::{Movie, MovieError, RawFrame};
use super::simd::{self, GROUP, SEGMENT, Segment, TAPS};
use rayon::prelude::*;
use vitreous_compute::fourier::{ImageStack, next_5_smooth};

/// Rows of a band: enough that the rows read beyond its edges are few, few enough that sums and rows stay in cache.
const BAND_ROWS: usize = 2 * SEGMENT;

/// Weighted sums of the warped frames, still under the interpolation's transfer function.
pub struct Sums {
    /// Size of the frames; the images may be larger.
    pub width: usize,
    /// Size of the frames; the images may be larger.
    pub height: usize,
    /// One image per set of weights.
    pub stack: ImageStack,
}

/// The shortest good length for transforms from `n` on that is a multiple of `multiple`.
pub fn good_length(n: usize, multiple: usize) -> usize {
    multiple * next_5_smooth(n.div_ceil(multiple))
}

/// Warps all frames and adds them up with the weights `[term][frame]`. `kept` are the frames, if the first pass could
/// keep them; else they are read again. `size` is that of the sums, width and height, no smaller than the frames'.
///
/// # Errors
/// A frame that cannot be read.
pub fn warp(
    movie: &Movie,
    kept: Option<Vec<RawFrame>>,
    defects: &Defects,
    field: &MotionField,
    weights: &[Vec<f64>],
    size: [usize; 2],
) -> Result<Sums, MovieError> {
    let mut stack = ImageStack::zeros(size[1], size[0], weights.len());
    let row = stack.images() * stack.stride();
    let kernel = Kernel::default();
    let mut add_batch = |start: usize, batch: &[RawFrame]| {
        let job = Batch { movie, defects, field, weights, kernel: &kernel, size, start, frames: batch };
        let stride = stack.stride();
        stack
            .values_mut()
            .par_chunks_mut((BAND_ROWS * row).max(1))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (band, out)| {
                job.add_band(band * BAND_ROWS, out, stride, scratch)
            });
    };
    if let Some(frames) = kept {
        add_batch(0, &frames);
        return Ok(Sums { width: movie.width(), height: movie.height(), stack });
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
    Ok(Sums { width: movie.width(), height: movie.height(), stack })
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    /// Rows of a frame as they are needed for a band.
    rows: Vec<f32>,
    line: Vec<f32>,
    /// The band of every frame of a group.
    warped: [Vec<f32>; GROUP],
    along_y: Vec<Segment>,
    along_x: Vec<Segment>,
}

struct Batch<'a> {
    movie: &'a Movie,
    defects: &'a Defects,
    field: &'a MotionField,
    weights: &'a [Vec<f64>],
    kernel: &'a Kernel,
    /// Width and height of the sums.
    size: [usize; 2],
    /// Number of the first frame.
    start: usize,
    frames: &'a [RawFrame],
}

impl Batch<'_> {
    /// Adds all frames of the batch to the rows `first_row ..` that `out` holds, `[rows, terms, stride]`.
    fn add_band(&self, first_row: usize, out: &mut [f32], stride: usize, scratch: &mut Scratch) {
        let (terms, span) = (self.weights.len(), self.span());
        let rows = out.len() / (terms * stride);
        for group in (0..self.frames.len()).step_by(GROUP) {
            let count = GROUP.min(self.frames.len() - group);
            for index in 0..GROUP {
                // frames that a last group lacks weigh nothing
                scratch.warped[index].resize(rows * span, 0.0);
                if index < count {
                    self.warp_band(group + index, first_row, rows, index, scratch);
                }
            }
            let weights: Vec<[f32; GROUP]> = self
                .weights
                .iter()
                .map(|of_term| {
                    std::array::from_fn(|index| {
                        if index < count { of_term[self.start + group + index] as f32 } else { 0.0 }
                    })
                })
                .collect();
            for (row, sums) in out.chunks_mut(terms * stride).enumerate() {
                let warped = scratch.warped.each_ref().map(|frame| &frame[row * span..][..span]);
                simd::add_weighted(sums, stride, warped, &weights);
            }
        }
    }

    /// Warps one frame of the batch into `scratch.warped[slot]`, `[rows, span]`.
    fn warp_band(&self, index: usize, first_row: usize, rows: usize, slot: usize, scratch: &mut Scratch) {
        let (frame, span) = (self.start + index, self.span());
        let (low, high) = self.rows_needed(frame, first_row, rows);
        self.fill_rows(&self.frames[index], frame, (low, high), span, &mut scratch.rows);
        let margin = self.margin(frame);
        scratch.line.resize(span + 2 * margin, 0.0);
        for row in 0..rows {
            if row % SEGMENT == 0 {
                self.plan_tiles(frame, first_row + row, (low, margin), span, scratch);
            }
            warp_row(
                scratch,
                (row % SEGMENT) * span,
                (self.size[0], margin),
                slot,
                row * span..(row + 1) * span,
            );
        }
    }

    /// Length of a row of the sums in whole segments.
    fn span(&self) -> usize {
        self.size[0].next_multiple_of(SEGMENT)
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
        (bound.min(self.size[0] as f64).ceil() as usize) + TAPS + SEGMENT
    }

    /// First and last (excluded) row of the frame that a band needs; may lie outside of the frame.
    fn rows_needed(&self, frame: usize, first_row: usize, rows: usize) -> (isize, isize) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let last_tile = rows.div_ceil(SEGMENT) - 1;
        for tile in 0..=last_tile {
            for x in (0..self.size[0]).step_by(SEGMENT) {
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

    /// Rows `low .. high` of the corrected frame, which is continued to the size of the sums and then cyclically.
    fn fill_rows(
        &self,
        raw: &RawFrame,
        frame: usize,
        (low, high): (isize, isize),
        span: usize,
        out: &mut Vec<f32>,
    ) {
        let [width, height] = [self.movie.width(), self.movie.height()];
        let period = self.size[1];
        let rows = (high - low) as usize;
        out.resize((rows + 1) * span, 0.0);
        let (out, spare) = out.split_at_mut(rows * span);
        let mut row = low;
        while row < high {
            let first = row.rem_euclid(period as isize) as usize;
            let target = &mut out[(row - low) as usize * span..];
            if first < height {
                let count = (height - first).min((high - row) as usize);
                self.movie.corrected_rows(raw, frame, self.defects, (first, first + count), span, target);
                row += count as isize;
                continue;
            }
            self.movie.corrected_rows(raw, frame, self.defects, (height - 1, height), span, target);
            self.movie.corrected_rows(raw, frame, self.defects, (0, 1), span, spare);
            let part = fade(first, height, period);
            for (value, other) in target[..width].iter_mut().zip(&spare[..width]) {
                *value += part * (other - *value);
            }
            row += 1;
        }
        for row in out.chunks_exact_mut(span) {
            let (left, right) = (row[0], row[width - 1]);
            for x in width..self.size[0] {
                row[x] = right + fade(x, width, self.size[0]) * (left - right);
            }
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

/// How much of the opposite edge there is in pixel `at` of the `length .. period` between the edges.
fn fade(at: usize, length: usize, period: usize) -> f32 {
    (at + 1 - length) as f32 / (period + 1 - length) as f32
}

/// Interpolates one row: along the columns into the middle of `line`, then along `line`.
fn warp_row(
    scratch: &mut Scratch,
    row_offset: usize,
    (width, margin): (usize, usize),
    slot: usize,
    target: std::ops::Range<usize>,
) {
    let Scratch { rows, line, warped, along_y, along_x } = scratch;
    let span = target.len();
    simd::interpolate_columns(&rows[row_offset..], span, along_y, &mut line[margin..margin + span]);
    for at in 0..margin {
        line[at] = line[margin + (at + width * margin - margin) % width];
    }
    for at in margin + width..line.len() {
        line[at] = line[margin + (at - margin) % width];
    }
    simd::interpolate_row(line, along_x, &mut warped[slot][target]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lengths_are_made_a_little_larger() {
        let cases = [(4092, 1, 4096), (5760, 1, 5760), (3838, 2, 3840), (8184, 4, 8192), (1, 1, 1)];
        for (n, multiple, want) in cases {
            assert_eq!(good_length(n, multiple), want, "{n}");
        }
    }
}
