//! EER: the movies of Falcon cameras, electron by electron.
//!
//! A TIFF container (classic or BigTIFF) with one raw frame a page. A raw frame is a list of runs of pixels without an
//! electron, each followed by where in its pixel the next electron hit. Raw frames are summed into frames (fractions) as
//! [`crate::EerOptions`] say, on the sensor's grid or one two or four times finer; only the packed bytes of one frame and
//! its electrons are ever held.
//!
//! Sources: T. Franken's layout as read by RELION 5 (`renderEER`), FEI's EER reader and imagecodecs.

mod convert;
mod electrons;
mod reader;

pub use reader::EerReader;

use crate::error::FormatError;
use crate::image::{FrameSource, ImageFormat, MovieOptions};
use std::path::Path;

/// The format, as [`crate::FORMATS`] lists it.
#[derive(Debug, Clone, Copy)]
pub struct Eer;

impl ImageFormat for Eer {
    fn name(&self) -> &'static str {
        "EER"
    }

    /// A TIFF whose first page is of one of the EER compressions.
    fn sniff(&self, head: &[u8], path: &Path) -> bool {
        crate::tiff::Tiff.sniff(head, path) && reader::begins_with_raw_frame(path)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FrameSource>, FormatError> {
        self.open_movie(path, &MovieOptions::default())
    }

    fn open_movie(&self, path: &Path, options: &MovieOptions) -> Result<Box<dyn FrameSource>, FormatError> {
        Ok(Box::new(EerReader::open(path, options.eer)?))
    }
}
