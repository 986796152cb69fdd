//! What `estimate-ctf` shows: medians, distributions, and spectra with their fits.

use super::curve::{Curve, THRESHOLD};
use super::rings::Cells;
use super::run::Estimate;
use crate::thumbnail;
use serde_json::json;
use std::f64::consts::PI;
use vitreous_compute::spectrum_cells::SECTORS;
use vitreous_jobs::estimate_ctf::EstimateCtf;
use vitreous_model::ctf::DefocusSurface;
use vitreous_model::exposure::{CtfFit, Exposure};
use vitreous_model::report::{Axis, Figure, Mark, Raster, Report, Series, SeriesStyle, Skipped};

/// Spectra are shown to a little beyond the fit: this factor on max_resolution.
const SHOWN_BEYOND: f64 = 0.85;
/// Black and white of the picture of a spectrum, in amplitudes of the rings.
const SHOWN_RANGE: f32 = 2.2;
/// The picture of a spectrum is averaged over so many sectors of 3° on either side.
const ARC_SECTORS: usize = 2;
/// Longer edge of the picture of a defocus that is not the same everywhere.
const SURFACE_PIXELS: f64 = 160.0;
/// Bars of a histogram, at most about.
const BARS: f64 = 24.0;
/// Exposures whose ring of ice stands out by more than this fraction are named.
const MUCH_ICE: f64 = 0.3;
/// Exposures with a worse score than this part of the median are named.
const POOR_SCORE: f64 = 0.4;

/// Indices of the exposures whose spectra are shown: the first, then those with the worst fit resolution.
pub(super) fn choose(exposures: &[Exposure], most: usize) -> Vec<usize> {
    let resolution =
        |index: &usize| exposures[*index].ctf.as_ref().map_or(f64::INFINITY, |fit| fit.fit_resolution_a);
    let mut rest: Vec<usize> = (1..exposures.len()).collect();
    rest.sort_by(|a, b| resolution(b).total_cmp(&resolution(a)));
    (0..exposures.len().min(1)).chain(rest).take(most).collect()
}

/// The report of all exposures, with figures of those in `shown`.
pub(super) fn make(
    exposures: &[Exposure],
    shown: &[(&str, Estimate)],
    params: &EstimateCtf,
    skipped: Vec<Skipped>,
) -> Report {
    let fits: Vec<(&str, &CtfFit)> =
        exposures.iter().filter_map(|e| Some((e.name.as_str(), e.ctf.as_ref()?))).collect();
    let mut report = Report::new(match fits.len() {
        1 => "CTF of 1 micrograph".into(),
        n => format!("CTF of {n} micrographs"),
    });
    let median = |value: &dyn Fn(&CtfFit) -> f64| median(fits.iter().map(|(_, fit)| value(fit)).collect());
    report.number(
        "fit_resolution_median_A",
        "Median fit resolution",
        median(&|fit| fit.fit_resolution_a),
        "Å",
    );
    report.number("defocus_median_A", "Median defocus", median(&mean_defocus), "Å");
    report.number("astigmatism_median_A", "Median astigmatism", median(&astigmatism), "Å");
    report.number("score_median", "Median correlation with the fit", median(&|fit| fit.score), "");
    let tilted = fits.iter().filter(|(_, fit)| fit.surface != DefocusSurface::default()).count();
    report.number("tilted", "With a tilt or curvature", tilted as f64, "");
    if params.phase_shift {
        report.number(
            "phase_shift_median_deg",
            "Median phase shift",
            median(&|fit| fit.ctf.phase_shift.0),
            "°",
        );
    }
    report.number("exposures", "Micrographs", fits.len() as f64, "");
    report.number("skipped", "Skipped", skipped.len() as f64, "");
    report.notes = notes(&fits, params);
    for (index, (name, estimate)) in shown.iter().enumerate() {
        report.figures.push(spectrum_figure(index, name, estimate, params));
        report.figures.push(curve_figure(index, name, &estimate.curve, params));
        report.figures.extend(surface_figure(index, name, estimate));
    }
    if fits.len() > 1 {
        report.figures.extend(distributions(&fits));
    }
    let records: Vec<_> = fits.iter().map(|(name, fit)| record(name, fit)).collect();
    report.data.insert("exposures".into(), records.into());
    report.skipped = skipped;
    report
}

