//! Half transforms of cubic volumes.

use super::image::phase_ramp;
use super::lanes::{PARALLEL_POINTS, RowForward, RowInverse, transform_columns};
use ndarray::{Array3, ArrayView3, ArrayViewMut3, Axis, par_azip};
use num_complex::Complex32;
use rayon::prelude::*;
use rustfft::FftDirection;
use vitreous_model::conventions::{centre, signed_frequency};

/// The transform of a real volume of `n³` voxels: coefficients `[n, n, n/2 + 1]` over `qz, qy, qx`, `qx = 0 ..= n/2`,
/// the other axes in corner layout, unnormalised.
#[derive(Debug, Clone, PartialEq)]
pub struct HalfVolume {
    n: usize,
    data: Array3<Complex32>,
}

impl HalfVolume {
    /// All zero.
    pub fn zeros(n: usize) -> Self {
        Self { n, data: Array3::zeros((n, n, n / 2 + 1)) }
    }

    /// From coefficients of shape `[n, n, n/2 + 1]`; `None` if they have another.
    pub fn from_data(n: usize, data: Array3<Complex32>) -> Option<Self> {
        (data.dim() == (n, n, n / 2 + 1)).then_some(Self { n, data })
    }

    /// Box edge of the real volume.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The coefficients, `[n, n, n/2 + 1]`.
    pub fn data(&self) -> &Array3<Complex32> {
        &self.data
    }

