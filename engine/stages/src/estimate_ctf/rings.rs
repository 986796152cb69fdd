//! A power spectrum in polar cells, its background divided out.

use super::spectrum::TileSpectra;
use crate::micrograph::{SD_PER_MAD, median_of};
use vitreous_compute::spectrum_cells::{SECTORS, SpectrumCells};
use vitreous_model::conventions::shell_of;

/// Width of the local fit of the background on the axis of squared frequency, 1/Å²: wider than a ring at 4000 Å
/// defocus and 300 kV, narrower than the fall of the low-resolution background.
const BACKGROUND_WIDTH: f64 = 0.006;
/// Values beyond so many robust standard deviations of their ring are cut: lattice spots, axes.
const CUT_SD: f64 = 4.0;
/// Rings nearest to the origin, which no background fits.
const INNERMOST: usize = 3;

/// A spectrum in cells, index `ring · SECTORS + sector`.
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
    /// Independent values that the contrast is a mean of.
    pub weight: Vec<f64>,
    /// The background by ring.
    pub background: Vec<f64>,
}

impl Cells {
    /// Divides the mean spectrum of all tiles by its background.
    pub fn of(spectra: &TileSpectra) -> Self {
        let (grid, samples) = (&spectra.grid, spectra.samples * spectra.tiles.len() as f64);
        Self::of_power(grid, &spectra.mean(), samples)
    }

    /// The same from the mean power by cell, each pixel a mean of so many independent values.
    pub fn of_power(grid: &SpectrumCells, power: &[f64], samples: f64) -> Self {
        let background = background(power, &grid.pixels, grid.rings, grid.edge_a);
        let contrast = (0..grid.len()).map(|cell| power[cell] / background[cell / SECTORS] - 1.0);
        let mut cells = Self {
            rings: grid.rings,
            edge_a: grid.edge_a,
            k2: grid.k2.clone(),
            azimuth: grid.azimuth.clone(),
            contrast: contrast.collect(),
            weight: grid.pixels.iter().map(|n| n * samples).collect(),
            background,
        };
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

    fn cells(power: impl Fn(usize, f64) -> f64) -> Cells {
        let grid = SpectrumCells::new(256, 1.5);
        let power: Vec<f64> = (0..grid.len()).map(|cell| power(cell, grid.k2[cell].sqrt())).collect();
        Cells::of_power(&grid, &power, 1.0)
    }

    #[test]
    fn a_smooth_background_leaves_no_contrast() {
        let cells = cells(|_, k| (8.0 - 20.0 * k).exp());
        let inside = cells.ring_of(15.0) * SECTORS..cells.ring_of(4.0) * SECTORS;
        let used = inside.filter(|cell| cells.weight[*cell] > 0.0);
        let worst = used.fold(0.0_f64, |a, cell| a.max(cells.contrast[cell].abs()));
        // pixels lie up to half a ring off its middle, where the background differs by 3 %
        assert!(worst < 0.05, "{worst}");
    }

    #[test]
    fn a_spot_is_cut() {
        let spot = 40 * SECTORS + 17;
        let cells = cells(|cell, k| if cell == spot { 1e6 } else { 2.0 - k });
        let used = (0..cells.contrast.len()).filter(|cell| cells.weight[*cell] > 0.0);
        assert!(used.into_iter().all(|cell| cells.contrast[cell].abs() < 0.2));
    }
}