fn mean_defocus(fit: &CtfFit) -> f64 {
    0.5 * (fit.ctf.defocus_u_a + fit.ctf.defocus_v_a)
}

fn astigmatism(fit: &CtfFit) -> f64 {
    fit.ctf.defocus_u_a - fit.ctf.defocus_v_a
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

fn record(name: &str, fit: &CtfFit) -> serde_json::Value {
    json!({
        "name": name,
        "defocus_u_A": fit.ctf.defocus_u_a,
        "defocus_v_A": fit.ctf.defocus_v_a,
        "astigmatism_angle_deg": fit.ctf.astigmatism_angle.0,
        "phase_shift_deg": fit.ctf.phase_shift.0,
        "fit_resolution_A": fit.fit_resolution_a,
        "score": fit.score,
        "defocus_error_A": fit.defocus_error_a,
        "tilt_deg": fit.surface.tilt().0,
        "tilt_axis_deg": fit.surface.tilt_axis().0,
        "ice_ring": fit.ice_ring,
        "drift_A": fit.drift_a,
    })
}

/// Warnings: fits at the end of the search range, and scores far under the others'.
fn notes(fits: &[(&str, &CtfFit)], params: &EstimateCtf) -> Vec<String> {
    let mut notes = Vec::new();
    let reach = 0.01 * (params.max_defocus - params.min_defocus);
    let at_end = |fit: &CtfFit| {
        let mean = mean_defocus(fit);
        mean - params.min_defocus < reach || params.max_defocus - mean < reach
    };
    let list = |names: Vec<&str>| match names.len() {
        0..=5 => names.join(", "),
        n => format!("{} and {} more", names[..5].join(", "), n - 5),
    };
    let ended: Vec<&str> = fits.iter().filter(|(_, fit)| at_end(fit)).map(|(name, _)| *name).collect();
    if !ended.is_empty() {
        notes.push(format!(
            "The defocus lies at the end of the range searched ({} to {} Å): {}. Widen min_defocus and max_defocus.",
            params.min_defocus,
            params.max_defocus,
            list(ended)
        ));
    }
    let icy = fits.iter().filter(|(_, fit)| fit.ice_ring.is_some_and(|ice| ice > MUCH_ICE));
    let icy: Vec<&str> = icy.map(|(name, _)| *name).collect();
    if !icy.is_empty() {
        notes.push(format!(
            "A ring of ice stands out near 3.7 Å: {}. See max_ice of curate-exposures.",
            list(icy)
        ));
    }
    let drifted = fits.iter().filter(|(_, fit)| fit.drift_a.is_some_and(|drift_a| drift_a > 0.0));
    let drifted: Vec<&str> = drifted.map(|(name, _)| *name).collect();
    if !drifted.is_empty() {
        notes.push(format!(
            "Rings are weaker along one direction, as drift that was not corrected makes them: {}. See max_drift of \
             curate-exposures.",
            list(drifted)
        ));
    }
    let usual = median(fits.iter().map(|(_, fit)| fit.score).collect());
    let poor: Vec<&str> =
        fits.iter().filter(|(_, fit)| fit.score < POOR_SCORE * usual).map(|(n, _)| *n).collect();
    if !poor.is_empty() {
        notes.push(format!("The fit is far poorer than the others': {}.", list(poor)));
    }
    notes
}

/// Left half: the spectrum over its background, averaged over short arcs so that rings show; right half: the fitted CTF².
/// Both with equal contrast.
fn spectrum_figure(index: usize, name: &str, estimate: &Estimate, params: &EstimateCtf) -> Figure {
    let Estimate { cells, fitted, curve, .. } = estimate;
    let edge_a = cells.edge_a;
    let most = cells.rings as isize - 2;
    let radius = ((edge_a / (SHOWN_BEYOND * params.max_resolution)).round() as isize).min(most);
    let width = (2 * radius + 1) as usize;
    let first = cells.ring_of(params.min_resolution);
    let floor = (0.125 * curve.amplitude.iter().copied().fold(0.0, f64::max)).max(f64::MIN_POSITIVE);
    let arcs = arc_means(cells);
    let measured = |qx: isize, qy: isize| {
        let (x, y) = (qx as f64, qy as f64);
        let ring = (x.hypot(y).round() as usize).min(cells.rings - 1);
        if ring < first {
            return 0.0;
        }
        arcs_at(&arcs, x.hypot(y), y.atan2(x)) / curve.amplitude[ring].max(floor)
    };
    let model = |qx: isize, qy: isize| {
        let (x, y) = (qx as f64, qy as f64);
        2.0 * fitted.ctf.value(x.hypot(y) / edge_a, y.atan2(x)).powi(2) - 1.0
    };
    let values: Vec<f32> = (-radius..=radius)
        .flat_map(|qy| (-radius..=radius).map(move |qx| (qx, qy)))
        .map(|(qx, qy)| if qx < 0 { measured(qx, qy) } else { model(qx, qy) } as f32)
        .collect();
    let centre = radius as f64 + 0.5;
    let holds = edge_a / curve.fit_resolution_a;
    let mut marks = vec![Mark::Text { x: 6.0, y: 6.0, text: "measured".into() }];
    marks.push(Mark::Text { x: centre + 0.62 * radius as f64, y: 6.0, text: "fitted".into() });
    if holds < 1.3 * radius as f64 {
        marks.push(Mark::Circle { x: centre, y: centre, radius: holds });
        let text = format!("{:.1} Å", curve.fit_resolution_a);
        marks.push(Mark::Text { x: centre + 4.0, y: (centre + holds + 4.0).min(2.0 * centre - 18.0), text });
    }
    Figure::Image {
        id: format!("spectrum_{index}"),
        title: format!("Power spectrum and fit: {name}"),
        raster: Raster::from_values(&values, width, -SHOWN_RANGE, SHOWN_RANGE),
        marks,
        pixel_size_a: None,
    }
}

/// Defocus over a micrograph that is not flat, the lowest black.
fn surface_figure(index: usize, name: &str, estimate: &Estimate) -> Option<Figure> {
    let (surface, slope_error) = estimate.surface?;
    let [width_a, height_a] = estimate.size_a;
    let step_a = width_a.max(height_a) / SURFACE_PIXELS;
    let [width, height] = [width_a, height_a].map(|edge_a| (edge_a / step_a).round().max(1.0) as usize);
    let at = |i: usize, n: usize| (i as f64 - 0.5 * (n as f64 - 1.0)) * step_a;
    let values: Vec<f32> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| surface.offset_a(at(x, width), at(y, height)) as f32)
        .collect();
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    let mean = 0.5 * (estimate.fitted.ctf.defocus_u_a + estimate.fitted.ctf.defocus_v_a);
    Some(Figure::Image {
        id: format!("surface_{index}"),
        title: format!(
            "Defocus over {name}, {:.0} (black) to {:.0} Å: tilt {:.1} ± {:.1}° about an axis at {:.0}°",
            mean + f64::from(low),
            mean + f64::from(high),
            surface.tilt().0,
            slope_error.atan().to_degrees(),
            surface.tilt_axis().0
        ),
        raster: Raster::from_values(&values, width, low, high),
        marks: vec![],
        pixel_size_a: Some(step_a),
    })
}

