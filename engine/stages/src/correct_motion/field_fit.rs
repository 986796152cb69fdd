//! Least-squares fit of a smooth field to the displacements of patches, with its strength of smoothing chosen by leaving
//! patches out.

use super::motion_field::MODES;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

/// Typical steps from one spline coefficient to the next that are tried, binned pixels, from stiff to loose.
const STEPS: [f64; 7] = [0.02, 0.04, 0.08, 0.17, 0.35, 0.7, 1.5];

/// How much stiffer than the linear modes the quadratic ones may be.
const STIFFNESS: [f64; 2] = [12.0, 1.0];

/// A field must be better than none by so much log likelihood, which noise alone seldom gives.
const MARGIN: f64 = 2.0;

/// And by so many of its own standard deviations, as the patches that were left out disagree about it: a gain that few
/// patches make by chance moves all the others wrongly.
const MARGIN_SD: f64 = 2.5;

/// Patches are left out one by one, or in so many groups if there are more.
const FOLDS: usize = 30;

/// A measured displacement along one axis.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observation {
    /// Displacement, binned pixels.
    pub value: f64,
    /// Inverse of its variance; 0: nothing is known.
    pub information: f64,
}

/// Coefficients of the modes over time: `[axis][mode][spline]`, with a constant mode that makes the mean over patches
/// vanish.
pub type Coefficients = [Vec<Vec<f64>>; 2];

/// How stiff the field should be.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Penalty matrix; `None`: no field is better than any.
    penalty: Option<DMatrix<f64>>,
    /// Predicted log likelihood of left-out patches over that of no field at all; 0 without a field.
    pub gain: f64,
}

/// What does not change from fit to fit: the modes at the patches.
#[derive(Debug)]
pub struct FieldFit {
    /// `[patch][mode in use]`, the mean over patches taken off.
    centred: Vec<Vec<f64>>,
    /// Means over patches of the modes in use.
    means: Vec<f64>,
    /// The modes in use: those that the grid of patches can tell apart.
    used: Vec<usize>,
    splines: usize,
}

/// Normal equations of one axis: `sum` of all patches, and each patch's own share.
struct Normal {
    matrix: DMatrix<f64>,
    right: DVector<f64>,
    /// Per patch `Σ_f a b bᵀ` and `Σ_f a y b` over splines b.
    parts: Vec<(DMatrix<f64>, DVector<f64>)>,
}

impl FieldFit {
    /// For patches at which the modes have the values `patch_modes`, on a grid of `shape` (columns, rows), and time
    /// courses of `splines` splines.
    pub fn new(patch_modes: &[[f64; MODES]], shape: [usize; 2], splines: usize) -> Self {
        // X needs two columns, X² three, XY two of both
        let needed = [[1, 1], [2, 1], [1, 2], [3, 1], [1, 3], [2, 2]];
        let used: Vec<usize> =
            (1..MODES).filter(|&m| shape[0] >= needed[m][0] && shape[1] >= needed[m][1]).collect();
        let count = patch_modes.len().max(1) as f64;
        let means: Vec<f64> =
            used.iter().map(|&m| patch_modes.iter().map(|p| p[m]).sum::<f64>() / count).collect();
        let centred = patch_modes
            .iter()
            .map(|p| used.iter().zip(&means).map(|(&m, mean)| p[m] - mean).collect())
            .collect();
        Self { centred, means, used, splines }
    }

    /// Chooses the stiffness for `observations[patch][frame][axis]`; `splines[frame]` are the values of the splines.
    pub fn choose(&self, observations: &[Vec<[Observation; 2]>], splines: &[Vec<f64>]) -> Choice {
        let normals = [0, 1].map(|axis| self.normal(observations, splines, axis));
        let mut best = Choice { penalty: None, gain: 0.0 };
        for (step, stiffness) in
            STEPS.into_iter().flat_map(|step| STIFFNESS.map(|stiffness| (step, stiffness)))
        {
            let penalty = self.penalty(step, stiffness);
            let by_fold =
                [0, 1].map(|axis| self.left_out_gains(&normals[axis], &penalty, observations, splines, axis));
            let by_fold: Vec<f64> = by_fold[0].iter().zip(&by_fold[1]).map(|(x, y)| x + y).collect();
            let gain: f64 = by_fold.iter().sum();
            if gain > best.gain && gain > MARGIN.max(MARGIN_SD * sd_of_sum(&by_fold)) {
                best = Choice { penalty: Some(penalty), gain };
            }
        }
        best
    }

    /// Fits the observations with the chosen stiffness.
    pub fn fit(
        &self,
        observations: &[Vec<[Observation; 2]>],
        splines: &[Vec<f64>],
        choice: &Choice,
    ) -> Coefficients {
        let none = || vec![vec![0.0; self.splines]; MODES];
        let Some(penalty) = &choice.penalty else { return [none(), none()] };
        [0, 1].map(|axis| {
            let normal = self.normal(observations, splines, axis);
            solve_positive(normal.matrix + penalty, &normal.right).map_or_else(none, |x| self.unpack(&x))
        })
    }

