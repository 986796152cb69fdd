//! A measurement: what, in which unit, and the value of every repeat.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Repeats at least, however long they take.
const LEAST: usize = 3;
/// Repeats at most.
const MOST: usize = 1000;

/// Values of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// What was measured, the same words on every rank.
    pub what: String,
    /// Unit of the values.
    pub unit: String,
    /// More is better; else less is.
    pub is_rate: bool,
    /// Values of the repeats, in no order.
    pub values: Vec<f64>,
}

impl Measured {
    /// A rate: more is better.
    pub fn rate(what: impl Into<String>, unit: &str, values: Vec<f64>) -> Self {
        Self { what: what.into(), unit: unit.into(), is_rate: true, values }
    }

    /// A time: less is better.
    pub fn time(what: impl Into<String>, unit: &str, values: Vec<f64>) -> Self {
        Self { is_rate: false, ..Self::rate(what, unit, values) }
    }

    /// The middle value.
    pub fn median(&self) -> f64 {
        median(self.values.iter().copied())
    }

    /// Smallest and largest value; NaN of none.
    pub fn extremes(&self) -> [f64; 2] {
        let values = self.values.iter().copied();
        [values.clone().fold(f64::NAN, f64::min), values.fold(f64::NAN, f64::max)]
    }
}

/// The middle value, of an even number the mean of the two in the middle; NaN of none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => 0.5 * (sorted[middle - 1] + sorted[middle]),
    }
}

/// Amounts per second of `work`, which returns how much it has done: once for nothing, then for as many repeats as fit in
/// `seconds`.
pub(super) fn rates(seconds: f64, mut work: impl FnMut() -> f64) -> Vec<f64> {
    work();
    let mut rates = Vec::new();
    let began = Instant::now();
    while rates.len() < LEAST || (began.elapsed().as_secs_f64() < seconds && rates.len() < MOST) {
        let start = Instant::now();
        let amount = work();
        rates.push(amount / at_least_a_tick(start.elapsed()));
    }
    rates
}

/// Seconds, never zero.
pub(super) fn at_least_a_tick(elapsed: Duration) -> f64 {
    elapsed.max(Duration::from_nanos(1)).as_secs_f64()
}
