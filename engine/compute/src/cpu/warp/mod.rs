//! CPU twin of [`crate::ops::warp`].
//!
//! The work goes by bands of rows, in parallel; within a band the frames are added in order. Memory: the sums, and a band of
//! [`GROUP`] frames per thread.

mod simd;

use crate::device::Cpu;
use crate::fourier::ImageStack;
use crate::movie::field::{MODES, modes, normalised};
use crate::movie::kernel::{Kernel, TAPS};
use crate::ops::warp::{GROUP, MovedFrame, TILE, Warp, WarpError, WarpPlan, fade};
use rayon::prelude::*;
use simd::Segment;

/// Rows of a band: enough that the rows read beyond its edges are few, few enough that sums and rows stay in cache.
const BAND_ROWS: usize = 2 * TILE;

/// Sums in the host's memory.
#[derive(Debug)]
pub struct CpuWarpedSums {
    plan: WarpPlan,
    kernel: Kernel,
    stack: ImageStack,
}

impl CpuWarpedSums {
    /// With what was added so far; `stack` has the size and the terms of the plan.
    pub fn new(plan: WarpPlan, stack: ImageStack) -> Self {
        Self { plan, kernel: Kernel::default(), stack }
    }
}

impl Warp for Cpu {
    type WarpedSums = CpuWarpedSums;

    fn warped_sums(&self, plan: WarpPlan) -> Result<CpuWarpedSums, WarpError> {
        plan.check()?;
        let stack = ImageStack::zeros(plan.size[1], plan.size[0], plan.terms);
        Ok(CpuWarpedSums::new(plan, stack))
    }

    fn add_warped(&self, into: &mut CpuWarpedSums, frames: &[MovedFrame<'_>]) -> Result<(), WarpError> {
        let CpuWarpedSums { plan, kernel, stack } = into;
        plan.check_frames(frames)?;
        let (stride, row) = (stack.stride(), stack.images() * stack.stride());
        let job = Batch { plan, kernel, frames };
        if plan.size.contains(&0) || plan.terms == 0 {
            return Ok(());
        }
        stack
            .values_mut()
            .par_chunks_mut((BAND_ROWS * row).max(1))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (band, out)| {
                job.add_band(band * BAND_ROWS, out, stride, scratch)
            });
        Ok(())
    }

    fn collect_warped(&self, sums: CpuWarpedSums) -> Result<ImageStack, WarpError> {
        Ok(sums.stack)
    }
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
    plan: &'a WarpPlan,
    kernel: &'a Kernel,
    frames: &'a [MovedFrame<'a>],
}

