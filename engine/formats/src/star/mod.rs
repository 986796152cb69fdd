//! STAR files as RELION and the Python package `starfile` write them.
//!
//! The dialect: blocks `data_NAME`, each with `_label value` pairs and at most one `loop_` table, one row a line. A word
//! that starts with `#` begins a comment (so `a#b` is a value); a value in single or double quotes may hold blanks, and
//! the closing quote is the one before a blank or the end of the line (so `'it's'` is a value). Labels are kept without
//! their underscore. CRLF line ends, tabs, blank lines, tables without rows and a missing last newline are all read.
//! RELION's blank line after a table ends nothing: rows go on until the next `data_` or `loop_`.
//!
//! [`StarFile`] holds the text of the file and, of each block, where its rows are; cells are slices of the text, so a
//! table of a million rows costs its bytes and nothing more. [`writer`] writes aligned columns; [`convert`] alone knows
//! what RELION's labels mean.

pub mod convert;
mod error;
mod reader;
pub mod writer;

#[cfg(test)]
mod tests;

pub use error::StarError;
pub use reader::{Block, Row, Rows, StarFile, TableView};
