//! Gain references of EER movies, which have rules of their own.
//!
//! | theirs | ours | source |
//! |---|---|---|
//! | any file but `.gain`: frames are divided by it, 0 is a defect | factor = mean of the good pixels / value | RELION |
//! | `.gain`, a TIFF: frames are multiplied by it | the factor | RELION |
//! | row 0 of a `.gain` | row 0: not flipped, as EER is not | RELION |
//! | on the sensor's grid, frames upsampled | each pixel stands for 2 × 2 or 4 × 4 | RELION |
//! | finer than the frames | divisors are summed, factors averaged | RELION sums 2 × 2 |

use super::{Gain, GainError, gain_from_factors, gain_size, orient, read_values, wrong_size};
use ndarray::{Array2, Axis};
use std::path::Path;
use vitreous_model::exposure::GainFlip;

/// Ratios of the edges of frames and gains that occur: upsampling 2 and 4.
const RATIOS: [usize; 3] = [1, 2, 4];

/// How the grid of a gain goes onto that of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// A pixel of the gain is so many of the frames along an edge.
    Replicate(usize),
    /// So many pixels of the gain along an edge are one of the frames.
    Gather(usize),
}

fn scale(gain: (usize, usize), frames: (usize, usize)) -> Option<Scale> {
    let times = |a: (usize, usize), ratio| (a.0 * ratio, a.1 * ratio);
    let replicate = RATIOS.into_iter().find(|&ratio| times(gain, ratio) == frames).map(Scale::Replicate);
    replicate.or_else(|| RATIOS.into_iter().find(|&ratio| times(frames, ratio) == gain).map(Scale::Gather))
}

fn is_factor(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("gain"))
}

/// Refuses a gain that cannot be brought onto frames of `width` × `height` of an EER movie, from its header alone.
///
/// # Errors
/// A file that cannot be read, is not a single image, or is of no size that fits.
pub fn check_eer_gain(path: &Path, turns: u32, width: usize, height: usize) -> Result<(), GainError> {
    let size = gain_size(path, turns)?;
    match scale(size, (width, height)) {
        Some(_) => Ok(()),
        None => Err(wrong_size(path, size, turns, (width, height))),
    }
}

/// Reads the gain of `path` for frames of `width` × `height` of an EER movie (upsampled as these are): what is stored is
/// made a factor, turned counter-clockwise by `turns` quarters, mirrored, and brought onto their grid.
///
/// # Errors
/// A file that cannot be read, is not a single image, is of no size that fits, or has no positive pixel.
pub fn read_eer_gain(
    path: &Path,
    turns: u32,
    flip: GainFlip,
    width: usize,
    height: usize,
) -> Result<Gain, GainError> {
    check_eer_gain(path, turns, width, height)?;
    let mut stored = read_values(path)?;
    if is_factor(path) {
        // the reader took the first row of this TIFF for the top of the picture
        stored.invert_axis(Axis(0));
    }
    let stored = orient(stored, turns, flip).mapv(|v| if v.is_finite() && v > 0.0 { v } else { 0.0 });
    let scale = scale((stored.ncols(), stored.nrows()), (width, height));
    let values = match scale {
        Some(Scale::Gather(ratio)) => gather(&stored, ratio, is_factor(path)),
        Some(Scale::Replicate(_)) | None => stored,
    };
    let factor = if is_factor(path) { values } else { inverse(values) };
    let factor = match scale {
        Some(Scale::Replicate(ratio)) if ratio > 1 => {
            Array2::from_shape_fn((height, width), |(y, x)| factor[[y / ratio, x / ratio]])
        }
        _ => factor,
    };
    gain_from_factors(path, factor)
}

/// Sums (of divisors) or means of the good (of factors) over squares of `ratio` pixels an edge; 0 where none is good.
fn gather(stored: &Array2<f32>, ratio: usize, mean: bool) -> Array2<f32> {
    let (height, width) = (stored.nrows() / ratio, stored.ncols() / ratio);
    Array2::from_shape_fn((height, width), |(y, x)| {
        let square = stored.slice(ndarray::s![y * ratio..(y + 1) * ratio, x * ratio..(x + 1) * ratio]);
        let good = square.iter().filter(|v| **v > 0.0).count().max(1);
        square.sum() / if mean { good as f32 } else { 1.0 }
    })
}

