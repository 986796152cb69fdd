//! The molecule: atoms centred on the origin, its axes where the conventions put them.

use super::potential::Potential;
use crate::StageError;
use std::path::Path;
use vitreous_compute::map_alignment::find_axes;
use vitreous_formats::atomic_model::{self, AtomicModel, Element};
use vitreous_model::symmetry::PointGroup;

/// B-factors are rounded to this, so that atoms fall into few classes.
const B_STEP_A2: f64 = 5.0;
/// Box of the map in which symmetry axes are looked for.
const AXES_BOX: usize = 64;
/// Self-correlation under which a model has not the symmetry that was asked for.
const LEAST_CORRELATION: f64 = 0.7;

/// Atoms that scatter alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtomClass {
    /// What they are.
    pub element: Element,
    /// Their B-factor, Å².
    pub b_a2: f64,
}

/// Atoms that turn as a rigid body against the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MovingPart {
    /// The first of them; all others follow it.
    pub first: usize,
    /// The point they turn about, Å from the centre.
    pub hinge_a: [f64; 3],
}

/// The molecule.
#[derive(Debug, Clone, PartialEq)]
pub struct Specimen {
    /// Entry code or file name.
    pub name: String,
    /// Positions from the centre, Å.
    pub positions_a: Vec<[f64; 3]>,
    /// Occupancies.
    pub occupancies: Vec<f64>,
    /// Class of each atom.
    pub class_of: Vec<u16>,
    /// The classes.
    pub classes: Vec<AtomClass>,
    /// The part that moves, if there is one.
    pub moving: Option<MovingPart>,
    /// Where the model's own origin lies, Å.
    pub origin_a: [f64; 3],
    /// The model's own z axis, of unit length.
    pub z_axis: [f64; 3],
    /// Distance of the farthest atom from the centre, Å.
    pub radius_a: f64,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
}

/// What to make of a model.
#[derive(Debug, Clone, Copy)]
pub struct Preparation<'a> {
    /// Biological assembly to build; empty: atoms as deposited.
    pub assembly: &'a str,
    /// Group whose axes are looked for.
    pub symmetry: PointGroup,
    /// B-factor of every atom, Å².
    pub b_a2: f64,
    /// Add the deposited B-factors.
    pub use_deposited_b: bool,
    /// Model of a part that moves, in the frame of the first.
    pub moving: Option<&'a Path>,
}

/// Reads a model and prepares it.
///
/// # Errors
/// A file that is no model, has no such assembly, no atom with known scattering, or not the symmetry.
pub fn load(path: &Path, how: Preparation<'_>) -> Result<Specimen, StageError> {
    let read = |path| {
        atomic_model::read(path).map_err(|e| StageError::input(e.to_string(), "give a PDB or mmCIF file"))
    };
    let model = read(path)?;
    let name = if model.id.is_empty() {
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    } else {
        model.id.clone()
    };
    let model = if how.assembly.is_empty() {
        model
    } else {
        model.build_assembly(how.assembly).ok_or_else(|| {
            let known: Vec<&str> = model.assemblies.iter().map(|a| a.id.as_str()).collect();
            StageError::input(
                format!("{}: there is no assembly `{}`", path.display(), how.assembly),
                format!("the file has: {}", if known.is_empty() { "none".into() } else { known.join(", ") }),
            )
        })?
    };
    let mut specimen = Specimen::empty(name);
    specimen.add(&model, how);
    if let Some(path) = how.moving {
        let first = specimen.positions_a.len();
        specimen.add(&read(path)?, how);
        if first == specimen.positions_a.len() {
            return Err(StageError::input(
                format!("{}: no atom of an element whose scattering is known", path.display()),
                "give a model of a part that moves",
            ));
        }
        let hinge_a = hinge(specimen.positions_a.split_at(first));
        specimen.moving = Some(MovingPart { first, hinge_a });
    }
    if specimen.positions_a.is_empty() {
        return Err(StageError::input(
            format!("{}: no atom of an element whose scattering is known", specimen.name),
            "give a model of a biological molecule",
        ));
    }
    specimen.centre();
    if how.symmetry.order() > 1 {
        specimen.turn_axes(how.symmetry)?;
    }
    Ok(specimen)
}

