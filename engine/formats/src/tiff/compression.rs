//! Compression of strips and tiles, and the predictors that go with it.

use super::lzw;
use crate::samples::ByteOrder;
use flate2::{Decompress, FlushDecompress};
use weezl::BitOrder;

/// How the bytes of a strip are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// Lempel–Ziv–Welch, most significant bit first, codes switch one early.
    Lzw,
    /// zlib.
    Deflate,
    /// Byte runs.
    PackBits,
    /// Zstandard.
    Zstd,
}

/// The numbers of the tag 259 that are read.
pub const CODES: &str = "1 (none), 5 (LZW), 8 or 32946 (deflate), 32773 (PackBits), or 50000 or 34926 (zstd); write the file again with one of \
     these";

impl Compression {
    /// From the number of the tag 259.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::None),
            5 => Some(Self::Lzw),
            8 | 32946 => Some(Self::Deflate),
            32773 => Some(Self::PackBits),
            50000 | 34926 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number of the tag 259.
    pub fn code(self) -> u16 {
        match self {
            Self::None => 1,
            Self::Lzw => 5,
            Self::Deflate => 8,
            Self::PackBits => 32773,
            Self::Zstd => 50000,
        }
    }

    /// More bytes than this times its own length no stream can give: a longer claim is refused before anything is
    /// allocated. LZW: a 12-bit code gives up to 3839 bytes; deflate: 1032 (zlib's technical notes); PackBits: 128 for 2;
    /// zstd: a block of 128 KiB from four bytes (RFC 8878).
    pub fn largest_ratio(self) -> u64 {
        match self {
            Self::None => 1,
            Self::Lzw => 2560,
            Self::Deflate => 1032,
            Self::PackBits => 64,
            Self::Zstd => 1 << 15,
        }
    }
}

/// A predictor applied to rows before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// None.
    None,
    /// Differences of neighbouring integers of so many bytes.
    Horizontal(usize),
    /// Differences of the bytes of floats of so many bytes, sorted by significance.
    FloatingPoint(usize),
}

/// Decompresses strips; holds what is worth keeping between them.
#[derive(Default)]
pub struct Decompressor {
    lzw: Option<lzw::Decoder>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    plane: Vec<u8>,
}

impl Decompressor {
    /// Fills `out` from `packed`.
    ///
    /// # Errors
    /// What is wrong with the data.
    pub fn decompress(&mut self, how: Compression, packed: &[u8], out: &mut [u8]) -> Result<(), String> {
        let got = match how {
            Compression::None => {
                let length = packed.len().min(out.len());
                out[..length].copy_from_slice(&packed[..length]);
                length
            }
            Compression::Lzw => self.lzw(packed, out)?,
            Compression::Deflate => deflate(packed, out)?,
            Compression::PackBits => pack_bits(packed, out),
            Compression::Zstd => self.zstd(packed, out)?,
        };
        if got < out.len() {
            return Err(format!("it gives {got} bytes, expected {}", out.len()));
        }
        Ok(())
    }

    fn lzw(&mut self, packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
        let decoder = self.lzw.get_or_insert_default();
        decoder.decode(packed, out).map_err(|error| format!("LZW: {error}"))
    }

    fn zstd(&mut self, packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            empty => empty.insert(zstd::bulk::Decompressor::new().map_err(|e| format!("zstd: {e}"))?),
        };
        decoder.decompress_to_buffer(packed, out).map_err(|e| format!("zstd: {e}"))
    }

    /// Turns differences back into values, row by row; `rows` is a whole number of rows of `row_bytes`.
    pub fn undo_predictor(
        &mut self,
        predictor: Predictor,
        order: ByteOrder,
        row_bytes: usize,
        rows: &mut [u8],
    ) {
        for row in rows.chunks_exact_mut(row_bytes) {
            match (predictor, order) {
                (Predictor::None, _) => return,
                (Predictor::Horizontal(2), ByteOrder::Little) => {
                    sum_words(row, u16::from_le_bytes, u16::to_le_bytes);
                }
                (Predictor::Horizontal(2), ByteOrder::Big) => {
                    sum_words(row, u16::from_be_bytes, u16::to_be_bytes)
                }
                (Predictor::Horizontal(_), _) => sum_bytes(row),
                (Predictor::FloatingPoint(bytes), order) => {
                    sum_bytes(row);
                    self.plane.clear();
                    self.plane.extend_from_slice(row);
                    gather_planes(&self.plane, bytes, order, row);
                }
            }
        }
    }
}

