//! Every kind of point group, in its usual setting: the search over the asymmetric unit and the symmetrised sums together
//! find the poses of a symmetric phantom.

use super::{BOX, PIXEL_A, project};
use vitreous_compute::comm::Solo;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_formats::mrc::read_volume;
use vitreous_model::conventions::resolution_at;
use vitreous_model::symmetry::PointGroup;

/// What a group must reach: rotation, °, and resolution against the truth, Å.
const BOUNDS: (f64, f64) = (3.5, 13.0);
/// Sixty equivalents make an object nearly round, so that at the same signal its views differ less (found: 4.1°, 10 Å).
const ICOSAHEDRAL: (f64, f64) = (5.5, 13.0);

fn assert_refines(name: &str) {
    assert_reaches(name, BOUNDS);
}

fn assert_reaches(name: &str, (most_deg, most_a): (f64, f64)) {
    let group: PointGroup = name.parse().unwrap();
    let project = project(group, 0.5);
    project.run("J3", project.params(), &Solo, usize::MAX).unwrap();
    let (rotation_deg, _) = project.errors("J3");
    let map = read_volume(&project.dir.path().join("J3/map.mrc")).unwrap().data;
    let curve = fsc_of_maps(map.view(), super::object(group).view(), None);
    let (to_truth_a, _) = resolution_at(&curve, 0.5, BOX, PIXEL_A);
    assert!(rotation_deg <= most_deg && to_truth_a <= most_a, "{name}: {rotation_deg}°, {to_truth_a} Å");
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
    ["I1", "I2"].into_iter().for_each(|name| assert_reaches(name, ICOSAHEDRAL));
}
