//! The 1024 bytes at the start of an MRC file: one function per field that can be wrong.

use crate::error::FormatError;
use crate::samples::{ByteOrder, SampleType};
use std::path::Path;

/// Bytes of the main header.
pub const HEADER_BYTES: usize = 1024;
/// Edges beyond this are taken for a wrong byte order.
const MAX_EDGE: i32 = 1 << 24;
/// Modes of the standard, with those we refuse later by name.
const MODES: [i32; 8] = [0, 1, 2, 3, 4, 6, 12, 101];
/// The stamp beside which IMOD's flags mean something.
const IMOD: i32 = 1_146_047_817;
/// Version written.
const VERSION: i32 = 20141;

// Word numbers (4 bytes each, from 0).
const MODE: usize = 3;
const START: usize = 4;
const INTERVALS: usize = 7;
const CELL: usize = 10;
const ANGLES: usize = 13;
const AXES: usize = 16;
const STATISTICS: usize = 19;
const SPACE_GROUP: usize = 22;
const EXTENDED_BYTES: usize = 23;
const EXTENDED_TYPE: usize = 26;
const VERSION_WORD: usize = 27;
const IMOD_STAMP: usize = 38;
const IMOD_FLAGS: usize = 39;
const ORIGIN: usize = 49;
const MAP: usize = 52;
const MACHINE_STAMP: usize = 53;
const RMS: usize = 54;
const LABEL_COUNT: usize = 55;
const LABELS: usize = 56;

/// Statistics of the stored values. Undetermined (as MRC2014 puts it): `max < min`, `mean < min`, `rms < 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Smallest.
    pub min: f32,
    /// Largest.
    pub max: f32,
    /// Mean.
    pub mean: f32,
    /// Standard deviation.
    pub rms: f32,
}

/// The main header in the words of the standard.
#[derive(Debug, Clone, PartialEq)]
pub struct MrcHeader {
    /// Columns, rows, sections.
    pub size: [usize; 3],
    /// Sample type (from the mode, the IMOD flags and, for mode 0, the stated maximum).
    pub sample: SampleType,
    /// Position of the first column, row, section in intervals.
    pub start: [i32; 3],
    /// Intervals of the cell along x, y, z.
    pub intervals: [i32; 3],
    /// Cell edges along x, y, z, Å.
    pub cell_a: [f32; 3],
    /// Which axis (0 x, 1 y, 2 z) columns, rows and sections run along.
    pub axes: [usize; 3],
    /// Statistics as stated.
    pub statistics: Statistics,
    /// 0 images, 1 volume, 401 stack of volumes by the standard; not to be relied on.
    pub space_group: i32,
    /// Bytes between the main header and the data.
    pub extended_bytes: usize,
    /// What the extended header holds, e.g. `FEI1`.
    pub extended_type: [u8; 4],
    /// Origin along x, y, z, Å.
    pub origin_a: [f32; 3],
    /// Byte order of header and data.
    pub order: ByteOrder,
}

/// Reads words of the header.
struct Words<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    order: ByteOrder,
    path: &'a Path,
}

