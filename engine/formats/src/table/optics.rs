//! The group `optics` of exposure and particle tables.

use super::{ColumnDef, GroupReader, Table, TableError, TableReader};
use vitreous_model::aberrations::{Aberrations, EVEN_COEFFICIENTS, ODD_COEFFICIENTS};
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
/// Columns of aberrations, which stand only in tables that have some.
const TILT: [ColumnDef; 2] = [
    ColumnDef::new("beam_tilt_x_mrad", "mrad", "Beam tilt along x"),
    ColumnDef::new("beam_tilt_y_mrad", "mrad", "Beam tilt along y"),
];
macro_rules! zernike {
    ($kind:literal: $($number:literal)+) => {
        [$(ColumnDef::new(
            concat!($kind, "_zernike_", $number, "_rad"),
            "rad",
            concat!("Coefficient ", $number, " of the ", $kind, " Zernike polynomials, radius in 1/Å"),
        )),+]
    };
}
const ODD: [ColumnDef; ODD_COEFFICIENTS] = zernike!("odd": 0 1 2 3 4 5 6 7 8 9 10 11);
const EVEN: [ColumnDef; EVEN_COEFFICIENTS] = zernike!("even": 0 1 2 3 4 5 6 7 8);
const MAGNIFICATION: [[ColumnDef; 2]; 2] = [
    [
        ColumnDef::new("magnification_xx", "", "Magnification matrix: the image's k is the particle's M k"),
        ColumnDef::new("magnification_xy", "", "Magnification matrix, row x, column y"),
    ],
    [
        ColumnDef::new("magnification_yx", "", "Magnification matrix, row y, column x"),
        ColumnDef::new("magnification_yy", "", "Magnification matrix, row y, column y"),
    ],
];

pub(super) fn table(optics: &[OpticsGroup]) -> Table {
    let mut table = Table::new(GROUP);
    table.u32(NUMBER, optics.iter().map(|g| g.number));
    table.text(NAME, optics.iter().map(|g| g.name.as_str()));
    table.f64(VOLTAGE, optics.iter().map(|g| g.voltage.0));
    table.f64(CS, optics.iter().map(|g| g.cs.0));
    table.f64(AMPLITUDE, optics.iter().map(|g| g.amplitude_contrast));
    table.f64(PIXEL, optics.iter().map(|g| g.movie_pixel_size_a));
    if optics.iter().any(|g| !g.aberrations.is_none()) {
        push_aberrations(&mut table, optics);
    }
    table
}

fn push_aberrations(table: &mut Table, optics: &[OpticsGroup]) {
    let rows = || optics.iter().map(|g| &g.aberrations);
    for (axis, def) in TILT.into_iter().enumerate() {
        table.f64(def, rows().map(|a| a.beam_tilt_mrad[axis]));
    }
    for (i, def) in ODD.into_iter().enumerate() {
        table.f64(def, rows().map(|a| a.odd[i]));
    }
    for (i, def) in EVEN.into_iter().enumerate() {
        table.f64(def, rows().map(|a| a.even.zernike[i]));
    }
    for (row, defs) in MAGNIFICATION.into_iter().enumerate() {
        for (column, def) in defs.into_iter().enumerate() {
            table.f64(def, rows().map(|a| a.magnification[row][column]));
        }
    }
}

/// Of every group; none in tables that do not have them.
fn read_aberrations(group: &GroupReader<'_>) -> Result<Vec<Aberrations>, TableError> {
    let mut all = vec![Aberrations::default(); group.rows()];
    if !group.has(TILT[0].name) {
        return Ok(all);
    }
    let mut column = |def: ColumnDef, set: &dyn Fn(&mut Aberrations, f64)| -> Result<(), TableError> {
        for (row, value) in group.f64(def)?.into_iter().enumerate() {
            if !value.is_finite() {
                return Err(group.bad(def, row, value, "a finite number"));
            }
            set(&mut all[row], value);
        }
        Ok(())
    };
    for (axis, def) in TILT.into_iter().enumerate() {
        column(def, &|a, v| a.beam_tilt_mrad[axis] = v)?;
    }
    for (i, def) in ODD.into_iter().enumerate() {
        column(def, &|a, v| a.odd[i] = v)?;
    }
    for (i, def) in EVEN.into_iter().enumerate() {
        column(def, &|a, v| a.even.zernike[i] = v)?;
    }
    for (row, defs) in MAGNIFICATION.into_iter().enumerate() {
        for (place, def) in defs.into_iter().enumerate() {
            column(def, &|a, v| a.magnification[row][place] = v)?;
        }
    }
    Ok(all)
}

pub(super) fn read(file: &TableReader) -> Result<Vec<OpticsGroup>, TableError> {
    let group = file.group(GROUP)?;
    let (number, name, voltage) = (group.u32(NUMBER)?, group.text(NAME)?, group.f64(VOLTAGE)?);
    let (cs, amplitude, pixel) = (group.f64(CS)?, group.f64(AMPLITUDE)?, group.f64(PIXEL)?);
    let aberrations = read_aberrations(&group)?;
    let row = |(i, name): (usize, String)| OpticsGroup {
        number: number[i],
        name,
        voltage: Kilovolt(voltage[i]),
        cs: Millimetre(cs[i]),
        amplitude_contrast: amplitude[i],
        movie_pixel_size_a: pixel[i],
        aberrations: aberrations[i],
    };
    Ok(name.into_iter().enumerate().map(row).collect())
}
