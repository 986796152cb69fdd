//! Pixels of the detector that do not tell the truth, found in the sum of all frames, and what to put in their place.

use rayon::prelude::*;
use vitreous_compute::movie::detector::{Defect, Defects};

/// Radius of the square from which a replacement is taken, pixels; widened where too few pixels are good.
const RADIUS: usize = 2;

/// Widest such radius.
const MAX_RADIUS: usize = 8;

/// Replacements kept per pixel.
const CHOICES: usize = 8;

/// So many neighbours that deviate alike make a feature of the specimen; a corner of one has 8, a bad column 4.
const ALIKE: usize = 6;

/// Edge of the blocks whose median is the local background, pixels.
const BLOCK: usize = 32;

/// Finds the bad pixels in the sum of all frames (`[height, width]`, gain applied): pixels that deviate from the local
/// background, nearly alone, by more than `threshold` standard deviations, and those with a gain of 0. The standard
/// deviation is that of the sum about its local background (robustly, from the quartiles).
pub fn find(sum: &[f32], gain: Option<&[f32]>, width: usize, threshold: f64) -> Defects {
    let height = sum.len().checked_div(width).unwrap_or(0);
    let blind = |i: usize| gain.is_some_and(|gain| gain[i] == 0.0);
    let background = Background::new(sum, width, height);
    let limit = (threshold * background.deviation) as f32;
    let mut bad: Vec<usize> = (0..height)
        .into_par_iter()
        .flat_map_iter(|y| {
            let (background, row) = (&background, &sum[y * width..(y + 1) * width]);
            let level = move |x: usize| background.at(x, y);
            row.iter().enumerate().filter_map(move |(x, &value)| {
                let index = y * width + x;
                let far = limit > 0.0 && (value - level(x)).abs() > limit;
                let bad = blind(index) || (far && stands_out(sum, width, height, (x, y), level(x)));
                bad.then_some(index)
            })
        })
        .collect();
    bad.sort_unstable();
    let in_gain = bad.iter().filter(|i| blind(**i)).count();
    let pixels =
        bad.iter().map(|&index| Defect { index, choices: stand_ins(&bad, index, width, height) }).collect();
    Defects { pixels, in_gain }
}

/// Whether fewer than [`ALIKE`] of a pixel's 24 neighbours deviate from the background `level` like it does, by half as
/// much or more: hot pixels, small clusters and single columns do so, a broad strong feature of the specimen (a
/// fiducial) does not, not even its corners.
fn stands_out(sum: &[f32], width: usize, height: usize, (x, y): (usize, usize), level: f32) -> bool {
    let own = sum[y * width + x] - level;
    let mut alike = 0;
    for v in y.saturating_sub(2)..(y + 3).min(height) {
        for u in x.saturating_sub(2)..(x + 3).min(width) {
            let other = sum[v * width + u] - level;
            alike += usize::from((u, v) != (x, y) && other / own > 0.5);
        }
    }
    alike < ALIKE
}

fn stand_ins(bad: &[usize], index: usize, width: usize, height: usize) -> Vec<usize> {
    let (x, y) = (index % width, index / width);
    for radius in RADIUS..=MAX_RADIUS {
        let mut good: Vec<usize> = Vec::new();
        for v in y.saturating_sub(radius)..(y + radius + 1).min(height) {
            for u in x.saturating_sub(radius)..(x + radius + 1).min(width) {
                let candidate = v * width + u;
                if bad.binary_search(&candidate).is_err() {
                    good.push(candidate);
                }
            }
        }
        if good.len() >= CHOICES || (radius == MAX_RADIUS && !good.is_empty()) {
            // spread over the square, not its first rows
            let step = good.len() as f64 / CHOICES.min(good.len()) as f64;
            return (0..CHOICES.min(good.len())).map(|i| good[(i as f64 * step) as usize]).collect();
        }
    }
    Vec::new()
}

/// Medians of blocks, and the spread about them.
struct Background {
    medians: Vec<f32>,
    columns: usize,
    deviation: f64,
}

