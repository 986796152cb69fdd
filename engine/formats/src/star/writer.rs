//! Writing STAR files as RELION ≥ 3.1 does: a version comment before each block, numbered labels, aligned columns.

use super::error::StarError;
use std::io::Write;
use std::path::Path;

/// RELION's version comment; programs that read STAR files tell the dialect by it.
const VERSION: &str = "# version 30001";

/// A block to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum BlockOut {
    /// `_label value` lines.
    Pairs {
        /// Name without `data_`.
        name: String,
        /// Labels without underscore, and values.
        pairs: Vec<(String, String)>,
    },
    /// A `loop_` table.
    Table(TableOut),
}

/// A table to be written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableOut {
    /// Name without `data_`.
    pub name: String,
    /// Labels without underscore.
    pub columns: Vec<String>,
    /// Cells row by row, `columns.len()` to a row.
    pub cells: Vec<String>,
}

impl TableOut {
    /// A table without rows.
    pub fn new(name: &str, columns: &[&str]) -> Self {
        Self {
            name: name.into(),
            columns: columns.iter().map(|c| (*c).to_string()).collect(),
            cells: Vec::new(),
        }
    }
}

/// A number with six decimals, as RELION writes them.
pub fn number(value: f64) -> String {
    format!("{value:.6}")
}

/// Writes blocks.
///
/// # Errors
/// A failed write; `path` is for messages. A value that no quoting can hold (a line break, or blanks together with a
/// closing quote of either kind).
pub fn write(out: &mut impl Write, path: &Path, blocks: &[BlockOut]) -> Result<(), StarError> {
    let io = |source| StarError::Io { path: path.into(), action: "write", source };
    for block in blocks {
        let mut text = String::new();
        match block {
            BlockOut::Pairs { name, pairs } => {
                text += &format!("\n{VERSION}\n\ndata_{name}\n\n");
                let width = pairs.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
                for (label, value) in pairs {
                    text += &format!("_{label:width$}  {}\n", quote(path, label, value)?);
                }
            }
            BlockOut::Table(table) => write_table(&mut text, path, table)?,
        }
        text += "\n";
        out.write_all(text.as_bytes()).map_err(io)?;
    }
    out.flush().map_err(io)
}

fn write_table(text: &mut String, path: &Path, table: &TableOut) -> Result<(), StarError> {
    *text += &format!("\n{VERSION}\n\ndata_{}\n\nloop_\n", table.name);
    for (i, column) in table.columns.iter().enumerate() {
        *text += &format!("_{column} #{}\n", i + 1);
    }
    let columns = table.columns.len().max(1);
    if !table.cells.len().is_multiple_of(columns) {
        return Err(StarError::Unfit {
            path: path.into(),
            found: format!("table data_{} has {} cells", table.name, table.cells.len()),
            expected: format!("a multiple of its {columns} columns is needed"),
        });
    }
    let mut widths = vec![0; columns];
    let mut quoted = Vec::with_capacity(table.cells.len());
    for (i, cell) in table.cells.iter().enumerate() {
        let column = i % columns;
        let cell = quote(path, &table.columns[column], cell)?;
        widths[column] = widths[column].max(cell.chars().count());
        quoted.push(cell);
    }
    for row in quoted.chunks(columns) {
        for (cell, &width) in row.iter().zip(&widths) {
            let padding = width - cell.chars().count();
            text.extend(std::iter::repeat_n(' ', padding));
            *text += cell;
            text.push(' ');
        }
        text.push('\n');
    }
    Ok(())
}

/// The value as it stands in a file, in quotes where it would not be read back bare.
fn quote<'a>(path: &Path, label: &str, value: &'a str) -> Result<std::borrow::Cow<'a, str>, StarError> {
    let reserved = value.starts_with(['#', '\'', '"', '_']) || value.starts_with("data_") || value == "loop_";
    if !value.is_empty() && !reserved && !value.contains(|c: char| c.is_ascii_whitespace()) {
        return Ok(value.into());
    }
    // a quote inside ends the value only before a blank
    let ends_early = |quote: char| {
        value.char_indices().any(|(i, c)| {
            c == quote && value[i + c.len_utf8()..].chars().next().is_some_and(|c| c.is_ascii_whitespace())
        })
    };
    let quote = ['"', '\''].into_iter().find(|&quote| !ends_early(quote));
    match quote.filter(|_| !value.contains(['\n', '\r'])) {
        Some(quote) => Ok(format!("{quote}{value}{quote}").into()),
        None => Err(StarError::Unfit {
            path: path.into(),
            found: format!("the value of _{label}, {value:?}, cannot stand in a STAR file"),
            expected: "rename it: no line breaks, and no quotes of both kinds before blanks".into(),
        }),
    }
}
