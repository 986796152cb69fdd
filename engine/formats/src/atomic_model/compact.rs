//! A compact text form of an atomic model, small enough to ship beside an example.
//!
//! ```text
//! vitreous-atoms 1
//! id 1MNF
//! title Domain motions in GroEL …
//! citation J.Wang, L.Chen, J.Mol.Biol. 334, 489 (2003)
//! step_a 0.05
//! atoms 55552
//! N 512 -33 80 27
//! C 12 -8 25 -1
//! ```
//! After the header one atom a line: its symbol, then x, y, z as multiples of `step_a` (so a position is off by at most
//! half a step) and the B-factor in whole Å², each as the difference from the atom before, which gzip shrinks well.
//! Chains, assemblies and occupancies are not kept: build an assembly first; atoms under half occupancy are left out.

use super::pdb::LARGEST_COORDINATE_A;
use super::{Atom, AtomicModel, AtomicModelError, Element};
use std::io::Write;
use std::path::Path;

/// First word of the file.
pub const MAGIC: &str = "vitreous-atoms";
const VERSION: &str = "1";

/// Writes a model with positions as multiples of `step_a` Å; returns the number of atoms.
///
/// # Errors
/// A failed write.
pub fn write(out: &mut impl Write, model: &AtomicModel, step_a: f64) -> std::io::Result<usize> {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let atoms: Vec<&Atom> = model.atoms.iter().filter(|atom| atom.occupancy >= 0.5).collect();
    writeln!(out, "{MAGIC} {VERSION}")?;
    writeln!(out, "id {}", one_line(&model.id))?;
    writeln!(out, "title {}", one_line(&model.title))?;
    writeln!(out, "citation {}", one_line(&model.citation))?;
    writeln!(out, "step_a {step_a}")?;
    writeln!(out, "atoms {}", atoms.len())?;
    let mut before = [0i64; 4];
    for atom in &atoms {
        let [x, y, z] = atom.position_a.map(|p| (p / step_a).round() as i64);
        let now = [x, y, z, atom.b_factor_a2.round() as i64];
        let [dx, dy, dz, db] = std::array::from_fn(|i| now[i] - before[i]);
        writeln!(out, "{} {dx} {dy} {dz} {db}", atom.element)?;
        before = now;
    }
    out.flush()?;
    Ok(atoms.len())
}

pub(super) fn parse(path: &Path, text: &str) -> Result<AtomicModel, AtomicModelError> {
    let bad = |line: usize, field: &str, found: &str, expected: &str| AtomicModelError::Field {
        path: path.into(),
        line,
        field: field.into(),
        found: found.into(),
        expected: expected.into(),
    };
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let mut header = |key: &str| {
        let (number, line) = lines.next().unwrap_or((1, ""));
        let value = line.strip_prefix(key).map(str::trim);
        value.map(|value| (number, value)).ok_or_else(|| bad(number, "header", line, &format!("`{key} …`")))
    };
    let (number, version) = header(MAGIC)?;
    if version != VERSION {
        return Err(bad(number, "version", version, "1; a newer file needs a newer program"));
    }
    let [id, title, citation] = ["id", "title", "citation"].map(&mut header);
    let (number, step) = header("step_a")?;
    let step_a: f64 = step
        .parse()
        .ok()
        .filter(|s| *s > 0.0 && *s < 10.0)
        .ok_or_else(|| bad(number, "step_a", step, "a length in Å above 0"))?;
    let (number, count) = header("atoms")?;
    let expected: usize = count.parse().map_err(|_| bad(number, "atoms", count, "the number of atoms"))?;
    let mut model = AtomicModel {
        id: id?.1.into(),
        title: title?.1.into(),
        citation: citation?.1.into(),
        chains: vec![String::new()],
        ..AtomicModel::default()
    };
    let mut position = [0i64; 4];
    let mut last = number;
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        last = number;
        let row = || bad(number, "atom", line, "`SYMBOL dx dy dz db` with whole numbers");
        let mut words = line.split_ascii_whitespace();
        let element = words.next().and_then(Element::from_symbol).ok_or_else(row)?;
        for value in &mut position {
            let step: i64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(row)?;
            *value = value.checked_add(step).ok_or_else(row)?;
        }
        let position_a = [0, 1, 2].map(|i| position[i] as f64 * step_a);
        if words.next().is_some() || position_a.iter().any(|p| p.abs() > LARGEST_COORDINATE_A) {
            return Err(row());
        }
        model.atoms.push(Atom {
            element,
            position_a,
            b_factor_a2: position[3] as f64,
            occupancy: 1.0,
            chain: 0,
        });
    }
    if model.atoms.len() != expected {
        let found = format!("{} atoms", model.atoms.len());
        return Err(bad(
            last,
            "number of atoms",
            &found,
            &format!("{expected}, as the header says; copy it again"),
        ));
    }
    Ok(model)
}
