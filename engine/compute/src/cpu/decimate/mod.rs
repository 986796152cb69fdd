//! CPU twin of [`crate::ops::decimate`]: one frame on the calling thread, row by row, so that only as many rows are held as the
//! filter is high.

mod simd;

use crate::device::Cpu;
use crate::movie::detector::Detector;
use crate::movie::frame::RawFrame;
use crate::ops::decimate::{Decimate, DecimationFilter};
use ndarray::Array2;

impl Decimate for Cpu {
    type Decimator = (Detector, DecimationFilter);

    fn decimator(&self, detector: &Detector, block: usize) -> Self::Decimator {
        (detector.clone(), DecimationFilter::new(block))
    }

    fn decimate(&self, (detector, filter): &Self::Decimator, frame: &RawFrame) -> Array2<f32> {
        let fill = |y: usize, row: &mut [f32]| detector.gain_corrected_row(frame, y, row);
        apply(filter, (detector.width, detector.height), fill)
    }
}

/// The small copy of an image whose rows `fill(y, row)` writes one by one, in order. Beyond its edges the image is
/// continued with its outermost pixels.
fn apply(
    filter: &DecimationFilter,
    (width, height): (usize, usize),
    mut fill: impl FnMut(usize, &mut [f32]),
) -> Array2<f32> {
    let (rows, columns) = filter.shape(width, height);
    let (block, taps, first) = (filter.block(), filter.taps(), filter.first());
    let mut out = Array2::zeros((rows, columns));
    if out.is_empty() {
        return out;
    }
    let count = taps.len();
    let last = first + count as isize - 1;
    // the last rows of the image, as many as the filter is high
    let mut recent = vec![0.0f32; count * width];
    let mut starts = vec![0; count];
    let before = first.min(0).unsigned_abs();
    let after = (last.max(0) as usize).max(block);
    let mut padded = vec![0.0f32; before + width + after];
    let mut finished = 0;
    for y in 0..height {
        fill(y, &mut recent[y % count * width..][..width]);
        while finished < rows && (y as isize >= (finished * block) as isize + last || y + 1 == height) {
            for (tap, start) in starts.iter_mut().enumerate() {
                // an outermost row stands for those beyond it as well
                let at = (finished * block) as isize + first + tap as isize;
                *start = at.clamp(0, height as isize - 1) as usize % count * width;
            }
            simd::combine_rows(&recent, &starts, taps, &mut padded[before..before + width]);
            let (left, right) = (padded[before], padded[before + width - 1]);
            padded[..before].fill(left);
            padded[before + width..].fill(right);
            let start = (before as isize + first) as usize;
            let target = out.row_mut(finished);
            let target = target.into_slice().expect("rows of a new array should be contiguous");
            simd::decimate_row(&padded[start..], taps, block, target);
            finished += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::decimate::USABLE;
    use crate::parity;
    use std::f64::consts::TAU;

    fn decimated(
        block: usize,
        width: usize,
        height: usize,
        image: impl Fn(usize, usize) -> f32,
    ) -> Array2<f32> {
        let fill = |y: usize, row: &mut [f32]| row.iter_mut().enumerate().for_each(|(x, v)| *v = image(x, y));
        apply(&DecimationFilter::new(block), (width, height), fill)
    }

    #[test]
    fn a_constant_stays_and_a_ramp_keeps_its_place() {
        for block in [1, 2, 3, 4, 5, 7] {
            let flat = decimated(block, 43, 30, |_, _| 3.0);
            assert_eq!(flat.dim(), (30 / block, 43 / block));
            assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-4), "{block}");
            let ramp = decimated(block, 80, 80, |x, y| x as f32 + 10.0 * y as f32);
            let middle = 40 / block;
            let centre = middle as f32 * block as f32 + (block as f32 - 1.0) / 2.0;
            assert!(
                (ramp[[middle, middle]] - 11.0 * centre).abs() < 1e-2,
                "{block}: {}",
                ramp[[middle, middle]]
            );
        }
    }

    #[test]
    fn waves_beyond_the_new_nyquist_are_suppressed() {
        let block = 4;
        // frequency f folds down to 1 - f (cycles per small pixel)
        for (folded, bound) in [(0.1, 0.003), (0.35, 0.03), (USABLE, 0.12)] {
            let amplitude = |f: f64| {
                let image =
                    decimated(block, 400, 64, |x, _| (TAU * f * x as f64 / block as f64).cos() as f32);
                image.row(8).iter().skip(10).take(80).fold(0.0f32, |a, v| a.max(v.abs()))
            };
            let ratio = amplitude(1.0 - folded) / amplitude(folded);
            assert!(ratio <= bound, "{folded}: {ratio}");
        }
    }

    #[test]
    fn a_single_pixel_can_be_taken_out_again() {
        let (x0, y0) = (33, 18);
        let mut small = decimated(4, 80, 60, |x, y| if (x, y) == (x0, y0) { 100.0 } else { 0.0 });
        assert!(small.iter().any(|v| *v > 1.0));
        DecimationFilter::new(4).add_pixel(&mut small, (x0, y0), -100.0);
        assert!(small.iter().all(|v| v.abs() < 1e-4));
    }

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::decimate::run(&Cpu));
    }
}
