//! Micrographs in, positions out.

use super::report;
use super::score::blob_response;
use super::shapes::Template;
use crate::items::{Item, for_each_item};
use crate::picking::binned::Binned;
use crate::picking::contamination::Terrain;
use crate::picking::figures::SHOWN_EDGE;
use crate::picking::given_mask::{self, GivenMask};
use crate::picking::peaks::{Peak, Rules, find, in_units_of_noise};
use crate::picking::{Unfit, choose, file_fingerprint, read, with_picks};
use crate::{Ctx, StageError, micrograph, thumbnail};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use vitreous_formats::table;
use vitreous_jobs::pick_blobs::PickBlobs;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::Exposure;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::{Pick, PickSet, Surroundings};
use vitreous_model::report::Report;

/// Smallest distance of two particles where none is given, in diameters: they may touch and overlap a little.
const DISTANCE_DIAMETERS: f64 = 0.7;
/// Smallest distance from the edge where none is given, in diameters.
const BORDER_DIAMETERS: f64 = 0.5;
/// Pixels of a binned micrograph per smallest diameter, at least: enough for the position to a few per cent of it.
const PIXELS_PER_DIAMETER: f64 = 24.0;
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
    /// Diameter of the shape that answers most.
    pub diameter_a: f64,
    /// Its neighbourhood.
    pub around: Surroundings,
}

/// What was found on one micrograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Picked {
    pub found: Vec<Found>,
    /// Peaks that the thresholds on their neighbourhood left out.
    #[serde(default)]
    pub left_out: usize,
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
        let mask = given_mask::of(ctx, params.masks.as_deref(), params.mask_threshold, exposure)?;
        let picked = pick(&pixels, pixel_size_a, &lengths, &params, mask.as_ref())
            .map_err(|unfit| StageError::input(format!("{}: {unfit}", exposure.name), ""))?;
        let picture =
            report::image_of(0, &pixels, pixel_size_a, exposure, &picked, &lengths, thumbnail::EDGE);
        ctx.picture(&exposure.name, &picture)?;
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
    let done = with_picks(&set.exposures, outcomes);
    write_picks(ctx, &done, &lengths)?;
    let mut images = Vec::new();
    for index in choose(&done.iter().map(|(_, picked)| picked.found.len()).collect::<Vec<_>>(), SHOWN) {
        ctx.check_stop()?;
        let (pixels, pixel_size_a) = read(ctx, &set, done[index].0)?;
        let (exposure, picked) = &done[index];
        images.push(report::image_of(
            images.len(),
            &pixels,
            pixel_size_a,
            exposure,
            picked,
            &lengths,
            SHOWN_EDGE,
        ));
    }
    let report = report::make(&done, images, &lengths, ctx.skipped());
    micrograph::write_set(ctx, &set)?;
    Ok(report)
}

fn item(ctx: &Ctx<'_>, params: &PickBlobs, exposure: &Exposure) -> Item {
    let mask = given_mask::fingerprint(ctx, params.masks.as_deref(), exposure);
    let fingerprint = format!("{params:?} {} {mask}", file_fingerprint(ctx, exposure));
    Item { name: exposure.name.clone(), fingerprint }
}

/// Finds the particles of a micrograph `[height, width]` without hot pixels, none where `mask` says so.
///
/// # Errors
/// [`Unfit`].
pub(super) fn pick(
    pixels: &Array2<f32>,
    pixel_size_a: f64,
    lengths: &Lengths,
    params: &PickBlobs,
    mask: Option<&GivenMask>,
) -> Result<Picked, Unfit> {
    let Lengths { diameter_a, max_diameter_a, .. } = *lengths;
    let binned = Binned::of(
        pixels.view(),
        pixel_size_a,
        diameter_a / PIXELS_PER_DIAMETER,
        max_diameter_a,
        params.white_particles,
    )?;
    let templates = Template::all(params, diameter_a, max_diameter_a);
    let response = blob_response(&binned, &templates, max_diameter_a);
    let diameter = max_diameter_a / binned.pixel_size_a;
    let mut terrain = Terrain::of(&binned.image, diameter.round() as usize);
    let [height, width] = [pixels.nrows(), pixels.ncols()];
    let masked = |x: f64, y: f64| {
        mask.is_some_and(|mask| mask.covers(binned.unbinned(x), binned.unbinned(y), width, height))
    };
    if mask.is_some() {
        terrain.suspect.indexed_iter_mut().for_each(|((y, x), on)| *on |= masked(x as f64, y as f64));
    }
    let rules = Rules {
        threshold: params.threshold,
        max_score_sd: params.max_score,
        min_distance: lengths.min_distance_a / binned.pixel_size_a,
        border: lengths.border_a / binned.pixel_size_a,
        most: params.max_picks.map_or(usize::MAX, |most| most as usize),
    };
    let scores = in_units_of_noise(&response.most, &terrain.suspect, diameter, &rules).ok_or(Unfit::Flat)?;
    let mut left_out = 0;
    let keep = |peaks: Vec<Peak>| {
        let mut peaks = terrain.keep_particles(peaks);
        peaks.retain(|peak| !masked(peak.x, peak.y));
        let all = peaks.len();
        peaks.retain(|peak| is_plausible(params, terrain.around(peak.x, peak.y)));
        left_out = all - peaks.len();
        peaks
    };
    let found = find(&scores, &rules, keep)
        .into_iter()
        .map(|peak| {
            let template = response.template[[peak.y.round() as usize, peak.x.round() as usize]];
            Found {
                x_px: binned.unbinned(peak.x),
                y_px: binned.unbinned(peak.y),
                score: peak.score,
                diameter_a: templates[usize::from(template)].diameter_a,
                around: terrain.around(peak.x, peak.y),
            }
        })
        .collect();
    Ok(Picked { found, left_out, masked_fraction: terrain.suspect_fraction() })
}

/// The thresholds on the neighbourhood of a peak.
fn is_plausible(params: &PickBlobs, around: Surroundings) -> bool {
    params.min_local_sd.is_none_or(|least| around.local_sd >= least)
        && params.max_local_sd.is_none_or(|most| around.local_sd <= most)
        && params.max_local_mean.is_none_or(|most| around.local_mean.abs() <= most)
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
    let diameter_a = 0.5 * (lengths.diameter_a + lengths.max_diameter_a);
    let surroundings = done.iter().flat_map(|(_, picked)| picked.found.iter().map(|found| found.around));
    let set = PickSet { diameter_a, picks, surroundings: surroundings.collect(), ..PickSet::default() };
    ctx.create_at_path(FILE, |path| table::picks::write(path, &set))?;
    ctx.output(Output::new("picks", Kind::Picks, FILE, count));
    Ok(())
}
