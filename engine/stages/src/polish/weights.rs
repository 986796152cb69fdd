//! How much of the signal each frame still shows, by frequency, and the weights that make the most of it.
//!
//! Measured is the amplitude with which what is expected of the particles is found in frame f at shell s, `a_fs`, with
//! variance `1/P_s` (P: power of the expected over that of the noise). Modelled is `d_s exp(g_f - B_f k²/4)`: a fall-off
//! common to all frames, and a scale and B-factor for each (Zivanov, Nielsen & Scheres 2019).

use nalgebra::{Matrix2, Vector2};
use serde::{Deserialize, Serialize};
use vitreous_model::dose::attenuation;

/// The coarsest detail that weights are fitted to, Å (RELION's default).
const COARSEST_A: f64 = 20.0;
/// Rounds of fitting the common fall-off, then each frame.
const ROUNDS: usize = 30;
/// Spread of log scale and B-factor (Å²) about those of the curve of critical doses: loose, so that they only tell where
/// the data do not.
const PRIOR_SD: [f64; 2] = [0.5, 60.0];
/// Standard deviation of a frame's log weight at the middle of the band, from the data alone, up to which they suffice.
const SUFFICIENT: f64 = 0.35;

/// What a set of movies shows of its particles.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Shown {
    /// By frame and shell: expected times found, over the noise.
    pub found: Vec<Vec<f64>>,
    /// The same along the motion that was known before.
    pub found_before: Vec<Vec<f64>>,
    /// By shell: power of what is expected, over the noise.
    pub expected: Vec<f64>,
}

/// Weights of the frames of one kind of movie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameWeights {
    /// Log of each frame's scale, and its B-factor, Å²; the mean of each is 0. Empty: the curve of critical doses, or none.
    pub fitted: Vec<[f64; 2]>,
    /// Dose at the end of each frame, e/Å²; empty: not known.
    pub doses: Vec<f64>,
    /// Factor on the critical dose; `None`: not known for this voltage.
    pub voltage_factor: Option<f64>,
    /// Standard deviation of a frame's log weight in the middle of the band, from the data alone; median of the frames.
    /// `None`: not estimated, or the data say nothing.
    pub uncertainty: Option<f64>,
}

impl Shown {
    /// Adds what other movies show.
    pub fn add(&mut self, other: &Self) {
        let add = |to: &mut Vec<f64>, from: &[f64]| {
            to.resize(to.len().max(from.len()), 0.0);
            to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        };
        for (to, from) in [(&mut self.found, &other.found), (&mut self.found_before, &other.found_before)] {
            to.resize(to.len().max(from.len()), Vec::new());
            to.iter_mut().zip(from).for_each(|(a, b)| add(a, b));
        }
        add(&mut self.expected, &other.expected);
    }

    /// The fit to these data; without the wish to, or where they do not suffice, the curve. `edge_a` is the edge of the box.
    pub fn weights(
        &self,
        edge_a: f64,
        doses: Vec<f64>,
        voltage_factor: Option<f64>,
        wanted: bool,
    ) -> FrameWeights {
        let mut weights = FrameWeights { fitted: Vec::new(), doses, voltage_factor, uncertainty: None };
        let first = (edge_a / COARSEST_A).ceil() as usize;
        // quarter of k², 1/Å²
        let shells: Vec<(usize, f64)> = (first..self.expected.len())
            .filter(|&s| self.expected[s] > 0.0)
            .map(|s| (s, 0.25 * (s as f64 / edge_a).powi(2)))
            .collect();
        if !wanted || shells.len() < 3 || self.found.is_empty() {
            return weights;
        }
        let centre = weights.curve_fitted(&shells, edge_a, self.found.len());
        let (fitted, uncertainty) = self.fit(&shells, &centre);
        // only finite numbers pass through JSON
        weights.uncertainty = Some(uncertainty).filter(|u| u.is_finite());
        if uncertainty <= SUFFICIENT && fitted.iter().flatten().all(|v| v.is_finite()) {
            weights.fitted = fitted;
        }
        weights
    }

