//! Stack by stack: images as they are → new stacks → the table with their new places.

use crate::image_stacks::{Form, Rewriting, report};
use crate::items::for_each_item;
use crate::{Ctx, StageError, particle_sets};
use ndarray::Array2;
use vitreous_formats::table;
use vitreous_jobs::restack_particles::RestackParticles;
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: RestackParticles = ctx.params()?;
    params.validate()?;
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    let form = Form {
        box_px: set.box_px as usize,
        pixel_size_a: set.pixel_size_a,
        float16: params.float16,
        images_per_stack: params.images_per_stack,
    };
    let rewriting = Rewriting::new(ctx, &set, form);
    let items = rewriting.items(ctx, if params.invert { "inverted" } else { "as they are" });
    let change = |image: Array2<f32>| if params.invert { -image } else { image };
    // how many images may be bad is judged over the whole set
    let outcomes = for_each_item(ctx, "stacks", &items, 1.0, |index| {
        rewriting.write(ctx, index, &|_, image| change(image))
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let new = rewriting.collect(ctx, &outcomes, params.max_bad_fraction)?;
    particle_sets::write(ctx, "particles", &new)?;
    let title = format!("{} particles in stacks of their own", new.particles.len());
    let mut report = report::start(ctx, &title, &set, &new);
    report.notes.push(
        "The new set does not need the old stacks any more; they may be deleted if no other set reads them."
            .into(),
    );
    report::pictures(ctx, &mut report, &set, &new);
    report.skipped = ctx.skipped();
    Ok(report)
}
