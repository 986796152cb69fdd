//! Particles as peaks of a score map.

use super::apart;
use crate::micrograph::{SD_PER_MAD, level_and_spread, median_of};
use ndarray::Array2;

/// The noise is told from pixels this far from every peak, in largest diameters: beyond a particle and most of the dip
/// around its response.
const CLEARANCE_DIAMETERS: f64 = 0.75;
/// Noise is not told from less than this part of a map.
const LEAST_AREA: f64 = 0.1;
/// Rounds of telling the noise from what is not near a peak; the spread settles to a per cent in three or four.
const ROUNDS: usize = 8;

/// A peak: place in pixels of the score map (with fractions) and height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Peak {
    pub x: f64,
    pub y: f64,
    pub score: f64,
}

/// What a peak must satisfy; lengths in pixels of the map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    /// Lowest score.
    pub threshold: f64,
    /// Scores so many robust standard deviations above the median of peaks are contamination.
    pub max_score_sd: f64,
    /// Smallest distance of two.
    pub min_distance: f64,
    /// Smallest distance to the edge of the map.
    pub border: f64,
    /// Keep the best so many.
    pub most: usize,
}

/// Scales a response so that the noise has level 0 and robust standard deviation 1. What is noise is found in rounds:
/// all pixels but those near peaks of the round before, and never `forbidden` ones. So the scale does not depend on how
/// many particles there are. `diameter` is the largest, in pixels. Returns `None` for a response without noise.
pub(crate) fn in_units_of_noise(
    response: &Array2<f32>,
    forbidden: &Array2<bool>,
    diameter: f64,
    rules: &Rules,
) -> Option<Array2<f32>> {
    let mut excluded = forbidden.clone();
    let mut scores = response.clone();
    let mut last_spread = 0.0;
    for _ in 0..ROUNDS {
        let noise: Vec<f32> =
            response.iter().zip(&excluded).filter(|(_, out)| !**out).map(|(v, _)| *v).collect();
        if (noise.len() as f64) < LEAST_AREA * response.len() as f64 && last_spread > 0.0 {
            break;
        }
        let (level, spread) = level_and_spread(&noise);
        if spread == 0.0 {
            return None;
        }
        scores.zip_mut_with(response, |score, value| *score = (value - level) / spread);
        if (spread / last_spread - 1.0).abs() < 0.01 {
            break;
        }
        last_spread = spread;
        excluded.assign(forbidden);
        for peak in best_apart(&scores, rules) {
            exclude_disc(&mut excluded, &peak, CLEARANCE_DIAMETERS * diameter);
        }
    }
    Some(scores)
}

fn exclude_disc(mask: &mut Array2<bool>, peak: &Peak, radius: f64) {
    let (height, width) = mask.dim();
    let range = |at: f64, n: usize| (at - radius).max(0.0) as usize..=((at + radius) as usize).min(n - 1);
    for y in range(peak.y, height) {
        for x in range(peak.x, width) {
            mask[[y, x]] |= (x as f64 - peak.x).hypot(y as f64 - peak.y) <= radius;
        }
    }
}

/// Local maxima above the threshold, the best first, none too close to a better one.
fn best_apart(scores: &Array2<f32>, rules: &Rules) -> Vec<Peak> {
    let mut peaks = local_maxima(scores, rules.threshold);
    peaks.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.y.total_cmp(&b.y)).then(a.x.total_cmp(&b.x)));
    let stays = apart::best_first(peaks.iter().map(|peak| [peak.x, peak.y]), rules.min_distance);
    peaks.into_iter().zip(stays).filter_map(|(peak, stays)| stays.then_some(peak)).collect()
}

/// Local maxima of `scores` that satisfy the rules and that `keep_particles` leaves, the best first. Of two that are too
/// close the better stays; a peak that is thrown out as contamination still keeps others away.
pub(crate) fn find(
    scores: &Array2<f32>,
    rules: &Rules,
    keep_particles: impl FnOnce(Vec<Peak>) -> Vec<Peak>,
) -> Vec<Peak> {
    let peaks = best_apart(scores, rules);
    let (height, width) = scores.dim();
    let inside = |at: f64, length: usize| at >= rules.border && at <= (length as f64 - 1.0) - rules.border;
    let peaks = peaks.into_iter().filter(|p| inside(p.x, width) && inside(p.y, height)).collect();
    let mut kept = keep_particles(peaks);
    let highest = highest_plausible(&kept, rules.max_score_sd);
    kept.retain(|peak| peak.score <= highest);
    kept.truncate(rules.most);
    kept
}

/// Pixels above their eight neighbours, refined by a parabola along each axis. Border pixels are none.
fn local_maxima(scores: &Array2<f32>, threshold: f64) -> Vec<Peak> {
    let (height, width) = scores.dim();
    let mut peaks = Vec::new();
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let here = scores[[y, x]];
            if f64::from(here) < threshold {
                continue;
            }
            // of equal neighbours the first in reading order counts
            let before = [(y - 1, x - 1), (y - 1, x), (y - 1, x + 1), (y, x - 1)];
            let after = [(y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1)];
            if before.iter().all(|at| scores[*at] < here) && after.iter().all(|at| scores[*at] <= here) {
                let along_x = vertex(scores[[y, x - 1]], here, scores[[y, x + 1]]);
                let along_y = vertex(scores[[y - 1, x]], here, scores[[y + 1, x]]);
                peaks.push(Peak { x: x as f64 + along_x, y: y as f64 + along_y, score: f64::from(here) });
            }
        }
    }
    peaks
}

