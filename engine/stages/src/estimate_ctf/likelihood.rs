//! The likelihood of a spectrum and its maximum.
//!
//! A spectrum's value, a mean of n independent `|F|²`, scatters about its expectation M as a gamma distribution of n degrees
//! does: `-ln L = n (ln M + P/M)` (P. Whittle, J. R. Stat. Soc. B 15, 125, 1953). With the background known roughly,
//! `M = exp(b(k)) · (1 + A(k) CTF²)`: b corrects the background, A is the power of what scatters over that of the noise.
//! Both are smooth; geometry (defocus and what it is made of), b and A are fitted together by Fisher's scoring, a
//! Gauss-Newton method whose matrix is the information, and whose inverse is the covariance.

use super::ring_basis::{Local, RingBasis};
use nalgebra::{Cholesky, DMatrix, DVector};

/// Most parameters of the geometry.
pub(super) const MOST_TERMS: usize = 9;
/// Distances of knots of b and A, 1/Å.
const BACKGROUND_KNOTS: f64 = 0.02;
const AMPLITUDE_KNOTS: f64 = 0.03;
/// Expected size of second differences of the coefficients of b and A.
const BACKGROUND_BEND: f64 = 0.05;
const AMPLITUDE_BEND: f64 = 0.5;
/// Values so many standard deviations above their expectation are cut: spots of a lattice.
const CUT_SD: f64 = 6.0;
/// The search for the maximum ends when the logarithm of the likelihood gains less.
const LEAST_GAIN: f64 = 1e-3;
const MOST_STEPS: usize = 40;
/// Rings over which the scatter about the fit is averaged, on either side.
const DISPERSION_REACH: usize = 4;

/// One value of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Datum {
    /// Ring.
    pub ring: usize,
    /// Spatial frequency, 1/Å.
    pub k: f64,
    /// Argument of the CTF without defocus, radians.
    pub base: f64,
    /// What a defocus of 1 Å adds to it.
    pub slope: f64,
    /// How much each parameter of the geometry adds to defocus (or to the argument itself, see [`Terms::phase`]).
    pub factors: [f64; MOST_TERMS],
    /// Power over the rough background.
    pub power: f64,
    /// Independent values it is the mean of.
    pub samples: f64,
}

/// What the geometry's parameters are: [`Datum::factors`] beyond their number are not used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms {
    /// How many.
    pub len: usize,
    /// Which of them, if any, is a phase shift in radians; the others are in Å of defocus.
    pub phase: Option<usize>,
    /// Precision of the normal prior of each about 0; 0: none.
    pub prior: [f64; MOST_TERMS],
}

/// Parameters of the expectation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub geometry: Vec<f64>,
    /// Coefficients of b.
    pub background: Vec<f64>,
    /// Coefficients of A.
    pub amplitude: Vec<f64>,
}

/// A maximum of the likelihood.
#[derive(Debug, Clone)]
pub(super) struct Maximum {
    pub state: State,
    /// Logarithm of likelihood times prior, up to a constant of the data.
    pub log_posterior: f64,
    /// Covariance of the geometry's parameters.
    pub covariance: DMatrix<f64>,
}

/// Data with the bases of what is smooth.
#[derive(Debug, Clone)]
pub(super) struct Likelihood {
    data: Vec<Datum>,
    /// Where each ring's data begin and end.
    rings: Vec<std::ops::Range<usize>>,
    background: Vec<Local>,
    amplitude: Vec<Local>,
    /// By ring: how much more the values scatter than they should, at least 1.
    dispersion: Vec<f64>,
    lens: [usize; 2],
}

/// Sums over the data of one ring: information and gradient of `[b, A, geometry…]`.
#[derive(Clone, Copy)]
struct RingSums {
    matrix: [[f64; MOST_TERMS + 2]; MOST_TERMS + 2],
    gradient: [f64; MOST_TERMS + 2],
    objective: f64,
}

