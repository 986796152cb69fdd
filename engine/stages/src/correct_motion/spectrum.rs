//! Rotational average of the power spectrum of a micrograph's middle, for the report.

use super::record::Spectrum;
use ndarray::{Array2, ArrayView2, s};
use vitreous_compute::fourier::HalfImage;
use vitreous_model::conventions::signed_frequency;

/// Edge of the square that is transformed, pixels.
const EDGE: usize = 512;

/// Rings of the average.
const RINGS: usize = 128;

/// Mean |F|² per pixel of the middle square of an image, its edges faded, by frequency up to Nyquist.
pub fn radial_power(image: ArrayView2<'_, f32>, pixel_size_a: f64) -> Spectrum {
    let edge = EDGE.min(image.nrows()).min(image.ncols()) / 2 * 2;
    if edge < 16 {
        return Spectrum { frequency: Vec::new(), power: Vec::new() };
    }
    let (y, x) = ((image.nrows() - edge) / 2, (image.ncols() - edge) / 2);
    let square = image.slice(s![y..y + edge, x..x + edge]);
    let mean = square.mean().unwrap_or(0.0);
    let fade: Vec<f32> =
        (0..edge).map(|i| (std::f32::consts::PI * (i as f32 + 0.5) / edge as f32).sin().powi(2)).collect();
    let faded = Array2::from_shape_fn((edge, edge), |(v, u)| (square[[v, u]] - mean) * fade[v] * fade[u]);
    // the mean of sin⁴ is 3/8 along each axis
    let scale = 1.0 / ((edge * edge) as f64 * (3.0f64 / 8.0).powi(2));
    let half = HalfImage::of(faded.view());
    let rings = RINGS.min(edge / 4);
    let (mut power, mut count) = (vec![0.0; rings + 1], vec![0.0; rings + 1]);
    for ((row, column), value) in half.data().indexed_iter() {
        let radius = (signed_frequency(row, edge) as f64).hypot(column as f64) / (edge as f64 / 2.0);
        let ring = (radius * rings as f64).round() as usize;
        if ring > 0 && ring <= rings {
            power[ring] += f64::from(value.norm_sqr()) * scale;
            count[ring] += 1.0;
        }
    }
    let frequency = |ring: usize| ring as f64 / rings as f64 * 0.5 / pixel_size_a;
    Spectrum {
        frequency: (1..=rings).map(frequency).collect(),
        power: (1..=rings).map(|ring| power[ring] / f64::max(count[ring], 1.0)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_a_peak_at_its_frequency() {
        let wave =
            Array2::from_shape_fn((600, 700), |(y, x)| (0.5 * x as f32).cos() + 0.001 * ((x * y) % 7) as f32);
        let spectrum = radial_power(wave.view(), 1.5);
        let peak = (0..spectrum.power.len())
            .max_by(|&a, &b| spectrum.power[a].total_cmp(&spectrum.power[b]))
            .unwrap();
        let expected = 0.5 / std::f64::consts::TAU / 1.5;
        assert!((spectrum.frequency[peak] - expected).abs() < 0.004, "{}", spectrum.frequency[peak]);
        assert!(radial_power(Array2::zeros((4, 4)).view(), 1.0).power.is_empty());
    }
}
