//! Optics groups: RELION's `data_optics` block, in and out.

use super::aberrations;
use super::{AMPLITUDE, CS, Cell, IMAGE_PIXEL, IMAGE_SIZE, MICROGRAPH_PIXEL, MOVIE_PIXEL, OPTICS_NAME};
use super::{OPTICS_NUMBER, Rule, StarError, VOLTAGE};
use crate::star::reader::{Row, StarFile, TableView};
use crate::star::writer::{TableOut, number};
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::units::{Kilovolt, Millimetre};

/// An optics group as the file has it: ours, and what RELION keeps beside it.
pub(super) struct GroupIn {
    pub group: OpticsGroup,
    pub image_pixel_a: Option<f64>,
    pub micrograph_pixel_a: Option<f64>,
    pub box_px: Option<u32>,
}

/// What to take for optics that a file does not give.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fallback {
    /// Pixel size of the images, Å.
    pub pixel_size_a: Option<f64>,
    /// Acceleration voltage, kV.
    pub voltage_kv: Option<f64>,
    /// Spherical aberration, mm.
    pub cs_mm: Option<f64>,
    /// Amplitude contrast as a fraction.
    pub amplitude_contrast: Option<f64>,
}

/// Voltage, Cs and amplitude contrast: columns, or what stands in for missing ones.
pub(super) struct Lens {
    voltage: Source,
    cs: Source,
    amplitude: Source,
}

/// A column or a value for all rows.
pub(super) enum Source {
    Column(Cell),
    Given(f64),
}

impl Source {
    pub(super) fn new(
        table: &TableView<'_>,
        rule: Rule,
        given: Option<f64>,
        needed_for: &'static str,
    ) -> Result<Self, StarError> {
        match (Cell::find(table, rule), given) {
            (Some(cell), _) => Ok(Self::Column(cell)),
            (None, Some(value)) => Ok(Self::Given(value)),
            (None, None) => Cell::need(table, rule, needed_for).map(Self::Column),
        }
    }
}

impl Lens {
    pub(super) fn new(table: &TableView<'_>, fallback: &Fallback) -> Result<Self, StarError> {
        let source = |rule, given| Source::new(table, rule, given, "the CTF");
        Ok(Self {
            voltage: source(VOLTAGE, fallback.voltage_kv)?,
            cs: source(CS, fallback.cs_mm)?,
            amplitude: source(AMPLITUDE, fallback.amplitude_contrast)?,
        })
    }

    /// The three values of a row.
    pub(super) fn values(&self, row: &Row<'_, '_>) -> Result<(Kilovolt, Millimetre, f64), StarError> {
        let read = |source: &Source, column: fn(&Row<'_, '_>, Cell) -> Result<f64, StarError>| match source {
            Source::Column(cell) => column(row, *cell),
            Source::Given(value) => Ok(*value),
        };
        let voltage = Kilovolt(read(&self.voltage, positive)?);
        let cs = Millimetre(read(&self.cs, |row, cell| cell.value(row))?);
        Ok((voltage, cs, read(&self.amplitude, fraction)?))
    }
}

/// Reads `data_optics`; an empty list if there is no such block (RELION ≤ 3.0).
pub(super) fn read(file: &StarFile, fallback: &Fallback) -> Result<Vec<GroupIn>, StarError> {
    let Some(table) = file.table("optics") else { return Ok(Vec::new()) };
    let lens = Lens::new(&table, fallback)?;
    let index = Cell::need(&table, OPTICS_NUMBER, "the link from rows to optics groups")?;
    let name = Cell::find(&table, OPTICS_NAME);
    let aberrations = aberrations::Columns::of(&table);
    let [movie, micrograph, image, size] =
        [MOVIE_PIXEL, MICROGRAPH_PIXEL, IMAGE_PIXEL, IMAGE_SIZE].map(|rule| Cell::find(&table, rule));
    let mut groups: Vec<GroupIn> = Vec::new();
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let positive = |cell: Option<Cell>| cell.map(|cell| positive(&row, cell)).transpose();
        let number: u32 = row.integer(index.column)?;
        if groups.iter().any(|other| other.group.number == number) {
            return Err(row.bad(index.column, "a number that no other optics group has"));
        }
        let (movie, micrograph, image) = (positive(movie)?, positive(micrograph)?, positive(image)?);
        let image = image.or(fallback.pixel_size_a);
        let (voltage, cs, amplitude_contrast) = lens.values(&row)?;
        let pixel = movie.or(micrograph).or(image).ok_or_else(|| missing_pixel(&table))?;
        groups.push(GroupIn {
            group: OpticsGroup {
                number,
                name: name.map_or_else(|| format!("opticsGroup{number}"), |cell| cell.text(&row).to_string()),
                voltage,
                cs,
                amplitude_contrast,
                movie_pixel_size_a: pixel,
                aberrations: aberrations.read(&row)?,
            },
            image_pixel_a: image,
            micrograph_pixel_a: micrograph,
            box_px: size.map(|cell| row.integer(cell.column)).transpose()?,
        });
    }
    Ok(groups)
}

fn missing_pixel(table: &TableView<'_>) -> StarError {
    StarError::MissingColumn {
        path: table.path().into(),
        block: table.block().into(),
        column: format!("{} or _{} or _{}", MOVIE_PIXEL.label, MICROGRAPH_PIXEL.label, IMAGE_PIXEL.label),
        needed_for: "the pixel size",
    }
}

/// A number above zero.
pub(super) fn positive(row: &Row<'_, '_>, cell: Cell) -> Result<f64, StarError> {
    let value = cell.value(row)?;
    if value > 0.0 { Ok(value) } else { Err(row.bad(cell.column, "a number above 0")) }
}

/// A number from 0 to below 1.
pub(super) fn fraction(row: &Row<'_, '_>, cell: Cell) -> Result<f64, StarError> {
    let value = cell.value(row)?;
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err(row.bad(cell.column, "a fraction from 0 to below 1"))
    }
}

/// The columns every `data_optics` block has.
pub(super) fn columns() -> Vec<&'static str> {
    [OPTICS_NAME, OPTICS_NUMBER, MOVIE_PIXEL, VOLTAGE, CS, AMPLITUDE].map(|rule| rule.label).to_vec()
}

/// A `data_optics` block with the columns of [`columns`], those of `more`, whose cells `extra` gives per group, and those
/// of aberrations, if there are any.
pub(super) fn block(
    optics: &[OpticsGroup],
    more: &[&str],
    extra: impl Fn(&OpticsGroup) -> Vec<String>,
) -> TableOut {
    let aberrations = aberrations::columns(optics);
    let mut table = TableOut::new("optics", &[columns().as_slice(), more, &aberrations].concat());
    for group in optics {
        table.cells.extend([
            group.name.clone(),
            group.number.to_string(),
            number(MOVIE_PIXEL.theirs(group.movie_pixel_size_a)),
            number(VOLTAGE.theirs(group.voltage.0)),
            number(CS.theirs(group.cs.0)),
            number(AMPLITUDE.theirs(group.amplitude_contrast)),
        ]);
        table.cells.extend(extra(group));
        table.cells.extend(aberrations::cells(group, &aberrations));
    }
    table
}