impl Likelihood {
    /// Of data sorted by ring; `edge_a` is the edge of a tile in Å.
    pub fn new(data: Vec<Datum>, edge_a: f64) -> Self {
        debug_assert!(data.is_sorted_by_key(|datum| datum.ring));
        let (first, last) = (data.first().map_or(0, |d| d.ring), data.last().map_or(0, |d| d.ring));
        let k = |ring: usize| ring as f64 / edge_a;
        let [background, amplitude] =
            [BACKGROUND_KNOTS, AMPLITUDE_KNOTS].map(|spacing| RingBasis::new(k(first), k(last), spacing));
        let mut rings = Vec::new();
        let mut begin = 0;
        for ring in first..=last {
            let end = begin + data[begin..].iter().take_while(|datum| datum.ring == ring).count();
            rings.push(begin..end);
            begin = end;
        }
        let local = |basis: &RingBasis| (first..=last).map(|ring| basis.at(k(ring))).collect::<Vec<_>>();
        Self {
            rings,
            dispersion: vec![1.0; last - first + 1],
            lens: [background.len(), amplitude.len()],
            background: local(&background),
            amplitude: local(&amplitude),
            data,
        }
    }

    /// A state without any contrast.
    pub fn flat(&self, geometry: Vec<f64>) -> State {
        State { geometry, background: vec![0.0; self.lens[0]], amplitude: vec![0.0; self.lens[1]] }
    }

    /// A of every ring from the first one that has data.
    pub fn amplitudes(&self, state: &State) -> Vec<f64> {
        self.amplitude.iter().map(|local| local.value(&state.amplitude).max(0.0)).collect()
    }

    /// b of every ring from the first one that has data.
    pub fn backgrounds(&self, state: &State) -> Vec<f64> {
        self.background.iter().map(|local| local.value(&state.background)).collect()
    }

    /// Every datum with its expectation where CTF is 0, and A.
    pub fn data(&self, state: &State) -> impl Iterator<Item = (&Datum, f64, f64)> {
        let smooth: Vec<(f64, f64)> = (0..self.rings.len()).map(|ring| self.smooth_at(ring, state)).collect();
        self.rings.clone().into_iter().zip(smooth).flat_map(|(range, (b, a))| {
            let floor = b.exp();
            self.data[range].iter().map(move |datum| (datum, floor, a))
        })
    }

    /// Measures by how much the data of each ring scatter more than their numbers say (uneven ice, edges), and from
    /// then on gives them less weight.
    pub fn measure_dispersion(&mut self, terms: &Terms, state: &State) {
        let sums: Vec<[f64; 2]> = (0..self.rings.len())
            .map(|ring| {
                let (b, a) = self.smooth_at(ring, state);
                let floor = b.exp();
                let data = &self.data[self.rings[ring].clone()];
                let residuals =
                    data.iter().map(|d| d.samples * residual(d, terms, state, floor, a).0.powi(2));
                [residuals.sum(), data.len() as f64]
            })
            .collect();
        for ring in 0..sums.len() {
            let near =
                &sums[ring.saturating_sub(DISPERSION_REACH)..(ring + DISPERSION_REACH + 1).min(sums.len())];
            let [sum, n] = near.iter().fold([0.0; 2], |t, s| [t[0] + s[0], t[1] + s[1]]);
            self.dispersion[ring] = (sum / n.max(1.0)).max(1.0);
        }
    }

    /// What the parameters from `first` on could gain: their score test, with all others adjusted, and the step that would
    /// gain it. Where they are not needed it is χ² of as many degrees.
    pub fn score_test(&self, terms: &Terms, state: &State, first: usize) -> f64 {
        let (_, matrix, gradient) = self.system(terms, state);
        let tested: Vec<usize> = (first..terms.len).collect();
        let others: Vec<usize> = (0..gradient.len()).filter(|i| !tested.contains(i)).collect();
        let Some(adjusted) = Cholesky::new(matrix.select_rows(&others).select_columns(&others)) else {
            return 0.0;
        };
        let across = matrix.select_rows(&others).select_columns(&tested);
        let score = gradient.select_rows(&tested)
            - across.transpose() * adjusted.solve(&gradient.select_rows(&others));
        let information = matrix.select_rows(&tested).select_columns(&tested)
            - across.transpose() * adjusted.solve(&across);
        Cholesky::new(information).map_or(0.0, |inverse| score.dot(&inverse.solve(&score)))
    }

