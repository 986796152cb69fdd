//! How two images correlate when one is moved by a little.

use super::band::Band;
use crate::fourier::{HalfImage, next_5_smooth};
use crate::ops::motion_correlation::Pair;
use num_complex::Complex32;

/// The middle of a correlation image: displacements of up to `half` grid steps along x and y.
#[derive(Debug, Clone)]
pub struct CorrelationImage {
    /// `[2 half_y + 1, 2 half_x + 1]`, x fastest, zero displacement in the middle.
    pub values: Vec<f32>,
    /// Grid steps on either side, x and y.
    pub half: [usize; 2],
    /// Pixels per grid step, x and y.
    pub step: Pair,
}

impl CorrelationImage {
    /// From `product(index)`, the weighted product of the spectra of two images at every coefficient of a band, as
    /// [`Band::weights`] has it: one half of the column `kx = 0` left out. Within `limit` pixels of the origin. The values
    /// are `2/(mx my) Σ Re[product exp(+i ω·δ)]`, with `mx` and `my` the grid steps of the whole image.
    pub fn new(band: &Band, limit: f64, product: impl Fn(usize) -> Complex32) -> Self {
        // twice the band, so that the peak spans several grid steps
        let mx = next_5_smooth(4 * band.kx_max.min(band.nx / 4)).max(8).next_multiple_of(2);
        let my = next_5_smooth(4 * band.ky_max.min(band.ny / 4)).max(8).next_multiple_of(2);
        let (kx_max, ky_max) = (band.kx_max.min(mx / 2 - 1), band.ky_max.min(my / 2 - 1));
        let mut half = HalfImage::zeros(my, mx);
        {
            let mut data = half.data_mut();
            for row in band.ky_max - ky_max..=band.ky_max + ky_max {
                let (at, y) = (row * band.stride, (row + my - band.ky_max) % my);
                for x in 0..=kx_max {
                    data[[y, x]] = product(at + x);
                }
            }
            // the weights leave out one half of the column kx = 0; a real image needs both
            for y in 1..=ky_max {
                let value = data[[y, 0]];
                data[[my - y, 0]] = value.conj();
            }
        }
        let step = [band.nx as f64 / mx as f64, band.ny as f64 / my as f64];
        let half_of = |limit: f64, step: f64, m: usize| ((limit / step).ceil() as usize).clamp(1, m / 2 - 1);
        let wanted = [half_of(limit, step[0], mx), half_of(limit, step[1], my)];
        let image = half.into_rows_near_origin(wanted[1], kx_max + 1);
        let mut values = Vec::with_capacity((2 * wanted[0] + 1) * (2 * wanted[1] + 1));
        for row in image.rows() {
            values.extend((0..=2 * wanted[0]).map(|x| row[(x + mx - wanted[0]) % mx]));
        }
        Self { values, half: wanted, step }
    }

    /// The highest value, refined by a parabola along each axis, in pixels; the first of equal ones.
    pub fn peak(&self) -> Pair {
        let width = 2 * self.half[0] + 1;
        let best = (0..self.values.len())
            .fold(0, |best, i| if self.values[i] > self.values[best] { i } else { best });
        let (x, y) = (best % width, best / width);
        let refine = |at: usize, stride: usize, index: usize, last: usize| {
            if index == 0 || index == last {
                return 0.0;
            }
            let value = |i: usize| f64::from(self.values[i]);
            parabola(value(at - stride), value(at), value(at + stride))
        };
        [
            (x as f64 - self.half[0] as f64 + refine(best, 1, x, 2 * self.half[0])) * self.step[0],
            (y as f64 - self.half[1] as f64 + refine(best, width, y, 2 * self.half[1])) * self.step[1],
        ]
    }
}

/// Offset of the vertex of the parabola through values at -1, 0, 1, of which the middle one is the largest.
fn parabola(left: f64, middle: f64, right: f64) -> f64 {
    let curvature = left - 2.0 * middle + right;
    if curvature < 0.0 { (0.5 * (left - right) / curvature).clamp(-0.5, 0.5) } else { 0.0 }
}
