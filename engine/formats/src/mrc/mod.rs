//! MRC2014: single images, stacks of images (`.mrcs`, movies) and volumes.
//!
//! Reading is lenient where real files depart from the standard (no `MAP `, ISPG or NVERSION 0, a cell edge of 0,
//! foreign axis order, missing machine stamp); writing is strict, so that `mrcfile.validate` has nothing to say.
//! Whether sections are images or a volume is the caller's knowledge: programs disagree on ISPG.
//!
//! Layout: CCP-EM, "MRC2014 file format" (Cheng et al., J. Struct. Biol. 192, 146, 2015).

mod convert;
mod header;
mod reader;
mod volume;
mod writer;

#[cfg(test)]
mod tests;

pub use header::MrcHeader;
pub(crate) use header::{HEADER_BYTES, unpacker};
pub use reader::MrcReader;
pub(crate) use reader::{decode_rows, decode_rows_to_bytes, pixel_size_a};
pub use volume::{Volume, read_volume, write_volume, write_volume_to};
pub use writer::{MrcKind, MrcSpec, MrcWriter};

use crate::error::FormatError;
use crate::image::{FrameSource, ImageFormat};
use std::path::Path;

/// The format, as [`crate::FORMATS`] lists it.
#[derive(Debug, Clone, Copy)]
pub struct Mrc;

impl ImageFormat for Mrc {
    fn name(&self) -> &'static str {
        "MRC"
    }

    fn sniff(&self, head: &[u8], path: &Path) -> bool {
        let named = path.extension().is_some_and(|ext| {
            ["mrc", "mrcs", "map", "ccp4", "rec", "st"].iter().any(|known| ext.eq_ignore_ascii_case(known))
        });
        named || head.get(208..212) == Some(b"MAP ") || header::looks_plausible(head)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FrameSource>, FormatError> {
        Ok(Box::new(MrcReader::open(path)?))
    }
}
