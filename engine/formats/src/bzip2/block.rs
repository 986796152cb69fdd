//! Decodes one block where it lies, at any bit.
//!
//! The steps, in the order of decoding: codes, runs and places in a list of bytes whose last used moves to the front, the
//! sorted rotations of the text (Burrows and Wheeler), runs of the text itself, a checksum.

use super::huffman::{Bits, Code, MAX_CODE_BITS, MAX_SYMBOLS};

/// What a block begins with, bits: its mark.
const MARK_BITS: u64 = 48;
/// Most bytes of a block before its own runs are undone.
const MAX_BYTES: usize = 900_000;
/// Symbols that are written in the same code.
const GROUP: usize = 50;
/// Most groups that a block of [`MAX_BYTES`] can have; more may be announced, and are not used.
const MAX_GROUPS: usize = 2 + MAX_BYTES / GROUP;
/// Codes a block may have.
const CODES: std::ops::RangeInclusive<usize> = 2..=6;
/// The first two symbols are the digits of the length of a run, in base 2 with digits 1 and 2.
const DIGITS: u16 = 2;
/// A run of more digits is longer than any block.
const MAX_DIGITS: u32 = 20;
/// Equal bytes of the text after which a byte says how many more follow.
const RUN: u32 = 4;

/// What is wrong with a block, in words.
pub type Why = String;

/// A block whose symbols are read.
pub enum Block {
    /// The usual.
    Sorted(Box<Sorted>),
    /// Of a kind that bzip2 wrote until 1998 (0.9.0), with every now and then a bit turned.
    Randomised,
}

/// Reads the block whose mark begins at bit `from` of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub fn read(bytes: &[u8], from: u64) -> Result<Block, Why> {
    let mut bits = Bits::new(bytes, from + MARK_BITS);
    let checksum = bits.take(32);
    if bits.take(1) == 1 {
        return Ok(Block::Randomised);
    }
    let sorted = Sorted::read(&mut bits, checksum)?;
    if sorted.end > 8 * bytes.len() as u64 {
        return Err("it is cut off".into());
    }
    Ok(Block::Sorted(Box::new(sorted)))
}

/// The texts of blocks, each with its checksum verified.
///
/// A text is a chain of places all over its column: every step waits for memory. Several chains at a time wait
/// together.
pub fn texts(blocks: &[Sorted]) -> Vec<Result<Vec<u8>, Why>> {
    let mut texts = Vec::with_capacity(blocks.len());
    for four in blocks.chunks(CHAINS) {
        let shortest = four.iter().map(|block| block.column.len()).min().unwrap_or(0);
        let mut plain: Vec<Vec<u8>> = four.iter().map(|block| vec![0; block.column.len()]).collect();
        let mut at = [0; CHAINS];
        at.iter_mut().zip(four).for_each(|(at, block)| *at = block.column[block.origin] >> 8);
        if let ([a, b, c, d], [p, q, r, s]) = (four, &mut plain[..]) {
            let columns = [&a.column[..], &b.column, &c.column, &d.column];
            let outs = [&mut p[..shortest], &mut q[..shortest], &mut r[..shortest], &mut s[..shortest]];
            follow_together(columns, &mut at, outs);
        } else {
            for ((block, at), out) in four.iter().zip(&mut at).zip(&mut plain) {
                follow(&block.column, at, &mut out[..shortest]);
            }
        }
        for ((block, at), out) in four.iter().zip(&mut at).zip(&mut plain) {
            follow(&block.column, at, &mut out[shortest..]);
            texts.push(block.finish(out));
        }
    }
    texts
}

/// Chains that are followed at a time.
pub const CHAINS: usize = 4;

/// Writes the bytes of a chain from `at` on.
fn follow(column: &[u32], at: &mut u32, out: &mut [u8]) {
    for byte in out {
        let cell = column[*at as usize];
        *byte = cell as u8;
        *at = cell >> 8;
    }
}

/// The same for as many chains, each as long as the first.
fn follow_together(columns: [&[u32]; CHAINS], at: &mut [u32; CHAINS], outs: [&mut [u8]; CHAINS]) {
    let [a, b, c, d] = outs;
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let cells: [u32; CHAINS] = std::array::from_fn(|i| columns[i][at[i] as usize]);
        *at = cells.map(|cell| cell >> 8);
        [*a, *b, *c, *d] = cells.map(|cell| cell as u8);
    }
}

