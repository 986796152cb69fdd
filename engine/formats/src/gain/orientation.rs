//! Which way round a gain reference belongs on the frames, from the frames themselves.
//!
//! The mean of raw frames shows the camera's own pattern: pixels that count more than their neighbours. A gain to be
//! multiplied is large where that pattern is small. Both are divided by their local mean, which removes the specimen,
//! the beam's edge and smooth gains; what is left is correlated in all orientations whose size fits.

use super::{GainError, orient, read_values};
use ndarray::Array2;
use std::path::Path;
use vitreous_model::exposure::GainFlip;

/// Half the edge of the box whose mean is divided out, pixels: single pixels and columns stay, specimen goes.
const BOX_RADIUS: usize = 4;
/// Deviations beyond so many times the median absolute one are cut off: hot pixels must not decide.
const CUT: f32 = 6.0;
/// The winner is so many standard deviations of chance ahead of the second.
pub const MIN_MARGIN: f64 = 8.0;
/// The winner's correlation is so many times the second's: what readouts repeat over the camera (columns, quadrants)
/// makes wrong orientations correlate, too, and more pixels do not make that less.
pub const MIN_RATIO: f64 = 1.25;

/// What is done with a gain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GainUse {
    /// Frames are multiplied by it.
    Multiplied,
    /// Frames are divided by it.
    Divided,
}

/// One orientation: quarter turns counter-clockwise as seen with row 0 at the bottom, then the mirror.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrientationScore {
    /// Quarter turns, 0 to 3.
    pub turns: u32,
    /// The mirror: none or upside down; with the turns these are all eight.
    pub flip: GainFlip,
    /// Correlation of the pattern of the frames with the one that the gain removes, -1 to 1; large is right.
    pub correlation: f64,
}

/// What the scores allow to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The first of the ranking is right.
    Clear,
    /// It is not to be trusted: why, and what to do.
    Ambiguous(String),
}

/// The orientations that fit, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct OrientationScores {
    /// Eight of them, or four if the frames are not square.
    pub ranked: Vec<OrientationScore>,
    /// How the gain must be used for the first to be positive.
    pub used: GainUse,
    /// Lead of the first over the second in standard deviations that chance gives it (at least [`MIN_MARGIN`] for a
    /// clear verdict).
    pub margin: f64,
    /// Whether the first is right.
    pub verdict: Verdict,
}

/// Scores the orientations of the gain of `gain_file` against the mean of raw frames, of shape `[height, width]`, x
/// fastest, row 0 as in the frames; some tens of frames are enough.
///
/// # Errors
/// A file that cannot be read, is not a single image, has another size in every orientation, or no positive pixel.
pub fn score_orientations(mean: &Array2<f32>, gain_file: &Path) -> Result<OrientationScores, GainError> {
    let gain = read_values(gain_file)?;
    let (height, width) = mean.dim();
    let fits = |dim: (usize, usize)| dim == (height, width);
    if !fits(gain.dim()) && !fits((gain.ncols(), gain.nrows())) {
        return Err(super::wrong_size(gain_file, (gain.ncols(), gain.nrows()), 0, (width, height)));
    }
    if !gain.iter().any(|&value| value.is_finite() && value > 0.0) {
        return Err(GainError::NothingPositive { path: gain_file.into() });
    }
    Ok(score(mean, &gain))
}

/// Scores the orientations of a gain in which one of the sides of `mean`, upright or turned, is that of `gain`; both of
/// shape `[height, width]`, x fastest.
pub fn score(mean: &Array2<f32>, gain: &Array2<f32>) -> OrientationScores {
    let frames = pattern(mean, |value| value.is_finite().then_some(value));
    let removed = pattern(gain, |value| (value.is_finite() && value > 0.0).then_some(1.0 / value));
    let mut ranked = Vec::new();
    let mut pixels = 0;
    for turns in 0..4 {
        for flip in [GainFlip::None, GainFlip::Y] {
            let oriented = orient(removed.clone(), turns, flip);
            if oriented.dim() != frames.dim() {
                continue;
            }
            let (correlation, common) = correlation(&frames, &oriented);
            pixels = pixels.max(common);
            ranked.push(OrientationScore { turns, flip, correlation });
        }
    }
    let strongest = ranked.iter().map(|score| score.correlation).max_by(|a, b| a.abs().total_cmp(&b.abs()));
    let used = if strongest.is_some_and(|c| c < 0.0) { GainUse::Divided } else { GainUse::Multiplied };
    if used == GainUse::Divided {
        ranked.iter_mut().for_each(|score| score.correlation = -score.correlation);
    }
    ranked.sort_by(|a, b| b.correlation.total_cmp(&a.correlation));
    let first = ranked.first().map_or(0.0, |score| score.correlation);
    let second = ranked.get(1).map_or(0.0, |score| score.correlation);
    // correlations of n independent pixels scatter by 1/sqrt(n), the difference of two by sqrt(2/n)
    let chance = (1.0 / pixels.max(1) as f64).sqrt();
    let margin = (first - second) / (chance * std::f64::consts::SQRT_2);
    let verdict = verdict(first, second, chance, margin);
    OrientationScores { ranked, used, margin, verdict }
}

