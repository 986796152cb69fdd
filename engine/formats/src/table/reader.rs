//! Reading tables.

use super::column::ColumnDef;
use super::error::TableError;
use super::text::ReadError;
use super::writer::hdf5_error;
use super::{FORMAT, text};
use hdf5::types::{TypeDescriptor, VarLenUnicode};
use hdf5::{Dataset, File, Group, H5Type};
use std::path::{Path, PathBuf};
use vitreous_model::SCHEMA;

/// More rows than any table of ours: a file that claims so many is broken, and must not make us allocate for them.
const MAX_ROWS: usize = 1 << 31;

/// An open table file.
pub struct TableReader {
    path: PathBuf,
    file: File,
    kind: String,
}

impl TableReader {
    /// Opens a file and checks its format and schema.
    ///
    /// # Errors
    /// If it is absent, no HDF5 file, cut short, no table of ours, or of a newer schema.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        // the system's words for a missing or unreadable file are better than the library's
        std::fs::File::open(path).map_err(|source| TableError::Io { path: path.into(), source })?;
        let file = File::open(path).map_err(|e| hdf5_error(path, "opening", &e))?;
        let mut reader = Self { path: path.into(), file, kind: String::new() };
        match reader.attribute_text("format") {
            Ok(format) if format == FORMAT => {}
            Ok(format) => {
                return Err(TableError::NotATable { path: path.into(), found: format!("{format:?}") });
            }
            Err(_) => return Err(TableError::NotATable { path: path.into(), found: "absent".into() }),
        }
        let schema: u32 = reader.attribute("schema")?;
        if schema > SCHEMA {
            return Err(TableError::Newer { path: path.into(), found: schema, known: SCHEMA });
        }
        reader.kind = reader.attribute_text("kind")?;
        Ok(reader)
    }

    /// Opens a file of one of the given kinds.
    ///
    /// # Errors
    /// As [`TableReader::open`], or a table of another kind.
    pub fn open_kind(path: &Path, expected: &[&str]) -> Result<Self, TableError> {
        let reader = Self::open(path)?;
        if expected.contains(&reader.kind.as_str()) {
            return Ok(reader);
        }
        Err(TableError::WrongKind {
            path: path.into(),
            found: reader.kind,
            expected: expected.join("` or `"),
        })
    }

    /// What the table holds: `particles`, `micrographs` …
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// A number of the whole file.
    ///
    /// # Errors
    /// If it is missing or of another type.
    pub fn attribute<T: H5Type>(&self, name: &str) -> Result<T, TableError> {
        let expected = std::any::type_name::<T>();
        self.file.attr(name).and_then(|a| a.read_scalar()).map_err(|_| self.bad_attribute(name, expected))
    }

    /// A text of the whole file.
    ///
    /// # Errors
    /// If it is missing or no text.
    pub fn attribute_text(&self, name: &str) -> Result<String, TableError> {
        let read = || self.file.attr(name)?.read_scalar::<VarLenUnicode>();
        let value = read().map_err(|_| self.bad_attribute(name, "text"))?;
        String::from_utf8(value.as_bytes().to_vec()).map_err(|_| self.bad_attribute(name, "UTF-8 text"))
    }

    fn bad_attribute(&self, name: &str, expected: &'static str) -> TableError {
        TableError::Attribute { path: self.path.clone(), attribute: name.into(), expected }
    }

    /// Names of the groups.
    ///
    /// # Errors
    /// If the file is broken.
    pub fn groups(&self) -> Result<Vec<String>, TableError> {
        self.file.member_names().map_err(|e| hdf5_error(&self.path, "/", &e))
    }

    /// One table of the file.
    ///
    /// # Errors
    /// If there is none of this name, or its columns differ in length.
    pub fn group(&self, name: &str) -> Result<GroupReader<'_>, TableError> {
        let groups = self.groups()?;
        if !groups.iter().any(|group| group == name) {
            return Err(TableError::MissingGroup {
                path: self.path.clone(),
                group: name.into(),
                found: groups.join(", "),
            });
        }
        let error = |e: hdf5::Error| hdf5_error(&self.path, name, &e);
        let group = self.file.group(name).map_err(error)?;
        let columns = group.member_names().map_err(error)?;
        let mut reader = GroupReader { path: &self.path, name: name.into(), group, columns, rows: 0 };
        reader.rows = reader.check_rows()?;
        Ok(reader)
    }
}

/// One table of a file.
pub struct GroupReader<'a> {
    path: &'a Path,
    name: String,
    group: Group,
    columns: Vec<String>,
    rows: usize,
}