/// A block as it is stored: the last column of the sorted rotations of its text.
pub struct Sorted {
    /// Bytes, in the lowest eight bits; above them, once they are linked, the rotation that is one further.
    column: Vec<u32>,
    /// How often each byte occurs.
    counts: [u32; 256],
    /// The rotation that begins at the first byte of the text.
    origin: usize,
    checksum: u32,
    /// The bit after its last.
    pub end: u64,
}

impl Sorted {
    fn read(bits: &mut Bits<'_>, checksum: u32) -> Result<Self, Why> {
        let origin = bits.take(24) as usize;
        let mut front = Front::read(bits)?;
        // two digits and the end
        let symbols = front.used + 2;
        let codes = bits.take(3) as usize;
        let groups = bits.take(15) as usize;
        if !CODES.contains(&codes) || groups == 0 {
            return Err(format!("it has {codes} codes for {groups} groups of symbols"));
        }
        let groups = read_groups(bits, codes, groups)?;
        let codes: Vec<Code> = (0..codes).map(|_| read_code(bits, symbols)).collect::<Result<_, _>>()?;
        let mut sorted = Self { column: vec![0; MAX_BYTES], counts: [0; 256], origin, checksum, end: 0 };
        let length = sorted.fill(bits, &mut front, &groups, &codes, symbols as u16 - 1)?;
        sorted.column.truncate(length);
        sorted.end = bits.position();
        if origin >= length {
            return Err(format!("it begins at rotation {origin} of {length}"));
        }
        sorted.link();
        Ok(sorted)
    }

    /// Reads the column; returns its length.
    fn fill(
        &mut self,
        bits: &mut Bits<'_>,
        front: &mut Front,
        groups: &[u8],
        codes: &[Code],
        end: u16,
    ) -> Result<usize, Why> {
        let (mut length, mut run, mut digits) = (0, 0usize, 0);
        for group in groups {
            let code = &codes[usize::from(*group)];
            for _ in 0..GROUP {
                bits.refill();
                let symbol = code.symbol(bits).ok_or("bits that are no code")?;
                if symbol < DIGITS {
                    run += (usize::from(symbol) + 1) << digits;
                    digits += 1;
                    if digits > MAX_DIGITS {
                        return Err("a run longer than a block".into());
                    }
                    continue;
                }
                if digits > 0 {
                    let byte = front.first();
                    let cells = self.column.get_mut(length..length + run).ok_or(TOO_LONG)?;
                    cells.fill(u32::from(byte));
                    self.counts[usize::from(byte)] += run as u32;
                    (length, run, digits) = (length + run, 0, 0);
                }
                if symbol == end {
                    return Ok(length);
                }
                let byte = front.bring(usize::from(symbol) - 1);
                *self.column.get_mut(length).ok_or(TOO_LONG)? = u32::from(byte);
                self.counts[usize::from(byte)] += 1;
                length += 1;
            }
        }
        Err("its symbols do not end".into())
    }

    /// Makes the column a chain of rotations in the order of the text.
    fn link(&mut self) {
        let mut next = self.counts;
        let mut before = 0;
        for count in &mut next {
            (*count, before) = (before, before + *count);
        }
        for rotation in 0..self.column.len() {
            let place = &mut next[(self.column[rotation] & 0xff) as usize];
            self.column[*place as usize] |= (rotation as u32) << 8;
            *place += 1;
        }
    }

    /// The text, from that in which runs stand as four equal bytes and a number.
    fn finish(&self, plain: &[u8]) -> Result<Vec<u8>, Why> {
        let mut text = Vec::with_capacity(plain.len() + plain.len() / 8);
        let (mut last, mut equal) = (None, 0);
        for &byte in plain {
            if equal == RUN {
                text.resize(text.len() + usize::from(byte), last.unwrap_or_default());
                (last, equal) = (None, 0);
                continue;
            }
            equal = if last == Some(byte) { equal + 1 } else { 1 };
            last = Some(byte);
            text.push(byte);
        }
        let found = crc32(&text);
        if found != self.checksum {
            return Err(format!("its checksum is {found:08x}, expected {:08x}", self.checksum));
        }
        Ok(text)
    }
}

