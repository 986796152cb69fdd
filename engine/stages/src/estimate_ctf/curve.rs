//! How far a fit holds: averages of the spectrum along lines of equal phase, against the fitted CTF.

use super::rings::Cells;
use vitreous_model::ctf::CtfParams;

/// The fit holds as far as the correlation in a window stays at or above this.
pub(super) const THRESHOLD: f64 = 0.5;
/// A window covers so many periods of CTF² on either side, and at least [`LEAST_REACH`] rings.
const REACH_PERIODS: f64 = 1.0;
const LEAST_REACH: usize = 4;
/// Amplitudes are not scaled up by more than this over the largest.
const MOST_GAIN: f64 = 8.0;

/// Curves over frequency: index = ring.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    /// Spatial frequency, 1/Å.
    pub frequency: Vec<f64>,
    /// Contrast averaged along lines of equal phase; NaN where no pixel lies.
    pub contrast: Vec<f64>,
    /// Amplitude of the contrast around each ring (root mean square · √2).
    pub amplitude: Vec<f64>,
    /// Fitted CTF² at the mean defocus.
    pub model: Vec<f64>,
    /// Correlation of the two in a window around each ring; NaN where there is none.
    pub correlation: Vec<f64>,
    /// Resolution to which the fit holds, Å.
    pub fit_resolution_a: f64,
}

/// One value of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Spatial frequency, 1/Å.
    pub k: f64,
    /// Argument of the fitted CTF there, radians.
    pub phase: f64,
    /// Power over background, minus 1.
    pub contrast: f64,
    /// Independent values that it is a mean of.
    pub weight: f64,
}

/// The cells of the mean spectrum as points under a CTF that is the same everywhere.
pub(super) fn points_of(cells: &Cells, ctf: &CtfParams) -> Vec<Point> {
    let used = (0..cells.weight.len()).filter(|cell| cells.weight[*cell] > 0.0);
    used.map(|cell| {
        let k = cells.k2[cell].sqrt();
        let phase = ctf.phase(k, cells.azimuth[cell]);
        Point { k, phase, contrast: cells.contrast[cell], weight: cells.weight[cell] }
    })
    .collect()
}

/// Averages the contrast along lines of equal phase and correlates it with the model, from `min_resolution_a` on.
pub(super) fn judge(cells: &Cells, points: &[Point], ctf: &CtfParams, min_resolution_a: f64) -> Curve {
    let mean = CtfParams {
        defocus_u_a: 0.5 * (ctf.defocus_u_a + ctf.defocus_v_a),
        defocus_v_a: 0.5 * (ctf.defocus_u_a + ctf.defocus_v_a),
        ..*ctf
    };
    let frequency: Vec<f64> = (0..cells.rings).map(|ring| ring as f64 / cells.edge_a).collect();
    let model: Vec<f64> = frequency.iter().map(|k| mean.value(*k, 0.0).powi(2)).collect();
    let (contrast, weight) = equiphase_average(cells, points, &mean);
    let first = cells.ring_of(min_resolution_a).max(1);
    let reach: Vec<usize> = frequency.iter().map(|k| reach_of(&mean, *k, cells.edge_a)).collect();
    let window =
        |ring: usize| ring.saturating_sub(reach[ring]).max(first)..(ring + reach[ring] + 1).min(cells.rings);
    let (mut correlation, mut amplitude) = (vec![f64::NAN; cells.rings], vec![0.0; cells.rings]);
    for ring in first..cells.rings {
        let used: Vec<usize> = window(ring).filter(|r| weight[*r] > 0.0).collect();
        let (r, deviation) = correlate(&used, &contrast, &model, &weight);
        correlation[ring] = r;
        amplitude[ring] = deviation * std::f64::consts::SQRT_2;
    }
    let holds = last_holding(&correlation, &reach, first);
    let fit_resolution_a = holds.map_or(min_resolution_a, |ring| cells.edge_a / ring as f64);
    Curve { frequency, contrast, amplitude, model, correlation, fit_resolution_a }
}

impl Curve {
    /// The contrast scaled to the model's 0 … 1 by its local amplitude, with a limit so that noise stays small.
    pub fn scaled(&self) -> Vec<f64> {
        let largest = self.amplitude.iter().copied().fold(0.0, f64::max);
        let floor = (largest / MOST_GAIN).max(f64::MIN_POSITIVE);
        self.contrast.iter().zip(&self.amplitude).map(|(c, a)| 0.5 + 0.5 * c / a.max(floor)).collect()
    }
}

/// Mean contrast by ring of the frequency at which the mean defocus has a point's phase, and the weight of each.
fn equiphase_average(cells: &Cells, points: &[Point], mean: &CtfParams) -> (Vec<f64>, Vec<f64>) {
    let (mut sums, mut weights) = (vec![0.0; cells.rings], vec![0.0; cells.rings]);
    for point in points {
        let Some(k) = frequency_of_phase(mean, point.phase, point.k) else { continue };
        let ring = (k * cells.edge_a).round() as usize;
        if ring < cells.rings {
            sums[ring] += point.weight * point.contrast;
            weights[ring] += point.weight;
        }
    }
    let contrast =
        sums.iter().zip(&weights).map(|(sum, w)| if *w > 0.0 { sum / w } else { f64::NAN }).collect();
    (contrast, weights)
}

