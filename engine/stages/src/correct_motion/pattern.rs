//! How far a pattern that stays on the detector (an error of the gain reference) can be told from the specimen, which
//! moves.
//!
//! Between two frames, signal of power S and pattern of power P correlate by `S + a P` when the specimen is aligned, and
//! by `a S + P` when the detector is, with `a` the coherence of the motion at that frequency. So both powers follow from
//! the two correlations, and rings where the pattern would pull displacements to zero can be left out.

use vitreous_compute::movie::band::Band;
use vitreous_compute::movie::ring_power::RingPower;
use vitreous_compute::ops::motion_correlation::Pair;

/// Rings on either side over which powers are averaged.
const REACH: usize = 2;

/// A pattern of this part of the signal's power takes all trust from a ring.
const TOLERATED: f64 = 0.1;

/// A pattern must exceed its standard deviation by so much to be believed.
const SIGNIFICANT: f64 = 2.0;

/// Under this `1 - a²` the motion is too small to tell the two apart.
const RESOLVED: f64 = 0.05;

/// Factor from 0 to 1 for the weight of every ring, from the powers of aligned and of unaligned frames and the track of
/// the whole frames (pixels of the band's images).
pub fn trust(
    band: &Band,
    ring: &[u16],
    track: &[Pair],
    aligned: &RingPower,
    unaligned: &RingPower,
) -> Vec<f64> {
    let coherence = coherence(band, ring, track, aligned.count.len());
    let n = track.len() as f64;
    if track.len() < 3 {
        return vec![1.0; aligned.count.len()];
    }
    let pairs = n * (n - 1.0);
    (0..aligned.count.len())
        .map(|index| {
            let range = index.saturating_sub(REACH)..(index + REACH + 1).min(aligned.count.len());
            let mean = |values: &[f64]| {
                values[range.clone()].iter().sum::<f64>()
                    / aligned.count[range.clone()].iter().sum::<f64>().max(1.0)
            };
            let frames = mean(&aligned.of_frames);
            let with_specimen = (mean(&aligned.of_sum) - frames) / pairs;
            let with_detector = (mean(&unaligned.of_sum) - frames) / pairs;
            let a = (n * coherence[index] - 1.0) / (n - 1.0);
            let resolved = 1.0 - a * a;
            if resolved < RESOLVED {
                return 1.0;
            }
            let pattern = (with_detector - a * with_specimen) / resolved;
            let signal = (with_specimen - a * with_detector) / resolved;
            let count = aligned.count[range.clone()].iter().sum::<f64>().max(1.0);
            let deviation = frames / n / (pairs * count).sqrt() * (1.0 + a * a).sqrt() / resolved;
            let excess = pattern - SIGNIFICANT * deviation;
            if excess <= 0.0 {
                return 1.0;
            }
            if signal > 0.0 { (1.0 - excess / (TOLERATED * signal)).max(0.0) } else { 0.0 }
        })
        .collect()
}

/// Mean of `|Σ_f exp(i ω·d_f)|² / n²` over each ring.
fn coherence(band: &Band, ring: &[u16], track: &[Pair], rings: usize) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; rings], vec![0.0; rings]);
    for (row, omega_y) in band.omega_y.iter().enumerate() {
        for (column, omega_x) in band.omega_x.iter().enumerate() {
            let Some(slot) = sum.get_mut(usize::from(ring[row * band.stride + column])) else { continue };
            let (mut re, mut im) = (0.0, 0.0);
            for d in track {
                let (sin, cos) = (f64::from(*omega_x) * d[0] + f64::from(*omega_y) * d[1]).sin_cos();
                re += cos;
                im += sin;
            }
            *slot += re * re + im * im;
            count[usize::from(ring[row * band.stride + column])] += 1.0;
        }
    }
    let n2 = (track.len() * track.len()).max(1) as f64;
    sum.iter().zip(&count).map(|(s, c)| s / f64::max(*c, 1.0) / n2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};
    use vitreous_compute::device::Cpu;
    use vitreous_compute::movie::band::Spectrum;
    use vitreous_compute::ops::motion_correlation::{MotionCorrelation, Wanted};

    const RINGS: usize = 32;

    /// Trust in the rings of frames with signal and pattern of the given amplitudes, noise 1.
    fn trust_of(signal: f32, pattern: f32) -> Vec<f64> {
        let band = Band::new(64, 64, 0.45);
        let ring = band.rings(RINGS);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut noise = || -> Spectrum {
            let mut plane = || StandardNormal.sample_iter(&mut rng).take(band.len()).collect::<Vec<f32>>();
            Spectrum { re: plane(), im: plane() }
        };
        let (specimen, detector) = (noise(), noise());
        let track: Vec<Pair> = (0..20).map(|f| [0.3 * f64::from(f), -0.1 * f64::from(f)]).collect();
        let frames: Vec<Spectrum> = track
            .iter()
            .map(|d| {
                let mut frame = noise();
                for (row, omega_y) in band.omega_y.iter().enumerate() {
                    for (column, omega_x) in band.omega_x.iter().enumerate() {
                        let at = row * band.stride + column;
                        let angle = -(f64::from(*omega_x) * d[0] + f64::from(*omega_y) * d[1]);
                        let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
                        frame.re[at] += signal * (specimen.re[at] * cos - specimen.im[at] * sin)
                            + pattern * detector.re[at];
                        frame.im[at] += signal * (specimen.re[at] * sin + specimen.im[at] * cos)
                            + pattern * detector.im[at];
                    }
                }
                frame
            })
            .collect();
        let stacks = Cpu.motion_stacks(&band, RINGS, vec![frames]);
        let power = |displacements: &[Pair]| {
            Cpu.measure_stacks(&stacks, &[displacements.to_vec()], Wanted::AllPower).1
        };
        let (aligned, unaligned) = (power(&track), power(&[[0.0; 2]; 20]));
        trust(&band, &ring, &track, &aligned, &unaligned)
    }

    #[test]
    fn rings_with_a_pattern_are_found() {
        let middle = 10..25;
        let mean = |trust: &[f64]| trust[middle.clone()].iter().sum::<f64>() / 15.0;
        assert!(mean(&trust_of(0.4, 0.0)) > 0.9);
        assert!(mean(&trust_of(0.4, 0.4)) < 0.05);
        assert!(mean(&trust_of(0.0, 0.4)) < 0.05);
        assert!(mean(&trust_of(0.4, 0.05)) > 0.7);
    }
}
