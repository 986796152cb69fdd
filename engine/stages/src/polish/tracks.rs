//! The tracks of all particles of a movie: where their correlations are large and their motion is as motion is.
//!
//! Maximised is `s Σ C_pf(d_pf) - prior`, with d the displacement of particle p in frame f from where the known motion has
//! it: `d_p0 + Σ v`. Velocities v are a Gaussian process over the micrograph, `⟨v_p v_q⟩ = σ_v² exp(-|p - q|/σ_d)`
//! (Zivanov, Nielsen & Scheres 2019, IUCrJ 6:5), and their changes from frame to frame have a prior of the same form. With
//! the covariance factored, `K = L Lᵀ`, velocities are `σ_v L c` and the c have unit priors, so that the walk to the
//! maximum is well scaled.

use super::lbfgs::minimise;
use super::patch::PatchGrid;
use ndarray::Array2;
use rayon::prelude::*;

/// How well a particle's place is known before, Å along an axis.
const OFFSET_SD_A: f64 = 1.0;
/// Part of a particle's variance that may be left out of the factored covariance.
const LEFT_OUT: f64 = 0.005;
/// Most steps of the walk.
const MOST_STEPS: usize = 200;
/// Gain of log likelihood under which a step counts as none.
const TOLERANCE: f64 = 0.01;

/// What motion is expected.
#[derive(Debug, Clone, Copy)]
pub struct Prior {
    /// Standard deviation of a velocity along an axis, Å per frame.
    pub velocity_a: f64,
    /// Distance over which velocities become independent, Å.
    pub divergence_a: f64,
    /// Standard deviation of the change of a velocity from frame to frame, in those of the velocity.
    pub relative_acceleration: f64,
}

/// Correlations of all particles and frames.
pub struct Correlations<'a> {
    /// The grid of patches.
    pub grid: &'a PatchGrid,
    /// By particle and frame.
    pub patches: &'a [Vec<f32>],
    /// Frames.
    pub frames: usize,
    /// What makes a patch's values log likelihoods.
    pub scale: f64,
}

/// Displacements `[particle][frame]` in Å of particles at `places_a` from where the known motion has them.
pub fn find(correlations: &Correlations<'_>, places_a: &[[f64; 2]], prior: Prior) -> Vec<Vec<[f64; 2]>> {
    let particles = places_a.len();
    let frames = correlations.frames;
    let factor = factor(places_a, prior.divergence_a) * prior.velocity_a;
    let problem =
        Problem { correlations, particles, frames, stiffness: prior.relative_acceleration.powi(-2), factor };
    let start = vec![0.0; 2 * problem.variables()];
    let (best, _) = minimise(start, MOST_STEPS, TOLERANCE, |x, gradient| problem.energy(x, gradient));
    problem.displacements(&best)
}

struct Problem<'a> {
    correlations: &'a Correlations<'a>,
    particles: usize,
    frames: usize,
    /// Weight of squared changes of c.
    stiffness: f64,
    /// `[particles, modes]`: velocities in Å per frame from unit variables.
    factor: Array2<f64>,
}

impl Problem<'_> {
    /// Variables of one axis: an offset for each particle, then modes for each step between frames.
    fn variables(&self) -> usize {
        self.particles + self.factor.ncols() * self.frames.saturating_sub(1)
    }

    fn displacements(&self, x: &[f64]) -> Vec<Vec<[f64; 2]>> {
        let modes = self.factor.ncols();
        let one = |p: usize| {
            let mut at = [0, 1].map(|axis| x[axis * self.variables() + p] * OFFSET_SD_A);
            let row = self.factor.row(p);
            let mut track = Vec::with_capacity(self.frames);
            track.push(at);
            for step in 1..self.frames {
                for axis in 0..2 {
                    let first = axis * self.variables() + self.particles + (step - 1) * modes;
                    at[axis] += row.iter().zip(&x[first..first + modes]).map(|(l, c)| l * c).sum::<f64>();
                }
                track.push(at);
            }
            track
        };
        (0..self.particles).into_par_iter().map(one).collect()
    }

    /// Minus the log posterior, and its gradient.
    fn energy(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let (modes, variables) = (self.factor.ncols(), self.variables());
        let tracks = self.displacements(x);
        // by particle: minus log likelihood, and the force on each displacement, summed from each frame to the last
        let forces: Vec<(f64, Vec<[f64; 2]>)> = tracks
            .par_iter()
            .enumerate()
            .map(|(p, track)| {
                let Correlations { grid, patches, scale, .. } = self.correlations;
                let mut sum = 0.0;
                let mut forces = vec![[0.0; 2]; track.len()];
                for (f, at) in track.iter().enumerate() {
                    let (value, slope) = grid.value(&patches[p * self.frames + f], *at);
                    sum -= scale * value;
                    forces[f] = slope.map(|s| -scale * s);
                }
                for f in (1..track.len()).rev() {
                    let later = forces[f];
                    (0..2).for_each(|axis| forces[f - 1][axis] += later[axis]);
                }
                (sum, forces)
            })
            .collect();
        let mut energy: f64 = forces.iter().map(|(sum, _)| sum).sum();
        for (g, x) in gradient.iter_mut().zip(x) {
            energy += 0.5 * x * x;
            *g = *x;
        }
        for axis in 0..2 {
            let first = axis * variables;
            for (p, (_, forces)) in forces.iter().enumerate() {
                gradient[first + p] += OFFSET_SD_A * forces[0][axis];
            }
            let (_, of_modes) = gradient[first..first + variables].split_at_mut(self.particles);
            let x = &x[first + self.particles..first + variables];
            of_modes.par_chunks_mut(modes.max(1)).enumerate().for_each(|(step, part)| {
                for ((_, forces), row) in forces.iter().zip(self.factor.rows()) {
                    let force = forces[step + 1][axis];
                    part.iter_mut().zip(row).for_each(|(g, l)| *g += l * force);
                }
            });
            for i in modes..x.len() {
                let change = x[i] - x[i - modes];
                energy += 0.5 * self.stiffness * change * change;
                of_modes[i] += self.stiffness * change;
                of_modes[i - modes] -= self.stiffness * change;
            }
        }
        energy
    }
}