/// The frequency near `k` at which a CTF without astigmatism has the phase `phase`: two steps of Newton's method.
fn frequency_of_phase(ctf: &CtfParams, phase: f64, k: f64) -> Option<f64> {
    let mut at = k;
    for _ in 0..2 {
        let slope = phase_slope(ctf, at);
        at -= (ctf.phase(at, 0.0) - phase) / slope;
    }
    // beyond the turning point of the phase, at low defocus, there may be none
    (at.is_finite() && (at - k).abs() < 0.2 * k + 1e-9).then_some(at)
}

/// dχ/dk, per 1/Å, by a central difference (χ is a polynomial of the fourth degree).
fn phase_slope(ctf: &CtfParams, k: f64) -> f64 {
    let h = 1e-4 * k.max(1e-3);
    (ctf.phase(k + h, 0.0) - ctf.phase(k - h, 0.0)) / (2.0 * h)
}

/// Rings on either side of a window at frequency `k`: CTF² has a period when χ grows by π.
fn reach_of(ctf: &CtfParams, k: f64, edge_a: f64) -> usize {
    let period = std::f64::consts::PI / phase_slope(ctf, k.max(1e-3)).abs().max(1e-9) * edge_a;
    // no window is wider than the frequency itself
    ((REACH_PERIODS * period).min(0.5 * k * edge_a).round() as usize).max(LEAST_REACH)
}

/// Weighted correlation coefficient of two curves over `rings`, NaN if one is constant, and the standard deviation of
/// the first.
fn correlate(rings: &[usize], a: &[f64], b: &[f64], weight: &[f64]) -> (f64, f64) {
    let w: f64 = rings.iter().map(|&r| weight[r]).sum();
    let mean = |values: &[f64]| rings.iter().map(|&r| weight[r] * values[r]).sum::<f64>() / w;
    let (ma, mb) = (mean(a), mean(b));
    let product = |p: &[f64], mp: f64, q: &[f64], mq: f64| {
        rings.iter().map(|&r| weight[r] * (p[r] - mp) * (q[r] - mq)).sum::<f64>() / w
    };
    let (aa, bb) = (product(a, ma, a, ma), product(b, mb, b, mb));
    if rings.len() < 3 || aa.is_nan() || aa <= 0.0 || bb <= 0.0 {
        return (f64::NAN, 0.0);
    }
    (product(a, ma, b, mb) / (aa * bb).sqrt(), aa.sqrt())
}

/// The last ring before the correlation falls under the threshold and stays there over a window's width on average.
/// The search begins where it is first above.
fn last_holding(correlation: &[f64], reach: &[usize], first: usize) -> Option<usize> {
    let above = |ring: usize| correlation[ring] >= THRESHOLD;
    let begin = (first..correlation.len()).find(|&ring| above(ring))?;
    let falls = |&ring: &usize| {
        if above(ring) {
            return false;
        }
        let next: Vec<f64> = (ring..(ring + 2 * reach[ring]).min(correlation.len()))
            .map(|r| correlation[r])
            .filter(|v| v.is_finite())
            .collect();
        next.is_empty() || next.iter().sum::<f64>() / (next.len() as f64) < THRESHOLD
    };
    Some((begin..correlation.len()).find(falls).unwrap_or(correlation.len()) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

    #[test]
    fn the_frequency_of_a_phase_is_found() {
        let ctf = |u, v| CtfParams {
            defocus_u_a: u,
            defocus_v_a: v,
            astigmatism_angle: Degrees(20.0),
            phase_shift: Degrees(30.0),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.07,
            even: Default::default(),
        };
        let (astigmatic, mean) = (ctf(16_000.0, 14_500.0), ctf(15_250.0, 15_250.0));
        for k in [0.03, 0.1, 0.2, 0.3] {
            for azimuth in [0.0, 0.4, 1.3, 2.9] {
                let phase = astigmatic.phase(k, azimuth);
                let at = frequency_of_phase(&mean, phase, k).unwrap();
                assert!((mean.phase(at, 0.0) - phase).abs() < 1e-3, "{k} {azimuth}");
            }
        }
    }

    #[test]
    fn the_fit_holds_until_the_correlation_stays_low() {
        let reach = vec![3; 20];
        let mut correlation = vec![0.9; 20];
        correlation[6] = 0.3;
        correlation[12..].fill(0.1);
        assert_eq!(last_holding(&correlation, &reach, 2), Some(11));
        correlation[2..5].fill(f64::NAN);
        assert_eq!(last_holding(&correlation, &reach, 2), Some(11));
        assert_eq!(last_holding(&[0.1; 20], &reach, 2), None);
        assert_eq!(last_holding(&[0.8; 20], &reach, 2), Some(19));
    }
}
