//! Transforms of boxes of which only the low frequencies are wanted: columns beyond them are never transformed.

use super::image::HalfImage;
use super::lanes::{GAP, LANES, RowForward, gather};
use super::plans;
use ndarray::{Array2, Axis, s};
use num_complex::Complex32;
use rustfft::{Fft, FftDirection};
use std::sync::Arc;

/// Transforms boxes of one size, with buffers kept between boxes.
pub struct CroppedForward {
    from: usize,
    to: usize,
    rows: RowForward,
    columns: Arc<dyn Fft<f32>>,
    /// Transformed rows, of which the first `to/2` coefficients are kept: `[from, to/2]`.
    kept: Array2<Complex32>,
    gathered: Vec<Complex32>,
    work: Vec<Complex32>,
}

impl CroppedForward {
    /// For boxes of `from` pixels of which as much is wanted as the transform of a box of `to` pixels and the same extent
    /// holds.
    ///
    /// # Panics
    /// When an edge is odd or 0, or `to` is larger than `from`.
    pub fn new(from: usize, to: usize) -> Self {
        assert!(to > 0 && to <= from && (from | to).is_multiple_of(2), "a box of {from} px cropped to {to}");
        let columns = plans::lanes(from, FftDirection::Forward);
        Self {
            from,
            to,
            rows: RowForward::new(from),
            kept: Array2::zeros((from, to / 2)),
            gathered: vec![Complex32::ZERO; LANES * (from + GAP)],
            work: vec![Complex32::ZERO; columns.get_inplace_scratch_len()],
            columns,
        }
    }

    /// The transform of the box whose row y is what `fill(y, row)` writes, phases from pixel (0, 0) of the large box, grey
    /// values unscaled. Coefficients at Nyquist's frequency of the small box in x or y are 0: each would be the sum of two,
    /// and cannot be shifted.
    ///
    /// # Panics
    /// When `out` is not a box of `to` pixels.
    pub fn transform(&mut self, mut fill: impl FnMut(usize, &mut [f32]), out: &mut HalfImage) {
        assert_eq!((out.ny(), out.nx()), (self.to, self.to), "the image should be of the small box");
        for (y, mut row) in self.kept.axis_iter_mut(Axis(0)).enumerate() {
            let kept = row.as_slice_mut().expect("rows of a new array should be contiguous");
            self.rows.transform(|pixels| fill(y, pixels), kept);
        }
        let (from, half) = (self.from, self.to / 2);
        let mut data = out.data_mut();
        data.row_mut(half).fill(Complex32::ZERO);
        data.column_mut(half).fill(Complex32::ZERO);
        for (chunk, columns) in self.kept.axis_chunks_iter(Axis(1), LANES).enumerate() {
            gather(columns, &mut self.gathered);
            let count = columns.ncols();
            for column in self.gathered.chunks_exact_mut(from + GAP).take(count) {
                self.columns.process_with_scratch(&mut column[..from], &mut self.work);
            }
            let mut target = data.slice_mut(s![.., chunk * LANES..chunk * LANES + count]);
            for y in (0..half).chain(half + 1..self.to) {
                let source = if y < half { y } else { y + from - self.to };
                for (value, column) in
                    target.row_mut(y).iter_mut().zip(self.gathered.chunks_exact(from + GAP))
                {
                    *value = column[source];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_frequencies_are_those_of_the_whole_transform() {
        for (from, to) in [(40, 40), (40, 24), (64, 10), (96, 90)] {
            let image =
                Array2::from_shape_fn((from, from), |(y, x)| ((7 * x + 13 * y * y) % 17) as f32 - 8.0);
            let whole = HalfImage::of(image.view());
            let mut out = HalfImage::zeros_box(to);
            let mut cropped = CroppedForward::new(from, to);
            // twice, so that nothing is left of the first
            for _ in 0..2 {
                cropped.transform(
                    |y, row| row.iter_mut().zip(image.row(y)).for_each(|(a, b)| *a = *b),
                    &mut out,
                );
            }
            for ((y, x), value) in out.data().indexed_iter() {
                let expected = if y == to / 2 || x == to / 2 {
                    Complex32::ZERO
                } else {
                    whole.data()[[if y < to / 2 { y } else { y + from - to }, x]]
                };
                assert!((value - expected).norm() < 1e-2, "{from} {to}: {y} {x}");
            }
        }
    }
}
