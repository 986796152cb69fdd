//! Cubic B-splines in time.

/// Dose over which motion is fast and knots are dense, e/Å².
const EARLY_DOSE: f64 = 8.0;

/// Distance of knots in the early part, e/Å².
const EARLY_SPACING: f64 = 2.5;

/// Distance of knots afterwards, e/Å².
const LATE_SPACING: f64 = 5.0;

/// Most intervals between knots; spacings grow to keep within.
const MAX_INTERVALS: usize = 12;

/// A basis of cubic B-splines on the range of a movie, clamped at both ends.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeBasis {
    /// Knots, the first and the last four times.
    knots: Vec<f64>,
}

impl TimeBasis {
    /// A basis for frames at rising `times` (dose at mid-frame in e/Å², or any measure of exposure when the dose is
    /// unknown: then one that counts 1 per frame). Never more splines than half the frames, and at least 4.
    pub fn new(times: &[f64]) -> Self {
        let (first, last) = match times {
            [first, .., last] if last > first => (*first, *last),
            [first, ..] => (*first, *first + 1.0),
            [] => (0.0, 1.0),
        };
        let most = (times.len() / 2).saturating_sub(3).clamp(1, MAX_INTERVALS);
        let mut scale = 1.0;
        let mut inner = interior_knots(last - first, scale);
        while inner.len() + 1 > most {
            scale *= 1.15;
            inner = interior_knots(last - first, scale);
        }
        let inner = inner.into_iter().map(|t| first + t);
        let knots = [first; 4].into_iter().chain(inner).chain([last; 4]).collect();
        Self { knots }
    }

    /// Number of splines.
    pub fn len(&self) -> usize {
        self.knots.len() - 4
    }

    /// Values of all splines at time `t`, held constant outside the range; they add up to 1.
    pub fn at(&self, t: f64) -> Vec<f64> {
        let (first, last) = (self.knots[0], self.knots[self.knots.len() - 1]);
        let t = t.clamp(first, last);
        let inner_last = self.knots.len() - 5;
        let interval = (3..=inner_last).rev().find(|&i| self.knots[i] <= t).unwrap_or(3);
        // de Boor's triangle of the four splines that do not vanish on the interval
        let mut values = [1.0, 0.0, 0.0, 0.0];
        for degree in 1..4 {
            let mut carried = 0.0;
            for j in 0..degree {
                let right = self.knots[interval + j + 1];
                let left = self.knots[interval + j + 1 - degree];
                let part = values[j] / (right - left);
                values[j] = carried + (right - t) * part;
                carried = (t - left) * part;
            }
            values[degree] = carried;
        }
        let mut all = vec![0.0; self.len()];
        all[interval - 3..=interval].copy_from_slice(&values);
        all
    }
}

/// Knots strictly inside a range of the given length, with spacings multiplied by `scale`.
fn interior_knots(length: f64, scale: f64) -> Vec<f64> {
    let early = length.min(EARLY_DOSE * scale);
    let pieces = |length: f64, spacing: f64| (length / (spacing * scale)).round().max(1.0) as usize;
    let n = pieces(early, EARLY_SPACING);
    let mut knots: Vec<f64> = (1..n).map(|i| early * i as f64 / n as f64).collect();
    if length > early {
        let n = pieces(length - early, LATE_SPACING);
        knots.extend((0..n).map(|i| early + (length - early) * i as f64 / n as f64));
    }
    knots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splines_add_up_to_one_and_reproduce_a_line() {
        let times: Vec<f64> = (0..40).map(|f| 0.5 + f as f64).collect();
        let basis = TimeBasis::new(&times);
        assert!((8..=15).contains(&basis.len()), "{}", basis.len());
        // the coefficients of a straight line are the means of three successive knots (Greville)
        let greville: Vec<f64> =
            (0..basis.len()).map(|i| basis.knots[i + 1..i + 4].iter().sum::<f64>() / 3.0).collect();
        for t in [0.5, 0.7, 3.0, 8.5, 20.25, 39.0, 39.5] {
            let values = basis.at(t);
            assert!((values.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let line: f64 = values.iter().zip(&greville).map(|(b, g)| b * g).sum();
            assert!((line - t).abs() < 1e-9, "{t}: {line}");
        }
    }

    #[test]
    fn few_frames_get_few_splines() {
        for frames in [0usize, 1, 2, 5, 9, 24, 400] {
            let times: Vec<f64> = (0..frames).map(|f| f as f64).collect();
            let basis = TimeBasis::new(&times);
            assert!(basis.len() >= 4 && basis.len() <= (frames / 2).clamp(4, MAX_INTERVALS + 3), "{frames}");
            assert!(basis.at(1.5).iter().all(|v| v.is_finite()));
        }
    }
}
