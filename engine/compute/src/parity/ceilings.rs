//! Cases of [`crate::ops::ceilings`]: what is measured is really done.

use super::{Outcome, largest_relative};
use crate::ops::ceilings::{CHAINS, Ceilings, STEP, start};

/// A step rounds by half a unit in the last place, 2⁻²⁴ of values up to 8, and what it adds decays with 0.999 a step: 1000
/// such errors at most, in the same direction. The sum of a lane adds eight roundings.
const CHAIN_BOUND: f64 = 1e-4;

/// Runs all cases on a device.
pub fn run<D: Ceilings>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for count in [0, 1, 127, 1000] {
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
        let differ = |got: &[f32]| f64::from(u8::from(got != values));
        let copied = device.copy(&values, 2).expect("a small array should be copied");
        let [there, back] = device.transfer(&values, 2).expect("a small array should be sent");
        for (what, got, bytes) in [("copied", copied, 8.0), ("sent", there, 4.0), ("fetched", back, 4.0)] {
            outcomes.push(Outcome {
                case: format!("{count} numbers {what}"),
                measure: "arrays that differ",
                error: differ(&got.values) + (got.work - 2.0 * bytes * f64::from(count)).abs(),
                bound: 0.0,
            });
        }
    }
    for (lanes, steps) in [(0, 5), (1, 0), (5, 1), (129, 7), (1100, 40)] {
        let found = device.multiply_add(lanes, steps, 1).expect("a few chains should run");
        let wanted = (0..lanes).map(|lane| chains(lane, steps));
        let pairs = found.values.iter().map(|&value| f64::from(value)).zip(wanted);
        let complete =
            found.values.len() == lanes && found.work == 2.0 * (lanes * CHAINS) as f64 * f64::from(steps);
        outcomes.push(Outcome {
            case: format!("{lanes} lanes of {steps} steps"),
            measure: "largest error",
            error: if complete { largest_relative(pairs) } else { f64::NAN },
            bound: CHAIN_BOUND,
        });
    }
    outcomes
}

/// The sum of a lane's chains: `x_k = 1 + (x_0 - 1) a^k` where `a + b = 1`, computed step by step.
fn chains(lane: usize, steps: u32) -> f64 {
    let [a, b] = STEP.map(f64::from);
    let end = |chain: usize| (0..steps).fold(f64::from(start(lane, chain)), |x, _| a * x + b);
    (0..CHAINS).map(end).sum()
}