/// The same as a small picture of its own.
pub(super) fn small_spectrum(name: &str, estimate: &Estimate, params: &EstimateCtf) -> Figure {
    thumbnail::shrunk(spectrum_figure(0, name, estimate, params))
}

/// Contrast by ring and sector, averaged over [`ARC_SECTORS`] on either side.
fn arc_means(cells: &Cells) -> Vec<f64> {
    let mean = |ring: usize, sector: usize| {
        let around = (0..=2 * ARC_SECTORS).map(|i| (sector + SECTORS + i - ARC_SECTORS) % SECTORS);
        let (mut sum, mut weight) = (0.0, 0.0);
        for cell in around.map(|sector| ring * SECTORS + sector) {
            sum += cells.weight[cell] * cells.contrast[cell];
            weight += cells.weight[cell];
        }
        if weight > 0.0 { sum / weight } else { 0.0 }
    };
    (0..cells.rings)
        .flat_map(|ring| (0..SECTORS).map(move |sector| (ring, sector)))
        .map(|(r, s)| mean(r, s))
        .collect()
}

/// Values of rings × sectors at a place between them (bilinear; sectors go round after half a turn). `radius` must be at
/// least one ring under the last.
fn arcs_at(arcs: &[f64], radius: f64, azimuth: f64) -> f64 {
    let across = azimuth.rem_euclid(PI) / PI * SECTORS as f64 + SECTORS as f64 - 0.5;
    let (ring, sector) = (radius.floor(), across.floor());
    let (along, turn) = (radius - ring, across - sector);
    let at = |r: usize, s: usize| arcs.get(r * SECTORS + s % SECTORS).copied().unwrap_or(0.0);
    let on_ring = |r: usize| at(r, sector as usize) * (1.0 - turn) + at(r, sector as usize + 1) * turn;
    on_ring(ring as usize) * (1.0 - along) + on_ring(ring as usize + 1) * along
}

