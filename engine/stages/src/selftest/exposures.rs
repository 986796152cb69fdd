//! Motion and CTF held against the truth.

use super::checks::{Bound, Check, largest, median};
use super::course::Course;
use super::plan::{self, folder};
use crate::{Ctx, StageError};
use serde_json::Value;
use std::collections::BTreeMap;
use vitreous_formats::table::{self, ColumnDef, TableReader};
use vitreous_model::ctf::CtfParams;
use vitreous_model::report::{Axis, Figure, Series};

/// Coefficients of the local motion along one axis: of 1, X, Y, X², Y², XY.
const MODES: usize = 6;

/// Displacements of points of one movie: true and found, Å.
pub(super) struct Track {
    /// The movie.
    name: String,
    /// By frame, then by point.
    frames: Vec<Vec<Pair>>,
}

/// A displacement along x and y, as it is and as it was found, Å.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub truth: [f64; 2],
    pub found: [f64; 2],
}

/// Root mean square of the difference over all points and frames. The mean over frames is taken off at every point, so that
/// the error of the first frame does not count in all.
pub(super) fn rms_error_a(frames: &[Vec<Pair>]) -> f64 {
    let points = frames.iter().map(Vec::len).min().unwrap_or(0);
    let (mut sum, mut count) = (0.0, 0.0);
    for point in 0..points {
        for axis in 0..2 {
            let differences = frames.iter().map(|frame| frame[point].found[axis] - frame[point].truth[axis]);
            let mean = differences.clone().sum::<f64>() / frames.len() as f64;
            sum += differences.map(|difference| (difference - mean).powi(2)).sum::<f64>();
        }
        count += frames.len() as f64;
    }
    (sum / count).sqrt()
}

/// Counts of movies and electrons as simulated.
pub(super) fn simulation(course: &Course, movies: u32) -> Vec<Check> {
    let Some(done) = course.finished.get(folder::SIMULATED) else { return Vec::new() };
    let count = |key| done.report.get(key).unwrap_or(f64::NAN);
    let [all, dose] = [f64::from(movies), plan::DOSE_PER_FRAME * plan::PIXEL_A.powi(2)];
    // some electrons are scattered out of the beam by the particles, and the gain spreads the others
    let counts = Bound::Between(0.9 * dose, 1.02 * dose);
    vec![
        Check::new("simulate", "movies made", count("movies"), Bound::Between(all, all), ""),
        Check::new("simulate", "mean counts of a pixel and frame", count("mean_counts"), counts, "e"),
    ]
}

/// The tracks of all movies.
///
/// # Errors
/// A truth that cannot be read.
pub(super) fn tracks(ctx: &Ctx<'_>, course: &Course) -> Result<Vec<Track>, StageError> {
    let Some(done) = course.finished.get(folder::MOTION) else { return Ok(Vec::new()) };
    let Some(path) = course.part(ctx, folder::SIMULATED, "movies", "truth_motion") else {
        return Ok(Vec::new());
    };
    let size = course.output(folder::SIMULATED, "movies").and_then(|movies| movies.frame_px);
    let frame_px = size.unwrap_or([plan::FRAME_PX; 2]);
    let file = TableReader::open_kind(&path, &["motion-truth"])?;
    let group = file.group("motion")?;
    let column = |name| group.f64(ColumnDef::new(name, "", ""));
    let names = group.text(ColumnDef::new("exposure", "", ""))?;
    let (frames, x, y) = (column("frame")?, column("x_px")?, column("y_px")?);
    let (dx, dy) = (column("dx_a")?, column("dy_a")?);
    let mut truth: BTreeMap<&str, Vec<Vec<Pair>>> = BTreeMap::new();
    let records = done.report.data.get("exposures").and_then(Value::as_array);
    let found: BTreeMap<&str, &Value> =
        records.into_iter().flatten().filter_map(|record| Some((record["name"].as_str()?, record))).collect();
    for row in 0..group.rows() {
        let Some(record) = found.get(names[row].as_str()) else { continue };
        let frame = frames[row] as usize;
        let Some(displacement) = displacement(record, frame, [x[row], y[row]], frame_px) else { continue };
        let movie = truth.entry(&names[row]).or_default();
        movie.resize(movie.len().max(frame + 1), Vec::new());
        movie[frame].push(Pair { truth: [dx[row], dy[row]], found: displacement });
    }
    Ok(truth.into_iter().map(|(name, frames)| Track { name: name.into(), frames }).collect())
}

/// The displacement that motion correction reports for a place in a frame, Å.
fn displacement(record: &Value, frame: usize, at_px: [f64; 2], size_px: [u32; 2]) -> Option<[f64; 2]> {
    let unit = |v: f64, size: u32| (2.0 * v - (f64::from(size) - 1.0)) / f64::from(size);
    let (x, y) = (unit(at_px[0], size_px[0]), unit(at_px[1], size_px[1]));
    let modes: [f64; MODES] = [1.0, x, y, x * x, y * y, x * y];
    let field = &record["field_A"][frame];
    let along = |axis: usize| match field[axis].as_array() {
        Some(coefficients) => {
            Some(coefficients.iter().zip(modes).map(|(c, m)| c.as_f64().unwrap_or(f64::NAN) * m).sum())
        }
        None => record["global_shift_A"][frame][axis].as_f64(),
    };
    Some([along(0)?, along(1)?])
}

