//! Windows that follow the specimen through the binned frames, and their spectra.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use vitreous_compute::fourier::{HalfImage, next_5_smooth};
use vitreous_compute::movie::band::{Band, Spectrum};
use vitreous_compute::ops::motion_correlation::Pair;

/// Width of a window over the distance of window centres: windows overlap by their tapered edges.
const OVERLAP: f64 = 1.25;

/// Part of a window's edge that is tapered with a cosine, at either end.
const TAPER: f64 = 0.15;

/// Smallest edge of a window, binned pixels.
const SMALLEST: usize = 32;

/// Where the windows lie.
#[derive(Debug, Clone)]
pub struct PatchGrid {
    /// Columns of a window, binned pixels.
    pub width: usize,
    /// Rows of a window, binned pixels.
    pub height: usize,
    /// Centres in a frame without motion, binned pixels.
    pub centres: Vec<Pair>,
    /// Windows along x and y.
    pub shape: [usize; 2],
}

impl PatchGrid {
    /// `columns × rows` windows over frames of `nx × ny` binned pixels; fewer where they would be smaller than
    /// [`SMALLEST`] pixels.
    pub fn new(nx: usize, ny: usize, columns: usize, rows: usize) -> Self {
        let along = |n: usize, wanted: usize| {
            let count = wanted.min(n / SMALLEST).max(1);
            let pitch = n as f64 / count as f64;
            let overlap = if count == 1 { 1.0 } else { OVERLAP };
            let edge = next_5_smooth((pitch * overlap).ceil() as usize).next_multiple_of(2);
            let edge = if edge > n { n / 2 * 2 } else { edge };
            (count, pitch, edge)
        };
        let (columns, pitch_x, width) = along(nx, columns);
        let (rows, pitch_y, height) = along(ny, rows);
        let centre = |i: usize, pitch: f64, edge: usize, n: usize| {
            let half = edge as f64 / 2.0;
            ((i as f64 + 0.5) * pitch).clamp(half, n as f64 - half)
        };
        let centres = (0..rows)
            .flat_map(|r| {
                (0..columns).map(move |c| [centre(c, pitch_x, width, nx), centre(r, pitch_y, height, ny)])
            })
            .collect();
        Self { width, height, centres, shape: [columns, rows] }
    }
}

/// The windows of one patch through all frames.
#[derive(Debug)]
pub struct PatchStack {
    /// Centre in a frame without motion, binned pixels.
    pub centre: Pair,
    /// Spectrum of each frame's window, tapered and without its mean.
    pub spectra: Vec<Spectrum>,
    /// How far each frame's window was moved to follow the specimen, whole binned pixels.
    pub offsets: Vec<Pair>,
}

/// Cuts all windows. `frames` are binned frames `[ny, nx]`; `displacements` how far each has moved, binned pixels.
pub fn cut(grid: &PatchGrid, band: &Band, frames: &[Array2<f32>], displacements: &[Pair]) -> Vec<PatchStack> {
    let window = taper(grid.width, grid.height);
    grid.centres
        .par_iter()
        .map(|&centre| {
            let mut stack = PatchStack { centre, spectra: Vec::new(), offsets: Vec::new() };
            for (frame, displacement) in frames.iter().zip(displacements) {
                let (ny, nx) = frame.dim();
                let place = |axis: usize, edge: usize, n: usize| {
                    let home = (centre[axis] - edge as f64 / 2.0).round();
                    let origin = (home + displacement[axis].round()).clamp(0.0, (n - edge) as f64);
                    (origin as usize, origin - home)
                };
                let (x, offset_x) = place(0, grid.width, nx);
                let (y, offset_y) = place(1, grid.height, ny);
                let piece = frame.slice(ndarray::s![y..y + grid.height, x..x + grid.width]);
                stack.spectra.push(band.crop_half(&HalfImage::of(tapered(piece, &window).view())));
                stack.offsets.push([offset_x, offset_y]);
            }
            stack
        })
        .collect()
}

/// Spectra of whole frames, for a start; frames are cut to even sizes.
pub fn whole(band: &Band, frames: &[Array2<f32>]) -> Vec<Spectrum> {
    let window = taper(band.nx, band.ny);
    frames
        .par_iter()
        .map(|frame| {
            let piece = frame.slice(ndarray::s![..band.ny, ..band.nx]);
            band.crop_half(&HalfImage::of(tapered(piece, &window).view()))
        })
        .collect()
}

/// `piece` without its weighted mean, times the window.
fn tapered(piece: ArrayView2<'_, f32>, window: &Array2<f32>) -> Array2<f32> {
    let (mut sum, mut total) = (0.0f64, 0.0f64);
    for (values, weights) in piece.rows().into_iter().zip(window.rows()) {
        sum += values.iter().zip(weights).map(|(v, w)| f64::from(v * w)).sum::<f64>();
        total += weights.iter().map(|w| f64::from(*w)).sum::<f64>();
    }
    let mean = (sum / total) as f32;
    let mut out = window.clone();
    ndarray::Zip::from(&mut out).and(&piece).for_each(|w, &v| *w *= v - mean);
    out
}

/// A window that is 1 in the middle and falls to 0 as a half cosine over [`TAPER`] of each edge; `[height, width]`.
fn taper(width: usize, height: usize) -> Array2<f32> {
    let along = |n: usize| -> Vec<f32> {
        let edge = (TAPER * n as f64).max(1.0);
        (0..n)
            .map(|i| {
                let inside = (i as f64 + 0.5).min(n as f64 - i as f64 - 0.5);
                let part = (inside / edge).min(1.0);
                (0.5 - 0.5 * (std::f64::consts::PI * part).cos()) as f32
            })
            .collect()
    };
    let (x, y) = (along(width), along(height));
    Array2::from_shape_fn((height, width), |(row, column)| y[row] * x[column])
}
