//! Fourier shell correlation, plain and corrected for the mask by phase randomisation.

use crate::fourier::{HalfVolume, friedel_count, shells};
use ndarray::{Array3, ArrayView3, Axis, Zip};
use num_complex::Complex32;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use vitreous_model::conventions::{shell_of, signed_frequency};

/// Phases are randomised from the first shell on where the unmasked FSC is below this (Chen et al. 2013,
/// Ultramicroscopy 135:24; RELION's value).
const RANDOMISE_BELOW: f64 = 0.8;

/// The correction starts this many shells after the randomisation, where the mask no longer mixes in what was kept.
const CORRECT_AFTER: usize = 2;

/// FSC by shell (0 to `n/2`): `Re Σ a b* / sqrt(Σ|a|² Σ|b|²)`; 0 where one of the maps has nothing.
///
/// # Panics
/// When the boxes differ.
pub fn fsc(a: &HalfVolume, b: &HalfVolume) -> Vec<f64> {
    assert_eq!(a.n(), b.n(), "maps to be correlated should have one box");
    let n = a.n();
    let planes: Vec<Vec<[f64; 3]>> = (0..n)
        .into_par_iter()
        .map(|z| {
            let mut sums = vec![[0.0; 3]; shells(n)];
            let qz = signed_frequency(z, n) as f64;
            let other = b.data().index_axis(Axis(0), z);
            for ((y, x), value) in a.data().index_axis(Axis(0), z).indexed_iter() {
                let qy = signed_frequency(y, n) as f64;
                let r = (qz * qz + qy * qy + (x * x) as f64).sqrt();
                if let Some(shell) = sums.get_mut(shell_of(r)) {
                    let times = friedel_count(x, n) as f64;
                    let second = other[[y, x]];
                    shell[0] += times * f64::from((value * second.conj()).re);
                    shell[1] += times * f64::from(value.norm_sqr());
                    shell[2] += times * f64::from(second.norm_sqr());
                }
            }
            sums
        })
        .collect();
    (0..shells(n))
        .map(|shell| {
            let [cross, one, two] =
                planes.iter().fold([0.0; 3], |sum, plane| [0, 1, 2].map(|i| sum[i] + plane[shell][i]));
            let norm = (one * two).sqrt();
            if norm > 0.0 { cross / norm } else { 0.0 }
        })
        .collect()
}

/// FSC of two cubic maps of one box, each multiplied by `mask` if there is one.
pub fn fsc_of_maps(
    a: ArrayView3<'_, f32>,
    b: ArrayView3<'_, f32>,
    mask: Option<ArrayView3<'_, f32>>,
) -> Vec<f64> {
    fsc(&masked_transform(a, mask), &masked_transform(b, mask))
}

fn masked_transform(map: ArrayView3<'_, f32>, mask: Option<ArrayView3<'_, f32>>) -> HalfVolume {
    match mask {
        None => HalfVolume::of_box(map),
        Some(mask) => HalfVolume::of_box((&map * &mask).view()),
    }
}

/// The four curves of a phase-randomisation test.
#[derive(Debug, Clone, PartialEq)]
pub struct CorrectedFsc {
    /// Without a mask.
    pub unmasked: Vec<f64>,
    /// Both halves multiplied by the mask.
    pub masked: Vec<f64>,
    /// Both halves with random phases from `randomised_from` on, then masked: what the mask alone makes.
    pub randomised: Vec<f64>,
    /// `(masked - randomised) / (1 - randomised)` where it applies, else `masked`; not below 0 there.
    pub corrected: Vec<f64>,
    /// First shell with random phases.
    pub randomised_from: usize,
}

/// FSC of two half maps within a mask, freed of the correlation that the mask itself makes (Chen et al. 2013).
///
/// The same seed gives the same random phases.
pub fn corrected_fsc(
    half1: ArrayView3<'_, f32>,
    half2: ArrayView3<'_, f32>,
    mask: ArrayView3<'_, f32>,
    seed: u64,
) -> CorrectedFsc {
    let (first, second) = (HalfVolume::of_box(half1), HalfVolume::of_box(half2));
    let unmasked = fsc(&first, &second);
    let masked = fsc_of_maps(half1, half2, Some(mask));
    let randomised_from =
        (1..unmasked.len()).find(|&shell| unmasked[shell] < RANDOMISE_BELOW).unwrap_or(unmasked.len());
    let one = with_random_phases(first, randomised_from, seed.wrapping_mul(2).wrapping_add(1)).into_box();
    let two = with_random_phases(second, randomised_from, seed.wrapping_mul(2).wrapping_add(2)).into_box();
    let randomised = fsc_of_maps(one.view(), two.view(), Some(mask));
    let corrected = freed_of_mask(&masked, &randomised, randomised_from);
    CorrectedFsc { unmasked, masked, randomised, corrected, randomised_from }
}

/// The FSC within a mask without what the mask alone makes, by shell: `(masked - randomised) / (1 - randomised)`, not below
/// 0, from two shells after `randomised_from`, the first with random phases, on; before that `masked` (Chen et al. 2013).
pub fn freed_of_mask(masked: &[f64], randomised: &[f64], randomised_from: usize) -> Vec<f64> {
    let free = |(shell, (total, noise)): (usize, (&f64, &f64))| {
        if shell < randomised_from + CORRECT_AFTER || *noise >= 1.0 {
            *total
        } else {
            ((total - noise) / (1.0 - noise)).max(0.0)
        }
    };
    masked.iter().zip(randomised).enumerate().map(free).collect()
}

