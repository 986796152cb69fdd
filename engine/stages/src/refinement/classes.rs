//! To which class a particle belongs: shares by evidence, without what a particle tells of itself.

use super::data::Data;
use super::state::{Mode, ParticleState};
use std::f64::consts::PI;

/// Iterations with the one starting map before it is split into classes: poses have to be good enough for differences to add up.
pub const ITERATIONS_BEFORE_SPLIT: u32 = 3;

/// Iterations after a split in which each particle goes to one class as a whole. Classes that chance made differ by little,
/// so that shares by evidence would stay near equal for long; the better one taken whole lets the difference grow fast.
pub const ITERATIONS_AS_A_WHOLE: u32 = 8;

/// Least iterations with several classes: they begin to differ slowly.
pub const LEAST_ITERATIONS: u32 = 12;

/// A class with a smaller share of the particles is empty: chance gave it too little of what it might have become, and what it
/// has left makes no map.
const EMPTY: f64 = 0.01;

/// How many times an empty class is filled again. Where there are fewer states than classes it empties each time.
const MOST_REFILLS: u32 = 2;

/// A share smaller than this is left out of the map: it would cost an insertion and change nothing.
pub const LEAST_SHARE: f64 = 0.02;

/// What is known of a class when particles are compared with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Logarithm of the share of all particles it has; 0 where all are taken as equally likely.
    pub log_prior: f64,
    /// logL that a particle wholly in the class gains by being in its map, nats.
    pub own_gain: f64,
}

/// logL that a particle gains by having entered the map it is compared with, nats.
///
/// In an average over n images a coefficient of one image has the leverage h, its weight over that of all. Left out, its
/// residual would be 1/(1 - h) times as large (the jackknife's identity for linear fits, e.g. Allen 1974, PRESS), and logL
/// lower by about 2 h. In a shell of radius r the h add up to the `2 π r²` coefficients of half a shell over n; a mask
/// keeps its part of them, a Wiener filter the FSC's part, and a point group shares them out between its operators.
///
/// `fsc` is by shell from 0, `joined` the first shell that is not averaged over both halves, `last` the end of the band in
/// Fourier pixels, `within` the part of the box that the mask leaves, `particles` the number in this half's map.
pub fn own_gain(fsc: &[f64], joined: usize, last: f64, within: f64, operators: usize, particles: f64) -> f64 {
    let shells = 1..fsc.len().min(last as usize + 1);
    let coefficients: f64 = shells
        .map(|shell| {
            let halves = if shell < joined { 2.0 } else { 1.0 };
            // NaN is no signal
            let known = if fsc[shell] > 0.0 { fsc[shell].min(1.0) } else { 0.0 };
            2.0 * PI * (shell * shell) as f64 * known / halves
        })
        .sum();
    2.0 * coefficients * within / (operators.max(1) as f64 * particles.max(1.0))
}

/// Number of particles of each half in each class, `[half][class]`, by shares.
pub fn occupancies(data: &Data, particles: &[ParticleState], classes: usize) -> [Vec<f64>; 2] {
    let mut sums = [vec![0.0; classes], vec![0.0; classes]];
    for (particle, half) in particles.iter().zip(&data.halves) {
        for mode in particle.modes.iter().filter(|mode| mode.class < classes) {
            sums[half.index()][mode.class] += mode.share;
        }
    }
    sums
}

/// Share of each class in all particles; equal where nothing is known.
pub fn shares(occupancies: &[Vec<f64>; 2]) -> Vec<f64> {
    let [first, second] = occupancies;
    let all: f64 = first.iter().chain(second).sum();
    let equal = 1.0 / first.len().max(1) as f64;
    first.iter().zip(second).map(|(a, b)| if all > 0.0 { (a + b) / all } else { equal }).collect()
}

