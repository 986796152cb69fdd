//! Where particles lie in a micrograph: at random, not overlapping, whole.

use super::random::uniform;
use rand_chacha::ChaCha8Rng;

/// Attempts per particle before the micrograph counts as full.
const ATTEMPTS: usize = 200;

/// Up to `count` positions (column, row) in a frame of `size` pixels, `distance` or more apart and `margin` or more from
/// the edges: random sequential placement.
pub fn positions(
    rng: &mut ChaCha8Rng,
    count: usize,
    size: [usize; 2],
    distance: f64,
    margin: f64,
) -> Vec<[f64; 2]> {
    let mut placed: Vec<[f64; 2]> = Vec::with_capacity(count);
    let room = size.map(|n| n as f64 - 1.0 - 2.0 * margin);
    if room.iter().any(|r| *r < 0.0) {
        return placed;
    }
    for _ in 0..count * ATTEMPTS {
        if placed.len() == count {
            break;
        }
        let at = room.map(|r| margin + uniform(rng, 0.0, r));
        let is_far = |other: &[f64; 2]| (other[0] - at[0]).hypot(other[1] - at[1]) >= distance;
        if placed.iter().all(is_far) {
            placed.push(at);
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::random::{Purpose, stream};

    #[test]
    fn particles_do_not_overlap_and_lie_inside() {
        let mut rng = stream(1, Purpose::Exposure, 0, 0);
        let placed = positions(&mut rng, 30, [500, 300], 40.0, 25.0);
        assert_eq!(placed.len(), 30);
        for (i, a) in placed.iter().enumerate() {
            assert!((25.0..=474.0).contains(&a[0]) && (25.0..=274.0).contains(&a[1]));
            assert!(placed[..i].iter().all(|b| (a[0] - b[0]).hypot(a[1] - b[1]) >= 40.0));
        }
        // a full frame takes what fits; one that is too small takes nothing
        assert!(positions(&mut rng, 1000, [200, 200], 40.0, 25.0).len() < 40);
        assert!(positions(&mut rng, 5, [40, 400], 40.0, 25.0).is_empty());
    }
}