impl Background {
    fn new(sum: &[f32], width: usize, height: usize) -> Self {
        let (columns, rows) = (width.div_ceil(BLOCK), height.div_ceil(BLOCK));
        let blocks: Vec<(f32, f32)> = (0..columns * rows)
            .into_par_iter()
            .map(|block| {
                let (x0, y0) = (block % columns * BLOCK, block / columns * BLOCK);
                let (x1, y1) = ((x0 + BLOCK).min(width), (y0 + BLOCK).min(height));
                // every third row is enough for a median
                let mut values: Vec<f32> =
                    (y0..y1).step_by(3).flat_map(|y| &sum[y * width + x0..y * width + x1]).copied().collect();
                quartiles(&mut values)
            })
            .collect();
        // the interquartile range of a normal distribution is 1.349 standard deviations
        let mut spreads: Vec<f32> = blocks.iter().map(|b| b.1 / 1.349).collect();
        let middle = spreads.len() / 2;
        let deviation = if spreads.is_empty() {
            0.0
        } else {
            f64::from(*spreads.select_nth_unstable_by(middle, f32::total_cmp).1)
        };
        Self { medians: blocks.into_iter().map(|b| b.0).collect(), columns, deviation }
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        self.medians[y / BLOCK * self.columns + x / BLOCK]
    }
}

/// Median and interquartile range.
fn quartiles(values: &mut [f32]) -> (f32, f32) {
    let n = values.len();
    let (low, median, high) = (n / 4, n / 2, n * 3 / 4);
    let median = *values.select_nth_unstable_by(median, f32::total_cmp).1;
    let low = *values.select_nth_unstable_by(low, f32::total_cmp).1;
    let high = *values.select_nth_unstable_by(high, f32::total_cmp).1;
    (median, high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(width: usize, height: usize) -> Vec<f32> {
        let scatter = |i: usize| (((i * 7919 + 104_729) % 65_537 * 40_503) % 2001) as f32 / 1000.0 - 1.0;
        // the sum of scatters is nearly normal, with variance 4/3; the gradient must not matter
        (0..width * height)
            .map(|i| {
                let noise: f32 = (0..4).map(|k| scatter(i * 4 + k)).sum();
                100.0 + 0.05 * (i % width) as f32 + noise
            })
            .collect()
    }

    #[test]
    fn hot_dead_and_blind_pixels_are_found_and_nothing_else() {
        let (width, height) = (150, 90);
        let mut sum = noisy(width, height);
        let mut gain = vec![1.0; sum.len()];
        let planted = [0, 149, 5000, 5001, 8_000, width * height - 1];
        for (i, index) in planted.iter().enumerate() {
            sum[*index] += if i % 2 == 0 { 40.0 } else { -40.0 };
        }
        gain[777] = 0.0;
        sum[777] = 0.0;
        let defects = find(&sum, Some(&gain), width, 6.0);
        let found: Vec<usize> = defects.pixels.iter().map(|d| d.index).collect();
        assert_eq!(found, [0, 149, 777, 5000, 5001, 8_000, width * height - 1]);
        assert_eq!(defects.in_gain, 1);
        for defect in &defects.pixels {
            assert!(defect.choices.iter().all(|c| !found.contains(c)) && defect.choices.len() == CHOICES);
            assert_eq!(Defects::replacement(defect, 3), Defects::replacement(defect, 3));
        }
        assert_eq!(defects.in_rows(width, 5, 34).len(), 3);
    }

    #[test]
    fn a_broad_bright_feature_is_left_alone() {
        let (width, height) = (128, 128);
        let mut sum = noisy(width, height);
        for y in 40..52 {
            for x in 40..52 {
                sum[y * width + x] += 60.0;
            }
        }
        assert_eq!(find(&sum, None, width, 6.0).pixels, []);
    }

    #[test]
    fn a_flat_image_has_no_defects() {
        assert_eq!(find(&[3.0; 64 * 64], None, 64, 6.0).pixels, []);
        assert_eq!(find(&[], None, 0, 6.0).pixels, []);
    }
}
