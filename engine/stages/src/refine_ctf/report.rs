//! Offsets of defocus, phases of optics groups, and what was gained.

use super::lattice::Lattice;
use super::phases::{Fitted, Sums, coma_at, odd_basis};
use super::reference::Reference;
use super::run::Refined;
use crate::distribution::{Bins, median};
use serde_json::{Value, json};
use vitreous_jobs::refine_ctf::RefineCtf;
use vitreous_model::report::{Axis, Figure, Raster, Report, Series};

/// Optics groups whose phases are shown.
const SHOWN: usize = 3;
/// Narrowest bars of the histogram of offsets, Å.
const LEAST_BAR_A: f64 = 10.0;
/// Pixels between two pictures side by side.
const GAP: usize = 4;

/// The report.
pub fn report(params: &RefineCtf, reference: &Reference, lattice: &Lattice, found: &Refined<'_>) -> Report {
    let mut report = Report::new("CTF refinement");
    report.number("particles", "Particles", found.usable.len() as f64, "");
    report.number("optics_groups", "Optics groups", found.grouping.group_places.len() as f64, "");
    report.number("finest_resolution_A", "Finest resolution compared", reference.finest_a, "Å");
    let [before, after] = found.correlation.each_ref().map(|curve| mean_of(curve));
    report.number("correlation_before", "Mean correlation of images and map before", before, "");
    report.number("correlation_after", "The same after", after, "");
    if params.rounds > 1 {
        let gain = found.log_likelihood[1] - found.log_likelihood[0];
        let label = "Gain of log-likelihood a particle before the last round";
        report.number("gain_nat", label, gain / found.usable.len() as f64, "nat");
        if gain < 0.0 {
            let note = "The particles are less likely after the rounds before the last than they were: what was found does not \
                        hold. Fit fewer things at once, or check poses and map.";
            report.notes.push(note.into());
        }
    }
    if params.defocus {
        add_defocus(&mut report, found);
    }
    if let Some(&place) = found.grouping.group_places.get(largest_group(found)) {
        let own = &found.after.optics[place].aberrations;
        if params.beam_tilt {
            report.number(
                "beam_tilt_x_mrad",
                "Beam tilt along x, largest group",
                own.beam_tilt_mrad[0],
                "mrad",
            );
            report.number(
                "beam_tilt_y_mrad",
                "Beam tilt along y, largest group",
                own.beam_tilt_mrad[1],
                "mrad",
            );
            report.number("trefoil_x_rad_A3", "Trefoil x³ - 3xy², largest group", own.odd[5], "rad Å³");
            report.number("trefoil_y_rad_A3", "Trefoil 3x²y - y³, largest group", own.odd[2], "rad Å³");
        }
        if params.magnification {
            let percent = 100.0 * own.anisotropy();
            report.number("anisotropy_percent", "Anisotropy of magnification, largest group", percent, "%");
        }
    }
    if !reference.has_halves() {
        let note = "All particles were compared with one map: where it holds their own noise, they look more like it than \
                    they are. Give half maps, and particles with half-sets.";
        report.notes.push(note.into());
    }
    report.figures.push(correlation_figure(lattice, &found.correlation));
    report.figures.extend(phase_figures(lattice, found));
    report.data.insert("groups".into(), groups(lattice, found));
    report
}

