//! The records of a dataset and their fields.

use super::error::CsError;
use super::literal::{Literal, NoLiteral, parse};
use std::path::{Path, PathBuf};

const NUMPY: &[u8] = b"\x93NUMPY";
const CSDAT: &[u8] = b"\x95CSDAT";

/// How one value of a field is stored, with its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Float(usize),
    Signed(usize),
    Unsigned(usize),
    Text(usize),
}

impl Scalar {
    /// From numpy's word, e.g. `<f4`, `|S12`.
    fn of(word: &str) -> Option<Self> {
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

    fn bytes(self) -> usize {
        match self {
            Self::Float(bytes) | Self::Signed(bytes) | Self::Unsigned(bytes) | Self::Text(bytes) => bytes,
        }
    }

    /// The value of a number's bytes; NaN for text.
    fn number(self, bytes: &[u8]) -> f64 {
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
            Self::Text(_) => f64::NAN,
        }
    }
}

/// A field of the records.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: String,
    /// Its type as written.
    word: String,
    scalar: Scalar,
    /// Values in a record.
    count: usize,
    /// Where it starts in a record, bytes.
    offset: usize,
}

/// A dataset in memory.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    fields: Vec<Field>,
    rows: usize,
    row_bytes: usize,
    data: Vec<u8>,
}

impl Dataset {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, is of another encoding, or ends too early.
    pub fn read(path: &Path) -> Result<Self, CsError> {
        let bytes = std::fs::read(path).map_err(|source| CsError::Io { path: path.into(), source })?;
        Self::parse(path, bytes)
    }

    /// The same from bytes; `path` is for messages.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<Self, CsError> {
        let (start, end) = header_extent(path, &bytes)?;
        let error = |offset: usize, why: String| CsError::Header { path: path.into(), offset, why };
        let text = std::str::from_utf8(&bytes[start..end])
            .map_err(|e| error(start + e.valid_up_to(), "it is no text".into()))?;
        let literal = parse(text).map_err(|NoLiteral { offset, why }| error(start + offset, why))?;
        let (fields, rows) = describe(literal).map_err(|why| error(start, why))?;
        let row_bytes = fields.last().map_or(0, |field| field.offset + field.scalar.bytes() * field.count);
        let expected = (rows as u128) * (row_bytes as u128) + end as u128;
        if expected > bytes.len() as u128 {
            return Err(CsError::Truncated {
                path: path.into(),
                rows,
                row_bytes,
                expected: u64::try_from(expected).unwrap_or(u64::MAX),
                found: bytes.len() as u64,
            });
        }
        let data = bytes.split_off(end);
        Ok(Self { path: path.into(), fields, rows, row_bytes, data })
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether the records have a field.
    pub fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|known| known.name == field)
    }

    /// Value `index` (from 0) of a field of numbers, of every record.
    ///
    /// # Errors
    /// No such field, text, or fewer values.
    pub fn numbers(
        &self,
        field: &'static str,
        index: usize,
        needed_for: &'static str,
    ) -> Result<Vec<f64>, CsError> {
        let known = self.find(field, needed_for)?;
        if matches!(known.scalar, Scalar::Text(_)) || index >= known.count {
            return Err(self.wrong(known, field, "a number"));
        }
        let width = known.scalar.bytes();
        let start = known.offset + index * width;
        Ok(self.records().map(|record| known.scalar.number(&record[start..start + width])).collect())
    }

    /// A field of text, of every record; bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// No such field, or numbers.
    pub fn texts(&self, field: &'static str, needed_for: &'static str) -> Result<Vec<String>, CsError> {
        let known = self.find(field, needed_for)?;
        let (Scalar::Text(width), 1) = (known.scalar, known.count) else {
            return Err(self.wrong(known, field, "text"));
        };
        let text = |record: &[u8]| {
            let bytes = &record[known.offset..known.offset + width];
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        Ok(self.records().map(text).collect())
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.data.chunks_exact(self.row_bytes.max(1)).take(self.rows)
    }

    fn find(&self, field: &'static str, needed_for: &'static str) -> Result<&Field, CsError> {
        self.fields.iter().find(|known| known.name == field).ok_or_else(|| {
            let group = field.split('/').next().unwrap_or_default();
            let alike: Vec<&str> =
                self.fields.iter().map(|f| f.name.as_str()).filter(|name| name.starts_with(group)).collect();
            let found = match alike.len() {
                0 => format!("{} others", self.fields.len()),
                _ => alike.join(", "),
            };
            CsError::MissingField { path: self.path.clone(), field, needed_for, found }
        })
    }

    fn wrong(&self, known: &Field, field: &'static str, expected: &'static str) -> CsError {
        let found = format!("{} × {}", known.count, known.word);
        CsError::WrongField { path: self.path.clone(), field, found, expected }
    }
}

