//! The families that work on movies and micrographs.

use super::{AnyDevice, Place};
use crate::decimate::GpuDecimator;
use crate::motion_correlation::GpuStacks;
use crate::runtime::Runtime;
use crate::template_correlation::GpuBank;
use crate::warp::GpuWarpedSums;
use ndarray::{Array2, ArrayView2};
use vitreous_compute::cpu::motion_correlation::CpuStacks;
use vitreous_compute::cpu::warp::CpuWarpedSums;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::{HalfImage, ImageStack};
use vitreous_compute::movie::band::{Band, Spectrum};
use vitreous_compute::movie::correlation_image::CorrelationImage;
use vitreous_compute::movie::detector::Detector;
use vitreous_compute::movie::frame::RawFrame;
use vitreous_compute::movie::ring_power::RingPower;
use vitreous_compute::ops::decimate::{Decimate, DecimationFilter};
use vitreous_compute::ops::motion_correlation::{Measure, MotionCorrelation, Pair, Wanted};
use vitreous_compute::ops::template_correlation::{
    BestMatch, CorrelationError, CorrelationTile, Search, TemplateCorrelation, Templates,
};
use vitreous_compute::ops::tile_spectra::{TileSpectra, TileSpectraError, Tiling};
use vitreous_compute::ops::transform::{PhaseOrigin, Transform, TransformError};
use vitreous_compute::ops::warp::{MovedFrame, Warp, WarpError, WarpPlan};
use vitreous_compute::spectrum_cells::SpectrumCells;

impl<R: Runtime> Transform for AnyDevice<R> {
    fn forward(
        &self,
        images: &[ArrayView2<'_, f32>],
        origin: PhaseOrigin,
    ) -> Result<Vec<HalfImage>, TransformError> {
        self.gpu().map_or_else(|| Cpu.forward(images, origin), |gpu| gpu.forward(images, origin))
    }

    fn inverse(&self, halves: &[HalfImage], origin: PhaseOrigin) -> Result<Vec<Array2<f32>>, TransformError> {
        self.gpu().map_or_else(|| Cpu.inverse(halves, origin), |gpu| gpu.inverse(halves, origin))
    }
}

impl<R: Runtime> TileSpectra for AnyDevice<R> {
    fn tile_spectra(
        &self,
        pixels: ArrayView2<'_, f32>,
        tiling: &Tiling,
        cells: &SpectrumCells,
    ) -> Result<Vec<Option<Vec<f32>>>, TileSpectraError> {
        match self {
            Self::Cpu => Cpu.tile_spectra(pixels, tiling, cells),
            Self::Gpu(gpu) => gpu.tile_spectra(pixels, tiling, cells),
        }
    }
}

impl<R: Runtime> TemplateCorrelation for AnyDevice<R> {
    type Bank = Place<Templates, GpuBank<R>>;

    fn bank(&self, templates: Templates) -> Self::Bank {
        match self {
            Self::Cpu => Place::Host(Cpu.bank(templates)),
            Self::Gpu(gpu) => Place::Gpu(gpu.bank(templates)),
        }
    }

    fn best_matches(
        &self,
        bank: &Self::Bank,
        tiles: &[CorrelationTile],
        search: Search<'_>,
    ) -> Result<Vec<BestMatch>, CorrelationError> {
        match (bank, self) {
            (Place::Gpu(bank), Self::Gpu(gpu)) => gpu.best_matches(bank, tiles, search),
            (Place::Gpu(bank), Self::Cpu) => Cpu.best_matches(&bank.host, tiles, search),
            (Place::Host(bank), _) => Cpu.best_matches(bank, tiles, search),
        }
    }
}

impl<R: Runtime> Warp for AnyDevice<R> {
    type WarpedSums = Place<CpuWarpedSums, GpuWarpedSums<R>>;

