//! Every kind of point group, in its usual setting: the search over the asymmetric unit and the symmetrised sums together
//! find the poses of a symmetric phantom.

use super::project;
use vitreous_compute::comm::Solo;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_formats::mrc::read_volume;
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// The largest median error of rotations, °, half more than what the worst group had.
const MOST_DEG: f64 = 2.0;
/// Shells to 12.3 Å, over which the map is compared with the truth. Their mean is taken, for a round object has shells
/// without signal, where a single one says nothing.
const SHELLS: std::ops::RangeInclusive<usize> = 1..=13;
/// The least mean correlation there (found: 0.89 for C2 to 0.98).
const LEAST_FSC: f64 = 0.8;

fn assert_refines(name: &str) {
    let group: PointGroup = name.parse().unwrap();
    let project = project(group, 0.5);
    super::run(&project, "J3", project.params(), &Solo, usize::MAX).unwrap();
    let (rotation_deg, _) = project.errors_up_to("J3", &equal_turns(group));
    let map = read_volume(&project.dir.path().join("J3/map.mrc")).unwrap().data;
    let curve = fsc_of_maps(map.view(), super::object(group).view(), None);
    let mean = curve[SHELLS].iter().sum::<f64>() / SHELLS.count() as f64;
    println!("{name}: {rotation_deg:.2}°, FSC {mean:.3}");
    assert!(rotation_deg <= MOST_DEG && mean >= LEAST_FSC, "{name}: {rotation_deg}°, FSC {mean}: {curve:?}");
}

/// In-plane turns that images hardly tell apart. The lowest odd harmonic with the rotations of an icosahedron has the
/// order 15: at lower ones such an object is its own inversion, and its projections are their own half turn.
fn equal_turns(group: PointGroup) -> Vec<Rotation> {
    let half = Rotation::from_rotation_vector([0.0, 0.0, std::f64::consts::PI]);
    match group {
        PointGroup::Icosahedral | PointGroup::IcosahedralTurned => vec![Rotation::IDENTITY, half],
        _ => vec![Rotation::IDENTITY],
    }
}

#[test]
fn cyclic_groups_refine() {
    ["C2", "C3", "C5", "C7"].into_iter().for_each(assert_refines);
}

#[test]
fn dihedral_groups_refine() {
    ["D2", "D3", "D7"].into_iter().for_each(assert_refines);
}

#[test]
fn cubic_groups_refine() {
    ["T", "O"].into_iter().for_each(assert_refines);
}

#[test]
fn both_icosahedral_settings_refine() {
    ["I1", "I2"].into_iter().for_each(assert_refines);
}
