//! Family `project`: the launch of `project.cu`. Contract: [`vitreous_compute::ops::project`].
//!
//! A volume is prepared on the host, by the CPU twin, and kept there, too: what the device cannot do, that one does.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, MOST_ROWS, Runtime};
use bytemuck::{Pod, Zeroable};
use ndarray::{Array2, ArrayView3};
use num_complex::Complex32;
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::project::{Project, ProjectError};
use vitreous_model::pose::Rotation;

/// Name of the kernel.
const KERNEL: &str = "project_slices";

/// The family.
pub const FAMILY: Family =
    Family { name: "project", ptx: include_str!("../ptx/project.ptx"), kernels: &[KERNEL] };

/// Slices of one launch.
const MOST_SLICES: usize = 4096;

/// Scalars of the kernel; the same struct stands in `project.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct ProjectShape {
    slices: i32,
    /// Box edge, pixels.
    n: i32,
    /// Grid steps from the origin to the last point.
    reach: i32,
}

/// A volume's padded transform in the device's memory and in the host's.
#[derive(Debug)]
pub struct GpuSlicer<R: Runtime> {
    host: Projector,
    /// In the layout of [`PaddedGrid`].
    data: Buffer<Float2, R>,
}

impl<R: Runtime> GpuSlicer<R> {
    /// For the CPU twin.
    pub fn host(&self) -> &Projector {
        &self.host
    }

    /// Coefficients on the device, in the layout of [`PaddedGrid`].
    pub fn data(&self) -> &Buffer<Float2, R> {
        &self.data
    }

    /// The grid.
    pub fn grid(&self) -> &PaddedGrid {
        self.host.grid()
    }
}

impl<R: Runtime> Gpu<R> {
    fn slices_of(
        &self,
        slicer: &GpuSlicer<R>,
        rotations: &[Rotation],
        rmax: f64,
    ) -> Result<Vec<HalfImage>, KernelError> {
        let (grid, runtime) = (slicer.grid(), self.runtime());
        let n = grid.n();
        let columns = n / 2 + 1;
        let axes: Vec<f32> = rotations.iter().flat_map(|&r| grid.image_axes(r).concat()).collect();
        let row_ends: Vec<i32> = grid.row_ends(rmax).into_iter().map(|end| end as i32).collect();
        let mut out = Buffer::<Float2, R>::zeros(runtime, rotations.len() * n * columns)?;
        let axes = Buffer::upload(runtime, &axes)?;
        let row_ends = Buffer::upload(runtime, &row_ends)?;
        let shape = ProjectShape { slices: rotations.len() as i32, n: n as i32, reach: grid.reach() as i32 };
        let launch = Launch::over(KERNEL, n * columns, rotations.len());
        let mut arguments =
            [out.write(), slicer.data.read(), axes.read(), row_ends.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `project_slices` in number, order and size; the arrays have the lengths that
        // `ProjectShape` and the grid state, and row ends keep |k| within the grid's reach.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        let values = out.download(runtime)?;
        let values: &[Complex32] = bytemuck::cast_slice(&values);
        Ok(values.chunks_exact(n * columns).map(|slice| half_image(n, slice)).collect())
    }
}

/// A half image of a box of `n` from its coefficients.
fn half_image(n: usize, coefficients: &[Complex32]) -> HalfImage {
    let mut half = HalfImage::zeros_box(n);
    if let Ok(data) = Array2::from_shape_vec(half.data().dim(), coefficients.to_vec()) {
        half.data_mut().assign(&data);
    }
    half
}

impl<R: Runtime> Project for Gpu<R> {
    type Slicer = GpuSlicer<R>;

    fn slicer(&self, volume: ArrayView3<'_, f32>, pad: f64, rmax: f64) -> Result<GpuSlicer<R>, ProjectError> {
        let host = Projector::with_radius(volume, pad, rmax)?;
        let data = Buffer::upload(self.runtime(), bytemuck::cast_slice(host.coefficients()))
            .map_err(|error| ProjectError::Device(error.to_string()))?;
        Ok(GpuSlicer { host, data })
    }

    fn slicer_grid(&self, slicer: &GpuSlicer<R>) -> PaddedGrid {
        *slicer.grid()
    }

    fn slices(
        &self,
        slicer: &GpuSlicer<R>,
        rotations: &[Rotation],
        rmax: f64,
    ) -> Result<Vec<HalfImage>, ProjectError> {
        let n = slicer.grid().n();
        if n == 0 {
            return Cpu.slices(&slicer.host, rotations, rmax);
        }
        let bytes = n * (n / 2 + 1) * size_of::<Float2>();
        let results = self.in_batches(
            rotations.len(),
            self.batch(bytes, 0, MOST_SLICES.min(MOST_ROWS)),
            &|run| Ok(self.slices_of(slicer, &rotations[run], rmax)?.into_iter().map(Ok).collect()),
            &|run| match Cpu.slices(&slicer.host, &rotations[run.clone()], rmax) {
                Ok(slices) => slices.into_iter().map(Ok).collect(),
                Err(error) => run.map(|_| Err(error.clone())).collect(),
            },
        );
        results.into_iter().collect()
    }
}
