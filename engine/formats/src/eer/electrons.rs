//! The electrons of one raw frame, one after the other.

use super::convert::Words;

/// Most bits of a symbol: what [`Electron`] holds beside a pixel, and what a window of bits always shows after a run.
pub const MAX_SYMBOL_BITS: u32 = 8;

/// Most bits of a run.
pub const MAX_RUN_BITS: u32 = 16;

/// Most pixels of a sensor that an [`Electron`] tells apart.
pub const MAX_PIXELS: usize = 1 << (32 - MAX_SYMBOL_BITS);

/// One electron: the pixel of the sensor it hit (`y · width + x`) and its symbol, the inverted bits set right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Electron(u32);

impl Electron {
    /// `pixel` is below [`MAX_PIXELS`], `symbol` of at most [`MAX_SYMBOL_BITS`].
    pub fn new(pixel: usize, symbol: u32) -> Self {
        Self((pixel as u32) << MAX_SYMBOL_BITS | symbol)
    }

    /// Index of the pixel of the sensor.
    pub fn pixel(self) -> usize {
        (self.0 >> MAX_SYMBOL_BITS) as usize
    }

    /// Where in the pixel.
    pub fn symbol(self) -> u32 {
        self.0 & ((1 << MAX_SYMBOL_BITS) - 1)
    }
}

/// Why a raw frame cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Byte of its data where the decoder stopped.
    pub byte: usize,
    /// What was wrong.
    pub why: String,
}

/// The bits of a window that are its bytes' whatever bit it begins at.
const WINDOW_BITS: u32 = 64 - 7;

/// Goes through a raw frame, as far as it is told at a time.
pub struct Decoder<'a> {
    words: Words,
    bytes: &'a [u8],
    pixels: usize,
    /// The next bit.
    at: usize,
    /// Where the next run begins.
    pixel: usize,
}

impl<'a> Decoder<'a> {
    /// At the start of a frame of `pixels` pixels, at most [`MAX_PIXELS`], stored in `bytes`.
    pub fn new(words: Words, bytes: &'a [u8], pixels: usize) -> Self {
        Self { words, bytes, pixels, at: 0, pixel: 0 }
    }

    /// Calls `each` with pixel and symbol of the electrons before pixel `end` that it was not called with yet, rising by
    /// pixel. With `end` at (or beyond) the last pixel, the frame is held to have ended there.
    ///
    /// # Errors
    /// Data that end before the last pixel, or whose runs go beyond it.
    pub fn until(&mut self, end: usize, each: impl FnMut(usize, u32)) -> Result<(), BadFrame> {
        // widths that the compiler knows make the two codes cameras use twice as fast
        match (self.words.run_bits, self.words.symbol_bits(), self.words.symbol_after_full_run) {
            (7, 4, false) => self.go(end, 7, 4, false, each),
            (8, 4, true) => self.go(end, 8, 4, true, each),
            (run_bits, symbol_bits, after_full) => self.go(end, run_bits, symbol_bits, after_full, each),
        }
    }

    #[inline(always)]
    fn go(
        &mut self,
        end: usize,
        run_bits: u32,
        symbol_bits: u32,
        symbol_after_full_run: bool,
        mut each: impl FnMut(usize, u32),
    ) -> Result<(), BadFrame> {
        let end = end.min(self.pixels);
        let full = (1usize << run_bits) - 1;
        let symbol_mask = (1u64 << symbol_bits) - 1;
        let inverted = self.words.inverted();
        let word_bits = run_bits + symbol_bits;
        let (mut at, mut pixel) = (self.at, self.pixel);
        // the run that reaches `end` is left for the next call
        'words: while pixel < end {
            let Some(mut window) = window(self.bytes, at) else { break };
            let mut left = WINDOW_BITS;
            while left >= word_bits {
                let run = (window as usize) & full;
                if pixel + run >= end {
                    break 'words;
                }
                pixel += run;
                let mut taken = word_bits;
                if run != full {
                    each(pixel, ((window >> run_bits) & symbol_mask) as u32 ^ inverted);
                    pixel += 1;
                } else if !symbol_after_full_run {
                    taken = run_bits;
                }
                window >>= taken;
                left -= taken;
                at += taken as usize;
                if pixel >= end {
                    break 'words;
                }
            }
        }
        (self.at, self.pixel) = (at, pixel);
        if end == self.pixels { self.finish() } else { Ok(()) }
    }

    /// Holds what is left, at most one run, against the end of the frame.
    fn finish(&mut self) -> Result<(), BadFrame> {
        let bits = 8 * self.bytes.len();
        let (pixel, pixels) = (self.pixel, self.pixels);
        let run_end = self.at + self.words.run_bits as usize;
        let cut =
            || BadFrame { byte: self.bytes.len(), why: format!("its data end at pixel {pixel} of {pixels}") };
        if self.at > bits || pixel < pixels && run_end > bits {
            return Err(cut());
        }
        if pixel == pixels {
            return Ok(());
        }
        let run = window(self.bytes, self.at).unwrap_or_default() & ((1 << self.words.run_bits) - 1);
        self.at = run_end;
        self.pixel += run as usize;
        if self.pixel < pixels {
            return Err(cut());
        }
        if self.pixel > pixels {
            let why = format!("its runs add up to {} pixels, expected {pixels}", self.pixel);
            return Err(BadFrame { byte: self.at.div_ceil(8), why });
        }
        Ok(())
    }
}

/// At least [`WINDOW_BITS`] bits from bit `at` on, the first in the lowest; zeros after the last byte, `None` from there
/// on.
fn window(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at / 8..).filter(|rest| !rest.is_empty())?;
    let chunk = rest.first_chunk().copied().unwrap_or_else(|| {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last
    });
    Some(u64::from_le_bytes(chunk) >> (at % 8))
}
