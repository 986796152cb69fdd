//! The refinement of several classes, its outputs and its report.

use super::report;
use crate::refinement::chunks::Chunks;
use crate::refinement::classes::ITERATIONS_BEFORE_SPLIT;
use crate::refinement::data::Data;
use crate::refinement::{Engine, Settings, course, results};
use crate::{Ctx, StageError};
use vitreous_formats::table::particles;
use vitreous_jobs::ab_initio::MOST_CLASSES;
use vitreous_jobs::refine_heterogeneous::RefineHeterogeneous;
use vitreous_jobs::refinement::Regularisation;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::report::Report;

/// Modes of a particle in one class, while there is only one.
const MODES: usize = 2;

fn settings(params: &RefineHeterogeneous, classes: usize) -> Settings {
    Settings {
        symmetry: params.symmetry,
        classes,
        initial_lowpass_a: params.initial_lowpass,
        finest_a: Some(params.finest_resolution),
        diameter_a: params.diameter,
        max_iterations: params.max_iterations,
        search: params.search,
        angular_step_deg: params.angular_step,
        shift_range_a: params.shift_range,
        masking: params.masking,
        locality: None,
        regularisation: Regularisation::ByShell,
        amplitudes: params.amplitudes,
        modes: MODES,
        padding: params.padding,
        curvature: None,
        join_halves_below_a: params.join_halves_below,
        keep_half_sets: params.keep_half_sets,
        seed: params.seed,
        image_cache_gib: params.image_cache,
        max_bad_fraction: params.max_bad_fraction,
    }
}

/// How many classes there are: as many as starting maps, or as many as the one is to be split into.
fn number_of_classes(asked: Option<u32>, maps: usize) -> Result<usize, BadParam> {
    let refused =
        |value: String, reason: String, hint: &str| Err(BadParam::new("classes", value, reason).hint(hint));
    match (asked, maps) {
        (Some(asked), 0 | 1) => Ok(asked as usize),
        (None, 0 | 1) => refused(
            String::new(),
            "is required with one starting map".into(),
            "give --classes 3 to split it, or several maps: --volume J1 --volume J2",
        ),
        (Some(asked), maps) if asked as usize != maps => refused(
            asked.to_string(),
            format!("is not the number of starting maps, {maps}"),
            "leave it out: each starting map is a class",
        ),
        (_, maps) if maps > MOST_CLASSES as usize => refused(
            maps.to_string(),
            format!("starting maps are more than the {MOST_CLASSES} classes there can be"),
            "give fewer",
        ),
        (_, maps) => Ok(maps),
    }
}

/// Does the job on this rank.
///
/// # Errors
/// Unfit inputs, images that fail, files that cannot be written, a request to stop.
pub fn run<D: Engine>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: RefineHeterogeneous = ctx.params()?;
    params.validate()?;
    let maps = ctx.inputs.get("volume").map_or(0, Vec::len);
    let settings = settings(&params, number_of_classes(params.classes, maps)?);
    let least = if maps > 1 { 1 } else { ITERATIONS_BEFORE_SPLIT + 1 };
    BadParam::unless(
        params.max_iterations >= least,
        "max_iterations",
        params.max_iterations,
        &format!(
            "must be {least} or more, since the one map is split in iteration {ITERATIONS_BEFORE_SPLIT}"
        ),
    )?;
    let data = Data::load(ctx, &settings)?;
    let chunks = Chunks::new(&data, settings.image_cache_gib, ctx.comm);
    let state = course::run(ctx, device, &data, &settings, &chunks)?;
    let mut story = report::Story::new(&data, &settings, &state);
    for class in 0..settings.classes {
        let name = format!("final map of class {}", class + 1);
        ctx.say(EventKind::Phase { name, total: data.usable.len() as u64 });
        // one at a time, so that memory does not grow with their number
        let Some(maps) = results::final_maps(ctx, device, &data, &settings, &chunks, &state, class)? else {
            continue;
        };
        let combined = maps.combined();
        let (slot, suffix) = match class {
            0 => ("volume".to_string(), String::new()),
            _ => (format!("volume_{}", class + 1), format!("_{}", class + 1)),
        };
        ctx.output(results::write_volume(ctx, &data, &maps, &combined, &slot, &suffix)?);
        story.add(&maps, combined);
    }
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let set = results::refined_set(&data, &state);
    ctx.create_at_path("particles.h5", |path| particles::write(path, &set))?;
    let count = set.particles.len() as u64;
    ctx.output(results::sized(&data, Output::new("particles", Kind::Particles, "particles.h5", count)));
    Ok(story.report(ctx))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn classes_are_the_maps_or_what_one_is_split_into() {
        assert_eq!(number_of_classes(Some(3), 1).unwrap(), 3);
        assert_eq!(number_of_classes(None, 4).unwrap(), 4);
        assert_eq!(number_of_classes(Some(4), 4).unwrap(), 4);
        for (asked, maps, said) in [(None, 1, "required"), (Some(2), 3, "3"), (None, 9, "more than the 8")] {
            let error = number_of_classes(asked, maps).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
