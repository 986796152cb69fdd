//! Which curvature of the Ewald sphere fits: by how well the halves agree.

use std::f64::consts::TAU;
use vitreous_model::ewald::Curvature;

/// What one way of inserting slices gave.
pub struct Trial {
    /// Curvature; none for flat slices.
    pub curvature: Option<Curvature>,
    /// Corrected FSC of the halves.
    pub fsc: Vec<f64>,
}

impl Trial {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self.curvature {
            None => "flat",
            Some(Curvature::Forward) => "forward",
            Some(Curvature::Reversed) => "reversed",
        }
    }
}

/// Place of the trial whose halves agree best; 0 for none.
pub fn best_of(trials: &[Trial], independent: f64) -> usize {
    let better = |best: usize, next: usize| {
        if lead(&trials[next], &trials[best], independent) > 0.0 { next } else { best }
    };
    (1..trials.len()).fold(0, better)
}

/// By how many standard deviations the halves of one trial agree better than those of the other.
///
/// The FSC of N independent coefficients is known in Fisher's form `z = artanh(FSC)` to `1 / √N` in every shell; the mean
/// of the differences, each shell with its N, is taken up to where neither curve is above 0.143 any more. `independent` is
/// the part of the coefficients that are independent: of the box that the mask fills, divided by the order of the
/// symmetry. The trials are of the same images and err together, so the true lead is larger than this.
pub fn lead(one: &Trial, other: &Trial, independent: f64) -> f64 {
    let end = [one, other].map(|trial| trial.fsc.iter().skip(1).take_while(|&&fsc| fsc >= 0.143).count() + 1);
    let end = end[0].max(end[1]);
    let z = |fsc: f64| fsc.clamp(-LARGEST, LARGEST).atanh();
    let (mut sum, mut count) = (0.0, 0.0);
    for shell in 1..end.min(one.fsc.len()).min(other.fsc.len()) {
        let coefficients = independent * TAU * (shell * shell) as f64;
        sum += coefficients * (z(one.fsc[shell]) - z(other.fsc[shell]));
        count += coefficients;
    }
    if count > 0.0 { sum / (2.0 * count).sqrt() } else { 0.0 }
}

/// Beyond this an FSC says nothing more: interpolation limits it.
const LARGEST: f64 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(fall: f64) -> Trial {
        let fsc = (0..40).map(|shell| 1.0 / (1.0 + (shell as f64 / fall).powi(8))).collect();
        Trial { curvature: None, fsc }
    }

    #[test]
    fn the_lead_has_a_sign_and_grows_with_what_is_known() {
        let (good, bad) = (trial(20.0), trial(18.0));
        assert!(lead(&good, &bad, 0.1) > 3.0);
        assert_eq!(lead(&good, &bad, 0.1), -lead(&bad, &good, 0.1));
        assert!((lead(&good, &bad, 0.4) / lead(&good, &bad, 0.1) - 2.0).abs() < 1e-9);
        assert_eq!(lead(&good, &good, 0.1), 0.0);
        assert_eq!(best_of(&[trial(18.0), trial(20.0), trial(19.0)], 0.1), 1);
        assert_eq!(best_of(&[], 0.1), 0);
    }
}
