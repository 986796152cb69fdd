//! What the job tells: numbers, tracks, spectra and thumbnails.

use super::motion_field::{MODES, MotionField};
use super::record::Done;
use super::run::SHOWN;
use crate::{Ctx, StageError};
use ndarray::Array2;
use vitreous_formats::open_image;
use vitreous_jobs::correct_motion::CorrectMotion;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::report::{Axis, Figure, Mark, Raster, Report, Series};

/// Longest edge of a thumbnail, pixels.
const THUMBNAIL: usize = 640;

/// Grey values under and over these quantiles are black and white.
const QUANTILES: (f64, f64) = (0.005, 0.995);

/// Fills the report.
///
/// # Errors
/// A micrograph that was just written cannot be read.
pub fn make(
    ctx: &Ctx<'_>,
    set: &ExposureSet,
    done: &[Done],
    params: &CorrectMotion,
) -> Result<Report, StageError> {
    let skipped = ctx.skipped();
    let mut report = Report::new(format!("Motion of {} movie(s) corrected", done.len()));
    let median = |value: fn(&Done) -> f64| median(done.iter().map(value).collect());
    report.number("movies", "Movies corrected", done.len() as f64, "");
    report.number("movies_skipped", "Movies left out", skipped.len() as f64, "");
    report.number(
        "motion_total_A",
        "Motion of the whole frame, median path length",
        median(|d| d.motion.total_a),
        "Å",
    );
    report.number("motion_early_A", "of it in the first 4 e/Å²", median(|d| d.motion.early_a), "Å");
    report.number("motion_local_A", "Largest local displacement, median", median(largest_local), "Å");
    let local = done.iter().filter(|d| d.local_gain > 0.0).count();
    report.number("movies_local", "Movies in which local motion was found", local as f64, "");
    report.number("bad_pixels", "Bad pixels replaced, median", median(|d| d.bad_pixels[0] as f64), "");
    report.skipped = skipped;
    notes(&mut report, params);
    for index in shown(done) {
        let (name, result) = (&set.exposures[index].name, &done[index]);
        report.figures.push(micrograph_figure(ctx, name, result)?);
        report.figures.push(track_figure(name, result));
        report.figures.push(spectrum_figure(name, result));
    }
    if done.len() > 1 {
        report.figures.push(overview(done));
    }
    let records = set.exposures.iter().zip(done).map(|(exposure, result)| record(&exposure.name, result));
    report.data.insert("exposures".into(), records.collect());
    Ok(report)
}

/// Indices of the movies that are shown. Tracks of patches are kept of the movies that came first when they were done;
/// where the list has grown or been sorted since, these are shown, and others fill up.
fn shown(done: &[Done]) -> Vec<usize> {
    let (tracked, others): (Vec<usize>, Vec<usize>) =
        (0..done.len()).partition(|index| !done[*index].patches.is_empty());
    let mut shown: Vec<usize> = tracked.into_iter().chain(others).take(SHOWN).collect();
    shown.sort_unstable();
    shown
}

