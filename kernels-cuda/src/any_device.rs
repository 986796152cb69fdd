//! The device that a job was given, CPU or GPU, chosen at run time. Stages know no other.
//!
//! What is held on a device says itself where it lies: a reference that the GPU's memory did not take stays on the host, and
//! what is computed with it is computed there.

mod preprocessing;

use crate::driver::CudaRuntime;
use crate::gpu::Gpu;
use crate::insert::GpuSums;
use crate::project::GpuSlicer;
use crate::runtime::{KernelError, Runtime};
use ndarray::ArrayView3;
use vitreous_compute::cpu::classify2d::CpuClasses;
use vitreous_compute::cpu::pose_search::CpuViews;
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::device::{Cpu, Device};
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::ops::align::{Align, AlignImage, AlignLevel, Alignment, NormalEquations, ShellSums};
use vitreous_compute::ops::ceilings::{Ceilings, CeilingsError, Timed};
use vitreous_compute::ops::classify2d::{Assignment, ClassesRequest, Classify2d, FixedSums};
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceBatch};
use vitreous_compute::ops::pose_search::{
    PoseSearch, PoseSearchError, SearchGeometry, SearchImage, ViewScores, ViewsRequest,
};
use vitreous_compute::ops::project::{Project, ProjectError};
use vitreous_model::pose::Rotation;

/// A CPU or a GPU.
#[derive(Debug, Default)]
pub enum AnyDevice<R: Runtime = CudaRuntime> {
    /// The host's cores.
    #[default]
    Cpu,
    /// A GPU.
    Gpu(Gpu<R>),
}

impl<R: Runtime> AnyDevice<R> {
    /// The GPU, if it is one.
    pub fn gpu(&self) -> Option<&Gpu<R>> {
        match self {
            Self::Cpu => None,
            Self::Gpu(gpu) => Some(gpu),
        }
    }

    /// Says that the GPU did not take something.
    fn remark(&self, reason: String) {
        if let Self::Gpu(gpu) = self {
            gpu.remark(&KernelError::Call { doing: "holding data on the device".into(), reason });
        }
    }
}

impl<R: Runtime> Device for AnyDevice<R> {
    fn name(&self) -> String {
        self.gpu().map_or_else(|| Cpu.name(), Device::name)
    }

    fn free_bytes(&self) -> u64 {
        self.gpu().map_or_else(|| Cpu.free_bytes(), Device::free_bytes)
    }

    fn synchronize(&self) {
        self.gpu().map_or_else(|| Cpu.synchronize(), Device::synchronize);
    }
}

impl<R: Runtime> Ceilings for AnyDevice<R> {
    fn copy(&self, values: &[f32], times: u32) -> Result<Timed, CeilingsError> {
        self.gpu().map_or_else(|| Cpu.copy(values, times), |gpu| gpu.copy(values, times))
    }

    fn multiply_add(&self, lanes: usize, steps: u32, times: u32) -> Result<Timed, CeilingsError> {
        let on_host = || Cpu.multiply_add(lanes, steps, times);
        self.gpu().map_or_else(on_host, |gpu| gpu.multiply_add(lanes, steps, times))
    }

    fn transfer(&self, values: &[f32], times: u32) -> Result<[Timed; 2], CeilingsError> {
        self.gpu().map_or_else(|| Cpu.transfer(values, times), |gpu| gpu.transfer(values, times))
    }
}

/// Something on the host or on the GPU.
#[derive(Debug)]
pub enum Place<H, G> {
    /// In the host's memory.
    Host(H),
    /// In the GPU's.
    Gpu(G),
}

/// Sums of slices.
pub type AnySums<R> = Place<FixedGrid, GpuSums<R>>;

impl<R: Runtime> Insert for AnyDevice<R> {
    type Accumulator = AnySums<R>;

    fn accumulator(&self, grid: PaddedGrid, scale: FixedPoint) -> Result<AnySums<R>, InsertError> {
        if let Some(gpu) = self.gpu() {
            match gpu.accumulator(grid, scale) {
                Ok(sums) => return Ok(Place::Gpu(sums)),
                Err(error) => self.remark(error.to_string()),
            }
        }
        Cpu.accumulator(grid, scale).map(Place::Host)
    }

    fn insert(&self, into: &mut AnySums<R>, batch: &SliceBatch<'_>) -> Result<(), InsertError> {
        match (into, self) {
            (Place::Host(sums), _) => Cpu.insert(sums, batch),
            (Place::Gpu(sums), Self::Gpu(gpu)) => gpu.insert(sums, batch),
            (Place::Gpu(_), Self::Cpu) => Err(elsewhere()),
        }
    }

