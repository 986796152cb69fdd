//! Tables of class averages: kind `class-averages`, group `classes`, attributes `stack_path`, `box_px`, `pixel_size_a` and
//! `diameter_a`.

use super::{ColumnDef, Table, TableError, TableReader, TableWriter};
use std::path::Path;
use vitreous_model::class_average::{ClassAverage, ClassAverages};
use vitreous_model::outputs::Kind;

const GROUP: &str = "classes";
const STACK: &str = "stack_path";
const BOX: &str = "box_px";
const PIXEL: &str = "pixel_size_a";
const DIAMETER: &str = "diameter_a";
const NUMBER: ColumnDef = ColumnDef::new("number", "", "Number of the class, from 1");
const INDEX: ColumnDef = ColumnDef::new("stack_index", "", "Image in the stack, from 0");
const PARTICLES: ColumnDef =
    ColumnDef::new("particles", "", "Particles of which it is the most probable class");
const PROBABILITY: ColumnDef =
    ColumnDef::new("probability", "", "Mean over them of its posterior probability; NaN: no particles");
const RESOLUTION: ColumnDef = ColumnDef::new(
    "resolution_a",
    "Å",
    "Where two halves of its particles correlate to 0.5; infinite: nowhere",
);
const DETAIL: ColumnDef = ColumnDef::new(
    "detail",
    "nat",
    "What detail finer than a quarter of the diameter adds to the log-likelihood of a particle, in the mean",
);

/// Writes class averages.
///
/// # Errors
/// The library's refusal.
pub fn write(path: &Path, averages: &ClassAverages) -> Result<(), TableError> {
    let mut writer = TableWriter::create(path, Kind::ClassAverages.name())?;
    writer.attribute_text(STACK, &averages.stack_path)?;
    writer.attribute(BOX, averages.box_px)?;
    writer.attribute(PIXEL, averages.pixel_size_a)?;
    writer.attribute(DIAMETER, averages.diameter_a)?;
    let mut table = Table::new(GROUP);
    let rows = || averages.classes.iter();
    table.u32(NUMBER, rows().map(|c| c.number));
    table.u32(INDEX, rows().map(|c| c.stack_index));
    table.u64(PARTICLES, rows().map(|c| c.particles));
    table.f64(PROBABILITY, rows().map(|c| c.probability));
    table.f64(RESOLUTION, rows().map(|c| c.resolution_a));
    table.f64(DETAIL, rows().map(|c| c.detail));
    writer.write(&table)?;
    writer.finish()
}

/// Reads class averages.
///
/// # Errors
/// A file that is absent, broken, of another kind, or lacks a column; class numbers that do not increase from 1.
pub fn read(path: &Path) -> Result<ClassAverages, TableError> {
    let file = TableReader::open_kind(path, &[Kind::ClassAverages.name()])?;
    let group = file.group(GROUP)?;
    let (numbers, particles) = (group.u32(NUMBER)?, group.u64(PARTICLES)?);
    let (probabilities, resolutions) = (group.f64(PROBABILITY)?, group.f64(RESOLUTION)?);
    let (details, indices) = (group.f64(DETAIL)?, group.u32(INDEX)?);
    let row = |(i, &number): (usize, &u32)| {
        if number == 0 || i > 0 && numbers[i - 1] >= number {
            return Err(group.bad(NUMBER, i, number, "numbers from 1 that increase"));
        }
        Ok(ClassAverage {
            number,
            stack_index: indices[i],
            particles: particles[i],
            probability: probabilities[i],
            resolution_a: resolutions[i],
            detail: details[i],
        })
    };
    Ok(ClassAverages {
        stack_path: file.attribute_text(STACK)?,
        box_px: file.attribute(BOX)?,
        pixel_size_a: file.attribute(PIXEL)?,
        diameter_a: file.attribute(DIAMETER)?,
        classes: numbers.iter().enumerate().map(row).collect::<Result<_, _>>()?,
    })
}
