//! Sharpening: the fall-off of a map's amplitudes, its correction, and the filters that go with it.

use crate::fourier::{HalfVolume, low_pass_weight, shell_power_volume};
use crate::fsc::correlation_with_truth;
use ndarray::{Array3, ArrayView3};
use vitreous_model::conventions::frequency_per_a;

/// Half-width in shells of the low-pass edge at the resolution (RELION's filter edge of 2 shells).
const LOW_PASS_EDGE: f64 = 4.0;

/// A line through a Guinier plot: `ln F = intercept + slope · u²`, u in 1/Å.
#[derive(Debug, Clone, PartialEq)]
pub struct Guinier {
    /// B-factor of the map, `4 · slope`, Å²; negative where amplitudes fall, as they do.
    pub b_factor_a2: f64,
    /// `ln F` at u = 0.
    pub intercept: f64,
    /// Points of the plot: u² in 1/Å², `ln F`, and whether the point was used for the line.
    pub points: Vec<(f64, f64, bool)>,
}

/// Why there is no B-factor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SharpenError {
    /// The range holds too few shells for a line.
    #[error(
        "only {shells} shells lie between {low_a:.1} Å and {high_a:.1} Å, too few to fit a B-factor (3 are needed); \
         give the B-factor, or start the fit at a lower resolution"
    )]
    TooFewShells {
        /// Shells found.
        shells: usize,
        /// Start of the fit, Å.
        low_a: f64,
        /// End of the fit, Å.
        high_a: f64,
    },
}

/// Fits the B-factor of a map from `low_a` to `high_a` Å (Rosenthal & Henderson 2003, J. Mol. Biol. 333:721). The
/// amplitude of a shell is its root-mean-square times `sqrt(2 FSC / (1 + FSC))`, so that noise does not flatten the
/// line; `fsc` by shell. Shells weigh in the line by how well their amplitude is known (`confidence`).
///
/// # Errors
/// Fewer than three shells with signal in the range.
pub fn guinier_fit(
    map: &HalfVolume,
    fsc: &[f64],
    pixel_size_a: f64,
    low_a: f64,
    high_a: f64,
) -> Result<Guinier, SharpenError> {
    let power = shell_power_volume(map);
    let (points, weights): (Vec<(f64, f64, bool)>, Vec<f64>) = (1..power.len())
        .filter_map(|shell| {
            let u = frequency_per_a(shell as f64, map.n(), pixel_size_a);
            let amplitude =
                power[shell].sqrt() * correlation_with_truth(fsc.get(shell).copied().unwrap_or(0.0));
            let is_used = u >= 1.0 / low_a && u <= 1.0 / high_a;
            let weight = if is_used { confidence(shell, fsc[shell]) } else { 0.0 };
            (amplitude > 0.0).then(|| ((u * u, amplitude.ln(), is_used), weight))
        })
        .unzip();
    let shells = points.iter().filter(|p| p.2).count();
    if shells < 3 {
        return Err(SharpenError::TooFewShells { shells, low_a, high_a });
    }
    let total: f64 = weights.iter().sum();
    let mean = |of: &dyn Fn(&(f64, f64, bool)) -> f64| {
        points.iter().zip(&weights).map(|(p, weight)| weight * of(p)).sum::<f64>() / total
    };
    let (mean_x, mean_y) = (mean(&|p| p.0), mean(&|p| p.1));
    let slope = mean(&|p| (p.0 - mean_x) * (p.1 - mean_y)) / mean(&|p| (p.0 - mean_x).powi(2));
    Ok(Guinier { b_factor_a2: 4.0 * slope, intercept: mean_y - slope * mean_x, points })
}

/// How well the logarithm of a shell's amplitude is known, relative to other shells: one over its variance. Of `n`
/// coefficients (in proportion to the shell's area) the mean power scatters by `1/n`, the FSC by `(1 - FSC²)² / n`, and
/// the logarithm of `2 FSC / (1 + FSC)` by that over `FSC² (1 + FSC)²`.
fn confidence(shell: usize, fsc: f64) -> f64 {
    let area = (shell as f64).powi(2);
    let unsure = (1.0 - fsc) / fsc.max(1e-3);
    area / (1.0 + unsure * unsure)
}

