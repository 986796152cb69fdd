//! MRC movies compressed with bzip2 (`.mrc.bz2`).
//!
//! bzip2 compresses blocks of up to 900 kB on their own, back to back, aligned to bits and not to bytes. They are found by
//! the 48 bits each begins with (`blocks.rs`), and decoded in parallel where they lie (`block.rs`), at twice the speed of
//! libbz2 or more. Those 48 bits may occur inside a block by chance; such a piece does not decode, and is joined with the
//! next. How long a block is when decoded is known only after decoding, so an index of blocks grows as frames
//! are read (`stream.rs`): going through a movie decodes it once, going back decodes the blocks of one frame.
//!
//! Files of several streams (pbzip2, lbzip2, `cat`) are read as one, as `bzip2 -d` does.
//!
//! Layout: J. Tsai, "BZIP2: format specification" (2016).

mod block;
mod blocks;
mod huffman;
mod reader;
mod stream;

#[cfg(test)]
mod tests;

pub use reader::Bzip2MrcReader;

use crate::error::FormatError;
use crate::image::{FrameSource, ImageFormat};
use std::path::Path;

/// The format, as [`crate::FORMATS`] lists it.
#[derive(Debug, Clone, Copy)]
pub struct Bzip2Mrc;

impl ImageFormat for Bzip2Mrc {
    fn name(&self) -> &'static str {
        "MRC in bzip2"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        matches!(head, [b'B', b'Z', b'h', b'1'..=b'9', ..])
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FrameSource>, FormatError> {
        Ok(Box::new(Bzip2MrcReader::open(path)?))
    }
}