/// The moving atom nearest the middle of the others.
fn hinge((fixed, moving): (&[[f64; 3]], &[[f64; 3]])) -> [f64; 3] {
    let count = fixed.len().max(1) as f64;
    let middle = [0, 1, 2].map(|axis| fixed.iter().map(|p| p[axis]).sum::<f64>() / count);
    let distance2 = |p: &[f64; 3]| (0..3).map(|axis| (p[axis] - middle[axis]).powi(2)).sum::<f64>();
    moving.iter().copied().min_by(|a, b| distance2(a).total_cmp(&distance2(b))).unwrap_or(middle)
}

impl Specimen {
    /// Nothing yet.
    fn empty(name: String) -> Self {
        Self {
            name,
            positions_a: Vec::new(),
            occupancies: Vec::new(),
            class_of: Vec::new(),
            classes: Vec::new(),
            moving: None,
            origin_a: [0.0; 3],
            z_axis: [0.0, 0.0, 1.0],
            radius_a: 0.0,
            notes: Vec::new(),
        }
    }

    /// Adds the atoms of a model whose scattering is known, by class.
    fn add(&mut self, model: &AtomicModel, how: Preparation<'_>) {
        let mut unknown: Vec<&str> = Vec::new();
        for atom in &model.atoms {
            if super::scattering::coefficients(atom.element).is_none() {
                unknown.push(atom.element.symbol());
                continue;
            }
            let deposited = if how.use_deposited_b { atom.b_factor_a2 } else { 0.0 };
            let class = AtomClass {
                element: atom.element,
                b_a2: ((how.b_a2 + deposited) / B_STEP_A2).round().max(0.0) * B_STEP_A2,
            };
            let index = self.classes.iter().position(|known| *known == class).unwrap_or_else(|| {
                self.classes.push(class);
                self.classes.len() - 1
            });
            self.class_of.push(index as u16);
            self.positions_a.push(atom.position_a);
            self.occupancies.push(atom.occupancy);
        }
        if !unknown.is_empty() {
            let count = unknown.len();
            unknown.sort_unstable();
            unknown.dedup();
            let elements = unknown.join(", ");
            self.notes.push(format!("{count} atoms without scattering factors were left out ({elements})"));
        }
    }

    /// Moves the centre of the atoms to the origin.
    fn centre(&mut self) {
        let count = self.positions_a.len() as f64;
        let mean = [0, 1, 2].map(|axis| self.positions_a.iter().map(|p| p[axis]).sum::<f64>() / count);
        let hinge = self.moving.iter_mut().map(|part| &mut part.hinge_a);
        for position in self.positions_a.iter_mut().chain([&mut self.origin_a]).chain(hinge) {
            (0..3).for_each(|axis| position[axis] -= mean[axis]);
        }
        let norm2 = |p: &[f64; 3]| p.iter().map(|x| x * x).sum::<f64>();
        self.radius_a = self.positions_a.iter().map(norm2).fold(0.0, f64::max).sqrt();
    }

    /// Turns the molecule so that the axes of `group` lie where its conventions want them.
    fn turn_axes(&mut self, group: PointGroup) -> Result<(), StageError> {
        let voxel_a = 2.4 * self.radius_a.max(10.0) / AXES_BOX as f64;
        let map = Potential::new(self, AXES_BOX, voxel_a).volume();
        let found = find_axes(map.view(), group);
        if found.correlation < LEAST_CORRELATION {
            return Err(StageError::input(
                format!(
                    "{} has no {group} symmetry: the best setting correlates with itself to {:.2}, expected {LEAST_CORRELATION} or more",
                    self.name, found.correlation
                ),
                "set symmetry to that of the model, or to C1",
            ));
        }
        // the map is to be read at R x + t, so an atom at p comes to lie at R⁻¹ (p - t)
        let back = found.placement.rotation.inverse();
        let shift = found.placement.shift_px.map(|t| t * voxel_a);
        let hinge = self.moving.iter_mut().map(|part| &mut part.hinge_a);
        for position in self.positions_a.iter_mut().chain([&mut self.origin_a]).chain(hinge) {
            *position = back.apply([0, 1, 2].map(|axis| position[axis] - shift[axis]));
        }
        self.z_axis = back.apply(self.z_axis);
        self.notes.push(format!("axes of {group} found; correlation with itself {:.3}", found.correlation));
        Ok(())
    }
}
