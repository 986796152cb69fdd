//! The shapes that are looked for, as filters: each answers 1 where its own shape stands 1 above its surroundings.

use ndarray::Array2;
use std::f64::consts::{E, PI, SQRT_2};
use vitreous_compute::fourier::HalfImage;
use vitreous_jobs::pick_blobs::{PickBlobs, Shape};

/// Scales between the smallest and the largest diameter differ by at most this factor: neighbours see a disc between
/// them at over 99 % of their response.
const SCALE_FACTOR: f64 = 1.15;
/// Directions of the long axis of an ellipse over half a turn: 15° off, one of elongation 2 keeps 95 % of its response.
const DIRECTIONS: usize = 6;
/// Elongations below this are round.
const LEAST_ELONGATION: f64 = 1.02;
/// The surroundings of a ring reach out to so many of its radii, its hole included.
const SURROUNDINGS: f64 = 1.4;

/// One shape of one size and direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Template {
    /// Diameter, Å; of an ellipse the geometric mean of its axes.
    pub diameter_a: f64,
    /// Long axis over short axis.
    elongation: f64,
    /// Direction of the long axis from x towards y, radians.
    direction: f64,
    /// Diameter of the hole in diameters; `None` for a disc.
    hole: Option<f64>,
}

impl Template {
    /// All that the parameters ask for between two diameters.
    pub fn all(params: &PickBlobs, smallest_a: f64, largest_a: f64) -> Vec<Self> {
        let hole = (params.shape == Shape::Ring).then_some(params.hole);
        let round = params.elongation < LEAST_ELONGATION;
        let mut all = Vec::new();
        for diameter_a in scales(smallest_a, largest_a) {
            all.push(Self { diameter_a, elongation: 1.0, direction: 0.0, hole });
            if round {
                continue;
            }
            all.extend((0..DIRECTIONS).map(|i| {
                let direction = PI * i as f64 / DIRECTIONS as f64;
                Self { diameter_a, elongation: params.elongation, direction, hole }
            }));
        }
        all
    }

    /// The response of a padded image of transform `half` `[ny, nx/2 + 1]` and pixel size `pixel_size_a`.
    pub fn response(&self, half: &HalfImage, pixel_size_a: f64) -> Array2<f32> {
        match self.hole {
            None => self.disc(half, pixel_size_a),
            Some(hole) => self.ring(half, pixel_size_a, hole),
        }
    }

    /// The scale-normalised Laplacian of a Gaussian. A disc of radius r answers most to σ = r/√2, where its centre gives
    /// `(r²/σ²) exp(-r²/2σ²) = 2/e` (T. Lindeberg, Int. J. Comput. Vis. 30, 79, 1998); an ellipse to the same with its
    /// axes scaled, for both are one after a change of variables.
    fn disc(&self, half: &HalfImage, pixel_size_a: f64) -> Array2<f32> {
        let (ny, nx) = (half.ny(), half.nx());
        let sigma = 0.5 * self.diameter_a / pixel_size_a / SQRT_2;
        let mut filtered = half.clone();
        for (y, mut row) in filtered.data_mut().rows_mut().into_iter().enumerate() {
            let ky = 2.0 * PI * signed(y, ny) / ny as f64;
            for (x, value) in row.iter_mut().enumerate() {
                let kx = 2.0 * PI * x as f64 / nx as f64;
                // frequencies along the long axis see the larger σ
                let scaled = sigma * sigma * self.squared(kx, ky, self.elongation);
                *value *= (0.5 * E * scaled * (-0.5 * scaled).exp()) as f32;
            }
        }
        filtered.into_pixels()
    }

    /// The mean over a ring minus the mean over its hole and what surrounds it.
    fn ring(&self, half: &HalfImage, pixel_size_a: f64, hole: f64) -> Array2<f32> {
        let (ny, nx) = (half.ny(), half.nx());
        let radius = 0.5 * self.diameter_a / pixel_size_a;
        let parts = Array2::from_shape_fn((ny, nx), |(y, x)| {
            let r = self.squared(signed(x, nx), signed(y, ny), 1.0 / self.elongation).sqrt();
            // edges run over a pixel
            let within = |radius: f64| (radius + 0.5 - r).clamp(0.0, 1.0);
            let ring = within(radius) - within(hole * radius);
            [ring, within(SURROUNDINGS * radius) - ring]
        });
        let sum = |part: usize| parts.iter().map(|weights| weights[part]).sum::<f64>().max(f64::MIN_POSITIVE);
        let (ring, rest) = (sum(0), sum(1));
        // the kernel is symmetric, so that correlation is convolution
        let kernel = parts.mapv(|weights| (weights[0] / ring - weights[1] / rest) as f32);
        let mut filtered = half.clone();
        filtered.data_mut().zip_mut_with(HalfImage::of(kernel.view()).data(), |value, k| *value *= k);
        filtered.into_pixels()
    }

