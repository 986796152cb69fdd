//! Tracks, weights and what they are worth.

use super::motion::Moved;
use super::reference::Reference;
use super::run::LeftOut;
use super::track_file;
use super::weights::{FrameWeights, Shown};
use crate::{Ctx, StageError};
use serde_json::json;
use std::collections::BTreeMap;
use vitreous_model::conventions::resolution_at;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// Movies whose tracks are drawn, by how much they are enlarged, and particles drawn of each.
const SHOWN: usize = 3;
const ENLARGED: f64 = 50.0;
const SHOWN_PARTICLES: usize = 200;
/// Frequencies at which weights are drawn, Å.
const WEIGHTS_AT_A: [f64; 3] = [12.0, 6.0, 3.5];
/// FSC at the resolution.
const THRESHOLD: f64 = 0.143;

/// What is told of a movie.
pub(super) struct Movie<'a> {
    pub name: &'a str,
    pub kind: String,
    pub moved: &'a Moved,
    pub weights: &'a FrameWeights,
    pub images: usize,
    pub at_border: usize,
    pub flat: usize,
    /// Places of all its particles on the micrograph, Å.
    pub places_a: Vec<[f64; 2]>,
}

/// The report of rank 0.
///
/// # Errors
/// Tracks that were just written cannot be read.
pub(super) fn make(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    reference: &Reference,
    movies: &[Movie<'_>],
    left_out: LeftOut,
) -> Result<Report, StageError> {
    let mut report = Report::new("Polished particles");
    let sum = |of: fn(&Movie<'_>) -> usize| movies.iter().map(of).sum::<usize>() as f64;
    report.number("particles", "Particles", set.particles.len() as f64, "");
    report.number("movies", "Movies", movies.len() as f64, "");
    let followed = sum(|m| usize::from(m.moved.followed));
    report.number("followed", "Movies whose particles were followed", followed, "");
    report.number("at_border", "Too close to the border", sum(|m| m.at_border), "");
    report.number("flat", "On regions without structure", sum(|m| m.flat), "");
    report.number("unrefined", "Without pose or half-set", left_out.unrefined as f64, "");
    report.number("elsewhere", "On micrographs that were not given", left_out.elsewhere as f64, "");
    report.number("box_px", "Box", f64::from(set.box_px), "px");
    report.number("pixel_size_A", "Pixel size", set.pixel_size_a, "Å");
    report.number("detail_A", "Finest detail that motion was measured with", reference.detail_a(), "Å");
    let squares: f64 = movies.iter().map(|m| m.moved.deviation_a.powi(2) * m.moved.particles as f64).sum();
    let deviation_a = (squares / sum(|m| m.moved.particles).max(1.0)).sqrt();
    report.number("deviation_A", "Distance of tracks from the known motion", deviation_a, "Å");
    let kinds = kinds(movies);
    for (i, (kind, (shown, weights, frames))) in kinds.iter().enumerate() {
        add_kind(&mut report, reference, i, (kind, shown, weights, *frames));
    }
    if movies.len() as f64 > followed {
        report.notes.push(format!(
            "Particles of {} movies stood out too little to be followed: their images were summed along the known motion.",
            movies.len() as f64 - followed
        ));
    }
    for movie in movies.iter().filter(|m| m.moved.followed).take(SHOWN) {
        report.figures.push(tracks(ctx, movie)?);
    }
    let rows = movies.iter().map(|m| {
        json!({"name": m.name, "particles": m.images, "at_border": m.at_border, "flat": m.flat,
            "followed": m.moved.followed, "significance": m.moved.significance, "deviation_A": m.moved.deviation_a,
            "weights": m.kind})
    });
    report.data.insert("movies".into(), rows.collect());
    report.skipped = ctx.skipped();
    Ok(report)
}

/// By kind of movie: what all show, their weights and the most frames of any.
fn kinds<'m>(movies: &'m [Movie<'_>]) -> BTreeMap<&'m str, (Shown, &'m FrameWeights, usize)> {
    let mut kinds: BTreeMap<&str, (Shown, &FrameWeights, usize)> = BTreeMap::new();
    for movie in movies {
        let kind = kinds.entry(&movie.kind).or_insert((Shown::default(), movie.weights, 0));
        if movie.moved.followed {
            kind.0.add(&movie.moved.shown);
        }
        kind.2 = kind.2.max(movie.moved.frames);
    }
    kinds
}

fn add_kind(
    report: &mut Report,
    reference: &Reference,
    number: usize,
    (kind, shown, weights, frames): (&str, &Shown, &FrameWeights, usize),
) {
    let (n, pixel_a, edge_a) = (reference.n, reference.pixel_a, reference.edge_a());
    let key = |name: &str| if number == 0 { name.to_string() } else { format!("{name}_{}", number + 1) };
    let known = weights.uncertainty.map_or_else(
        || "from the data nothing is known of them".to_string(),
        |sd| {
            format!("from the data the log of a frame's weight in the middle of the band is known to {sd:.2}")
        },
    );
    report.notes.push(match weights.source() {
        "data" => format!("Weights of movies of {kind} were estimated from the data; {known}."),
        "none" => {
            format!("Frames of movies of {kind} have equal weights, as their dose is not known; {known}.")
        }
        source => format!("Weights of movies of {kind} follow the {source}; {known}."),
    });
    let gain = gain(shown, weights, frames, edge_a);
    let expected: Vec<f64> = reference
        .fsc
        .iter()
        .zip(gain.iter().chain(std::iter::repeat(&gain.last().copied().unwrap_or(1.0))))
        .map(|(fsc, gain)| {
            let ratio = fsc.clamp(0.0, 0.9999) / (1.0 - fsc.clamp(0.0, 0.9999)) * gain;
            ratio / (1.0 + ratio)
        })
        .collect();
    let [before, after] = [&reference.fsc, &expected].map(|fsc| resolution_at(fsc, THRESHOLD, n, pixel_a).0);
    report.number(&key("resolution_before_A"), "Resolution of the map given", before, "Å");
    report.number(&key("resolution_expected_A"), "Resolution expected after reconstruction", after, "Å");
    report.figures.extend(figures(&key, reference, &gain, (kind, weights, frames)));
    let rows: Vec<_> = (0..frames)
        .map(|f| json!({"frame": f + 1, "log_scale_bfactor_A2": weights.fitted.get(f), "dose": weights.doses.get(f)}))
        .collect();
    report
        .data
        .insert(key("frame_weights"), json!({"kind": kind, "source": weights.source(), "frames": rows}));
}

/// The gain by frequency, and B-factors and weights by frame.
fn figures(
    key: &dyn Fn(&str) -> String,
    reference: &Reference,
    gain: &[f64],
    (kind, weights, frames): (&str, &FrameWeights, usize),
) -> Vec<Figure> {
    let frequency: Vec<f64> = (0..gain.len()).map(|s| s as f64 / reference.edge_a()).collect();
    let plot = |id: &str, title: String, x: Axis, y: Axis, series: Vec<Series>| Figure::Plot {
        id: key(id),
        title,
        x_is_resolution: id == "signal",
        x,
        y,
        series,
        levels: Vec::new(),
        equal_axes: false,
    };
    let mut figures = vec![plot(
        "signal",
        format!(
            "Signal-to-noise ratio of the images over that along the known motion with the curve's weights; {kind}"
        ),
        Axis::new("spatial frequency", "1/Å"),
        Axis::new("ratio", ""),
        vec![Series::line("measured", frequency, gain.iter().copied())],
    )];
    let frame: Vec<f64> = (1..=frames).map(|f| f as f64).collect();
    if !weights.fitted.is_empty() {
        let b = weights.fitted.iter().map(|p| p[1]);
        figures.push(plot(
            "b_factors",
            format!("B-factor by frame, from the mean; {kind}"),
            Axis::new("frame", ""),
            Axis::new("B-factor", "Å²"),
            vec![Series::line("B-factor", frame.clone(), b)],
        ));
    }
    let mut series = Vec::new();
    for detail_a in WEIGHTS_AT_A.into_iter().filter(|a| *a >= 2.0 * reference.pixel_a) {
        let line = |label: String, weights: Vec<f64>| Series::line(&label, frame.clone(), weights);
        series.push(line(format!("{detail_a} Å"), weights.at(frames, 1.0 / detail_a)));
        series.push(line(format!("{detail_a} Å, curve"), weights.of_curve(frames, 1.0 / detail_a)));
    }
    figures.push(plot(
        "weights",
        format!("Weights by frame; {kind}"),
        Axis::new("frame", ""),
        Axis::new("weight", ""),
        series,
    ));
    figures
}

/// By shell: the signal-to-noise ratio with the tracks and weights found over that with the known motion and the curve's
/// weights; over three shells, since single ones are noisy. 1 where there is no signal.
fn gain(shown: &Shown, weights: &FrameWeights, frames: usize, edge_a: f64) -> Vec<f64> {
    let shells = shown.expected.len();
    let sum = |found: &[Vec<f64>], of: &dyn Fn(usize, f64) -> Vec<f64>, s: usize| {
        let w = of(frames, s as f64 / edge_a);
        found.iter().zip(w).map(|(found, w)| w * found.get(s).copied().unwrap_or(0.0)).sum::<f64>()
    };
    let one = |s: usize| {
        let near = s.saturating_sub(1)..(s + 2).min(shells);
        let after: f64 = near.clone().map(|s| sum(&shown.found, &|n, k| weights.at(n, k), s)).sum();
        let before: f64 = near.map(|s| sum(&shown.found_before, &|n, k| weights.of_curve(n, k), s)).sum();
        if after > 0.0 && before > 0.0 { (after / before).powi(2) } else { 1.0 }
    };
    (0..shells).map(one).collect()
}

/// Tracks of a movie at their places, enlarged.
fn tracks(ctx: &Ctx<'_>, movie: &Movie<'_>) -> Result<Figure, StageError> {
    let path = ctx.job_dir.join(track_file::name(movie.name));
    let tracks = track_file::read(&path, movie.moved.particles, movie.moved.frames)?;
    let series = tracks.iter().zip(&movie.places_a).take(SHOWN_PARTICLES).map(|(track, place)| {
        let along = |axis: usize| -> Vec<f64> {
            track.iter().map(|at| place[axis] + ENLARGED * (at[axis] - track[0][axis])).collect()
        };
        Series::line("", along(0), along(1))
    });
    Ok(Figure::Plot {
        id: format!("tracks-{}", movie.name),
        title: format!("Tracks of particles of {}, enlarged {ENLARGED} times", movie.name),
        x: Axis::new("x", "Å"),
        y: Axis::new("y", "Å"),
        series: series.collect(),
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: true,
    })
}