    fn normal(&self, observations: &[Vec<[Observation; 2]>], splines: &[Vec<f64>], axis: usize) -> Normal {
        let size = self.used.len() * self.splines;
        let mut normal =
            Normal { matrix: DMatrix::zeros(size, size), right: DVector::zeros(size), parts: Vec::new() };
        for (patch, frames) in observations.iter().enumerate() {
            let mut matrix = DMatrix::zeros(self.splines, self.splines);
            let mut right = DVector::zeros(self.splines);
            for (observation, b) in frames.iter().map(|frame| frame[axis]).zip(splines) {
                let a = observation.information;
                for i in (0..self.splines).filter(|&i| b[i] != 0.0) {
                    right[i] += a * observation.value * b[i];
                    for j in (0..self.splines).filter(|&j| b[j] != 0.0) {
                        matrix[(i, j)] += a * b[i] * b[j];
                    }
                }
            }
            self.add_patch(&mut normal.matrix, &mut normal.right, patch, (&matrix, &right), 1.0);
            normal.parts.push((matrix, right));
        }
        normal
    }

    /// Adds `sign` times a patch's share to the normal equations.
    fn add_patch(
        &self,
        matrix: &mut DMatrix<f64>,
        right: &mut DVector<f64>,
        patch: usize,
        part: (&DMatrix<f64>, &DVector<f64>),
        sign: f64,
    ) {
        let (k, phi) = (self.splines, &self.centred[patch]);
        for (m, a) in phi.iter().enumerate() {
            for i in 0..k {
                right[m * k + i] += sign * a * part.1[i];
            }
            for (n, b) in phi.iter().enumerate() {
                for j in 0..k {
                    for i in 0..k {
                        matrix[(m * k + i, n * k + j)] += sign * a * b * part.0[(i, j)];
                    }
                }
            }
        }
    }

    /// Penalty on first and second differences of successive coefficients. It acts on coefficients, not on
    /// derivatives, so that motion may be faster where knots are denser.
    fn penalty(&self, step: f64, stiffness: f64) -> DMatrix<f64> {
        let k = self.splines;
        let mut one = DMatrix::<f64>::zeros(k, k);
        for difference in [&[-1.0, 1.0][..], &[1.0, -2.0, 1.0][..]] {
            for start in 0..=k - difference.len() {
                for (i, a) in difference.iter().enumerate() {
                    for (j, b) in difference.iter().enumerate() {
                        one[(start + i, start + j)] += a * b;
                    }
                }
            }
        }
        // a constant in time cannot be seen by any correlation; a little weight keeps it at nothing
        one += DMatrix::identity(k, k) * 1e-3;
        let mut all = DMatrix::zeros(self.used.len() * k, self.used.len() * k);
        for (m, &mode) in self.used.iter().enumerate() {
            let strength = step.powi(-2) * if mode > 2 { stiffness } else { 1.0 };
            all.view_mut((m * k, m * k), (k, k)).copy_from(&(&one * strength));
        }
        all
    }

    /// By fold, the sum over its patches of the log likelihood of the patch under the field fitted without the fold,
    /// minus that under no field. Constants in time, which no correlation sees, are taken off both.
    fn left_out_gains(
        &self,
        normal: &Normal,
        penalty: &DMatrix<f64>,
        observations: &[Vec<[Observation; 2]>],
        splines: &[Vec<f64>],
        axis: usize,
    ) -> Vec<f64> {
        let full = &normal.matrix + penalty;
        let folds = observations.len().min(FOLDS);
        let gain_of = |fold: usize| {
            let (mut matrix, mut right) = (full.clone(), normal.right.clone());
            let left_out = (fold..observations.len()).step_by(folds);
            for patch in left_out.clone() {
                let part = &normal.parts[patch];
                self.add_patch(&mut matrix, &mut right, patch, (&part.0, &part.1), -1.0);
            }
            let Some(x) = solve_positive(matrix, &right) else { return f64::NEG_INFINITY };
            left_out.map(|patch| self.patch_gain(&x, patch, &observations[patch], splines, axis)).sum::<f64>()
        };
        (0..folds).into_par_iter().map(gain_of).collect()
    }

    /// Log likelihood of one patch under the field with coefficients `x`, minus that under no field.
    fn patch_gain(
        &self,
        x: &DVector<f64>,
        patch: usize,
        observations: &[[Observation; 2]],
        splines: &[Vec<f64>],
        axis: usize,
    ) -> f64 {
        let k = self.splines;
        let course: Vec<f64> = (0..k)
            .map(|i| self.centred[patch].iter().enumerate().map(|(m, phi)| phi * x[m * k + i]).sum())
            .collect();
        let predicted = |b: &[f64]| course.iter().zip(b).map(|(c, b)| c * b).sum::<f64>();
        let frames = || observations.iter().map(|frame| frame[axis]).zip(splines);
        let without = scatter(frames().map(|(o, _)| (o.value, o.information)));
        let with = scatter(frames().map(|(o, b)| (o.value - predicted(b), o.information)));
        0.5 * (without - with)
    }