fn notes(report: &mut Report, params: &CorrectMotion) {
    report.notes.push(
        "Displacements count from the first frame used: what lies at x in it lies at x + u in another frame. The \
         micrographs have the geometry of the first frame."
            .into(),
    );
    report.notes.push(if params.dose_weighting {
        "Micrographs are weighted by dose (Grant and Grigorieff 2015); the plain sums stand beside them and serve CTF \
         estimation. Both are in counts summed over frames."
            .into()
    } else {
        "Micrographs are plain sums of all frames, in counts.".into()
    });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn field_of(done: &Done) -> MotionField {
    let [width, height] = done.frame_px;
    MotionField { width, height, coefficients: done.coefficients_a.clone() }
}

/// Largest displacement of a corner or edge's middle relative to the middle of the frame, over frames, Å.
fn largest_local(done: &Done) -> f64 {
    let field = field_of(done);
    let (right, top) = (field.width as f64 - 1.0, field.height as f64 - 1.0);
    let mut largest = 0.0f64;
    for frame in 0..field.frames() {
        let middle = field.at(frame, 0.5 * right, 0.5 * top);
        for i in 0..9 {
            let [u, v] = field.at(frame, f64::from(i % 3) * 0.5 * right, f64::from(i / 3) * 0.5 * top);
            largest = largest.max((u - middle[0]).hypot(v - middle[1]));
        }
    }
    largest
}

/// The micrograph with the tracks of its patches, drawn larger than they are.
fn micrograph_figure(ctx: &Ctx<'_>, name: &str, done: &Done) -> Result<Figure, StageError> {
    let (thumbnail, step) = thumbnail(ctx, &done.micrograph.path)?;
    let (height, width) = thumbnail.dim();
    let field = field_of(done);
    let scale = width as f64 / field.width as f64;
    let longest = largest_track(done, &field).max(1e-9);
    // the longest track spans a twelfth of the picture
    let enlarged = width as f64 / 12.0 / longest;
    let mut marks = Vec::new();
    for patch in &done.patches {
        let [x, y] = patch.centre_px;
        let path = |points: &mut dyn Iterator<Item = [f64; 2]>| {
            let (x, y) = points.map(|[u, v]| (x * scale + u * enlarged, y * scale + v * enlarged)).unzip();
            Mark::Path { x, y }
        };
        marks.push(path(&mut (0..field.frames()).map(|frame| field.at(frame, x, y))));
        marks.push(Mark::Circle { x: x * scale, y: y * scale, radius: 2.0 });
    }
    let pixels = thumbnail.as_slice().expect("a thumbnail should be in standard layout");
    let raster = Raster::from_quantiles(pixels, width, QUANTILES.0, QUANTILES.1);
    debug_assert_eq!(raster.height as usize, height);
    let pixel_size_a = done.micrograph.pixel_size_a * step as f64;
    let times = enlarged * pixel_size_a;
    Ok(Figure::Image {
        id: format!("micrograph_{name}"),
        title: format!("{name}: micrograph with the motion of its patches, {times:.0} times enlarged"),
        raster,
        marks,
        pixel_size_a: Some(pixel_size_a),
    })
}

fn largest_track(done: &Done, field: &MotionField) -> f64 {
    let lengths = done.patches.iter().flat_map(|patch| {
        (0..field.frames()).map(|frame| {
            let [u, v] = field.at(frame, patch.centre_px[0], patch.centre_px[1]);
            u.hypot(v)
        })
    });
    lengths.fold(0.0, f64::max)
}

/// A micrograph averaged over blocks, and the block's edge.
fn thumbnail(ctx: &Ctx<'_>, path: &str) -> Result<(Array2<f32>, usize), StageError> {
    let file = open_image(&ctx.resolve(path))?;
    let (width, height) = (file.header().width, file.header().height);
    let mut pixels = vec![0.0; file.header().frame_len()];
    file.read_frame_in_pool(0, &mut pixels)?;
    let step = width.max(height).div_ceil(THUMBNAIL).max(1);
    let area = (step * step) as f32;
    let image = Array2::from_shape_fn(((height / step).max(1), (width / step).max(1)), |(row, column)| {
        let rows = row * step..((row + 1) * step).min(height);
        rows.map(|y| {
            let start = y * width + column * step;
            pixels[start..(start + step).min((y + 1) * width)].iter().sum::<f32>()
        })
        .sum::<f32>()
            / area
    });
    Ok((image, step))
}

/// The track of the whole frame, and what every patch by itself would say.
fn track_figure(name: &str, done: &Done) -> Figure {
    let field = field_of(done);
    let line = |label: &str, points: Vec<[f64; 2]>| {
        let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().map(|[u, v]| (u, v)).unzip();
        Series::line(label, x, y)
    };
    let mut series = vec![line("whole frame", field.centre_track())];
    for patch in &done.patches {
        let [x, y] = patch.centre_px;
        let fitted = (0..field.frames()).map(|frame| field.at(frame, x, y)).collect();
        series.push(line(&format!("patch at {x:.0}, {y:.0} px"), fitted));
    }
    let (measured_x, measured_y): (Vec<f64>, Vec<f64>) =
        done.patches.iter().flat_map(|patch| &patch.points_a).map(|[u, v]| (*u, *v)).unzip();
    series.push(Series::points("patches by themselves", measured_x, measured_y));
    Figure::Plot {
        id: format!("track_{name}"),
        title: format!("{name}: displacement from the first frame"),
        x: Axis::new("x", "Å"),
        y: Axis::new("y", "Å"),
        series,
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: true,
    }
}

fn spectrum_figure(name: &str, done: &Done) -> Figure {
    let curve = |label: &str, of: &super::record::Spectrum| {
        Series::line(label, of.frequency.clone(), of.power.iter().map(|p| p.max(f64::MIN_POSITIVE).log10()))
    };
    Figure::Plot {
        id: format!("spectrum_{name}"),
        title: format!("{name}: power spectrum before and after alignment (no dose weighting)"),
        x: Axis::new("spatial frequency", "1/Å"),
        y: Axis::new("log10 of power per pixel", ""),
        series: vec![curve("before", &done.spectrum_before), curve("after", &done.spectrum_after)],
        levels: Vec::new(),
        x_is_resolution: true,
        equal_axes: false,
    }
}

fn overview(done: &[Done]) -> Figure {
    let number: Vec<f64> = (1..=done.len()).map(|i| i as f64).collect();
    Figure::Plot {
        id: "motion".into(),
        title: "Motion by movie".into(),
        x: Axis::new("movie", ""),
        y: Axis::new("path length", "Å"),
        series: vec![
            Series::points("all", number.clone(), done.iter().map(|d| d.motion.total_a)),
            Series::points("first 4 e/Å²", number, done.iter().map(|d| d.motion.early_a)),
        ],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}

/// The record of one exposure for programs.
fn record(name: &str, done: &Done) -> serde_json::Value {
    let field = field_of(done);
    let global: Vec<[f64; 2]> = field.centre_track().into_iter().map(|u| u.map(rounded)).collect();
    let coefficients: Vec<[[f64; MODES]; 2]> =
        field.coefficients.iter().map(|frame| frame.map(|axis| axis.map(rounded))).collect();
    serde_json::json!({
        "name": name,
        "frames": field.frames(),
        "motion_total_A": rounded(done.motion.total_a),
        "motion_early_A": rounded(done.motion.early_a),
        "motion_late_A": rounded(done.motion.late_a),
        "motion_local_A": rounded(largest_local(done)),
        "local_log_likelihood_gain": rounded(done.local_gain),
        "bad_pixels": done.bad_pixels[0],
        "bad_pixels_in_gain": done.bad_pixels[1],
        "dose_weighting_terms": done.terms,
        // x, y of each frame
        "global_shift_A": global,
        // of each frame and axis: coefficients of 1, X, Y, X², Y², XY with X, Y from -1 to 1 over the frame
        "field_A": if field.is_local() { serde_json::json!(coefficients) } else { serde_json::Value::Null },
    })
}

/// To 0.0001 Å, which keeps the report short.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
