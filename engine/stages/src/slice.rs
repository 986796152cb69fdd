//! A part of a job's items, done by one element of an array job.

use std::fmt;
use std::str::FromStr;

/// Every `of`-th item, from item `number` (counted from 1) on. All slices 1 to `of` together are all items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    number: u32,
    of: u32,
}

/// Not a slice: found text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no slice: expected E/M with E from 1 to M, e.g. 3/20")]
pub struct BadSlice(String);

impl Slice {
    /// Its number, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many slices there are.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether the item of this index (from 0) belongs to it. Neighbours in the list go to different slices, so that
    /// slices take about equally long when files of one session stand together.
    pub fn has(self, index: usize) -> bool {
        index % self.of as usize + 1 == self.number as usize
    }
}

impl FromStr for Slice {
    type Err = BadSlice;

    fn from_str(text: &str) -> Result<Self, BadSlice> {
        let bad = || BadSlice(text.to_string());
        let (number, of) = text.split_once('/').ok_or_else(bad)?;
        let slice = Self {
            number: number.trim().parse().map_err(|_| bad())?,
            of: of.trim().parse().map_err(|_| bad())?,
        };
        if (1..=slice.of).contains(&slice.number) { Ok(slice) } else { Err(bad()) }
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_slice() {
        let slices: Vec<Slice> = (1..=3).map(|e| format!("{e}/3").parse().unwrap()).collect();
        for index in 0..10 {
            assert_eq!(slices.iter().filter(|slice| slice.has(index)).count(), 1, "{index}");
        }
        assert!(slices[0].has(0) && slices[1].has(4) && slices[2].has(5));
        assert_eq!((slices[1].number(), slices[1].of(), slices[1].to_string().as_str()), (2, 3, "2/3"));
    }

    #[test]
    fn what_is_no_slice_is_refused() {
        for text in ["", "3", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3", "99999999999/99999999999"] {
            let error = text.parse::<Slice>().unwrap_err();
            assert!(error.to_string().contains("expected E/M"), "{error}");
        }
    }
}
