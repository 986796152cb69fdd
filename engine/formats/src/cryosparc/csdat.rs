//! CryoSPARC's own encoding (CSDAT): column after column, each perhaps an LZ4 block, then a heap of texts.
//!
//! Layout (cryosparc-tools, `dataset/__init__.py`): `\x95CSDAT`, the length of the header (u32), the header in JSON
//! (`length`, `dtype`, `compression`, `compressed_fields`), for each field the bytes it takes (u32) and these, unless
//! there are no records, and the heap up to the end of the file. A text is its index in the heap, where it ends with a zero.

use super::error::CsError;
use super::field::{Described, Field, Scalar, little_u64};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

pub(super) const CSDAT: &[u8] = b"\x95CSDAT";

/// No LZ4 block unpacks to more than this many times its length: a match is extended by 255 bytes for each of its own.
const MOST_EXPANSION: usize = 255;
/// What a short block may unpack to on top.
const LEAST_EXPANSION: usize = 64;

#[derive(Deserialize)]
struct Header {
    length: u64,
    dtype: Vec<FieldIn>,
    compression: Option<String>,
    #[serde(default)]
    compressed_fields: Vec<String>,
}

/// A field as the header has it: name, type and, for more than one value, shape.
#[derive(Deserialize)]
#[serde(untagged)]
enum FieldIn {
    One(String, String),
    Many(String, String, Vec<u64>),
}

/// A place in the file.
struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn error(&self, why: impl Into<String>) -> CsError {
        CsError::Body { path: self.path.into(), offset: self.at, why: why.into() }
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], CsError> {
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(self.error(format!("{what} needs {count} bytes, the file has {left} more")));
        }
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    fn length(&mut self, what: &str) -> Result<usize, CsError> {
        let raw = self.take(4, what)?;
        Ok(little_u64(raw) as usize)
    }
}

/// Fields and number of records of a file.
///
/// # Errors
/// A header that cannot be understood, a column of the wrong length, or a text that is not in the heap.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Field>, usize), CsError> {
    let mut cursor = Cursor { path, bytes, at: CSDAT.len() };
    let length = cursor.length("the length of the header")?;
    let start = cursor.at;
    let error = |why: String| CsError::Header { path: path.into(), offset: start, why };
    let header = cursor.take(length, "the header")?;
    let header: Header = serde_json::from_slice(header).map_err(|e| error(e.to_string()))?;
    let packing = header.compression.as_deref();
    if !matches!(packing, None | Some("lz4")) {
        return Err(error(format!("compression {packing:?} is not known (lz4 is)")));
    }
    let rows = u32::try_from(header.length).map_err(|_| error("too many records".into()))? as usize;
    let mut columns = Vec::new();
    for field in &header.dtype {
        let (name, word, shape) = match field {
            FieldIn::One(name, word) => (name, word, &[][..]),
            FieldIn::Many(name, word, shape) => (name, word, &shape[..]),
        };
        let described = Described::new(name, word, shape).map_err(error)?;
        let is_packed = packing.is_some() && header.compressed_fields.contains(name);
        // without records there are no columns, not even empty ones
        let values = if rows > 0 { column(&mut cursor, &described, rows, is_packed)? } else { Vec::new() };
        columns.push((described, Arc::new(values)));
    }
    let (path, heap): (Arc<Path>, _) = (path.into(), Arc::new(bytes[cursor.at..].to_vec()));
    let field = |(described, bytes): (Described, Arc<Vec<u8>>)| {
        let stride = described.width();
        Field { described, path: path.clone(), bytes, start: 0, stride, heap: heap.clone(), order: None }
    };
    let fields: Vec<Field> = columns.into_iter().map(field).collect();
    check_texts(&cursor, &fields, rows)?;
    Ok((fields, rows))
}

/// The bytes of a column.
fn column(
    cursor: &mut Cursor<'_>,
    field: &Described,
    rows: usize,
    is_packed: bool,
) -> Result<Vec<u8>, CsError> {
    let name = &field.name;
    let stored = cursor.length(&format!("the length of column `{name}`"))?;
    let start = cursor.at;
    let raw = cursor.take(stored, &format!("column `{name}`"))?;
    let error = |why: String| CsError::Body { path: cursor.path.into(), offset: start, why };
    let expected = rows.checked_mul(field.width());
    let expected = expected.ok_or_else(|| error(format!("column `{name}` is absurdly large")))?;
    if !is_packed {
        return match stored == expected {
            true => Ok(raw.to_vec()),
            false => Err(error(format!("column `{name}` has {stored} bytes, expected {expected}"))),
        };
    }
    if expected > stored.saturating_mul(MOST_EXPANSION) + LEAST_EXPANSION {
        return Err(error(format!(
            "column `{name}` has {stored} bytes, which cannot be unpacked to the {expected} of {rows} records"
        )));
    }
    let mut values = vec![0; expected];
    match lz4_flex::block::decompress_into(raw, &mut values) {
        Ok(found) if found == expected => Ok(values),
        Ok(found) => Err(error(format!("column `{name}` unpacks to {found} bytes, expected {expected}"))),
        Err(e) => Err(error(format!("column `{name}` cannot be unpacked: {e}"))),
    }
}

/// Every text must have its start and its end in the heap: a cut file has not.
fn check_texts(cursor: &Cursor<'_>, fields: &[Field], rows: usize) -> Result<(), CsError> {
    for field in fields.iter().filter(|field| field.described.scalar == Scalar::Indirect) {
        // the heap's last text is the one that may lack its end; to look up each text would cost the square of its length
        let ended = field.heap.iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1) as u64;
        for index in (0..rows * field.described.count).map(|i| little_u64(&field.bytes[8 * i..8 * i + 8])) {
            if index >= ended {
                let name = &field.described.name;
                let held = field.heap.len();
                return Err(cursor.error(format!(
                    "a text of column `{name}` at {index} of the heap is not whole; the heap has {held} bytes"
                )));
            }
        }
    }
    Ok(())
}