/// Where the header's literal starts and ends.
fn header_extent(path: &Path, bytes: &[u8]) -> Result<(usize, usize), CsError> {
    let encoding = |found: String, expected| CsError::Encoding { path: path.into(), found, expected };
    if bytes.starts_with(CSDAT) {
        return Err(encoding(
            "it is a dataset in CryoSPARC's own encoding (CSDAT)".into(),
            "that of numpy: load it with cryosparc-tools and save it with format NUMPY_FORMAT",
        ));
    }
    if !bytes.starts_with(NUMPY) {
        let head: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        return Err(encoding(format!("it starts with {}", head.join(" ")), "a CryoSPARC dataset (.cs)"));
    }
    let short = || CsError::Header {
        path: path.into(),
        offset: bytes.len(),
        why: "the file ends in its header".into(),
    };
    let (start, length) = match bytes.get(6) {
        Some(1) => {
            let raw = bytes.get(8..10).and_then(|raw| raw.first_chunk()).ok_or_else(short)?;
            (10, usize::from(u16::from_le_bytes(*raw)))
        }
        Some(2 | 3) => {
            let raw = bytes.get(8..12).and_then(|raw| raw.first_chunk()).ok_or_else(short)?;
            (12, u32::from_le_bytes(*raw) as usize)
        }
        version => {
            return Err(CsError::Header {
                path: path.into(),
                offset: 6,
                why: format!("version {version:?} of numpy's format is not known (1, 2, 3 are)"),
            });
        }
    };
    let end = start + length;
    if end > bytes.len() { Err(short()) } else { Ok((start, end)) }
}

/// Fields and number of records that a header tells of.
fn describe(header: Literal) -> Result<(Vec<Field>, usize), String> {
    let Literal::Dictionary(pairs) = header else { return Err("it is no dictionary".into()) };
    let get = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value);
    let Some(Literal::Sequence(descr)) = get("descr") else {
        return Err("`descr` is no list of fields".into());
    };
    let rows = match get("shape") {
        Some(Literal::Sequence(shape)) => match shape.as_slice() {
            [Literal::Integer(rows)] => usize::try_from(*rows).map_err(|_| "too many records".to_string())?,
            _ => return Err("`shape` is not that of a list of records".into()),
        },
        _ => return Err("`shape` is missing".into()),
    };
    let mut fields = Vec::with_capacity(descr.len());
    let mut offset = 0usize;
    for entry in descr {
        let field = field(entry, offset)?;
        let bytes = field.scalar.bytes().checked_mul(field.count);
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        offset = end.ok_or_else(|| format!("field `{}` is absurdly large", field.name))?;
        fields.push(field);
    }
    Ok((fields, rows))
}

fn field(entry: &Literal, offset: usize) -> Result<Field, String> {
    let Literal::Sequence(parts) = entry else { return Err("a field is no tuple".into()) };
    let (name, word, shape) = match parts.as_slice() {
        [Literal::Text(name), Literal::Text(word)] => (name, word, &[][..]),
        [Literal::Text(name), Literal::Text(word), Literal::Sequence(shape)] => (name, word, &shape[..]),
        _ => return Err("a field is not (name, type) or (name, type, shape)".into()),
    };
    let scalar =
        Scalar::of(word).ok_or_else(|| format!("field `{name}` is of type `{word}`, which is not known"))?;
    let mut count = 1usize;
    for edge in shape {
        let Literal::Integer(edge) = edge else { return Err(format!("the shape of `{name}` is no number")) };
        let edge = usize::try_from(*edge).ok();
        count = edge
            .and_then(|edge| count.checked_mul(edge))
            .ok_or_else(|| format!("field `{name}` is absurdly large"))?;
    }
    Ok(Field { name: name.clone(), word: word.clone(), scalar, count, offset })
}
