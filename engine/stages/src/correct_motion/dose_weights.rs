//! Dose weighting as a sum of a few images.
//!
//! Frame f enters the sum with the weight `w(f, k) = q(f, k) / sqrt(Σ q²)` at spatial frequency k, `q` being what
//! radiation has left of the signal (Grant & Grigorieff 2015, eLife 4:e06980; `vitreous_model::dose`). As a matrix over
//! frames and frequencies, w has numerically a low rank: `w(f, k) = Σ_j u[j][f] v[j](k)` with five or six terms. So only
//! the sums `Σ_f u[j][f] I_f` are accumulated, in real space, and combined once by their spectra.
//!
//! The first term is the plain sum, `u[0] = 1`, which thus is had as well.

use nalgebra::DMatrix;
use vitreous_model::dose::attenuation;

/// Largest error of a weight w that is allowed.
pub const TOLERANCE: f64 = 1e-4;

/// Frequencies at which weights are tabulated, from 0 to the corner of the Fourier square.
const SAMPLES: usize = 512;

/// Weights of frames by frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct DoseWeights {
    /// `[term][frame]`; the first term is 1 for every frame.
    pub by_frame: Vec<Vec<f64>>,
    /// `[term][sample]`, evenly spaced from 0 to the corner of the Fourier square.
    by_frequency: Vec<Vec<f64>>,
    /// The same as `[sample][term]`.
    table: Vec<f32>,
    samples_per_frequency: f32,
}

impl DoseWeights {
    /// No dose weighting: the plain sum.
    pub fn plain(frames: usize) -> Self {
        Self::of_first(vec![1.0; frames], vec![1.0; SAMPLES], 1.0).tabulated()
    }

    /// Weights for frames that end at the given doses (e/Å², pre-exposure included), up to the corner frequency of
    /// `pixel_size_a`. `voltage_factor` as from `vitreous_model::dose::voltage_factor`. They are scaled by the square
    /// root of the number of frames, so that at zero frequency the weighted sum is the plain sum.
    pub fn new(doses: &[f64], pixel_size_a: f64, voltage_factor: f64) -> Self {
        let frames = doses.len();
        let highest = std::f64::consts::FRAC_1_SQRT_2 / pixel_size_a;
        let weights = DMatrix::from_fn(frames, SAMPLES, |f, sample| {
            attenuation(frequency_of(sample, highest), doses[f], voltage_factor)
        });
        let weights = normalised(weights, frames);
        let basis = span(&weights, frames);
        // within the span of the plain sum and the basis, the best terms are the singular vectors
        let inner = basis.transpose() * &weights;
        let svd = inner.clone().svd(true, false);
        let rotation = svd.u.unwrap_or_else(|| DMatrix::identity(basis.ncols(), basis.ncols()));
        let mut order: Vec<usize> = (0..svd.singular_values.len()).collect();
        order.sort_by(|&a, &b| svd.singular_values[b].total_cmp(&svd.singular_values[a]));
        // weights are held times the root of the number of frames
        let tolerance = TOLERANCE * (frames as f64).sqrt();
        let plain: Vec<f64> = (0..SAMPLES).map(|s| weights.column(s).sum() / frames.max(1) as f64).collect();
        let mut out = Self::of_first(vec![1.0; frames], plain, highest);
        for term in order {
            if out.largest_error(&weights) <= tolerance {
                break;
            }
            let by_frame = &basis * rotation.column(term);
            let by_frequency = rotation.column(term).transpose() * &inner;
            out.by_frame.push(by_frame.iter().copied().collect());
            out.by_frequency.push(by_frequency.iter().copied().collect());
        }
        out.tabulated()
    }

    /// The first term alone, without its table. `highest` is the frequency of the last sample, 1/Å.
    fn of_first(by_frame: Vec<f64>, by_frequency: Vec<f64>, highest: f64) -> Self {
        let samples_per_frequency = ((SAMPLES - 1) as f64 / highest) as f32;
        let (by_frame, by_frequency) = (vec![by_frame], vec![by_frequency]);
        Self { by_frame, by_frequency, table: Vec::new(), samples_per_frequency }
    }

    fn tabulated(mut self) -> Self {
        self.table =
            (0..SAMPLES).flat_map(|sample| self.by_frequency.iter().map(move |v| v[sample] as f32)).collect();
        self
    }

    /// Terms, the plain sum included.
    pub fn terms(&self) -> usize {
        self.by_frame.len()
    }

