//! Signs of trouble in a spectrum: ice crystals, and drift that was not corrected.

use super::fit::Fit;
use super::likelihood::argument;
use super::spectrum::TileSpectra;
use std::f64::consts::PI;
use vitreous_compute::spectrum_cells::SECTORS;

/// Spacings of the strongest reflections of ice, hexagonal (3.90, 3.67, 3.44 Å) and cubic (3.66 Å), with some play.
const ICE_A: [f64; 2] = [3.95, 3.40];
/// Where beside them there is none, Å.
const BESIDE_A: [[f64; 2]; 2] = [[4.5, 4.1], [3.3, 3.1]];
/// Drift is told when its sign stands out by so many standard deviations.
const LEAST_SD: f64 = 6.0;

/// By how much the strongest ring of ice stands above what lies beside it, as a fraction; `None` where the pixels are too
/// coarse to tell.
pub(super) fn ice_ring(spectra: &TileSpectra) -> Option<f64> {
    let (grid, mean) = (&spectra.grid, spectra.mean());
    let rings = |[low, high]: [f64; 2]| {
        let ring = |resolution_a: f64| (grid.edge_a / resolution_a).round() as usize;
        ring(low)..ring(high) + 1
    };
    if rings(BESIDE_A[1]).end > grid.rings {
        return None;
    }
    let power = |ring: usize| {
        let cells = ring * SECTORS..(ring + 1) * SECTORS;
        let pixels: f64 = grid.pixels[cells.clone()].iter().sum();
        cells.map(|cell| grid.pixels[cell] * mean[cell]).sum::<f64>() / pixels.max(f64::MIN_POSITIVE)
    };
    let beside: Vec<[f64; 2]> = BESIDE_A
        .iter()
        .map(|range| {
            let rings = rings(*range);
            let n = rings.len() as f64;
            let middle = 0.5 * (rings.start + rings.end - 1) as f64;
            [middle, rings.map(power).sum::<f64>().max(f64::MIN_POSITIVE).ln() - n.ln()]
        })
        .collect();
    let usual = |ring: usize| {
        let t = (ring as f64 - beside[0][0]) / (beside[1][0] - beside[0][0]);
        (beside[0][1] + t * (beside[1][1] - beside[0][1])).exp()
    };
    // two rings together, so that one pixel of noise makes no ice
    let pair = |ring: usize| 0.5 * (power(ring) / usual(ring) + power(ring + 1) / usual(ring + 1)) - 1.0;
    rings(ICE_A).map(pair).max_by(f64::total_cmp)
}

/// Length in Å of a drift during the exposure that the spectrum shows: rings weaker along one direction, A multiplied by
/// `exp(-k² (e₁ cos 2α + e₂ sin 2α))`, as a movement by L makes it with `|e| = (πL)²/6` to second order. 0 where no direction
/// stands out.
pub(super) fn drift_a(fit: &Fit) -> f64 {
    let (mut gradient, mut information) = ([0.0; 2], [0.0; 2]);
    for (datum, floor, a) in fit.likelihood.data(&fit.maximum.state) {
        let squared = argument(datum, &fit.terms, &fit.maximum.state).sin().powi(2);
        let expected = 1.0 + a * squared;
        let residual = datum.power / (floor * expected) - 1.0;
        let slope = -datum.k * datum.k * a * squared / expected;
        for (i, factor) in [datum.factors[1], datum.factors[2]].into_iter().enumerate() {
            gradient[i] += datum.samples * residual * slope * factor;
            information[i] += datum.samples * (slope * factor).powi(2);
        }
    }
    let [along, across] = [0, 1].map(|i| gradient[i] / f64::max(information[i], f64::MIN_POSITIVE));
    let sd = (0.5 * (information[0] + information[1])).sqrt().recip();
    let amount = along.hypot(across);
    if amount > LEAST_SD * sd { (6.0 * amount).sqrt() / PI } else { 0.0 }
}
