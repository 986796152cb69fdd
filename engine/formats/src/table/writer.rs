//! Writing tables.

use super::column::{Column, ColumnData, Table};
use super::error::TableError;
use super::{FORMAT, text};
use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, Extents, File, Group, H5Type, Location, SimpleExtents};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use vitreous_model::SCHEMA;

/// Rows of a chunk: small tables stay small, long ones compress well.
const CHUNK_ROWS: std::ops::RangeInclusive<usize> = 64..=16384;
/// Deflate level: beyond it files shrink by a few per cent at several times the cost.
const DEFLATE: u8 = 3;

/// A table file being written.
pub struct TableWriter {
    path: PathBuf,
    file: File,
}

impl TableWriter {
    /// Creates (or empties) the file.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path, kind: &str) -> Result<Self, TableError> {
        let file = File::create(path).map_err(|e| hdf5_error(path, "creating the file", &e))?;
        let writer = Self { path: path.into(), file };
        writer.attribute_text("format", FORMAT)?;
        writer.attribute("schema", SCHEMA)?;
        writer.attribute_text("kind", kind)?;
        Ok(writer)
    }

    /// Opens an existing file to extend its tables with [`TableWriter::append`].
    ///
    /// # Errors
    /// If it is no table file of a known schema, or cannot be written.
    pub fn extend(path: &Path) -> Result<Self, TableError> {
        super::TableReader::open(path)?;
        let file = File::open_rw(path).map_err(|e| hdf5_error(path, "opening for writing", &e))?;
        Ok(Self { path: path.into(), file })
    }

    /// Writes a number of the whole file.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn attribute<T: H5Type>(&self, name: &str, value: T) -> Result<(), TableError> {
        set_attribute(&self.file, name, &value).map_err(|e| self.error(&format!("attribute `{name}`"), &e))
    }

    /// Writes a text of the whole file.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn attribute_text(&self, name: &str, value: &str) -> Result<(), TableError> {
        set_text(&self.file, name, value).map_err(|e| self.error(&format!("attribute `{name}`"), &e))
    }

    /// Writes a table as a new group.
    ///
    /// # Errors
    /// Columns of different length, or the library's refusal (full disk, group present).
    pub fn write(&mut self, table: &Table) -> Result<(), TableError> {
        self.check_rows(table)?;
        let group = self.file.create_group(&table.name).map_err(|e| self.error(&table.name, &e))?;
        for column in &table.columns {
            create_column(&group, column)
                .map_err(|e| self.error(&format!("{}/{}", table.name, column.name), &e))?;
        }
        Ok(())
    }

    /// Adds rows to a table written before. The columns must be the same; text may not be longer than the column is
    /// wide (`BadValue` says so).
    ///
    /// # Errors
    /// A missing or additional column, text that is too long, or the library's refusal.
    pub fn append(&mut self, table: &Table) -> Result<(), TableError> {
        self.check_rows(table)?;
        let group = self.file.group(&table.name).map_err(|e| self.error(&table.name, &e))?;
        let names = group.member_names().map_err(|e| self.error(&table.name, &e))?;
        if let Some(missing) = names.iter().find(|name| table.columns.iter().all(|c| c.name != **name)) {
            return Err(self.missing(table, missing, table.columns.iter().map(|c| c.name.clone()).collect()));
        }
        // every check before the first write, so that a refused row leaves the file whole
        let mut targets = Vec::new();
        for column in &table.columns {
            let place = format!("{}/{}", table.name, column.name);
            if !names.contains(&column.name) {
                return Err(self.missing(table, &column.name, names));
            }
            let dataset = group.dataset(&column.name).map_err(|e| self.error(&place, &e))?;
            self.check_width(table, column, &dataset)?;
            targets.push(dataset);
        }
        for (column, dataset) in table.columns.iter().zip(targets) {
            let first = dataset.size();
            dataset
                .resize(first + column.data.len())
                .and_then(|()| write_cells(&dataset, first, &column.data))
                .map_err(|e| self.error(&format!("{}/{}", table.name, column.name), &e))?;
        }
        Ok(())
    }

    /// Hands everything to the operating system and closes the file.
    ///
    /// # Errors
    /// What was delayed until now, such as a full disk.
    pub fn finish(self) -> Result<(), TableError> {
        self.file.flush().map_err(|e| self.error("writing to disk", &e))?;
        let path = self.path;
        self.file.close().map_err(|e| hdf5_error(&path, "closing the file", &e))
    }

    fn check_rows(&self, table: &Table) -> Result<(), TableError> {
        let expected = table.rows();
        match table.columns.iter().find(|column| column.data.len() != expected) {
            None => Ok(()),
            Some(column) => Err(TableError::RowCount {
                path: self.path.clone(),
                group: table.name.clone(),
                column: column.name.clone(),
                found: column.data.len(),
                expected,
            }),
        }
    }

    fn check_width(&self, table: &Table, column: &Column, dataset: &Dataset) -> Result<(), TableError> {
        let ColumnData::Text(cells) = &column.data else { return Ok(()) };
        let capacity = text::capacity(dataset).map_err(|e| self.error(&table.name, &e))?.unwrap_or(0);
        match cells.iter().position(|cell| cell.len() > capacity) {
            None => Ok(()),
            Some(row) => Err(TableError::BadValue {
                path: self.path.clone(),
                group: table.name.clone(),
                column: column.name.clone(),
                row,
                found: format!("text of {} bytes", cells[row].len()),
                expected: format!("at most {capacity} bytes, the width of the column; write the table anew"),
            }),
        }
    }

    fn missing(&self, table: &Table, column: &str, found: Vec<String>) -> TableError {
        TableError::MissingColumn {
            path: self.path.clone(),
            group: table.name.clone(),
            column: column.into(),
            found: found.join(", "),
        }
    }

    fn error(&self, place: &str, error: &hdf5::Error) -> TableError {
        hdf5_error(&self.path, place, error)
    }
}