    /// Coefficients by mode, with the constant mode that undoes the centring.
    fn unpack(&self, x: &DVector<f64>) -> Vec<Vec<f64>> {
        let mut out = vec![vec![0.0; self.splines]; MODES];
        for (m, (&mode, mean)) in self.used.iter().zip(&self.means).enumerate() {
            for i in 0..self.splines {
                let value = x[m * self.splines + i];
                out[mode][i] = value;
                out[0][i] -= mean * value;
            }
        }
        out
    }
}

/// `Σ a (y - ȳ)²` with ȳ the weighted mean.
fn scatter(values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut weight, mut first, mut second) = (0.0, 0.0, 0.0);
    for (value, a) in values {
        weight += a;
        first += a * value;
        second += a * value * value;
    }
    if weight > 0.0 { second - first * first / weight } else { 0.0 }
}

/// Standard deviation of a sum of independent values, from their scatter.
fn sd_of_sum(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares * n / (n - 1.0).max(1.0)).sqrt()
}

/// Solves a symmetric positive definite system; `None` if it is not.
fn solve_positive(matrix: DMatrix<f64>, right: &DVector<f64>) -> Option<DVector<f64>> {
    matrix.cholesky().map(|factor| factor.solve(right))
}

#[cfg(test)]
mod tests {
    use super::super::motion_field::modes;
    use super::super::splines::TimeBasis;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    const FRAMES: usize = 24;

    fn case(
        amplitude: f64,
        noise: f64,
    ) -> (FieldFit, Vec<Vec<[Observation; 2]>>, Vec<Vec<f64>>, Vec<[f64; MODES]>) {
        let times: Vec<f64> = (0..FRAMES).map(|f| 1.5 * f as f64).collect();
        let basis = TimeBasis::new(&times);
        let splines: Vec<Vec<f64>> = times.iter().map(|&t| basis.at(t)).collect();
        let position = |i: usize| (i as f64 + 0.5) / 2.5 - 1.0;
        let patches: Vec<[f64; MODES]> = (0..25).map(|p| modes(position(p % 5), position(p / 5))).collect();
        let mut errors = StandardNormal.sample_iter(ChaCha8Rng::seed_from_u64(7));
        let mut error = move || noise * errors.next().unwrap_or(0.0);
        let information = 1.0 / (noise * noise);
        let observations = (0..25)
            .map(|p| {
                (0..FRAMES)
                    .map(|f| {
                        [0, 1].map(|axis| {
                            let truth = amplitude * patches[p][1 + axis] * (1.0 - (-times[f] / 6.0).exp());
                            let value = truth + error();
                            Observation { value, information }
                        })
                    })
                    .collect()
            })
            .collect();
        (FieldFit::new(&patches, [5, 5], basis.len()), observations, splines, patches)
    }

    #[test]
    fn a_field_is_found_through_noise() {
        let (fit, observations, splines, patches) = case(1.0, 0.4);
        let choice = fit.choose(&observations, &splines);
        assert!(choice.gain > 50.0, "{}", choice.gain);
        let coefficients = fit.fit(&observations, &splines, &choice);
        let at = |p: usize, f: usize| -> f64 {
            (0..MODES)
                .map(|m| {
                    let course: f64 = coefficients[0][m].iter().zip(&splines[f]).map(|(c, b)| c * b).sum();
                    patches[p][m] * course
                })
                .sum()
        };
        for p in [0, 4, 12, 20, 24] {
            let moved = at(p, FRAMES - 1) - at(p, 0);
            let truth = patches[p][1] * (1.0 - f64::exp(-1.5 * 23.0 / 6.0));
            assert!((moved - truth).abs() < 0.25, "patch {p}: {moved} for {truth}");
        }
    }

    #[test]
    fn noise_alone_gives_next_to_no_field() {
        let (fit, observations, splines, _) = case(0.0, 0.9);
        let choice = fit.choose(&observations, &splines);
        let coefficients = fit.fit(&observations, &splines, &choice);
        let largest = coefficients.iter().flatten().flatten().fold(0.0f64, |a, v| a.max(v.abs()));
        assert!(largest < 0.15, "{largest} pixels, gain {}", choice.gain);
    }

    #[test]
    fn a_single_column_of_patches_has_no_horizontal_modes() {
        let patches = [modes(0.0, -0.5), modes(0.0, 0.5)];
        let fit = FieldFit::new(&patches, [1, 2], 4);
        assert_eq!(fit.used, [2]);
    }
}