    fn collect(&self, accumulator: AnySums<R>) -> Result<FixedGrid, InsertError> {
        match (accumulator, self) {
            (Place::Host(sums), _) => Cpu.collect(sums),
            (Place::Gpu(sums), Self::Gpu(gpu)) => gpu.collect(sums),
            (Place::Gpu(_), Self::Cpu) => Err(elsewhere()),
        }
    }
}

fn elsewhere() -> InsertError {
    InsertError::Device("the sums lie on another device".into())
}

/// A volume prepared for slicing.
pub type AnySlicer<R> = Place<Projector, GpuSlicer<R>>;

/// The same on the host.
fn host_slicer<R: Runtime>(slicer: &AnySlicer<R>) -> &Projector {
    match slicer {
        Place::Host(projector) => projector,
        Place::Gpu(slicer) => slicer.host(),
    }
}

impl<R: Runtime> Project for AnyDevice<R> {
    type Slicer = AnySlicer<R>;

    fn slicer(&self, volume: ArrayView3<'_, f32>, pad: f64, rmax: f64) -> Result<AnySlicer<R>, ProjectError> {
        if let Some(gpu) = self.gpu() {
            match gpu.slicer(volume, pad, rmax) {
                Ok(slicer) => return Ok(Place::Gpu(slicer)),
                Err(ProjectError::Device(reason)) => self.remark(reason),
                Err(error) => return Err(error),
            }
        }
        Cpu.slicer(volume, pad, rmax).map(Place::Host)
    }

    fn slicer_grid(&self, slicer: &AnySlicer<R>) -> PaddedGrid {
        *host_slicer(slicer).grid()
    }

    fn slices(
        &self,
        slicer: &AnySlicer<R>,
        rotations: &[Rotation],
        rmax: f64,
    ) -> Result<Vec<HalfImage>, ProjectError> {
        match (slicer, self) {
            (Place::Gpu(slicer), Self::Gpu(gpu)) => gpu.slices(slicer, rotations, rmax),
            _ => Cpu.slices(host_slicer(slicer), rotations, rmax),
        }
    }
}

impl<R: Runtime> PoseSearch for AnyDevice<R> {
    type Views = CpuViews;

    fn prepare_views(
        &self,
        slicer: &AnySlicer<R>,
        request: &ViewsRequest<'_>,
    ) -> Result<CpuViews, PoseSearchError> {
        Cpu.prepare_views(host_slicer(slicer), request)
    }

    fn geometry<'a>(&self, views: &'a CpuViews) -> &'a SearchGeometry {
        Cpu.geometry(views)
    }

    fn score_views(&self, views: &CpuViews, images: &[SearchImage<'_>]) -> Vec<ViewScores> {
        Cpu.score_views(views, images)
    }
}

impl<R: Runtime> Align for AnyDevice<R> {
    fn align(
        &self,
        slicer: &AnySlicer<R>,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Vec<Vec<Alignment>> {
        match (slicer, self) {
            (Place::Gpu(slicer), Self::Gpu(gpu)) => gpu.align(slicer, levels, images),
            _ => Cpu.align(host_slicer(slicer), levels, images),
        }
    }

    fn normal_equations(
        &self,
        slicer: &AnySlicer<R>,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Vec<NormalEquations> {
        match (slicer, self) {
            (Place::Gpu(slicer), Self::Gpu(gpu)) => gpu.normal_equations(slicer, rmax, images),
            _ => Cpu.normal_equations(host_slicer(slicer), rmax, images),
        }
    }

    fn shell_sums(&self, slicer: &AnySlicer<R>, rmax: f64, images: &[AlignImage<'_>]) -> Vec<ShellSums> {
        match (slicer, self) {
            (Place::Gpu(slicer), Self::Gpu(gpu)) => gpu.shell_sums(slicer, rmax, images),
            _ => Cpu.shell_sums(host_slicer(slicer), rmax, images),
        }
    }
}

impl<R: Runtime> Classify2d for AnyDevice<R> {
    type Classes = CpuClasses;

    fn prepare_classes(&self, request: &ClassesRequest<'_>) -> Result<CpuClasses, PoseSearchError> {
        Cpu.prepare_classes(request)
    }

    fn angles(&self, classes: &CpuClasses) -> usize {
        Cpu.angles(classes)
    }

    fn classify(
        &self,
        classes: &CpuClasses,
        images: &[SearchImage<'_>],
        halves: &[usize],
        sums: &mut FixedSums,
    ) -> Vec<Assignment> {
        Cpu.classify(classes, images, halves, sums)
    }
}
