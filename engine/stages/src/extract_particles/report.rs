//! What was extracted: numbers, a montage, the mean image, particles per micrograph.

use super::wanted::{LeftOut, Sources};
use crate::map_figures;
use crate::{Ctx, StageError};
use ndarray::Array2;
use serde_json::json;
use vitreous_compute::fourier::resample_box;
use vitreous_formats::{FrameSource, open_image};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Report, Series, SeriesStyle};

/// Images in the montage, and in a row of it.
const SHOWN: usize = 40;
const SHOWN_IN_A_ROW: usize = 10;
/// Images in the mean.
const AVERAGED: usize = 1000;
/// Pixel size of pictures, Å: noise beyond it hides the particle from the eye.
const SHOWN_PIXEL_A: f64 = 6.0;
/// Pictures are not made smaller than this.
const SMALLEST_PICTURE_PX: usize = 32;
/// Bars of the histogram.
const BARS: usize = 24;

/// What came of one micrograph.
pub struct Counts<'a> {
    /// Name of the exposure.
    pub name: &'a str,
    /// Picks on it.
    pub picked: usize,
    /// Images written.
    pub extracted: usize,
    /// Picks too close to the border.
    pub at_border: usize,
    /// Picks on flat regions.
    pub flat: usize,
}

/// What is true of all micrographs together.
pub(super) struct Whole<'a> {
    pub sources: &'a Sources,
    pub left_out: LeftOut,
    /// How far the box of every particle has moved, Å.
    pub moved: &'a [f64],
}

/// The report of rank 0.
///
/// # Errors
/// A stack that was just written cannot be read.
pub(super) fn make(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    whole: &Whole<'_>,
    counts: &[Counts<'_>],
) -> Result<Report, StageError> {
    let mut report = Report::new("Particles");
    let sum = |count: fn(&Counts<'_>) -> usize| counts.iter().map(count).sum::<usize>();
    let (border, flat) = (sum(|c| c.at_border), sum(|c| c.flat));
    report.number("particles", "Particles", set.particles.len() as f64, "");
    report.number("micrographs", "Micrographs", counts.len() as f64, "");
    report.number("at_border", "Too close to the border", border as f64, "");
    report.number("flat", "On regions without structure", flat as f64, "");
    let LeftOut { duplicates, elsewhere, unplaced } = whole.left_out;
    report.number("duplicates", "Too close to a better one", duplicates as f64, "");
    report.number("elsewhere", "On micrographs that were not given", elsewhere as f64, "");
    if let Sources::Particles(_) = whole.sources {
        report.number("unplaced", "Of unknown place", unplaced as f64, "");
        let mean = whole.moved.iter().sum::<f64>() / whole.moved.len() as f64;
        report.number("moved_A", "Boxes moved, in the mean", mean, "Å");
    }
    report.number("box_px", "Box", f64::from(set.box_px), "px");
    report.number("pixel_size_A", "Pixel size", set.pixel_size_a, "Å");
    let failed = whole.sources.len() - duplicates - elsewhere - unplaced - sum(|c| c.picked);
    if failed > 0 {
        report.notes.push(format!("{failed} {} lie on micrographs that failed.", whole.sources.name()));
    }
    if !set.particles.is_empty() && set.particles.iter().all(|particle| particle.ctf.is_none()) {
        report.notes.push(
            "The micrographs have no CTF: run estimate-ctf first, or no correction is possible.".into(),
        );
    }
    let pixel_size_a = set.pixel_size_a * f64::from(set.box_px) / picture_px(set) as f64;
    let images = read_spread(ctx, set, SHOWN)?;
    let title = "Particles, spread over the set, low-passed for the eye";
    if !images.is_empty() {
        report.figures.push(map_figures::montage("particles", title, &images, SHOWN_IN_A_ROW, pixel_size_a));
    }
    let images = read_spread(ctx, set, AVERAGED)?;
    if let Some(mean) = mean(&images) {
        let title = format!("Mean of {} particles", images.len());
        report.figures.push(map_figures::montage("mean", &title, &[mean], 1, pixel_size_a));
    }
    report.figures.push(histogram(counts));
    let rows = counts.iter().map(|c| {
        json!({"name": c.name, "picked": c.picked, "extracted": c.extracted, "at_border": c.at_border, "flat": c.flat})
    });
    report.data.insert("micrographs".into(), rows.collect());
    report.skipped = ctx.skipped();
    Ok(report)
}

/// Edge of a picture in pixels.
fn picture_px(set: &ParticleSet) -> usize {
    let edge_a = f64::from(set.box_px) * set.pixel_size_a;
    let wanted = 2 * ((edge_a / SHOWN_PIXEL_A / 2.0).round() as usize);
    wanted.max(SMALLEST_PICTURE_PX).min(set.box_px as usize)
}

/// Up to `most` images at equal distances in the set, downsampled for pictures.
fn read_spread(ctx: &Ctx<'_>, set: &ParticleSet, most: usize) -> Result<Vec<Array2<f32>>, StageError> {
    let n = set.box_px as usize;
    let mut open: Option<(&str, Box<dyn FrameSource>)> = None;
    let mut images = Vec::new();
    for particle in set.particles.iter().step_by(set.particles.len().div_ceil(most).max(1)) {
        let path = particle.stack_path.as_str();
        let source = match open.take() {
            Some((known, source)) if known == path => source,
            _ => open_image(&ctx.resolve(path))?,
        };
        let mut image = Array2::zeros((n, n));
        let pixels = image.as_slice_mut().expect("a new image should be contiguous");
        source.read_frame_at(particle.stack_index as usize, pixels)?;
        images.push(resample_box(image.view(), picture_px(set)));
        open = Some((path, source));
    }
    Ok(images)
}

fn mean(images: &[Array2<f32>]) -> Option<Array2<f32>> {
    let mut sum = Array2::zeros(images.first()?.dim());
    images.iter().for_each(|image| sum += image);
    Some(sum / images.len() as f32)
}

fn histogram(counts: &[Counts<'_>]) -> Figure {
    let most = counts.iter().map(|c| c.extracted).max().unwrap_or(0);
    let width = (most + 1).div_ceil(BARS).max(1);
    let mut bars = vec![0.0; most / width + 1];
    counts.iter().for_each(|c| bars[c.extracted / width] += 1.0);
    let centres = (0..bars.len()).map(|bar| (bar * width) as f64 + (width as f64 - 1.0) / 2.0).collect();
    Figure::Plot {
        id: "particles-per-micrograph".into(),
        title: "Particles per micrograph".into(),
        x: Axis::new("particles", ""),
        y: Axis::new("micrographs", ""),
        series: vec![Series { style: SeriesStyle::Bars, ..Series::line("micrographs", centres, bars) }],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}
