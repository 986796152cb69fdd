//! Writing datasets in the encoding of numpy, which every version of CryoSPARC reads.

use super::error::CsError;
use std::io::Write;
use std::path::Path;

/// The values of a field, record by record.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `<f4`, so many to a record.
    F32(usize, Vec<f32>),
    /// `<u4`, so many to a record.
    U32(usize, Vec<u32>),
    /// `<u8`.
    U64(Vec<u64>),
    /// Text of a fixed length, that of the longest.
    Text(Vec<String>),
}

/// A field to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldOut {
    /// Its name, e.g. `blob/idx`.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

impl FieldOut {
    /// Bytes in a record.
    fn width(&self) -> usize {
        match &self.values {
            Values::F32(count, _) | Values::U32(count, _) => 4 * count,
            Values::U64(_) => 8,
            // numpy has no texts of no length
            Values::Text(texts) => texts.iter().map(String::len).max().unwrap_or(0).max(1),
        }
    }

    /// Records.
    pub fn records(&self) -> usize {
        match &self.values {
            Values::F32(count, values) => values.len() / count,
            Values::U32(count, values) => values.len() / count,
            Values::U64(values) => values.len(),
            Values::Text(texts) => texts.len(),
        }
    }

    /// As in a header's `descr`.
    fn describe(&self) -> String {
        let (word, count) = match &self.values {
            Values::F32(count, _) => ("<f4".to_string(), *count),
            Values::U32(count, _) => ("<u4".to_string(), *count),
            Values::U64(_) => ("<u8".to_string(), 1),
            Values::Text(_) => (format!("|S{}", self.width()), 1),
        };
        match count {
            1 => format!("('{}', '{word}')", self.name),
            _ => format!("('{}', '{word}', ({count},))", self.name),
        }
    }

    /// Appends the values of a record.
    fn push(&self, row: usize, record: &mut Vec<u8>) {
        match &self.values {
            Values::F32(count, values) => {
                record.extend(values[row * count..(row + 1) * count].iter().flat_map(|v| v.to_le_bytes()));
            }
            Values::U32(count, values) => {
                record.extend(values[row * count..(row + 1) * count].iter().flat_map(|v| v.to_le_bytes()));
            }
            Values::U64(values) => record.extend(values[row].to_le_bytes()),
            Values::Text(texts) => record.extend(texts[row].as_bytes()),
        }
    }
}

/// Writes a dataset; all fields have one entry for each record. `path` is for messages.
///
/// # Errors
/// A failed write, or fields of unequal length.
pub fn write_dataset(out: &mut impl Write, path: &Path, fields: &[FieldOut]) -> Result<(), CsError> {
    let io = |source| CsError::Write { path: path.into(), source };
    let rows = fields.first().map_or(0, FieldOut::records);
    if let Some(other) = fields.iter().find(|field| field.records() != rows) {
        let (name, found) = (other.name, other.records());
        let why = format!("field `{name}` has {found} records, the first field {rows}");
        return Err(CsError::Unfit { path: path.into(), why, hint: "" });
    }
    let descr: Vec<String> = fields.iter().map(FieldOut::describe).collect();
    let descr = descr.join(", ");
    let mut header = format!("{{'descr': [{descr}], 'fortran_order': False, 'shape': ({rows},), }}");
    // numpy wants the records to begin at a multiple of 64, and a line break before them
    const PREFIX: usize = 12;
    const ALIGN: usize = 64;
    let filling = (ALIGN - (PREFIX + header.len() + 1) % ALIGN) % ALIGN;
    header.extend(std::iter::repeat_n(' ', filling));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x02\x00").map_err(io)?;
    out.write_all(&(header.len() as u32).to_le_bytes()).map_err(io)?;
    out.write_all(header.as_bytes()).map_err(io)?;
    let widths: Vec<usize> = fields.iter().map(FieldOut::width).collect();
    let mut record = Vec::with_capacity(widths.iter().sum());
    for row in 0..rows {
        record.clear();
        let mut end = 0;
        for (field, width) in fields.iter().zip(&widths) {
            field.push(row, &mut record);
            end += width;
            record.resize(end, 0);
        }
        out.write_all(&record).map_err(io)?;
    }
    Ok(())
}
