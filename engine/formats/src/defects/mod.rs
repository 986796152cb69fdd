//! Defects of a camera: pixels whose counts mean nothing.
//!
//! Either text, one box a line as MotionCor2 and RELION read it, `x y width height` in pixels from 0 (what follows `#` is
//! a remark), or an image (MRC or TIFF) of the frames' size whose non-zero pixels are defects. Rows are those of the
//! frames: row 0 the first row of an MRC file; an image is flipped or not like any other of its format.

use crate::error::FormatError;
use crate::image::open_image;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A longer text is no list of defects, bytes.
const MAX_TEXT_BYTES: u64 = 1 << 24;

/// The pixels of a frame that are defects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defects {
    /// Columns of the frames.
    pub width: usize,
    /// Rows of the frames.
    pub height: usize,
    /// Indices in a frame (`y · width + x`), rising, each once.
    pub indices: Vec<usize>,
}

/// A defect map that does not serve.
#[derive(Debug, thiserror::Error)]
pub enum DefectError {
    /// The file cannot be read.
    #[error("defect map: {0}")]
    Format(#[from] FormatError),
    /// A line is no box.
    #[error(
        "defect map {path}: line {line} is `{found}`, expected a box `x y width height` of whole numbers, pixels from 0",
        path = path.display()
    )]
    NotABox {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// A box reaches beyond the frames.
    #[error(
        "defect map {path}: the box of line {line} ends at column {right}, row {top}, the frames have {width} × {height} \
         pixels; was the map made for another camera, binning or orientation?", path = path.display()
    )]
    Outside {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column after the last of the box.
        right: u64,
        /// Row after the last of the box.
        top: u64,
        /// Columns of the frames.
        width: usize,
        /// Rows of the frames.
        height: usize,
    },
    /// The image has another size than the frames, or several images.
    #[error(
        "defect map {path}: it is {found_width} × {found_height} × {frames}, the frames are {width} × {height}; give one \
         image of their size", path = path.display()
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its columns.
        found_width: usize,
        /// Its rows.
        found_height: usize,
        /// Its images.
        frames: usize,
        /// Columns of the frames.
        width: usize,
        /// Rows of the frames.
        height: usize,
    },
    /// Nothing is left of the frame.
    #[error(
        "defect map {path}: all {pixels} pixels are defects; is it a map of good pixels, or a gain reference?",
        path = path.display()
    )]
    NothingLeft {
        /// The file.
        path: PathBuf,
        /// Pixels of a frame.
        pixels: usize,
    },
}

/// Reads the defects of frames of `width` × `height` pixels; a file named `.txt` is text, any other an image.
///
/// # Errors
/// A file that cannot be read, a line that is no box or lies outside, an image of another size, nothing but defects.
pub fn read_defects(path: &Path, width: usize, height: usize) -> Result<Defects, DefectError> {
    let is_text = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("txt"));
    let bad = if is_text {
        parse_boxes(path, &read_text(path)?, width, height)?
    } else {
        non_zero_pixels(path, width, height)?
    };
    let indices: Vec<usize> = bad.iter().enumerate().filter(|(_, bad)| **bad).map(|(i, _)| i).collect();
    if indices.len() == bad.len() {
        return Err(DefectError::NothingLeft { path: path.into(), pixels: bad.len() });
    }
    Ok(Defects { width, height, indices })
}

fn read_text(path: &Path) -> Result<String, FormatError> {
    let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| FormatError::io(path, "read", e))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        let found = format!("over {MAX_TEXT_BYTES} bytes");
        return Err(FormatError::field(path, "length of the text", 0, found, "a list of boxes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() as u64;
        FormatError::field(
            path,
            "text",
            at,
            "not UTF-8",
            "lines `x y width height`; name an image .mrc or .tif",
        )
    })
}

/// Which pixels of a frame lie in a box.
fn parse_boxes(path: &Path, text: &str, width: usize, height: usize) -> Result<Vec<bool>, DefectError> {
    let mut bad = vec![false; width * height];
    for (number, full) in text.lines().enumerate() {
        let line = number + 1;
        let content = full.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let numbers: Result<Vec<u32>, _> = content.split_whitespace().map(str::parse).collect();
        let Ok([x, y, columns, rows]) = numbers.as_deref() else {
            let found = content.chars().take(80).collect();
            return Err(DefectError::NotABox { path: path.into(), line, found });
        };
        let (right, top) = (u64::from(*x) + u64::from(*columns), u64::from(*y) + u64::from(*rows));
        if right > width as u64 || top > height as u64 {
            return Err(DefectError::Outside { path: path.into(), line, right, top, width, height });
        }
        for row in bad.chunks_exact_mut(width.max(1)).take(top as usize).skip(*y as usize) {
            row[*x as usize..right as usize].fill(true);
        }
    }
    Ok(bad)
}

/// Which pixels of an image are not zero; NaN is a defect, too.
fn non_zero_pixels(path: &Path, width: usize, height: usize) -> Result<Vec<bool>, DefectError> {
    let source = open_image(path)?;
    let header = source.header();
    if (header.width, header.height, header.frames) != (width, height, 1) {
        return Err(DefectError::WrongSize {
            path: path.into(),
            found_width: header.width,
            found_height: header.height,
            frames: header.frames,
            width,
            height,
        });
    }
    let mut values = vec![0.0; header.frame_len()];
    source.read_frame_in_pool(0, &mut values)?;
    Ok(values.iter().map(|&value| value != 0.0).collect())
}

#[cfg(test)]
mod tests;
