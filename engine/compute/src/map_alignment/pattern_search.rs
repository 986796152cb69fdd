//! Pattern search over a rotation and a shift: steps along each coordinate, halved when none helps.

use super::Placement;
use vitreous_model::pose::Rotation;

/// Steps of a pattern search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// First rotation step, degrees.
    pub first_deg: f64,
    /// The search ends when the rotation step is smaller than this.
    pub last_deg: f64,
    /// First shift step, voxels; it shrinks with the rotation step. 0: no shifts.
    pub first_px: f64,
}

/// Climbs from `start` to the nearest maximum of `score`; returns it with its score.
pub fn climb(start: Placement, steps: Steps, score: impl Fn(&Placement) -> f64) -> (Placement, f64) {
    let (mut best, mut best_score) = (start, score(&start));
    let (mut degrees, mut pixels) = (steps.first_deg, steps.first_px);
    while degrees >= steps.last_deg {
        let mut improved = false;
        for coordinate in 0..6 {
            for sign in [1.0, -1.0] {
                let Some(candidate) = moved(best, coordinate, sign * degrees, sign * pixels) else {
                    continue;
                };
                let candidate_score = score(&candidate);
                if candidate_score > best_score {
                    (best, best_score) = (candidate, candidate_score);
                    improved = true;
                    break;
                }
            }
        }
        if !improved {
            degrees *= 0.5;
            pixels *= 0.5;
        }
    }
    (best, best_score)
}

/// One step along coordinate 0–2 (rotation about x, y, z) or 3–5 (shift); `None` for a step of nothing.
fn moved(from: Placement, coordinate: usize, degrees: f64, pixels: f64) -> Option<Placement> {
    let mut to = from;
    if coordinate < 3 {
        let mut vector = [0.0; 3];
        vector[coordinate] = degrees.to_radians();
        to.rotation = Rotation::from_rotation_vector(vector) * from.rotation;
    } else if pixels == 0.0 {
        return None;
    } else {
        to.shift_px[coordinate - 3] += pixels;
    }
    Some(to)
}
