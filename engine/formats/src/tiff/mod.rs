//! TIFF movies and images: one frame a page, grey, 8 or 16 bit integers (or two of 4 bits a byte) or floats; classic and
//! BigTIFF.
//!
//! Directories are parsed here, linearly and safe against loops (a movie may have tens of thousands); strips and tiles
//! are decoded each on its own, on the calling thread or on the rayon pool. LZW is decoded here (`lzw.rs`) and encoded by
//! weezl; deflate goes through flate2, zstd through libzstd. The first row of a TIFF is the top of the picture, the first
//! of an MRC file the bottom: rows are flipped on reading and writing (`convert.rs`).
//!
//! Layout: Adobe, "TIFF Revision 6.0" (1992), and its Technical Notes for deflate and the floating-point predictor;
//! BigTIFF as in libtiff.

mod compression;
mod convert;
pub(crate) mod directory;
mod lzw;
mod page;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use compression::Compression;
pub use reader::TiffReader;
pub use writer::{TiffSpec, TiffWriter};

use crate::error::FormatError;
use crate::image::{FrameSource, ImageFormat};
use std::path::Path;

/// The format, as [`crate::FORMATS`] lists it.
#[derive(Debug, Clone, Copy)]
pub struct Tiff;

impl ImageFormat for Tiff {
    fn name(&self) -> &'static str {
        "TIFF"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        matches!(head.get(..4), Some(b"II*\0" | b"MM\0*" | b"II+\0" | b"MM\0+"))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FrameSource>, FormatError> {
        Ok(Box::new(TiffReader::open(path)?))
    }
}
