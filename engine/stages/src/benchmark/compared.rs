//! Ranks and hosts beside each other.

use super::measured::{Measured, median};
use crate::machine::Seen;
use serde::{Deserialize, Serialize};

/// What one rank has measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RankFigures {
    /// Where.
    pub seen: Seen,
    /// Vectors of its processor that multiplications and additions are measured with.
    pub vectors: String,
    /// Of the rank, and of the disks of its host if it is the first rank there.
    pub measured: Vec<Measured>,
    /// Disks that could not be measured: which and why.
    pub refused: Vec<(String, String)>,
    /// Disks and their file systems.
    pub file_systems: Vec<(String, String)>,
}

/// One kind of measurement on all ranks that made it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    /// What.
    pub what: String,
    /// Unit.
    pub unit: String,
    /// More is better.
    pub is_rate: bool,
    /// Rank and its median.
    pub ranks: Vec<(usize, f64)>,
}

impl Compared {
    /// Every kind, in the order in which they were made.
    pub fn all(ranks: &[RankFigures]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (rank, figures) in ranks.iter().enumerate() {
            for Measured { what, unit, is_rate, .. } in &figures.measured {
                if all.iter().all(|known| known.what != *what) {
                    let (what, unit, is_rate) = (what.clone(), unit.clone(), *is_rate);
                    all.push(Self { what, unit, is_rate, ranks: Vec::new() });
                }
            }
            for known in &mut all {
                let own = figures.measured.iter().find(|measured| measured.what == known.what);
                known.ranks.extend(own.map(|measured| (rank, measured.median())));
            }
        }
        all
    }

    /// The middle rank's value.
    pub fn median(&self) -> f64 {
        median(self.ranks.iter().map(|(_, value)| *value))
    }

    /// Smallest and largest value of a rank.
    pub fn extremes(&self) -> [f64; 2] {
        let values = || self.ranks.iter().map(|(_, value)| *value);
        [values().fold(f64::NAN, f64::min), values().fold(f64::NAN, f64::max)]
    }

    /// How fast a rank is beside the median: 1 is as fast.
    fn part_of_median(&self, value: f64) -> f64 {
        if self.is_rate { value / self.median() } else { self.median() / value }
    }

    /// Ranks that reach less than `slow` of the median, with what they reach of it. Of two ranks the median is the mean, so the
    /// slower one has to fall further behind.
    pub fn slow(&self, slow: f64) -> Vec<(usize, f64)> {
        let part = |(rank, value): &(usize, f64)| (*rank, self.part_of_median(*value));
        self.ranks.iter().map(part).filter(|(_, part)| *part < slow).collect()
    }

    /// Part of the time that ranks with equal work would wait for the slowest, on average: 0 to 1.
    pub fn waiting(&self) -> f64 {
        let time = |value: f64| if self.is_rate { 1.0 / value } else { value };
        let times: Vec<f64> = self.ranks.iter().map(|(_, value)| time(*value)).collect();
        let longest = times.iter().copied().fold(f64::NAN, f64::max);
        1.0 - times.iter().sum::<f64>() / times.len() as f64 / longest
    }
}
