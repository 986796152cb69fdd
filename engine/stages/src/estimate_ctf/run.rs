//! Micrographs in, the same with their CTF out.

use super::curve::{Curve, judge};
use super::fit::{Fitted, Search, fit};
use super::rings::Cells;
use super::{report, spectrum};
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError, micrograph};
use std::path::PathBuf;
use vitreous_jobs::estimate_ctf::EstimateCtf;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Micrographs of which the report shows the spectrum.
const SHOWN: usize = 3;

/// Everything that one micrograph's estimate is made of.
pub(super) struct Estimate {
    pub cells: Cells,
    pub fitted: Fitted,
    pub curve: Curve,
}

impl Estimate {
    /// What goes into tables.
    pub fn summary(&self) -> CtfFit {
        CtfFit {
            ctf: self.fitted.ctf,
            fit_resolution_a: self.curve.fit_resolution_a,
            score: self.fitted.score,
        }
    }
}

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: EstimateCtf = ctx.params()?;
    params.validate()?;
    let set = micrograph::read_set(ctx)?;
    let items: Vec<Item> = set.exposures.iter().map(|exposure| item(ctx, &params, &set, exposure)).collect();
    let outcomes = for_each_item(ctx, "micrographs", &items, params.max_bad_fraction, |index| {
        let exposure = &set.exposures[index];
        let summary = estimate(ctx, &params, &set, exposure)?.summary();
        let mean = 0.5 * (summary.ctf.defocus_u_a + summary.ctf.defocus_v_a);
        ctx.say(EventKind::Figure { name: "defocus".into(), value: mean.round(), unit: "Å".into() });
        Ok(summary)
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let done = with_fits(set, outcomes);
    let shown = report::choose(&done.exposures, SHOWN);
    let mut estimates = Vec::new();
    for &index in &shown {
        ctx.check_stop()?;
        estimates.push((
            done.exposures[index].name.as_str(),
            estimate(ctx, &params, &done, &done.exposures[index])?,
        ));
    }
    let report = report::make(&done.exposures, &estimates, &params, ctx.skipped());
    micrograph::write_set(ctx, &done)?;
    Ok(report)
}

/// Name of an exposure's item, and all that its result depends on.
fn item(ctx: &Ctx<'_>, params: &EstimateCtf, set: &ExposureSet, exposure: &Exposure) -> Item {
    let length =
        exposure.micrograph.as_ref().and_then(|m| std::fs::metadata(image_of(ctx, m)).ok()).map(|m| m.len());
    let optics = set.optics_of(exposure.optics_group);
    // a movie that was corrected again leaves a file of the same name and length, but not the same motion
    let fingerprint =
        format!("{params:?} {:?} {length:?} {:?} {optics:?}", exposure.micrograph, exposure.motion);
    Item { name: exposure.name.clone(), fingerprint }
}

/// The image whose spectrum is taken: the sum without dose weighting, where there is one, for its Thon rings reach
/// further.
fn image_of(ctx: &Ctx<'_>, source: &MicrographSource) -> PathBuf {
    let path = if source.unweighted_path.is_empty() { &source.path } else { &source.unweighted_path };
    ctx.resolve(path)
}

fn estimate(
    ctx: &Ctx<'_>,
    params: &EstimateCtf,
    set: &ExposureSet,
    exposure: &Exposure,
) -> Result<Estimate, StageError> {
    let (source, optics) = micrograph::parts_of(set, exposure)?;
    let path = image_of(ctx, source);
    let mut pixels = micrograph::read_pixels(&path, source)?;
    let hot = micrograph::repair_hot_pixels(&mut pixels);
    log::debug!("{}: {hot} hot pixels", exposure.name);
    estimate_pixels(&pixels, source.pixel_size_a, optics, params)
        .map_err(|unfit| StageError::input(format!("{}: {unfit}", path.display()), ""))
}

/// The estimate of an image `[height, width]` without hot pixels.
pub(super) fn estimate_pixels(
    pixels: &ndarray::Array2<f32>,
    pixel_size_a: f64,
    optics: &OpticsGroup,
    params: &EstimateCtf,
) -> Result<Estimate, super::Unfit> {
    let spectrum = spectrum::of_micrograph(pixels.view(), pixel_size_a, params.tile as usize)?;
    let cells = Cells::of(&spectrum);
    let search = Search {
        min_resolution_a: params.min_resolution,
        max_resolution_a: params.max_resolution,
        min_defocus_a: params.min_defocus,
        max_defocus_a: params.max_defocus,
        expected_astigmatism_a: params.expected_astigmatism,
        phase_shift: params.phase_shift,
    };
    let fitted = fit(&cells, optics, &search)?;
    let curve = judge(&cells, &fitted.ctf, params.min_resolution);
    Ok(Estimate { cells, fitted, curve })
}

/// The exposures that could be estimated, with their fits.
fn with_fits(set: ExposureSet, outcomes: Vec<Outcome<CtfFit>>) -> ExposureSet {
    let exposures = set.exposures.into_iter().zip(outcomes);
    let exposures = exposures.filter_map(|(exposure, outcome)| match outcome {
        Outcome::Done(fit) => Some(Exposure { ctf: Some(fit), ..exposure }),
        Outcome::Skipped(_) => None,
    });
    ExposureSet { exposures: exposures.collect(), optics: set.optics }
}
