//! What the job reports.

use super::run::CONE_CELLS;
use serde_json::json;
use vitreous_compute::orientations::Sampling;
use vitreous_jobs::diagnose_orientations::DiagnoseOrientations;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// Resolution is read off where the FSC falls under this.
const THRESHOLD: f64 = 0.143;

/// Compensation factors under this come from views that are badly spread (that of views all around one axis is 0.81;
/// Baldwin & Lyumkis 2020).
const USUAL_FACTOR: f64 = 0.75;

/// Part of the directions that may stay unsampled before it is warned of.
const MOST_UNSAMPLED: f64 = 0.01;

/// Ratio of the smallest to the largest area under conical FSC curves from which on a map counts as even.
const EVEN_RATIO: f64 = 0.5;

/// The halves compared along directions.
pub struct Cones {
    /// FSC of all directions, by shell.
    pub whole: Vec<f64>,
    /// FSC per direction and shell; directions are the first half of the cells.
    pub curves: Vec<Vec<f64>>,
    /// Edge of the box, Å.
    pub edge_a: f64,
}

/// Of one FSC curve: the area under it until it falls under [`THRESHOLD`], and the last shell before.
fn area_and_shell(curve: &[f64]) -> (f64, usize) {
    let end = (1..curve.len()).find(|&shell| curve[shell] < THRESHOLD).unwrap_or(curve.len());
    (curve[1..end].iter().sum(), end - 1)
}

/// Numbers, notes and figures.
pub fn report(
    params: &DiagnoseOrientations,
    sampling: &Sampling,
    with_pose: usize,
    particles: usize,
    cones: Option<&Cones>,
) -> Report {
    let mut report = Report::new("Orientations");
    report.number("particles", "particles with a pose", with_pose as f64, "");
    report.number("scf", "sampling compensation factor", sampling.compensation_factor, "");
    report.number("unsampled_percent", "directions without a sample", 100.0 * sampling.unsampled, "%");
    if with_pose < particles {
        report.notes.push(format!("{} particles have no pose and were left out.", particles - with_pose));
    }
    if sampling.unsampled > MOST_UNSAMPLED {
        report.notes.push(format!(
            "No view samples {:.1} % of the directions of Fourier space: the map is stretched along them. Tilt the \
             stage, or change the grid or the buffer, to get the missing views.",
            100.0 * sampling.unsampled
        ));
    }
    if sampling.compensation_factor < USUAL_FACTOR {
        report.notes.push(format!(
            "Views are so uneven that the map is as noisy as one of {:.0} % of the particles evenly spread.",
            100.0 * sampling.compensation_factor
        ));
    }
    report.figures.push(Figure::Directions {
        id: "views".into(),
        title: "Viewing directions, equivalents included".into(),
        counts: sampling.views.clone(),
    });
    if let Some(cones) = cones {
        add_cones(&mut report, params, cones);
    }
    report
}

fn add_cones(report: &mut Report, params: &DiagnoseOrientations, cones: &Cones) {
    let judged: Vec<(f64, usize)> = cones.curves.iter().map(|curve| area_and_shell(curve)).collect();
    let areas = judged.iter().map(|(area, _)| *area);
    let (least, most) = (areas.clone().fold(f64::INFINITY, f64::min), areas.fold(0.0, f64::max));
    let ratio = if most > 0.0 { least / most } else { 0.0 };
    let resolution = |shell: usize| cones.edge_a / shell.max(1) as f64;
    let shells = || judged.iter().map(|(_, shell)| *shell);
    let (worst, best) = (shells().min().unwrap_or(0), shells().max().unwrap_or(0));
    report.number("cfar", "conical FSC area ratio", ratio, "");
    report.number("resolution_best_A", "best direction", resolution(best), "Å");
    report.number("resolution_worst_A", "worst direction", resolution(worst), "Å");
    report.number("resolution_fsc0143_A", "all directions", resolution(area_and_shell(&cones.whole).1), "Å");
    if ratio < EVEN_RATIO {
        report.notes.push(format!(
            "The halves agree much worse along some directions (area ratio {ratio:.2}, even maps have over \
             {EVEN_RATIO}): {:.1} Å at worst and {:.1} Å at best. Density is smeared along the worst directions.",
            resolution(worst),
            resolution(best)
        ));
    }
    let length = cones.whole.len();
    let x = || (0..length).map(|shell| shell as f64 / cones.edge_a).collect();
    let over = |of: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64| -> Vec<f64> {
        (0..length).map(|shell| of(&mut cones.curves.iter().map(|curve| curve[shell]))).collect()
    };
    let count = cones.curves.len() as f64;
    let series = vec![
        Series::line("all directions", x(), cones.whole.iter().copied()),
        Series::line("largest of the cones", x(), over(&|all| all.fold(f64::NEG_INFINITY, f64::max))),
        Series::line("mean of the cones", x(), over(&|all| all.sum::<f64>() / count)),
        Series::line("smallest of the cones", x(), over(&|all| all.fold(f64::INFINITY, f64::min))),
    ];
    report.figures.push(Figure::Plot {
        id: "conical-fsc".into(),
        title: format!("FSC within cones of {}° half-angle", params.cone_half_angle),
        x: Axis::new("resolution", "Å"),
        y: Axis { range: Some([-0.1, 1.02]), ..Axis::new("Fourier shell correlation", "") },
        series,
        levels: vec![THRESHOLD],
        x_is_resolution: true,
        equal_axes: false,
    });
    report.figures.push(Figure::Directions {
        id: "resolution-by-direction".into(),
        title: "Area under the FSC by direction of Fourier space (shells; the more, the better resolved)"
            .into(),
        counts: on_sphere(&judged),
    });
    let rows = judged.iter().map(|(area, shell)| json!({"area": area, "resolution_A": resolution(*shell)}));
    report.data.insert("cones".into(), rows.collect());
}

/// Areas of the directions and of their opposites, `[band][sector]`.
fn on_sphere(judged: &[(f64, usize)]) -> Vec<Vec<f64>> {
    let (bands, sectors) = CONE_CELLS;
    let area = |band: usize, sector: usize| {
        // the opposite of a cell is half a turn on, in the band mirrored at the equator
        let at = if band < bands / 2 {
            band * sectors + sector
        } else {
            (bands - 1 - band) * sectors + (sector + sectors / 2) % sectors
        };
        judged[at].0
    };
    (0..bands).map(|band| (0..sectors).map(|sector| area(band, sector)).collect()).collect()
}
