//! Writes multi-page TIFF frame by frame: strips, then the directory, then the link from the page before.

use super::compression::{Compression, apply_horizontal, compress};
use super::convert;
use crate::error::FormatError;
use crate::samples::{SampleType, encode};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Unpacked bytes of a strip: enough for LZW to learn, few enough for many threads.
const STRIP_BYTES: usize = 1 << 17;
/// A file that may grow beyond is written as BigTIFF. LZW can expand noise by a half.
const CLASSIC_LIMIT: u64 = u32::MAX as u64;

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TiffSpec {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Sample type on disk; not Uint4.
    pub sample: SampleType,
    /// Compression of strips; not PackBits.
    pub compression: Compression,
    /// Store differences of neighbouring integers: good for smooth images, bad for counts.
    pub predictor: bool,
    /// Pixel size, Å.
    pub pixel_size_a: Option<f64>,
    /// BigTIFF, for files beyond 4 GiB.
    pub big: bool,
}

impl TiffSpec {
    /// A movie of `frames` frames in LZW; BigTIFF if it could pass 4 GiB.
    pub fn movie(width: usize, height: usize, frames: usize, sample: SampleType, pixel_size_a: f64) -> Self {
        let worst = (sample.row_bytes(width) * height) as u64 * frames as u64 * 3 / 2;
        Self {
            width,
            height,
            sample,
            compression: Compression::Lzw,
            predictor: false,
            pixel_size_a: Some(pixel_size_a),
            big: worst > CLASSIC_LIMIT,
        }
    }

    /// The same with another compression.
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }
}

/// Writes page after page.
#[derive(Debug)]
pub struct TiffWriter<W: Write + Seek> {
    out: W,
    path: PathBuf,
    spec: TiffSpec,
    pages: usize,
    /// Where the next byte goes.
    end: u64,
    /// Where the offset of the next directory has to be written.
    link: u64,
}

impl TiffWriter<BufWriter<File>> {
    /// Creates `path`, replacing what is there.
    ///
    /// # Errors
    /// A file that cannot be created, or a specification that cannot be written.
    pub fn create(path: &Path, spec: TiffSpec) -> Result<Self, FormatError> {
        let file = File::create(path).map_err(|e| FormatError::io(path, "create", e))?;
        Self::new(BufWriter::new(file), path, spec)
    }
}

impl<W: Write + Seek> TiffWriter<W> {
    /// Begins a file in `out`, which stands at its start and which `path` names in messages.
    ///
    /// # Errors
    /// A file that cannot be written, or a specification that cannot.
    pub fn new(mut out: W, path: &Path, spec: TiffSpec) -> Result<Self, FormatError> {
        if spec.sample == SampleType::Uint4 || spec.compression == Compression::PackBits {
            let found = format!("{} with {:?}", spec.sample.name(), spec.compression);
            let expected = "8 or 16 bit integers or floats; no compression, LZW or deflate";
            return Err(FormatError::field(path, "what to write", 0, found, expected));
        }
        if spec.width == 0 || spec.height == 0 {
            let found = format!("{} × {}", spec.width, spec.height);
            return Err(FormatError::field(path, "size to write", 0, found, "at least one pixel"));
        }
        if spec.predictor && !spec.sample.is_integer() {
            return Err(FormatError::field(
                path,
                "predictor",
                0,
                spec.sample.name(),
                "an integer sample type",
            ));
        }
        let header: &[u8] = if spec.big { b"II+\0\x08\0\0\0\0\0\0\0\0\0\0\0" } else { b"II*\0\0\0\0\0" };
        out.write_all(header).map_err(|e| FormatError::io(path, "write", e))?;
        let link = if spec.big { 8 } else { 4 };
        Ok(Self { out, path: path.into(), spec, pages: 0, end: header.len() as u64, link })
    }

