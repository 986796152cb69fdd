//! Micrographs in, the same with their CTF out.

use super::curve::{Curve, judge, points_of};
use super::fit::{Fitted, fit};
use super::rings::Cells;
use super::search::Search;
use super::surface::fit_surface;
use super::{flags, report, spectrum};
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError, micrograph};
use std::path::PathBuf;
use vitreous_compute::ops::tile_spectra::TileSpectra;
use vitreous_jobs::estimate_ctf::EstimateCtf;
use vitreous_model::ctf::DefocusSurface;
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
    /// How the defocus changes over the micrograph, and the standard error of either slope; `None`: flat.
    pub surface: Option<(DefocusSurface, f64)>,
    pub curve: Curve,
    pub ice_ring: Option<f64>,
    pub drift_a: f64,
    /// Width and height of the micrograph, Å.
    pub size_a: [f64; 2],
}

impl Estimate {
    /// What goes into tables.
    pub fn summary(&self) -> CtfFit {
        CtfFit {
            surface: self.surface.map_or_else(DefocusSurface::default, |(surface, _)| surface),
            defocus_error_a: Some(self.fitted.defocus_error_a).filter(|error| error.is_finite()),
            ice_ring: self.ice_ring,
            drift_a: Some(self.drift_a),
            ..CtfFit::new(self.fitted.ctf, self.curve.fit_resolution_a, self.fitted.score)
        }
    }
}

/// The stage.
pub(super) fn run<D: TileSpectra>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: EstimateCtf = ctx.params()?;
    params.validate()?;
    let set = micrograph::read_set(ctx)?;
    let items: Vec<Item> = set.exposures.iter().map(|exposure| item(ctx, &params, &set, exposure)).collect();
    let outcomes = for_each_item(ctx, "micrographs", &items, params.max_bad_fraction, |index| {
        let exposure = &set.exposures[index];
        let estimate = estimate(ctx, device, &params, &set, exposure)?;
        ctx.picture(&exposure.name, &report::small_spectrum(&exposure.name, &estimate, &params))?;
        let summary = estimate.summary();
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
            estimate(ctx, device, &params, &done, &done.exposures[index])?,
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

fn estimate<D: TileSpectra>(
    ctx: &Ctx<'_>,
    device: &D,
    params: &EstimateCtf,
    set: &ExposureSet,
    exposure: &Exposure,
) -> Result<Estimate, StageError> {
    let (source, optics) = micrograph::parts_of(set, exposure)?;
    let path = image_of(ctx, source);
    let mut pixels = micrograph::read_pixels(&path, source)?;
    let hot = micrograph::repair_hot_pixels(&mut pixels);
    log::debug!("{}: {hot} hot pixels", exposure.name);
    estimate_pixels(device, &pixels, source.pixel_size_a, optics, params)
        .map_err(|unfit| StageError::input(format!("{}: {unfit}", path.display()), ""))
}

/// The estimate of an image `[height, width]` without hot pixels.
pub(super) fn estimate_pixels<D: TileSpectra>(
    device: &D,
    pixels: &ndarray::Array2<f32>,
    pixel_size_a: f64,
    optics: &OpticsGroup,
    params: &EstimateCtf,
) -> Result<Estimate, super::Unfit> {
    let spectra = spectrum::of_micrograph(device, pixels.view(), pixel_size_a, params.tile as usize)?;
    let cells = Cells::of(&spectra);
    let search = Search {
        min_resolution_a: params.min_resolution,
        max_resolution_a: params.max_resolution,
        min_defocus_a: params.min_defocus,
        max_defocus_a: params.max_defocus,
        expected_astigmatism_a: params.expected_astigmatism,
        phase_shift: params.phase_shift,
    };
    let flat = fit(&cells, optics, &search)?;
    let found = params.tilt.then(|| fit_surface(&spectra, &cells, &flat, optics)).flatten();
    let (ice_ring, drift_a) = (flags::ice_ring(&spectra), flags::drift_a(&flat));
    let (fitted, points) = match &found {
        Some(surface) => (surface.of(&flat.fitted), surface.points.clone()),
        None => (flat.fitted, points_of(&cells, &flat.fitted.ctf)),
    };
    let curve = judge(&cells, &points, &fitted.ctf, params.min_resolution);
    let surface = found.map(|found| (found.surface, found.slope_error));
    let size_a = [pixels.ncols(), pixels.nrows()].map(|n| n as f64 * pixel_size_a);
    Ok(Estimate { cells, fitted, surface, curve, ice_ring, drift_a, size_a })
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
