//! Reads frames of a TIFF, each on its own, from any number of threads.

use super::compression::Decompressor;
use super::directory::Container;
use super::page::{Extents, Page};
use crate::error::FormatError;
use crate::image::{FrameSource, ImageHeader, check_packed_size, check_request};
use crate::samples::{ByteOrder, SampleType, decode, decode_bytes};
use rayon::prelude::*;
use std::path::Path;

/// Unpacked bytes a thread decodes at least before it looks for more work.
const BAND_BYTES: usize = 1 << 16;

/// More bytes no compression needs for itself, whatever the length of the data.
const LONGEST_HEAD: usize = 1024;

/// An open TIFF file.
#[derive(Debug)]
pub struct TiffReader {
    file: Container,
    image: ImageHeader,
    /// Where the directory of each frame starts, and which page of the file it is.
    frames: Vec<(u64, usize)>,
}

/// Buffers that are kept from strip to strip.
#[derive(Default)]
struct Scratch {
    packed: Vec<u8>,
    bytes: Vec<u8>,
    decompressor: Decompressor,
}

/// What pixels are decoded to.
trait Pixel: Sized {
    /// Decodes one row of a strip or tile; `false` if a value cannot be held.
    fn decode(sample: SampleType, order: ByteOrder, raw: &[u8], out: &mut [Self]) -> bool;
}

impl Pixel for f32 {
    fn decode(sample: SampleType, order: ByteOrder, raw: &[u8], out: &mut [Self]) -> bool {
        decode(sample, order, raw, out);
        true
    }
}

impl Pixel for u8 {
    fn decode(sample: SampleType, _: ByteOrder, raw: &[u8], out: &mut [Self]) -> bool {
        decode_bytes(sample, raw, out)
    }
}

impl TiffReader {
    /// Opens a file, goes through its directories and checks that its frames are alike. The tables of the first and
    /// last frame are held against the length of the file; those in between when they are read.
    ///
    /// # Errors
    /// A file that cannot be read, is cut off, or holds frames of several sizes or types.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let file = Container::open(path)?;
        let mut frames = Vec::new();
        let mut first: Option<Page> = None;
        for (index, directory) in file.directories().enumerate() {
            let directory = directory?;
            if Page::is_thumbnail(&file, &directory)? {
                continue;
            }
            let page = Page::parse(&file, &directory, index)?;
            check_alike(&file, first.get_or_insert_with(|| page.clone()), &page, directory.offset)?;
            frames.push((directory.offset, index));
        }
        let Some(first) = first else {
            return Err(FormatError::field(path, "first directory", 4, "none", "at least one page"));
        };
        let image = ImageHeader {
            width: first.width,
            height: first.height,
            frames: frames.len(),
            sample: first.sample,
            pixel_size_a: first.pixel_size_a,
        };
        check_packed_size(path, &image, frames[0].0)?;
        let reader = Self { file, image, frames };
        reader.page(0)?;
        reader.page(reader.frames.len() - 1)?;
        Ok(reader)
    }

    fn page(&self, frame: usize) -> Result<(Page, Extents), FormatError> {
        let (offset, index) = self.frames[frame];
        let directory = self.file.directory(offset)?;
        let page = Page::parse(&self.file, &directory, index)?;
        let extents = page.extents(&self.file, &directory)?;
        Ok((page, extents))
    }

    /// Decodes rows `first..` of strips or tiles into `out`, whole rows of the image, the topmost last; `false`, and no
    /// more decoded, if a value cannot be held.
    fn decode_band<T: Pixel>(
        &self,
        page: &Page,
        extents: &Extents,
        first: usize,
        scratch: &mut Scratch,
        out: &mut [T],
    ) -> Result<bool, FormatError> {
        let mut left = out;
        for row in first..page.down() {
            let pixels = page.rows_in(row) * page.width;
            if left.len() < pixels {
                break;
            }
            let (rest, rows) = left.split_at_mut(left.len() - pixels);
            for column in 0..page.across() {
                if !self.decode_chunk(page, extents, row, column, scratch, rows)? {
                    return Ok(false);
                }
            }
            left = rest;
        }
        Ok(true)
    }

    /// Decodes one strip or tile into `rows`, the rows of the image it belongs to, the topmost last.
    fn decode_chunk<T: Pixel>(
        &self,
        page: &Page,
        extents: &Extents,
        row: usize,
        column: usize,
        scratch: &mut Scratch,
        rows: &mut [T],
    ) -> Result<bool, FormatError> {
        let chunk = row * page.across() + column;
        let (offset, length) = extents[chunk];
        let Scratch { packed, bytes, decompressor } = scratch;
        let row_bytes = page.chunk_row_bytes();
        bytes.resize(row_bytes * page.stored_rows(row), 0);
        // no compression makes anything twice as long: what follows is not read
        packed.resize((length as usize).min(2 * bytes.len() + LONGEST_HEAD), 0);
        self.file.read(offset, packed, || format!("page {}, strip or tile {chunk}", page.index))?;
        decompressor.decompress(page.compression, packed, bytes).map_err(|why| FormatError::Corrupt {
            path: self.file.path().into(),
            page: page.index,
            chunk,
            offset,
            why,
        })?;
        decompressor.undo_predictor(page.predictor, self.file.order, row_bytes, bytes);
        let left = column * page.chunk_width;
        let right = (left + page.chunk_width).min(page.width);
        let mut rows = rows.rchunks_exact_mut(page.width).zip(bytes.chunks_exact(row_bytes));
        Ok(rows.all(|(out, raw)| T::decode(page.sample, self.file.order, raw, &mut out[left..right])))
    }
}

fn check_alike(file: &Container, first: &Page, page: &Page, offset: u64) -> Result<(), FormatError> {
    let shape = |page: &Page| format!("{} × {} of {}", page.width, page.height, page.sample.name());
    if shape(page) == shape(first) {
        return Ok(());
    }
    let expected = format!("{} as page {}: the frames of a movie are alike", shape(first), first.index);
    Err(FormatError::field(file.path(), format!("page {}", page.index), offset, shape(page), expected))
}

impl FrameSource for TiffReader {
    fn header(&self) -> &ImageHeader {
        &self.image
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        check_request(self.path(), &self.image, frame, out.len())?;
        let (page, extents) = self.page(frame)?;
        self.decode_band(&page, &extents, 0, &mut Scratch::default(), out).map(|_| ())
    }

    fn read_bytes_at(&self, frame: usize, out: &mut [u8]) -> Result<bool, FormatError> {
        check_request(self.path(), &self.image, frame, out.len())?;
        if self.image.sample.bits() > 8 {
            return Ok(false);
        }
        let (page, extents) = self.page(frame)?;
        self.decode_band(&page, &extents, 0, &mut Scratch::default(), out)
    }

    fn read_frame_in_pool(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        check_request(self.path(), &self.image, frame, out.len())?;
        let (page, extents) = self.page(frame)?;
        let row_bytes = page.sample.row_bytes(page.width).max(1);
        let chunk_rows = (BAND_BYTES / row_bytes).div_ceil(page.chunk_height).max(1);
        out.par_rchunks_mut(chunk_rows * page.chunk_height * page.width).enumerate().try_for_each_init(
            Scratch::default,
            |scratch, (band, rows)| {
                self.decode_band(&page, &extents, band * chunk_rows, scratch, rows).map(|_| ())
            },
        )
    }
}