fn mean_of(curve: &[f64]) -> f64 {
    let finite: Vec<f64> = curve.iter().copied().filter(|v| v.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len().max(1) as f64
}

fn add_defocus(report: &mut Report, found: &Refined<'_>) {
    let count = found.offsets_a.len().max(1) as f64;
    let mean = found.offsets_a.iter().sum::<f64>() / count;
    let sd = (found.offsets_a.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    let errors = found.last.0.said.iter().flatten().map(|said| said.offset.error_a).collect();
    report.number("defocus_offset_mean_A", "Mean offset of defocus", mean, "Å");
    report.number("defocus_offset_sd_A", "Standard deviation of offsets", sd, "Å");
    report.number("defocus_error_A", "Median standard error of a defocus", median(errors), "Å");
    let bins = Bins::over(found.offsets_a.iter().copied(), LEAST_BAR_A);
    report.figures.push(Figure::Plot {
        id: "defocus_offsets".into(),
        title: "Particles by the offset of their defocus from the given one".into(),
        x: Axis::new("offset of defocus", "Å"),
        y: Axis::new("particles", ""),
        series: bins
            .map(|bins| bins.counts("particles", found.offsets_a.iter().copied()))
            .into_iter()
            .collect(),
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    });
}

fn correlation_figure(lattice: &Lattice, [before, after]: &[Vec<f64>; 2]) -> Figure {
    let frequency = |shell: usize| shell as f64 / (lattice.n as f64 * lattice.pixel_a);
    let curve = |label: &str, values: &[f64]| {
        let shown: Vec<usize> = (0..values.len()).filter(|&shell| values[shell].is_finite()).collect();
        let x = shown.iter().map(|&shell| frequency(shell)).collect();
        Series::line(label, x, shown.iter().map(|&shell| values[shell]))
    };
    Figure::Plot {
        id: "correlation".into(),
        title: "Correlation of images with slices of the map".into(),
        x: Axis::new("resolution", "Å"),
        y: Axis::new("correlation", ""),
        series: vec![curve("before", before), curve("after", after)],
        levels: Vec::new(),
        x_is_resolution: true,
        equal_axes: false,
    }
}

fn sizes(found: &Refined<'_>) -> Vec<usize> {
    let mut sizes = vec![0; found.grouping.group_places.len()];
    found.grouping.groups.iter().for_each(|&group| sizes[group] += 1);
    sizes
}

fn largest_group(found: &Refined<'_>) -> usize {
    let sizes = sizes(found);
    (0..sizes.len()).max_by_key(|&group| (sizes[group], std::cmp::Reverse(group))).unwrap_or(0)
}

/// Measured odd phases of the largest groups in the first round beside the fit.
fn phase_figures(lattice: &Lattice, found: &Refined<'_>) -> Vec<Figure> {
    let sizes = sizes(found);
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&group| std::cmp::Reverse(sizes[group]));
    let figure = |group: usize| {
        let (outcome, fits) = found.first;
        let (sums, fitted) = (outcome.odd.get(group)?, fits.get(group)?.odd.as_ref()?);
        let name = &found.before.optics[found.grouping.group_places[group]].name;
        Some(Figure::Image {
            id: format!("odd_phase_{}", group + 1),
            title: format!("Odd phase of {name} before: measured, fitted; black -π/2, white π/2"),
            raster: phase_picture(lattice, sums, fitted),
            marks: Vec::new(),
            pixel_size_a: None,
        })
    };
    order.into_iter().take(SHOWN).filter_map(figure).collect()
}

fn phase_picture(lattice: &Lattice, sums: &Sums, fitted: &Fitted) -> Raster {
    let reach = lattice.rmax.ceil() as i32;
    let edge = (2 * reach + 1) as usize;
    let width = 2 * edge + GAP;
    let mut sheet = vec![f32::NAN; width * edge];
    for (index, point) in lattice.points.iter().enumerate() {
        let [x, y] = point.q;
        let [nx, ny] = point.q.map(|q| f64::from(q) / lattice.rmax);
        let model: f64 = odd_basis(nx, ny).iter().zip(&fitted.coefficients).map(|(b, c)| b * c).sum();
        let (re, im, weight) = (sums.get(index, 0), sums.get(index, 1), sums.get(index, 2));
        // where noise outweighs the sum its phase means nothing
        let trust = (re * re + im * im) / (re * re + im * im + weight);
        let measured = -im.atan2(re) * trust;
        let wrapped = model.sin().atan2(model.cos());
        for (panel, phase) in [measured, wrapped].into_iter().enumerate() {
            for sign in [1.0f32, -1.0] {
                let column = (sign * x) as i32 + reach;
                let row = (sign * y) as i32 + reach;
                let at = row as usize * width + panel * (edge + GAP) + column as usize;
                sheet[at] = sign * phase as f32;
            }
        }
    }
    let quarter = std::f32::consts::FRAC_PI_2;
    Raster::from_values(&sheet, width, -quarter, quarter)
}

/// All groups: aberrations now, and errors and gains of the last round.
fn groups(lattice: &Lattice, found: &Refined<'_>) -> Value {
    let sizes = sizes(found);
    let (outcome, fits) = found.last;
    let of_group = |(index, &place): (usize, &usize)| {
        let group = &found.after.optics[place];
        let own = &group.aberrations;
        let fit = &fits[index];
        let coma = coma_at(lattice.kmax(), group.voltage.wavelength_a(), group.cs);
        json!({
            "number": group.number,
            "name": group.name,
            "particles": sizes[index],
            "beam_tilt_mrad": own.beam_tilt_mrad,
            "beam_tilt_error_mrad": fit.odd.as_ref().filter(|_| coma > 0.0).map(|odd| [odd.errors[2] / coma, odd.errors[3] / coma]),
            "odd_zernike_rad": own.odd,
            "odd_gain_nat": fit.odd.as_ref().map(|odd| odd.gain),
            "even_zernike_rad": own.even.zernike,
            "even_gain_nat": fit.even.as_ref().map(|even| even.gain),
            "magnification": own.magnification,
            "anisotropy": own.anisotropy(),
            "anisotropy_error": fit.magnification.map(|(_, error)| error),
        })
    };
    debug_assert_eq!(outcome.said.len(), found.usable.len(), "every particle should have said something");
    found.grouping.group_places.iter().enumerate().map(of_group).collect()
}
