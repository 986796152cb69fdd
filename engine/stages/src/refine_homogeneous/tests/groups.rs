//! Every kind of point group, in its usual setting: the search over the asymmetric unit and the symmetrised sums together
//! find the poses of a symmetric phantom.

use super::project;
use vitreous_compute::comm::Solo;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_formats::mrc::read_volume;
use vitreous_model::symmetry::PointGroup;

/// The largest median error of rotations, °, about a third above what the worst group of one run had.
const MOST_DEG: f64 = 3.5;
/// Sixty equivalents make an object nearly round, so that at the same signal its views differ less (found: 4.1° and 4.2°).
const MOST_DEG_ICOSAHEDRAL: f64 = 5.5;
/// Shells to 12.3 Å, over which the map is compared with the truth. Their mean is taken, for a round object has shells
/// without signal, where a single one says nothing.
const SHELLS: std::ops::RangeInclusive<usize> = 1..=13;
/// The least mean correlation there.
const LEAST_FSC: f64 = 0.6;

fn assert_refines(name: &str, most_deg: f64) {
    let group: PointGroup = name.parse().unwrap();
    let project = project(group, 0.5);
    project.run("J3", project.params(), &Solo, usize::MAX).unwrap();
    let (rotation_deg, _) = project.errors("J3");
    let map = read_volume(&project.dir.path().join("J3/map.mrc")).unwrap().data;
    let curve = fsc_of_maps(map.view(), super::object(group).view(), None);
    let mean = curve[SHELLS].iter().sum::<f64>() / SHELLS.count() as f64;
    assert!(rotation_deg <= most_deg && mean >= LEAST_FSC, "{name}: {rotation_deg}°, FSC {mean}: {curve:?}");
}

#[test]
fn cyclic_groups_refine() {
    ["C2", "C3", "C5", "C7"].into_iter().for_each(|name| assert_refines(name, MOST_DEG));
}

#[test]
fn dihedral_groups_refine() {
    ["D2", "D3", "D7"].into_iter().for_each(|name| assert_refines(name, MOST_DEG));
}

#[test]
fn cubic_groups_refine() {
    ["T", "O"].into_iter().for_each(|name| assert_refines(name, MOST_DEG));
}

#[test]
fn both_icosahedral_settings_refine() {
    ["I1", "I2"].into_iter().for_each(|name| assert_refines(name, MOST_DEG_ICOSAHEDRAL));
}
