//! Gain references: one factor per pixel of the camera, to be multiplied with every frame.
//!
//! The file is MRC or TIFF, read with the row rules of its format (a TIFF is flipped like the TIFF movies it belongs
//! to). It is first turned counter-clockwise by quarter turns, as seen with row 0 at the bottom, then mirrored.
//! Pixels whose factor is zero, negative, NaN or infinite are defects (the way cameras mark them). Gains of EER movies
//! have other rules ([`eer`]); which way round a gain belongs is found by [`orientation`].

pub mod eer;
pub mod orientation;

pub use eer::{check_eer_gain, read_eer_gain};
pub use orientation::{GainUse, OrientationScore, OrientationScores, Verdict, score_orientations};

use crate::error::FormatError;
use crate::image::open_image;
use ndarray::{Array2, Axis};
use std::path::{Path, PathBuf};
use vitreous_model::exposure::GainFlip;

/// A gain reference brought onto the frames of a movie.
#[derive(Debug, Clone, PartialEq)]
pub struct Gain {
    /// Factor of each pixel, shape `[height, width]`, x fastest, row 0 as in the frames; 0 at defects.
    pub factor: Array2<f32>,
    /// Indices of defects in the frame (`y · width + x`), rising.
    pub defects: Vec<usize>,
}

/// A gain reference that does not serve.
#[derive(Debug, thiserror::Error)]
pub enum GainError {
    /// The file cannot be read.
    #[error("gain reference: {0}")]
    Format(#[from] FormatError),
    /// Not a single image.
    #[error("gain reference {path}: it has {frames} images, expected 1", path = path.display())]
    NotOneImage {
        /// The file.
        path: PathBuf,
        /// Images in it.
        frames: usize,
    },
    /// Another size than the frames.
    #[error(
        "gain reference {path}: it is {found_width} × {found_height} after {turns} quarter turn(s), the frames are \
         {width} × {height}; {hint}", path = path.display()
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Columns after the turns.
        found_width: usize,
        /// Rows after the turns.
        found_height: usize,
        /// Quarter turns asked for.
        turns: u32,
        /// Columns of the frames.
        width: usize,
        /// Rows of the frames.
        height: usize,
        /// What to do.
        hint: &'static str,
    },
    /// Every pixel is a defect.
    #[error(
        "gain reference {path}: no pixel is a positive number; is it a dark reference or a defect map?",
        path = path.display()
    )]
    NothingPositive {
        /// The file.
        path: PathBuf,
    },
}

/// Columns and rows of the gain of `path` after `turns` quarter turns, from its header alone.
///
/// # Errors
/// A file that cannot be read or is not a single image.
pub fn gain_size(path: &Path, turns: u32) -> Result<(usize, usize), GainError> {
    let source = open_image(path)?;
    let header = source.header();
    if header.frames != 1 {
        return Err(GainError::NotOneImage { path: path.into(), frames: header.frames });
    }
    let size = (header.width, header.height);
    Ok(if turns % 2 == 1 { (size.1, size.0) } else { size })
}

/// Refuses a gain that is not of the size of the frames, from its header alone.
///
/// # Errors
/// A file that cannot be read, is not a single image, or is of another size.
pub fn check_gain(path: &Path, turns: u32, width: usize, height: usize) -> Result<(), GainError> {
    let size = gain_size(path, turns)?;
    if size == (width, height) {
        return Ok(());
    }
    Err(wrong_size(path, size, turns, (width, height)))
}

/// The error for a gain whose columns and rows after `turns` quarter turns are `found`, not those of the frames.
fn wrong_size(path: &Path, found: (usize, usize), turns: u32, frames: (usize, usize)) -> GainError {
    let ((found_width, found_height), (width, height)) = (found, frames);
    let hint = if (found_height, found_width) == (width, height) {
        "turned by a quarter it would fit: set gain_rotate to 1 or 3 more quarter turns"
    } else if found_width * height == found_height * width {
        "the shapes agree but not the sizes: is one of them super-resolution or binned?"
    } else {
        "give the gain reference of this camera and mode"
    };
    GainError::WrongSize { path: path.into(), found_width, found_height, turns, width, height, hint }
}

/// Reads the gain of `path` and brings it onto frames of `width` × `height`: `turns` quarter turns counter-clockwise,
/// then the mirror.
///
/// # Errors
/// A file that cannot be read, is not a single image, is of another size, or has no positive pixel.
pub fn read_gain(
    path: &Path,
    turns: u32,
    flip: GainFlip,
    width: usize,
    height: usize,
) -> Result<Gain, GainError> {
    check_gain(path, turns, width, height)?;
    gain_from_factors(path, orient(read_values(path)?, turns, flip))
}

/// The values of a gain as stored, shape `[height, width]`.
fn read_values(path: &Path) -> Result<Array2<f32>, GainError> {
    let source = open_image(path)?;
    let header = source.header();
    if header.frames != 1 {
        return Err(GainError::NotOneImage { path: path.into(), frames: header.frames });
    }
    let mut values = vec![0.0; header.frame_len()];
    source.read_frame_in_pool(0, &mut values)?;
    Ok(Array2::from_shape_vec((header.height, header.width), values)
        .expect("the buffer should have the header's size"))
}

/// Finds the defects and sets their factor to 0.
fn gain_from_factors(path: &Path, mut factor: Array2<f32>) -> Result<Gain, GainError> {
    let mut defects = Vec::new();
    for (index, value) in factor.iter_mut().enumerate() {
        if !(value.is_finite() && *value > 0.0) {
            *value = 0.0;
            defects.push(index);
        }
    }
    if defects.len() == factor.len() {
        return Err(GainError::NothingPositive { path: path.into() });
    }
    Ok(Gain { factor, defects })
}

/// Turns an image of shape `[height, width]` counter-clockwise by quarter turns, as seen with row 0 at the bottom, then
/// mirrors it. The result is in standard layout.
pub fn orient(image: Array2<f32>, turns: u32, flip: GainFlip) -> Array2<f32> {
    let mut view = image.view();
    for _ in 0..turns % 4 {
        // (x, y) ↦ (height - 1 - y, x): rows become columns, the bottom row the rightmost column
        view.swap_axes(0, 1);
        view.invert_axis(Axis(1));
    }
    match flip {
        GainFlip::None => {}
        GainFlip::X => view.invert_axis(Axis(1)),
        GainFlip::Y => view.invert_axis(Axis(0)),
    }
    view.as_standard_layout().into_owned()
}

#[cfg(test)]
mod tests;
