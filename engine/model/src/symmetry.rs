//! Point groups in the usual settings, and their rotations.
//!
//! Settings (those of RELION and of the 3DEM convention): Cn along z; Dn with a 2-fold along x; T and O have
//! their 2-folds (T) or 4-folds (O) along x, y and z and 3-folds along the cube's diagonals (RELION's T has a 3-fold
//! along z instead); I1 and I2 have 2-folds along x, y and z and 5-folds at (0, ±1, ±φ) and cyclic (I1) or at (±1, 0, ±φ)
//! and cyclic (I2), φ the golden ratio; each is the other turned by 90° about z. `I` is I2, as in RELION.

use crate::pose::Rotation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A chiral point group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointGroup {
    /// Cn, n-fold about z. C1 is no symmetry.
    Cyclic(u32),
    /// Dn: Cn and a 2-fold about x.
    Dihedral(u32),
    /// T, of order 12.
    Tetrahedral,
    /// O, of order 24.
    Octahedral,
    /// I in the setting I1, of order 60.
    Icosahedral,
    /// I in the setting I2, RELION's `I`.
    IcosahedralTurned,
}

impl Default for PointGroup {
    fn default() -> Self {
        Self::C1
    }
}

/// A symmetry name nobody knows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("unknown point group `{0}` (known: C1, C2 …, D2, D3 …, T, O, I1, I2; I is I2)")]
pub struct UnknownPointGroup(pub String);

impl FromStr for PointGroup {
    type Err = UnknownPointGroup;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownPointGroup(text.to_string());
        let upper = text.trim().to_ascii_uppercase();
        match upper.as_str() {
            "T" => return Ok(Self::Tetrahedral),
            "O" => return Ok(Self::Octahedral),
            "I1" => return Ok(Self::Icosahedral),
            "I" | "I2" => return Ok(Self::IcosahedralTurned),
            _ => {}
        }
        let (family, order) = upper.split_at_checked(1).ok_or_else(unknown)?;
        let order: u32 = order.parse().ok().filter(|n| (1..=360).contains(n)).ok_or_else(unknown)?;
        match family {
            "C" => Ok(Self::Cyclic(order)),
            "D" => Ok(Self::Dihedral(order)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for PointGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cyclic(n) => write!(f, "C{n}"),
            Self::Dihedral(n) => write!(f, "D{n}"),
            Self::Tetrahedral => f.write_str("T"),
            Self::Octahedral => f.write_str("O"),
            Self::Icosahedral => f.write_str("I1"),
            Self::IcosahedralTurned => f.write_str("I2"),
        }
    }
}

impl Serialize for PointGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PointGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl PointGroup {
    /// No symmetry.
    pub const C1: Self = Self::Cyclic(1);

    /// Number of rotations.
    pub fn order(self) -> usize {
        match self {
            Self::Cyclic(n) => n as usize,
            Self::Dihedral(n) => 2 * n as usize,
            Self::Tetrahedral => 12,
            Self::Octahedral => 24,
            Self::Icosahedral | Self::IcosahedralTurned => 60,
        }
    }

    /// All rotations of the group, the identity first. A map V with this symmetry obeys `V(g x) = V(x)`.
    ///
    /// ```
    /// use vitreous_model::symmetry::PointGroup;
    /// for name in ["C1", "C5", "D2", "D7", "T", "O", "I1", "I2"] {
    ///     let group: PointGroup = name.parse().unwrap();
    ///     assert_eq!(group.rotations().len(), group.order(), "{name}");
    /// }
    /// ```
    pub fn rotations(self) -> Vec<Rotation> {
        use std::f64::consts::{FRAC_PI_2, PI, TAU};
        let golden = 0.5 * (1.0 + 5f64.sqrt());
        let turn = |axis: [f64; 3], angle: f64| {
            let norm = axis.iter().map(|a| a * a).sum::<f64>().sqrt();
            Rotation::from_rotation_vector(axis.map(|a| a * angle / norm))
        };
        let generators = match self {
            Self::Cyclic(n) => vec![turn([0.0, 0.0, 1.0], TAU / f64::from(n))],
            Self::Dihedral(n) => vec![turn([0.0, 0.0, 1.0], TAU / f64::from(n)), turn([1.0, 0.0, 0.0], PI)],
            Self::Tetrahedral => vec![turn([0.0, 0.0, 1.0], PI), turn([1.0, 1.0, 1.0], TAU / 3.0)],
            Self::Octahedral => vec![turn([0.0, 0.0, 1.0], FRAC_PI_2), turn([1.0, 1.0, 1.0], TAU / 3.0)],
            Self::Icosahedral => vec![
                turn([0.0, 0.0, 1.0], PI),
                turn([1.0, 1.0, 1.0], TAU / 3.0),
                turn([0.0, 1.0, golden], TAU / 5.0),
            ],
            Self::IcosahedralTurned => vec![
                turn([0.0, 0.0, 1.0], PI),
                turn([1.0, 1.0, 1.0], TAU / 3.0),
                turn([1.0, 0.0, golden], TAU / 5.0),
            ],
        };
        close(&generators)
    }
}

/// Products of the generators until nothing new appears.
fn close(generators: &[Rotation]) -> Vec<Rotation> {
    let mut group = vec![Rotation::IDENTITY];
    let mut next = 0;
    while next < group.len() {
        for &generator in generators {
            let candidate = group[next] * generator;
            if group.iter().all(|known| known.angle_to_rad(candidate) > 1e-4) {
                group.push(candidate);
            }
        }
        next += 1;
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of the rotations of a group about an axis.
    fn fold(name: &str, axis: [f64; 3]) -> usize {
        let keeps = |g: &Rotation| g.apply(axis).iter().zip(axis).all(|(a, b)| (a - b).abs() < 1e-6);
        name.parse::<PointGroup>().unwrap().rotations().iter().filter(|g| keeps(g)).count()
    }

    #[test]
    fn icosahedral_settings_are_those_of_relion() {
        // the 5-fold and 3-fold axes by which RELION 3.1 defines its settings (symmetries.cpp)
        for (name, five, three) in [
            ("I1", [0.850_650_807, 0.0, -0.525_731_114], [0.934_172_364, 0.356_822_077, 0.0]),
            ("I2", [0.525_731_112, 0.0, 0.850_650_808], [0.0, 0.356_822_090, 0.934_172_359]),
            ("I", [0.525_731_112, 0.0, 0.850_650_808], [0.0, 0.356_822_090, 0.934_172_359]),
        ] {
            assert_eq!(
                (fold(name, five), fold(name, three), fold(name, [0.0, 0.0, 1.0])),
                (5, 3, 2),
                "{name}"
            );
        }
        assert_eq!(fold("I1", [0.525_731_112, 0.0, 0.850_650_808]), 1);
    }

    #[test]
    fn names_round_trip_and_nonsense_is_refused() {
        for name in ["C1", "C12", "D7", "T", "O", "I1", "I2"] {
            assert_eq!(name.parse::<PointGroup>().unwrap().to_string(), name);
        }
        for name in ["", "C", "C0", "X3", "D-1", "é"] {
            assert!(name.parse::<PointGroup>().is_err(), "{name}");
        }
    }
}