impl Words<'_> {
    fn raw(&self, word: usize) -> [u8; 4] {
        let mut bytes: [u8; 4] = std::array::from_fn(|i| self.bytes[4 * word + i]);
        if self.order == ByteOrder::Big {
            bytes.reverse();
        }
        bytes
    }

    fn int(&self, word: usize) -> i32 {
        i32::from_le_bytes(self.raw(word))
    }

    fn float(&self, word: usize) -> f32 {
        f32::from_le_bytes(self.raw(word))
    }

    fn ints(&self, word: usize) -> [i32; 3] {
        [0, 1, 2].map(|i| self.int(word + i))
    }

    fn floats(&self, word: usize) -> [f32; 3] {
        [0, 1, 2].map(|i| self.float(word + i))
    }

    fn error(&self, word: usize, field: &str, found: i32, expected: &str) -> FormatError {
        FormatError::field(self.path, format!("header field {field}"), 4 * word as u64, found, expected)
    }

    /// Mode and edges make sense in this byte order.
    fn plausible(&self) -> bool {
        MODES.contains(&self.int(MODE)) && self.ints(0).iter().all(|n| (1..=MAX_EDGE).contains(n))
    }

    fn size(&self) -> Result<[usize; 3], FormatError> {
        let size = self.ints(0);
        for (word, name) in ["NX", "NY", "NZ"].iter().enumerate() {
            if !(1..=MAX_EDGE).contains(&size[word]) {
                return Err(self.error(word, name, size[word], "1 to 16777216; is this an MRC file?"));
            }
        }
        let [columns, rows, sections] = size.map(|n| n as usize);
        Ok([if self.bytes_are_pairs() { 2 * columns } else { columns }, rows, sections])
    }

    fn sample(&self) -> Result<SampleType, FormatError> {
        match self.int(MODE) {
            0 if self.bytes_are_pairs() => Ok(SampleType::Uint4),
            0 if self.bytes_are_unsigned() => Ok(SampleType::Uint8),
            0 => Ok(SampleType::Int8),
            1 => Ok(SampleType::Int16),
            2 => Ok(SampleType::Float32),
            6 => Ok(SampleType::Uint16),
            12 => Ok(SampleType::Float16),
            101 => Ok(SampleType::Uint4),
            mode @ (3 | 4) => Err(self.error(
                MODE,
                "MODE",
                mode,
                "a real mode (0, 1, 2, 6, 12, 101); this file holds complex transforms: give the image itself",
            )),
            mode => Err(self.error(MODE, "MODE", mode, "0, 1, 2, 6, 12 or 101; is this an MRC file?")),
        }
    }

    /// Whether IMOD or SerialEM marked the bytes of mode 0 as holding two pixels each; NX counts the bytes then.
    fn bytes_are_pairs(&self) -> bool {
        const PAIRS: i32 = 16;
        self.int(MODE) == 0 && self.int(IMOD_STAMP) == IMOD && self.int(IMOD_FLAGS) & PAIRS != 0
    }

    /// Mode 0 is signed (MRC2014, RELION ≥ 3.1), but for files that IMOD marked as unsigned and those whose stated
    /// maximum no signed byte reaches.
    fn bytes_are_unsigned(&self) -> bool {
        const SIGNED: i32 = 1;
        if self.int(IMOD_STAMP) == IMOD {
            return self.int(IMOD_FLAGS) & SIGNED == 0;
        }
        let [min, max, _] = self.floats(STATISTICS);
        let beyond_signed = min >= 0.0 && max > 127.0 && max <= 255.0;
        if beyond_signed {
            log::warn!(
                "{}: mode 0 with a stated maximum of {max}: read as unsigned bytes",
                self.path.display()
            );
        }
        beyond_signed
    }

    fn axes(&self) -> Result<[usize; 3], FormatError> {
        let axes = self.ints(AXES);
        if axes == [0, 0, 0] {
            return Ok([0, 1, 2]);
        }
        let mut sorted = axes;
        sorted.sort_unstable();
        if sorted != [1, 2, 3] {
            let found = format!("{axes:?}");
            return Err(FormatError::field(
                self.path,
                "header fields MAPC, MAPR, MAPS",
                4 * AXES as u64,
                found,
                "1, 2 and 3 in any order",
            ));
        }
        Ok(axes.map(|axis| axis as usize - 1))
    }

    fn extended_bytes(&self) -> Result<usize, FormatError> {
        let bytes = self.int(EXTENDED_BYTES);
        usize::try_from(bytes).map_err(|_| {
            self.error(EXTENDED_BYTES, "NSYMBT", bytes, "0 or the length of the extended header")
        })
    }
}

/// Whether these first bytes could be an MRC header in either byte order.
pub fn looks_plausible(head: &[u8]) -> bool {
    head.first_chunk::<HEADER_BYTES>().is_some_and(|bytes| {
        [ByteOrder::Little, ByteOrder::Big]
            .iter()
            .any(|&order| Words { bytes, order, path: Path::new("") }.plausible())
    })
}

/// The program that unpacks a file that begins like this, if it is packed.
pub fn unpacker(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some("gunzip"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bunzip2"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("unzstd"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("unxz"),
        [b'P', b'K', 3, 4, ..] => Some("unzip"),
        _ => None,
    }
}

