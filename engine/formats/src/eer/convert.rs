//! What the tags of an EER file mean → how its bits are read.
//!
//! | theirs | ours | source |
//! |---|---|---|
//! | compression 65000 | words of 12 bits: 8 of run, 4 of place; a full run's place is there and means nothing | RELION |
//! | 65001 | 7 bits of run, 4 of place, no place after a full run | RELION, imagecodecs |
//! | 65002 | the same with the widths of tags 65007 (run), 65008 (x), 65009 (y) | EerReaderLib, imagecodecs |
//! | the highest bit of x and of y in a place | stored inverted | RELION: 4 bits ^ 0x0a, 2 bits ^ 3 |
//! | row 0 | row 0: EER is not flipped although it is a TIFF | RELION |

/// Tag of the compression.
pub const COMPRESSION: u16 = 259;
/// Tag of the width of a run where the compression leaves it open.
pub const RUN_BITS: u16 = 65007;
/// Tag of the width of the place along x.
pub const X_BITS: u16 = 65008;
/// Tag of the width of the place along y.
pub const Y_BITS: u16 = 65009;

/// How the words of a raw frame are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Bits of a run.
    pub run_bits: u32,
    /// Bits of the place of an electron in its pixel along x, the lowest of the symbol.
    pub x_bits: u32,
    /// Likewise along y, the highest of the symbol.
    pub y_bits: u32,
    /// Whether a symbol follows a full run, too.
    pub symbol_after_full_run: bool,
}

/// The compressions of raw frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// 65000 and 65001.
    Fixed(Words),
    /// 65002: widths stand in tags.
    Tagged,
}

impl Compression {
    /// From the number of tag 259; `None` if it is not of EER.
    pub fn from_code(code: u64) -> Option<Self> {
        let words =
            |run_bits, symbol_after_full_run| Words { run_bits, x_bits: 2, y_bits: 2, symbol_after_full_run };
        match code {
            65000 => Some(Self::Fixed(words(8, true))),
            65001 => Some(Self::Fixed(words(7, false))),
            65002 => Some(Self::Tagged),
            _ => None,
        }
    }
}

impl Words {
    /// Bits of a symbol.
    pub fn symbol_bits(self) -> u32 {
        self.x_bits + self.y_bits
    }

    /// The bits of a symbol that are stored inverted.
    pub fn inverted(self) -> u32 {
        let highest = |bits: u32| (1 << bits) >> 1;
        highest(self.x_bits) | highest(self.y_bits) << self.x_bits
    }

    /// The finest upsampling the file has places for: 1, 2 or 4.
    pub fn finest_upsampling(self) -> u32 {
        1 << self.x_bits.min(self.y_bits).min(2)
    }

    /// Column and row in a pixel of the sensor, from 0 to `upsampling - 1` (1, 2 or 4, at most
    /// [`Words::finest_upsampling`]), of a symbol whose inverted bits are set right.
    pub fn place(self, symbol: u32, upsampling: u32) -> (usize, usize) {
        let keep = upsampling.trailing_zeros();
        let x = symbol & ((1 << self.x_bits) - 1);
        let y = symbol >> self.x_bits;
        ((x >> (self.x_bits - keep)) as usize, (y >> (self.y_bits - keep)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_those_of_relion() {
        let Some(Compression::Fixed(words)) = Compression::from_code(65001) else { panic!() };
        assert_eq!(words.inverted(), 0x0a);
        for symbol in 0..16u32 {
            let (s, p) = (symbol as usize, |upsampling| words.place(symbol, upsampling));
            assert_eq!(p(1), (0, 0));
            assert_eq!(p(2), ((s & 2) >> 1, (s & 8) >> 3));
            assert_eq!(p(4), (s & 3, (s & 12) >> 2));
        }
        let falcon2k = Words { run_bits: 7, x_bits: 1, y_bits: 1, symbol_after_full_run: false };
        assert_eq!((falcon2k.inverted(), falcon2k.finest_upsampling()), (3, 2));
        assert_eq!([0, 1, 2, 3].map(|s| falcon2k.place(s, 2)), [(0, 0), (1, 0), (0, 1), (1, 1)]);
    }
}
