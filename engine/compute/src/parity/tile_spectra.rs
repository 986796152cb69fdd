//! Cases of [`crate::ops::tile_spectra`]: each step by its definition in f64, flat tiles, and tiles that do not depend on
//! what else the micrograph holds.

use super::transform::oracle;
use super::{Outcome, largest_relative, nmse};
use crate::ops::tile_spectra::{TileSpectra, Tiling};
use crate::spectrum_cells::{SECTORS, SpectrumCells};
use ndarray::{Array2, ArrayView2, s};
use rand::{RngExt, SeedableRng};
use std::f64::consts::PI;
use vitreous_model::conventions::signed_frequency;

/// Height and width of a micrograph, edge of its tiles and of their spectra, pixels: no tile, one pixel, two, odd, prime,
/// cropped, one tile alone, and edges that tiles fit only with more overlap.
const CASES: [[usize; 4]; 9] = [
    [3, 5, 4, 4],
    [3, 2, 1, 1],
    [4, 5, 2, 2],
    [20, 15, 15, 15],
    [50, 62, 31, 31],
    [33, 40, 24, 16],
    [40, 40, 40, 40],
    [70, 64, 36, 30],
    [64, 100, 64, 45],
];

/// Part of the edge over which tiles are faded.
const FADE: f64 = 0.1;

/// Coefficients have an NMSE of 1e-12, their squares four times that; mean and scale of a tile are right to 1e-7 each, whose
/// squares add 1e-13.
const NMSE_BOUND: f64 = 1e-11;
/// As [`NMSE_BOUND`] for the worst cell.
const LARGEST_BOUND: f64 = 1e-5;

/// Runs all cases on a device.
pub fn run<D: TileSpectra>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (seed, [height, width, cut, tile]) in (0..).zip(CASES) {
        definition(device, &micrograph(height, width, seed), cut, tile, &mut outcomes);
    }
    flat(device, &mut outcomes);
    company(device, &mut outcomes);
    refusals(device, &mut outcomes);
    outcomes
}

/// Noise over a waved background far from 0, as sums of counts are.
fn micrograph(height: usize, width: usize, seed: u64) -> Array2<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((height, width), |(y, x)| {
        100.0 + 3.0 * ((y as f32) * 0.3 + (x as f32) * 0.1).sin() + rng.random_range(-2.0..2.0f32)
    })
}

/// One tile by the definition.
fn expected(tile: ArrayView2<'_, f32>, window: &[f32], edge: usize) -> Vec<f64> {
    let n = tile.len() as f64;
    let mean = tile.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = tile.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    let faded = Array2::from_shape_fn(tile.dim(), |(y, x)| {
        let value = (f64::from(tile[[y, x]]) - mean) / variance.sqrt();
        value * f64::from(window[y]) * f64::from(window[x])
    });
    // the transform is linear: what rounding to single precision leaves is transformed as well
    let high = faded.mapv(|v| v as f32);
    let low = Array2::from_shape_fn(faded.dim(), |at| (faded[at] - f64::from(high[at])) as f32);
    let transform = oracle(high.view(), [0, 0]) + oracle(low.view(), [0, 0]);
    let (cut, rings) = (tile.nrows(), edge / 2);
    let (mut sums, mut counts) = (vec![0.0; rings * SECTORS], vec![0.0; rings * SECTORS]);
    for row in 0..edge {
        let qy = signed_frequency(row, edge);
        for qx in 0..=edge / 2 {
            // of the pairs within the columns that are their own mates, one
            let twin = (qx == 0 || 2 * qx == edge) && qy <= 0;
            let ring = (qx as f64).hypot(qy as f64).round() as usize;
            if twin || ring >= rings {
                continue;
            }
            let angle = (qy as f64).atan2(qx as f64).rem_euclid(PI);
            let sector = ((angle / PI * SECTORS as f64) as usize).min(SECTORS - 1);
            let value = transform[[qy.rem_euclid(cut as isize) as usize, qx]];
            sums[ring * SECTORS + sector] += value.norm_sqr();
            counts[ring * SECTORS + sector] += 1.0;
        }
    }
    sums.iter().zip(&counts).map(|(sum, n)| sum / f64::max(*n, 1.0)).collect()
}