/// The machine stamp decides if the header makes sense that way, else the other order if that does.
fn byte_order(bytes: &[u8; HEADER_BYTES], path: &Path) -> ByteOrder {
    let stamped = if bytes[4 * MACHINE_STAMP] == 0x11 { ByteOrder::Big } else { ByteOrder::Little };
    let other = if stamped == ByteOrder::Big { ByteOrder::Little } else { ByteOrder::Big };
    let plausible = |order| Words { bytes, order, path }.plausible();
    if !plausible(stamped) && plausible(other) { other } else { stamped }
}

impl MrcHeader {
    /// Parses the main header of `path`.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn parse(bytes: &[u8; HEADER_BYTES], path: &Path) -> Result<Self, FormatError> {
        let order = byte_order(bytes, path);
        let words = Words { bytes, order, path };
        if let Some(program) = unpacker(bytes).filter(|_| !words.plausible()) {
            let expected = format!("an MRC file: unpack it first ({program})");
            return Err(FormatError::field(path, "beginning", 0, "that of a compressed file", expected));
        }
        let [min, max, mean] = words.floats(STATISTICS);
        Ok(Self {
            size: words.size()?,
            sample: words.sample()?,
            start: words.ints(START),
            intervals: words.ints(INTERVALS),
            cell_a: words.floats(CELL),
            axes: words.axes()?,
            statistics: Statistics { min, max, mean, rms: words.float(RMS) },
            space_group: words.int(SPACE_GROUP),
            extended_bytes: words.extended_bytes()?,
            extended_type: std::array::from_fn(|i| bytes[4 * EXTENDED_TYPE + i]),
            origin_a: words.floats(ORIGIN),
            order,
        })
    }

    /// The header as bytes: little-endian, one label, no extended header, version 20141.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |word: usize, value: [u8; 4]| bytes[4 * word..4 * word + 4].copy_from_slice(&value);
        for i in 0..3 {
            put(i, (self.size[i] as i32).to_le_bytes());
            put(START + i, self.start[i].to_le_bytes());
            put(INTERVALS + i, self.intervals[i].to_le_bytes());
            put(CELL + i, self.cell_a[i].to_le_bytes());
            put(ANGLES + i, 90f32.to_le_bytes());
            put(AXES + i, (self.axes[i] as i32 + 1).to_le_bytes());
            put(ORIGIN + i, self.origin_a[i].to_le_bytes());
        }
        put(MODE, mode_of(self.sample).to_le_bytes());
        put(STATISTICS, self.statistics.min.to_le_bytes());
        put(STATISTICS + 1, self.statistics.max.to_le_bytes());
        put(STATISTICS + 2, self.statistics.mean.to_le_bytes());
        put(RMS, self.statistics.rms.to_le_bytes());
        put(SPACE_GROUP, self.space_group.to_le_bytes());
        put(VERSION_WORD, VERSION.to_le_bytes());
        put(MAP, *b"MAP ");
        put(MACHINE_STAMP, [0x44, 0x44, 0, 0]);
        put(LABEL_COUNT, 1i32.to_le_bytes());
        let label = concat!("vitreous ", env!("CARGO_PKG_VERSION"));
        bytes[4 * LABELS..4 * LABELS + 80].fill(b' ');
        bytes[4 * LABELS..4 * LABELS + label.len()].copy_from_slice(label.as_bytes());
        bytes
    }

    /// Where the data start, bytes.
    pub fn data_offset(&self) -> u64 {
        (HEADER_BYTES + self.extended_bytes) as u64
    }

    /// Bytes of one section.
    pub fn section_bytes(&self) -> u64 {
        self.sample.row_bytes(self.size[0]) as u64 * self.size[1] as u64
    }
}

/// The mode written for a sample type; unsigned bytes have none of their own and are written as mode 6 by the caller.
fn mode_of(sample: SampleType) -> i32 {
    match sample {
        SampleType::Int8 | SampleType::Uint8 => 0,
        SampleType::Int16 => 1,
        SampleType::Float32 => 2,
        SampleType::Uint16 => 6,
        SampleType::Float16 => 12,
        SampleType::Uint4 => 101,
    }
}
