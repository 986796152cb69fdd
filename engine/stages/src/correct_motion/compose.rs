//! From the sums of warped frames to micrographs: the interpolation undone, the dose weights applied, the pixel size
//! changed; all in one pair of transforms per sum.

use super::dose_weights::DoseWeights;
use super::warp::{Sums, good_length};
use ndarray::{Array2, s};
use num_complex::Complex32;
use vitreous_compute::movie::kernel::Transfer;
use vitreous_model::conventions::signed_frequency;

/// The sums of a movie, `[height, width]`, in counts per pixel of the movie times frames.
pub struct Micrographs {
    /// Every frame counts alike.
    pub plain: Array2<f32>,
    /// Weighted by dose; `None` without dose weighting.
    pub weighted: Option<Array2<f32>>,
    /// Every odd frame alike, counted from 1 in the file; only if the sums have it as their last.
    pub odd: Option<Array2<f32>>,
}

/// Width and height after Fourier cropping by `binning`: the nearest even numbers, so that no Nyquist column is folded.
/// `binning` 1 leaves the size as it is.
pub fn output_size(width: usize, height: usize, binning: f64) -> (usize, usize) {
    let scaled =
        |n: usize| if binning == 1.0 { n } else { ((n as f64 / binning / 2.0).round() as usize * 2).max(2) };
    (scaled(width), scaled(height))
}

/// Width and height of the sums that [`compose`] likes best for frames of `width × height` pixels: good lengths for
/// transforms, where enlarging the frames to them does not change the pixel size of the output.
pub fn sum_size(width: usize, height: usize, binning: f64) -> [usize; 2] {
    let enlarged = |n: usize| match binning {
        1.0 => good_length(n, 1),
        whole if whole.fract() == 0.0 && n.is_multiple_of(2 * whole as usize) => {
            good_length(n, 2 * whole as usize)
        }
        _ => n,
    };
    [enlarged(width), enlarged(height)]
}

/// Combines the sums: the terms of the weights, and maybe that of the odd frames. `pixel_size_a` is that of the movie.
pub fn compose(sums: Sums, weights: &DoseWeights, pixel_size_a: f64, binning: f64) -> Micrographs {
    let (out_width, out_height) = output_size(sums.width, sums.height, binning);
    let (width, height) = (sums.stack.nx(), sums.stack.ny());
    let target = output_size(width, height, binning);
    let undo = Undo::new(width, height);
    let (terms, has_odd) = (weights.terms(), sums.stack.images() > weights.terms());
    let is_weighted = terms > 1;
    let outputs = 1 + usize::from(is_weighted) + usize::from(has_odd);
    let squared =
        |index: usize, n: usize| (signed_frequency(index, n) as f64 / (n as f64 * pixel_size_a)).powi(2);
    let v2: Vec<f32> = (0..height).map(|y| squared(y, height) as f32).collect();
    let images = sums.stack.mixed(outputs, (target.1, target.0), |x, from, to| {
        let (u2, along_x) = (squared(x, width) as f32, undo.along_x[x]);
        let undone = |y: usize| along_x * undo.along_y[y];
        (0..height).for_each(|y| to[0][y] = from[0][y] * undone(y));
        if has_odd {
            (0..height).for_each(|y| to[outputs - 1][y] = from[terms][y] * undone(y));
        }
        if is_weighted {
            for y in 0..=height / 2 {
                // two frequencies of the same length
                let mate = (height - y) % height;
                let (mut sum, mut sum_of_mate) = (Complex32::ZERO, Complex32::ZERO);
                for (term, factor) in from.iter().zip(weights.factors((u2 + v2[y]).sqrt())) {
                    sum += term[y] * factor;
                    sum_of_mate += term[mate] * factor;
                }
                to[1][mate] = sum_of_mate * undone(mate);
                to[1][y] = sum * undone(y);
            }
        }
    });
    let mut images = images.into_iter().map(|image| match image.dim() == (out_height, out_width) {
        true => image,
        false => image.slice(s![..out_height, ..out_width]).to_owned(),
    });
    let plain = images.next().unwrap_or_else(|| Array2::zeros((out_height, out_width)));
    let weighted = if is_weighted { images.next() } else { None };
    Micrographs { plain, weighted, odd: images.next() }
}

/// Division by the transfer function of the interpolation.
struct Undo {
    along_x: Vec<f32>,
    along_y: Vec<f32>,
}

impl Undo {
    fn new(width: usize, height: usize) -> Self {
        let transfer = Transfer::default();
        let of = |n: usize, count: usize| -> Vec<f32> {
            (0..count).map(|i| (1.0 / transfer.at(signed_frequency(i, n) as f64 / n as f64)) as f32).collect()
        };
        Self { along_x: of(width, width / 2 + 1), along_y: of(height, height) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_enlarged_only_where_the_pixel_size_stays() {
        assert_eq!(sum_size(5760, 4092, 1.0), [5760, 4096]);
        assert_eq!(sum_size(11520, 8184, 2.0), [11520, 8192]);
        assert_eq!(sum_size(3838, 3710, 2.0), [3838, 3710]);
        assert_eq!(sum_size(5760, 4092, 1.5), [5760, 4092]);
        // so that what is left of the output is as large as without
        for (n, binning) in [(4092, 2.0), (8184, 2.0), (4092, 1.0), (8184, 4.0)] {
            let [enlarged, _] = sum_size(n, n, binning);
            let (out, _) = output_size(n, n, binning);
            let (larger, _) = output_size(enlarged, enlarged, binning);
            assert!(larger >= out && larger as f64 * binning == enlarged as f64, "{n} {binning}");
        }
    }
}
