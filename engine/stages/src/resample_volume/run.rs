//! The sequence: the map, its true pixel size where a reference tells it, the new grid. Rank 0 does all of it.

use super::magnification::{Calibration, Scaled, calibrate};
use super::report;
use crate::{Ctx, StageError, cubic_map};
use ndarray::{Array3, ArrayView3};
use std::path::Path;
use vitreous_compute::regrid::regridded;
use vitreous_formats::mrc;
use vitreous_jobs::resample_volume::ResampleVolume;
use vitreous_model::conventions::centre;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::report::Report;

/// Name of the map in the job's folder.
const MAP: &str = "map.mrc";
/// Boxes may be smaller than the old one by this fraction of a voxel: rounding.
const ROUNDING_PX: f64 = 0.01;

/// What came out.
pub(super) struct Resampled {
    /// The map in its new box, `[n, n, n]`.
    pub map: Array3<f32>,
    /// Its voxel edge, Å.
    pub voxel_a: f64,
    /// Box edge and stated voxel edge (Å) it had.
    pub before: (usize, f64),
    /// The calibration, if there was one.
    pub calibration: Option<Calibration>,
    /// Share of the map's power that lies outside the new box.
    pub cut_off: f64,
}

/// Does the job.
///
/// # Errors
/// Neither a grid nor a reference was given; maps that are missing, broken or no cubes; a calibration without a top;
/// files that cannot be written.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ResampleVolume = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let input = ctx.input("volume")?;
    if params.box_size.is_none() && params.pixel_size.is_none() && ctx.optional_input("reference").is_none() {
        return Err(BadParam::new(
            "box_size",
            "",
            "is required where there is no pixel_size and no reference",
        )
        .hint("give --box-size, --pixel-size, or a reference to calibrate by")
        .into());
    }
    let (map, voxel_a) = cube(&input.path, input.output.pixel_size_a)?;
    let calibration = calibrated(ctx, &params, &map, voxel_a)?;
    ctx.check_stop()?;
    let true_a = voxel_a * calibration.as_ref().map_or(1.0, |calibration| calibration.factor);
    let target_a = params.pixel_size.unwrap_or(true_a);
    let n = params.box_size.map_or_else(|| holding(map.dim().0, true_a / target_a), |n| n as usize);
    let resample = |map: ArrayView3<'_, f32>| regridded(map, [true_a; 3], n, target_a, 0.0);
    let resampled = Resampled {
        map: resample(map.view()),
        voxel_a: target_a,
        before: (map.dim().0, voxel_a),
        calibration,
        cut_off: cut_off(&map, 0.5 * n as f64 * target_a / true_a),
    };
    let write = |file: &str, map: &Array3<f32>| {
        ctx.create_at_path(file, |path| mrc::write_volume(path, map, target_a).map_err(StageError::writing))
    };
    write(MAP, &resampled.map)?;
    let mut output = Output {
        pixel_size_a: Some(target_a),
        box_px: Some(n as u32),
        ..Output::new("volume", Kind::Volume, MAP, 1)
    };
    for (role, path) in &input.parts {
        let mut part = resample(cube(path, input.output.pixel_size_a)?.0.view());
        if role == "mask" {
            // a band-limited edge overshoots
            part.mapv_inplace(|value| value.clamp(0.0, 1.0));
        }
        let file = format!("map_{role}.mrc");
        write(&file, &part)?;
        output.parts.insert(role.clone(), file);
    }
    ctx.output(output);
    Ok(report::report(&resampled))
}

/// The calibration by the reference, if one was given.
fn calibrated(
    ctx: &Ctx<'_>,
    params: &ResampleVolume,
    map: &Array3<f32>,
    voxel_a: f64,
) -> Result<Option<Calibration>, StageError> {
    let Some(input) = ctx.optional_input("reference") else { return Ok(None) };
    let (reference, reference_a) = cube(&input.path, input.output.pixel_size_a)?;
    ctx.say(EventKind::Phase { name: "calibrate".into(), total: 0 });
    let found = calibrate(
        Scaled { map: map.view(), voxel_a },
        Scaled { map: reference.view(), voxel_a: reference_a },
        params.scan / 100.0,
    );
    if !found.is_at_end {
        return Ok(Some(found));
    }
    Err(StageError::input(
        format!(
            "{}: the map fits best at the end of the scan of {} %, expected a best pixel size within",
            input.path.display(),
            params.scan
        ),
        "raise --scan, or give a reference of the same structure and hand (align-maps --both-hands tells)",
    ))
}

/// The least even edge of a box that holds `n` voxels, each `ratio` new ones wide; `n` where that is 1.
fn holding(n: usize, ratio: f64) -> usize {
    if (ratio - 1.0).abs() < ROUNDING_PX / n as f64 {
        return n;
    }
    2 * ((0.5 * (n as f64 * ratio - ROUNDING_PX)).ceil() as usize)
}

/// Share of the power of a map `[n, n, n]` more than `half_edge` voxels from its centre along an axis.
fn cut_off(map: &Array3<f32>, half_edge: f64) -> f64 {
    let middle = centre(map.dim().0) as f64;
    let is_outside = |i: usize| (i as f64 - middle).abs() > half_edge;
    let (mut all, mut outside) = (0.0, 0.0);
    for ((z, y, x), &value) in map.indexed_iter() {
        let power = f64::from(value).powi(2);
        all += power;
        if is_outside(z) || is_outside(y) || is_outside(x) {
            outside += power;
        }
    }
    if all > 0.0 { outside / all } else { 0.0 }
}

/// A cubic map and its voxel edge, Å.
fn cube(path: &Path, known_voxel_a: Option<f64>) -> Result<(Array3<f32>, f64), StageError> {
    let volume = cubic_map::read(path)?;
    Ok((volume.data, known_voxel_a.unwrap_or(volume.voxel_a)))
}
