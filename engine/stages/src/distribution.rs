//! Histograms and medians for reports.

use vitreous_model::report::{Series, SeriesStyle};

/// Bars of a histogram, at most about.
const BARS: f64 = 24.0;

/// Bars of equal, round width side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bins {
    first: f64,
    width: f64,
    count: usize,
}

impl Bins {
    /// Bars over the finite values, about 24 of them, 1, 2 or 5 times a power of ten wide, but no narrower than
    /// `least_width` is rounded to. `None`: there is no finite value.
    pub fn over(values: impl IntoIterator<Item = f64>, least_width: f64) -> Option<Self> {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        let wanted = ((high - low) / BARS).max(least_width);
        let decade = 10f64.powf(wanted.log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
        let width = round.into_iter().find(|width| *width >= wanted).unwrap_or(wanted);
        let first = (low / width).floor();
        Some(Self { first, width, count: ((high / width).floor() - first) as usize + 1 })
    }

    /// How many of the finite values fall into each bar, as bars named `label`.
    pub fn counts(self, label: &str, values: impl IntoIterator<Item = f64>) -> Series {
        let mut counts = vec![0.0; self.count];
        for value in values.into_iter().filter(|value| value.is_finite()) {
            let bar = ((value / self.width).floor() - self.first).max(0.0) as usize;
            counts[bar.min(self.count - 1)] += 1.0;
        }
        let centres = (0..self.count).map(|bar| (self.first + bar as f64 + 0.5) * self.width).collect();
        Series { style: SeriesStyle::Bars, ..Series::line(label, centres, counts) }
    }
}

/// The middle of the values, the mean of the middle two of an even number; NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_counted_in_round_bars() {
        let values = [10_000.0, 10_050.0, 12_000.0, 19_999.0, f64::NAN];
        let series = Bins::over(values, 50.0).unwrap().counts("", values);
        assert_eq!(series.y.iter().flatten().sum::<f64>(), 4.0);
        assert_eq!((series.x[0], series.y[0]), (10_250.0, Some(2.0)));
        assert_eq!(Bins::over([5000.0], 50.0).unwrap().counts("", [5000.0]).y, [Some(1.0)]);
        assert_eq!(Bins::over([f64::NAN], 50.0), None);
    }

    #[test]
    fn bars_of_all_hold_those_of_a_part() {
        let all: Vec<f64> = (0..100).map(|i| f64::from(i) * 0.37 - 12.0).collect();
        let bins = Bins::over(all.iter().copied(), 1e-9).unwrap();
        let (whole, part) =
            (bins.counts("", all.iter().copied()), bins.counts("", all.iter().copied().take(30)));
        assert_eq!(whole.x, part.x);
        assert!(whole.y.iter().zip(&part.y).all(|(a, b)| a >= b));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
