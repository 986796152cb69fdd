//! What pickers and those who work on picks share: the micrograph at a working pixel size, peaks of a score map, where not
//! to look, one of those that are too close, pictures. It knows no picker and writes no file.

pub(crate) mod apart;
pub(crate) mod binned;
pub(crate) mod contamination;
pub(crate) mod figures;
pub(crate) mod given_mask;
pub(crate) mod peaks;
pub(crate) mod places;

use crate::items::Outcome;
use crate::{Ctx, StageError, micrograph};
use ndarray::Array2;
use vitreous_model::exposure::{Exposure, ExposureSet};
use vitreous_model::report::Report;

/// Why particles cannot be picked on a micrograph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(
        "it has {width} × {height} px, expected at least {least} px a side for particles of {diameter_a} Å"
    )]
    TooSmall { width: usize, height: usize, least: usize, diameter_a: f64 },
    #[error("more than half of its pixels are equal, expected an image")]
    Flat,
}

/// Pixels `[height, width]` without hot ones, and the pixel size in Å.
///
/// # Errors
/// As [`micrograph::parts_of`] and [`micrograph::read_pixels`].
pub(crate) fn read(
    ctx: &Ctx<'_>,
    set: &ExposureSet,
    exposure: &Exposure,
) -> Result<(Array2<f32>, f64), StageError> {
    let (source, _) = micrograph::parts_of(set, exposure)?;
    let mut pixels = micrograph::read_pixels(&ctx.resolve(&source.path), source)?;
    micrograph::repair_hot_pixels(&mut pixels);
    Ok((pixels, source.pixel_size_a))
}

/// Changes when the micrograph does.
pub(crate) fn file_fingerprint(ctx: &Ctx<'_>, exposure: &Exposure) -> String {
    let length = exposure
        .micrograph
        .as_ref()
        .and_then(|m| std::fs::metadata(ctx.resolve(&m.path)).ok())
        .map(|m| m.len());
    // a movie that was corrected again leaves a file of the same name and length, but not the same motion
    format!("{:?} {length:?} {:?}", exposure.micrograph, exposure.motion)
}

/// The micrographs that were picked on, each with what was found.
pub(crate) fn with_picks<T>(exposures: &[Exposure], outcomes: Vec<Outcome<T>>) -> Vec<(&Exposure, T)> {
    let done = exposures.iter().zip(outcomes).filter_map(|(exposure, outcome)| match outcome {
        Outcome::Done(found) => Some((exposure, found)),
        Outcome::Skipped(_) => None,
    });
    done.collect()
}

/// A report that begins with the numbers of picks on each micrograph.
pub(crate) fn report_of(counts: &[usize]) -> Report {
    let total: usize = counts.iter().sum();
    let mut report = Report::new(match counts.len() {
        1 => format!("{total} particles on 1 micrograph"),
        n => format!("{total} particles on {n} micrographs"),
    });
    report.number("picks", "Picks", total as f64, "");
    let per_micrograph = if counts.is_empty() { f64::NAN } else { total as f64 / counts.len() as f64 };
    report.number("picks_per_micrograph", "Picks per micrograph", per_micrograph, "");
    report
}

/// Indices of the micrographs that are shown: the first, that with the fewest and that with the most picks.
pub(crate) fn choose(counts: &[usize], most: usize) -> Vec<usize> {
    let picks = |index: &usize| counts[*index];
    let rest = || 1..counts.len();
    let mut chosen: Vec<usize> = (0..counts.len().min(1)).collect();
    for candidate in [rest().min_by_key(picks), rest().max_by_key(picks)].into_iter().flatten() {
        if !chosen.contains(&candidate) {
            chosen.push(candidate);
        }
    }
    chosen.truncate(most);
    chosen
}