/// Shares of the classes from their log evidence; all to the best with `whole`.
pub fn shares_of(log_evidence: &[f64], whole: bool) -> Vec<f64> {
    let best = (0..log_evidence.len())
        .max_by(|&a, &b| log_evidence[a].total_cmp(&log_evidence[b]))
        .unwrap_or_default();
    if whole {
        return (0..log_evidence.len()).map(|class| f64::from(u8::from(class == best))).collect();
    }
    let weights: Vec<f64> = log_evidence.iter().map(|e| (e - log_evidence[best]).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Particles put into classes by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// All, of one map, into this many classes.
    Split(usize),
    /// Half of one class's into an empty one, for the n-th time, from 0.
    Refill {
        /// The class they are taken from.
        from: usize,
        /// The empty class.
        into: usize,
        /// How many times classes were filled before.
        before: u32,
    },
}

impl Draw {
    /// The empty class that is filled after an iteration with these shares of the classes, if one is: from the largest one,
    /// in which two states may hide; the next time, if that was in vain, from the second largest.
    pub fn refill(shares: &[f64], before: u32) -> Option<Self> {
        if before >= MOST_REFILLS {
            return None;
        }
        let into = (0..shares.len())
            .filter(|&class| shares[class] < EMPTY)
            .min_by(|&a, &b| shares[a].total_cmp(&shares[b]))?;
        let mut full: Vec<usize> = (0..shares.len()).filter(|&class| shares[class] >= EMPTY).collect();
        // stable: of equal ones the first
        full.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
        let from = *full.get(before as usize % full.len().max(1))?;
        Some(Self::Refill { from, into, before })
    }

    /// The class that the particle `id`, now of `class`, is put into; none if it stays as it is.
    pub fn class_of(self, class: usize, id: u64, seed: u64) -> Option<usize> {
        match self {
            Self::Split(classes) => Some(by_chance(id, seed, classes)),
            Self::Refill { from, .. } if class != from => None,
            Self::Refill { from, into, before } => {
                // other throws than those of the split and of earlier times
                let seed = seed.wrapping_add(1 + u64::from(before));
                Some([from, into][by_chance(id, seed, 2)])
            }
        }
    }
}

/// The class of a particle when one map is split: chance, from the seed and the particle's id alone.
fn by_chance(id: u64, seed: u64, classes: usize) -> usize {
    use super::data::scrambled;
    (scrambled(scrambled(id) ^ scrambled(seed.wrapping_add(1))) % classes.max(1) as u64) as usize
}

/// A particle put into a class with its best pose.
pub fn put_into(particle: &ParticleState, class: usize) -> ParticleState {
    let mode = Mode { class, pose: particle.pose(), share: 1.0 };
    ParticleState { modes: vec![mode], ..particle.clone() }
}

#[cfg(test)]
mod unit {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    #[test]
    fn shares_follow_evidence() {
        let shares = shares_of(&[0.0, 3f64.ln(), f64::NEG_INFINITY], false);
        assert!((shares[0] - 0.25).abs() < 1e-12 && (shares[1] - 0.75).abs() < 1e-12 && shares[2] == 0.0);
        assert_eq!(shares_of(&[1.0, 2.0, 0.0], true), [0.0, 1.0, 0.0]);
    }

    /// Averages of white noise: what one image gains in them over what it has in the average of the others.
    #[test]
    fn the_own_gain_is_that_of_being_in_the_average() {
        let (images, last) = (40, 15);
        // as many real values as half of the shells has real and imaginary parts, each of unit variance
        let coefficients: f64 = (1..=last).map(|shell| 2.0 * PI * f64::from(shell * shell)).sum();
        let values = (2.0 * coefficients) as usize;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let noise: Vec<Vec<f64>> =
            (0..images).map(|_| (0..values).map(|_| rng.sample(StandardNormal)).collect()).collect();
        let log_l = |image: &[f64], map: &[f64]| -> f64 {
            image.iter().zip(map).map(|(x, v)| -0.5 * (x - v).powi(2)).sum()
        };
        let sum: Vec<f64> = (0..values).map(|k| noise.iter().map(|image| image[k]).sum()).collect();
        let mut gain = 0.0;
        for image in &noise {
            let with: Vec<f64> = sum.iter().map(|s| s / images as f64).collect();
            let without: Vec<f64> =
                sum.iter().zip(image).map(|(s, x)| (s - x) / (images - 1) as f64).collect();
            gain += (log_l(image, &with) - log_l(image, &without)) / images as f64;
        }
        let expected = own_gain(&[1.0; 16], 0, f64::from(last), 1.0, 1, images as f64);
        // 1/(1 - h)² is 1 + 2 h and some 3 h² more, 4 % of it with 40 images; the sums scatter by less than 1 %
        assert!((gain / expected - 1.0).abs() < 0.06, "{gain}, expected about {expected}");
    }

    #[test]
    fn a_larger_class_a_mask_and_symmetry_make_the_own_gain_smaller() {
        let fsc = vec![1.0; 21];
        let gain =
            |joined, within, operators, particles| own_gain(&fsc, joined, 10.0, within, operators, particles);
        let all = gain(0, 1.0, 1, 100.0);
        // 2 · 2π · (1 + 4 + … + 100) / 100
        assert!((all - 4.0 * PI * 385.0 / 100.0).abs() < 1e-9);
        assert!((gain(0, 0.25, 1, 100.0) / all - 0.25).abs() < 1e-12);
        assert!((gain(0, 1.0, 4, 200.0) / all - 0.125).abs() < 1e-12);
        assert!((gain(21, 1.0, 1, 100.0) / all - 0.5).abs() < 1e-12);
        // only shell 1 has signal, and the band may be longer than the curve
        assert_eq!(own_gain(&[1.0, 1.0, -0.3, f64::NAN], 0, 9.0, 1.0, 1, 1.0), 4.0 * PI);
    }

    #[test]
    fn an_empty_class_is_filled_from_the_largest_and_then_from_the_next() {
        let shares = [0.3, 0.002, 0.6, 0.098];
        let first = Draw::refill(&shares, 0).unwrap();
        assert_eq!(first, Draw::Refill { from: 2, into: 1, before: 0 });
        assert_eq!(Draw::refill(&shares, 1), Some(Draw::Refill { from: 0, into: 1, before: 1 }));
        assert_eq!(Draw::refill(&shares, MOST_REFILLS), None);
        assert_eq!(Draw::refill(&[0.4, 0.6], 0), None);
        assert_eq!(Draw::refill(&[0.0, 0.0], 0), None);
        // half of the one, none of the others
        assert_eq!(first.class_of(0, 5, 1), None);
        let moved = (0..2000).filter(|&id| first.class_of(2, id, 1) == Some(1)).count();
        assert!((900..1100).contains(&moved), "{moved}");
        assert!((0..100).any(|id| first.class_of(2, id, 1) != Some(2 - by_chance(id, 1, 2))));
    }

    #[test]
    fn chance_splits_evenly_and_by_the_seed() {
        let count = |seed| (0..3000).filter(|&id| by_chance(id, seed, 3) == 1).count();
        assert!((900..1100).contains(&count(1)), "{}", count(1));
        assert!((0..100).any(|id| by_chance(id, 1, 3) != by_chance(id, 2, 3)));
    }
}