    fn warped_sums(&self, plan: WarpPlan) -> Result<Self::WarpedSums, WarpError> {
        match self {
            Self::Cpu => Cpu.warped_sums(plan).map(Place::Host),
            Self::Gpu(gpu) => gpu.warped_sums(plan).map(Place::Gpu),
        }
    }

    fn add_warped(&self, into: &mut Self::WarpedSums, frames: &[MovedFrame<'_>]) -> Result<(), WarpError> {
        match (into, self) {
            (Place::Host(sums), _) => Cpu.add_warped(sums, frames),
            (Place::Gpu(sums), Self::Gpu(gpu)) => gpu.add_warped(sums, frames),
            (Place::Gpu(_), Self::Cpu) => Err(elsewhere()),
        }
    }

    fn collect_warped(&self, sums: Self::WarpedSums) -> Result<ImageStack, WarpError> {
        match (sums, self) {
            (Place::Host(sums), _) => Cpu.collect_warped(sums),
            (Place::Gpu(sums), Self::Gpu(gpu)) => gpu.collect_warped(sums),
            (Place::Gpu(_), Self::Cpu) => Err(elsewhere()),
        }
    }
}

impl<R: Runtime> Decimate for AnyDevice<R> {
    type Decimator = Place<(Detector, DecimationFilter), GpuDecimator<R>>;

    fn decimator(&self, detector: &Detector, block: usize) -> Self::Decimator {
        match self {
            Self::Cpu => Place::Host(Cpu.decimator(detector, block)),
            Self::Gpu(gpu) => Place::Gpu(gpu.decimator(detector, block)),
        }
    }

    fn decimate(&self, with: &Self::Decimator, frame: &RawFrame) -> Array2<f32> {
        match (with, self) {
            (Place::Gpu(with), Self::Gpu(gpu)) => gpu.decimate(with, frame),
            (Place::Gpu(with), Self::Cpu) => Cpu.decimate(&with.host, frame),
            (Place::Host(with), _) => Cpu.decimate(with, frame),
        }
    }
}

impl<R: Runtime> MotionCorrelation for AnyDevice<R> {
    type Stacks = Place<CpuStacks, GpuStacks<R>>;

    fn motion_stacks(&self, band: &Band, rings: usize, spectra: Vec<Vec<Spectrum>>) -> Self::Stacks {
        match self {
            Self::Cpu => Place::Host(Cpu.motion_stacks(band, rings, spectra)),
            Self::Gpu(gpu) => Place::Gpu(gpu.motion_stacks(band, rings, spectra)),
        }
    }

    fn measure_stacks(
        &self,
        stacks: &Self::Stacks,
        displacements: &[Vec<Pair>],
        wanted: Wanted<'_>,
    ) -> (Vec<Vec<Measure>>, RingPower) {
        match (stacks, self) {
            (Place::Gpu(stacks), Self::Gpu(gpu)) => gpu.measure_stacks(stacks, displacements, wanted),
            (Place::Gpu(stacks), Self::Cpu) => Cpu.measure_stacks(&stacks.host, displacements, wanted),
            (Place::Host(stacks), _) => Cpu.measure_stacks(stacks, displacements, wanted),
        }
    }

    fn correlation_images(
        &self,
        stacks: &mut Self::Stacks,
        displacements: &[Pair],
        b_factor: f64,
        limit: f64,
    ) -> Vec<CorrelationImage> {
        match (stacks, self) {
            (Place::Gpu(stacks), Self::Gpu(gpu)) => {
                gpu.correlation_images(stacks, displacements, b_factor, limit)
            }
            (Place::Gpu(stacks), Self::Cpu) => {
                Cpu.correlation_images(&mut stacks.host, displacements, b_factor, limit)
            }
            (Place::Host(stacks), _) => Cpu.correlation_images(stacks, displacements, b_factor, limit),
        }
    }
}

fn elsewhere() -> WarpError {
    WarpError::Device("the sums lie on another device".into())
}
