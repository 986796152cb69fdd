//! CPU twin of [`crate::ops::project`]; also values and gradients at single points, for pose refinement.

use crate::device::Cpu;
use crate::fourier::{HalfImage, HalfVolume};
use crate::ops::grid::PaddedGrid;
use crate::ops::project::{Project, ProjectError};
use ndarray::{Array3, ArrayView3, Axis};
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::pose::Rotation;

/// A volume's padded transform, ready to be interpolated.
#[derive(Debug, Clone)]
pub struct Projector {
    grid: PaddedGrid,
    /// Coefficients in the layout of [`PaddedGrid`].
    data: Vec<Complex32>,
}

impl Projector {
    /// Prepares a cubic volume `[n, n, n]`, padded `pad` times (2 is usual), for all radii up to Nyquist.
    ///
    /// # Errors
    /// The volume is not cubic.
    pub fn new(volume: ArrayView3<'_, f32>, pad: f64) -> Result<Self, ProjectError> {
        let rmax = volume.dim().0 as f64;
        Self::with_radius(volume, pad, rmax)
    }

    /// The same holding only radii up to `rmax` Fourier pixels, in less memory.
    ///
    /// # Errors
    /// The volume is not cubic.
    pub fn with_radius(volume: ArrayView3<'_, f32>, pad: f64, rmax: f64) -> Result<Self, ProjectError> {
        let (nz, ny, nx) = volume.dim();
        if nz != ny || ny != nx {
            return Err(ProjectError::NotCubic(nz, ny, nx));
        }
        let grid = PaddedGrid::new(nx, pad, rmax);
        let divided = divided_by_window(volume, &grid);
        let half = HalfVolume::of_box_padded(divided.view(), grid.padded_n());
        drop(divided);
        Ok(Self { grid, data: gathered(&half, &grid) })
    }

    /// The grid.
    pub fn grid(&self) -> &PaddedGrid {
        &self.grid
    }

    /// Coefficients in the layout of [`PaddedGrid`].
    pub fn coefficients(&self) -> &[Complex32] {
        &self.data
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<Complex32>()
    }

    /// The slice of `rotation` up to `rmax` Fourier pixels, written over all of `out` (`n × n`, phases from the
    /// centre; zero beyond).
    ///
    /// # Errors
    /// `out` is not of the volume's size.
    pub fn slice(&self, rotation: Rotation, rmax: f64, out: &mut HalfImage) -> Result<(), ProjectError> {
        let n = self.grid.n();
        if (out.ny(), out.nx()) != (n, n) {
            return Err(ProjectError::WrongSize { expected: n, found_y: out.ny(), found_x: out.nx() });
        }
        let ends = self.grid.row_ends(rmax);
        let axes = self.grid.image_axes(rotation);
        for (y, mut row) in out.data_mut().axis_iter_mut(Axis(0)).enumerate() {
            row.fill(Complex32::ZERO);
            let qy = signed_frequency(y, n) as f32;
            let start = axes[1].map(|a| a * qy);
            for (x, value) in row.iter_mut().take(ends[y]).enumerate() {
                let qx = x as f32;
                *value = self.at_step([0, 1, 2].map(|i| axes[0][i] * qx + start[i]));
            }
        }
        Ok(())
    }

    /// The coefficient at `k` = (x, y, z) in Fourier pixels of the box, `|k|` at most [`PaddedGrid::radius`].
    ///
    /// # Panics
    /// In debug and release alike, where `k` lies outside the held grid.
    #[inline(always)]
    pub fn value(&self, k: [f32; 3]) -> Complex32 {
        let scale = self.grid.scale() as f32;
        self.at_step(k.map(|c| c * scale))
    }

    /// The same at a point given in grid steps.
    #[inline(always)]
    fn at_step(&self, k: [f32; 3]) -> Complex32 {
        let (cell, conjugate) = self.cell(k);
        let ([c00, c01, c10, c11], [_, ty, tz]) = (cell.along_x(), cell.t);
        let near = c00 + (c01 - c00) * ty;
        let far = c10 + (c11 - c10) * ty;
        let value = near + (far - near) * tz;
        if conjugate { value.conj() } else { value }
    }

    /// The coefficient at `k` = (x, y, z) in Fourier pixels of the box, and its derivatives along x, y and z per
    /// Fourier pixel. The derivatives are those of the interpolation: constant along their axis within a grid cell.
    ///
    /// # Panics
    /// As [`Projector::value`].
    #[inline(always)]
    pub fn value_and_gradient(&self, k: [f32; 3]) -> (Complex32, [Complex32; 3]) {
        let scale = self.grid.scale() as f32;
        let (cell, conjugate) = self.cell(k.map(|c| c * scale));
        let [tx, ty, tz] = cell.t;
        let [c00, c01, c10, c11] = cell.along_x();
        let near = c00 + (c01 - c00) * ty;
        let far = c10 + (c11 - c10) * ty;
        let value = near + (far - near) * tz;
        let dz = far - near;
        let dy = (c01 - c00) + ((c11 - c10) - (c01 - c00)) * tz;
        let [d00, d01, d10, d11] = cell.corners.map(|[low, high]| high - low);
        let d_near = d00 + (d01 - d00) * ty;
        let dx = d_near + (d10 + (d11 - d10) * ty - d_near) * tz;
        debug_assert!((0.0..=1.0).contains(&tx), "a point should lie in its cell");
        if conjugate {
            // V(k) = conj V(-k), so its derivative is minus the conjugate of the one at -k
            (value.conj(), [dx, dy, dz].map(|d| -(d * scale).conj()))
        } else {
            (value, [dx, dy, dz].map(|d| d * scale))
        }
    }

