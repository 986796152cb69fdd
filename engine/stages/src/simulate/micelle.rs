//! Detergent about a membrane protein: a belt whose shape is the same for all particles and whose molecules are not.
//!
//! The belt fills a half-ellipse outside the protein's outline at the membrane's height. A molecule is a cloud of carbon
//! atoms about a place in it. Averaged over particles that is a smooth belt; in each image it is as much scattering in
//! places that no map predicts, which is what limits the maps of proteins in micelles.

use super::random::{normal, uniform};
use super::specimen::Specimen;
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;

/// Half of the height of the belt along the membrane's normal, Å: a bilayer's hydrophobic part and the head groups.
const HALF_HEIGHT_A: f64 = 19.0;
/// How far the belt reaches beyond the protein, Å: about a molecule of dodecyl maltoside.
const THICKNESS_A: f64 = 22.0;
/// Atoms of a molecule that are not hydrogen: dodecyl maltoside has 35.
const ATOMS: usize = 35;
/// Standard deviation of a molecule's atoms about its middle along each axis, Å.
const SPREAD_A: f64 = 4.0;
/// Sectors in which the protein's outline is taken.
const SECTORS: usize = 36;

/// The belt.
pub struct Micelle {
    molecules: usize,
    /// A point on the axis at the middle of the membrane, Å from the centre.
    middle_a: [f64; 3],
    /// Two axes in the membrane, and its normal.
    axes: [[f64; 3]; 3],
    /// Radius of the protein by sector, Å.
    outline_a: [f64; SECTORS],
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| a[i] * b[i]).sum()
}

impl Micelle {
    /// A belt of so many molecules; `None` if there are none, or the model has no atom at the height of the membrane.
    pub fn new(specimen: &Specimen, molecules: u32) -> Option<Self> {
        let normal = specimen.z_axis;
        let some = if normal[0].abs() < 0.9 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
        let along = dot(some, normal);
        let first = [0, 1, 2].map(|i| some[i] - along * normal[i]);
        let first = first.map(|v| v / dot(first, first).sqrt());
        let second = [0, 1, 2].map(|i| {
            let (j, k) = ((i + 1) % 3, (i + 2) % 3);
            normal[j] * first[k] - normal[k] * first[j]
        });
        let axes = [first, second, normal];
        let local = |p: &[f64; 3]| axes.map(|axis| dot(axis, [0, 1, 2].map(|i| p[i] - specimen.origin_a[i])));
        let inside: Vec<[f64; 3]> =
            specimen.positions_a.iter().map(local).filter(|p| p[2].abs() < HALF_HEIGHT_A).collect();
        if molecules == 0 || inside.is_empty() {
            return None;
        }
        let middle = [0, 1].map(|i| inside.iter().map(|p| p[i]).sum::<f64>() / inside.len() as f64);
        let mut outline_a = [0.0f64; SECTORS];
        for p in &inside {
            let (x, y) = (p[0] - middle[0], p[1] - middle[1]);
            let radius = &mut outline_a[sector(y.atan2(x))];
            *radius = radius.max(x.hypot(y));
        }
        // an empty sector lies between its neighbours
        let mean = outline_a.iter().sum::<f64>() / SECTORS as f64;
        outline_a.iter_mut().filter(|radius| **radius == 0.0).for_each(|radius| *radius = mean);
        let middle_a = [0, 1, 2].map(|i| specimen.origin_a[i] + middle[0] * first[i] + middle[1] * second[i]);
        Some(Self { molecules: molecules as usize, middle_a, axes, outline_a })
    }

    /// Places of the carbon atoms of one particle's molecules, Å from the centre.
    pub fn carbons(&self, rng: &mut ChaCha8Rng) -> Vec<[f64; 3]> {
        let mut atoms = Vec::with_capacity(self.molecules * ATOMS);
        let widest = self.outline_a.iter().copied().fold(0.0, f64::max) + THICKNESS_A;
        while atoms.len() < self.molecules * ATOMS {
            let [x, y] = [0, 1].map(|_| uniform(rng, -widest, widest));
            let height = uniform(rng, -HALF_HEIGHT_A, HALF_HEIGHT_A);
            let beyond = x.hypot(y) - self.outline_a[sector(y.atan2(x))];
            let within = (beyond / THICKNESS_A).powi(2) + (height / HALF_HEIGHT_A).powi(2) <= 1.0;
            if beyond < 0.0 || !within {
                continue;
            }
            for _ in 0..ATOMS {
                let at = [x, y, height].map(|v| v + SPREAD_A * normal(rng));
                let place =
                    |i: usize| self.middle_a[i] + (0..3).map(|a| at[a] * self.axes[a][i]).sum::<f64>();
                atoms.push([place(0), place(1), place(2)]);
            }
        }
        atoms
    }

    /// The farthest an atom may lie from the centre but for chance, Å.
    pub fn reach_a(&self) -> f64 {
        let widest = self.outline_a.iter().copied().fold(0.0, f64::max) + THICKNESS_A;
        let height = dot(self.middle_a, self.axes[2]);
        let aside = (dot(self.middle_a, self.middle_a) - height * height).max(0.0).sqrt();
        (widest + aside).hypot(HALF_HEIGHT_A + height.abs()) + 2.0 * SPREAD_A
    }
}

fn sector(angle: f64) -> usize {
    ((angle.rem_euclid(TAU) / TAU * SECTORS as f64) as usize).min(SECTORS - 1)
}
