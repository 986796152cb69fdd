//! The sequence: map, local resolution, filters, the filtered map. Rank 0 does all of it.

use super::{bank, report};
use crate::particle_sets::PIXEL_TOLERANCE;
use crate::{Ctx, Input, StageError, cubic_map};
use ndarray::Array3;
use vitreous_formats::mrc;
use vitreous_jobs::filter_locally::FilterLocally;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Name of the map in the job's folder.
const MAP: &str = "map.mrc";

/// What went in and came out.
pub struct Filtered {
    /// The map as it was, `[n, n, n]`.
    pub before: Array3<f32>,
    /// The filtered map.
    pub after: Array3<f32>,
    /// The resolution at which each voxel was filtered, Å.
    pub resolution_a: Array3<f32>,
    /// Resolutions of the filters, Å.
    pub levels_a: Vec<f64>,
    /// Resolution at which the solvent was filtered, Å.
    pub outside_a: f64,
    /// Voxel edge, Å.
    pub pixel_a: f64,
}

/// Does the job.
///
/// # Errors
/// Maps that are missing, broken, no cubes or of different grids; a local resolution without values; asked to stop; files
/// that cannot be written.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: FilterLocally = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let (given, input) = (ctx.input("volume")?, ctx.input("local-resolution")?);
    let (before, pixel_a) = cube(given)?;
    let (resolution_a, other_a) = cube(input)?;
    let (n, other_n) = (before.dim().0, resolution_a.dim().0);
    if n != other_n || (other_a / pixel_a - 1.0).abs() > PIXEL_TOLERANCE {
        return Err(StageError::input(
            format!(
                "{}: found a box of {other_n} voxels of {other_a:.4} Å, expected {n} of {pixel_a:.4} Å as {}",
                input.path.display(),
                given.path.display()
            ),
            "give the local resolution of this map's half maps",
        ));
    }
    let filtered =
        filter(ctx, &params, before, resolution_a.mapv_into(|value| value * params.scale as f32), pixel_a)
            .map_err(|error| match error {
                FilterError::NoValues => StageError::input(
                    format!("{}: no voxel has a resolution, expected values in Å", input.path.display()),
                    "give the output of estimate-local-resolution",
                ),
                FilterError::Stage(error) => error,
            })?;
    ctx.create_at_path(MAP, |path| {
        mrc::write_volume(path, &filtered.after, pixel_a).map_err(StageError::writing)
    })?;
    ctx.output(Output {
        pixel_size_a: Some(pixel_a),
        box_px: Some(n as u32),
        ..Output::new("volume", Kind::Volume, MAP, 1)
    });
    Ok(report::report(&filtered))
}

/// Why nothing was filtered.
enum FilterError {
    /// The local resolution has no values.
    NoValues,
    /// The stage was stopped.
    Stage(StageError),
}

fn filter(
    ctx: &Ctx<'_>,
    params: &FilterLocally,
    before: Array3<f32>,
    resolution_a: Array3<f32>,
    pixel_a: f64,
) -> Result<Filtered, FilterError> {
    let values =
        resolution_a.iter().copied().filter(|value| *value > 0.0 && value.is_finite()).map(f64::from);
    let (finest_a, coarsest_a) =
        values.fold((f64::INFINITY, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    if coarsest_a == 0.0 {
        return Err(FilterError::NoValues);
    }
    let outside_a = params.outside.unwrap_or(coarsest_a);
    let levels_a = bank::levels(finest_a.min(outside_a), coarsest_a.max(outside_a));
    let total = levels_a.len() as u64;
    ctx.say(EventKind::Phase { name: "filters".into(), total });
    let resolution_a = bank::completed(resolution_a.view(), outside_a, params.smoothing / pixel_a);
    let after = bank::filtered(before.view(), resolution_a.view(), pixel_a, &levels_a, |done| {
        ctx.say(EventKind::Progress { done: done as u64, total });
        ctx.check_stop()
    })
    .map_err(FilterError::Stage)?;
    Ok(Filtered { before, after, resolution_a, levels_a, outside_a, pixel_a })
}

/// A cubic map and its voxel size, Å.
fn cube(input: &Input) -> Result<(Array3<f32>, f64), StageError> {
    let volume = cubic_map::read(&input.path)?;
    Ok((volume.data, input.output.pixel_size_a.unwrap_or(volume.voxel_a)))
}