fn definition<D: TileSpectra>(
    device: &D,
    pixels: &Array2<f32>,
    cut: usize,
    tile: usize,
    outcomes: &mut Vec<Outcome>,
) {
    let (height, width) = pixels.dim();
    let tiling = Tiling::half_overlapping(height, width, cut, FADE);
    let cells = SpectrumCells::new(tile, 1.0);
    let spectra = device
        .tile_spectra(pixels.view(), &tiling, &cells)
        .expect("tiles of the image itself should be accepted");
    let case = format!("micrograph {height}×{width}, tiles {cut}, spectra {tile}");
    let missing = spectra.len() != tiling.corners().len();
    let mut add = |measure: &'static str, error: f64, bound: f64| {
        outcomes.push(Outcome { case: case.clone(), measure, error, bound });
    };
    add("another number of tiles", f64::from(u8::from(missing)), 0.0);
    for (&[x, y], spectrum) in tiling.corners().iter().zip(&spectra) {
        // a tile of one pixel is flat
        let Some(spectrum) = spectrum else {
            add("a tile that is not flat was left out", f64::from(u8::from(cut > 1)), 0.0);
            continue;
        };
        let want = expected(pixels.slice(s![y..y + cut, x..x + cut]), tiling.window(), tile);
        let pairs = spectrum.iter().zip(&want).map(|(got, want)| (f64::from(*got), *want));
        add("cells too few or too many", spectrum.len().abs_diff(want.len()) as f64, 0.0);
        add("NMSE", nmse(pairs.clone()), NMSE_BOUND);
        add("largest error", largest_relative(pairs), LARGEST_BOUND);
    }
}

/// Tiles of one value, however large, are left out, those beside them are not.
fn flat<D: TileSpectra>(device: &D, outcomes: &mut Vec<Outcome>) {
    for value in [0.0, 1234.567, -1e6] {
        let mut pixels = micrograph(24, 48, 20);
        pixels.slice_mut(s![.., ..36]).fill(value);
        let tiling = Tiling::half_overlapping(24, 48, 24, FADE);
        let spectra = device
            .tile_spectra(pixels.view(), &tiling, &SpectrumCells::new(24, 1.0))
            .expect("tiles of the image itself should be accepted");
        let found: Vec<bool> = spectra.iter().map(Option::is_some).collect();
        outcomes.push(Outcome {
            case: format!("tiles of {value} everywhere"),
            measure: "flat tiles kept, or others left out",
            error: f64::from(u8::from(found != [false, false, true])),
            bound: 0.0,
        });
    }
}

/// A tile's spectrum is the same alone and on a micrograph, whatever lies beside it.
fn company<D: TileSpectra>(device: &D, outcomes: &mut Vec<Outcome>) {
    let mut pixels = micrograph(50, 90, 21);
    pixels.slice_mut(s![20.., 60..]).mapv_inplace(|v| 1e5 * v);
    let cells = SpectrumCells::new(20, 1.0);
    let spectra_of = |pixels: ArrayView2<'_, f32>| {
        let (height, width) = pixels.dim();
        let tiling = Tiling::half_overlapping(height, width, 20, FADE);
        let spectra = device
            .tile_spectra(pixels, &tiling, &cells)
            .expect("tiles of the image itself should be accepted");
        tiling.corners().iter().copied().zip(spectra).collect::<Vec<_>>()
    };
    let all = spectra_of(pixels.view());
    let different = all
        .iter()
        .filter(|([x, y], spectrum)| {
            // a view of rows that are not beside each other
            let alone = spectra_of(pixels.slice(s![*y..y + 20, *x..x + 20]));
            alone.len() != 1 || alone[0].1 != *spectrum
        })
        .count();
    outcomes.push(Outcome {
        case: "tiles alone and among others".into(),
        measure: "spectra that differ",
        error: different as f64,
        bound: 0.0,
    });
}

/// Tiles of another image, or smaller than their spectra, are refused.
fn refusals<D: TileSpectra>(device: &D, outcomes: &mut Vec<Outcome>) {
    let pixels = micrograph(30, 30, 22);
    let other = Tiling::half_overlapping(30, 32, 16, FADE);
    let small = Tiling::half_overlapping(30, 30, 10, FADE);
    let cells = SpectrumCells::new(16, 1.0);
    let refused = device.tile_spectra(pixels.view(), &other, &cells).is_err()
        && device.tile_spectra(pixels.view(), &small, &cells).is_err();
    outcomes.push(Outcome {
        case: "tiles of another image, and spectra larger than tiles".into(),
        measure: "not refused",
        error: f64::from(u8::from(!refused)),
        bound: 0.0,
    });
}
