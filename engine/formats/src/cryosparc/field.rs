//! How the values of a field are stored.

use std::path::Path;
use std::sync::Arc;

/// How one value of a field is stored, with its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Float(usize),
    Signed(usize),
    Unsigned(usize),
    /// Bytes of a fixed length, filled up with zeros.
    Text(usize),
    /// Where a text that ends with a zero starts in the heap, 8 bytes.
    Indirect,
}

impl Scalar {
    /// From numpy's word, e.g. `<f4`, `|S12`; of `|O`, which only CSDAT has, the index of a text.
    pub fn of(word: &str) -> Option<Self> {
        if word == "|O" {
            return Some(Self::Indirect);
        }
        let word = word.trim_start_matches(['<', '|', '=']);
        let bytes = word.get(1..)?.parse::<usize>().ok()?;
        match (word.chars().next()?, bytes) {
            ('f', 4 | 8) => Some(Self::Float(bytes)),
            ('i', 1 | 2 | 4 | 8) => Some(Self::Signed(bytes)),
            ('u' | 'b', 1 | 2 | 4 | 8) => Some(Self::Unsigned(bytes)),
            ('S', _) => Some(Self::Text(bytes)),
            _ => None,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::Float(bytes) | Self::Signed(bytes) | Self::Unsigned(bytes) | Self::Text(bytes) => bytes,
            Self::Indirect => 8,
        }
    }

    pub fn is_text(self) -> bool {
        matches!(self, Self::Text(_) | Self::Indirect)
    }

    /// The value of a number's bytes; NaN for text.
    pub fn number(self, bytes: &[u8]) -> f64 {
        let mut wide = [0; 8];
        wide[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
        match self {
            Self::Float(4) => f64::from(f32::from_bits(u64::from_le_bytes(wide) as u32)),
            Self::Float(_) => f64::from_le_bytes(wide),
            Self::Unsigned(_) => u64::from_le_bytes(wide) as f64,
            Self::Signed(width) => {
                let unused = 64 - 8 * width as u32;
                ((i64::from_le_bytes(wide) << unused) >> unused) as f64
            }
            Self::Text(_) | Self::Indirect => f64::NAN,
        }
    }
}

/// What a header says of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    pub name: String,
    /// Its type as written.
    pub word: String,
    pub scalar: Scalar,
    /// Values in a record.
    pub count: usize,
}

impl Described {
    /// From its name, type and shape as a header has them.
    pub fn new(name: &str, word: &str, shape: &[u64]) -> Result<Self, String> {
        let scalar = Scalar::of(word)
            .ok_or_else(|| format!("field `{name}` is of type `{word}`, which is not known"))?;
        let times = |count: usize, edge: &u64| count.checked_mul(usize::try_from(*edge).ok()?);
        let count = shape.iter().try_fold(1usize, times);
        let count = count.filter(|count| count.checked_mul(scalar.bytes()).is_some());
        let count = count.ok_or_else(|| format!("field `{name}` is absurdly large"))?;
        Ok(Self { name: name.into(), word: word.into(), scalar, count })
    }

    /// Bytes of its values in a record.
    pub fn width(&self) -> usize {
        self.scalar.bytes() * self.count
    }
}

/// A field with its values.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub described: Described,
    /// The file it is from.
    pub path: Arc<Path>,
    /// Where its values are: the first record's at `start`, the next `stride` bytes on.
    pub bytes: Arc<Vec<u8>>,
    pub start: usize,
    pub stride: usize,
    /// Texts of [`Scalar::Indirect`].
    pub heap: Arc<Vec<u8>>,
    /// Which record of its file is record `i` of the dataset; `None`: the same one.
    pub order: Option<Arc<Vec<u32>>>,
}

impl Field {
    /// The bytes of value `index` in record `row`.
    pub fn value(&self, row: usize, index: usize) -> &[u8] {
        let row = self.order.as_ref().map_or(row, |order| order[row] as usize);
        let width = self.described.scalar.bytes();
        let start = self.start + row * self.stride + index * width;
        &self.bytes[start..start + width]
    }

    /// The text in record `row`, without the zeros at its end.
    pub fn text(&self, row: usize) -> &[u8] {
        let bytes = self.value(row, 0);
        match self.described.scalar {
            Scalar::Indirect => self.text_at(little_u64(bytes)).unwrap_or_default(),
            _ => &bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)],
        }
    }

    /// The text that starts at an index of the heap; `None` where it has no start or no end there.
    pub fn text_at(&self, index: u64) -> Option<&[u8]> {
        let rest = self.heap.get(usize::try_from(index).ok()?..)?;
        Some(&rest[..rest.iter().position(|byte| *byte == 0)?])
    }
}

/// The number in 8 bytes.
pub(super) fn little_u64(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
    u64::from_le_bytes(wide)
}
