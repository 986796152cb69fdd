//! Reads sections of an MRC file, each on its own, from any number of threads.

use super::convert;
use super::header::{HEADER_BYTES, MrcHeader};
use crate::error::FormatError;
use crate::image::{FrameSource, ImageHeader, check_request};
use crate::samples::{ByteOrder, SampleType, decode, decode_bytes};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes read at a time when samples have to be converted: large for the disk, small for the cache.
const CHUNK_BYTES: usize = 1 << 20;

/// An open MRC file.
#[derive(Debug)]
pub struct MrcReader {
    path: PathBuf,
    file: File,
    header: MrcHeader,
    image: ImageHeader,
}

impl MrcReader {
    /// Opens a file and checks its header against its length.
    ///
    /// # Errors
    /// A file that cannot be read, whose header makes no sense, or that is shorter than its header says.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let io = |action| move |e| FormatError::io(path, action, e);
        let file = File::open(path).map_err(io("open"))?;
        let length = file.metadata().map_err(io("read"))?.len();
        if length < HEADER_BYTES as u64 {
            return Err(FormatError::truncated(path, "the MRC header", HEADER_BYTES as u64, length));
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
        let header = MrcHeader::parse(&bytes, path)?;
        let [width, height, frames] = header.size;
        let sections = u128::from(header.section_bytes()) * frames as u128;
        let expected = u128::from(header.data_offset()) + sections;
        if expected > u128::from(length) {
            let what = format!(
                "an MRC file of {width} × {height} × {frames} pixels of {} with {} bytes of extended header",
                header.sample.name(),
                header.extended_bytes
            );
            return Err(FormatError::truncated(
                path,
                what,
                u64::try_from(expected).unwrap_or(u64::MAX),
                length,
            ));
        }
        let extended = |length| {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, HEADER_BYTES as u64).ok()?;
            Some(bytes)
        };
        let pixel_size_a = pixel_size_a(&header, extended);
        let image = ImageHeader { width, height, frames, sample: header.sample, pixel_size_a };
        Ok(Self { path: path.into(), file, header, image })
    }

    /// The header in the words of MRC2014.
    pub fn mrc_header(&self) -> &MrcHeader {
        &self.header
    }

    /// Reads a frame some rows at a time and has `decode` fill these rows of `out`, for as long as it says `true`.
    fn each_band<T>(
        &self,
        frame: usize,
        out: &mut [T],
        decode: impl Fn(&[u8], &mut [T]) -> bool,
    ) -> Result<bool, FormatError> {
        let mut offset = self.header.data_offset() + frame as u64 * self.header.section_bytes();
        let row_bytes = self.header.sample.row_bytes(self.image.width);
        let rows = (CHUNK_BYTES / row_bytes).max(1);
        let mut raw = vec![0; row_bytes * rows.min(self.image.height)];
        for band in out.chunks_mut(rows * self.image.width) {
            let raw = &mut raw[..band.len() / self.image.width * row_bytes];
            self.read_exact(raw, offset)?;
            if !decode(raw, band) {
                return Ok(false);
            }
            offset += raw.len() as u64;
        }
        Ok(true)
    }

    fn read_exact(&self, bytes: &mut [u8], offset: u64) -> Result<(), FormatError> {
        self.file.read_exact_at(bytes, offset).map_err(|e| FormatError::io(&self.path, "read", e))
    }
}

/// Pixel size in Å: that of the main header, else that of the extended one, whose first bytes `extended` gives.
pub fn pixel_size_a(header: &MrcHeader, extended: impl FnOnce(usize) -> Option<Vec<u8>>) -> Option<f64> {
    let stated = convert::voxel_a(header).map(|voxel| voxel[0]);
    stated.or_else(|| {
        let head = extended(header.extended_bytes.min(convert::EXTENDED_HEAD_BYTES))?;
        convert::fei_pixel_size(header, &head)
    })
}

/// Converts whole stored rows of a section.
pub fn decode_rows(header: &MrcHeader, raw: &[u8], out: &mut [f32]) {
    let width = header.size[0];
    let row_bytes = header.sample.row_bytes(width);
    for (pixels, bytes) in out.chunks_exact_mut(width).zip(raw.chunks_exact(row_bytes)) {
        decode(header.sample, header.order, bytes, pixels);
    }
}

/// The same to bytes; `false` if a pixel cannot be one.
pub fn decode_rows_to_bytes(header: &MrcHeader, raw: &[u8], out: &mut [u8]) -> bool {
    let width = header.size[0];
    let row_bytes = header.sample.row_bytes(width);
    let mut rows = out.chunks_exact_mut(width).zip(raw.chunks_exact(row_bytes));
    rows.all(|(pixels, bytes)| decode_bytes(header.sample, bytes, pixels))
}

impl FrameSource for MrcReader {
    fn header(&self) -> &ImageHeader {
        &self.image
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        check_request(&self.path, &self.image, frame, out.len())?;
        if self.header.sample == SampleType::Float32 {
            let offset = self.header.data_offset() + frame as u64 * self.header.section_bytes();
            self.read_exact(bytemuck::cast_slice_mut(out), offset)?;
            to_native(self.header.order, out);
            return Ok(());
        }
        let decoded = self.each_band(frame, out, |raw, band| {
            decode_rows(&self.header, raw, band);
            true
        });
        decoded.map(|_| ())
    }

    fn read_bytes_at(&self, frame: usize, out: &mut [u8]) -> Result<bool, FormatError> {
        check_request(&self.path, &self.image, frame, out.len())?;
        if self.header.sample.bits() > 8 {
            return Ok(false);
        }
        self.each_band(frame, out, |raw, band| decode_rows_to_bytes(&self.header, raw, band))
    }
}

/// Values whose bytes were copied from disk → values.
fn to_native(order: ByteOrder, values: &mut [f32]) {
    let stored_natively = (order == ByteOrder::Little) == cfg!(target_endian = "little");
    if !stored_natively {
        values.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
    }
}