    /// Scale and B-factor of each frame, and the uncertainty.
    fn fit(&self, shells: &[(usize, f64)], centre: &[[f64; 2]]) -> (Vec<[f64; 2]>, f64) {
        let amplitude = |f: usize, s: usize| self.found[f].get(s).copied().unwrap_or(0.0) / self.expected[s];
        let frames = self.found.len();
        let mut fitted = centre.to_vec();
        let mut spread = vec![0.0; frames];
        let middle = shells[shells.len() / 2].1;
        for _ in 0..ROUNDS {
            let model = |p: &[f64; 2], quarter: f64| (p[0] - p[1] * quarter).exp();
            let common: Vec<f64> = shells
                .iter()
                .map(|&(s, quarter)| {
                    let (top, bottom) = (0..frames).fold((0.0, 0.0), |(top, bottom), f| {
                        let m = model(&fitted[f], quarter);
                        (top + m * amplitude(f, s), bottom + m * m)
                    });
                    (top / bottom).max(0.0)
                })
                .collect();
            for f in 0..frames {
                let (mut normal, mut right) = (Matrix2::zeros(), Vector2::zeros());
                for (&(s, quarter), d) in shells.iter().zip(&common) {
                    let m = d * model(&fitted[f], quarter);
                    let slope = Vector2::new(m, -m * quarter);
                    normal += slope * slope.transpose() * self.expected[s];
                    right += slope * self.expected[s] * (amplitude(f, s) - m);
                }
                spread[f] = log_spread(&normal, middle);
                for i in 0..2 {
                    normal[(i, i)] += PRIOR_SD[i].powi(-2);
                    right[i] += PRIOR_SD[i].powi(-2) * (centre[f][i] - fitted[f][i]);
                }
                let Some(step) = normal.try_inverse().map(|inverse| inverse * right) else { continue };
                // a step of the Gauss-Newton method far from the data may be wild
                for (value, (step, sd)) in fitted[f].iter_mut().zip(step.iter().zip(PRIOR_SD)) {
                    *value += step.clamp(-sd, sd);
                }
            }
            centred(&mut fitted);
        }
        spread.sort_by(f64::total_cmp);
        (fitted, spread[frames / 2])
    }
}

/// Standard deviation of `g - B k²/4` under the inverse of a normal matrix.
fn log_spread(normal: &Matrix2<f64>, quarter: f64) -> f64 {
    let along = Vector2::new(1.0, -quarter);
    normal.try_inverse().map_or(f64::INFINITY, |inverse| along.dot(&(inverse * along)).max(0.0).sqrt())
}

/// Takes the means off.
fn centred(fitted: &mut [[f64; 2]]) {
    let mean = [0, 1].map(|i| fitted.iter().map(|p| p[i]).sum::<f64>() / fitted.len().max(1) as f64);
    fitted.iter_mut().for_each(|p| (0..2).for_each(|i| p[i] -= mean[i]));
}

