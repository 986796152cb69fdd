//! The transformation, and how well the maps agree before and after it.

use super::run::Aligned;
use crate::map_figures;
use serde_json::json;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::mask::sphere;
use vitreous_model::conventions::resolution_at;
use vitreous_model::pose::Rotation;
use vitreous_model::report::Report;

/// Radius of the spherical mask of the FSC and width of its edge, as fractions of the box.
const SPHERE: (f64, f64) = (0.4, 0.08);
/// A correlation below is remarked upon: unrelated maps of one size reach this.
const POOR: f64 = 0.5;

/// The report.
pub(super) fn report(aligned: &Aligned, turned: Option<usize>) -> Report {
    let mut report = Report::new("Aligned map");
    let (alignment, voxel_a) = (&aligned.alignment, aligned.reference.voxel_a);
    let placement = alignment.placement;
    let n = aligned.after.dim().0;
    let mask = sphere(n, SPHERE.0 * n as f64, SPHERE.1 * n as f64);
    let reference = aligned.reference.data.view();
    let [before, after] =
        [&aligned.before, &aligned.after].map(|map| fsc_of_maps(reference, map.view(), Some(mask.view())));
    report.number("correlation", "correlation of the maps", alignment.correlation, "");
    let (half, _) = resolution_at(&after, 0.5, n, voxel_a);
    report.number("fsc05_A", "the maps agree (FSC 0.5) to", half, "Å");
    let (was, _) = resolution_at(&before, 0.5, n, voxel_a);
    report.number("fsc05_before_A", "before, they agreed to", was, "Å");
    let angle = placement.rotation.angle_to_rad(Rotation::IDENTITY).to_degrees();
    report.number("rotation_deg", "angle of the rotation", angle, "°");
    let (rot, tilt, psi) = placement.rotation.to_euler_zyz_deg();
    for (key, label, value) in [("rot_deg", "rot", rot), ("tilt_deg", "tilt", tilt), ("psi_deg", "psi", psi)]
    {
        report.number(key, label, value, "°");
    }
    for (axis, shift_px) in ["x", "y", "z"].into_iter().zip(placement.shift_px) {
        let label = format!("shift along {axis}");
        report.number(&format!("shift_{axis}_A"), &label, shift_px * voxel_a, "Å");
    }
    report.number("mirrored", "mirrored (1) or not (0)", f64::from(u8::from(alignment.mirrored)), "");
    if let Some(turned) = turned {
        report.number("poses", "poses turned", turned as f64, "");
    }
    report.notes = notes(aligned);
    let curves: [(&str, &[f64]); 2] = [("after", &after), ("before", &before)];
    report.figures.push(map_figures::fsc("fsc", "FSC with the reference", &curves, n, voxel_a));
    report.figures.push(map_figures::slices(
        "map",
        "Central slices of the moved map",
        aligned.after.view(),
        voxel_a,
    ));
    report.figures.push(map_figures::slices("reference", "The same of the reference", reference, voxel_a));
    report.figures.push(map_figures::slices(
        "before",
        "The same of the map before",
        aligned.before.view(),
        voxel_a,
    ));
    let (matrix, shift_px) = (placement.rotation.matrix(), placement.shift_px);
    report.data.insert("matrix".into(), json!(matrix));
    report.data.insert("shift_xyz_A".into(), json!(shift_px.map(|t| t * voxel_a)));
    report
}

fn notes(aligned: &Aligned) -> Vec<String> {
    let mut notes = Vec::new();
    if aligned.alignment.mirrored {
        notes.push(
            "The mirror image fits better: the map had the other hand, and was mirrored (x to -x).".into(),
        );
    }
    if aligned.alignment.correlation < POOR {
        notes.push(format!(
            "The maps correlate by {:.2} only: they may not show the same, or not at one resolution (try --low-pass), or have \
             opposite hands (--both-hands).",
            aligned.alignment.correlation
        ));
    }
    if let Some((box_px, voxel_a)) = aligned.own_grid {
        notes.push(format!(
            "The map's box of {box_px} voxels of {voxel_a:.4} Å was brought into the reference's, {} voxels of {:.4} Å.",
            aligned.after.dim().0,
            aligned.reference.voxel_a
        ));
    }
    notes
}
