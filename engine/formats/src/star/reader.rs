//! Reading STAR files: one pass that checks the grammar and finds the tables, then rows on demand.

use super::error::StarError;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A STAR file in memory.
#[derive(Debug)]
pub struct StarFile {
    path: PathBuf,
    text: String,
    blocks: Vec<Block>,
}

/// What stands under one `data_` line.
#[derive(Debug, Default)]
pub struct Block {
    name: String,
    line: usize,
    pairs: Vec<(String, String, usize)>,
    table: Option<TableSpan>,
}

/// Where a table is in the text.
#[derive(Debug)]
struct TableSpan {
    columns: Vec<String>,
    body: Range<usize>,
    first_line: usize,
    rows: usize,
}

impl StarFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A file that cannot be read or breaks the grammar; the message names the line.
    pub fn read(path: &Path) -> Result<Self, StarError> {
        let io = |source| StarError::Io { path: path.into(), action: "read", source };
        let text = String::from_utf8(std::fs::read(path).map_err(io)?)
            .map_err(|e| StarError::NotText { path: path.into(), byte: e.utf8_error().valid_up_to() })?;
        Self::parse(path, text)
    }

    /// The same from a text; `path` is for messages.
    ///
    /// # Errors
    /// A text that breaks the grammar.
    pub fn parse(path: &Path, text: String) -> Result<Self, StarError> {
        let blocks = Parser { path, text: &text, blocks: Vec::new(), state: State::Start }.run()?;
        Ok(Self { path: path.into(), text, blocks })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The first block of a name (without `data_`).
    pub fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name == name)
    }

    /// The table of a block, if it has one. A block of pairs is no table.
    pub fn table(&self, block: &str) -> Option<TableView<'_>> {
        let block = self.block(block)?;
        block.table.as_ref().map(|span| TableView { file: self, block: &block.name, span })
    }

    /// Names of the blocks, for messages.
    pub fn block_names(&self) -> String {
        if self.blocks.is_empty() {
            return "none".into();
        }
        self.blocks.iter().map(|b| format!("data_{}", b.name)).collect::<Vec<_>>().join(", ")
    }
}

impl Block {
    /// Name without `data_`; often empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Line of the `data_` word, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The `_label value` pairs outside the table, in order, labels without underscore.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(label, value, _)| (label.as_str(), value.as_str()))
    }

    /// The value of a pair.
    pub fn pair(&self, label: &str) -> Option<&str> {
        self.pairs().find(|(name, _)| *name == label).map(|(_, value)| value)
    }
}

/// A table of a STAR file.
#[derive(Debug, Clone, Copy)]
pub struct TableView<'a> {
    file: &'a StarFile,
    block: &'a str,
    span: &'a TableSpan,
}

impl<'a> TableView<'a> {
    /// The file it is in.
    pub fn path(&self) -> &'a Path {
        &self.file.path
    }

    /// Name of its block.
    pub fn block(&self) -> &'a str {
        self.block
    }

    /// Its labels without underscore.
    pub fn columns(&self) -> &'a [String] {
        &self.span.columns
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.span.rows
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.span.rows == 0
    }

    /// Where a column stands, if there is one of this label.
    pub fn find(&self, column: &str) -> Option<usize> {
        self.span.columns.iter().position(|name| name == column)
    }

    /// Where a column stands.
    ///
    /// # Errors
    /// There is none; `needed_for` says why that matters.
    pub fn need(&self, column: &str, needed_for: &'static str) -> Result<usize, StarError> {
        self.find(column).ok_or_else(|| StarError::MissingColumn {
            path: self.path().into(),
            block: self.block.into(),
            column: column.into(),
            needed_for,
        })
    }

    /// Goes through the rows.
    pub fn rows(&self) -> Rows<'a> {
        Rows {
            view: *self,
            lines: Lines { text: &self.file.text[..self.span.body.end], at: self.span.body.start },
            line: self.span.first_line,
            cells: Vec::with_capacity(self.span.columns.len()),
        }
    }
}

/// Goes through the rows of a table; a row lives until the next is asked for.
pub struct Rows<'a> {
    view: TableView<'a>,
    lines: Lines<'a>,
    line: usize,
    cells: Vec<&'a str>,
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r, 'a> {
    view: TableView<'a>,
    /// Its line in the file, from 1.
    pub line: usize,
    /// The cells, without quotes.
    pub cells: &'r [&'a str],
}

