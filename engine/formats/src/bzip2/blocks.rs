//! Where blocks may begin and end.

use super::block::{self, Block, Sorted, Why};
use std::io::Read;

/// What a block begins with: the digits of π.
const BLOCK: u64 = 0x3141_5926_5359;
/// What the end of a stream begins with: the digits of √π.
const END: u64 = 0x1772_4538_5090;
/// Length of both, bits.
const MARK_BITS: u32 = 48;
/// Length of a checksum, bits.
const CHECKSUM_BITS: u64 = 32;
/// What a stream begins with, bits: `BZh` and the size of its blocks.
const STREAM_HEAD_BITS: u64 = 32;
/// Where the first block of a file begins, bits.
pub const FIRST_BLOCK: u64 = STREAM_HEAD_BITS;
/// More bytes no block has when packed: 900,000 symbols of at most 20 bits, and its tables.
pub const MAX_PACKED_BYTES: u64 = 2_300_000;
/// More bytes no block gives: 900,000 bytes of which every five can stand for 259 equal ones.
pub const MAX_UNPACKED_BYTES: u64 = 900_000 / 5 * 259;

/// What 48 bits announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkKind {
    /// A block.
    Block,
    /// The end of a stream.
    End,
}

/// A place where a block or the end of a stream may begin; chance may put one into a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Bits from the start of the file.
    pub bit: u64,
    /// What may begin there.
    pub kind: MarkKind,
}

/// Bytes that a search has to see beyond a place to know whether a mark begins in its byte.
pub const MARK_BYTES: usize = 7;

/// The marks that begin in the first `bytes.len() - MARK_BYTES + 1` bytes; `offset` is that of the first, bytes from the
/// start of the file.
pub fn find_marks(bytes: &[u8], offset: u64, marks: &mut Vec<Mark>) {
    let shifts_of = SHIFTS_OF_SECOND_BYTE;
    for (at, window) in bytes.windows(MARK_BYTES).enumerate() {
        let mut shifts = shifts_of[usize::from(window[1])];
        while shifts != 0 {
            let shift = shifts.trailing_zeros();
            shifts &= shifts - 1;
            let value = window.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
            let value = value >> (8 - shift) & ((1 << MARK_BITS) - 1);
            let kind = match value {
                BLOCK => MarkKind::Block,
                END => MarkKind::End,
                _ => continue,
            };
            marks.push(Mark { bit: 8 * (offset + at as u64) + u64::from(shift), kind });
        }
    }
}

/// For every value of the second byte of a window: which shifts of a mark (bit `s`: it begins `s` bits into the window)
/// have that byte there. All others need not be looked at.
const SHIFTS_OF_SECOND_BYTE: [u8; 256] = {
    let mut table = [0; 256];
    let mut shift = 0;
    while shift < 8 {
        table[((BLOCK >> (MARK_BITS - 16 + shift)) & 0xff) as usize] |= 1 << shift;
        table[((END >> (MARK_BITS - 16 + shift)) & 0xff) as usize] |= 1 << shift;
        shift += 1;
    }
    table
};

/// Where the first block of the next stream begins if the end of one begins at `end_bit`: after the mark, a checksum, the
/// rest of the byte and the head of the next.
pub fn next_stream_block(end_bit: u64) -> u64 {
    (end_bit + u64::from(MARK_BITS) + CHECKSUM_BITS).next_multiple_of(8) + STREAM_HEAD_BITS
}

/// A block that is read, but whose text may yet have to be put together.
pub enum Stored {
    /// As a rule.
    Sorted(Box<Sorted>),
    /// One of a kind that nobody has written for long.
    Text(Vec<u8>),
}

/// Reads the block in bits `from..to` of `bytes`.
///
/// # Errors
/// What is wrong: bits that are no block, or not a whole one.
pub fn read(bytes: &[u8], from: u64, to: u64) -> Result<Stored, Why> {
    match block::read(bytes, from)? {
        Block::Sorted(sorted) if sorted.end == to => Ok(Stored::Sorted(sorted)),
        Block::Sorted(sorted) => {
            Err(format!("it ends {} bits from where the next begins", sorted.end.abs_diff(to)))
        }
        Block::Randomised => decode_randomised(bytes, from, to).map(Stored::Text),
    }
}

/// The texts of blocks, in their order, or what is wrong with them.
pub fn texts(blocks: Vec<Stored>) -> Vec<Result<Vec<u8>, Why>> {
    let mut texts: Vec<Result<Vec<u8>, Why>> = Vec::with_capacity(blocks.len());
    let mut sorted = Vec::new();
    for block in blocks {
        match block {
            Stored::Text(text) => texts.push(Ok(text)),
            Stored::Sorted(block) => {
                sorted.push((texts.len(), *block));
                texts.push(Err(String::new()));
            }
        }
    }
    let (places, sorted): (Vec<usize>, Vec<Sorted>) = sorted.into_iter().unzip();
    for (place, text) in places.into_iter().zip(block::texts(&sorted)) {
        texts[place] = text;
    }
    texts
}

/// Has libbz2 decode a block of a kind that nobody has written for long.
fn decode_randomised(bytes: &[u8], from: u64, to: u64) -> Result<Vec<u8>, Why> {
    let stream = as_stream(bytes, from, to).ok_or("it is too short to be a block")?;
    let mut out = Vec::new();
    let decoder = bzip2::read::BzDecoder::new(&stream[..]);
    decoder.take(MAX_UNPACKED_BYTES + 1).read_to_end(&mut out).map_err(|error| error.to_string())?;
    if out.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(format!("it gives more than {MAX_UNPACKED_BYTES} bytes"));
    }
    Ok(out)
}

/// A stream of the one block in bits `from..to`, whose checksum then is the stream's.
fn as_stream(bytes: &[u8], from: u64, to: u64) -> Option<Vec<u8>> {
    let bits = to.checked_sub(from).filter(|bits| *bits >= u64::from(MARK_BITS) + CHECKSUM_BITS)?;
    let (first, shift) = ((from / 8) as usize, from % 8);
    let length = bits.div_ceil(8) as usize;
    let source = bytes.get(first..(to.div_ceil(8)) as usize)?;
    let mut stream = Vec::with_capacity(4 + length + 11);
    stream.extend(b"BZh9");
    let next = source[1..].iter().chain([&0]);
    let shifted =
        source.iter().zip(next).map(|(byte, next)| (u16::from_be_bytes([*byte, *next]) << shift >> 8) as u8);
    stream.extend(shifted.take(length));
    let checksum = stream[4 + 6..4 + 10].to_vec();
    let used = bits % 8;
    let end = END.to_be_bytes();
    let tail = end[2..].iter().copied().chain(checksum);
    if used == 0 {
        stream.extend(tail);
        return Some(stream);
    }
    let last = stream.last_mut()?;
    *last &= 0xff << (8 - used);
    for byte in tail {
        *stream.last_mut()? |= byte >> used;
        stream.push(byte << (8 - used));
    }
    Some(stream)
}
