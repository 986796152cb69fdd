//! A minimum of a smooth function of many variables: limited-memory BFGS (Nocedal & Wright, Numerical Optimization,
//! algorithm 7.5) with a backtracking search.

use std::collections::VecDeque;

/// Pairs of steps and changes of the gradient that are remembered.
const MEMORY: usize = 8;
/// Part of the decrease promised by the slope that a step must bring (Armijo's condition).
const ENOUGH: f64 = 1e-4;
/// Halvings of a step before the search gives up.
const MOST_HALVINGS: usize = 20;

/// Walks from `x` downhill and returns where it ends, with the value there. `function(x, gradient)` returns the value
/// and writes the gradient. The walk ends when two steps in a row have each brought less than `tolerance`, or after
/// `most` steps.
pub fn minimise(
    mut x: Vec<f64>,
    most: usize,
    tolerance: f64,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> (Vec<f64>, f64) {
    let mut gradient = vec![0.0; x.len()];
    let mut value = function(&x, &mut gradient);
    let mut known: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::with_capacity(MEMORY + 1);
    let mut small_steps = 0;
    for _ in 0..most {
        let mut direction = towards(&gradient, &known);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            known.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        if slope == 0.0 {
            break;
        }
        // variables have unit priors: a first step is not longer than that
        let mut step = if known.is_empty() { (-slope).sqrt().recip().min(1.0) } else { 1.0 };
        let mut next = Vec::new();
        let mut next_gradient = vec![0.0; x.len()];
        let mut next_value = f64::INFINITY;
        for _ in 0..MOST_HALVINGS {
            next = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            next_value = function(&next, &mut next_gradient);
            if next_value <= value + ENOUGH * step * slope {
                break;
            }
            step *= 0.5;
            next_value = f64::INFINITY;
        }
        if !next_value.is_finite() {
            break;
        }
        let moved: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let changed: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&moved, &changed);
        if curvature > 1e-10 * dot(&changed, &changed).sqrt() * dot(&moved, &moved).sqrt() {
            known.push_back((moved, changed, curvature));
            if known.len() > MEMORY {
                known.pop_front();
            }
        }
        small_steps = if value - next_value < tolerance { small_steps + 1 } else { 0 };
        (x, value, gradient) = (next, next_value, next_gradient);
        if small_steps == 2 {
            break;
        }
    }
    (x, value)
}

/// Minus the approximate inverse Hessian times the gradient: the two-loop recursion.
fn towards(gradient: &[f64], known: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut shares = Vec::with_capacity(known.len());
    for (moved, changed, curvature) in known.iter().rev() {
        let share = dot(moved, &q) / curvature;
        q.iter_mut().zip(changed).for_each(|(q, y)| *q -= share * y);
        shares.push(share);
    }
    if let Some((_, changed, curvature)) = known.back() {
        let scale = curvature / dot(changed, changed);
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((moved, changed, curvature), share) in known.iter().zip(shares.into_iter().rev()) {
        let rest = share - dot(changed, &q) / curvature;
        q.iter_mut().zip(moved).for_each(|(q, s)| *q += rest * s);
    }
    q.iter_mut().for_each(|q| *q = -*q);
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bent_valley_is_walked_to_its_end() {
        // Rosenbrock's function in 10 variables; the minimum is at 1
        let (x, value) = minimise(vec![0.3; 10], 500, 1e-12, |x, gradient| {
            gradient.fill(0.0);
            let mut sum = 0.0;
            for i in 0..9 {
                let (a, b) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
                sum += 100.0 * a * a + b * b;
                gradient[i] += -400.0 * a * x[i] - 2.0 * b;
                gradient[i + 1] += 200.0 * a;
            }
            sum
        });
        assert!(value < 1e-8 && x.iter().all(|x| (x - 1.0).abs() < 1e-3), "{value} {x:?}");
    }

    #[test]
    fn at_the_minimum_nothing_moves() {
        let (x, _) = minimise(vec![0.0; 3], 10, 1e-9, |x, gradient| {
            gradient.copy_from_slice(x);
            0.5 * dot(x, x)
        });
        assert_eq!(x, [0.0; 3]);
    }
}
