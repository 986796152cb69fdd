//! CPU twin of [`crate::ops::insert`].
//!
//! Threads own slabs of kz and walk over all images of a batch, so that no two write to one place and a slab stays in
//! the cache. Along a row of a slice kz is linear in qx, but for the bend of the slice, so the part of the row that may fall
//! into a slab is found without looking at its pixels.

use crate::device::Cpu;
use crate::ops::grid::PaddedGrid;
use crate::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceBatch};
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_model::conventions::signed_frequency;
/// Slabs near the origin hold more coefficients, so threads take several. Fewer than 4 planes a slab cost a third more
/// time for finding rows (measured), more than 32 gain nothing.
const SLABS_PER_THREAD: usize = 8;

/// Adding this to a double below 2⁵¹ leaves its nearest integer (ties to even) in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

impl Insert for Cpu {
    type Accumulator = FixedGrid;

    fn accumulator(&self, grid: PaddedGrid, scale: FixedPoint) -> Result<FixedGrid, InsertError> {
        Ok(FixedGrid::zeros(grid, scale))
    }

    fn insert(&self, into: &mut FixedGrid, batch: &SliceBatch<'_>) -> Result<(), InsertError> {
        batch.check(into.grid(), into.scale())?;
        let (grid, scale) = (*into.grid(), *into.scale());
        let slices: Vec<Slice<'_>> =
            (0..batch.rotations.len()).map(|i| Slice::new(batch, i, &grid)).collect();
        let row_ends = batch.row_ends(&grid);
        let (edge, _, width) = grid.dim();
        let plane = 3 * edge * width;
        let planes_per_slab = edge.div_ceil(SLABS_PER_THREAD * rayon::current_num_threads()).clamp(4, 32);
        into.data_mut().par_chunks_mut(plane * planes_per_slab).enumerate().for_each(|(index, data)| {
            let first = (index * planes_per_slab) as isize - grid.reach() as isize;
            let last = first + (data.len() / plane) as isize;
            let mut slab = Slab { first, last, data, grid: &grid, scale, row_ends: &row_ends };
            slices.iter().for_each(|slice| slab.add(slice));
        });
        Ok(())
    }

    fn collect(&self, accumulator: FixedGrid) -> Result<FixedGrid, InsertError> {
        Ok(accumulator)
    }
}

/// One image of a batch.
struct Slice<'a> {
    numerator: ndarray::ArrayView2<'a, Complex32>,
    weight: ndarray::ArrayView2<'a, f32>,
    /// [`PaddedGrid::slice_axes`].
    axes: [[f32; 3]; 3],
}

impl<'a> Slice<'a> {
    fn new(batch: &SliceBatch<'a>, image: usize, grid: &PaddedGrid) -> Self {
        Self {
            numerator: batch.numerator.index_axis_move(ndarray::Axis(0), image),
            weight: batch.weight.index_axis_move(ndarray::Axis(0), image),
            axes: grid.slice_axes(batch.rotations[image], batch.bend(image)),
        }
    }
}

/// Planes `first .. last` of kz, owned by one thread.
struct Slab<'a> {
    first: isize,
    last: isize,
    data: &'a mut [i64],
    grid: &'a PaddedGrid,
    scale: FixedPoint,
    row_ends: &'a [usize],
}

