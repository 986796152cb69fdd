//! Writes EER files whose electrons are known: for tests of the reader, here and in `src/eer/tests.rs`.

#![allow(dead_code)] // each test uses a part

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How raw frames are coded.
#[derive(Debug, Clone, Copy)]
pub enum Code {
    /// 65000: 8 bits of run, 4 of symbol, also after a full run.
    Word12,
    /// 65001: 7 bits of run, 4 of symbol.
    Run7,
    /// 65002: widths in tags.
    Tagged { run: u32, x: u32, y: u32 },
}

/// An electron: pixel of the sensor, place in it (x the low bits, y the high ones, from the pixel's first corner).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    pub pixel: u32,
    pub symbol: u32,
}

impl Code {
    fn compression(self) -> u32 {
        match self {
            Self::Word12 => 65000,
            Self::Run7 => 65001,
            Self::Tagged { .. } => 65002,
        }
    }

    pub fn run_bits(self) -> u32 {
        match self {
            Self::Word12 => 8,
            Self::Run7 => 7,
            Self::Tagged { run, .. } => run,
        }
    }

    pub fn x_bits(self) -> u32 {
        if let Self::Tagged { x, .. } = self { x } else { 2 }
    }

    pub fn y_bits(self) -> u32 {
        if let Self::Tagged { y, .. } = self { y } else { 2 }
    }
}

/// Electrons at random pixels, rising, each pixel once.
pub fn hits(rng: &mut ChaCha8Rng, edge: usize, count: usize, symbol_bits: u32) -> Vec<Hit> {
    let mut pixels: Vec<u32> = (0..count).map(|_| rng.random_range(0..(edge * edge) as u32)).collect();
    pixels.sort_unstable();
    pixels.dedup();
    pixels.into_iter().map(|pixel| Hit { pixel, symbol: rng.random_range(0..1 << symbol_bits) }).collect()
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    free: u32,
}

impl BitWriter {
    fn put(&mut self, value: u32, bits: u32) {
        for bit in 0..bits {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let last = self.bytes.last_mut().expect("a byte should be there");
            *last |= ((value >> bit & 1) as u8) << (8 - self.free);
            self.free -= 1;
        }
    }
}

/// The data of one raw frame.
pub fn encode(code: Code, hits: &[Hit], edge: usize) -> Vec<u8> {
    let (run_bits, symbol_bits) = (code.run_bits(), code.x_bits() + code.y_bits());
    let full = (1u32 << run_bits) - 1;
    let highest = |bits: u32| (1u32 << bits) >> 1;
    let inverted = highest(code.x_bits()) | highest(code.y_bits()) << code.x_bits();
    let mut bits = BitWriter::default();
    let run = |bits: &mut BitWriter, mut length: u32| {
        while length >= full {
            bits.put(full, run_bits);
            if matches!(code, Code::Word12) {
                bits.put(0, symbol_bits);
            }
            length -= full;
        }
        bits.put(length, run_bits);
    };
    let mut next = 0;
    for hit in hits {
        run(&mut bits, hit.pixel - next);
        bits.put(hit.symbol ^ inverted, symbol_bits);
        next = hit.pixel + 1;
    }
    run(&mut bits, (edge * edge) as u32 - next);
    if matches!(code, Code::Word12) {
        bits.put(0, symbol_bits);
    }
    // cameras end on a whole word of 16 bits
    if bits.bytes.len() % 2 == 1 {
        bits.bytes.push(0);
    }
    bits.bytes
}

/// A little-endian TIFF of raw frames, each in one strip: all data from byte 8 on, then the directories.
pub fn container(code: Code, raws: &[Vec<u8>], edge: usize) -> Vec<u8> {
    let data: usize = raws.iter().map(Vec::len).sum();
    let mut bytes = b"II*\0".to_vec();
    bytes.extend(((8 + data) as u32).to_le_bytes());
    raws.iter().for_each(|raw| bytes.extend(raw));
    let mut offset = 8;
    for (index, raw) in raws.iter().enumerate() {
        let mut tags: Vec<(u16, u32)> = vec![
            (256, edge as u32),
            (257, edge as u32),
            (258, 8),
            (259, code.compression()),
            (262, 1),
            (273, offset),
            (277, 1),
            (278, edge as u32),
            (279, raw.len() as u32),
        ];
        if let Code::Tagged { run, x, y } = code {
            tags.extend([(65007, run), (65008, x), (65009, y)]);
        }
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, value) in &tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4u16.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        let end = bytes.len() + 4;
        let next = if index + 1 < raws.len() { end as u32 } else { 0 };
        bytes.extend(next.to_le_bytes());
        offset += raw.len() as u32;
    }
    bytes
}

/// An EER file of `frames`.
pub fn file(code: Code, frames: &[Vec<Hit>], edge: usize) -> Vec<u8> {
    let raws: Vec<Vec<u8>> = frames.iter().map(|hits| encode(code, hits, edge)).collect();
    container(code, &raws, edge)
}
