//! Atomic models: PDB, mmCIF, and our compact text form; plain or gzip, told apart by content.
//!
//! Of an ensemble (NMR) the first model is taken. Water is left out and counted: simulations have their own solvent.
//! Alternate locations are all kept, with their occupancies. Positions are the file's, in Å, in its own frame.

mod cif;
pub mod compact;
mod element;
mod error;
mod pdb;

#[cfg(test)]
mod tests;

pub use element::Element;
pub use error::AtomicModelError;

use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vitreous_model::pose::Matrix3;

/// An atom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Atom {
    /// What it is.
    pub element: Element,
    /// Where it is: x, y, z in Å.
    pub position_a: [f64; 3],
    /// Its B-factor, Å².
    pub b_factor_a2: f64,
    /// How much of it is there, 0 to 1.
    pub occupancy: f64,
    /// Index of its chain in [`AtomicModel::chains`].
    pub chain: u32,
}

/// A rigid motion: `x ↦ rotation · x + translation`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RigidMotion {
    /// Row by row.
    pub rotation: Matrix3,
    /// In Å.
    pub translation_a: [f64; 3],
}

impl RigidMotion {
    /// No motion.
    pub const IDENTITY: Self =
        Self { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], translation_a: [0.0; 3] };

    /// The image of a point.
    pub fn apply(&self, p: [f64; 3]) -> [f64; 3] {
        let r = &self.rotation;
        [0, 1, 2].map(|i| r[i][0] * p[0] + r[i][1] * p[1] + r[i][2] * p[2] + self.translation_a[i])
    }

    /// `self` after `first`.
    pub fn after(&self, first: &Self) -> Self {
        let rotation = std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..3).map(|k| self.rotation[i][k] * first.rotation[k][j]).sum())
        });
        Self { rotation, translation_a: self.apply(first.translation_a) }
    }
}

/// A part of an assembly: some chains, copied by some motions.
#[derive(Debug, Clone, PartialEq)]
pub struct AssemblyPart {
    /// Names of the chains.
    pub chains: Vec<String>,
    /// One copy of them for each.
    pub motions: Vec<RigidMotion>,
}

/// A biological assembly: how to build the molecule from what was deposited.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembly {
    /// Its identifier, mostly a number.
    pub id: String,
    /// Its parts.
    pub parts: Vec<AssemblyPart>,
}

/// What a file of atoms says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AtomicModel {
    /// Entry code, e.g. `1MNF`; empty if unknown.
    pub id: String,
    /// Title.
    pub title: String,
    /// Where it was published; empty if unknown.
    pub citation: String,
    /// The atoms, without water.
    pub atoms: Vec<Atom>,
    /// Names of the chains (mmCIF: `label_asym_id`).
    pub chains: Vec<String>,
    /// Biological assemblies.
    pub assemblies: Vec<Assembly>,
    /// Atoms of water that were left out.
    pub waters: usize,
}

impl AtomicModel {
    /// The assembly built out: every motion of every part applied to its chains. `None` if there is no such assembly.
    pub fn build_assembly(&self, id: &str) -> Option<Self> {
        let assembly = self.assemblies.iter().find(|assembly| assembly.id == id)?;
        let mut atoms = Vec::new();
        for part in &assembly.parts {
            let takes = |atom: &&Atom| part.chains.contains(&self.chains[atom.chain as usize]);
            for motion in &part.motions {
                let moved = |atom: &Atom| Atom { position_a: motion.apply(atom.position_a), ..*atom };
                atoms.extend(self.atoms.iter().filter(takes).map(moved));
            }
        }
        Some(Self { atoms, assemblies: Vec::new(), ..self.clone() })
    }

    /// The index of a chain, which is added if it is new.
    fn chain_index(&mut self, name: &str) -> u32 {
        // atoms of a chain mostly follow each other
        let index = self.chains.iter().rposition(|chain| chain == name).unwrap_or_else(|| {
            self.chains.push(name.into());
            self.chains.len() - 1
        });
        index as u32
    }
}

/// Names of residues that are water.
const WATER: &[&str] = &["HOH", "WAT", "DOD", "H2O"];

/// Reads a model of any of the forms.
///
/// # Errors
/// A file that cannot be read or unpacked, is of none of the forms, has a broken line (the message names it), or holds no atom.
pub fn read(path: &Path) -> Result<AtomicModel, AtomicModelError> {
    let io = |source| AtomicModelError::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(io)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).map_err(io)?;
        bytes = plain;
    }
    // authors' names come in old encodings; what matters here is ASCII
    parse(path, &String::from_utf8_lossy(&bytes))
}

/// The same from a text; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<AtomicModel, AtomicModelError> {
    let first =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
    let model = if first.starts_with("data_") {
        cif::parse(path, text)?
    } else if first.starts_with(compact::MAGIC) {
        compact::parse(path, text)?
    } else {
        pdb::parse(path, text)?
    };
    if model.atoms.is_empty() {
        return Err(AtomicModelError::NoAtoms { path: path.into(), waters: model.waters });
    }
    Ok(model)
}
