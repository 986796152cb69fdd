//! A power spectrum in polar cells, its background divided out.

use super::spectrum::Spectrum;
use crate::micrograph::{SD_PER_MAD, median_of};
use std::f64::consts::PI;
use vitreous_compute::fourier::{friedel_count, radius_of};
use vitreous_model::conventions::{shell_of, signed_frequency};

/// Sectors of the half circle: 3° each, in which the CTF of any sane astigmatism is constant.
pub(super) const SECTORS: usize = 60;
/// Width of the local fit of the background on the axis of squared frequency, 1/Å²: wider than a ring at 4000 Å
/// defocus and 300 kV, narrower than the fall of the low-resolution background.
const BACKGROUND_WIDTH: f64 = 0.006;
/// Values beyond so many robust standard deviations of their ring are cut: lattice spots, axes.
const CUT_SD: f64 = 4.0;
/// Rings nearest to the origin, which no background fits.
const INNERMOST: usize = 3;

/// A spectrum in cells of one Fourier pixel times [`SECTORS`] sectors: index `ring · SECTORS + sector`.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    /// Rings, from 0.
    pub rings: usize,
    /// Edge of a tile, Å: ring r has the frequency r / edge.
    pub edge_a: f64,
    /// Mean squared frequency of a cell's pixels, 1/Å².
    pub k2: Vec<f64>,
    /// Mean azimuth from the x axis, radians, in `[0, π)`.
    pub azimuth: Vec<f64>,
    /// Power over background, minus 1; cut at [`CUT_SD`].
    pub contrast: Vec<f64>,
    /// Independent pixels of the half plane in the cell.
    pub weight: Vec<f64>,
}

impl Cells {
    /// Sorts a spectrum into cells and divides by its background.
    pub fn of(spectrum: &Spectrum) -> Self {
        let rings = spectrum.tile / 2;
        let cells = rings * SECTORS;
        let edge_a = spectrum.edge_a();
        let (mut k2, mut azimuth) = (vec![0.0; cells], vec![0.0; cells]);
        let (mut power, mut weight) = (vec![0.0; cells], vec![0.0; cells]);
        for ((y, x), &value) in spectrum.power.indexed_iter() {
            let radius = radius_of(y, x, spectrum.tile, spectrum.tile);
            let ring = shell_of(radius);
            let qy = signed_frequency(y, spectrum.tile);
            // of the columns that hold both members of a Friedel pair, half is enough
            let twin = friedel_count(x, spectrum.tile) == 1 && qy <= 0;
            if ring >= rings || twin {
                continue;
            }
            let angle = (qy as f64).atan2(x as f64).rem_euclid(PI);
            let sector = ((angle / PI * SECTORS as f64) as usize).min(SECTORS - 1);
            let cell = ring * SECTORS + sector;
            k2[cell] += (radius / edge_a).powi(2);
            azimuth[cell] += angle;
            power[cell] += value;
            weight[cell] += 1.0;
        }
        for cell in 0..cells {
            let n = f64::max(weight[cell], 1.0);
            k2[cell] /= n;
            azimuth[cell] /= n;
            power[cell] /= n;
        }
        let background = background(&power, &weight, rings, edge_a);
        let contrast = (0..cells).map(|cell| power[cell] / background[cell / SECTORS] - 1.0).collect();
        let mut cells = Self { rings, edge_a, k2, azimuth, contrast, weight };
        cells.cut_outliers();
        cells
    }

    /// The ring of a resolution, not beyond the last.
    pub fn ring_of(&self, resolution_a: f64) -> usize {
        shell_of(self.edge_a / resolution_a).min(self.rings - 1)
    }

    /// Cuts what stands out from the cells of the same ring.
    fn cut_outliers(&mut self) {
        for ring in 0..self.rings {
            let cells = ring * SECTORS..(ring + 1) * SECTORS;
            let used = cells.clone().filter(|cell| self.weight[*cell] > 0.0);
            let mut values: Vec<f32> = used.map(|cell| self.contrast[cell] as f32).collect();
            let middle = median_of(&mut values);
            values.iter_mut().for_each(|v| *v = (*v - middle).abs());
            let reach = CUT_SD * f64::from(SD_PER_MAD * median_of(&mut values));
            for value in &mut self.contrast[cells] {
                *value = value.clamp(f64::from(middle) - reach, f64::from(middle) + reach);
            }
        }
    }
}

