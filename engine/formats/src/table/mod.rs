//! Tables: typed columns in an HDF5 file, the form in which jobs hand exposures, picks and particles to each other.
//!
//! # Layout of a file
//! - root attributes `format` = "vitreous-table", `schema` (u32, [`vitreous_model::SCHEMA`]) and `kind` (e.g. "particles");
//!   single numbers of the whole table stand beside them (`box_px`, `pixel_size_a` …);
//! - one group per table (`particles`, `optics` …); every data set in it is one column of the same length, with the
//!   string attributes `unit` (empty for none) and `description`.
//!
//! Numbers are little-endian integers or floats; text is fixed-length UTF-8, null-padded, in the smallest of a few
//! widths that fits, or variable-length beyond the widest. Columns are chunked, shuffled, deflated and can be extended.
//! Absent values are NaN, 0 or empty text, as each column's description says. Files carry no time stamps, so the same
//! table gives the same bytes. Any HDF5 reader opens them: `h5py.File(path)["particles/defocus_u_a"][:]`.
//!
//! Columns and groups that a reader does not know are left alone. A writer fills a file of the caller's choosing and
//! does not rename it: callers write to a temporary name and rename once it is complete.
//!
//! The typed views are [`exposures`], [`picks`], [`particles`] and [`class_averages`]; [`TableWriter`] and [`TableReader`] serve the rest.

pub mod class_averages;
mod column;
mod ctf;
mod error;
pub mod exposures;
mod optics;
pub mod particles;
pub mod picks;
mod reader;
mod text;
mod writer;

#[cfg(test)]
mod tests;

pub use column::{Column, ColumnData, ColumnDef, Table};
pub use error::TableError;
pub use reader::{GroupReader, TableReader};
pub use writer::TableWriter;

/// Value of the root attribute `format`.
pub const FORMAT: &str = "vitreous-table";
