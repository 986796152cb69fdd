//! Where not to pick: ice crystals, carbon, dirt and the edges of the hole differ from the rest of a micrograph in
//! their mean or in their variance, and from particles too.

use super::peaks::Peak;
use crate::micrograph::{SD_PER_MAD, level_and_spread, median_of};
use ndarray::{Array2, Axis};
use vitreous_model::particle::Surroundings;

/// A neighbourhood whose mean or standard deviation lies so many robust standard deviations from the usual one is
/// suspect; so is one that lies as far from those of the other peaks.
const OUTLIER_SD: f32 = 6.0;
/// A mean must also differ by this, in standard deviations of the pixels, and a standard deviation by this part: on a
/// sparse micrograph of good contrast a particle is far outside the noise of both.
const LEAST_MEAN: f32 = 2.5;
const LEAST_DEVIATION: f32 = 0.35;
/// Of fewer peaks one cannot say what is usual.
const LEAST_PEAKS: usize = 10;

/// Mean and standard deviation of the neighbourhood of every pixel, and where they are suspect.
#[derive(Debug, Clone)]
pub(crate) struct Terrain {
    mean: Array2<f32>,
    deviation: Array2<f32>,
    /// The usual standard deviation.
    usual_deviation: f32,
    /// True within half a neighbourhood of a suspect one.
    pub suspect: Array2<bool>,
}

impl Terrain {
    /// Of an image of level 0 and spread 1, in neighbourhoods of `edge` pixels (made odd).
    pub fn of(image: &Array2<f32>, edge: usize) -> Self {
        let mean = box_mean(image, edge);
        let mut deviation = box_mean(&image.mapv(|v| v * v), edge);
        deviation.zip_mut_with(&mean, |square, mean| *square = (*square - mean * mean).max(0.0).sqrt());
        let (usual_deviation, _) = level_and_spread(deviation.as_slice().unwrap_or_default());
        let mut suspect = outliers(&mean, LEAST_MEAN);
        suspect.zip_mut_with(&outliers(&deviation, LEAST_DEVIATION * usual_deviation), |a, b| *a |= *b);
        Self { suspect: grown(&suspect, edge / 2), mean, deviation, usual_deviation }
    }

    /// Part of the image that is suspect.
    pub fn suspect_fraction(&self) -> f64 {
        self.suspect.iter().filter(|on| **on).count() as f64 / self.suspect.len().max(1) as f64
    }

    /// The neighbourhood of a place, in pixels of the image; of one outside that of the nearest place inside.
    pub fn around(&self, x: f64, y: f64) -> Surroundings {
        let (height, width) = self.mean.dim();
        // a negative number, or none, becomes 0
        let inside = |at: f64, length: usize| (at.round() as usize).min(length.saturating_sub(1));
        let at = [inside(y, height), inside(x, width)];
        let usual = f64::from(self.usual_deviation.max(f32::MIN_POSITIVE));
        Surroundings { local_sd: f64::from(self.deviation[at]) / usual, local_mean: f64::from(self.mean[at]) }
    }

    /// Leaves out the peaks on suspect ground that are unlike most other peaks in mean or standard deviation.
    pub fn keep_particles(&self, peaks: Vec<Peak>) -> Vec<Peak> {
        if peaks.len() < LEAST_PEAKS {
            return peaks;
        }
        let at = |peak: &Peak| [peak.y.round() as usize, peak.x.round() as usize];
        let usual = |values: &Array2<f32>, least: f32| {
            let here: Vec<f32> = peaks.iter().map(|peak| values[at(peak)]).collect();
            let (middle, spread) = level_and_spread_of_few(here);
            let reach = (OUTLIER_SD * spread).max(least);
            move |value: f32| (value - middle).abs() <= reach
        };
        let usual_mean = usual(&self.mean, 0.5 * LEAST_MEAN);
        let usual_deviation = usual(&self.deviation, 0.5 * LEAST_DEVIATION * self.usual_deviation);
        let keep = |peak: &Peak| {
            let place = at(peak);
            !self.suspect[place] || (usual_mean(self.mean[place]) && usual_deviation(self.deviation[place]))
        };
        let kept: Vec<bool> = peaks.iter().map(keep).collect();
        peaks.into_iter().zip(kept).filter_map(|(peak, keep)| keep.then_some(peak)).collect()
    }
}

