//! CPU twin of family `tile_spectra`. Contract: [`crate::ops::tile_spectra`].

use crate::device::Cpu;
use crate::fourier::HalfImage;
use crate::ops::tile_spectra::{FLAT_VARIANCE, TileSpectra, TileSpectraError, Tiling};
use crate::spectrum_cells::SpectrumCells;
use ndarray::{Array2, ArrayView2, Zip, s};
use rayon::prelude::*;

impl TileSpectra for Cpu {
    fn tile_spectra(
        &self,
        pixels: ArrayView2<'_, f32>,
        tiling: &Tiling,
        cells: &SpectrumCells,
    ) -> Result<Vec<Option<Vec<f32>>>, TileSpectraError> {
        tiling.check(&pixels, cells)?;
        let pixels = pixels.as_standard_layout();
        Ok(tiling
            .corners()
            .par_iter()
            .map(|&corner| spectrum_of(pixels.view(), corner, tiling, cells))
            .collect())
    }
}

/// Mean power by cell of the tile whose first pixel (x, y) is `corner`, of a micrograph whose rows are contiguous.
pub fn spectrum_of(
    pixels: ArrayView2<'_, f32>,
    [x, y]: [usize; 2],
    tiling: &Tiling,
    cells: &SpectrumCells,
) -> Option<Vec<f32>> {
    let cut = tiling.cut();
    let faded = windowed(pixels.slice(s![y..y + cut, x..x + cut]), tiling.window())?;
    Some(cells.power_of(HalfImage::of(faded.view()).data()))
}

/// The tile with mean 0 and variance 1, faded at its edges; `None` if it is flat.
fn windowed(tile: ArrayView2<'_, f32>, window: &[f32]) -> Option<Array2<f32>> {
    let n = tile.len() as f64;
    let by_row = |value: &dyn Fn(&[f32]) -> f32| -> f64 {
        tile.rows()
            .into_iter()
            .map(|row| f64::from(value(row.to_slice().expect("rows of a micrograph should be contiguous"))))
            .sum()
    };
    let mean = by_row(&|row| sum_of(row, |v| v)) / n;
    let level = mean as f32;
    let variance = by_row(&|row| sum_of(row, |v| (v - level) * (v - level))) / n;
    // rounding of equal large values leaves a little
    if variance <= FLAT_VARIANCE * mean * mean || variance == 0.0 {
        return None;
    }
    let scale = (1.0 / variance.sqrt()) as f32;
    let mut faded = Array2::zeros(tile.dim());
    for ((mut to, from), by_row) in faded.rows_mut().into_iter().zip(tile.rows()).zip(window) {
        let by_row = scale * by_row;
        Zip::from(&mut to)
            .and(from)
            .and(window)
            .for_each(|to, from, by_column| *to = (from - level) * by_row * by_column);
    }
    Some(faded)
}

/// Sum over a row in eight lanes, which a compiler makes one vector.
fn sum_of(row: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    let (eights, rest) = row.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, v)| *lane += value(*v));
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|v| value(*v)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::tile_spectra::run(&Cpu));
    }
}