fn verdict(first: f64, second: f64, chance: f64, margin: f64) -> Verdict {
    if first < MIN_MARGIN * chance {
        return Verdict::Ambiguous(format!(
            "no orientation fits: the best correlation is {first:.4}, chance alone gives {chance:.4}; the gain is flat, \
             it belongs to another camera or mode, the frames are corrected already, or more frames are needed"
        ));
    }
    if margin < MIN_MARGIN || first < MIN_RATIO * second {
        return Verdict::Ambiguous(format!(
            "two orientations fit: the correlations of the best are {first:.4} and {second:.4}, {margin:.1} standard \
             deviations apart (at least {MIN_MARGIN} and a ratio of {MIN_RATIO} are needed); average more frames"
        ));
    }
    Verdict::Clear
}

/// Relative deviations of each pixel from the mean of the box around it; NaN where `value` gives none.
fn pattern(image: &Array2<f32>, value: impl Fn(f32) -> Option<f32>) -> Array2<f32> {
    let values = image.mapv(|v| value(v).unwrap_or(f32::NAN));
    let means = box_means(&values);
    let mut pattern = values;
    pattern.zip_mut_with(&means, |v, &mean| *v = if mean > 0.0 { *v / mean - 1.0 } else { f32::NAN });
    let mut sizes: Vec<f32> = pattern.iter().filter(|v| v.is_finite()).map(|v| v.abs()).collect();
    if sizes.is_empty() {
        return pattern;
    }
    let middle = sizes.len() / 2;
    let (_, median, _) = sizes.select_nth_unstable_by(middle, f32::total_cmp);
    let limit = CUT * *median;
    pattern.mapv_inplace(|v| if v.is_nan() { v } else { v.clamp(-limit, limit) });
    pattern
}

/// Mean of the finite values in the box around each pixel; NaN where there are none. Sums along rows, then columns.
fn box_means(values: &Array2<f32>) -> Array2<f32> {
    let (height, width) = values.dim();
    let sums = |present: &dyn Fn(f32) -> f64| {
        let mut along = Array2::<f64>::zeros((height, width));
        for (row, mut out) in values.rows().into_iter().zip(along.rows_mut()) {
            slide(width, |x| present(row[x]), |x, sum| out[x] = sum);
        }
        let mut both = Array2::<f64>::zeros((height, width));
        for (column, mut out) in along.columns().into_iter().zip(both.columns_mut()) {
            slide(height, |y| column[y], |y, sum| out[y] = sum);
        }
        both
    };
    let total = sums(&|v| if v.is_finite() { f64::from(v) } else { 0.0 });
    let count = sums(&|v| f64::from(u8::from(v.is_finite())));
    ndarray::Zip::from(&total)
        .and(&count)
        .map_collect(|&total, &count| if count > 0.5 { (total / count) as f32 } else { f32::NAN })
}

/// Calls `put` with the sum of the values in the window around each place.
fn slide(length: usize, get: impl Fn(usize) -> f64, mut put: impl FnMut(usize, f64)) {
    let mut sum: f64 = (0..BOX_RADIUS.min(length)).map(&get).sum();
    for at in 0..length {
        if at + BOX_RADIUS < length {
            sum += get(at + BOX_RADIUS);
        }
        if at > BOX_RADIUS {
            sum -= get(at - BOX_RADIUS - 1);
        }
        put(at, sum);
    }
}