    /// Square of the length of (x, y), the part along the long axis times √`stretch`, across it over √`stretch`.
    fn squared(&self, x: f64, y: f64, stretch: f64) -> f64 {
        let (sin, cos) = self.direction.sin_cos();
        let (along, across) = (cos * x + sin * y, cos * y - sin * x);
        stretch * along * along + across * across / stretch
    }
}

/// Index `i` of a cyclic axis of length `n`, from -n/2 on.
fn signed(i: usize, n: usize) -> f64 {
    if 2 * i <= n { i as f64 } else { i as f64 - n as f64 }
}

/// Diameters from the smallest to the largest in equal ratios.
fn scales(smallest: f64, largest: f64) -> Vec<f64> {
    let steps = ((largest / smallest).ln() / SCALE_FACTOR.ln()).ceil().max(0.0) as i32;
    let ratio = if steps == 0 { 1.0 } else { (largest / smallest).powf(1.0 / f64::from(steps)) };
    (0..=steps).map(|i| smallest * ratio.powi(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 180;

    fn response(template: &Template, image: &Array2<f32>) -> Array2<f32> {
        template.response(&HalfImage::of(image.view()), 1.0)
    }

    fn top(response: &Array2<f32>) -> ((usize, usize), f32) {
        response.indexed_iter().map(|(at, v)| (at, *v)).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }

    /// An ellipse (long axis `elongation` times the short one, along `direction`) with a hole, centred on (90, 70).
    fn drawn(template: &Template) -> Array2<f32> {
        let radius = 0.5 * template.diameter_a;
        Array2::from_shape_fn((N, N), |(y, x)| {
            let (x, y) = (x as f64 - 70.0, y as f64 - 90.0);
            let r = template.squared(x, y, 1.0 / template.elongation).sqrt();
            if r <= radius && r >= template.hole.unwrap_or(0.0) * radius { 1.0 } else { 0.0 }
        })
    }

    #[test]
    fn every_shape_answers_one_at_the_centre_of_its_own_kind_and_less_to_others() {
        let all = [
            Template { diameter_a: 40.0, elongation: 1.0, direction: 0.0, hole: None },
            Template { diameter_a: 40.0, elongation: 2.0, direction: 0.6, hole: None },
            Template { diameter_a: 40.0, elongation: 1.0, direction: 0.0, hole: Some(0.6) },
            Template { diameter_a: 40.0, elongation: 1.5, direction: 2.0, hole: Some(0.6) },
        ];
        for (i, template) in all.iter().enumerate() {
            let image = drawn(template);
            let (at, most) = top(&response(template, &image));
            assert!(at.0.abs_diff(90) <= 1 && at.1.abs_diff(70) <= 1, "{template:?}: {at:?}");
            assert!((0.93..1.04).contains(&most), "{template:?}: {most}");
            for other in all.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other) {
                let answer = response(other, &image)[[90, 70]];
                assert!(answer < most - 0.03, "{other:?} to {template:?}: {answer} of {most}");
            }
        }
    }

    #[test]
    fn a_constant_gives_nothing() {
        let image = Array2::from_elem((N, N), 3.0);
        for hole in [None, Some(0.5)] {
            let template = Template { diameter_a: 30.0, elongation: 1.3, direction: 1.0, hole };
            assert!(response(&template, &image).iter().all(|v| v.abs() < 1e-3));
        }
    }

    #[test]
    fn scales_cover_the_range_and_directions_the_half_turn() {
        assert_eq!(scales(100.0, 100.0), [100.0]);
        let list = scales(120.0, 180.0);
        assert!((list[0] - 120.0).abs() < 1e-9 && (list[list.len() - 1] - 180.0).abs() < 1e-9);
        assert!(list.windows(2).all(|pair| pair[1] / pair[0] <= SCALE_FACTOR + 1e-9));
        let round = Template::all(&PickBlobs::default(), 120.0, 180.0);
        assert_eq!(round.len(), list.len());
        let long = PickBlobs { elongation: 1.5, ..PickBlobs::default() };
        assert_eq!(Template::all(&long, 120.0, 180.0).len(), list.len() * (1 + DIRECTIONS));
    }
}
