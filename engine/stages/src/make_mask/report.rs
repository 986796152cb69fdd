//! Numbers and pictures of a mask.

use super::run::structure_voxels;
use crate::map_figures;
use ndarray::Array3;
use vitreous_compute::mask::Masked;
use vitreous_jobs::make_mask::MakeMask;
use vitreous_model::report::Report;

/// Volume of a dalton of protein, Å³ (partial specific volume 0.73 ml/g; Matthews 1968, J. Mol. Biol. 33:491).
const DALTON_A3: f64 = 1.21;
/// A structure that fills more of the box than this is likely noise as well.
const MUCH: f64 = 0.3;

/// The report.
pub fn report(map: &Array3<f32>, masked: &Masked, params: &MakeMask, voxel_a: f64) -> Report {
    let mut report = Report::new("Mask");
    let voxels = structure_voxels(masked) as f64;
    let volume_a3 = voxels * voxel_a.powi(3);
    report.number("level", "density from which on a voxel belongs to the structure", masked.threshold, "");
    report.number("structure_A3", "volume of the structure, without extension and edge", volume_a3, "Å³");
    report.number("structure_kDa", "protein that would fill it", volume_a3 / DALTON_A3 / 1000.0, "kDa");
    report.number("parts_kept", "connected parts inside the mask", masked.kept as f64, "");
    report.number(
        "parts_left_out",
        "smaller connected parts left out",
        (masked.parts.len() - masked.kept) as f64,
        "",
    );
    let covered = f64::from(masked.mask.mean().unwrap_or(0.0));
    report.number("mask_fraction", "share of the box inside the mask", covered, "");
    if voxels > MUCH * map.len() as f64 {
        report.notes.push(
            "The structure fills a large part of the box: the level may lie in the noise. Look at the slices; raise \
             --level, or low-pass more."
                .into(),
        );
    }
    if params.extend + params.edge < 3.0 * voxel_a {
        report.notes.push(
            "The mask ends within three voxels of the structure: a sharp edge correlates the halves it multiplies."
                .into(),
        );
    }
    if touches_faces(&masked.mask) && !params.invert {
        report.notes.push("The mask is cut off by the box's faces.".into());
    }
    report.figures.push(map_figures::slices("map", "Central slices of the map", map.view(), voxel_a));
    report.figures.push(map_figures::slices("mask", "The same of the mask", masked.mask.view(), voxel_a));
    let product = map * &masked.mask;
    report.figures.push(map_figures::slices("masked", "The map within the mask", product.view(), voxel_a));
    let around = map * &masked.mask.mapv(|value| 1.0 - value);
    report.figures.push(map_figures::slices("outside", "What the mask leaves out", around.view(), voxel_a));
    report
}

fn touches_faces(mask: &Array3<f32>) -> bool {
    let last = mask.dim().0 - 1;
    mask.indexed_iter()
        .any(|((z, y, x), value)| *value > 0.0 && [z, y, x].iter().any(|i| *i == 0 || *i == last))
}
