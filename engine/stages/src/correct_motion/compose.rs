//! From the sums of warped frames to micrographs: the interpolation undone, the dose weights applied, the pixel size
//! changed; all in one pair of transforms per sum.

use super::dose_weights::DoseWeights;
use super::kernel::Transfer;
use super::warp::Sums;
use ndarray::{Array2, Axis};
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_compute::fourier::HalfImage;
use vitreous_model::conventions::signed_frequency;

/// The two sums of a movie, `[height, width]`, in counts per pixel of the movie times frames.
pub struct Micrographs {
    /// Every frame counts alike.
    pub plain: Array2<f32>,
    /// Weighted by dose; `None` without dose weighting.
    pub weighted: Option<Array2<f32>>,
}

/// Width and height after Fourier cropping by `binning`: the nearest even numbers, so that no Nyquist column is folded.
/// `binning` 1 leaves the size as it is.
pub fn output_size(width: usize, height: usize, binning: f64) -> (usize, usize) {
    let scaled =
        |n: usize| if binning == 1.0 { n } else { ((n as f64 / binning / 2.0).round() as usize * 2).max(2) };
    (scaled(width), scaled(height))
}

/// Combines the sums. `pixel_size_a` is that of the movie.
pub fn compose(sums: &Sums, weights: &DoseWeights, pixel_size_a: f64, binning: f64) -> Micrographs {
    let (height, width) = sums.term(0).dim();
    let (out_width, out_height) = output_size(width, height, binning);
    let undo = Undo::new(width, height);
    let finish = |spectrum: HalfImage| {
        let same = (out_width, out_height) == (width, height);
        if same { spectrum.into_pixels() } else { spectrum.resized(out_height, out_width).into_pixels() }
    };
    let mut plain = HalfImage::of(sums.term(0));
    if sums.terms() == 1 {
        undo.apply(&mut plain);
        return Micrographs { plain: finish(plain), weighted: None };
    }
    let mut weighted = HalfImage::zeros(height, width);
    add_term(&mut weighted, &plain, 0, weights, pixel_size_a);
    undo.apply(&mut plain);
    let plain = finish(plain);
    for term in 1..sums.terms() {
        add_term(&mut weighted, &HalfImage::of(sums.term(term)), term, weights, pixel_size_a);
    }
    undo.apply(&mut weighted);
    Micrographs { plain, weighted: Some(finish(weighted)) }
}

/// Adds a term's spectrum times its factor at every frequency.
fn add_term(total: &mut HalfImage, term: &HalfImage, index: usize, weights: &DoseWeights, pixel_size_a: f64) {
    let (ny, nx) = (total.ny(), total.nx());
    let curve = weights.curve(index);
    let along_x: Vec<f32> =
        (0..nx / 2 + 1).map(|x| (x as f64 / (nx as f64 * pixel_size_a)).powi(2) as f32).collect();
    let source = term.data();
    let mut data = total.data_mut();
    data.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(row, mut out)| {
        let v2 = (signed_frequency(row, ny) as f64 / (ny as f64 * pixel_size_a)).powi(2) as f32;
        for ((value, from), u2) in out.iter_mut().zip(source.row(row)).zip(&along_x) {
            *value += from * curve.at((u2 + v2).sqrt());
        }
    });
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

    fn apply(&self, spectrum: &mut HalfImage) {
        let mut data = spectrum.data_mut();
        data.axis_iter_mut(Axis(0)).into_par_iter().zip(&self.along_y).for_each(|(mut row, y)| {
            row.iter_mut().zip(&self.along_x).for_each(|(value, x)| *value *= Complex32::from(x * y));
        });
    }
}
