//! Columns in memory.

/// What a column is called and means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnDef {
    /// Name in the file, snake_case with the unit as suffix.
    pub name: &'static str,
    /// Unit; empty for a pure number, name or count.
    pub unit: &'static str,
    /// One sentence, including what an absent value looks like.
    pub description: &'static str,
}

impl ColumnDef {
    /// A definition.
    pub const fn new(name: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self { name, unit, description }
    }
}

/// The cells of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnData {
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Signed integers.
    I64(Vec<i64>),
    /// Unsigned integers.
    U64(Vec<u64>),
    /// Unsigned integers of 32 bits.
    U32(Vec<u32>),
    /// Small unsigned integers: flags and classes.
    U8(Vec<u8>),
    /// UTF-8 text without null characters.
    Text(Vec<String>),
}

impl ColumnData {
    /// Number of cells.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A column in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name in the file.
    pub name: String,
    /// Unit; empty for none.
    pub unit: String,
    /// One sentence.
    pub description: String,
    /// The cells.
    pub data: ColumnData,
}

/// A table in memory: columns of one length under one name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Name of its group in the file.
    pub name: String,
    /// The columns, in order.
    pub columns: Vec<Column>,
}

impl Table {
    /// A table without columns.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), columns: Vec::new() }
    }

    /// Rows of the first column; 0 without columns.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.data.len())
    }

    /// Adds a column of any type.
    pub fn push(&mut self, def: ColumnDef, data: ColumnData) {
        let ColumnDef { name, unit, description } = def;
        self.columns.push(Column {
            name: name.into(),
            unit: unit.into(),
            description: description.into(),
            data,
        });
    }

    /// Adds a column of floats.
    pub fn f64(&mut self, def: ColumnDef, cells: impl Iterator<Item = f64>) {
        self.push(def, ColumnData::F64(cells.collect()));
    }

    /// Adds a column of 32-bit counts.
    pub fn u32(&mut self, def: ColumnDef, cells: impl Iterator<Item = u32>) {
        self.push(def, ColumnData::U32(cells.collect()));
    }

    /// Adds a column of 64-bit numbers.
    pub fn u64(&mut self, def: ColumnDef, cells: impl Iterator<Item = u64>) {
        self.push(def, ColumnData::U64(cells.collect()));
    }

    /// Adds a column of small numbers.
    pub fn u8(&mut self, def: ColumnDef, cells: impl Iterator<Item = u8>) {
        self.push(def, ColumnData::U8(cells.collect()));
    }

    /// Adds a column of text.
    pub fn text<'a>(&mut self, def: ColumnDef, cells: impl Iterator<Item = &'a str>) {
        self.push(def, ColumnData::Text(cells.map(str::to_owned).collect()));
    }
}