    /// Pages written so far.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Appends a frame of shape `[height, width]`, x fastest, row 0 at the bottom as in MRC. Integers are rounded to the
    /// nearest. Strips are packed on the current rayon pool.
    ///
    /// # Errors
    /// A frame of another size, values that are not finite or do not fit the sample type, a full disk, or a classic
    /// TIFF that would pass 4 GiB.
    pub fn append(&mut self, frame: &[f32]) -> Result<(), FormatError> {
        let TiffSpec { width, height, .. } = self.spec;
        if frame.len() != width * height {
            let (found, expected) = (frame.len(), width * height);
            return Err(FormatError::WrongLength { path: self.path.clone(), what: "frame", found, expected });
        }
        let rows_per_strip = (STRIP_BYTES / self.spec.sample.row_bytes(width).max(1)).clamp(1, height.max(1));
        let strip_len = rows_per_strip * width;
        let (spec, path, page) = (&self.spec, self.path.as_path(), self.pages);
        let strips: Vec<Vec<u8>> = frame
            .par_rchunks(strip_len)
            .enumerate()
            .map(|(i, rows)| pack(spec, path, page, rows, frame.len() - i * strip_len - rows.len()))
            .collect::<Result<_, _>>()?;
        let mut extents = Vec::with_capacity(strips.len());
        for strip in &strips {
            extents.push((self.end, strip.len() as u64));
            self.put(strip)?;
        }
        self.put_directory(&extents, rows_per_strip)
    }

    /// Flushes and returns `out`.
    ///
    /// # Errors
    /// No page was written, or a full disk.
    pub fn finish(mut self) -> Result<W, FormatError> {
        if self.pages == 0 {
            return Err(FormatError::field(&self.path, "pages", 4, 0, "at least one frame to be appended"));
        }
        self.out.flush().map_err(|e| FormatError::io(&self.path, "write", e))?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let end = self.end + bytes.len() as u64;
        if !self.spec.big && end > CLASSIC_LIMIT {
            return Err(FormatError::TooLarge { path: self.path.clone(), page: self.pages, end });
        }
        self.out.write_all(bytes).map_err(|e| FormatError::io(&self.path, "write", e))?;
        self.end = end;
        Ok(())
    }

    /// Offsets and lengths have the width of the file's pointers.
    fn pointer(&self, value: u64) -> Vec<u8> {
        if self.spec.big { value.to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() }
    }

    fn put_directory(&mut self, extents: &[(u64, u64)], rows_per_strip: usize) -> Result<(), FormatError> {
        let tags = self.tags(extents, rows_per_strip);
        let pointer = self.pointer(0).len();
        let mut entries = Vec::new();
        for Tag { number, kind, count, bytes } in &tags {
            entries.extend(number.to_le_bytes());
            entries.extend(kind.to_le_bytes());
            entries.extend(self.pointer(*count));
            if bytes.len() <= pointer {
                entries.extend(bytes);
                entries.resize(entries.len() + pointer - bytes.len(), 0);
                continue;
            }
            self.align()?;
            entries.extend(self.pointer(self.end));
            self.put(bytes)?;
        }
        self.align()?;
        let start = self.end;
        let count = tags.len() as u64;
        let mut directory =
            if self.spec.big { count.to_le_bytes().to_vec() } else { (count as u16).to_le_bytes().to_vec() };
        directory.extend(entries);
        let link = start + directory.len() as u64;
        directory.extend(self.pointer(0));
        self.put(&directory)?;
        let pointer = self.pointer(start);
        let io = |e| FormatError::io(&self.path, "write", e);
        self.out.seek(SeekFrom::Start(self.link)).map_err(io)?;
        self.out.write_all(&pointer).map_err(io)?;
        self.out.seek(SeekFrom::Start(self.end)).map_err(io)?;
        self.link = link;
        self.pages += 1;
        Ok(())
    }

    /// Tables and directories start at a multiple of eight (the standard asks for two).
    fn align(&mut self) -> Result<(), FormatError> {
        let padding = (8 - self.end % 8) % 8;
        self.put(&[0; 8][..padding as usize])
    }

