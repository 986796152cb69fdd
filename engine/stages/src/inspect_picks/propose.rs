//! Where thresholds may lie, from the distributions of scores and surroundings.

use crate::distribution::median;
use crate::micrograph::SD_PER_MAD;
use vitreous_jobs::inspect_picks::InspectPicks;
use vitreous_model::particle::Surroundings;

/// Nothing is proposed from fewer picks.
const LEAST_PICKS: usize = 30;
/// A local standard deviation so many robust standard deviations from the median is unusual.
const UNUSUAL_SD: f64 = 3.0;
/// Points at which a density is looked at.
const POINTS: usize = 200;
/// A density is smoothed over this part of Silverman's width (Density Estimation, 1986, eq. 3.31), which is made for one
/// peak and hides the valley between two.
const NARROWER: f64 = 0.6;
/// A valley is lower than this part of the lower of the two hills at its sides.
const DEEP: f64 = 0.75;
/// And by so many standard deviations, as the numbers of picks that make both have them: fewer than one in a hundred
/// samples of a normal distribution then shows a valley, of 30 picks or of 400.
const CERTAIN_SD: f64 = 2.0;
/// At least so much of all must lie on either side of a valley.
const LEAST_PART: f64 = 0.05;

/// The parameters with proposed thresholds: the valley of scores between false and true picks, and what is unusual in
/// the standard deviation round picks above it. `None`: there are too few picks, or nothing that stands out.
pub(super) fn propose(
    params: &InspectPicks,
    scores: &[f64],
    around: &[Surroundings],
) -> Option<InspectPicks> {
    let min_score = valley(scores).map(rounded);
    let above = scores.iter().zip(around).filter(|(score, _)| min_score.is_none_or(|least| **score >= least));
    let local_sd = usual(above.map(|(_, around)| around.local_sd).collect());
    let proposal = InspectPicks {
        min_score,
        min_local_sd: local_sd.map(|range| rounded(range[0])).filter(|least| *least > 0.0),
        max_local_sd: local_sd.map(|range| rounded(range[1])),
        ..params.clone()
    };
    proposal.has_thresholds().then_some(proposal)
}

/// The range within [`UNUSUAL_SD`] robust standard deviations of the median.
fn usual(values: Vec<f64>) -> Option<[f64; 2]> {
    let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    if values.len() < LEAST_PICKS {
        return None;
    }
    let middle = median(values.clone());
    let spread = f64::from(SD_PER_MAD) * median(values.iter().map(|v| (v - middle).abs()).collect());
    (spread > 0.0).then_some([middle - UNUSUAL_SD * spread, middle + UNUSUAL_SD * spread])
}

/// The deepest place between two hills of the density of the finite values; `None` if there is one hill only.
fn valley(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.len() < LEAST_PICKS {
        return None;
    }
    let width = NARROWER * silverman(&sorted)?;
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
    let (low, high) = (at(LEAST_PART), at(1.0 - LEAST_PART));
    let place = |i: usize| low + (high - low) * i as f64 / (POINTS - 1) as f64;
    // farther away a kernel adds less than a thousandth
    let reach = 4.0 * width;
    // a sum of kernels and its variance
    let density = |x: f64| -> [f64; 2] {
        let from = sorted.partition_point(|v| *v < x - reach);
        let to = sorted.partition_point(|v| *v <= x + reach);
        let kernels = sorted[from..to].iter().map(|v| (-0.5 * ((x - v) / width).powi(2)).exp());
        kernels.fold([0.0; 2], |[sum, squares], kernel| [sum + kernel, squares + kernel * kernel])
    };
    let curve: Vec<[f64; 2]> = (0..POINTS).map(|i| density(place(i))).collect();
    let highest =
        |part: &[[f64; 2]]| part.iter().copied().max_by(|a, b| a[0].total_cmp(&b[0])).unwrap_or_default();
    let lower_hill = |i: usize| {
        let (left, right) = (highest(&curve[..i]), highest(&curve[i + 1..]));
        if left[0] < right[0] { left } else { right }
    };
    let depth = |i: usize| curve[i][0] / lower_hill(i)[0];
    let deepest = (1..POINTS - 1).min_by(|a, b| depth(*a).total_cmp(&depth(*b)))?;
    let ([valley, noise], [hill, hill_noise]) = (curve[deepest], lower_hill(deepest));
    let certain = hill - valley > CERTAIN_SD * (noise + hill_noise).sqrt();
    (depth(deepest) < DEEP && certain).then(|| place(deepest))
}

