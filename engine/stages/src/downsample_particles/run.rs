//! Stack by stack: images → cropped in real space, then in Fourier space → new stacks → the table with their new places.

use super::crop::Boxes;
use crate::image_stacks::{Form, Rewriting, report};
use crate::items::for_each_item;
use crate::{Ctx, StageError, particle_sets};
use vitreous_formats::table;
use vitreous_jobs::downsample_particles::DownsampleParticles;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: DownsampleParticles = ctx.params()?;
    params.validate()?;
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    let boxes = Boxes::of(&params, set.box_px as usize, set.pixel_size_a)?;
    let form = Form {
        box_px: boxes.output,
        pixel_size_a: boxes.pixel_size_a(set.pixel_size_a),
        float16: params.float16,
        images_per_stack: params.images_per_stack,
    };
    let rewriting = Rewriting::new(ctx, &set, form);
    let items = rewriting.items(ctx, &format!("{boxes:?}"));
    // how many images may be bad is judged over the whole set
    let outcomes = for_each_item(ctx, "stacks", &items, 1.0, |index| {
        rewriting.write(ctx, index, &|_, image| boxes.apply(image))
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let new = rewriting.collect(ctx, &outcomes, params.max_bad_fraction)?;
    particle_sets::write(ctx, "particles", &new)?;
    let mut report =
        report::start(ctx, &format!("{} particles downsampled", new.particles.len()), &set, &new);
    report.number("old_box_px", "Box before", boxes.source as f64, "px");
    report.number("crop_box_px", "Box cut out of it", boxes.crop as f64, "px");
    report.number("old_pixel_size_A", "Pixel size before", set.pixel_size_a, "Å");
    report.number("nyquist_A", "Finest resolution left", 2.0 * new.pixel_size_a, "Å");
    report::pictures(ctx, &mut report, &set, &new);
    report.skipped = ctx.skipped();
    Ok(report)
}
