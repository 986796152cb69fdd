//! What is checked: a value that was found, and what it has to be.

use serde::Serialize;

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Between two values, both included.
    Between(f64, f64),
}

impl Bound {
    /// NaN is never within.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::Between(low, high) => value >= low && value <= high,
        }
    }

    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most}"),
            Self::AtLeast(least) => format!("at least {least}"),
            Self::Between(low, high) if low == high => format!("{low}"),
            Self::Between(low, high) => format!("{low} to {high}"),
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Check {
    /// Name of the job type whose result is checked.
    pub job_type: &'static str,
    /// What, in words.
    pub what: String,
    /// The value found; `None`: there is none, which fails.
    pub found: Option<f64>,
    /// What it has to be.
    pub expected: Bound,
    /// Unit, empty for counts and pure numbers.
    pub unit: &'static str,
}

impl Check {
    /// A comparison; a value that is not finite is none.
    pub fn new(
        job_type: &'static str,
        what: impl Into<String>,
        found: f64,
        expected: Bound,
        unit: &'static str,
    ) -> Self {
        Self {
            job_type,
            what: what.into(),
            found: Some(found).filter(|value| value.is_finite()),
            expected,
            unit,
        }
    }

    /// Whether it is as it has to be.
    pub fn passes(&self) -> bool {
        self.found.is_some_and(|value| self.expected.holds(value))
    }

    /// The failure in one sentence.
    pub fn text(&self) -> String {
        let found = self.found.map_or("none".into(), |value| format!("{value:.4} {}", self.unit));
        let expected = format!("{} {}", self.expected.text(), self.unit);
        format!("{}: {} is {}, expected {}", self.job_type, self.what, found.trim_end(), expected.trim_end())
    }
}

/// The middle value, of an even number the larger of two; NaN of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The largest value; NaN of none.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_at_their_ends_and_never_for_nan() {
        for (bound, within, outside) in [
            (Bound::AtMost(2.0), 2.0, 2.1),
            (Bound::AtLeast(2.0), 2.0, 1.9),
            (Bound::Between(1.0, 2.0), 1.0, 0.9),
            (Bound::Between(3.0, 3.0), 3.0, 4.0),
        ] {
            assert!(bound.holds(within) && !bound.holds(outside) && !bound.holds(f64::NAN), "{bound:?}");
        }
    }

    #[test]
    fn a_failed_check_says_what_was_found_and_expected() {
        let check = Check::new("estimate-ctf", "error of the mean defocus", 812.0, Bound::AtMost(150.0), "Å");
        assert!(!check.passes());
        assert_eq!(
            check.text(),
            "estimate-ctf: error of the mean defocus is 812.0000 Å, expected at most 150 Å"
        );
        let none = Check::new("sharpen", "resolution", f64::NAN, Bound::AtMost(9.0), "Å");
        assert!(!none.passes() && none.text().contains("is none"), "{}", none.text());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan() && largest(&[]).is_nan());
        assert_eq!(largest(&[1.0, 3.0, 2.0]), 3.0);
    }
}