fn curve_figure(index: usize, name: &str, curve: &Curve, params: &EstimateCtf) -> Figure {
    let highest = 1.0 / (SHOWN_BEYOND * params.max_resolution);
    let shown: Vec<usize> = (0..curve.frequency.len())
        .filter(|&i| curve.correlation[i].is_finite() && curve.frequency[i] <= highest)
        .collect();
    let x: Vec<f64> = shown.iter().map(|&i| curve.frequency[i]).collect();
    let of = |values: &[f64]| shown.iter().map(|&i| values[i]).collect::<Vec<f64>>();
    let mut y = Axis::new("CTF², correlation", "");
    y.range = Some([-0.5, 1.5]);
    Figure::Plot {
        id: format!("curve_{index}"),
        title: format!("Average along lines of equal phase, fit to {:.2} Å: {name}", curve.fit_resolution_a),
        x: Axis::new("Resolution", "1/Å"),
        y,
        series: vec![
            Series::line("Spectrum", x.clone(), of(&curve.scaled())),
            Series::line("Fitted CTF²", x.clone(), of(&curve.model)),
            Series::line("Correlation", x, of(&curve.correlation)),
        ],
        levels: vec![THRESHOLD],
        x_is_resolution: true,
        equal_axes: false,
    }
}

fn distributions(fits: &[(&str, &CtfFit)]) -> [Figure; 3] {
    let all = |value: fn(&CtfFit) -> f64| fits.iter().map(|(_, fit)| value(fit)).collect::<Vec<f64>>();
    let defocus = all(mean_defocus);
    let index: Vec<f64> = (1..=fits.len()).map(|i| i as f64).collect();
    let plot = |id: &str, title: &str, x: Axis, y: Axis, series: Series| Figure::Plot {
        id: id.into(),
        title: title.into(),
        x,
        y,
        series: vec![series],
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    };
    let resolution = all(|fit| fit.fit_resolution_a);
    [
        plot(
            "defocus",
            "Defocus of the micrographs",
            Axis::new("Mean defocus", "Å"),
            Axis::new("Micrographs", ""),
            histogram(&defocus),
        ),
        plot(
            "fit_resolution",
            "Fit resolution in order of acquisition",
            Axis::new("Micrograph", ""),
            Axis::new("Fit resolution", "Å"),
            Series::points("", index, resolution),
        ),
        plot(
            "astigmatism",
            "Astigmatism against defocus",
            Axis::new("Mean defocus", "Å"),
            Axis::new("Astigmatism", "Å"),
            Series::points("", defocus, all(astigmatism)),
        ),
    ]
}

/// Counts in bars of a round width.
fn histogram(values: &[f64]) -> Series {
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let wanted = ((high - low) / BARS).max(50.0);
    let decade = 10f64.powf(wanted.log10().floor());
    let width =
        [1.0, 2.0, 5.0, 10.0].map(|f| f * decade).into_iter().find(|w| *w >= wanted).unwrap_or(wanted);
    let first = (low / width).floor();
    let mut counts = vec![0.0; ((high / width).floor() - first) as usize + 1];
    let last = counts.len() - 1;
    values.iter().for_each(|v| counts[(((v / width).floor() - first) as usize).min(last)] += 1.0);
    let centres = (0..counts.len()).map(|i| (first + i as f64 + 0.5) * width).collect();
    Series { style: SeriesStyle::Bars, ..Series::line("", centres, counts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_every_value_in_round_bars() {
        let series = histogram(&[10_000.0, 10_050.0, 12_000.0, 19_999.0]);
        assert_eq!(series.y.iter().flatten().sum::<f64>(), 4.0);
        assert_eq!(series.x[0], 10_250.0);
        assert_eq!(series.y[0], Some(2.0));
        assert_eq!(histogram(&[5000.0]).y, [Some(1.0)]);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
