//! The parameters of the CTF that make a micrograph's mean spectrum most likely.

use super::Unfit;
use super::likelihood::{Datum, Likelihood, MOST_TERMS, Maximum, Terms};
use super::rings::Cells;
use super::search::{Search, Start, ctf_of, starts};
use std::ops::RangeInclusive;
use vitreous_compute::spectrum_cells::SECTORS;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::units::Degrees;

/// Fewer rings than this cannot carry a fit.
const LEAST_RINGS: usize = 16;
/// Number of the phase shift among the parameters, after mean defocus and the halves of astigmatism towards 0° and 45°.
const PHASE: usize = 3;

/// The best parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fitted {
    pub ctf: CtfParams,
    /// Correlation coefficient of contrast and CTF² over the cells in range, weighted by their pixels.
    pub score: f64,
    /// Standard errors of the mean defocus and of either component of the astigmatism, Å.
    pub defocus_error_a: f64,
    pub astigmatism_error_a: f64,
}

/// A fit with what further fits start from.
pub(super) struct Fit {
    pub fitted: Fitted,
    /// The rings used.
    pub rings: RangeInclusive<usize>,
    pub terms: Terms,
    pub likelihood: Likelihood,
    pub maximum: Maximum,
}

/// Fits defocus, astigmatism and, if asked for, the phase shift (in `[0°, 180°)`: a power spectrum knows no more).
///
/// # Errors
/// [`Unfit::FewRings`].
pub(super) fn fit(cells: &Cells, optics: &OpticsGroup, search: &Search) -> Result<Fit, Unfit> {
    let rings = rings_of(cells, search)?;
    let terms = terms_of(search);
    let mut likelihood = Likelihood::new(data_of(cells, &rings, optics), cells.edge_a);
    let refined = starts(cells, rings.clone(), optics, search)
        .into_iter()
        .map(|start| likelihood.maximise(&terms, &likelihood.flat(geometry_of(&start, &terms))));
    let range = search.min_defocus_a..=search.max_defocus_a;
    let inside = |maximum: &Maximum| range.contains(&maximum.state.geometry[0]);
    let best =
        refined.max_by(|a, b| inside(a).cmp(&inside(b)).then(a.log_posterior.total_cmp(&b.log_posterior)));
    let best = best.expect("the exhaustive search should give at least one start");
    likelihood.measure_dispersion(&terms, &best.state);
    let maximum = likelihood.maximise(&terms, &best.state);
    let ctf = ctf_at(&maximum.state.geometry, &terms, optics);
    let error = |i: usize| maximum.covariance[(i, i)].sqrt();
    let fitted = Fitted {
        ctf,
        score: score(cells, &rings, &ctf),
        defocus_error_a: error(0),
        astigmatism_error_a: 2.0 * (0.5 * (error(1).powi(2) + error(2).powi(2))).sqrt(),
    };
    Ok(Fit { fitted, rings, terms, likelihood, maximum })
}

fn rings_of(cells: &Cells, search: &Search) -> Result<RangeInclusive<usize>, Unfit> {
    let (first, last) =
        (cells.ring_of(search.min_resolution_a).max(1), cells.ring_of(search.max_resolution_a));
    let rings = (last + 1).saturating_sub(first);
    if rings < LEAST_RINGS {
        return Err(Unfit::FewRings {
            min_resolution_a: search.min_resolution_a,
            max_resolution_a: search.max_resolution_a,
            rings,
            least: LEAST_RINGS,
        });
    }
    Ok(first..=last)
}

/// Mean defocus, the halves of astigmatism towards 0° and 45°, and perhaps a phase shift.
fn terms_of(search: &Search) -> Terms {
    let mut prior = [0.0; MOST_TERMS];
    // half the difference of the defoci
    prior[1..3].fill((2.0 / search.expected_astigmatism_a).powi(2));
    let phase = search.phase_shift.then_some(PHASE);
    Terms { len: 3 + usize::from(search.phase_shift), phase, prior }
}

fn geometry_of(start: &Start, terms: &Terms) -> Vec<f64> {
    [start.mean_a, start.along_a, start.across_a, start.phase][..terms.len].to_vec()
}

/// Argument of the CTF without defocus at a squared frequency, and what 1 Å of defocus adds.
pub(super) fn phases(optics: &OpticsGroup, k2: f64) -> (f64, f64) {
    let base = ctf_of(optics, 0.0).phase(k2.sqrt(), 0.0);
    (base, ctf_of(optics, 1.0).phase(k2.sqrt(), 0.0) - base)
}

/// What mean defocus, astigmatism and a phase shift change at an azimuth.
pub(super) fn factors_at(azimuth: f64) -> [f64; MOST_TERMS] {
    let mut factors = [0.0; MOST_TERMS];
    let (sin, cos) = (2.0 * azimuth).sin_cos();
    factors[..=PHASE].copy_from_slice(&[1.0, cos, sin, 1.0]);
    factors
}

fn data_of(cells: &Cells, rings: &RangeInclusive<usize>, optics: &OpticsGroup) -> Vec<Datum> {
    let used = (rings.start() * SECTORS..(rings.end() + 1) * SECTORS).filter(|&i| cells.weight[i] > 0.0);
    used.map(|i| {
        let (base, slope) = phases(optics, cells.k2[i]);
        Datum {
            ring: i / SECTORS,
            k: cells.k2[i].sqrt(),
            base,
            slope,
            factors: factors_at(cells.azimuth[i]),
            power: 1.0 + cells.contrast[i],
            samples: cells.weight[i],
        }
    })
    .collect()
}

/// The CTF of the geometry's first parameters.
pub(super) fn ctf_at(geometry: &[f64], terms: &Terms, optics: &OpticsGroup) -> CtfParams {
    let half_a = geometry[1].hypot(geometry[2]);
    let phase = terms.phase.map_or(0.0, |i| geometry[i]);
    CtfParams {
        defocus_u_a: geometry[0] + half_a,
        defocus_v_a: geometry[0] - half_a,
        astigmatism_angle: Degrees((0.5 * geometry[2].atan2(geometry[1])).to_degrees()),
        phase_shift: Degrees(phase.to_degrees().rem_euclid(180.0)),
        ..ctf_of(optics, 0.0)
    }
}

/// Correlation coefficient of contrast and CTF², weighted by samples.
fn score(cells: &Cells, rings: &RangeInclusive<usize>, ctf: &CtfParams) -> f64 {
    let (mut w, mut m, mut mm, mut c, mut cc, mut mc) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for i in rings.start() * SECTORS..(rings.end() + 1) * SECTORS {
        let (weight, contrast) = (cells.weight[i], cells.contrast[i]);
        let model = ctf.value(cells.k2[i].sqrt(), cells.azimuth[i]).powi(2);
        w += weight;
        m += weight * model;
        mm += weight * model * model;
        c += weight * contrast;
        cc += weight * contrast * contrast;
        mc += weight * model * contrast;
    }
    let variances = (mm - m * m / w) * (cc - c * c / w);
    if variances > 0.0 { (mc - m * c / w) / variances.sqrt() } else { 0.0 }
}