    /// The tags of a page in rising order.
    fn tags(&self, extents: &[(u64, u64)], rows_per_strip: usize) -> Vec<Tag> {
        const LONG: u16 = 4;
        const LONG8: u16 = 16;
        let spec = &self.spec;
        let table_kind = if spec.big { LONG8 } else { LONG };
        let table = |number, values: &mut dyn Iterator<Item = u64>| {
            let bytes: Vec<u8> = values.flat_map(|value| self.pointer(value)).collect();
            Tag { number, kind: table_kind, count: extents.len() as u64, bytes }
        };
        let mut tags = vec![
            Tag::long(256, spec.width),
            Tag::long(257, spec.height),
            Tag::short(258, spec.sample.bits() as u16),
            Tag::short(259, spec.compression.code()),
            Tag::short(262, 1), // black is zero
            table(273, &mut extents.iter().map(|extent| extent.0)),
            Tag::short(277, 1),
            Tag::long(278, rows_per_strip),
            table(279, &mut extents.iter().map(|extent| extent.1)),
        ];
        if let Some(pixel_size_a) = spec.pixel_size_a {
            tags.extend([282, 283].map(|number| Tag::resolution(number, pixel_size_a)));
            tags.push(Tag::short(296, convert::UNIT_CM as u16));
        }
        tags.push(Tag::text(305, concat!("vitreous ", env!("CARGO_PKG_VERSION"), "\0")));
        if spec.predictor {
            tags.push(Tag::short(317, 2));
        }
        let format = match spec.sample {
            SampleType::Int8 | SampleType::Int16 => 2,
            SampleType::Float16 | SampleType::Float32 => 3,
            SampleType::Uint4 | SampleType::Uint8 | SampleType::Uint16 => 1,
        };
        tags.push(Tag::short(339, format));
        tags
    }
}

/// The bytes of a strip of page `page`: `rows`, whose first value is at `index` of the frame; the topmost row is the last.
fn pack(
    spec: &TiffSpec,
    path: &Path,
    page: usize,
    rows: &[f32],
    index: usize,
) -> Result<Vec<u8>, FormatError> {
    let (width, sample) = (spec.width, spec.sample);
    let row_bytes = sample.row_bytes(width);
    let mut bytes = Vec::with_capacity(rows.len() / width * row_bytes);
    for (row, values) in rows.chunks_exact(width).enumerate().rev() {
        encode(sample, values, &mut bytes).map_err(|misfit| FormatError::OutOfRange {
            path: path.into(),
            section: page,
            index: index + row * width + misfit.0,
            value: values[misfit.0],
            sample: sample.name(),
            low: sample.range().0,
            high: sample.range().1,
        })?;
    }
    if spec.predictor {
        bytes.chunks_exact_mut(row_bytes).for_each(|row| apply_horizontal(sample.bits() as usize / 8, row));
    }
    compress(spec.compression, bytes).map_err(|e| FormatError::io(path, "compress", e))
}

/// A tag to be written.
struct Tag {
    number: u16,
    kind: u16,
    count: u64,
    bytes: Vec<u8>,
}

impl Tag {
    fn short(number: u16, value: u16) -> Self {
        Self { number, kind: 3, count: 1, bytes: value.to_le_bytes().to_vec() }
    }

    fn long(number: u16, value: usize) -> Self {
        Self { number, kind: 4, count: 1, bytes: (value as u32).to_le_bytes().to_vec() }
    }

    fn text(number: u16, text: &str) -> Self {
        Self { number, kind: 2, count: text.len() as u64, bytes: text.as_bytes().to_vec() }
    }

    fn resolution(number: u16, pixel_size_a: f64) -> Self {
        let (numerator, denominator) = convert::resolution_per_cm(pixel_size_a);
        let bytes = [numerator.to_le_bytes(), denominator.to_le_bytes()].concat();
        Self { number, kind: 5, count: 1, bytes }
    }
}