impl<'a> Rows<'a> {
    /// The next row, if there is one.
    #[allow(clippy::should_implement_trait)] // the row borrows a buffer of this object, which Iterator cannot say
    pub fn next(&mut self) -> Option<Row<'_, 'a>> {
        loop {
            let line = self.lines.next()?;
            let number = self.line;
            self.line += 1;
            self.cells.clear();
            let mut words = Words { line, at: 0 };
            // the grammar was checked when the file was read
            while let Ok(Some(word)) = words.next() {
                self.cells.push(word.text);
            }
            if !self.cells.is_empty() {
                return Some(Row { view: self.view, line: number, cells: &self.cells });
            }
        }
    }
}

impl Row<'_, '_> {
    /// A number.
    ///
    /// # Errors
    /// The cell is none.
    pub fn f64(&self, column: usize) -> Result<f64, StarError> {
        self.cells[column].parse().map_err(|_| self.bad(column, "a number"))
    }

    /// A whole number; `3.000` counts, as pandas writes it.
    ///
    /// # Errors
    /// The cell is none, or out of range.
    pub fn integer<T: TryFrom<i64>>(&self, column: usize) -> Result<T, StarError> {
        let cell = self.cells[column];
        let whole = |v: &f64| v.fract() == 0.0 && v.abs() < 9e15;
        let value = cell.parse().ok().or_else(|| cell.parse().ok().filter(whole).map(|v: f64| v as i64));
        value
            .and_then(|v: i64| T::try_from(v).ok())
            .ok_or_else(|| self.bad(column, &format!("a whole number ({})", std::any::type_name::<T>())))
    }

    /// The error for a cell that makes no sense.
    pub fn bad(&self, column: usize, expected: &str) -> StarError {
        StarError::Value {
            path: self.view.path().into(),
            line: self.line,
            column: self.view.span.columns[column].clone(),
            found: shorten(self.cells[column]),
            expected: expected.into(),
        }
    }
}

/// Lines without their ends (LF or CRLF).
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end = rest.find('\n').unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        Some(rest[..end].strip_suffix('\r').unwrap_or(&rest[..end]))
    }
}

/// Words of a line: runs of non-blanks, or quoted; a word that starts with `#` ends the line.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

struct Word<'a> {
    text: &'a str,
    quoted: bool,
}

/// A quote without its end.
struct OpenQuote<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<Option<Word<'a>>, OpenQuote<'a>> {
        let bytes = self.line.as_bytes();
        let is_blank = |at: usize| bytes.get(at).is_none_or(|b| b.is_ascii_whitespace());
        while self.at < bytes.len() && is_blank(self.at) {
            self.at += 1;
        }
        let start = self.at;
        match bytes.get(start) {
            None | Some(b'#') => Ok(None),
            Some(&quote @ (b'\'' | b'"')) => {
                let end = (start + 1..bytes.len()).find(|&i| bytes[i] == quote && is_blank(i + 1));
                let end = end.ok_or(OpenQuote(&self.line[start..]))?;
                self.at = end + 1;
                Ok(Some(Word { text: &self.line[start + 1..end], quoted: true }))
            }
            Some(_) => {
                while !is_blank(self.at) {
                    self.at += 1;
                }
                Ok(Some(Word { text: &self.line[start..self.at], quoted: false }))
            }
        }
    }
}

