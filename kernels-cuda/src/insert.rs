//! Family `insert`: the launch of `insert.cu`. Contract: [`vitreous_compute::ops::insert`].
//!
//! The result equals the CPU twin's bit for bit.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, KernelError, Launch, MOST_ROWS, Runtime};
use bytemuck::{Pod, Zeroable};
use ndarray::{Axis, Slice};
use num_complex::Complex32;
use std::ops::Range;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceBatch};

/// Name of the kernel.
const KERNEL: &str = "insert_slices";

/// The family.
pub const FAMILY: Family =
    Family { name: "insert", ptx: include_str!("../ptx/insert.ptx"), kernels: &[KERNEL] };

/// Images of one launch.
const MOST_IMAGES: usize = 4096;

/// Scalars of the kernel; the same struct stands in `insert.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct InsertShape {
    /// Images in this launch.
    images: i32,
    /// Box edge, pixels.
    n: i32,
    /// Grid steps from the origin to the last point.
    reach: i32,
    /// Fixed-point steps per unit of the numerator.
    numerator_steps: f32,
    /// Fixed-point steps per unit of the weight.
    weight_steps: f32,
}

/// Fixed-point sums in the device's memory.
#[derive(Debug)]
pub struct GpuSums<R: Runtime> {
    grid: PaddedGrid,
    scale: FixedPoint,
    data: Buffer<i64, R>,
}

fn device_error(error: KernelError) -> InsertError {
    InsertError::Device(error.to_string())
}

impl<R: Runtime> Gpu<R> {
    /// Adds the images `run` of a batch that was checked.
    fn insert_run(
        &self,
        into: &mut GpuSums<R>,
        batch: &SliceBatch<'_>,
        run: Range<usize>,
    ) -> Result<(), KernelError> {
        let (grid, runtime) = (&into.grid, self.runtime());
        let n = grid.n();
        let images = run.len();
        let numerator: Vec<Complex32> =
            batch.numerator.slice_axis(Axis(0), Slice::from(run.clone())).iter().copied().collect();
        let weight: Vec<f32> =
            batch.weight.slice_axis(Axis(0), Slice::from(run.clone())).iter().copied().collect();
        let axes: Vec<f32> = run
            .flat_map(|image| grid.slice_axes(batch.rotations[image], batch.bend(image)).concat())
            .collect();
        let row_ends: Vec<i32> = batch.row_ends(grid).into_iter().map(|end| end as i32).collect();
        let numerator = Buffer::upload(runtime, &numerator)?;
        let weight = Buffer::upload(runtime, &weight)?;
        let axes = Buffer::upload(runtime, &axes)?;
        let row_ends = Buffer::upload(runtime, &row_ends)?;
        let shape = InsertShape {
            images: images as i32,
            n: n as i32,
            reach: grid.reach() as i32,
            numerator_steps: into.scale.numerator_steps(),
            weight_steps: into.scale.weight_steps(),
        };
        let launch = Launch::over(KERNEL, n * (n / 2 + 1), images);
        let mut arguments = [
            into.data.write(),
            numerator.read(),
            weight.read(),
            axes.read(),
            row_ends.read(),
            Argument::scalars(&shape),
        ];
        // SAFETY: the arguments are those of `insert_slices` in number, order and size; the arrays have the lengths that
        // `InsertShape` and the grid of the sums state, and the kernel writes only cells of that grid: the row ends keep
        // |k| within its reach.
        unsafe { runtime.launch(&launch, &mut arguments) }
    }
}

impl<R: Runtime> Insert for Gpu<R> {
    type Accumulator = GpuSums<R>;

    fn accumulator(&self, grid: PaddedGrid, scale: FixedPoint) -> Result<GpuSums<R>, InsertError> {
        let data = Buffer::zeros(self.runtime(), 3 * grid.len()).map_err(device_error)?;
        Ok(GpuSums { grid, scale, data })
    }

    fn insert(&self, into: &mut GpuSums<R>, batch: &SliceBatch<'_>) -> Result<(), InsertError> {
        batch.check(&into.grid, &into.scale)?;
        let (n, total) = (into.grid.n(), batch.rotations.len());
        if n == 0 {
            return Ok(());
        }
        let image_bytes = n * (n / 2 + 1) * (size_of::<Complex32>() + size_of::<f32>());
        let mut at_once = self.batch(image_bytes, 0, MOST_IMAGES.min(MOST_ROWS));
        let mut first = 0;
        while first < total {
            let run = first..(first + at_once).min(total);
            match self.insert_run(into, batch, run.clone()) {
                Ok(()) => first = run.end,
                // nothing of the run was added: memory is asked for before the launch
                Err(KernelError::OutOfMemory { .. }) if run.len() > 1 => at_once = run.len().div_ceil(2),
                Err(error) => return Err(device_error(error)),
            }
        }
        Ok(())
    }

    fn collect(&self, accumulator: GpuSums<R>) -> Result<FixedGrid, InsertError> {
        let GpuSums { grid, scale, data } = accumulator;
        let host = data.download(self.runtime()).map_err(device_error)?;
        FixedGrid::from_data(grid, scale, host)
            .ok_or_else(|| InsertError::Device("the sums came back with a wrong length".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_contracted() {
        assert!(!FAMILY.ptx.contains("fma.rn.f32"), "products and sums should be rounded each");
    }
}
