//! What the import found: numbers and the first micrographs.

use super::listed::Listed;
use crate::exposure_files;
use crate::map_figures;
use crate::{Ctx, StageError};
use serde_json::json;
use vitreous_formats::open_image;
use vitreous_jobs::import_micrographs::ImportMicrographs;
use vitreous_model::exposure::{Exposure, MicrographSource};
use vitreous_model::report::Report;

/// Micrographs shown.
const SHOWN: usize = 3;

/// The report of rank 0.
///
/// # Errors
/// None of its own: a picture that cannot be made is left out.
pub fn make(ctx: &Ctx<'_>, params: &ImportMicrographs, listed: &Listed) -> Result<Report, StageError> {
    let set = &listed.set;
    let mut report = Report::new("Micrographs");
    let micrographs: Vec<&MicrographSource> =
        set.exposures.iter().filter_map(|e| e.micrograph.as_ref()).collect();
    report.number("micrographs", "Micrographs", micrographs.len() as f64, "");
    report.number("skipped", "Left out", ctx.skipped().len() as f64, "");
    let (Some(first), Some(optics)) = (micrographs.first(), set.optics.first()) else { return Ok(report) };
    report.number("width_px", "Width", f64::from(first.width), "px");
    report.number("height_px", "Height", f64::from(first.height), "px");
    report.number("pixel_size_A", "Pixel size", first.pixel_size_a, "Å");
    report.number("voltage_kV", "Voltage", optics.voltage.0, "kV");
    report.number("cs_mm", "Spherical aberration", optics.cs.0, "mm");
    report.number("amplitude_contrast", "Amplitude contrast", optics.amplitude_contrast, "");
    if params.micrographs.is_none() {
        let count = |test: fn(&Exposure) -> bool| set.exposures.iter().filter(|e| test(e)).count() as f64;
        report.number("optics_groups", "Optics groups", set.optics.len() as f64, "");
        report.number("with_ctf", "With a CTF", count(|e| e.ctf.is_some()), "");
        report.number("with_motion", "With motion", count(|e| e.motion.is_some()), "");
    }
    report.notes.extend(listed.notes.iter().cloned());
    if !listed.ignored.is_empty() {
        let (count, list) = (listed.ignored.len(), listed.ignored.join(", "));
        report.notes.push(format!("{count} columns have no place here and were left: {list}"));
        report.data.insert("ignored_columns".into(), json!(listed.ignored));
    }
    let size = |m: &MicrographSource| (m.width, m.height);
    if micrographs.iter().any(|m| size(m) != size(first)) {
        report.notes.push("Micrographs differ in size; width and height are those of the first.".into());
    }
    pictures(ctx, &micrographs, &mut report);
    let rows = set.exposures.iter().zip(&micrographs);
    report
        .data
        .insert("exposures".into(), rows.map(|(e, m)| json!({"name": e.name, "path": m.path})).collect());
    report.skipped = ctx.skipped();
    Ok(report)
}

/// An image that cannot be read is found and told by the job that needs it; here its picture is left out.
fn pictures(ctx: &Ctx<'_>, micrographs: &[&MicrographSource], report: &mut Report) {
    let Some(first) = micrographs.first() else { return };
    let alike = micrographs.iter().filter(|m| (m.width, m.height) == (first.width, first.height));
    let shown: Vec<_> = alike
        .take(SHOWN)
        .filter_map(|m| {
            let source = open_image(&ctx.resolve(&m.path)).ok()?;
            exposure_files::thumbnail(source.as_ref(), 1).ok()
        })
        .collect();
    let Some(step) = shown.first().map(|(_, step)| *step) else { return };
    let images: Vec<_> = shown.into_iter().map(|(image, _)| image).collect();
    let title = "The first micrographs";
    let pixel_size_a = first.pixel_size_a * step as f64;
    report.figures.push(map_figures::montage("micrographs", title, &images, images.len(), pixel_size_a));
}