impl GroupReader<'_> {
    /// Rows of every column.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether there is a column of this name.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// The unit of a column.
    ///
    /// # Errors
    /// If the column is missing or has no unit.
    pub fn unit(&self, column: &str) -> Result<String, TableError> {
        let dataset = self.dataset(column)?;
        let unit = dataset.attr("unit").and_then(|a| a.read_scalar::<VarLenUnicode>());
        let unit = unit.map_err(|e| self.error(column, &e))?;
        Ok(String::from_utf8_lossy(unit.as_bytes()).into_owned())
    }

    fn check_rows(&self) -> Result<usize, TableError> {
        let mut expected = None;
        for column in &self.columns {
            let shape = self.dataset(column)?.get_shape().map_err(|e| self.error(column, &e))?;
            let &[rows] = shape.as_slice() else {
                return Err(self.wrong_type(column, format!("an array of shape {shape:?}"), "one dimension"));
            };
            if rows > MAX_ROWS {
                return Err(self.wrong_type(column, format!("{rows} rows"), "fewer than 2^31"));
            }
            if *expected.get_or_insert(rows) != rows {
                return Err(TableError::RowCount {
                    path: self.path.into(),
                    group: self.name.clone(),
                    column: column.clone(),
                    found: rows,
                    expected: expected.unwrap_or(0),
                });
            }
        }
        Ok(expected.unwrap_or(0))
    }

    fn dataset(&self, column: &str) -> Result<Dataset, TableError> {
        if !self.has(column) {
            return Err(TableError::MissingColumn {
                path: self.path.into(),
                group: self.name.clone(),
                column: column.into(),
                found: self.columns.join(", "),
            });
        }
        self.group.dataset(column).map_err(|e| self.error(column, &e))
    }

    /// Floats; integers are converted.
    ///
    /// # Errors
    /// If the column is missing or holds no numbers.
    pub fn f64(&self, def: ColumnDef) -> Result<Vec<f64>, TableError> {
        use TypeDescriptor::{Float, Integer, Unsigned};
        self.numbers(def.name, "numbers", |t| matches!(t, Float(_) | Integer(_) | Unsigned(_)))
    }

    /// Counts of up to 32 bits.
    ///
    /// # Errors
    /// If the column is missing, holds no integers, or one is out of range.
    pub fn u32(&self, def: ColumnDef) -> Result<Vec<u32>, TableError> {
        self.integers(def.name)
    }

    /// Small numbers.
    ///
    /// # Errors
    /// As [`GroupReader::u32`].
    pub fn u8(&self, def: ColumnDef) -> Result<Vec<u8>, TableError> {
        self.integers(def.name)
    }

    /// Numbers of up to 64 bits.
    ///
    /// # Errors
    /// If the column is missing, holds no integers, or one is negative.
    pub fn u64(&self, def: ColumnDef) -> Result<Vec<u64>, TableError> {
        use TypeDescriptor::{Integer, Unsigned};
        let is_unsigned = |t: &TypeDescriptor| matches!(t, Unsigned(_));
        if let Ok(values) = self.numbers::<u64>(def.name, "unsigned integers", is_unsigned) {
            return Ok(values);
        }
        let signed = self.numbers::<i64>(def.name, "integers", |t| matches!(t, Integer(_)))?;
        let convert =
            |(row, v): (usize, &i64)| u64::try_from(*v).map_err(|_| self.bad(def, row, v, "0 or more"));
        signed.iter().enumerate().map(convert).collect()
    }

    fn integers<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Vec<T>, TableError> {
        use TypeDescriptor::{Integer, Unsigned};
        let wide = self.numbers::<i64>(column, "integers", |t| matches!(t, Integer(_) | Unsigned(_)))?;
        let def = ColumnDef::new(column, "", "");
        let expected = format!("a number that fits {}", std::any::type_name::<T>());
        let convert = |(row, v): (usize, &i64)| T::try_from(*v).map_err(|_| self.bad(def, row, v, &expected));
        wide.iter().enumerate().map(convert).collect()
    }

    fn numbers<T: H5Type>(
        &self,
        column: &str,
        expected: &str,
        accepts: impl Fn(&TypeDescriptor) -> bool,
    ) -> Result<Vec<T>, TableError> {
        let dataset = self.dataset(column)?;
        let found = dataset.dtype().and_then(|t| t.to_descriptor()).map_err(|e| self.error(column, &e))?;
        if !accepts(&found) {
            return Err(self.wrong_type(column, found.to_string(), expected));
        }
        dataset.read_raw().map_err(|e| self.error(column, &e))
    }

    /// Texts.
    ///
    /// # Errors
    /// If the column is missing, holds no text, or bytes that are not UTF-8.
    pub fn text(&self, def: ColumnDef) -> Result<Vec<String>, TableError> {
        let column = def.name;
        text::read(&self.dataset(column)?, self.rows).map_err(|error| match error {
            ReadError::Hdf5(e) => self.error(column, &e),
            ReadError::NotUtf8(row) => self.bad(def, row, "other bytes", "UTF-8 text"),
            ReadError::NotText(found) => self.wrong_type(column, found, "text"),
        })
    }

    fn wrong_type(&self, column: &str, found: String, expected: &str) -> TableError {
        TableError::WrongType {
            path: self.path.into(),
            group: self.name.clone(),
            column: column.into(),
            found,
            expected: expected.into(),
        }
    }

    /// The error for a cell whose value makes no sense.
    pub fn bad(&self, def: ColumnDef, row: usize, found: impl ToString, expected: &str) -> TableError {
        TableError::BadValue {
            path: self.path.into(),
            group: self.name.clone(),
            column: def.name.into(),
            row,
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    fn error(&self, column: &str, error: &hdf5::Error) -> TableError {
        hdf5_error(self.path, &format!("{}/{column}", self.name), error)
    }
}