    /// The grid cell around a point in grid steps, or around its Friedel mate (then `true`) if `kx < 0`.
    #[inline(always)]
    fn cell(&self, k: [f32; 3]) -> (Cell, bool) {
        let conjugate = k[0] < 0.0;
        let k = if conjugate { k.map(|c| -c) } else { k };
        let (edge, width) = (2 * self.grid.reach() + 1, self.grid.reach() + 1);
        let reach = self.grid.reach() as f32;
        // counted from the corner nothing is negative, so that cutting off the fraction rounds down
        let k = [k[0], k[1] + reach, k[2] + reach];
        let low = k.map(|c| c as u32);
        let first = (low[2] as usize * edge + low[1] as usize) * width + low[0] as usize;
        let row = |i: usize| {
            let pair = &self.data[i..i + 2];
            [pair[0], pair[1]]
        };
        let corners =
            [row(first), row(first + width), row(first + edge * width), row(first + (edge + 1) * width)];
        (Cell { corners, t: [0, 1, 2].map(|i| k[i] - low[i] as f32) }, conjugate)
    }
}

/// Eight neighbours of a point: rows `(z0,y0), (z0,y1), (z1,y0), (z1,y1)` of two along x, and where it lies between.
struct Cell {
    corners: [[Complex32; 2]; 4],
    t: [f32; 3],
}

impl Cell {
    #[inline(always)]
    fn along_x(&self) -> [Complex32; 4] {
        self.corners.map(|[low, high]| low + (high - low) * self.t[0])
    }
}

/// The volume divided by the window of linear interpolation.
fn divided_by_window(volume: ArrayView3<'_, f32>, grid: &PaddedGrid) -> Array3<f32> {
    let inverse: Vec<f32> = grid.window().iter().map(|w| (1.0 / w) as f32).collect();
    let mut out = volume.to_owned();
    ndarray::par_azip!((index (z, y, x), value in &mut out) *value *= inverse[z] * inverse[y] * inverse[x]);
    out
}

/// Corner layout to the layout of the grid.
fn gathered(half: &HalfVolume, grid: &PaddedGrid) -> Vec<Complex32> {
    let m = grid.padded_n();
    let (edge, _, width) = grid.dim();
    let wrap = |i: usize| (i + m - grid.reach() % m) % m;
    let mut data = vec![Complex32::ZERO; grid.len()];
    data.par_chunks_mut(edge * width).enumerate().for_each(|(z, plane)| {
        let source = half.data().index_axis(Axis(0), wrap(z));
        for (y, row) in plane.chunks_mut(width).enumerate() {
            row.iter_mut().zip(source.row(wrap(y))).for_each(|(to, &from)| *to = from);
        }
    });
    data
}

impl Project for Cpu {
    type Slicer = Projector;

    fn slicer(&self, volume: ArrayView3<'_, f32>, pad: f64, rmax: f64) -> Result<Projector, ProjectError> {
        Projector::with_radius(volume, pad, rmax)
    }

    fn slicer_grid(&self, slicer: &Projector) -> PaddedGrid {
        slicer.grid
    }

    fn slices(
        &self,
        slicer: &Projector,
        rotations: &[Rotation],
        rmax: f64,
    ) -> Result<Vec<HalfImage>, ProjectError> {
        rotations
            .par_iter()
            .map(|&rotation| {
                let mut out = HalfImage::zeros_box(slicer.grid.n());
                slicer.slice(rotation, rmax, &mut out)?;
                Ok(out)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::project::run(&Cpu));
    }

    #[test]
    fn gradients_equal_differences_inside_a_cell() {
        let volume = parity::project::blob_volume(24, 1);
        let projector = Projector::new(volume.view(), 2.0).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let largest = projector.coefficients().iter().map(|c| c.norm()).fold(0.0, f32::max);
        for _ in 0..200 {
            // points in the middle of a half-pixel cell, on both sides of kx = 0
            let k = [0, 1, 2]
                .map(|_| 0.5 * rng.random_range(-10i32..10) as f32 + rng.random_range(0.15..0.35f32));
            let (value, gradient) = projector.value_and_gradient(k);
            assert!((value - projector.value(k)).norm() <= 1e-5 * largest);
            for axis in 0..3 {
                let mut ends = [k, k];
                ends[0][axis] -= 0.1;
                ends[1][axis] += 0.1;
                let difference = (projector.value(ends[1]) - projector.value(ends[0])) / 0.2;
                assert!((difference - gradient[axis]).norm() <= 1e-4 * largest, "axis {axis} at {k:?}");
            }
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let flat = Array3::<f32>::zeros((4, 4, 5));
        assert_eq!(Projector::new(flat.view(), 2.0).unwrap_err(), ProjectError::NotCubic(4, 4, 5));
        let projector = Projector::new(Array3::zeros((4, 4, 4)).view(), 2.0).unwrap();
        let mut small = HalfImage::zeros_box(3);
        assert!(projector.slice(Rotation::IDENTITY, 1.0, &mut small).is_err());
    }
}
