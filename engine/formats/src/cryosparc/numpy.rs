//! The encoding of numpy: an array of records.

use super::error::CsError;
use super::field::{Described, Field, Scalar};
use super::literal::{Literal, NoLiteral, parse as parse_literal};
use std::path::Path;
use std::sync::Arc;

pub(super) const NUMPY: &[u8] = b"\x93NUMPY";

/// Fields and number of records of a file.
///
/// # Errors
/// A header that cannot be understood, or fewer bytes than it promises.
pub(super) fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<(Vec<Field>, usize), CsError> {
    let (start, end) = header_extent(path, &bytes)?;
    let error = |offset: usize, why: String| CsError::Header { path: path.into(), offset, why };
    let text = std::str::from_utf8(&bytes[start..end])
        .map_err(|e| error(start + e.valid_up_to(), "it is no text".into()))?;
    let literal = parse_literal(text).map_err(|NoLiteral { offset, why }| error(start + offset, why))?;
    let (described, rows) = describe(literal).map_err(|why| error(start, why))?;
    let sum = |sum: usize, field: &Described| sum.checked_add(field.width());
    let row_bytes = described.iter().try_fold(0usize, sum);
    let row_bytes = row_bytes.ok_or_else(|| error(start, "the records are absurdly large".into()))?;
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
    bytes.truncate(expected as usize);
    let columns = columns(&bytes[end..], &described, row_bytes);
    let path: Arc<Path> = path.into();
    let field = |(described, column): (Described, Vec<u8>)| {
        let (path, bytes, heap, stride) = (path.clone(), Arc::new(column), Arc::default(), described.width());
        Field { described, path, bytes, start: 0, stride, heap, order: None }
    };
    Ok((described.into_iter().zip(columns).map(field).collect(), rows))
}

/// Records of `row_bytes` taken apart: the values of each field, one after another. Fields are read one at a time later, and a
/// file of records would pass through memory as a whole for each; here it does once.
fn columns(records: &[u8], described: &[Described], row_bytes: usize) -> Vec<Vec<u8>> {
    /// Records at a time, so that they stay in the processor's cache.
    const BLOCK: usize = 512;
    let rows = records.len() / row_bytes.max(1);
    let mut columns: Vec<Vec<u8>> =
        described.iter().map(|field| Vec::with_capacity(rows * field.width())).collect();
    for block in records.chunks(BLOCK * row_bytes.max(1)) {
        let mut offset = 0;
        for (field, column) in described.iter().zip(&mut columns) {
            let width = field.width();
            for record in block.chunks_exact(row_bytes.max(1)) {
                column.extend_from_slice(&record[offset..offset + width]);
            }
            offset += width;
        }
    }
    columns
}

/// Where the header's literal starts and ends.
fn header_extent(path: &Path, bytes: &[u8]) -> Result<(usize, usize), CsError> {
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
fn describe(header: Literal) -> Result<(Vec<Described>, usize), String> {
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
    let fields = descr.iter().map(field).collect::<Result<_, _>>()?;
    Ok((fields, rows))
}

fn field(entry: &Literal) -> Result<Described, String> {
    let Literal::Sequence(parts) = entry else { return Err("a field is no tuple".into()) };
    let (name, word, shape) = match parts.as_slice() {
        [Literal::Text(name), Literal::Text(word)] => (name, word, &[][..]),
        [Literal::Text(name), Literal::Text(word), Literal::Sequence(shape)] => (name, word, &shape[..]),
        _ => return Err("a field is not (name, type) or (name, type, shape)".into()),
    };
    let edge = |edge: &Literal| match edge {
        Literal::Integer(edge) => Ok(*edge),
        _ => Err(format!("the shape of `{name}` is no number")),
    };
    let described = Described::new(name, word, &shape.iter().map(edge).collect::<Result<Vec<_>, _>>()?)?;
    if described.scalar == Scalar::Indirect {
        return Err(format!("field `{name}` holds Python objects, which only CSDAT files may"));
    }
    Ok(described)
}
