//! Sections of an MRC file inside a bzip2 file.

use super::stream::{Bzip2Stream, Threads};
use crate::error::FormatError;
use crate::image::{FrameSource, ImageHeader, check_packed_size, check_request};
use crate::mrc::{self, HEADER_BYTES, MrcHeader};
use std::path::Path;

/// A header that promises more than this times the length of the file is refused before anything is allocated: images
/// with counts are packed to a hundredth at best, and blank ones ([`SURELY_FITTING`] aside) are no movies.
const LARGEST_RATIO: u64 = 4096;
/// So many bytes may be promised by a file of any length.
const SURELY_FITTING: u64 = 16 << 20;

/// An open MRC file in bzip2.
#[derive(Debug)]
pub struct Bzip2MrcReader {
    stream: Bzip2Stream,
    header: MrcHeader,
    image: ImageHeader,
}

impl Bzip2MrcReader {
    /// Opens a file and decodes the header. How long the decompressed data are turns out when they are read.
    ///
    /// # Errors
    /// A file that cannot be read or is cut off, whose header makes no sense or promises absurdly much.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let stream = Bzip2Stream::open(path)?;
        let mut bytes = [0; HEADER_BYTES];
        stream.read(0, &mut bytes, "the MRC header", Threads::Caller)?;
        let header = MrcHeader::parse(&bytes, path)?;
        let [width, height, frames] = header.size;
        let promised = u128::from(header.section_bytes()) * frames as u128 + u128::from(header.data_offset());
        let limit = stream.packed_bytes().saturating_mul(LARGEST_RATIO).max(SURELY_FITTING);
        if promised > u128::from(limit) {
            let expected = format!("at most {limit}, what {} bytes of bzip2 may hold", stream.packed_bytes());
            return Err(FormatError::field(
                path,
                "length of the data by the MRC header, bytes",
                0,
                promised,
                expected,
            ));
        }
        let image = ImageHeader { width, height, frames, sample: header.sample, pixel_size_a: None };
        check_packed_size(path, &image, 0)?;
        let extended = |length| {
            let mut bytes = vec![0; length];
            stream.read(HEADER_BYTES as u64, &mut bytes, "the extended header", Threads::Caller).ok()?;
            Some(bytes)
        };
        let pixel_size_a = mrc::pixel_size_a(&header, extended);
        Ok(Self { stream, header, image: ImageHeader { pixel_size_a, ..image } })
    }

    /// The bytes of a frame, decompressed.
    fn raw_frame(&self, frame: usize, buffer: usize, threads: Threads) -> Result<Vec<u8>, FormatError> {
        check_request(self.path(), &self.image, frame, buffer)?;
        let mut raw = vec![0; self.header.section_bytes() as usize];
        let offset = self.header.data_offset() + frame as u64 * self.header.section_bytes();
        self.stream.read(offset, &mut raw, &format!("frame {frame}"), threads)?;
        Ok(raw)
    }

    fn read_frame(&self, frame: usize, out: &mut [f32], threads: Threads) -> Result<(), FormatError> {
        let raw = self.raw_frame(frame, out.len(), threads)?;
        mrc::decode_rows(&self.header, &raw, out);
        Ok(())
    }
}

impl FrameSource for Bzip2MrcReader {
    fn header(&self) -> &ImageHeader {
        &self.image
    }

    fn path(&self) -> &Path {
        self.stream.path()
    }

    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        self.read_frame(frame, out, Threads::Caller)
    }

    fn read_bytes_at(&self, frame: usize, out: &mut [u8]) -> Result<bool, FormatError> {
        if self.header.sample.bits() > 8 {
            return Ok(false);
        }
        let raw = self.raw_frame(frame, out.len(), Threads::Caller)?;
        Ok(mrc::decode_rows_to_bytes(&self.header, &raw, out))
    }

    fn read_frame_in_pool(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        self.read_frame(frame, out, Threads::Pool)
    }
}