enum State {
    /// Before the first block.
    Start,
    /// In a block, outside its table.
    Pairs,
    /// After `loop_`, reading labels.
    Labels,
    /// In the rows.
    Rows,
}

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
    blocks: Vec<Block>,
    state: State,
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Vec<Block>, StarError> {
        let mut lines = Lines { text: self.text, at: 0 };
        let mut number = 0;
        let mut start = 0;
        while let Some(line) = lines.next() {
            number += 1;
            self.line(line, number, start..lines.at)?;
            start = lines.at;
        }
        if matches!(self.state, State::Start) {
            return Err(self.syntax(number.max(1), "no block", "a line `data_NAME`: is this a STAR file?"));
        }
        Ok(self.blocks)
    }

    /// Takes one line, which lies at `span` in the text.
    fn line(&mut self, line: &'a str, number: usize, span: Range<usize>) -> Result<(), StarError> {
        let mut words = Words { line, at: 0 };
        let Some(first) = self.word(&mut words, number)? else { return Ok(()) };
        let mut count = 1;
        let mut second = None;
        while let Some(word) = self.word(&mut words, number)? {
            second.get_or_insert(word.text);
            count += 1;
        }
        let keyword = !first.quoted && count == 1;
        if let Some(name) = first.text.strip_prefix("data_").filter(|_| keyword) {
            self.blocks.push(Block { name: name.into(), line: number, ..Block::default() });
            self.state = State::Pairs;
            return Ok(());
        }
        if matches!(self.state, State::Start) {
            let found = format!("`{}`", shorten(first.text));
            return Err(self.syntax(number, &found, "a line `data_NAME`: is this a STAR file?"));
        }
        if first.text == "loop_" && keyword {
            return self.begin_table(number, span.end);
        }
        let label = first.text.strip_prefix('_').filter(|_| !first.quoted);
        match self.state {
            State::Labels if label.is_some() && count == 1 => {
                let label = label.unwrap_or_default().to_string();
                self.add_label(label, number, span.end)
            }
            State::Labels | State::Rows => self.add_row(count, number, span),
            State::Pairs | State::Start => self.add_pair(label, first.text, second, count, number),
        }
    }

    fn word(&self, words: &mut Words<'a>, line: usize) -> Result<Option<Word<'a>>, StarError> {
        words.next().map_err(|OpenQuote(text)| {
            let found = format!("the open quote {}", shorten(text));
            self.syntax(
                line,
                &found,
                "a closing quote of the same kind before a blank or the end of the line",
            )
        })
    }

    fn begin_table(&mut self, number: usize, body: usize) -> Result<(), StarError> {
        let block = self.blocks.last_mut().expect("a block should be open outside State::Start");
        if block.table.is_some() {
            let expected = "one table a block (put the second under a `data_` line of its own)";
            return Err(self.syntax(number, "a second `loop_`", expected));
        }
        let span = TableSpan { columns: Vec::new(), body: body..body, first_line: number + 1, rows: 0 };
        block.table = Some(span);
        self.state = State::Labels;
        Ok(())
    }

    fn add_label(&mut self, label: String, number: usize, body: usize) -> Result<(), StarError> {
        let table = self.table();
        if table.columns.contains(&label) {
            return Err(self.syntax(number, &format!("a second column _{label}"), "every label once"));
        }
        table.columns.push(label);
        table.body = body..body;
        table.first_line = number + 1;
        Ok(())
    }

    fn add_row(&mut self, count: usize, number: usize, span: Range<usize>) -> Result<(), StarError> {
        self.state = State::Rows;
        let table = self.table();
        let columns = table.columns.len();
        if count != columns {
            let expected = format!("{columns}, one for each label of the table");
            return Err(self.syntax(number, &format!("{count} value(s)"), &expected));
        }
        table.body.end = span.end;
        table.rows += 1;
        Ok(())
    }

    fn add_pair(
        &mut self,
        label: Option<&str>,
        first: &str,
        value: Option<&str>,
        count: usize,
        number: usize,
    ) -> Result<(), StarError> {
        let found = || format!("`{}`", shorten(first));
        let Some(label) = label else {
            return Err(self.syntax(number, &found(), "`_label value`, `loop_` or `data_NAME`"));
        };
        if count > 2 {
            let expected = "`_label value`; a value with blanks stands in quotes";
            return Err(self.syntax(number, &format!("{count} words after {}", found()), expected));
        }
        let block = self.blocks.last_mut().expect("a block should be open outside State::Start");
        // RELION writes nothing at all for an empty value
        block.pairs.push((label.into(), value.unwrap_or_default().into(), number));
        Ok(())
    }

    fn table(&mut self) -> &mut TableSpan {
        let table = self.blocks.last_mut().and_then(|block| block.table.as_mut());
        table.expect("a table should be open in State::Labels and State::Rows")
    }

    fn syntax(&self, line: usize, found: &str, expected: &str) -> StarError {
        StarError::Syntax { path: self.path.into(), line, found: found.into(), expected: expected.into() }
    }
}

/// The start of a text, for messages.
fn shorten(text: &str) -> String {
    let end = text.char_indices().nth(40).map_or(text.len(), |(i, _)| i);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.into() }
}