impl Batch<'_> {
    /// Adds all frames of the batch to the rows `first_row ..` that `out` holds, `[rows, terms, stride]`.
    fn add_band(&self, first_row: usize, out: &mut [f32], stride: usize, scratch: &mut Scratch) {
        let (terms, span) = (self.plan.terms, self.span());
        let rows = out.len() / (terms * stride);
        for group in self.frames.chunks(GROUP) {
            for index in 0..GROUP {
                // frames that a last group lacks weigh nothing
                scratch.warped[index].resize(rows * span, 0.0);
                if let Some(frame) = group.get(index) {
                    self.warp_band(frame, first_row, rows, index, scratch);
                }
            }
            let weight =
                |index: usize, term: usize| group.get(index).map_or(0.0, |frame| frame.weights[term]);
            let weights: Vec<[f32; GROUP]> =
                (0..terms).map(|term| std::array::from_fn(|index| weight(index, term))).collect();
            for (row, sums) in out.chunks_mut(terms * stride).enumerate() {
                let warped = scratch.warped.each_ref().map(|frame| &frame[row * span..][..span]);
                simd::add_weighted(sums, stride, warped, &weights);
            }
        }
    }

    /// Warps one frame of the batch into `scratch.warped[slot]`, `[rows, span]`.
    fn warp_band(
        &self,
        frame: &MovedFrame<'_>,
        first_row: usize,
        rows: usize,
        slot: usize,
        scratch: &mut Scratch,
    ) {
        let span = self.span();
        let (low, high) = self.rows_needed(frame, first_row, rows);
        self.fill_rows(frame, (low, high), span, &mut scratch.rows);
        let margin = self.margin(frame);
        scratch.line.resize(span + 2 * margin, 0.0);
        for row in 0..rows {
            if row % TILE == 0 {
                self.plan_tiles(frame, first_row + row, (low, margin), span, scratch);
            }
            warp_row(
                scratch,
                (row % TILE) * span,
                (self.plan.size[0], margin),
                slot,
                row * span..(row + 1) * span,
            );
        }
    }

    /// Length of a row of the sums in whole segments.
    fn span(&self) -> usize {
        self.plan.size[0].next_multiple_of(TILE)
    }

    /// Pixels on either side of a row that its displacement and the kernel may reach.
    fn margin(&self, frame: &MovedFrame<'_>) -> usize {
        let detector = &self.plan.detector;
        // tiles of sums that are larger than a frame reach beyond 1
        let farthest = |n: usize, period: usize| normalised((period + TILE) as f64, n);
        let most =
            modes(farthest(detector.width, self.plan.size[0]), farthest(detector.height, self.plan.size[1]));
        let modes: [f64; MODES] = most;
        let bound: f64 = frame.motion[0].iter().zip(modes).map(|(c, m)| (c * m).abs()).sum();
        // no displacement is larger than the frame
        (bound.min(self.plan.size[0] as f64).ceil() as usize) + TAPS + TILE
    }

    /// First and last (excluded) row of the frame that a band needs; may lie outside of the frame.
    fn rows_needed(&self, frame: &MovedFrame<'_>, first_row: usize, rows: usize) -> (isize, isize) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let last_tile = rows.div_ceil(TILE) - 1;
        for tile in 0..=last_tile {
            for x in (0..self.plan.size[0]).step_by(TILE) {
                let shift = self.plan.tile_displacement(frame.motion, x, first_row + tile * TILE)[1];
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

    /// Rows `low .. high` of the corrected frame, which is continued to the size of the sums and then cyclically.
    fn fill_rows(
        &self,
        frame: &MovedFrame<'_>,
        (low, high): (isize, isize),
        span: usize,
        out: &mut Vec<f32>,
    ) {
        let WarpPlan { detector, defects, size, .. } = self.plan;
        let [width, height] = [detector.width, detector.height];
        let corrected = |rows: (usize, usize), out: &mut [f32]| {
            detector.corrected_rows(frame.raw, frame.number, defects, rows, span, out);
        };
        let rows = (high - low) as usize;
        out.resize((rows + 1) * span, 0.0);
        let (out, spare) = out.split_at_mut(rows * span);
        let mut row = low;
        while row < high {
            let first = row.rem_euclid(size[1] as isize) as usize;
            let target = &mut out[(row - low) as usize * span..];
            if first < height {
                let count = (height - first).min((high - row) as usize);
                corrected((first, first + count), target);
                row += count as isize;
                continue;
            }
            corrected((height - 1, height), target);
            corrected((0, 1), spare);
            let part = fade(first, height, size[1]);
            for (value, other) in target[..width].iter_mut().zip(&spare[..width]) {
                *value += part * (other - *value);
            }
            row += 1;
        }
        for row in out.chunks_exact_mut(span) {
            let (left, right) = (row[0], row[width - 1]);
            for x in width..size[0] {
                row[x] = right + fade(x, width, size[0]) * (left - right);
            }
        }
    }

    /// Taps and starting points of a row of tiles that begins at output row `y`.
    fn plan_tiles(
        &self,
        frame: &MovedFrame<'_>,
        y: usize,
        (low, margin): (isize, usize),
        stride: usize,
        scratch: &mut Scratch,
    ) {
        scratch.along_x.clear();
        scratch.along_y.clear();
        for x in (0..stride).step_by(TILE) {
            let [u, v] = self.plan.tile_displacement(frame.motion, x, y);
            let (row, taps) = self.kernel.at(y as f64 + v);
            scratch.along_y.push(Segment { start: (row - low) as usize * stride + x, taps: *taps });
            let (column, taps) = self.kernel.at(x as f64 + u);
            scratch.along_x.push(Segment { start: (column + margin as isize) as usize, taps: *taps });
        }
    }
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
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::warp::run(&Cpu));
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| parity::warp::checksum(&Cpu))
        };
        assert_eq!(run(1), run(3));
    }
}