impl Slab<'_> {
    /// Adds what of a slice falls into the slab.
    fn add(&mut self, slice: &Slice<'_>) {
        let n = self.grid.n();
        for y in 0..n {
            let qy = signed_frequency(y, n);
            // of the pairs (0, ±qy) one is enough
            let first = usize::from(qy < 0);
            let Some(last) = self.row_ends[y].checked_sub(1).filter(|&last| last >= first) else { continue };
            let start = slice.axes[1].map(|a| a * qy as f32);
            // the bend moves a point along kz by no more than at the row's end
            let bend = slice.axes[2][2].abs() * (last * last + (qy * qy) as usize) as f32;
            let sections = self.sections(slice.axes[0], start, bend, first, last);
            for [low, high] in sections.into_iter().flatten() {
                self.add_row(slice, y, start, low, high);
            }
        }
    }

    /// The qx of a row whose neighbours in kz can touch the slab, `bend` grid steps off the plane or less: as `|kz|` may be
    /// that of the point or of its mate, up to two ranges (inclusive), generous by a pixel, disjoint.
    fn sections(
        &self,
        step: [f32; 3],
        start: [f32; 3],
        bend: f32,
        first: usize,
        last: usize,
    ) -> [Option<[usize; 2]>; 2] {
        // points with floor(kz) in first-1 .. last
        let (low, high) = ((self.first - 1) as f32 - bend, self.last as f32 + bend);
        let one = within(step[2], start[2], low, high, first, last);
        let two = within(step[2], start[2], -high, -low, first, last);
        match (one, two) {
            (Some(a), Some(b)) if a[0] <= b[1] && b[0] <= a[1] => {
                [Some([a[0].min(b[0]), a[1].max(b[1])]), None]
            }
            both => [both.0, both.1],
        }
    }

    fn add_row(&mut self, slice: &Slice<'_>, y: usize, start: [f32; 3], low: usize, high: usize) {
        let numerators = slice.numerator.row(y);
        let weights = slice.weight.row(y);
        let qy = signed_frequency(y, self.grid.n()) as f32;
        for x in low..=high {
            let qx = x as f32;
            let radius2 = qx * qx + qy * qy;
            let k = [0, 1, 2].map(|i| slice.axes[0][i] * qx + start[i] + slice.axes[2][i] * radius2);
            let (mut value, mut weight) = (numerators[x], weights[x]);
            if weight == 0.0 && value == Complex32::ZERO {
                continue;
            }
            if x == 0 && y == 0 {
                // its own mate: halved here, doubled when the plane kx = 0 is completed
                value *= 0.5;
                weight *= 0.5;
            }
            self.spread(k, value, weight);
        }
    }

    /// Spreads one coefficient over its neighbours within the slab.
    #[inline]
    fn spread(&mut self, k: [f32; 3], mut value: Complex32, weight: f32) {
        let mut k = k;
        if k[0] < 0.0 {
            k = k.map(|c| -c);
            value = value.conj();
        }
        let floor = k.map(f32::floor);
        let z0 = floor[2] as isize;
        if z0 < self.first - 1 || z0 >= self.last {
            return;
        }
        let [tx, ty, tz] = [k[0] - floor[0], k[1] - floor[1], k[2] - floor[2]];
        let steps = [
            value.re * self.scale.numerator_steps(),
            value.im * self.scale.numerator_steps(),
            weight * self.scale.weight_steps(),
        ];
        let (edge, width) = (2 * self.grid.reach() + 1, self.grid.reach() + 1);
        let y0 = (floor[1] as isize + self.grid.reach() as isize) as usize;
        let x0 = floor[0] as usize;
        for (z, wz) in [(z0, 1.0 - tz), (z0 + 1, tz)] {
            if z < self.first || z >= self.last {
                continue;
            }
            let plane = (z - self.first) as usize * edge;
            for (y, wy) in [(y0, 1.0 - ty), (y0 + 1, ty)] {
                let wzy = wz * wy;
                let weights = [wzy * (1.0 - tx), wzy * tx];
                let at = 3 * ((plane + y) * width + x0);
                let cells = &mut self.data[at..at + 6];
                for (i, cell) in cells.iter_mut().enumerate() {
                    *cell = cell.wrapping_add(rounded(steps[i % 3] * weights[i / 3]));
                }
            }
        }
    }
}

/// The whole numbers x of `first ..= last` for which `step · x + start` may lie in `low .. high`, generous by one.
fn within(step: f32, start: f32, low: f32, high: f32, first: usize, last: usize) -> Option<[usize; 2]> {
    let slack = 1e-2;
    let (low, high) = (low - slack, high + slack);
    let (mut from, mut to) = (first as f32, last as f32);
    if step.abs() < 1e-6 {
        // kz moves by less than the slack along the row
        if start < low || start > high {
            return None;
        }
    } else {
        let ends = [(low - start) / step, (high - start) / step];
        from = from.max(ends[0].min(ends[1]).floor());
        to = to.min(ends[0].max(ends[1]).ceil());
    }
    (from <= to).then_some([from as usize, to as usize])
}

/// The nearest integer, ties to even; `|value| < 2⁵¹`.
#[inline]
fn rounded(value: f32) -> i64 {
    (f64::from(value) + ROUNDER).to_bits() as i64 - ROUNDER.to_bits() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::insert::run(&Cpu));
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| parity::insert::checksum(&Cpu))
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        let values = [0.0, 0.5, 1.5, -0.5, -1.5, 2.4, -2.6, 1e14];
        let expected = [0, 0, 2, 0, -2, 2, -3, 100_000_000_376_832];
        assert_eq!(values.map(rounded), expected);
    }
}