    /// The maximum near `start`. Geometry is held at first, until b and A fit it.
    pub fn maximise(&self, terms: &Terms, start: &State) -> Maximum {
        let held = self.climb(terms, start.clone(), true);
        let state = self.climb(terms, held, false);
        let (objective, matrix, _) = self.system(terms, &state);
        let inverse = inverse_of(matrix);
        let covariance = inverse.view((0, 0), (terms.len, terms.len)).into_owned();
        Maximum { state, log_posterior: -objective, covariance }
    }

    /// Levenberg's and Marquardt's steps until nothing is gained.
    fn climb(&self, terms: &Terms, mut state: State, geometry_held: bool) -> State {
        let mut damping = 1e-3;
        let (mut objective, mut matrix, mut gradient) = self.system(terms, &state);
        for _ in 0..MOST_STEPS {
            let mut damped = matrix.clone();
            for i in 0..damped.nrows() {
                damped[(i, i)] += damping * matrix[(i, i)] + 1e-12;
                if geometry_held && i < terms.len {
                    damped.row_mut(i).fill(0.0);
                    damped.column_mut(i).fill(0.0);
                    damped[(i, i)] = 1.0;
                    gradient[i] = 0.0;
                }
            }
            let Some(solved) = Cholesky::new(damped) else {
                damping = 10.0 * damping + 1e-3;
                continue;
            };
            let moved = state.moved(solved.solve(&gradient).as_slice());
            let (new, new_matrix, new_gradient) = self.system(terms, &moved);
            let gain = objective - new;
            if gain > 0.0 {
                (state, objective, matrix, gradient) = (moved, new, new_matrix, new_gradient);
                damping *= 0.1;
            } else {
                damping = 10.0 * damping + 1e-3;
            }
            if (0.0..LEAST_GAIN).contains(&gain) || damping > 1e6 {
                break;
            }
        }
        state
    }

    fn smooth_at(&self, ring: usize, state: &State) -> (f64, f64) {
        let amplitude = self.amplitude[ring].value(&state.amplitude).max(0.0);
        (self.background[ring].value(&state.background), amplitude)
    }

    /// -ln(likelihood · prior), its information matrix and its negative gradient, over `[geometry, background, amplitude]`.
    fn system(&self, terms: &Terms, state: &State) -> (f64, DMatrix<f64>, DVector<f64>) {
        let [backgrounds, amplitudes] = self.lens;
        let n = terms.len + backgrounds + amplitudes;
        let (mut matrix, mut gradient) = (DMatrix::zeros(n, n), DVector::zeros(n));
        let mut objective = 0.0;
        for ring in 0..self.rings.len() {
            let sums = self.ring_sums(ring, terms, state);
            objective += sums.objective;
            let places = self.places(ring, terms.len);
            for (i, (row, at_row, by_row)) in places.iter().enumerate() {
                gradient[*at_row] += by_row * sums.gradient[*row];
                for (column, at_column, by_column) in &places[..=i] {
                    let value = by_row * by_column * sums.matrix[*row][*column];
                    matrix[(*at_row, *at_column)] += value;
                    if at_row != at_column {
                        matrix[(*at_column, *at_row)] += value;
                    }
                }
            }
        }
        for i in 0..terms.len {
            add_prior(
                &mut objective,
                &mut matrix,
                &mut gradient,
                &[(i, 1.0)],
                terms.prior[i],
                &state.geometry,
                0,
            );
        }
        for (coefficients, bend, offset) in [
            (&state.background, BACKGROUND_BEND, terms.len),
            (&state.amplitude, AMPLITUDE_BEND, terms.len + backgrounds),
        ] {
            for j in 1..coefficients.len() - 1 {
                let second = [(j - 1, 1.0), (j, -2.0), (j + 1, 1.0)];
                let precision = bend.powi(-2);
                add_prior(
                    &mut objective,
                    &mut matrix,
                    &mut gradient,
                    &second,
                    precision,
                    coefficients,
                    offset,
                );
            }
        }
        (objective, matrix, gradient)
    }

    /// Where a ring's sums go: index in [`RingSums`], index of the parameter, factor.
    fn places(&self, ring: usize, terms: usize) -> Vec<(usize, usize, f64)> {
        let (b, a) = (&self.background[ring], &self.amplitude[ring]);
        let geometry = (0..terms).map(|i| (i + 2, i, 1.0));
        let background = (0..4).map(|i| (0, terms + b.first + i, b.values[i]));
        let amplitude = (0..4).map(|i| (1, terms + self.lens[0] + a.first + i, a.values[i]));
        geometry.chain(background).chain(amplitude).collect()
    }

