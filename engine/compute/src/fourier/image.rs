//! Half transforms of images.

use super::lanes::{PARALLEL_POINTS, RowForward, RowInverse, transform_columns};
use ndarray::{Array2, ArrayView2, ArrayViewMut1, Axis, par_azip, s};
use num_complex::Complex32;
use rayon::prelude::*;
use rustfft::FftDirection;
use std::f64::consts::TAU;
use vitreous_model::conventions::{centre, signed_frequency};

/// The transform of a real image of `ny × nx` pixels: coefficients `[ny, nx/2 + 1]`, `qx = 0 ..= nx/2` along a row,
/// `qy = 0, 1, …, -1` over rows (corner layout), unnormalised.
#[derive(Debug, Clone, PartialEq)]
pub struct HalfImage {
    nx: usize,
    /// Coefficients, shape `[ny, nx/2 + 1]`; the shape never changes.
    data: Array2<Complex32>,
}

impl HalfImage {
    /// All zero.
    pub fn zeros(ny: usize, nx: usize) -> Self {
        Self { nx, data: Array2::zeros((ny, nx / 2 + 1)) }
    }

    /// All zero, for a square box.
    pub fn zeros_box(n: usize) -> Self {
        Self::zeros(n, n)
    }

    /// From coefficients of shape `[ny, nx/2 + 1]`; `None` if the shape does not belong to `nx`.
    pub fn from_data(nx: usize, data: Array2<Complex32>) -> Option<Self> {
        (data.ncols() == nx / 2 + 1).then_some(Self { nx, data })
    }

    /// Rows.
    pub fn ny(&self) -> usize {
        self.data.nrows()
    }

    /// Columns of the real image.
    pub fn nx(&self) -> usize {
        self.nx
    }

    /// The coefficients, `[ny, nx/2 + 1]`.
    pub fn data(&self) -> &Array2<Complex32> {
        &self.data
    }

