//! Minimisation without derivatives: the simplex method of Nelder and Mead (Computer Journal 7, 308, 1965).

/// Smallest value found and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Minimum {
    pub at: Vec<f64>,
    pub value: f64,
}

/// Minimises `f` from `start`, with first steps `steps` along each axis.
///
/// Ends when the simplex' values differ by less than `tolerance`, or after `most` evaluations. `f` may return infinity
/// outside its domain.
pub(super) fn minimise(
    f: impl Fn(&[f64]) -> f64,
    start: &[f64],
    steps: &[f64],
    tolerance: f64,
    most: usize,
) -> Minimum {
    let n = start.len();
    let corner = |at: Vec<f64>| Minimum { value: f(&at), at };
    let mut simplex = vec![corner(start.to_vec())];
    for (axis, step) in steps.iter().enumerate() {
        let mut at = start.to_vec();
        at[axis] += step;
        simplex.push(corner(at));
    }
    let mut evaluations = n + 1;
    loop {
        simplex.sort_by(|a, b| a.value.total_cmp(&b.value));
        let spread = simplex[n].value - simplex[0].value;
        if spread.abs() < tolerance || evaluations >= most {
            return simplex.swap_remove(0);
        }
        let centre: Vec<f64> =
            (0..n).map(|i| simplex[..n].iter().map(|c| c.at[i]).sum::<f64>() / n as f64).collect();
        let along = |t: f64| -> Minimum {
            corner(centre.iter().zip(&simplex[n].at).map(|(c, worst)| c + t * (worst - c)).collect())
        };
        let reflected = along(-1.0);
        evaluations += 1;
        let replacement = if reflected.value < simplex[0].value {
            let expanded = along(-2.0);
            evaluations += 1;
            if expanded.value < reflected.value { Some(expanded) } else { Some(reflected) }
        } else if reflected.value < simplex[n - 1].value {
            Some(reflected)
        } else {
            let contracted = along(if reflected.value < simplex[n].value { -0.5 } else { 0.5 });
            evaluations += 1;
            (contracted.value < simplex[n].value.min(reflected.value)).then_some(contracted)
        };
        match replacement {
            Some(better) => simplex[n] = better,
            None => {
                let best = simplex[0].at.clone();
                for other in &mut simplex[1..] {
                    let at = other.at.iter().zip(&best).map(|(v, b)| 0.5 * (v + b)).collect();
                    *other = corner(at);
                }
                evaluations += n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_rosenbrocks_valley() {
        let valley = |x: &[f64]| (1.0 - x[0]).powi(2) + 100.0 * (x[1] - x[0] * x[0]).powi(2);
        let found = minimise(valley, &[-1.2, 1.0], &[0.5, 0.5], 1e-14, 1000);
        assert!(found.value < 1e-10, "{found:?}");
        assert!((found.at[0] - 1.0).abs() < 1e-4 && (found.at[1] - 1.0).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn stays_inside_a_domain_and_stops_in_time() {
        let wall = |x: &[f64]| if x[0] < 2.0 { f64::INFINITY } else { x[0] };
        let found = minimise(wall, &[5.0], &[1.0], 1e-9, 200);
        assert!((found.at[0] - 2.0).abs() < 1e-3, "{found:?}");
        let calls = std::cell::Cell::new(0);
        let counted = |x: &[f64]| {
            calls.set(calls.get() + 1);
            x[0].sin()
        };
        minimise(counted, &[0.0], &[1.0], 0.0, 50);
        assert!(calls.get() <= 53);
    }
}
