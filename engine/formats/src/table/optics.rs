//! The group `optics` of exposure and particle tables.

use super::{ColumnDef, Table, TableError, TableReader};
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::units::{Kilovolt, Millimetre};

const GROUP: &str = "optics";
const NUMBER: ColumnDef = ColumnDef::new("number", "", "Number of the optics group, from 1");
const NAME: ColumnDef = ColumnDef::new("name", "", "Name");
const VOLTAGE: ColumnDef = ColumnDef::new("voltage_kv", "kV", "Acceleration voltage");
const CS: ColumnDef = ColumnDef::new("cs_mm", "mm", "Spherical aberration");
const AMPLITUDE: ColumnDef = ColumnDef::new("amplitude_contrast", "", "Amplitude contrast as a fraction");
const PIXEL: ColumnDef =
    ColumnDef::new("movie_pixel_size_a", "Å", "Pixel size of the movie before any binning");

pub(super) fn table(optics: &[OpticsGroup]) -> Table {
    let mut table = Table::new(GROUP);
    table.u32(NUMBER, optics.iter().map(|g| g.number));
    table.text(NAME, optics.iter().map(|g| g.name.as_str()));
    table.f64(VOLTAGE, optics.iter().map(|g| g.voltage.0));
    table.f64(CS, optics.iter().map(|g| g.cs.0));
    table.f64(AMPLITUDE, optics.iter().map(|g| g.amplitude_contrast));
    table.f64(PIXEL, optics.iter().map(|g| g.movie_pixel_size_a));
    table
}

pub(super) fn read(file: &TableReader) -> Result<Vec<OpticsGroup>, TableError> {
    let group = file.group(GROUP)?;
    let (number, name, voltage) = (group.u32(NUMBER)?, group.text(NAME)?, group.f64(VOLTAGE)?);
    let (cs, amplitude, pixel) = (group.f64(CS)?, group.f64(AMPLITUDE)?, group.f64(PIXEL)?);
    let row = |(i, name): (usize, String)| OpticsGroup {
        number: number[i],
        name,
        voltage: Kilovolt(voltage[i]),
        cs: Millimetre(cs[i]),
        amplitude_contrast: amplitude[i],
        movie_pixel_size_a: pixel[i],
    };
    Ok(name.into_iter().enumerate().map(row).collect())
}
