//! Micrographs in, positions out.

use super::contamination::Terrain;
use super::peaks::{Rules, find, in_units_of_noise};
use super::score::{Binned, blob_response};
use super::{Unfit, report};
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError, micrograph};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use vitreous_formats::table;
use vitreous_jobs::pick_blobs::PickBlobs;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::{Exposure, ExposureSet};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::{Pick, PickSet};
use vitreous_model::report::Report;

/// Smallest distance of two particles where none is given, in diameters: they may touch and overlap a little.
const DISTANCE_DIAMETERS: f64 = 0.7;
/// Smallest distance from the edge where none is given, in diameters.
const BORDER_DIAMETERS: f64 = 0.5;
/// Micrographs that the report shows.
const SHOWN: usize = 3;

/// The lengths of a job, all known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lengths {
    pub diameter_a: f64,
    pub max_diameter_a: f64,
    min_distance_a: f64,
    border_a: f64,
}

impl Lengths {
    /// `None` without a diameter, which validation refuses.
    pub fn of(params: &PickBlobs) -> Option<Self> {
        let diameter_a = params.diameter?;
        Some(Self {
            diameter_a,
            max_diameter_a: params.max_diameter.unwrap_or(diameter_a),
            min_distance_a: params.min_distance.unwrap_or(DISTANCE_DIAMETERS * diameter_a),
            border_a: params.border.unwrap_or(BORDER_DIAMETERS * diameter_a),
        })
    }
}

/// A particle on a micrograph: pixels of the micrograph, score in standard deviations of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    pub x_px: f64,
    pub y_px: f64,
    pub score: f64,
}

/// What was found on one micrograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Picked {
    pub found: Vec<Found>,
    /// Part of the micrograph that looks like contamination.
    pub masked_fraction: f64,
}

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: PickBlobs = ctx.params()?;
    params.validate()?;
    let lengths =
        Lengths::of(&params).ok_or_else(|| StageError::input("diameter is missing", "give --diameter"))?;
    let set = micrograph::read_set(ctx)?;
    let items: Vec<Item> = set.exposures.iter().map(|exposure| item(ctx, &params, exposure)).collect();
    let outcomes = for_each_item(ctx, "micrographs", &items, params.max_bad_fraction, |index| {
        let exposure = &set.exposures[index];
        let (pixels, pixel_size_a) = read(ctx, &set, exposure)?;
        let picked = pick(&pixels, pixel_size_a, &lengths, &params)
            .map_err(|unfit| StageError::input(format!("{}: {unfit}", exposure.name), ""))?;
        ctx.say(EventKind::Figure {
            name: "picks".into(),
            value: picked.found.len() as f64,
            unit: String::new(),
        });
        Ok(picked)
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let done: Vec<(&Exposure, Picked)> = set
        .exposures
        .iter()
        .zip(outcomes)
        .filter_map(|(exposure, outcome)| match outcome {
            Outcome::Done(picked) => Some((exposure, picked)),
            Outcome::Skipped(_) => None,
        })
        .collect();
    write_picks(ctx, &done, &lengths)?;
    let mut images = Vec::new();
    for index in report::choose(&done, SHOWN) {
        ctx.check_stop()?;
        let (pixels, pixel_size_a) = read(ctx, &set, done[index].0)?;
        let (exposure, picked) = &done[index];
        images.push(report::image_of(images.len(), &pixels, pixel_size_a, exposure, picked, &lengths));
    }
    let report = report::make(&done, images, &lengths, ctx.skipped());
    micrograph::write_set(ctx, &set)?;
    Ok(report)
}

fn item(ctx: &Ctx<'_>, params: &PickBlobs, exposure: &Exposure) -> Item {
    let length = exposure
        .micrograph
        .as_ref()
        .and_then(|m| std::fs::metadata(ctx.resolve(&m.path)).ok())
        .map(|m| m.len());
    // a movie that was corrected again leaves a file of the same name and length, but not the same motion
    let fingerprint = format!("{params:?} {:?} {length:?} {:?}", exposure.micrograph, exposure.motion);
    Item { name: exposure.name.clone(), fingerprint }
}

/// Pixels without hot ones, and the pixel size in Å.
fn read(ctx: &Ctx<'_>, set: &ExposureSet, exposure: &Exposure) -> Result<(Array2<f32>, f64), StageError> {
    let (source, _) = micrograph::parts_of(set, exposure)?;
    let mut pixels = micrograph::read_pixels(&ctx.resolve(&source.path), source)?;
    micrograph::repair_hot_pixels(&mut pixels);
    Ok((pixels, source.pixel_size_a))
}

/// Finds the particles of a micrograph `[height, width]` without hot pixels.
///
/// # Errors
/// [`Unfit`].
pub(super) fn pick(
    pixels: &Array2<f32>,
    pixel_size_a: f64,
    lengths: &Lengths,
    params: &PickBlobs,
) -> Result<Picked, Unfit> {
    let Lengths { diameter_a, max_diameter_a, .. } = *lengths;
    let binned = Binned::of(pixels.view(), pixel_size_a, diameter_a, max_diameter_a, params.white_particles)?;
    let response = blob_response(&binned, diameter_a, max_diameter_a);
    let diameter = max_diameter_a / binned.pixel_size_a;
    let terrain = Terrain::of(&binned.image, diameter.round() as usize);
    let rules = Rules {
        threshold: params.threshold,
        max_score_sd: params.max_score,
        min_distance: lengths.min_distance_a / binned.pixel_size_a,
        border: lengths.border_a / binned.pixel_size_a,
        most: params.max_picks.map_or(usize::MAX, |most| most as usize),
    };
    let scores = in_units_of_noise(&response, &terrain.suspect, diameter, &rules).ok_or(Unfit::Flat)?;
    let found = find(&scores, &rules, |peaks| terrain.keep_particles(peaks))
        .into_iter()
        .map(|peak| Found { x_px: binned.unbinned(peak.x), y_px: binned.unbinned(peak.y), score: peak.score })
        .collect();
    Ok(Picked { found, masked_fraction: terrain.suspect_fraction() })
}

fn write_picks(ctx: &Ctx<'_>, done: &[(&Exposure, Picked)], lengths: &Lengths) -> Result<(), StageError> {
    const FILE: &str = "picks.h5";
    let pick = |name: &str, found: &Found| Pick {
        exposure: name.to_string(),
        x_px: found.x_px,
        y_px: found.y_px,
        score: found.score,
    };
    let picks: Vec<Pick> = done
        .iter()
        .flat_map(|(exposure, picked)| picked.found.iter().map(|found| pick(&exposure.name, found)))
        .collect();
    let count = picks.len() as u64;
    let set = PickSet { diameter_a: 0.5 * (lengths.diameter_a + lengths.max_diameter_a), picks };
    ctx.create_at_path(FILE, |path| table::picks::write(path, &set))?;
    ctx.output(Output::new("picks", Kind::Picks, FILE, count));
    Ok(())
}
