//! Smoothing of a track of measured positions, as much as its noise asks for and no more.

/// Prior standard deviations of the second difference that are tried, pixels of the track.
const SPREADS: [f64; 12] = [3.0, 1.5, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.012, 0.006, 0.003, 0.0015];

/// The most likely track behind noisy positions.
///
/// Model: `values[f] = d[f] + noise` with noise variance `1 / information[f]` (an information of 0 is no measurement),
/// and second differences `d[f-1] - 2 d[f] + d[f+1]` that are normal with standard deviation `s · relative_spread[f]`.
/// `s` is the one of a fixed list that makes the data most probable (marginal likelihood), so a jerky track that was
/// measured well stays as it is and a track lost in noise becomes a straight line. All slices are of one length; tracks
/// of fewer than 3 points, or without any information, are returned as they are.
pub fn smooth_track(values: &[f64], information: &[f64], relative_spread: &[f64]) -> Vec<f64> {
    let known = information.iter().filter(|a| **a > 0.0).count();
    if values.len() < 3 || known < 3 {
        return values.to_vec();
    }
    SPREADS
        .iter()
        .filter_map(|&spread| penalised_fit(values, information, relative_spread, spread))
        .reduce(|best, next| if next.evidence > best.evidence { next } else { best })
        .map_or_else(|| values.to_vec(), |fit| fit.track)
}

struct Fit {
    track: Vec<f64>,
    /// Log of the marginal likelihood up to a constant.
    evidence: f64,
}

fn penalised_fit(values: &[f64], information: &[f64], relative: &[f64], spread: f64) -> Option<Fit> {
    let n = values.len();
    let mut matrix = Banded::zeros(n);
    let mut right: Vec<f64> = Vec::with_capacity(n);
    for f in 0..n {
        matrix.add(f, f, information[f]);
        right.push(information[f] * values[f]);
    }
    let mut log_prior = 0.0;
    for f in 1..n - 1 {
        let strength = (spread * relative[f]).powi(-2);
        log_prior += 0.5 * strength.ln();
        let row = [(f - 1, 1.0), (f, -2.0), (f + 1, 1.0)];
        for (i, a) in row {
            for (j, b) in row.iter().filter(|(j, _)| *j <= i) {
                matrix.add(i, *j, strength * a * b);
            }
        }
    }
    let log_determinant = matrix.factor()?;
    let track = matrix.solve(&right);
    let misfit = (0..n).map(|f| information[f] * values[f] * (values[f] - track[f])).sum::<f64>();
    Some(Fit { track, evidence: log_prior - 0.5 * log_determinant - 0.5 * misfit })
}

/// A symmetric matrix with two diagonals beside the main one; `rows[i] = [a(i,i), a(i,i-1), a(i,i-2)]`.
struct Banded {
    rows: Vec<[f64; 3]>,
}

impl Banded {
    fn zeros(n: usize) -> Self {
        Self { rows: vec![[0.0; 3]; n] }
    }

    /// Adds to element `(i, j)`, `j <= i <= j + 2`.
    fn add(&mut self, i: usize, j: usize, value: f64) {
        self.rows[i][i - j] += value;
    }

    /// Replaces the matrix by its Cholesky factor and returns the log of its determinant; `None` if it is not positive
    /// definite.
    fn factor(&mut self) -> Option<f64> {
        let mut log_determinant = 0.0;
        for i in 0..self.rows.len() {
            let [mut diagonal, mut first, mut second] = self.rows[i];
            if i >= 2 {
                second /= self.rows[i - 2][0];
                first -= second * self.rows[i - 1][1];
            }
            if i >= 1 {
                first /= self.rows[i - 1][0];
            }
            diagonal -= first * first + second * second;
            if diagonal.is_nan() || diagonal <= 0.0 {
                return None;
            }
            self.rows[i] = [diagonal.sqrt(), first, second];
            log_determinant += diagonal.ln();
        }
        Some(log_determinant)
    }

    /// Solves with the factor.
    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let n = right.len();
        let mut x = right.to_vec();
        for i in 0..n {
            let [diagonal, first, second] = self.rows[i];
            if i >= 1 {
                x[i] -= first * x[i - 1];
            }
            if i >= 2 {
                x[i] -= second * x[i - 2];
            }
            x[i] /= diagonal;
        }
        for i in (0..n).rev() {
            if i + 1 < n {
                x[i] -= self.rows[i + 1][1] * x[i + 1];
            }
            if i + 2 < n {
                x[i] -= self.rows[i + 2][2] * x[i + 2];
            }
            x[i] /= self.rows[i][0];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    fn normal(n: usize, seed: u64) -> Vec<f64> {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        StandardNormal.sample_iter(rng).take(n).collect()
    }

    #[test]
    fn well_measured_jerks_stay() {
        let values = normal(30, 1);
        let smooth = smooth_track(&values, &[1e6; 30], &[1.0; 30]);
        for (a, b) in values.iter().zip(&smooth) {
            assert!((a - b).abs() < 1e-3, "{a} became {b}");
        }
    }

    #[test]
    fn noise_on_a_drift_is_reduced_to_the_drift() {
        let truth = |i: usize| 0.3 * i as f64;
        let values: Vec<f64> = normal(40, 2).iter().enumerate().map(|(i, e)| truth(i) + 0.5 * e).collect();
        let smooth = smooth_track(&values, &[4.0; 40], &[1.0; 40]);
        let rms = |of: &[f64]| {
            (of.iter().enumerate().map(|(i, v)| (v - truth(i)).powi(2)).sum::<f64>() / 40.0).sqrt()
        };
        assert!(rms(&smooth) < 0.35 * rms(&values), "{} of {}", rms(&smooth), rms(&values));
    }

    #[test]
    fn a_point_without_information_is_interpolated() {
        let mut values: Vec<f64> = (0..9).map(|i| f64::from(i) * 0.5).collect();
        let mut information = [100.0; 9];
        (values[4], information[4]) = (1e3, 0.0);
        let smooth = smooth_track(&values, &information, &[1.0; 9]);
        assert!((smooth[4] - 2.0).abs() < 1e-6, "{}", smooth[4]);
    }

    #[test]
    fn short_tracks_are_left_alone() {
        assert_eq!(smooth_track(&[1.0, 5.0], &[1.0, 1.0], &[1.0, 1.0]), [1.0, 5.0]);
        assert_eq!(smooth_track(&[1.0, 5.0, 2.0], &[0.0; 3], &[1.0; 3]), [1.0, 5.0, 2.0]);
    }
}