/// Checks of motion correction.
pub(super) fn motion(course: &Course, tracks: &[Track], movies: u32) -> Vec<Check> {
    if !course.finished.contains_key(folder::MOTION) {
        return Vec::new();
    }
    let all = f64::from(movies);
    let errors: Vec<f64> = tracks.iter().map(|track| rms_error_a(&track.frames)).collect();
    let job = "correct-motion";
    vec![
        Check::new(
            job,
            "movies corrected",
            course.number(folder::MOTION, "movies"),
            Bound::Between(all, all),
            "",
        ),
        Check::new(
            job,
            "error of tracks, rms, median movie",
            median(errors.clone()),
            Bound::AtMost(1.0),
            "Å",
        ),
        Check::new(job, "the same, worst movie", largest(&errors), Bound::AtMost(2.5), "Å"),
    ]
}

/// The true and the found track of the middle of some movies.
pub(super) fn track_figure(tracks: &[Track]) -> Option<Figure> {
    const SHOWN: usize = 3;
    let mut series = Vec::new();
    for track in tracks.iter().take(SHOWN) {
        let middle = track.frames.first()?.len() / 2;
        let of = |pick: fn(&Pair) -> [f64; 2]| -> (Vec<f64>, Vec<f64>) {
            track
                .frames
                .iter()
                .filter_map(|frame| frame.get(middle))
                .map(|p| (pick(p)[0], pick(p)[1]))
                .unzip()
        };
        let ((x, y), (found_x, found_y)) = (of(|pair| pair.truth), of(|pair| pair.found));
        series.push(Series::line(&format!("{}, true", track.name), x, y));
        series.push(Series::points(&format!("{}, found", track.name), found_x, found_y));
    }
    (!series.is_empty()).then(|| Figure::Plot {
        id: "tracks".into(),
        title: "Drift of the middle of the first movies: true (lines) and found (points)".into(),
        x: Axis::new("x", "Å"),
        y: Axis::new("y", "Å"),
        series,
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: true,
    })
}

/// The CTF of a micrograph, as it is and as it was found.
pub(super) type CtfPair = [CtfParams; 2];

/// True and found CTFs of all micrographs.
///
/// # Errors
/// Tables that cannot be read.
pub(super) fn ctfs(ctx: &Ctx<'_>, course: &Course) -> Result<Vec<CtfPair>, StageError> {
    let truth = course.part(ctx, folder::SIMULATED, "movies", "truth_exposures");
    let (Some(truth), Some(found)) = (truth, course.file(ctx, folder::CTF, "micrographs")) else {
        return Ok(Vec::new());
    };
    let read = table::exposures::read(&truth)?.exposures.into_iter();
    let truth: BTreeMap<String, CtfParams> = read.filter_map(|e| Some((e.name, e.ctf?.ctf))).collect();
    let found = table::exposures::read(&found)?.exposures.into_iter();
    Ok(found.filter_map(|e| Some([*truth.get(&e.name)?, e.ctf?.ctf])).collect())
}

/// Checks of CTF estimation.
pub(super) fn ctf(course: &Course, pairs: &[CtfPair], movies: u32) -> Vec<Check> {
    if !course.finished.contains_key(folder::CTF) {
        return Vec::new();
    }
    let all = f64::from(movies);
    let mean = |ctf: &CtfParams| 0.5 * (ctf.defocus_u_a + ctf.defocus_v_a);
    let defocus: Vec<f64> = pairs.iter().map(|[truth, found]| (mean(truth) - mean(found)).abs()).collect();
    let astigmatism: Vec<f64> =
        pairs.iter().map(|[truth, found]| astigmatism_error_a(truth, found)).collect();
    let job = "estimate-ctf";
    vec![
        Check::new(job, "micrographs estimated", pairs.len() as f64, Bound::Between(all, all), ""),
        Check::new(job, "error of the defocus, median", median(defocus.clone()), Bound::AtMost(200.0), "Å"),
        Check::new(job, "the same, worst micrograph", largest(&defocus), Bound::AtMost(500.0), "Å"),
        Check::new(job, "error of the astigmatism, median", median(astigmatism), Bound::AtMost(800.0), "Å"),
    ]
}

/// Length of the difference of two astigmatisms as vectors of the double angle, Å.
pub(super) fn astigmatism_error_a(a: &CtfParams, b: &CtfParams) -> f64 {
    let vector = |ctf: &CtfParams| {
        let (sin, cos) = (2.0 * ctf.astigmatism_angle.radians()).sin_cos();
        [cos, sin].map(|part| (ctf.defocus_u_a - ctf.defocus_v_a) * part)
    };
    let (a, b) = (vector(a), vector(b));
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Found over true defocus.
pub(super) fn defocus_figure(pairs: &[CtfPair]) -> Option<Figure> {
    const ANGSTROM_PER_UM: f64 = 1e4;
    let mean = |ctf: &CtfParams| 0.5 * (ctf.defocus_u_a + ctf.defocus_v_a) / ANGSTROM_PER_UM;
    let (truth, found): (Vec<f64>, Vec<f64>) = pairs.iter().map(|[t, f]| (mean(t), mean(f))).unzip();
    let low = truth.iter().copied().fold(f64::INFINITY, f64::min);
    let high = truth.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (!pairs.is_empty()).then(|| Figure::Plot {
        id: "defocus".into(),
        title: "Defocus of each micrograph, found over true".into(),
        x: Axis::new("true defocus", "µm"),
        y: Axis::new("found", "µm"),
        series: vec![
            Series::line("equal", vec![low, high], [low, high]),
            Series::points("micrographs", truth, found),
        ],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    })
}