fn deflate(packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
    let mut state = Decompress::new(true);
    state.decompress(packed, out, FlushDecompress::Finish).map_err(|e| format!("deflate: {e}"))?;
    Ok(state.total_out() as usize)
}

fn pack_bits(packed: &[u8], out: &mut [u8]) -> usize {
    let (mut rest, mut written) = (packed, 0);
    while let [head, tail @ ..] = rest {
        let room = out.len() - written;
        let (taken, given) = match *head as i8 {
            -128 => (0, 0),
            run @ ..0 => {
                let Some(&byte) = tail.first() else { break };
                let length = (1 - isize::from(run)) as usize;
                out[written..written + length.min(room)].fill(byte);
                (1, length)
            }
            literal => {
                let length = (literal as usize + 1).min(tail.len());
                let fits = length.min(room);
                out[written..written + fits].copy_from_slice(&tail[..fits]);
                (length, length)
            }
        };
        written += given.min(room);
        rest = &tail[taken..];
    }
    written
}

fn sum_bytes(row: &mut [u8]) {
    let mut sum = 0u8;
    for byte in row {
        sum = sum.wrapping_add(*byte);
        *byte = sum;
    }
}

fn sum_words(row: &mut [u8], read: impl Fn([u8; 2]) -> u16, write: impl Fn(u16) -> [u8; 2]) {
    let mut sum = 0u16;
    for word in row.as_chunks_mut::<2>().0 {
        sum = sum.wrapping_add(read(*word));
        *word = write(sum);
    }
}

/// `planes` holds all most significant bytes, then the next …; `row` gets numbers of `bytes` bytes in `order`.
fn gather_planes(planes: &[u8], bytes: usize, order: ByteOrder, row: &mut [u8]) {
    let numbers = row.len() / bytes;
    for (i, number) in row.chunks_exact_mut(bytes).enumerate() {
        for significance in 0..bytes {
            let place = if order == ByteOrder::Big { significance } else { bytes - 1 - significance };
            number[place] = planes[significance * numbers + i];
        }
    }
}

/// Compresses the bytes of a strip.
pub fn compress(how: Compression, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    match how {
        Compression::None => Ok(bytes),
        Compression::Lzw => {
            let mut encoder = weezl::encode::Encoder::with_tiff_size_switch(BitOrder::Msb, 8);
            encoder.encode(&bytes).map_err(std::io::Error::other)
        }
        Compression::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, &bytes)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(&bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
        Compression::PackBits => Err(std::io::Error::other("PackBits is read, not written")),
    }
}

/// Differences of neighbouring little-endian integers of `bytes` bytes in one row.
pub fn apply_horizontal(bytes: usize, row: &mut [u8]) {
    if bytes == 1 {
        let mut previous = 0;
        for byte in row {
            (*byte, previous) = (byte.wrapping_sub(previous), *byte);
        }
        return;
    }
    let mut previous = 0;
    for word in row.as_chunks_mut::<2>().0 {
        let value = u16::from_le_bytes(*word);
        *word = value.wrapping_sub(previous).to_le_bytes();
        previous = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_bits_of_the_specification() {
        // the example of TIFF 6.0, section 9
        let packed =
            [0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7, 0xaa];
        let plain = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22, 0xaa, 0xaa,
            0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        let mut out = [0; 24];
        Decompressor::default().decompress(Compression::PackBits, &packed, &mut out).unwrap();
        assert_eq!(out, plain);
    }

    #[test]
    fn streams_that_end_early_say_so() {
        for how in [
            Compression::None,
            Compression::Lzw,
            Compression::Deflate,
            Compression::PackBits,
            Compression::Zstd,
        ] {
            let packed = compress(how, vec![7; 100]).unwrap_or_else(|_| vec![0x9d, 7]);
            let mut decompressor = Decompressor::default();
            assert!(decompressor.decompress(how, &packed, &mut [0; 100]).is_ok(), "{how:?}");
            assert!(decompressor.decompress(how, &packed[..1], &mut [0; 100]).is_err(), "{how:?}");
            assert!(decompressor.decompress(how, &packed, &mut [0; 101]).is_err(), "{how:?}");
        }
    }
}
