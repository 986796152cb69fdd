//! What the import found: numbers, some images, where particles look.

use crate::Ctx;
use crate::map_figures;
use crate::particle_images::ParticleImages;
use serde_json::json;
use vitreous_formats::star::convert::Imported;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// Parts of RELION's labels of aberrations, which are not converted: the images keep these errors.
const ABERRATIONS: [&str; 4] = ["rlnBeamTilt", "rlnOddZernike", "rlnEvenZernike", "rlnMagMat"];
/// Images shown.
const SHOWN: usize = 16;

/// The report of rank 0; `left_out` particles had no usable image.
pub fn make(ctx: &Ctx<'_>, imported: &Imported<ParticleSet>, left_out: usize) -> Report {
    let set = &imported.value;
    let mut report = Report::new("Particles");
    let count = |test: fn(&vitreous_model::particle::Particle) -> bool| {
        set.particles.iter().filter(|p| test(p)).count() as f64
    };
    report.number("particles", "Particles", set.particles.len() as f64, "");
    report.number("skipped", "Particles left out", left_out as f64, "");
    report.number("pixel_size_A", "Pixel size", set.pixel_size_a, "Å");
    report.number("box_px", "Box", f64::from(set.box_px), "px");
    report.number("optics_groups", "Optics groups", set.optics.len() as f64, "");
    report.number("with_ctf", "With a CTF", count(|p| p.ctf.is_some()), "");
    report.number("with_pose", "With a pose", count(|p| p.pose.is_some()), "");
    report.number("with_half_set", "With a half-set", count(|p| p.half.is_some()), "");
    report.notes.extend(imported.notes.iter().cloned());
    if !imported.ignored.is_empty() {
        let list = imported.ignored.join(", ");
        report
            .notes
            .push(format!("{} columns have no place here and were left: {list}", imported.ignored.len()));
    }
    let is_aberration = |column: &&String| ABERRATIONS.iter().any(|label| column.contains(label));
    let aberrations: Vec<&str> = imported.ignored.iter().filter(is_aberration).map(String::as_str).collect();
    if !aberrations.is_empty() {
        let list = aberrations.join(", ");
        report.notes.push(format!("aberrations that later jobs will not correct for: {list}"));
    }
    let (images, _) = ParticleImages::open(ctx, set);
    // a picture that cannot be made is left out: the job that needs the image tells why
    let shown: Vec<_> = (0..set.particles.len().min(SHOWN)).filter_map(|i| images.read(i).ok()).collect();
    if !shown.is_empty() {
        let title = "The first particles";
        report.figures.push(map_figures::montage("particles", title, &shown, SHOWN / 2, set.pixel_size_a));
    }
    if set.particles.iter().any(|p| p.pose.is_some()) {
        let rotations = set.particles.iter().filter_map(|p| p.pose).map(|pose| pose.rotation);
        report.figures.push(map_figures::directions("directions", "Viewing directions", rotations));
    }
    report.data.insert("ignored_columns".into(), json!(imported.ignored));
    report.skipped = ctx.skipped();
    report
}