/// Correlation over the pixels where both are numbers, and how many these are; 0 where one does not vary.
fn correlation(a: &Array2<f32>, b: &Array2<f32>) -> (f64, usize) {
    let (mut n, mut sums) = (0usize, [0.0f64; 5]);
    for (&a, &b) in a.iter().zip(b) {
        if a.is_finite() && b.is_finite() {
            let (a, b) = (f64::from(a), f64::from(b));
            n += 1;
            for (sum, term) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                *sum += term;
            }
        }
    }
    if n == 0 {
        return (0.0, 0);
    }
    let [a, b, aa, bb, ab] = sums.map(|sum| sum / n as f64);
    let (variance_a, variance_b) = (aa - a * a, bb - b * b);
    // a pattern of rounding errors is none
    const SMALLEST_VARIANCE: f64 = 1e-12;
    if variance_a < SMALLEST_VARIANCE || variance_b < SMALLEST_VARIANCE {
        return (0.0, n);
    }
    ((ab - a * b) / (variance_a * variance_b).sqrt(), n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrc::{MrcSpec, MrcWriter};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal, Poisson};

    /// Counts of `electrons` a pixel behind a camera whose gain, to be multiplied, is `gain`.
    fn counts(gain: &Array2<f32>, electrons: f32, rng: &mut ChaCha8Rng) -> Array2<f32> {
        let (height, width) = gain.dim();
        Array2::from_shape_fn((height, width), |(y, x)| {
            // a beam that falls off, and a specimen
            let beam = 1.0 - 0.3 * (x as f32 / width as f32) + 0.1 * (y as f32 / 40.0).sin();
            let rate = electrons * beam / gain[[y, x]].max(0.05);
            if gain[[y, x]] > 0.0 { Poisson::new(rate).unwrap().sample(rng) } else { 0.0 }
        })
    }

    fn gain(height: usize, width: usize, spread: f32, rng: &mut ChaCha8Rng) -> Array2<f32> {
        let normal = Normal::new(1.0, spread).unwrap();
        let columns: Vec<f32> = (0..width).map(|_| normal.sample(rng)).collect();
        let mut gain = Array2::from_shape_fn((height, width), |(_, x)| {
            (normal.sample(rng) * (0.7 + 0.3 * columns[x])).max(0.2)
        });
        gain[[3, 5]] = 0.0;
        gain
    }

    fn save(gain: &Array2<f32>) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(".mrc").tempfile().unwrap();
        let mut writer =
            MrcWriter::create(file.path(), MrcSpec::images(gain.ncols(), gain.nrows(), 1.0)).unwrap();
        writer.append(gain.as_slice().unwrap()).unwrap();
        writer.finish().unwrap();
        file
    }

    /// Turned and mirrored so that `orient` with `turns` and `flip` brings it back.
    fn unoriented(image: &Array2<f32>, turns: u32, flip: GainFlip) -> Array2<f32> {
        orient(orient(image.clone(), 0, flip), (4 - turns) % 4, GainFlip::None)
    }

    #[test]
    fn each_of_the_eight_wins_where_it_is_right() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let truth = gain(160, 160, 0.05, &mut rng);
        let mean = counts(&truth, 40.0, &mut rng);
        for turns in 0..4 {
            for flip in [GainFlip::None, GainFlip::Y] {
                let file = save(&unoriented(&truth, turns, flip));
                let scores = score_orientations(&mean, file.path()).unwrap();
                assert_eq!(scores.ranked.len(), 8);
                let best = scores.ranked[0];
                assert_eq!(
                    (best.turns, best.flip, scores.used),
                    (turns, flip, GainUse::Multiplied),
                    "{scores:?}"
                );
                assert_eq!(scores.verdict, Verdict::Clear, "{scores:?}");
                assert!(scores.margin >= MIN_MARGIN && best.correlation > 0.1, "{scores:?}");
            }
        }
    }

    #[test]
    fn frames_that_are_not_square_have_four_and_gains_may_be_divisors() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let truth = gain(120, 200, 0.05, &mut rng);
        let mean = counts(&truth, 40.0, &mut rng);
        let stored = unoriented(&truth, 3, GainFlip::Y).mapv(|v| if v > 0.0 { 1.0 / v } else { 0.0 });
        let scores = score_orientations(&mean, save(&stored).path()).unwrap();
        assert_eq!((scores.ranked.len(), scores.used), (4, GainUse::Divided));
        assert_eq!((scores.ranked[0].turns, scores.ranked[0].flip), (3, GainFlip::Y));
        assert_eq!(scores.verdict, Verdict::Clear);
        let wrong = save(&gain(100, 200, 0.05, &mut rng));
        assert!(matches!(score_orientations(&mean, wrong.path()), Err(GainError::WrongSize { .. })));
    }

    #[test]
    fn gains_that_say_nothing_are_ambiguous() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let truth = gain(160, 160, 0.05, &mut rng);
        let mean = counts(&truth, 40.0, &mut rng);
        let flat = Array2::from_elem((160, 160), 1.0);
        let smooth = Array2::from_shape_fn((160, 160), |(y, x)| 1.0 + 0.001 * (x + 2 * y) as f32);
        let foreign = gain(160, 160, 0.05, &mut rng);
        for (name, stored) in [("flat", &flat), ("smooth", &smooth), ("foreign", &foreign)] {
            let scores = score(&mean, stored);
            let Verdict::Ambiguous(why) = &scores.verdict else { panic!("{name}: {scores:?}") };
            assert!(why.contains("no orientation fits"), "{name}: {why}");
        }
        // a camera that looks the same upside down
        let mut twin = truth.clone();
        for y in 0..80 {
            let row = truth.row(y).to_owned();
            twin.row_mut(159 - y).assign(&row);
        }
        let scores = score(&counts(&twin, 40.0, &mut rng), &twin);
        let Verdict::Ambiguous(why) = &scores.verdict else { panic!("{scores:?}") };
        assert!(why.contains("two orientations fit"), "{why}");
    }
}