/// What sharpening does to a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharpening {
    /// B-factor of the map, Å² (negative to sharpen): amplitudes are multiplied by `exp(-B u² / 4)`.
    pub b_factor_a2: f64,
    /// FSC by shell; amplitudes are multiplied by `sqrt(2 FSC / (1 + FSC))`. Empty: they are not.
    pub fsc: Vec<f64>,
    /// Resolution of the final low-pass, Å; its edge is two shells to either side.
    pub low_pass_a: f64,
}

/// Sharpens a map of `pixel_size_a`.
pub fn sharpened(map: HalfVolume, how: &Sharpening, pixel_size_a: f64) -> Array3<f32> {
    let n = map.n();
    let radius = n as f64 * pixel_size_a / how.low_pass_a;
    let mut map = map;
    map.weigh(|r| {
        let u = frequency_per_a(r, n, pixel_size_a);
        let confidence =
            if how.fsc.is_empty() { 1.0 } else { correlation_with_truth(interpolated(&how.fsc, r)) };
        confidence * (-0.25 * how.b_factor_a2 * u * u).exp() * low_pass_weight(r, radius, LOW_PASS_EDGE)
    });
    map.into_box()
}

/// A curve by shell at radius r, linear between shells, 0 beyond the last.
fn interpolated(curve: &[f64], r: f64) -> f64 {
    let shell = r.floor() as usize;
    let t = r - r.floor();
    match (curve.get(shell), curve.get(shell + 1)) {
        (Some(a), Some(b)) => a + (b - a) * t,
        (Some(a), None) if t == 0.0 => *a,
        _ => 0.0,
    }
}

/// A cubic map low-passed at `resolution_a` Å with a raised cosine of `edge_shells` shells about it.
pub fn low_passed(
    map: ArrayView3<'_, f32>,
    pixel_size_a: f64,
    resolution_a: f64,
    edge_shells: f64,
) -> Array3<f32> {
    let radius = map.dim().0 as f64 * pixel_size_a / resolution_a;
    let mut half = HalfVolume::of_box(map);
    half.weigh(|r| low_pass_weight(r, radius, edge_shells));
    half.into_box()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// White noise with a fall-off of `b`, box 48 of 2 Å.
    fn falling(b: f64) -> HalfVolume {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let noise =
            Array3::from_shape_simple_fn((48, 48, 48), || rng.sample::<f32, _>(rand_distr::StandardNormal));
        let mut half = HalfVolume::of_box(noise.view());
        half.weigh(|r| (0.25 * b * frequency_per_a(r, 48, 2.0).powi(2)).exp());
        half
    }

    #[test]
    fn the_fit_finds_the_fall_off_and_sharpening_undoes_it() {
        let fsc = vec![1.0; 25];
        let map = falling(-120.0);
        let fit = guinier_fit(&map, &fsc, 2.0, 12.0, 4.0).unwrap();
        assert!((fit.b_factor_a2 + 120.0).abs() < 6.0, "{}", fit.b_factor_a2);
        let how = Sharpening { b_factor_a2: fit.b_factor_a2, fsc: Vec::new(), low_pass_a: 4.0 };
        let flat = shell_power_volume(&HalfVolume::of_box(sharpened(map, &how, 2.0).view()));
        assert!(flat[6..20].iter().all(|p| (p / flat[10] - 1.0).abs() < 0.25), "{flat:?}");
        assert!(guinier_fit(&falling(-50.0), &fsc, 2.0, 4.2, 4.1).is_err());
    }

    #[test]
    fn low_pass_ends_at_the_resolution() {
        let map = falling(0.0).into_box();
        // 96 Å / 8 Å = shell 12
        let power = shell_power_volume(&HalfVolume::of_box(low_passed(map.view(), 2.0, 8.0, 2.0).view()));
        let before = shell_power_volume(&HalfVolume::of_box(map.view()));
        assert!((power[10] / before[10] - 1.0).abs() < 1e-3);
        assert!((power[12] / before[12] - 0.25).abs() < 0.05);
        assert!(power[14] < 1e-6 * before[14]);
    }
}
