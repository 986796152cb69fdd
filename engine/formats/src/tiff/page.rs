//! One page: its size, sample type and how it is cut into strips or tiles.

use super::compression::{CODES, Compression, Predictor};
use super::convert;
use super::directory::{Container, Directory};
use crate::error::FormatError;
use crate::samples::SampleType;

const SUBFILE_TYPE: u16 = 254;
const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES_PER_PIXEL: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_BYTES: u16 = 279;
const X_RESOLUTION: u16 = 282;
const RESOLUTION_UNIT: u16 = 296;
const PREDICTOR: u16 = 317;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTES: u16 = 325;
const SAMPLE_FORMAT: u16 = 339;

/// Edges beyond are absurd; no camera has them.
const MAX_EDGE: u64 = 1 << 24;
/// A tile may be larger than its image, but not beyond this, pixels: an empty one costs memory, too.
const SURELY_FITTING: usize = 1 << 24;

/// What a page is, without the tables of its strips.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Number of the page in the file, from 0.
    pub index: usize,
    /// Columns of the image.
    pub width: usize,
    /// Rows of the image.
    pub height: usize,
    /// Sample type.
    pub sample: SampleType,
    /// Columns of a strip or tile, in pixels of the image.
    pub chunk_width: usize,
    /// Rows of a strip or tile; the last strip may have fewer.
    pub chunk_height: usize,
    /// Tiles are always whole, strips end with the image.
    pub tiled: bool,
    /// Compression of each.
    pub compression: Compression,
    /// Predictor of each row of each.
    pub predictor: Predictor,
    /// Pixel size, Å.
    pub pixel_size_a: Option<f64>,
}

/// Where the strips or tiles of a page are: offset and length in bytes, row of tiles by row of tiles from the top.
pub type Extents = Vec<(u64, u64)>;

impl Page {
    /// Whether the directory is of a thumbnail, which is no frame.
    ///
    /// # Errors
    /// A broken tag.
    pub fn is_thumbnail(file: &Container, directory: &Directory) -> Result<bool, FormatError> {
        Ok(file.integer(directory, SUBFILE_TYPE)?.unwrap_or(0) & 1 == 1)
    }

    /// Parses page `index`.
    ///
    /// # Errors
    /// A tag that is missing, broken or not supported.
    pub fn parse(file: &Container, directory: &Directory, index: usize) -> Result<Self, FormatError> {
        let tags = Tags { file, directory, index };
        let stored_width = tags.edge(WIDTH, "ImageWidth")?;
        let height = tags.edge(HEIGHT, "ImageLength")?;
        tags.check_one_sample()?;
        let (width, sample) = convert::unpacked(stored_width, height, tags.sample()?);
        let (chunk_width, chunk_height, tiled) = match directory.entry(TILE_WIDTH) {
            Some(_) => {
                let (tile_width, tile_height) = tags.tile(width * height)?;
                (convert::unpacked_edge(tile_width, sample), tile_height, true)
            }
            None => (width, tags.rows_per_strip(height)?, false),
        };
        let resolution = file.rational(directory, X_RESOLUTION);
        let unit = file.integer(directory, RESOLUTION_UNIT)?.unwrap_or(convert::UNIT_INCH);
        Ok(Self {
            index,
            width,
            height,
            sample,
            chunk_width,
            chunk_height,
            tiled,
            compression: tags.compression()?,
            predictor: tags.predictor(sample)?,
            pixel_size_a: resolution.and_then(|resolution| convert::pixel_size_a(resolution, unit)),
        })
    }

    /// Strips or tiles next to each other.
    pub fn across(&self) -> usize {
        self.width.div_ceil(self.chunk_width)
    }

    /// Rows of strips or tiles.
    pub fn down(&self) -> usize {
        self.height.div_ceil(self.chunk_height)
    }

    /// Bytes of a row of a strip or tile when unpacked.
    pub fn chunk_row_bytes(&self) -> usize {
        self.sample.row_bytes(self.chunk_width)
    }

    /// Rows of the image in row `row` of strips or tiles.
    pub fn rows_in(&self, row: usize) -> usize {
        (self.height - row * self.chunk_height).min(self.chunk_height)
    }

    /// Rows stored in row `row` of strips or tiles.
    pub fn stored_rows(&self, row: usize) -> usize {
        if self.tiled { self.chunk_height } else { self.rows_in(row) }
    }

    /// Reads the tables of the page and checks them: every strip lies in the file and can hold what it should.
    ///
    /// # Errors
    /// A missing or short table, a strip beyond the end of the file or too short for its pixels.
    pub fn extents(&self, file: &Container, directory: &Directory) -> Result<Extents, FormatError> {
        let tags = Tags { file, directory, index: self.index };
        let expected = self.across() * self.down();
        let (offset_tag, bytes_tag) =
            if self.tiled { (TILE_OFFSETS, TILE_BYTES) } else { (STRIP_OFFSETS, STRIP_BYTES) };
        let offsets = tags.table(offset_tag, "offsets of strips or tiles", expected)?;
        let bytes = match directory.entry(bytes_tag) {
            None if self.compression == Compression::None => {
                (0..expected).map(|i| self.chunk_bytes(i / self.across())).collect()
            }
            _ => tags.table(bytes_tag, "byte counts of strips or tiles", expected)?,
        };
        let extents: Extents = offsets.into_iter().zip(bytes).collect();
        let mut total = 0u64;
        for (chunk, &(offset, bytes)) in extents.iter().enumerate() {
            total = total.saturating_add(bytes);
            file.check_extent(offset, bytes, || format!("page {}, strip or tile {chunk}", self.index))?;
            let unpacked = self.chunk_bytes(chunk / self.across());
            if bytes.saturating_mul(self.compression.largest_ratio()) < unpacked {
                let why = format!("its {bytes} bytes cannot hold the {unpacked} bytes of its pixels");
                let (path, page) = (file.path().into(), self.index);
                return Err(FormatError::Corrupt { path, page, chunk, offset, why });
            }
        }
        // strips may overlap in a file made to harm: a page is never longer than the file
        file.check_extent(0, total, || format!("page {} (all its strips or tiles)", self.index))?;
        Ok(extents)
    }