/// Mean of the good pixels divided by each; 0 stays 0.
fn inverse(values: Array2<f32>) -> Array2<f32> {
    let good = values.iter().filter(|v| **v > 0.0).count().max(1);
    let total: f64 = values.iter().map(|v| f64::from(*v)).sum();
    let mean = total / good as f64;
    values.mapv(|v| if v > 0.0 { (mean / f64::from(v)) as f32 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrc::{MrcSpec, MrcWriter};
    use crate::samples::SampleType;
    use crate::tiff::{TiffSpec, TiffWriter};
    use std::path::PathBuf;

    fn files(values: &[f32], width: usize, height: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (mrc, tiff) = (folder.path().join("g.mrc"), folder.path().join("g.gain"));
        let mut writer = MrcWriter::create(&mrc, MrcSpec::images(width, height, 1.0)).unwrap();
        writer.append(values).unwrap();
        writer.finish().unwrap();
        let mut writer =
            TiffWriter::create(&tiff, TiffSpec::movie(width, height, 1, SampleType::Float32, 1.0)).unwrap();
        writer.append(values).unwrap();
        writer.finish().unwrap();
        (folder, mrc, tiff)
    }

    #[test]
    fn an_mrc_divides_and_its_mean_is_kept() {
        let (_folder, mrc, _) = files(&[1.0, 2.0, 0.0, 6.0], 2, 2);
        let gain = read_eer_gain(&mrc, 0, GainFlip::None, 2, 2).unwrap();
        assert_eq!(gain.factor, ndarray::array![[3.0, 1.5], [0.0, 0.5]]);
        assert_eq!(gain.defects, [2]);
    }

    #[test]
    fn a_gain_multiplies_and_is_not_flipped() {
        let (_folder, _, tiff) = files(&[1.0, 2.0, 0.0, 6.0], 2, 2);
        let gain = read_eer_gain(&tiff, 0, GainFlip::None, 2, 2).unwrap();
        // the writer put the row of 0 and 6 first, for TIFF begins at the top
        assert_eq!(gain.factor, ndarray::array![[0.0, 6.0], [1.0, 2.0]]);
        assert_eq!(gain.defects, [0]);
    }

    #[test]
    fn grids_are_matched() {
        let (_folder, mrc, tiff) = files(&[1.0, 2.0, 0.0, 6.0], 2, 2);
        for ratio in [2, 4] {
            let coarse = read_eer_gain(&mrc, 1, GainFlip::Y, 2, 2).unwrap();
            let fine = read_eer_gain(&mrc, 1, GainFlip::Y, 2 * ratio, 2 * ratio).unwrap();
            for ((y, x), value) in fine.factor.indexed_iter() {
                assert_eq!(*value, coarse.factor[[y / ratio, x / ratio]]);
            }
            assert_eq!(fine.defects.len(), ratio * ratio);
        }
        let error = read_eer_gain(&mrc, 0, GainFlip::None, 6, 6).unwrap_err();
        assert!(matches!(error, GainError::WrongSize { .. }), "{error}");
        assert_eq!(read_eer_gain(&tiff, 0, GainFlip::None, 1, 1).unwrap().factor, ndarray::array![[3.0]]);

        let values: Vec<f32> = (0..16).map(|i| if i < 8 { 1.0 } else { 3.0 }).collect();
        let (_folder, mrc, tiff) = files(&values, 4, 4);
        let halved = read_eer_gain(&mrc, 0, GainFlip::None, 2, 2).unwrap();
        assert_eq!(halved.factor.row(0).to_vec(), [2.0, 2.0]);
        assert!((halved.factor[[1, 0]] - 8.0 / 12.0).abs() < 1e-6);
        let halved = read_eer_gain(&tiff, 0, GainFlip::None, 2, 2).unwrap();
        assert_eq!(halved.factor, ndarray::array![[3.0, 3.0], [1.0, 1.0]]);
    }
}