/// The smooth part of the radial profile: at each ring, a straight line over frequency through the logarithms of the
/// neighbouring rings' medians, weighted by a Gaussian of [`BACKGROUND_WIDTH`] on the axis of squared frequency, where
/// rings of the CTF have equal widths.
fn background(power: &[f64], weight: &[f64], rings: usize, edge_a: f64) -> Vec<f64> {
    let median = |ring: usize| {
        let used = (ring * SECTORS..(ring + 1) * SECTORS).filter(|cell| weight[*cell] > 0.0);
        f64::from(median_of(&mut used.map(|cell| power[cell] as f32).collect::<Vec<f32>>()))
    };
    let logs: Vec<f64> = (0..rings).map(|ring| median(ring).max(f64::MIN_POSITIVE).ln()).collect();
    let k = |ring: usize| ring as f64 / edge_a;
    let smooth = |at: usize| {
        let (mut w0, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for ring in INNERMOST.min(rings - 1)..rings {
            let x = k(ring) - k(at);
            let apart = k(ring) * k(ring) - k(at) * k(at);
            // a ring covers an interval of k² that grows with its radius
            let w = (-0.5 * (apart / BACKGROUND_WIDTH).powi(2)).exp() * ring as f64;
            let y = logs[ring];
            (w0, wx, wy, wxx, wxy) = (w0 + w, wx + w * x, wy + w * y, wxx + w * x * x, wxy + w * x * y);
        }
        let determinant = w0 * wxx - wx * wx;
        if determinant > 1e-12 * w0 * wxx { (wy * wxx - wxy * wx) / determinant } else { wy / w0 }
    };
    (0..rings).map(|ring| smooth(ring).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn spectrum(value: impl Fn(f64, f64) -> f64) -> Spectrum {
        let (tile, pixel_size_a) = (256, 1.5);
        let power = Array2::from_shape_fn((tile, tile / 2 + 1), |(y, x)| {
            let qy = signed_frequency(y, tile) as f64;
            value(qy.hypot(x as f64) / (tile as f64 * pixel_size_a), qy.atan2(x as f64))
        });
        Spectrum { power, tile, pixel_size_a }
    }

    #[test]
    fn a_smooth_background_leaves_no_contrast() {
        let cells = Cells::of(&spectrum(|k, _| (8.0 - 20.0 * k).exp()));
        let inside = cells.ring_of(15.0) * SECTORS..cells.ring_of(4.0) * SECTORS;
        let worst = cells.contrast[inside].iter().fold(0.0_f64, |a, v| a.max(v.abs()));
        // pixels lie up to half a ring off its middle, where the background differs by 3 %
        assert!(worst < 0.05, "{worst}");
    }

    #[test]
    fn every_independent_pixel_is_in_one_cell_at_its_place() {
        let cells = Cells::of(&spectrum(|_, _| 1.0));
        let expected = (1..256)
            .flat_map(|y| (0..129).map(move |x| (signed_frequency(y, 256), x)))
            .chain((1..129).map(|x| (0, x)))
            .filter(|&(qy, x)| !(x == 0 && qy <= 0) && shell_of((qy as f64).hypot(f64::from(x))) < 128)
            .count();
        assert_eq!(cells.weight.iter().sum::<f64>(), expected as f64);
        for ring in [10, 60, 120] {
            for sector in 0..SECTORS {
                let cell = ring * SECTORS + sector;
                if cells.weight[cell] > 0.0 {
                    let k = cells.k2[cell].sqrt() * cells.edge_a;
                    assert!((k - ring as f64).abs() <= 0.5, "{k}");
                    let angle = cells.azimuth[cell] / PI * SECTORS as f64 - sector as f64;
                    assert!((-1e-9..1.0 + 1e-9).contains(&angle), "{angle}");
                }
            }
        }
    }

    #[test]
    fn a_spot_is_cut() {
        let mut bright = spectrum(|k, _| 2.0 - k);
        bright.power[[40, 40]] = 1e6;
        let cells = Cells::of(&bright);
        assert!(cells.contrast.iter().all(|v| v.abs() < 0.2));
    }
}