    fn chunk_bytes(&self, row: usize) -> u64 {
        (self.chunk_row_bytes() as u64).saturating_mul(self.stored_rows(row) as u64)
    }
}

/// The tags of one page, with errors that name it.
struct Tags<'a> {
    file: &'a Container,
    directory: &'a Directory,
    index: usize,
}

impl Tags<'_> {
    fn integer(&self, tag: u16) -> Result<Option<u64>, FormatError> {
        self.file.integer(self.directory, tag)
    }

    fn error(&self, tag: u16, name: &str, found: impl std::fmt::Display, expected: &str) -> FormatError {
        let offset = self.directory.entry(tag).map_or(self.directory.offset, |entry| entry.offset);
        let field = format!("page {}, tag {tag} ({name})", self.index);
        FormatError::field(self.file.path(), field, offset, found, expected)
    }

    fn edge(&self, tag: u16, name: &str) -> Result<usize, FormatError> {
        match self.integer(tag)? {
            Some(edge @ 1..=MAX_EDGE) => Ok(edge as usize),
            Some(edge) => Err(self.error(tag, name, edge, "1 to 16777216")),
            None => Err(self.error(tag, name, "missing", "a number of pixels")),
        }
    }

    /// Stored width and height of a tile of an image of `pixels` pixels.
    fn tile(&self, pixels: usize) -> Result<(usize, usize), FormatError> {
        let (width, height) = (self.edge(TILE_WIDTH, "TileWidth")?, self.edge(TILE_HEIGHT, "TileLength")?);
        if width * height > pixels.max(SURELY_FITTING) {
            let found = format!("{width} (by {height} rows)");
            return Err(self.error(TILE_WIDTH, "TileWidth", found, "a tile no larger than the image"));
        }
        Ok((width, height))
    }

    fn rows_per_strip(&self, height: usize) -> Result<usize, FormatError> {
        match self.integer(ROWS_PER_STRIP)? {
            Some(0) => Err(self.error(ROWS_PER_STRIP, "RowsPerStrip", 0, "at least 1")),
            rows => Ok(rows.map_or(height, |rows| rows.min(height as u64) as usize)),
        }
    }

    fn check_one_sample(&self) -> Result<(), FormatError> {
        match self.integer(SAMPLES_PER_PIXEL)?.unwrap_or(1) {
            1 => Ok(()),
            n => Err(self.error(SAMPLES_PER_PIXEL, "SamplesPerPixel", n, "1: a grey image, not colour")),
        }
    }

    fn sample(&self) -> Result<SampleType, FormatError> {
        const UNSIGNED: u64 = 1;
        const SIGNED: u64 = 2;
        const FLOAT: u64 = 3;
        let bits = self.integer(BITS)?.unwrap_or(1);
        match (bits, self.integer(SAMPLE_FORMAT)?.unwrap_or(UNSIGNED)) {
            (8, UNSIGNED) => Ok(SampleType::Uint8),
            (8, SIGNED) => Ok(SampleType::Int8),
            (16, UNSIGNED) => Ok(SampleType::Uint16),
            (16, SIGNED) => Ok(SampleType::Int16),
            (16, FLOAT) => Ok(SampleType::Float16),
            (32, FLOAT) => Ok(SampleType::Float32),
            (bits, format) => Err(self.error(
                BITS,
                "BitsPerSample",
                format!("{bits} with sample format {format}"),
                "8 or 16 bits of integer (formats 1, 2) or 16 or 32 bits of float (3)",
            )),
        }
    }

    fn compression(&self) -> Result<Compression, FormatError> {
        let code = self.integer(COMPRESSION)?.unwrap_or(1);
        Compression::from_code(code).ok_or_else(|| self.error(COMPRESSION, "Compression", code, CODES))
    }

    fn predictor(&self, sample: SampleType) -> Result<Predictor, FormatError> {
        let bytes = sample.bits() as usize / 8;
        match self.integer(PREDICTOR)?.unwrap_or(1) {
            1 => Ok(Predictor::None),
            2 if sample.is_integer() && bytes > 0 => Ok(Predictor::Horizontal(bytes)),
            3 if !sample.is_integer() => Ok(Predictor::FloatingPoint(bytes)),
            code => Err(self.error(PREDICTOR, "Predictor", code, "1, 2 for integers or 3 for floats")),
        }
    }

    fn table(&self, tag: u16, name: &str, expected: usize) -> Result<Vec<u64>, FormatError> {
        let entry = self.directory.entry(tag);
        let entry = entry.ok_or_else(|| self.error(tag, name, "missing", &format!("{expected} values")))?;
        if entry.count != expected as u64 {
            return Err(self.error(tag, name, format!("{} values", entry.count), &format!("{expected}")));
        }
        self.file.integers(entry)
    }
}