fn level_and_spread_of_few(mut values: Vec<f32>) -> (f32, f32) {
    let middle = median_of(&mut values);
    values.iter_mut().for_each(|v| *v = (*v - middle).abs());
    (middle, SD_PER_MAD * median_of(&mut values))
}

fn outliers(values: &Array2<f32>, least: f32) -> Array2<bool> {
    let (level, spread) = level_and_spread(values.as_slice().unwrap_or_default());
    let reach = (OUTLIER_SD * spread).max(least);
    values.mapv(|v| (v - level).abs() > reach)
}

/// Mean over squares of `edge` pixels (made odd), cut at the borders.
pub(crate) fn box_mean(image: &Array2<f32>, edge: usize) -> Array2<f32> {
    let rows = lane_means(image, edge, Axis(1));
    lane_means(&rows, edge, Axis(0))
}

/// Running means along one axis, from sums in double precision.
fn lane_means(image: &Array2<f32>, edge: usize, axis: Axis) -> Array2<f32> {
    let mut out = image.clone();
    let reach = edge / 2;
    let mut sums = Vec::new();
    for mut lane in out.lanes_mut(axis) {
        sums.clear();
        sums.push(0.0);
        let mut total = 0.0;
        for value in &lane {
            total += f64::from(*value);
            sums.push(total);
        }
        let n = lane.len();
        for i in 0..n {
            let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(n));
            lane[i] = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
        }
    }
    out
}

/// True within `reach` pixels (in a square) of what is true.
fn grown(mask: &Array2<bool>, reach: usize) -> Array2<bool> {
    let part = box_mean(&mask.mapv(|on| f32::from(u8::from(on))), 2 * reach + 1);
    part.mapv(|v| v > 0.25 / ((2 * reach + 1) * (2 * reach + 1)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_squares_are_cut_at_borders() {
        let image = Array2::from_shape_fn((5, 6), |(y, x)| (10 * y + x) as f32);
        let mean = box_mean(&image, 3);
        assert_eq!(mean[[2, 3]], 23.0);
        assert_eq!(mean[[0, 0]], (0.0 + 1.0 + 10.0 + 11.0) / 4.0);
    }

    #[test]
    fn a_bright_patch_and_a_rough_patch_are_suspect_and_nothing_else() {
        let noise = |y: usize, x: usize| ((y * 7919 + x * 104_729 + y * x * 31) % 1000) as f32 / 500.0 - 1.0;
        let image = Array2::from_shape_fn((300, 300), |(y, x)| {
            let bright = if (40..80).contains(&y) && (40..80).contains(&x) { 8.0 } else { 0.0 };
            let rough = if (200..240).contains(&y) && (180..220).contains(&x) { 12.0 } else { 1.0 };
            noise(y, x) * rough + bright
        });
        let terrain = Terrain::of(&image, 21);
        let mask = &terrain.suspect;
        assert!(mask[[60, 60]] && mask[[220, 200]]);
        assert!(!mask[[150, 60]] && !mask[[60, 220]]);
        let part = mask.iter().filter(|on| **on).count() as f64 / 90_000.0;
        assert!(part < 0.16, "{part}");
        assert!((terrain.suspect_fraction() - part).abs() < 1e-9);
        let peak = |x: f64, y: f64| Peak { x, y, score: 5.0 };
        let mut peaks: Vec<Peak> = (0..12).map(|i| peak(15.0 + 22.0 * f64::from(i), 130.0)).collect();
        peaks.push(peak(60.0, 60.0));
        assert_eq!(terrain.keep_particles(peaks.clone()), peaks[..12]);
        assert_eq!(terrain.keep_particles(peaks[8..].to_vec()).len(), 5, "too few to tell");
        let (usual, bright) = (terrain.around(150.0, 60.0), terrain.around(60.0, 60.0));
        assert!((usual.local_sd - 1.0).abs() < 0.2 && usual.local_mean.abs() < 0.5, "{usual:?}");
        assert!(bright.local_mean > 6.0 && terrain.around(200.0, 220.0).local_sd > 5.0, "{bright:?}");
        assert_eq!(terrain.around(-9.0, 1e9), terrain.around(0.0, 299.0));
    }
}
