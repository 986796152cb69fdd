//! The camera: counted electrons, sensitivity of the pixels, hot and dead ones.

use super::random::{Purpose, normal, stream};
use ndarray::Array2;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson};
use rayon::prelude::*;

/// Sensitivities are kept above this, so that the gain stays finite.
const LEAST_SENSITIVITY: f64 = 0.2;
/// Mean counts of a hot pixel, as a multiple of the frame's mean, and at least.
const HOT: (f64, f64) = (20.0, 40.0);
/// Mean counts from which the rejection method is faster than inversion.
const INVERSION_LIMIT: f64 = 20.0;
/// Most counts that inversion gives; at a mean of 20 one pixel in 10⁵⁰ would have more.
const MOST_COUNTS: usize = 128;
/// 1/n: a multiplication is several times faster than the division it replaces in every pixel.
const RECIPROCALS: [f64; MOST_COUNTS + 1] = {
    let mut table = [0.0; MOST_COUNTS + 1];
    let mut n = 1;
    while n <= MOST_COUNTS {
        table[n] = 1.0 / n as f64;
        n += 1;
    }
    table
};

/// A camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Counts of a pixel per electron that hits it, `[height, width]`; empty: 1.
    sensitivity: Vec<f32>,
    /// Pixels that ignore the image, by rising index: their mean counts relative to the frame's mean (0 dead).
    defects: Vec<(usize, bool)>,
}

impl Camera {
    /// A camera whose gain varies by `spread` from pixel to pixel, with `defects` bad pixels, every other one hot.
    pub fn random(seed: u64, width: usize, height: usize, spread: f64, defects: usize) -> Self {
        let sensitivity = if spread > 0.0 {
            let row = |y: usize| {
                let mut rng = stream(seed, Purpose::Gain, 0, y as u64);
                (0..width)
                    .map(move |_| (1.0 + spread * normal(&mut rng)).max(LEAST_SENSITIVITY) as f32)
                    .collect()
            };
            (0..height).into_par_iter().map(row).collect::<Vec<Vec<f32>>>().concat()
        } else {
            Vec::new()
        };
        let mut rng = stream(seed, Purpose::Defects, 0, 0);
        let mut bad: Vec<(usize, bool)> =
            (0..defects).map(|i| (rng.random_range(0..width * height), i % 2 == 0)).collect();
        bad.sort_unstable();
        bad.dedup_by_key(|(index, _)| *index);
        Self { width, height, sensitivity, defects: bad }
    }

    /// The gain reference: what a frame is multiplied with to be flat. `None` if it is flat as it is. Defects are not
    /// marked: finding them is left to motion correction.
    pub fn gain(&self) -> Option<Array2<f32>> {
        if self.sensitivity.is_empty() {
            return None;
        }
        let gain = self.sensitivity.iter().map(|s| 1.0 / s).collect();
        Some(
            Array2::from_shape_vec((self.height, self.width), gain)
                .expect("one sensitivity should stand for each pixel"),
        )
    }

    /// Turns expected electrons of row `y` into counts, in place. `mean` is the frame's mean, `rng` the row's own.
    pub fn count(&self, y: usize, mean: f64, row: &mut [f32], rng: &mut ChaCha8Rng) {
        let start = y * self.width;
        for (x, value) in row.iter_mut().enumerate() {
            let sensitivity = self.sensitivity.get(start + x).copied().unwrap_or(1.0);
            *value = poisson(rng, f64::from(*value * sensitivity)) as f32;
        }
        let first = self.defects.partition_point(|(index, _)| *index < start);
        for &(index, hot) in self.defects[first..].iter().take_while(|(index, _)| *index < start + self.width)
        {
            row[index - start] = if hot { poisson(rng, (HOT.0 * mean).max(HOT.1)) as f32 } else { 0.0 };
        }
    }
}

/// A Poisson number: by inversion (adding up probabilities until they pass a uniform number) where the mean is small.
fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    if mean >= INVERSION_LIMIT {
        return Poisson::new(mean).map_or(mean, |law| law.sample(rng));
    }
    if mean.is_nan() || mean <= 0.0 {
        return 0.0;
    }
    let target = (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
    let mut probability = (-mean).exp();
    let mut sum = probability;
    let mut count = 0;
    // the sum can stop short of 1 by rounding
    while sum < target && count < MOST_COUNTS {
        count += 1;
        probability *= mean * RECIPROCALS[count];
        sum += probability;
    }
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_mean_and_variance_of_their_law() {
        let mut rng = stream(1, Purpose::Electrons, 0, 0);
        for mean in [0.05, 0.7, 3.4, 15.0, 60.0] {
            let draws: Vec<f64> = (0..40_000).map(|_| poisson(&mut rng, mean)).collect();
            let average = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|d| (d - average).powi(2)).sum::<f64>() / draws.len() as f64;
            // five standard errors
            assert!((average - mean).abs() < 5.0 * (mean / 40_000.0).sqrt(), "{mean}: {average}");
            let error = ((2.0 + 1.0 / mean) / 40_000.0).sqrt();
            assert!((variance / mean - 1.0).abs() < 6.0 * error, "{mean}: {variance}");
        }
        assert_eq!((poisson(&mut rng, 0.0), poisson(&mut rng, f64::NAN)), (0.0, 0.0));
    }

    #[test]
    fn frames_times_gain_are_flat_and_defects_stand_out() {
        let camera = Camera::random(3, 200, 100, 0.1, 10);
        let gain = camera.gain().unwrap();
        let mut sums = vec![0.0f64; 200 * 100];
        for frame in 0..200 {
            for y in 0..100 {
                let mut row = vec![5.0f32; 200];
                let mut rng = stream(3, Purpose::Electrons, frame, y as u64);
                camera.count(y, 5.0, &mut row, &mut rng);
                row.iter().enumerate().for_each(|(x, v)| sums[y * 200 + x] += f64::from(*v * gain[[y, x]]));
            }
        }
        // a good pixel's sum of 1000 has a standard deviation of at most 40
        let bad: Vec<usize> = (0..sums.len()).filter(|&i| !(750.0..1250.0).contains(&sums[i])).collect();
        let expected: Vec<usize> = camera.defects.iter().map(|(index, _)| *index).collect();
        assert_eq!(bad, expected);
    }
}