    /// The coefficients, to be changed.
    pub fn data_mut(&mut self) -> ArrayViewMut3<'_, Complex32> {
        self.data.view_mut()
    }

    /// The coefficients, given away.
    pub fn into_data(self) -> Array3<Complex32> {
        self.data
    }

    /// Transform of a cubic volume `[n, n, n]`, phases counted from voxel (0, 0, 0).
    pub fn of(volume: ArrayView3<'_, f32>) -> Self {
        let n = volume.dim().0;
        Self::embedded(volume, n, 0)
    }

    /// Transform of a cubic volume, phases counted from its centre voxel.
    pub fn of_box(volume: ArrayView3<'_, f32>) -> Self {
        Self::of_box_padded(volume, volume.dim().0)
    }

    /// Transform of a cubic volume set into the middle of zeros of edge `padded_n` (at least its own), phases counted
    /// from the centre voxel. Without the padding in memory.
    pub fn of_box_padded(volume: ArrayView3<'_, f32>, padded_n: usize) -> Self {
        Self::embedded(volume, padded_n, centre(volume.dim().0))
    }

    /// Voxel `x` of the source goes to voxel `(x - origin) mod n`.
    fn embedded(volume: ArrayView3<'_, f32>, n: usize, origin: usize) -> Self {
        let source_n = volume.dim().0;
        assert!(
            volume.dim() == (source_n, source_n, source_n) && source_n <= n,
            "a volume should be cubic and fit into its padding, got {:?} into {n}",
            volume.dim()
        );
        let mut half = Self::zeros(n);
        if source_n == 0 {
            return half;
        }
        let place = |i: usize| (i + n - origin) % n;
        let mut targets: Vec<Option<usize>> = vec![None; n];
        (0..source_n).for_each(|z| targets[place(z)] = Some(z));
        let fill = |(mut slab, source): (ndarray::ArrayViewMut2<'_, Complex32>, &Option<usize>)| {
            let Some(z) = *source else { return };
            let mut rows = RowForward::new(n);
            for y in 0..source_n {
                let pixels = volume.index_axis(Axis(0), z);
                let pixels = pixels.row(y);
                let mut target = slab.row_mut(place(y));
                rows.transform(
                    |row| pixels.iter().enumerate().for_each(|(x, &value)| row[place(x)] = value),
                    target.as_slice_mut().expect("rows should be contiguous"),
                );
            }
            transform_columns(slab, FftDirection::Forward, false);
        };
        let slabs = half.data.axis_iter_mut(Axis(0));
        slabs.into_par_iter().zip(targets.par_iter()).for_each(fill);
        transform_depth(&mut half.data, FftDirection::Forward);
        half
    }

    /// The volume `[n, n, n]` of a transform whose phases count from voxel (0, 0, 0).
    pub fn into_voxels(self) -> Array3<f32> {
        let n = self.n;
        self.extracted(n, 0)
    }

    /// The volume of a transform whose phases count from the centre voxel.
    pub fn into_box(self) -> Array3<f32> {
        let n = self.n;
        self.into_box_cropped(n)
    }

    /// The middle `[cropped_n; 3]` of the volume of a transform whose phases count from the centre voxel.
    pub fn into_box_cropped(self, cropped_n: usize) -> Array3<f32> {
        self.extracted(cropped_n, centre(cropped_n))
    }

    fn extracted(mut self, target_n: usize, origin: usize) -> Array3<f32> {
        let n = self.n;
        assert!(target_n <= n, "a crop should not be larger than the volume, got {target_n} of {n}");
        let mut volume = Array3::<f32>::zeros((target_n, target_n, target_n));
        if target_n == 0 {
            return volume;
        }
        transform_depth(&mut self.data, FftDirection::Inverse);
        let place = |i: usize| (i + n - origin) % n;
        let scale = (1.0 / (n as f64).powi(3)) as f32;
        let mut sources: Vec<Option<usize>> = vec![None; n];
        (0..target_n).for_each(|z| sources[place(z)] = Some(z));
        let mut planes: Vec<Option<ndarray::ArrayViewMut2<'_, f32>>> = (0..n).map(|_| None).collect();
        for (z, plane) in volume.axis_iter_mut(Axis(0)).enumerate() {
            planes[place(z)] = Some(plane);
        }
        let slabs = self.data.axis_iter_mut(Axis(0));
        slabs.into_par_iter().zip(planes.into_par_iter()).for_each(|(mut slab, plane)| {
            let Some(mut plane) = plane else { return };
            transform_columns(slab.view_mut(), FftDirection::Inverse, false);
            let mut rows = RowInverse::new(n);
            for (y, mut target) in plane.rows_mut().into_iter().enumerate() {
                let row = slab.row(place(y));
                let pixels = rows.transform(row.as_slice().expect("rows should be contiguous"));
                target.iter_mut().enumerate().for_each(|(x, value)| *value = pixels[place(x)] * scale);
            }
        });
        volume
    }

    /// Moves the phase origin from voxel (0, 0, 0) to the centre voxel.
    pub fn phases_to_centre(&mut self) {
        let c = centre(self.n) as f64;
        self.shift([-c, -c, -c]);
    }

    /// Moves the phase origin from the centre voxel to voxel (0, 0, 0).
    pub fn phases_to_corner(&mut self) {
        let c = centre(self.n) as f64;
        self.shift([c, c, c]);
    }

    /// Moves the content by `(x, y, z)` voxels, cyclically; at Nyquist as [`super::HalfImage::shift`].
    pub fn shift(&mut self, [x, y, z]: [f64; 3]) {
        let n = self.n;
        let (along_x, along_y, along_z) =
            (phase_ramp(n, n / 2 + 1, x), phase_ramp(n, n, y), phase_ramp(n, n, z));
        par_azip!((index (iz, iy, ix), value in &mut self.data) *value *= along_z[iz] * along_y[iy] * along_x[ix]);
    }

    /// Multiplies every coefficient by a weight that depends on its radius in Fourier pixels.
    pub fn weigh(&mut self, weight: impl Fn(f64) -> f64 + Sync) {
        let n = self.n;
        par_azip!((index (z, y, x), value in &mut self.data) {
            *value *= weight(radius(z, y, x, n)) as f32;
        });
    }
}

/// Radius in Fourier pixels of a coefficient of a half volume of edge `n`.
pub(super) fn radius(z: usize, y: usize, x: usize, n: usize) -> f64 {
    let (qz, qy) = (signed_frequency(z, n) as f64, signed_frequency(y, n) as f64);
    (qz * qz + qy * qy + (x * x) as f64).sqrt()
}

/// Transforms along z.
fn transform_depth(data: &mut Array3<Complex32>, direction: FftDirection) {
    let parallel = data.len() >= PARALLEL_POINTS / 8;
    let columns = data.axis_iter_mut(Axis(1));
    if parallel {
        columns.into_par_iter().for_each(|slab| transform_columns(slab, direction, false));
    } else {
        columns.into_iter().for_each(|slab| transform_columns(slab, direction, false));
    }
}