/// A factor L of the covariance `exp(-distance/divergence)`, `[places, modes]`: pivoted Cholesky, ended when no place
/// has more than [`LEFT_OUT`] of its variance left.
fn factor(places_a: &[[f64; 2]], divergence_a: f64) -> Array2<f64> {
    let n = places_a.len();
    let covariance = |p: usize, q: usize| {
        let [dx, dy] = [0, 1].map(|i| places_a[p][i] - places_a[q][i]);
        (-dx.hypot(dy) / divergence_a).exp()
    };
    let mut left = vec![1.0; n];
    let mut columns: Vec<Vec<f64>> = Vec::new();
    while columns.len() < n {
        // the first of the largest
        let pivot = (0..n).fold(0, |best, p| if left[p] > left[best] { p } else { best });
        if left[pivot] <= LEFT_OUT {
            break;
        }
        let root = f64::sqrt(left[pivot]);
        let column: Vec<f64> = (0..n)
            .map(|p| {
                let known: f64 = columns.iter().map(|c| c[p] * c[pivot]).sum();
                (covariance(p, pivot) - known) / root
            })
            .collect();
        left.iter_mut().zip(&column).for_each(|(left, c)| *left = (*left - c * c).max(0.0));
        left[pivot] = 0.0;
        columns.push(column);
    }
    Array2::from_shape_fn((n, columns.len()), |(p, m)| columns[m][p])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<[f64; 2]> {
        (0..40)
            .map(|i| [f64::from(i % 8) * 300.0, f64::from(i / 8) * 350.0 + f64::from(i % 3) * 40.0])
            .collect()
    }

    #[test]
    fn the_factor_gives_the_covariance_back() {
        let places = places();
        let l = factor(&places, 2000.0);
        let product = l.dot(&l.t());
        for p in 0..40 {
            for q in 0..40 {
                let d = (places[p][0] - places[q][0]).hypot(places[p][1] - places[q][1]);
                assert!((product[[p, q]] - (-d / 2000.0).exp()).abs() < 2.0 * LEFT_OUT, "{p} {q}");
            }
        }
        // independent places need a mode each, one place one
        assert_eq!(factor(&places, 1.0).ncols(), 40);
        assert_eq!(factor(&places[..1], 1.0).ncols(), 1);
    }

    #[test]
    fn the_gradient_is_that_of_the_energy() {
        let places = &places()[..5];
        let grid = PatchGrid::new(16, 32.0, 4.0, 3.0);
        let patches: Vec<Vec<f32>> = (0..5 * 4)
            .map(|k| (0..grid.len()).map(|i| ((i * 37 + k * 11) % 23) as f32 / 23.0).collect())
            .collect();
        let correlations = Correlations { grid: &grid, patches: &patches, frames: 4, scale: 0.7 };
        let problem = Problem {
            correlations: &correlations,
            particles: 5,
            frames: 4,
            stiffness: 0.3,
            factor: factor(places, 500.0) * 0.4,
        };
        let x: Vec<f64> = (0..2 * problem.variables()).map(|i| ((i * 7) % 5) as f64 * 0.1 - 0.2).collect();
        let mut gradient = vec![0.0; x.len()];
        problem.energy(&x, &mut gradient);
        let mut unused = gradient.clone();
        for i in 0..x.len() {
            let mut at = |d: f64| {
                let mut moved = x.clone();
                moved[i] += d;
                problem.energy(&moved, &mut unused)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((gradient[i] - expected).abs() < 1e-4, "{i}: {} {expected}", gradient[i]);
        }
    }
}