pub(super) fn hdf5_error(path: &Path, place: &str, error: &hdf5::Error) -> TableError {
    TableError::Hdf5 { path: path.into(), place: place.into(), reason: error.to_string() }
}

fn set_attribute<T: H5Type>(at: &Location, name: &str, value: &T) -> hdf5::Result<()> {
    at.new_attr::<T>().create(name)?.write_scalar(value)
}

fn set_text(at: &Location, name: &str, value: &str) -> hdf5::Result<()> {
    let value = VarLenUnicode::from_str(value).map_err(|e| hdf5::Error::from(e.to_string().as_str()))?;
    set_attribute(at, name, &value)
}

fn create_column(group: &Group, column: &Column) -> hdf5::Result<()> {
    let rows = column.data.len();
    let extents = || Extents::from(SimpleExtents::resizable([rows]));
    let chunk = rows.clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end());
    let name = column.name.as_str();
    let builder = || group.new_dataset_builder().chunk(chunk).shuffle().deflate(DEFLATE);
    let dataset = match &column.data {
        ColumnData::F64(_) => builder().empty::<f64>().shape(extents()).create(name)?,
        ColumnData::F32(_) => builder().empty::<f32>().shape(extents()).create(name)?,
        ColumnData::I64(_) => builder().empty::<i64>().shape(extents()).create(name)?,
        ColumnData::U64(_) => builder().empty::<u64>().shape(extents()).create(name)?,
        ColumnData::U32(_) => builder().empty::<u32>().shape(extents()).create(name)?,
        ColumnData::U8(_) => builder().empty::<u8>().shape(extents()).create(name)?,
        ColumnData::Text(cells) => {
            let width = cells.iter().map(String::len).max().unwrap_or(0);
            text::create(group, name, width, extents(), chunk, DEFLATE)?
        }
    };
    write_cells(&dataset, 0, &column.data)?;
    set_text(&dataset, "unit", &column.unit)?;
    set_text(&dataset, "description", &column.description)
}

fn write_cells(dataset: &Dataset, first: usize, data: &ColumnData) -> hdf5::Result<()> {
    let range = first..first + data.len();
    if data.is_empty() {
        return Ok(());
    }
    match data {
        ColumnData::F64(v) => dataset.write_slice(v, range),
        ColumnData::F32(v) => dataset.write_slice(v, range),
        ColumnData::I64(v) => dataset.write_slice(v, range),
        ColumnData::U64(v) => dataset.write_slice(v, range),
        ColumnData::U32(v) => dataset.write_slice(v, range),
        ColumnData::U8(v) => dataset.write_slice(v, range),
        ColumnData::Text(v) => text::write(dataset, first, v),
    }
}