    fn ring_sums(&self, ring: usize, terms: &Terms, state: &State) -> RingSums {
        let mut sums = RingSums {
            matrix: [[0.0; MOST_TERMS + 2]; MOST_TERMS + 2],
            gradient: [0.0; MOST_TERMS + 2],
            objective: 0.0,
        };
        let (b, a) = self.smooth_at(ring, state);
        let (weight, floor) = (1.0 / self.dispersion[ring], b.exp());
        let mut slopes = [1.0; MOST_TERMS + 2];
        for datum in &self.data[self.rings[ring].clone()] {
            let (residual, squared, sin_2) = residual(datum, terms, state, floor, a);
            let contrast = 1.0 + a * squared;
            let n = weight * datum.samples;
            sums.objective += n * (b + contrast.ln() + residual + 1.0);
            slopes[1] = squared / contrast;
            let by_defocus = a * sin_2 / contrast * datum.slope;
            for i in 0..terms.len {
                slopes[i + 2] = by_defocus * datum.factors[i];
            }
            if let Some(phase) = terms.phase {
                slopes[phase + 2] /= datum.slope;
            }
            for i in 0..terms.len + 2 {
                let by_row = n * slopes[i];
                sums.gradient[i] += by_row * residual;
                for j in 0..=i {
                    sums.matrix[i][j] += by_row * slopes[j];
                }
            }
        }
        for i in 0..terms.len + 2 {
            for j in 0..i {
                sums.matrix[j][i] = sums.matrix[i][j];
            }
        }
        sums
    }
}

/// Argument of the CTF at a datum, radians.
pub(super) fn argument(datum: &Datum, terms: &Terms, state: &State) -> f64 {
    let mut defocus = 0.0;
    for i in 0..terms.len {
        defocus += state.geometry[i] * datum.factors[i];
    }
    let Some(phase) = terms.phase else { return datum.base + datum.slope * defocus };
    let shift = state.geometry[phase] * datum.factors[phase];
    datum.base + datum.slope * (defocus - shift) + shift
}

/// Power over its expectation (`floor` where CTF is 0), minus 1, cut where it stands out; CTF²; and the sine of twice its
/// argument.
fn residual(datum: &Datum, terms: &Terms, state: &State, floor: f64, a: f64) -> (f64, f64, f64) {
    let (sin_2, cos_2) = (2.0 * argument(datum, terms, state)).sin_cos();
    let squared = 0.5 - 0.5 * cos_2;
    let expected = floor * (1.0 + a * squared);
    ((datum.power / expected - 1.0).min(CUT_SD / datum.samples.sqrt()), squared, sin_2)
}

/// A normal prior on a linear combination of parameters.
fn add_prior(
    objective: &mut f64,
    matrix: &mut DMatrix<f64>,
    gradient: &mut DVector<f64>,
    combination: &[(usize, f64)],
    precision: f64,
    parameters: &[f64],
    offset: usize,
) {
    let value: f64 = combination.iter().map(|(i, factor)| factor * parameters[*i]).sum();
    *objective += 0.5 * precision * value * value;
    for (i, by_row) in combination {
        gradient[offset + i] -= precision * value * by_row;
        for (j, by_column) in combination {
            matrix[(offset + i, offset + j)] += precision * by_row * by_column;
        }
    }
}

fn inverse_of(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let n = matrix.nrows();
    let mut regular = matrix.clone();
    for i in 0..n {
        // a parameter that nothing depends on is infinitely uncertain
        regular[(i, i)] += 1e-12 + 1e-9 * matrix[(i, i)];
    }
    Cholesky::new(regular).map_or_else(|| DMatrix::identity(n, n) * f64::INFINITY, |c| c.inverse())
}

impl State {
    /// Moved by a step over `[geometry, background, amplitude]`.
    fn moved(&self, step: &[f64]) -> Self {
        let mut moved = self.clone();
        let all = moved.geometry.iter_mut().chain(&mut moved.background).chain(&mut moved.amplitude);
        all.zip(step).for_each(|(value, step)| *value += step);
        moved
    }
}