const TOO_LONG: &str = "more bytes than a block has";

/// The bytes that occur, the last used first: eight in a number, as few values are common, and the others behind.
struct Front {
    head: u64,
    tail: [u8; 248],
    used: usize,
}

/// Bytes in [`Front::head`].
const HEAD: usize = 8;

impl Front {
    /// Reads which bytes occur.
    fn read(bits: &mut Bits<'_>) -> Result<Self, Why> {
        let mut list = [0; 256];
        let mut used = 0;
        let rows = bits.take(16);
        for row in (0..16).filter(|row| rows >> (15 - row) & 1 == 1) {
            let columns = bits.take(16);
            for column in (0..16).filter(|column| columns >> (15 - column) & 1 == 1) {
                list[used] = (16 * row + column) as u8;
                used += 1;
            }
        }
        if used == 0 {
            return Err("no byte occurs in it".into());
        }
        let (head, tail) = list.split_at(HEAD);
        let head = head.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte));
        Ok(Self { head, tail: std::array::from_fn(|i| tail[i]), used })
    }

    fn first(&self) -> u8 {
        self.head as u8
    }

    /// The byte at `place`, at least 1, which comes to the front.
    #[inline(always)]
    fn bring(&mut self, place: usize) -> u8 {
        if place < HEAD {
            let shift = 8 * place as u32;
            let byte = (self.head >> shift) & 0xff;
            let before = self.head & ((1 << shift) - 1);
            let behind = self.head & u64::MAX.checked_shl(shift + 8).unwrap_or(0);
            self.head = behind | before << 8 | byte;
            return byte as u8;
        }
        let place = (place - HEAD).min(self.tail.len() - 1);
        let byte = self.tail[place];
        self.tail.copy_within(..place, 1);
        self.tail[0] = (self.head >> 56) as u8;
        self.head = self.head << 8 | u64::from(byte);
        byte
    }
}

/// The code of every group of symbols: places in a list whose last used moves to the front, in ones ended by a zero.
fn read_groups(bits: &mut Bits<'_>, codes: usize, groups: usize) -> Result<Vec<u8>, Why> {
    let mut front: Vec<u8> = (0..codes as u8).collect();
    let mut list = Vec::with_capacity(groups.min(MAX_GROUPS));
    for _ in 0..groups {
        let mut place = 0;
        while bits.take(1) == 1 {
            place += 1;
            if place == codes {
                return Err(format!("a group of symbols in none of its {codes} codes"));
            }
        }
        front[..=place].rotate_right(1);
        if list.len() < MAX_GROUPS {
            list.push(front[0]);
        }
    }
    Ok(list)
}

/// A code: the length of the first symbol's, then for every symbol steps from that of the one before.
fn read_code(bits: &mut Bits<'_>, symbols: usize) -> Result<Code, Why> {
    let mut lengths = [0u8; MAX_SYMBOLS];
    let mut length = bits.take(5);
    for symbol in &mut lengths[..symbols] {
        loop {
            if !(1..=MAX_CODE_BITS).contains(&length) {
                return Err(format!("a code of {length} bits"));
            }
            if bits.take(1) == 0 {
                break;
            }
            length = if bits.take(1) == 0 { length + 1 } else { length - 1 };
        }
        *symbol = length as u8;
    }
    Code::new(&lengths[..symbols])
}

/// bzip2's checksum: CRC-32 with the most significant bit first.
fn crc32(bytes: &[u8]) -> u32 {
    let table = &CRC_TABLES;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc = u32::MAX;
    for chunk in chunks {
        let [a, b, c, d, e, f, g, h] = chunk.map(usize::from);
        let [p, q, r, s] = crc.to_be_bytes().map(usize::from);
        crc = table[7][a ^ p]
            ^ table[6][b ^ q]
            ^ table[5][c ^ r]
            ^ table[4][d ^ s]
            ^ table[3][e]
            ^ table[2][f]
            ^ table[1][g]
            ^ table[0][h];
    }
    for byte in rest {
        crc = crc << 8 ^ table[0][usize::from((crc >> 24) as u8 ^ byte)];
    }
    !crc
}

