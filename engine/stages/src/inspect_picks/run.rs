//! Picks and micrographs in, those that pass out.

use super::propose::propose;
use super::report::{self, Shown};
use super::thresholds::{Field, Reason, judge};
use crate::items::{Item, Outcome, for_each_item};
use crate::picking::binned::Binned;
use crate::picking::contamination::Terrain;
use crate::picking::{choose, file_fingerprint, read};
use crate::{Ctx, StageError, micrograph};
use std::collections::HashMap;
use vitreous_formats::table;
use vitreous_jobs::inspect_picks::InspectPicks;
use vitreous_model::exposure::{Exposure, ExposureSet};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::particle::{Pick, PickSet, Surroundings};
use vitreous_model::report::Report;

/// Pixels of a binned micrograph per diameter, as pick-blobs has them.
const PIXELS_PER_DIAMETER: f64 = 24.0;
/// Micrographs that the report shows.
const SHOWN: usize = 3;

/// A micrograph and the rows of its picks in the table.
pub(super) struct Place<'a> {
    pub exposure: &'a Exposure,
    pub rows: Vec<usize>,
}

/// All picks with what is known of them, row by row.
pub(super) struct Inspected<'a> {
    pub set: &'a PickSet,
    /// Diameter within which surroundings were measured, Å.
    pub diameter_a: f64,
    /// NaN where they could not be measured.
    pub around: Vec<Surroundings>,
    pub places: Vec<Place<'a>>,
    /// Why a pick is left out; `None`: it is kept.
    pub verdicts: Vec<Option<Reason>>,
    /// Thresholds that nobody gave, and what would become of the picks.
    pub proposal: Option<(InspectPicks, Vec<Option<Reason>>)>,
}

impl Inspected<'_> {
    /// What the pictures show: the verdicts of the proposal, where there is one.
    pub fn shown(&self) -> &[Option<Reason>] {
        self.proposal.as_ref().map_or(&self.verdicts, |(_, verdicts)| verdicts)
    }
}

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: InspectPicks = ctx.params()?;
    params.validate()?;
    let micrographs = micrograph::read_set(ctx)?;
    let set = table::picks::read(&ctx.input("picks")?.path)?;
    let diameter_a = diameter_of(&set, &params)?;
    let places = places_of(&micrographs, &set)?;
    let items: Vec<Item> = places.iter().map(|place| item(ctx, &set, place, diameter_a, &params)).collect();
    let outcomes = for_each_item(ctx, "micrographs", &items, params.max_bad_fraction, |index| {
        survey(ctx, &micrographs, &set, &places[index], diameter_a, &params)
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let inspected = inspect(&set, places, outcomes, diameter_a, &params);
    let mut images = Vec::new();
    let rejected =
        |place: &Place<'_>| place.rows.iter().filter(|&&row| inspected.shown()[row].is_some()).count();
    let counts: Vec<usize> = inspected.places.iter().map(rejected).collect();
    for index in choose(&counts, SHOWN) {
        ctx.check_stop()?;
        let place = &inspected.places[index];
        // a micrograph that cannot be read is listed already
        let Ok((pixels, pixel_size_a)) = read(ctx, &micrographs, place.exposure) else { continue };
        let shown = Shown { number: images.len(), pixels: &pixels, pixel_size_a, place };
        images.push(report::image_of(&shown, &inspected));
    }
    let report = report::make(ctx, &inspected, &params, images);
    write(ctx, &inspected)?;
    micrograph::write_set(ctx, &micrographs)?;
    Ok(report)
}

/// The diameter within which surroundings are measured.
fn diameter_of(set: &PickSet, params: &InspectPicks) -> Result<f64, StageError> {
    let diameter_a = params.diameter.unwrap_or(set.diameter_a);
    if diameter_a.is_finite() && diameter_a > 0.0 {
        return Ok(diameter_a);
    }
    let what = format!("the picks have a diameter of {diameter_a} Å, expected a positive number");
    Err(StageError::input(what, "give --diameter, that of the particles in Å"))
}

/// Micrographs with picks, in their order.
fn places_of<'a>(micrographs: &'a ExposureSet, set: &PickSet) -> Result<Vec<Place<'a>>, StageError> {
    let mut rows: HashMap<&str, Vec<usize>> = HashMap::new();
    for (row, pick) in set.picks.iter().enumerate() {
        rows.entry(&pick.exposure).or_default().push(row);
    }
    let places: Vec<Place<'a>> = micrographs
        .exposures
        .iter()
        .filter_map(|exposure| Some(Place { exposure, rows: rows.remove(exposure.name.as_str())? }))
        .collect();
    match (set.picks.first(), micrographs.exposures.first()) {
        (Some(pick), Some(exposure)) if places.is_empty() => Err(StageError::input(
            format!(
                "no pick lies on any of the {} micrographs (first pick: {}, first micrograph: {})",
                micrographs.exposures.len(),
                pick.exposure,
                exposure.name
            ),
            "give the micrographs that the picks were made on",
        )),
        _ => Ok(places),
    }
}

/// Whether the picker's own measurements serve.
fn is_known(set: &PickSet, params: &InspectPicks) -> bool {
    params.diameter.is_none() && set.surroundings.len() == set.picks.len()
}