impl FrameWeights {
    /// Where the weights come from, for the report.
    pub fn source(&self) -> &'static str {
        match (self.fitted.is_empty(), self.doses.is_empty() || self.voltage_factor.is_none()) {
            (false, _) => "data",
            (true, false) => "curve of critical doses",
            (true, true) => "none",
        }
    }

    /// Log of what the curve of critical doses leaves in a frame at `k` 1/Å; 0 where the dose is not known.
    fn log_curve(&self, frame: usize, k: f64) -> f64 {
        match (self.doses.get(frame), self.voltage_factor) {
            (Some(dose), Some(factor)) => attenuation(k, *dose, factor).ln(),
            _ => 0.0,
        }
    }

    /// Scale and B-factor that describe the curve best over the shells, centred.
    fn curve_fitted(&self, shells: &[(usize, f64)], edge_a: f64, frames: usize) -> Vec<[f64; 2]> {
        let one = |f: usize| {
            let (mut normal, mut right) = (Matrix2::zeros(), Vector2::zeros());
            for &(s, quarter) in shells {
                let terms = Vector2::new(1.0, -quarter);
                normal += terms * terms.transpose();
                right += terms * self.log_curve(f, s as f64 / edge_a);
            }
            normal.try_inverse().map_or([0.0; 2], |inverse| (inverse * right).into())
        };
        let mut fitted: Vec<[f64; 2]> = (0..frames).map(one).collect();
        centred(&mut fitted);
        fitted
    }

    /// Weights of `frames` frames at `k` 1/Å: of all weights with which the noise of the sum is that of one frame those
    /// of the largest signal.
    pub fn at(&self, frames: usize, k: f64) -> Vec<f64> {
        let log = |f: usize| match self.fitted.get(f).or(self.fitted.last()) {
            Some([scale, b_a2]) => scale - 0.25 * b_a2 * k * k,
            None => self.log_curve(f, k),
        };
        Self::normalised((0..frames).map(log).collect())
    }

    /// The same by the curve alone.
    pub fn of_curve(&self, frames: usize, k: f64) -> Vec<f64> {
        Self::normalised((0..frames).map(|f| self.log_curve(f, k)).collect())
    }

    fn normalised(logs: Vec<f64>) -> Vec<f64> {
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
        let root = parts.iter().map(|p| p * p).sum::<f64>().sqrt();
        parts.iter().map(|p| p / root).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE_A: f64 = 200.0;

    fn truth(f: usize) -> [f64; 2] {
        [0.2 - 0.05 * f as f64, if f == 0 { 90.0 } else { 4.0 * f as f64 }]
    }

    /// Amplitudes by the model with noise of the size that their variance says.
    fn shown(power: f64) -> Shown {
        let scatter = |i: usize| {
            let one = |i: usize| ((i * 7919 + 13) % 10_007) as f64 / 10_007.0 - 0.5;
            (0..12).map(|j| one(i * 12 + j)).sum::<f64>()
        };
        let expected: Vec<f64> = (0..60).map(|s| power * (1.0 + s as f64)).collect();
        let found = (0..16)
            .map(|f| {
                let one = |s: usize| {
                    let [g, b] = truth(f);
                    let k2 = (s as f64 / EDGE_A).powi(2);
                    let a = 0.01 * (-0.25 * 50.0 * k2).exp() * (g - 0.25 * b * k2).exp();
                    a * expected[s] + scatter(f * 60 + s) * expected[s].sqrt()
                };
                (0..60).map(one).collect()
            })
            .collect();
        Shown { found, found_before: Vec::new(), expected }
    }

    #[test]
    fn scales_and_b_factors_come_back() {
        let weights = shown(3e6).weights(EDGE_A, Vec::new(), None, true);
        assert_eq!(weights.source(), "data");
        assert!(weights.uncertainty.unwrap() < 0.1, "{:?}", weights.uncertainty);
        let mut want: Vec<[f64; 2]> = (0..16).map(truth).collect();
        centred(&mut want);
        for (got, want) in weights.fitted.iter().zip(&want) {
            assert!((got[0] - want[0]).abs() < 0.1 && (got[1] - want[1]).abs() < 12.0, "{got:?} {want:?}");
        }
        // the first frame, blurred by its motion, counts less at high frequencies
        let (low, high) = (weights.at(16, 0.05), weights.at(16, 0.25));
        assert!(low[0] > low[15] && high[0] < high[3]);
        for w in [low, high] {
            assert!((w.iter().map(|w| w * w).sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn too_little_signal_falls_back_to_the_curve() {
        let doses: Vec<f64> = (1..=16).map(|f| 2.0 * f as f64).collect();
        let weights = shown(3e2).weights(EDGE_A, doses, Some(1.0), true);
        assert_eq!(weights.source(), "curve of critical doses");
        let w = weights.at(16, 0.2);
        let ratio = attenuation(0.2, 32.0, 1.0) / attenuation(0.2, 2.0, 1.0);
        assert!((w[15] / w[0] - ratio).abs() < 1e-9);
        assert_eq!(weights.at(16, 0.2), weights.of_curve(16, 0.2));
        let none = shown(3e2).weights(EDGE_A, Vec::new(), None, true);
        assert_eq!(none.source(), "none");
        assert!(none.at(4, 0.1).iter().all(|w| (w - 0.5).abs() < 1e-12));
    }
}