    /// The coefficients, to be changed.
    pub fn data_mut(&mut self) -> ndarray::ArrayViewMut2<'_, Complex32> {
        self.data.view_mut()
    }

    /// The coefficients, given away.
    pub fn into_data(self) -> Array2<Complex32> {
        self.data
    }

    /// Transform of an image `[ny, nx]`, phases counted from pixel (0, 0).
    pub fn of(image: ArrayView2<'_, f32>) -> Self {
        Self::rolled(image, 0, 0)
    }

    /// Transform of an image, phases counted from the centre pixel `(ny/2, nx/2)`.
    pub fn of_box(image: ArrayView2<'_, f32>) -> Self {
        Self::rolled(image, centre(image.nrows()), centre(image.ncols()))
    }

    /// Transform with pixel `(y0, x0)` as phase origin: rows and columns are read from there, cyclically.
    fn rolled(image: ArrayView2<'_, f32>, y0: usize, x0: usize) -> Self {
        let (ny, nx) = image.dim();
        let mut half = Self::zeros(ny, nx);
        if ny == 0 || nx == 0 {
            return half;
        }
        let parallel = ny * nx >= PARALLEL_POINTS;
        let one_row = |rows: &mut RowForward, y: usize, out: &mut [Complex32]| {
            let source = image.row((y + y0) % ny);
            let fill = |row: &mut [f32]| {
                let (to_end, to_begin) = row.split_at_mut(nx - x0);
                ArrayViewMut1::from(to_end).assign(&source.slice(s![x0..]));
                ArrayViewMut1::from(to_begin).assign(&source.slice(s![..x0]));
            };
            rows.transform(fill, out);
        };
        let row_length = nx / 2 + 1;
        let flat = half.data.as_slice_mut().expect("a new array should be contiguous");
        if parallel {
            flat.par_chunks_mut(row_length)
                .enumerate()
                .for_each_init(|| RowForward::new(nx), |rows, (y, out)| one_row(rows, y, out));
        } else {
            let mut rows = RowForward::new(nx);
            flat.chunks_mut(row_length).enumerate().for_each(|(y, out)| one_row(&mut rows, y, out));
        }
        transform_columns(half.data.view_mut(), FftDirection::Forward, parallel);
        half
    }

    /// The image `[ny, nx]` of a transform whose phases count from pixel (0, 0).
    pub fn into_pixels(self) -> Array2<f32> {
        self.unrolled(0, 0)
    }

    /// The image of a transform whose phases count from the centre pixel.
    pub fn into_box(self) -> Array2<f32> {
        let (y0, x0) = (centre(self.ny()), centre(self.nx));
        self.unrolled(y0, x0)
    }

    /// The rows `-reach ..= reach` (cyclically) of [`HalfImage::into_pixels`], `[2 reach + 1, nx]`, of a transform that is
    /// zero from column `columns` on: what a search near the origin of a correlation needs, without the rest.
    ///
    /// # Panics
    /// If there are fewer rows or columns than these.
    pub fn into_rows_near_origin(mut self, reach: usize, columns: usize) -> Array2<f32> {
        let (ny, nx) = (self.ny(), self.nx);
        assert!(
            2 * reach < ny && columns <= self.data.ncols(),
            "the image should have these rows and columns"
        );
        transform_columns(self.data.slice_mut(s![.., ..columns]), FftDirection::Inverse, false);
        let scale = 1.0 / (ny as f64 * nx as f64) as f32;
        let mut image = Array2::<f32>::zeros((2 * reach + 1, nx));
        let mut rows = RowInverse::new(nx);
        for (index, mut out) in image.rows_mut().into_iter().enumerate() {
            let coefficients = self.data.row((index + ny - reach) % ny);
            let pixels = rows.transform(coefficients.as_slice().expect("rows should be contiguous"));
            out.iter_mut().zip(pixels).for_each(|(to, &from)| *to = from * scale);
        }
        image
    }

    fn unrolled(mut self, y0: usize, x0: usize) -> Array2<f32> {
        let (ny, nx) = (self.ny(), self.nx);
        let mut image = Array2::<f32>::zeros((ny, nx));
        if ny == 0 || nx == 0 {
            return image;
        }
        let parallel = ny * nx >= PARALLEL_POINTS;
        transform_columns(self.data.view_mut(), FftDirection::Inverse, parallel);
        let scale = 1.0 / (ny as f64 * nx as f64) as f32;
        let half = self.data.as_standard_layout();
        let one_row = |rows: &mut RowInverse, y: usize, out: &mut [f32]| {
            let coefficients = half.row((y + ny - y0) % ny);
            let pixels = rows.transform(coefficients.as_slice().expect("rows should be contiguous"));
            let (head, tail) = pixels.split_at(nx - x0);
            out[x0..].iter_mut().zip(head).for_each(|(to, &from)| *to = from * scale);
            out[..x0].iter_mut().zip(tail).for_each(|(to, &from)| *to = from * scale);
        };
        let flat = image.as_slice_mut().expect("a new array should be contiguous");
        if parallel {
            flat.par_chunks_mut(nx)
                .enumerate()
                .for_each_init(|| RowInverse::new(nx), |rows, (y, out)| one_row(rows, y, out));
        } else {
            let mut rows = RowInverse::new(nx);
            flat.chunks_mut(nx).enumerate().for_each(|(y, out)| one_row(&mut rows, y, out));
        }
        image
    }

    /// Moves the phase origin from pixel (0, 0) to the centre pixel (multiplies by `exp(+2πi q·c/n)`).
    pub fn phases_to_centre(&mut self) {
        let (y, x) = (centre(self.ny()) as f64, centre(self.nx) as f64);
        self.shift(-x, -y);
    }

    /// Moves the phase origin from the centre pixel to pixel (0, 0).
    pub fn phases_to_corner(&mut self) {
        let (y, x) = (centre(self.ny()) as f64, centre(self.nx) as f64);
        self.shift(x, y);
    }

    /// Moves the image's content by `(x_px, y_px)` pixels (cyclically): multiplies by `exp(-2πi q·t/n)`.
    ///
    /// At the Nyquist index of an even axis, where a fractional shift has no real result, the factor's real part
    /// is taken.
    pub fn shift(&mut self, x_px: f64, y_px: f64) {
        let along_x = phase_ramp(self.nx, self.nx / 2 + 1, x_px);
        let along_y = phase_ramp(self.ny(), self.ny(), y_px);
        for (mut row, &fy) in self.data.axis_iter_mut(Axis(0)).zip(&along_y) {
            row.iter_mut().zip(&along_x).for_each(|(value, &fx)| *value *= fx * fy);
        }
    }

    /// Multiplies every coefficient by a weight that depends on its radius in Fourier pixels ([`super::radius_of`]).
    pub fn weigh(&mut self, weight: impl Fn(f64) -> f64 + Sync) {
        let (ny, nx) = (self.ny(), self.nx);
        let apply = |y: usize, x: usize, value: &mut Complex32| {
            *value *= weight(super::radius_of(y, x, ny, nx)) as f32;
        };
        if ny * nx >= PARALLEL_POINTS {
            par_azip!((index (y, x), value in &mut self.data) apply(y, x, value));
        } else {
            self.data.indexed_iter_mut().for_each(|((y, x), value)| apply(y, x, value));
        }
    }
}

/// `exp(-2πi q t/n)` for the first `count` indices of an axis of `n` points.
pub(super) fn phase_ramp(n: usize, count: usize, shift_px: f64) -> Vec<Complex32> {
    (0..count)
        .map(|i| {
            let turns = signed_frequency(i, n) as f64 * shift_px / n as f64;
            // whole turns are taken off first, so that f32 keeps its digits and whole pixels are exact
            let (sin, cos) = (-TAU * (turns - turns.round())).sin_cos();
            let nyquist = n.is_multiple_of(2) && i == n / 2;
            Complex32::new(cos as f32, if nyquist { 0.0 } else { sin as f32 })
        })
        .collect()
}