/// By how many bytes follow, the share of a byte in the checksum.
static CRC_TABLES: [[u32; 256]; 8] = {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut after = 1;
    while after < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[after - 1][byte];
            tables[after][byte] = crc << 8 ^ tables[0][(crc >> 24) as usize];
            byte += 1;
        }
        after += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::new(9));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// `bytes` moved on by so many bits.
    fn shifted(bytes: &[u8], bits: u32) -> Vec<u8> {
        let mut out = vec![0; bytes.len() + 1];
        for (i, byte) in bytes.iter().enumerate() {
            let pair = (u16::from(*byte) << 8 >> bits).to_be_bytes();
            out[i] |= pair[0];
            out[i + 1] |= pair[1];
        }
        out
    }

    fn texts_of_all_kinds() -> Vec<Vec<u8>> {
        let mut state = 7u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        vec![
            b"a".to_vec(),
            vec![5; 100_000],
            (0..50_000).map(|_| random(256) as u8).collect(),
            (0..400_000).map(|_| (random(3) + random(3)) as u8).collect(),
            (0..=255).cycle().take(70_000).collect(),
            (0..60_000).flat_map(|i: u32| vec![(i % 9) as u8; 1 + i as usize % 11]).collect(),
            // every place of the list of bytes is asked for
            (0..120_000u32).map(|i| if i % 3 == 0 { random(256) } else { random(12) } as u8).collect(),
        ]
    }

    /// One block alone, and where it ends.
    fn decode(bytes: &[u8], from: u64) -> Result<(Vec<u8>, u64), Why> {
        match read(bytes, from)? {
            Block::Sorted(sorted) => {
                let end = sorted.end;
                Ok((texts(&[*sorted]).remove(0)?, end))
            }
            Block::Randomised => Err("randomised".into()),
        }
    }

    #[test]
    fn blocks_together_give_the_texts_of_each_alone() {
        let packed: Vec<Vec<u8>> = texts_of_all_kinds().iter().map(|text| compressed(text)).collect();
        let sorted = packed.iter().map(|packed| match read(packed, 32).unwrap() {
            Block::Sorted(sorted) => *sorted,
            Block::Randomised => panic!("not randomised"),
        });
        let found: Vec<Vec<u8>> =
            texts(&sorted.collect::<Vec<_>>()).into_iter().collect::<Result<_, _>>().unwrap();
        assert!(found == texts_of_all_kinds());
    }

    #[test]
    fn blocks_at_any_bit_give_their_text() {
        for text in texts_of_all_kinds() {
            let packed = compressed(&text);
            let bits = 8 * packed.len() as u64;
            for shift in 0..8 {
                let (found, end) = decode(&shifted(&packed, shift), 32 + u64::from(shift)).unwrap();
                assert!(found == text, "{} bytes, {shift} bits on", text.len());
                // mark and checksum of the stream's end follow, and up to seven bits
                let rest = bits + u64::from(shift) - end;
                assert!((80..88).contains(&rest), "{rest}");
            }
        }
    }

    #[test]
    fn a_checksum_of_the_specification() {
        assert_eq!(crc32(b"123456789"), 0xfc89_1918);
    }

    #[test]
    fn a_block_cut_or_harmed_is_an_error() {
        let text: Vec<u8> = texts_of_all_kinds().swap_remove(3)[..5000].to_vec();
        let packed = compressed(&text);
        for length in 4..packed.len() - 10 {
            assert!(decode(&packed[..length], 32).is_err(), "{length}");
        }
        for at in 8 * 10..8 * (packed.len() - 11) {
            let mut harmed = packed.clone();
            harmed[at / 8] ^= 0x80 >> (at % 8);
            let found = decode(&harmed, 32);
            assert!(found.is_err() || found.is_ok_and(|(found, _)| found == text), "bit {at}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in proptest::collection::vec(any::<u8>(), 1..3000)) {
            prop_assert_eq!(decode(&compressed(&text), 32).unwrap().0, text);
        }

        #[test]
        fn any_bytes_are_a_block_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes, 0);
        }
    }
}
