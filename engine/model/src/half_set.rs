//! The two independent halves of a gold-standard refinement.

use serde::{Deserialize, Serialize};

/// Which half of the data a particle belongs to; 1 and 2 in files (RELION's `rlnRandomSubset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HalfSet {
    /// First half.
    One,
    /// Second half.
    Two,
}

impl HalfSet {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::One, Self::Two];

    /// 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Self::One => 0,
            Self::Two => 1,
        }
    }

    /// 1 or 2, as files have it.
    pub fn number(self) -> u8 {
        self.index() as u8 + 1
    }

    /// The half of a file's 1 or 2; anything else (RELION writes 0 for none) is no half.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}