/// Replaces the phases of all coefficients from shell `from` on by those of white noise, amplitudes kept.
pub fn with_random_phases(mut half: HalfVolume, from: usize, seed: u64) -> HalfVolume {
    let n = half.n();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    // phases of a real volume, so that mates stay mates
    let noise = Array3::from_shape_simple_fn((n, n, n), || rng.sample::<f32, _>(rand_distr::StandardNormal));
    let noise = HalfVolume::of(noise.view());
    let is_randomised = |z: usize, y: usize, x: usize| {
        let (qz, qy) = (signed_frequency(z, n) as f64, signed_frequency(y, n) as f64);
        shell_of((qz * qz + qy * qy + (x * x) as f64).sqrt()) >= from
    };
    Zip::indexed(half.data_mut()).and(noise.data()).par_for_each(|(z, y, x), value, random| {
        let norm = random.norm();
        if norm > 0.0 && is_randomised(z, y, x) {
            *value = Complex32::new(value.norm(), 0.0) * random / norm;
        }
    });
    half
}

/// `sqrt(2 FSC / (1 + FSC))`, the correlation of the combined map with the truth (Rosenthal & Henderson 2003); 0 for
/// an FSC that is not positive.
pub fn correlation_with_truth(fsc: f64) -> f64 {
    if fsc > 0.0 { (2.0 * fsc / (1.0 + fsc)).sqrt() } else { 0.0 }
}

/// FSC of the map of all data from that of its halves: `2 FSC / (1 + FSC)`.
pub fn of_combined(fsc: f64) -> f64 {
    if fsc > 0.0 { 2.0 * fsc / (1.0 + fsc) } else { fsc }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::project::blob_volume;

    fn noise(n: usize, seed: u64) -> Array3<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        Array3::from_shape_simple_fn((n, n, n), || rng.sample::<f32, _>(rand_distr::StandardNormal))
    }

    #[test]
    fn a_map_correlates_with_itself_and_not_with_noise() {
        let map = noise(20, 1);
        let same = fsc_of_maps(map.view(), map.view(), None);
        assert!(same.iter().all(|c| (c - 1.0).abs() < 1e-6));
        let mirrored = fsc_of_maps(map.view(), (-&map).view(), None);
        assert!(mirrored.iter().all(|c| (c + 1.0).abs() < 1e-6));
        let other = fsc_of_maps(map.view(), noise(20, 2).view(), None);
        assert!(other[4..].iter().all(|c| c.abs() < 0.35));
        assert!(fsc_of_maps(map.view(), Array3::zeros((20, 20, 20)).view(), None).iter().all(|&c| c == 0.0));
    }

    #[test]
    fn equal_signal_and_noise_give_a_half() {
        // signal and noise are white, of equal variance
        let signal = noise(32, 3);
        let (a, b) = (&signal + &noise(32, 4), &signal + &noise(32, 5));
        let curve = fsc_of_maps(a.view(), b.view(), None);
        let mean = curve[6..].iter().sum::<f64>() / (curve.len() - 6) as f64;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
    }

    #[test]
    fn phase_randomisation_removes_what_a_tight_mask_makes() {
        let n = 48;
        let signal = blob_volume(n, 6) * 3.0;
        let (a, b) = (&signal + &noise(n, 7), &signal + &noise(n, 8));
        // a sharp, small mask correlates the noise of neighbouring coefficients
        let mask = crate::mask::sphere(n, 7.0, 1.0);
        let curves = corrected_fsc(a.view(), b.view(), mask.view(), 1);
        assert!(curves.randomised_from < n / 4);
        // beyond the signal (blobs fade as exp(-2π²·1.7²·s²)) the corrected curve is that of noise
        let high = &curves.corrected[n * 3 / 8..];
        let mean = high.iter().sum::<f64>() / high.len() as f64;
        assert!(mean < 0.1, "{mean}");
        // where the signal dominates, nothing is taken away
        assert!(curves.corrected[3] > 0.95, "{:?}", &curves.corrected[..6]);
        assert_eq!(curves, corrected_fsc(a.view(), b.view(), mask.view(), 1));
    }

    #[test]
    fn random_phases_keep_amplitudes() {
        let half = HalfVolume::of_box(noise(16, 9).view());
        let random = with_random_phases(half.clone(), 3, 5);
        let (mut changed, mut kept) = (0, 0);
        for ((z, y, x), value) in random.data().indexed_iter() {
            let before = half.data()[[z, y, x]];
            assert!((value.norm() - before.norm()).abs() <= 1e-4 * before.norm().max(1.0));
            if (value - before).norm() > 1e-3 * before.norm() { changed += 1 } else { kept += 1 }
        }
        assert!(changed > 10 * kept && kept > 20);
        let back = random.clone().into_box();
        let again = HalfVolume::of_box(back.view());
        let error: f32 = again.data().iter().zip(random.data()).map(|(a, b)| (a - b).norm_sqr()).sum();
        let power: f32 = random.data().iter().map(|a| a.norm_sqr()).sum();
        assert!(error < 1e-8 * power, "the phases should be those of a real volume");
    }
}