/// Where a parabola through three neighbouring values has its top, relative to the middle one.
fn vertex(before: f32, here: f32, after: f32) -> f64 {
    let curvature = f64::from(before) - 2.0 * f64::from(here) + f64::from(after);
    if curvature >= 0.0 {
        0.0
    } else {
        (0.5 * (f64::from(before) - f64::from(after)) / curvature).clamp(-0.5, 0.5)
    }
}

/// The score `sd` robust standard deviations above the median of the peaks' scores; infinite for fewer than ten, of
/// which no spread can be told.
fn highest_plausible(peaks: &[Peak], sd: f64) -> f64 {
    let mut scores: Vec<f32> = peaks.iter().map(|peak| peak.score as f32).collect();
    if scores.len() < 10 {
        return f64::INFINITY;
    }
    let middle = median_of(&mut scores);
    scores.iter_mut().for_each(|v| *v = (*v - middle).abs());
    // every score has the noise of the map, whose spread is 1
    let spread = (SD_PER_MAD * median_of(&mut scores)).max(1.0);
    f64::from(middle) + sd * f64::from(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { threshold: 1.0, max_score_sd: 6.0, min_distance: 10.0, border: 5.0, most: usize::MAX }
    }

    /// Gaussian bumps `(x, y, height)` on zero.
    fn map(bumps: &[(f64, f64, f64)]) -> Array2<f32> {
        Array2::from_shape_fn((100, 120), |(y, x)| {
            let bump = |&(bx, by, h): &(f64, f64, f64)| {
                h * (-((x as f64 - bx).powi(2) + (y as f64 - by).powi(2)) / 18.0).exp()
            };
            bumps.iter().map(bump).sum::<f64>() as f32
        })
    }

    #[test]
    fn peaks_are_found_between_pixels_the_best_first() {
        let scores = map(&[(30.3, 40.6, 2.0), (80.0, 60.0, 5.0), (60.0, 20.0, 0.5)]);
        let found = find(&scores, &rules(), |peaks| peaks);
        assert_eq!(found.len(), 2);
        assert!((found[0].x - 80.0).abs() < 0.01 && (found[1].x - 30.3).abs() < 0.05, "{found:?}");
        assert!((found[1].y - 40.6).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn close_borders_and_forbidden_places_are_left_out() {
        let scores = map(&[(30.0, 40.0, 3.0), (38.5, 40.0, 2.5), (3.0, 50.0, 4.0), (90.0, 80.0, 3.0)]);
        let allowed = |peaks: Vec<Peak>| peaks.into_iter().filter(|p| p.x < 85.0).collect();
        let found = find(&scores, &rules(), allowed);
        assert_eq!(found.len(), 1);
        assert!((found[0].x - 30.0).abs() < 1.0);
        let close = find(&scores, &Rules { min_distance: 6.0, ..rules() }, allowed);
        assert_eq!(close.len(), 2);
    }

    #[test]
    fn what_is_far_too_high_is_contamination_and_the_rest_is_capped() {
        let mut bumps: Vec<(f64, f64, f64)> = (0..24)
            .map(|i| {
                (12.0 + 16.0 * f64::from(i % 6), 12.0 + 20.0 * f64::from(i / 6), 3.0 + 0.05 * f64::from(i))
            })
            .collect();
        bumps[7].2 = 30.0;
        let scores = map(&bumps);
        assert_eq!(find(&scores, &rules(), |peaks| peaks).len(), 23);
        let best = find(&scores, &Rules { most: 5, ..rules() }, |peaks| peaks);
        assert_eq!(best.len(), 5);
        assert!(best.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    #[test]
    fn the_noise_is_told_apart_from_any_number_of_particles() {
        let noise = |y: usize, x: usize| ((y * 7919 + x * 104_729 + y * x * 31) % 1000) as f32 / 1000.0 - 0.5;
        let allowed = Array2::from_elem((100, 120), false);
        let rules = Rules { threshold: 6.0, ..rules() };
        for particles in [0, 1, 4, 8] {
            let bumps: Vec<_> = (0..particles)
                .map(|i| (15.0 + 30.0 * f64::from(i % 4), 25.0 + 50.0 * f64::from(i / 4), 20.0))
                .collect();
            let mut response = map(&bumps);
            response.indexed_iter_mut().for_each(|((y, x), v)| *v += noise(y, x));
            let scores = in_units_of_noise(&response, &allowed, 16.0, &rules).unwrap();
            // uniform noise: median absolute deviation 0.25
            let unit = (scores[[0, 1]] - scores[[0, 0]]) / (response[[0, 1]] - response[[0, 0]]);
            assert!((unit * 0.25 * SD_PER_MAD - 1.0).abs() < 0.1, "{particles}: {unit}");
            assert_eq!(find(&scores, &rules, |peaks| peaks).len(), particles as usize);
        }
        assert!(
            in_units_of_noise(&Array2::zeros((50, 50)), &Array2::from_elem((50, 50), false), 9.0, &rules)
                .is_none()
        );
    }

    #[test]
    fn a_plateau_is_one_peak_and_tiny_maps_have_none() {
        let mut flat = Array2::zeros((40, 40));
        flat.slice_mut(ndarray::s![18..21, 18..22]).fill(2.0);
        assert_eq!(find(&flat, &rules(), |peaks| peaks).len(), 1);
        assert!(find(&Array2::from_elem((1, 1), 9.0), &rules(), |peaks| peaks).is_empty());
    }
}