/// The width of a kernel for a density of one hill; `None` for values that are all the same.
fn silverman(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let deviation = (sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let quartile = |part: f64| sorted[((n - 1.0) * part) as usize];
    // a normal distribution's quartiles are 1.34 standard deviations apart
    let spread = deviation.min((quartile(0.75) - quartile(0.25)) / 1.34);
    (spread > 0.0).then(|| 0.9 * spread * n.powf(-0.2))
}

/// To three digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // through text, so that what is written is as short as it reads
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    fn normal(rng: &mut ChaCha8Rng, count: usize, mean: f64, sd: f64) -> Vec<f64> {
        (0..count).map(|_| mean + sd * rng.sample::<f64, _>(StandardNormal)).collect()
    }

    /// Scores of noise above a picker's threshold: the tail of a normal distribution.
    fn noise(rng: &mut ChaCha8Rng, count: usize, threshold: f64) -> Vec<f64> {
        (0..count).map(|_| threshold - 0.35 * (1.0 - rng.random::<f64>()).ln()).collect()
    }

    #[test]
    fn the_valley_between_noise_and_particles_is_found_whatever_their_numbers() {
        for (seed, false_picks, particles) in [(1, 150, 400), (2, 400, 150), (3, 60, 60), (4, 30, 500)] {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut scores = noise(&mut rng, false_picks, 3.5);
            scores.extend(normal(&mut rng, particles, 8.0, 1.2));
            scores.push(f64::NAN);
            let found = valley(&scores).unwrap_or_else(|| panic!("{false_picks} {particles}: none"));
            assert!((4.4..6.6).contains(&found), "{false_picks} {particles}: {found}");
        }
    }

    #[test]
    fn few_picks_of_one_kind_seldom_look_like_two() {
        let shows_one = |seed: &u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(1000 + seed);
            valley(&normal(&mut rng, 50, 7.0, 1.5)).is_some()
        };
        let shown = (0..200).filter(shows_one).count();
        assert!(shown <= 4, "{shown} of 200");
    }

    #[test]
    fn one_hill_has_no_valley() {
        for seed in 0..20 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            assert_eq!(valley(&normal(&mut rng, 400, 7.0, 1.5)), None, "{seed}");
            assert_eq!(valley(&noise(&mut rng, 400, 3.5)), None, "{seed}");
        }
        assert_eq!(valley(&[1.0; 100]), None);
        assert_eq!(valley(&[1.0, 9.0]), None);
    }

    #[test]
    fn a_proposal_keeps_particles_and_leaves_out_crystals() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut scores = noise(&mut rng, 100, 3.5);
        scores.extend(normal(&mut rng, 300, 8.0, 1.0));
        scores.extend([9.0; 10]);
        let mut sds = normal(&mut rng, 400, 1.1, 0.05);
        sds.extend([2.5; 10]);
        let around: Vec<Surroundings> =
            sds.iter().map(|sd| Surroundings { local_sd: *sd, local_mean: 0.0 }).collect();
        let proposal = propose(&InspectPicks::default(), &scores, &around).unwrap();
        assert!((0.9..1.0).contains(&proposal.min_local_sd.unwrap()), "{proposal:?}");
        assert!((1.2..1.4).contains(&proposal.max_local_sd.unwrap()), "{proposal:?}");
        assert!(proposal.min_score.is_some());
        assert_eq!(propose(&InspectPicks::default(), &scores[..20], &around[..20]), None);
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be_copied() {
        for (value, text) in
            [(4.56789, "4.57"), (0.987_654, "0.988"), (123.456, "123"), (-0.001_234_5, "-0.00123")]
        {
            assert_eq!(rounded(value).to_string(), text);
        }
    }
}
