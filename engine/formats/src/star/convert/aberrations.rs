//! Aberrations of optics groups: columns of `data_optics`, in and out.

use super::{Cell, EVEN, MAG_00, MAG_01, MAG_10, MAG_11, ODD, Rule, StarError, TILT_X, TILT_Y};
use crate::star::reader::{Row, TableView};
use crate::star::writer::number;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::exposure::OpticsGroup;

const TILT: [Rule; 2] = [TILT_X, TILT_Y];
const MAGNIFICATION: [Rule; 4] = [MAG_00, MAG_01, MAG_10, MAG_11];

/// Whether a column is one of these.
pub(super) fn is_label(label: &str) -> bool {
    TILT.iter().chain(&MAGNIFICATION).chain([&ODD, &EVEN]).any(|rule| rule.label == label)
}

/// The columns a table has.
pub(super) struct Columns {
    tilt: [Option<Cell>; 2],
    odd: Option<Cell>,
    even: Option<Cell>,
    magnification: [Option<Cell>; 4],
}

impl Columns {
    pub(super) fn of(table: &TableView<'_>) -> Self {
        let find = |rule| Cell::find(table, rule);
        Self {
            tilt: TILT.map(find),
            odd: find(ODD),
            even: find(EVEN),
            magnification: MAGNIFICATION.map(find),
        }
    }

    /// The aberrations of a row.
    pub(super) fn read(&self, row: &Row<'_, '_>) -> Result<Aberrations, StarError> {
        let mut found = Aberrations::default();
        if let Some(cell) = self.odd {
            fill(row, cell, &mut found.odd)?;
        }
        if let Some(cell) = self.even {
            fill(row, cell, &mut found.even.zernike)?;
        }
        for (axis, cell) in self.tilt.iter().enumerate() {
            if let Some(cell) = cell {
                found.beam_tilt_mrad[axis] = cell.value(row)?;
            }
        }
        if self.tilt.iter().any(Option::is_some) {
            // RELION puts the tilt in the place of third-order coma
            (found.odd[3], found.odd[4]) = (0.0, 0.0);
        }
        for (place, cell) in self.magnification.iter().enumerate() {
            if let Some(cell) = cell {
                found.magnification[place / 2][place % 2] = cell.value(row)?;
            }
        }
        let [[a, b], [c, d]] = found.magnification;
        match self.magnification.iter().flatten().next() {
            Some(cell) if !(0.5..2.0).contains(&(a * d - b * c)) => {
                Err(row.bad(cell.column, "part of a magnification matrix with a determinant near 1"))
            }
            _ => Ok(found),
        }
    }
}

/// Numbers of a list `[a,b,…]` that may be shorter than ours, or longer by zeros.
fn fill(row: &Row<'_, '_>, cell: Cell, out: &mut [f64]) -> Result<(), StarError> {
    let bad = || row.bad(cell.column, &format!("a list of up to {} coefficients, [a,b,…]", out.len()));
    let text = cell.text(row).trim();
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or_else(bad)?;
    if inner.trim().is_empty() {
        return Ok(());
    }
    let mut values = Vec::new();
    for part in inner.split(',') {
        values.push(part.trim().parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(bad)?);
    }
    if values.iter().skip(out.len()).any(|&v| v != 0.0) {
        return Err(bad());
    }
    out.iter_mut().zip(values).for_each(|(to, value)| *to = cell.rule.ours(value));
    Ok(())
}

/// The columns that groups need, none if there are no aberrations.
pub(super) fn columns(optics: &[OpticsGroup]) -> Vec<&'static str> {
    let any = |test: fn(&Aberrations) -> bool| optics.iter().any(|group| test(&group.aberrations));
    let mut rules: Vec<Rule> = Vec::new();
    if any(Aberrations::has_odd) {
        rules.extend(TILT);
        rules.push(ODD);
    }
    if any(|a| !a.even.is_none()) {
        rules.push(EVEN);
    }
    if any(Aberrations::has_magnification) {
        rules.extend(MAGNIFICATION);
    }
    rules.iter().map(|rule| rule.label).collect()
}

/// The cells of a group under these columns.
pub(super) fn cells(group: &OpticsGroup, columns: &[&str]) -> Vec<String> {
    let list = |values: &[f64]| {
        let values: Vec<String> = values.iter().map(|v| number(*v)).collect();
        format!("[{}]", values.join(","))
    };
    let own = group.aberrations.with_coma_as_tilt(group.voltage.wavelength_a(), group.cs);
    // RELION fits up to the third order; the fifth only goes along where there is one
    let odd = if own.odd[6..].iter().any(|&c| c != 0.0) { &own.odd[..] } else { &own.odd[..6] };
    let cell = |label: &&str| match *label {
        l if l == TILT_X.label => number(own.beam_tilt_mrad[0]),
        l if l == TILT_Y.label => number(own.beam_tilt_mrad[1]),
        l if l == ODD.label => list(odd),
        l if l == EVEN.label => list(&own.even.zernike),
        l => {
            let place = MAGNIFICATION.iter().position(|rule| rule.label == l).unwrap_or(0);
            number(own.magnification[place / 2][place % 2])
        }
    };
    columns.iter().map(cell).collect()
}
