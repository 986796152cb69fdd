//! The records of a dataset and their fields.

use super::error::CsError;
use super::field::{Field, Scalar, little_u64};
use super::{csdat, numpy};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The field that says which record is which.
const UID: &str = "uid";

/// A dataset in memory.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    fields: Vec<Field>,
    rows: usize,
}

impl Dataset {
    /// Reads a file of either encoding.
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
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, CsError> {
        let (fields, rows) = if bytes.starts_with(numpy::NUMPY) {
            numpy::parse(path, bytes)?
        } else if bytes.starts_with(csdat::CSDAT) {
            csdat::parse(path, &bytes)?
        } else {
            let head: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let found = format!("it starts with {}", head.join(" "));
            return Err(CsError::Encoding { path: path.into(), found });
        };
        // so that the file's length bounds the number of records
        if rows > 0 && fields.iter().all(|field| field.described.width() == 0) {
            let why = format!("{rows} records without a byte");
            return Err(CsError::Header { path: path.into(), offset: 0, why });
        }
        Ok(Self { path: path.into(), fields, rows })
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The file, of joined ones the first.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the fields, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.described.name.as_str())
    }

    /// Whether the records have a field.
    pub fn has(&self, field: &str) -> bool {
        self.names().any(|known| known == field)
    }

    /// Takes the fields that this dataset lacks from another, the records found by `uid`. Returns the fields (but `uid`)
    /// that both have, of which those of this dataset stay. Records of the other that are not here are left.
    ///
    /// # Errors
    /// A dataset without `uid`, one in which a record occurs twice, or one that lacks records of this.
    pub fn join(&mut self, other: Self) -> Result<Vec<String>, CsError> {
        const NEEDED_FOR: &str = "joining files by their records";
        let (ours, theirs) = (self.uids(NEEDED_FOR)?, other.uids(NEEDED_FOR)?);
        let unfit = |found: String, hint| CsError::Join {
            path: other.path.clone(),
            first: self.path.clone(),
            found,
            hint,
        };
        let mut places = HashMap::with_capacity(theirs.len());
        for (place, uid) in theirs.iter().enumerate() {
            if places.insert(*uid, place as u32).is_some() {
                return Err(unfit(format!("uid {uid} occurs twice"), "give the file as CryoSPARC wrote it"));
            }
        }
        let order: Vec<u32> = ours.iter().filter_map(|uid| places.get(uid).copied()).collect();
        if let Some(lost) = ours.iter().find(|uid| !places.contains_key(uid)) {
            let missing = ours.len() - order.len();
            return Err(unfit(
                format!("{missing} of {} records are not in it, first: uid {lost}", ours.len()),
                "give the passthrough file of the same job and output",
            ));
        }
        let order = Arc::new(order);
        let mut both = Vec::new();
        for field in other.fields {
            let name = &field.described.name;
            if !self.has(name) {
                let order = match &field.order {
                    None => order.clone(),
                    Some(before) => Arc::new(order.iter().map(|row| before[*row as usize]).collect()),
                };
                self.fields.push(Field { order: Some(order), ..field });
            } else if name != UID {
                both.push(name.clone());
            }
        }
        Ok(both)
    }

    /// The `uid` of every record.
    ///
    /// # Errors
    /// No such field, or one of another type than `<u8`.
    pub fn uids(&self, needed_for: &'static str) -> Result<Vec<u64>, CsError> {
        let field = self.find(UID, needed_for)?;
        if (field.described.scalar, field.described.count) != (Scalar::Unsigned(8), 1) {
            return Err(self.wrong(field, UID, "one <u8"));
        }
        Ok((0..self.rows).map(|row| little_u64(field.value(row, 0))).collect())
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
        let scalar = known.described.scalar;
        if scalar.is_text() || index >= known.described.count {
            return Err(self.wrong(known, field, "a number"));
        }
        Ok((0..self.rows).map(|row| scalar.number(known.value(row, index))).collect())
    }

    /// A field of text, of every record; bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// No such field, or numbers.
    pub fn texts(&self, field: &'static str, needed_for: &'static str) -> Result<Vec<String>, CsError> {
        let known = self.find(field, needed_for)?;
        if !known.described.scalar.is_text() || known.described.count != 1 {
            return Err(self.wrong(known, field, "text"));
        }
        Ok((0..self.rows).map(|row| String::from_utf8_lossy(known.text(row)).into_owned()).collect())
    }

    fn find(&self, field: &'static str, needed_for: &'static str) -> Result<&Field, CsError> {
        self.fields.iter().find(|known| known.described.name == field).ok_or_else(|| {
            let group = field.split('/').next().unwrap_or_default();
            let alike: Vec<&str> = self.names().filter(|name| name.starts_with(group)).collect();
            let found = match alike.len() {
                0 => format!("{} others", self.fields.len()),
                _ => alike.join(", "),
            };
            CsError::MissingField { path: self.path.clone(), field, needed_for, found }
        })
    }

    fn wrong(&self, known: &Field, field: &'static str, expected: &'static str) -> CsError {
        let found = format!("{} × {}", known.described.count, known.described.word);
        CsError::WrongField { path: known.path.to_path_buf(), field, found, expected }
    }
}
