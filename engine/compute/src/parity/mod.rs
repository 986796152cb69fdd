//! Seeded cases, oracles and tolerances of the operation families; no device is named here.
//!
//! A family's file offers `run(&device) -> Vec<Outcome>`: the same cases for every device. A device's tests call it
//! and [`assert_all`].

pub mod align;
pub mod ceilings;
pub mod classify2d;
pub mod decimate;
pub mod insert;
pub mod motion_correlation;
pub mod phantom;
pub mod pose_search;
pub mod project;
pub mod symmetric_phantom;
pub mod template_correlation;
pub mod tile_spectra;
pub mod transform;
pub mod warp;

/// One compared number of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case in words.
    pub case: String,
    /// What was measured, e.g. `NMSE`.
    pub measure: &'static str,
    /// The measured error.
    pub error: f64,
    /// The largest allowed.
    pub bound: f64,
}

impl Outcome {
    /// Whether the error is within its bound; NaN is not.
    pub fn holds(&self) -> bool {
        self.error <= self.bound
    }
}

/// Panics with all outcomes that do not hold.
///
/// # Panics
/// When one does not, or when there are none.
pub fn assert_all(outcomes: &[Outcome]) {
    assert!(!outcomes.is_empty(), "a parity suite should have cases");
    let bad: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.holds())
        .map(|o| format!("{}: {} {:e} > {:e}", o.case, o.measure, o.error, o.bound))
        .collect();
    assert!(bad.is_empty(), "{} of {} outcomes fail:\n{}", bad.len(), outcomes.len(), bad.join("\n"));
}

/// Squared error over squared reference; 0 when both are empty or zero.
pub fn nmse(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (error, power) =
        pairs.fold((0.0, 0.0), |(e, p), (got, want)| (e + (got - want).powi(2), p + want * want));
    if error == 0.0 { 0.0 } else { error / power }
}

/// Largest difference over the largest reference value; 0 when both are empty or zero.
pub fn largest_relative(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (error, scale) =
        pairs.fold((0.0f64, 0.0f64), |(e, s), (got, want)| (e.max((got - want).abs()), s.max(want.abs())));
    if error == 0.0 { 0.0 } else { error / scale }
}