    /// The factor of every term at a frequency (1/Å), held beyond the table.
    pub fn factors(&self, frequency: f32) -> impl Iterator<Item = f32> {
        let position = (frequency * self.samples_per_frequency).clamp(0.0, (SAMPLES - 1) as f32);
        let left = (position as usize).min(SAMPLES - 2);
        let part = position - left as f32;
        let (a, b) = self.table[left * self.terms()..(left + 2) * self.terms()].split_at(self.terms());
        a.iter().zip(b).map(move |(a, b)| a + part * (b - a))
    }

    fn largest_error(&self, weights: &DMatrix<f64>) -> f64 {
        let mut largest = 0.0f64;
        for sample in 0..SAMPLES {
            for frame in 0..weights.nrows() {
                let sum: f64 =
                    self.by_frame.iter().zip(&self.by_frequency).map(|(u, v)| u[frame] * v[sample]).sum();
                largest = largest.max((sum - weights[(frame, sample)]).abs());
            }
        }
        largest
    }
}

fn frequency_of(sample: usize, highest: f64) -> f64 {
    highest * sample as f64 / (SAMPLES - 1) as f64
}

/// Every column divided by its norm and multiplied by the root of the number of frames.
fn normalised(mut weights: DMatrix<f64>, frames: usize) -> DMatrix<f64> {
    for mut column in weights.column_iter_mut() {
        let norm = column.norm();
        // at the end of a very long exposure nothing is left at high frequency: there frames count alike
        if norm > 1e-100 { column.scale_mut((frames as f64).sqrt() / norm) } else { column.fill(1.0) }
    }
    weights
}

/// Orthonormal columns that span the weights beside the plain sum to a hundredth of [`TOLERANCE`]: Gram-Schmidt that
/// always takes the column with the most left.
fn span(weights: &DMatrix<f64>, frames: usize) -> DMatrix<f64> {
    let mut rest = weights.clone();
    let mut basis: Vec<nalgebra::DVector<f64>> = Vec::new();
    let plain = nalgebra::DVector::from_element(frames, 1.0 / (frames.max(1) as f64).sqrt());
    remove(&mut rest, &plain);
    let limit = 0.01 * TOLERANCE;
    while basis.len() < frames.saturating_sub(1) {
        let norms = rest.column_iter().map(|c| c.norm());
        let (pivot, norm) =
            norms.enumerate().fold((0, 0.0), |best, next| if next.1 > best.1 { next } else { best });
        if norm <= limit {
            break;
        }
        let mut direction = rest.column(pivot).into_owned() / norm;
        // once more, against rounding
        for earlier in basis.iter().chain([&plain]) {
            direction -= earlier * earlier.dot(&direction);
        }
        direction.normalize_mut();
        remove(&mut rest, &direction);
        basis.push(direction);
    }
    if basis.is_empty() { DMatrix::zeros(frames, 0) } else { DMatrix::from_columns(&basis) }
}

fn remove(rest: &mut DMatrix<f64>, direction: &nalgebra::DVector<f64>) {
    let overlap = direction.transpose() * &*rest;
    *rest -= direction * overlap;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(doses: &[f64], frame: usize, u: f64, factor: f64) -> f64 {
        let q = |dose: f64| attenuation(u, dose, factor);
        let norm = doses.iter().map(|d| q(*d).powi(2)).sum::<f64>().sqrt();
        q(doses[frame]) / norm * (doses.len() as f64).sqrt()
    }

    #[test]
    fn few_terms_give_every_weight() {
        for (frames, per_frame, before, most) in
            [(50, 1.0, 0.0, 6), (24, 1.37, 0.0, 6), (300, 0.2, 5.0, 6), (3, 10.0, 0.0, 3)]
        {
            let doses: Vec<f64> = (1..=frames).map(|f| before + per_frame * f64::from(f)).collect();
            let weights = DoseWeights::new(&doses, 0.9, 0.8);
            assert!(weights.terms() <= most, "{frames}: {} terms", weights.terms());
            for u in [0.0, 0.003, 0.02, 0.0715, 0.2, 0.33, 0.55, 0.78] {
                let factors: Vec<f32> = weights.factors(u as f32).collect();
                for f in 0..doses.len() {
                    let sum: f64 =
                        weights.by_frame.iter().zip(&factors).map(|(w, v)| w[f] * f64::from(*v)).sum();
                    let want = exact(&doses, f, u, 0.8);
                    assert!(
                        (sum - want).abs() <= 2.0 * TOLERANCE * (doses.len() as f64).sqrt(),
                        "{frames} {f} {u}: {sum} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn at_zero_frequency_the_weighted_sum_is_the_plain_sum() {
        let doses: Vec<f64> = (1..=40).map(f64::from).collect();
        for f in 0..40 {
            assert!((exact(&doses, f, 0.0, 1.0) - 1.0).abs() < 1e-12);
        }
        assert_eq!(DoseWeights::plain(7).terms(), 1);
    }
}
