//! The PDB format, version 3.3 (wwPDB): fixed columns.

use super::{Assembly, AssemblyPart, Atom, AtomicModel, AtomicModelError, Element, RigidMotion, WATER};
use std::path::Path;

/// Longest absolute coordinate that makes sense, Å.
pub(super) const LARGEST_COORDINATE_A: f64 = 1e6;

pub(super) fn parse(path: &Path, text: &str) -> Result<AtomicModel, AtomicModelError> {
    let mut model = AtomicModel::default();
    let mut biomt = Biomt::default();
    for (index, line) in text.lines().enumerate() {
        let at = Line { path, number: index + 1, text: line };
        match at.columns(1, 6).trim_end() {
            "ATOM" | "HETATM" => add_atom(&mut model, &at)?,
            // the first model of an ensemble is enough
            "ENDMDL" => break,
            "HEADER" => model.id = at.columns(63, 66).trim().to_string(),
            "TITLE" => append(&mut model.title, at.columns(11, 80)),
            "JRNL" if matches!(at.columns(13, 16), "AUTH" | "TITL" | "REF ") => {
                append(&mut model.citation, at.columns(20, 79));
            }
            "REMARK" if at.columns(8, 10) == "350" => biomt.line(&at)?,
            _ => {}
        }
    }
    model.assemblies = biomt.assemblies;
    Ok(model)
}

/// Adds a continuation line.
fn append(text: &mut String, more: &str) {
    let words = more.split_whitespace();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
}

/// A line and where it is.
struct Line<'a> {
    path: &'a Path,
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// Columns `first..=last`, counted from 1 as the format's description does; short lines give what there is.
    fn columns(&self, first: usize, last: usize) -> &'a str {
        let end = last.min(self.text.len());
        self.text.get(first - 1..end).unwrap_or("")
    }

    fn number(&self, field: &str, first: usize, last: usize) -> Result<f64, AtomicModelError> {
        let cell = self.columns(first, last).trim();
        let value = cell.parse().ok().filter(|v: &f64| v.is_finite() && v.abs() <= LARGEST_COORDINATE_A);
        value.ok_or_else(|| self.bad(field, cell, &format!("a number in columns {first} to {last}")))
    }

    /// The same, where an empty field has a meaning of its own.
    fn number_or(&self, field: &str, first: usize, last: usize, empty: f64) -> Result<f64, AtomicModelError> {
        if self.columns(first, last).trim().is_empty() { Ok(empty) } else { self.number(field, first, last) }
    }

    fn bad(&self, field: &str, found: &str, expected: &str) -> AtomicModelError {
        AtomicModelError::Field {
            path: self.path.into(),
            line: self.number,
            field: field.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

fn add_atom(model: &mut AtomicModel, line: &Line<'_>) -> Result<(), AtomicModelError> {
    if WATER.contains(&line.columns(18, 20).trim()) {
        model.waters += 1;
        return Ok(());
    }
    let position_a = [line.number("x", 31, 38)?, line.number("y", 39, 46)?, line.number("z", 47, 54)?];
    let chain = model.chain_index(line.columns(22, 22));
    model.atoms.push(Atom {
        element: element(line)?,
        position_a,
        occupancy: line.number_or("occupancy", 55, 60, 1.0)?,
        b_factor_a2: line.number_or("B-factor", 61, 66, 0.0)?,
        chain,
    });
    Ok(())
}

/// The element of columns 77–78; old files lack it, then that of the atom's name, whose first two columns hold the symbol.
fn element(line: &Line<'_>) -> Result<Element, AtomicModelError> {
    let symbol = line.columns(77, 78).trim();
    if !symbol.is_empty() {
        return Element::from_symbol(symbol)
            .ok_or_else(|| line.bad("element", symbol, "a chemical symbol in columns 77 to 78"));
    }
    let name = line.columns(13, 16);
    let letters = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let two = name.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_alphabetic()));
    // `HG11` is hydrogen, though `HG` in these columns is mercury: four letters are a hydrogen's long name
    let metal = two.filter(|two| !(name.trim().len() == 4 && two.starts_with(['H', 'h'])));
    let one = letters.get(..1).and_then(Element::from_symbol);
    metal.and_then(Element::from_symbol).or(one).ok_or_else(|| {
        line.bad(
            "atom name",
            name.trim(),
            "a name that begins with a chemical symbol (there is none in columns 77 to 78)",
        )
    })
}

/// REMARK 350: biological assemblies.
#[derive(Default)]
struct Biomt {
    assemblies: Vec<Assembly>,
    rows: Vec<[f64; 4]>,
}

impl Biomt {
    fn line(&mut self, line: &Line<'_>) -> Result<(), AtomicModelError> {
        let text = line.columns(11, 80).trim();
        if let Some(id) = text.strip_prefix("BIOMOLECULE:") {
            self.assemblies.push(Assembly { id: id.trim().into(), parts: Vec::new() });
        } else if let Some(chains) = text.strip_prefix("APPLY THE FOLLOWING TO CHAINS:") {
            self.rows.clear();
            let part = AssemblyPart { chains: names(chains), motions: Vec::new() };
            self.assembly().parts.push(part);
        } else if let Some(chains) = text.strip_prefix("AND CHAINS:") {
            self.more_chains(chains);
        } else if let Some(row) = text.strip_prefix("BIOMT") {
            return self.row(row, line);
        } else if !text.is_empty() && text.split(',').all(|name| name.trim().len() == 1 || name.is_empty()) {
            // a list of chains that goes on
            self.more_chains(text);
        }
        Ok(())
    }

    fn more_chains(&mut self, chains: &str) {
        if let Some(part) = self.assembly().parts.last_mut().filter(|part| part.motions.is_empty()) {
            part.chains.extend(names(chains));
        }
    }

    fn row(&mut self, row: &str, line: &Line<'_>) -> Result<(), AtomicModelError> {
        let bad = || line.bad("BIOMT row", row, "`BIOMTn number r1 r2 r3 t` with n = 1, 2, 3 in turn");
        let mut words = row.split_whitespace();
        let number: usize = words.next().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        let values: Vec<f64> = words.skip(1).map_while(|word| word.parse().ok()).collect();
        let values: [f64; 4] = values.try_into().map_err(|_| bad())?;
        if number != self.rows.len() + 1 {
            return Err(bad());
        }
        self.rows.push(values);
        if let [a, b, c] = self.rows[..] {
            self.rows.clear();
            let motion = RigidMotion {
                rotation: [a, b, c].map(|row| [row[0], row[1], row[2]]),
                translation_a: [a[3], b[3], c[3]],
            };
            let part = self.assembly().parts.last_mut().ok_or_else(bad)?;
            part.motions.push(motion);
        }
        Ok(())
    }

    fn assembly(&mut self) -> &mut Assembly {
        if self.assemblies.is_empty() {
            self.assemblies.push(Assembly { id: "1".into(), parts: Vec::new() });
        }
        self.assemblies.last_mut().expect("an assembly should have been pushed")
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect()
}