/// Name of a micrograph's item, and all that the surroundings of its picks depend on; thresholds are none of it.
fn item(ctx: &Ctx<'_>, set: &PickSet, place: &Place<'_>, diameter_a: f64, params: &InspectPicks) -> Item {
    let name = place.exposure.name.clone();
    let rows = || place.rows.iter();
    // FNV-1a of the numbers' bits
    let hash = |values: &mut dyn Iterator<Item = f64>| {
        values.flat_map(f64::to_le_bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let picks = hash(&mut rows().flat_map(|&row| [set.picks[row].x_px, set.picks[row].y_px]));
    if is_known(set, params) {
        let around = |&row: &usize| [set.surroundings[row].local_sd, set.surroundings[row].local_mean];
        let known = hash(&mut rows().flat_map(around));
        return Item { name, fingerprint: format!("{picks:016x} {known:016x}") };
    }
    let file = file_fingerprint(ctx, place.exposure);
    let fingerprint = format!("{picks:016x} {diameter_a} {} {file}", params.white_particles);
    Item { name, fingerprint }
}

/// The surroundings of a micrograph's picks: as the table has them, or measured on the micrograph.
fn survey(
    ctx: &Ctx<'_>,
    micrographs: &ExposureSet,
    set: &PickSet,
    place: &Place<'_>,
    diameter_a: f64,
    params: &InspectPicks,
) -> Result<Vec<Surroundings>, StageError> {
    if is_known(set, params) {
        micrograph::parts_of(micrographs, place.exposure)?;
        return Ok(place.rows.iter().map(|&row| set.surroundings[row]).collect());
    }
    let (pixels, pixel_size_a) = read(ctx, micrographs, place.exposure)?;
    let target_a = diameter_a / PIXELS_PER_DIAMETER;
    let binned = Binned::of(pixels.view(), pixel_size_a, target_a, diameter_a, params.white_particles)
        .map_err(|unfit| StageError::input(format!("{}: {unfit}", place.exposure.name), ""))?;
    let terrain = Terrain::of(&binned.image, (diameter_a / binned.pixel_size_a).round() as usize);
    let around = |pick: &Pick| terrain.around(binned.binned(pick.x_px), binned.binned(pick.y_px));
    Ok(place.rows.iter().map(|&row| around(&set.picks[row])).collect())
}

/// Applies the thresholds; where there are none, those that are proposed, too.
fn inspect<'a>(
    set: &'a PickSet,
    places: Vec<Place<'a>>,
    outcomes: Vec<Outcome<Vec<Surroundings>>>,
    diameter_a: f64,
    params: &InspectPicks,
) -> Inspected<'a> {
    let unknown = Surroundings { local_sd: f64::NAN, local_mean: f64::NAN };
    let mut around = vec![unknown; set.picks.len()];
    let mut given = vec![Some(Reason::Elsewhere); set.picks.len()];
    for (place, outcome) in places.iter().zip(outcomes) {
        match outcome {
            Outcome::Done(values) => place.rows.iter().zip(values).for_each(|(&row, value)| {
                (around[row], given[row]) = (value, None);
            }),
            Outcome::Skipped(_) => place.rows.iter().for_each(|&row| given[row] = Some(Reason::Unreadable)),
        }
    }
    let judged = |params: &InspectPicks| {
        let mut verdicts = given.clone();
        for place in &places {
            let Some(micrograph) = &place.exposure.micrograph else { continue };
            let rows: Vec<usize> = place.rows.iter().copied().filter(|&row| given[row].is_none()).collect();
            let here: Vec<Surroundings> = rows.iter().map(|&row| around[row]).collect();
            let field = Field {
                picks: rows.iter().map(|&row| &set.picks[row]).collect(),
                around: &here,
                size_px: [f64::from(micrograph.width), f64::from(micrograph.height)],
                pixel_size_a: micrograph.pixel_size_a,
            };
            rows.iter().zip(judge(&field, params)).for_each(|(&row, verdict)| verdicts[row] = verdict);
        }
        verdicts
    };
    let proposal = (!params.has_thresholds())
        .then(|| {
            let rows: Vec<usize> = (0..given.len()).filter(|&row| given[row].is_none()).collect();
            let scores: Vec<f64> = rows.iter().map(|&row| set.picks[row].score).collect();
            let here: Vec<Surroundings> = rows.iter().map(|&row| around[row]).collect();
            propose(params, &scores, &here)
        })
        .flatten()
        .map(|proposed| {
            let verdicts = judged(&proposed);
            (proposed, verdicts)
        });
    let verdicts = judged(params);
    Inspected { set, diameter_a, around, places, verdicts, proposal }
}

/// Writes the picks that are kept, with their surroundings.
fn write(ctx: &Ctx<'_>, inspected: &Inspected<'_>) -> Result<(), StageError> {
    const FILE: &str = "picks.h5";
    let set = inspected.set;
    let kept: Vec<usize> = (0..set.picks.len()).filter(|&row| inspected.verdicts[row].is_none()).collect();
    let kept_set = PickSet {
        diameter_a: set.diameter_a,
        picks: kept.iter().map(|&row| set.picks[row].clone()).collect(),
        matches: kept.iter().filter_map(|&row| set.matches.get(row).copied()).collect(),
        surroundings: kept.iter().map(|&row| inspected.around[row]).collect(),
    };
    ctx.create_at_path(FILE, |path| table::picks::write(path, &kept_set))?;
    ctx.output(Output::new("picks", Kind::Picks, FILE, kept_set.picks.len() as u64));
    Ok(())
}
