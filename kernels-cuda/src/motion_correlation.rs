//! Family `motion_correlation`: the launches of `motion_correlation.cu`. Contract:
//! [`vitreous_compute::ops::motion_correlation`].
//!
//! Spectra stay on the device; of a round of measuring only phases are sent and sums come back. Correlation images are
//! transformed on the host.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, MOST_ROWS, Runtime};
use bytemuck::{Pod, Zeroable};
use num_complex::Complex32;
use rayon::prelude::*;
use std::ops::Range;
use vitreous_compute::cpu::motion_correlation::{CpuStacks, search_weights};
use vitreous_compute::device::Cpu;
use vitreous_compute::movie::band::{Band, LANES, Spectrum};
use vitreous_compute::movie::correlation_image::CorrelationImage;
use vitreous_compute::movie::ring_power::RingPower;
use vitreous_compute::ops::motion_correlation::{
    Measure, MotionCorrelation, Pair, Wanted, column_turns, row_turns,
};

/// Names of the kernels.
const SUM: &str = "sum_moved";
const MEASURE: &str = "measure_frames";
const POWER_OF_SUMS: &str = "ring_power_of_sums";
const POWER_OF_FRAMES: &str = "ring_power_of_frames";
const PRODUCTS: &str = "products_with_others";

/// Threads of a block that sums up a ring, rows of threads of one that measures, and what it measures, as in the kernels.
const RING_THREADS: u32 = 64;
const ROWS: u32 = 32;
const MEASURES: usize = 7;

/// The family.
pub const FAMILY: Family = Family {
    name: "motion_correlation",
    ptx: include_str!("../ptx/motion_correlation.ptx"),
    kernels: &[SUM, MEASURE, POWER_OF_SUMS, POWER_OF_FRAMES, PRODUCTS],
};

/// Scalars of the kernels; the same struct stands in `motion_correlation.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct CorrelationShape {
    /// Of a stack.
    frames: i32,
    rows: i32,
    stride: i32,
    /// Stack of the launch.
    first: i32,
    /// The last ring.
    rings: i32,
}

/// Stacks of spectra.
#[derive(Debug)]
pub struct GpuStacks<R: Runtime> {
    pub(crate) host: CpuStacks,
    /// `None`: the CPU twin does it.
    device: Option<OnDevice<R>>,
}

/// The part on the device.
#[derive(Debug)]
struct OnDevice<R: Runtime> {
    /// `[stacks, frames, 2, rows, stride]`.
    spectra: Buffer<f32, R>,
    omega_x: Buffer<f32, R>,
    omega_y: Buffer<f32, R>,
    /// Where the coefficients of each ring begin in `members`.
    starts: Buffer<i32, R>,
    members: Buffer<i32, R>,
}

/// Phases of the stacks of a launch, and the sums of their moved frames.
struct Moved<R: Runtime> {
    shape: CorrelationShape,
    stacks: usize,
    columns: Buffer<Float2, R>,
    turns: Buffer<Float2, R>,
    sums: Buffer<Float2, R>,
}

/// What comes back for one stack.
type OfStack = (Vec<Measure>, RingPower);

fn pairs(turns: impl Iterator<Item = [f32; 2]>) -> impl Iterator<Item = Float2> {
    turns.map(|[x, y]| Float2 { x, y })
}

impl<R: Runtime> OnDevice<R> {
    /// `None` where there is nothing to do or more than the kernels can count.
    fn new(runtime: &R, host: &CpuStacks) -> Result<Option<Self>, KernelError> {
        let (band, frames, stacks) = (host.band(), host.frames(), host.spectra().len());
        let countable = frames <= MOST_ROWS && stacks <= MOST_ROWS && i32::try_from(2 * band.len()).is_ok();
        let uniform = host.spectra().iter().all(|stack| stack.len() == frames);
        if frames == 0 || !countable || !uniform {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(stacks * frames * 2 * band.len());
        for spectrum in host.spectra().iter().flatten() {
            values.extend_from_slice(&spectrum.re);
            values.extend_from_slice(&spectrum.im);
        }
        let mut members: Vec<Vec<i32>> = vec![Vec::new(); host.rings() + 1];
        for (at, ring) in host.ring().iter().enumerate() {
            if let Some(members) = members.get_mut(usize::from(*ring)) {
                members.push(at as i32);
            }
        }
        let mut starts = vec![0];
        for members in &members {
            starts.push(starts[starts.len() - 1] + members.len() as i32);
        }
        Ok(Some(Self {
            spectra: Buffer::upload(runtime, &values)?,
            omega_x: Buffer::upload(runtime, &band.omega_x)?,
            omega_y: Buffer::upload(runtime, &band.omega_y)?,
            starts: Buffer::upload(runtime, &starts)?,
            members: Buffer::upload(runtime, &members.concat())?,
        }))
    }

    /// Sends the phases of the stacks from `first` on and adds up their moved frames.
    fn moved(
        &self,
        runtime: &R,
        host: &CpuStacks,
        first: usize,
        displacements: &[&[Pair]],
    ) -> Result<Moved<R>, KernelError> {
        let band = host.band();
        let all = || displacements.iter().flat_map(|stack| stack.iter());
        let columns: Vec<Float2> = all().flat_map(|&d| pairs(column_turns(band, d))).collect();
        let turns: Vec<Float2> = all().flat_map(|&d| pairs(row_turns(band, d))).collect();
        let shape = CorrelationShape {
            frames: host.frames() as i32,
            rows: band.rows() as i32,
            stride: band.stride as i32,
            first: first as i32,
            rings: host.rings() as i32,
        };
        let mut moved = Moved {
            shape,
            stacks: displacements.len(),
            columns: Buffer::upload(runtime, &columns)?,
            turns: Buffer::upload(runtime, &turns)?,
            sums: Buffer::zeros(runtime, displacements.len() * band.len())?,
        };
        let launch = Launch::over(SUM, band.len(), moved.stacks);
        let Moved { sums, columns, turns, .. } = &mut moved;
        let mut arguments =
            [sums.write(), self.spectra.read(), columns.read(), turns.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `sum_moved`; spectra and phases have the sizes of the shape, for as many stacks
        // and frames as are launched.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        Ok(moved)
    }

    /// The measures of all frames of the stacks.
    fn measures(&self, runtime: &R, moved: &Moved<R>, weights: &[f32]) -> Result<Vec<Measure>, KernelError> {
        let frames = moved.shape.frames as usize;
        let weights = Buffer::upload(runtime, weights)?;
        let mut measures = Buffer::<f64, R>::zeros(runtime, moved.stacks * frames * MEASURES)?;
        let launch = Launch {
            kernel: MEASURE,
            grid: [frames as u32, moved.stacks as u32, 1],
            block: [LANES as u32, ROWS, 1],
            shared_bytes: 0,
        };
        let mut arguments = [
            measures.write(),
            moved.sums.read(),
            self.spectra.read(),
            moved.columns.read(),
            moved.turns.read(),
            weights.read(),
            self.omega_x.read(),
            self.omega_y.read(),
            Argument::scalars(&moved.shape),
        ];
        // SAFETY: the arguments are those of `measure_frames`; weights and frequencies are those of the band, and there is room
        // for the measures of every frame launched.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        let values = measures.download(runtime)?;
        let measure = |v: &[f64; MEASURES]| Measure {
            value: v[0],
            slope: [v[1], v[2]],
            curvature: [v[3], v[4]],
            slope_variance: [v[5], v[6]],
        };
        Ok(values.as_chunks().0.iter().map(measure).collect())
    }

    /// The power of the sums of all stacks by ring, `[stack, ring]`.
    fn power_of_sums(&self, runtime: &R, moved: &Moved<R>) -> Result<Vec<f64>, KernelError> {
        let rings = moved.shape.rings as usize + 1;
        let mut power = Buffer::<f64, R>::zeros(runtime, moved.stacks * rings)?;
        let launch = Launch {
            kernel: POWER_OF_SUMS,
            grid: [rings as u32, moved.stacks as u32, 1],
            block: [RING_THREADS, 1, 1],
            shared_bytes: 0,
        };
        let mut arguments = [
            power.write(),
            moved.sums.read(),
            self.starts.read(),
            self.members.read(),
            Argument::scalars(&moved.shape),
        ];
        // SAFETY: the arguments are those of `ring_power_of_sums`; the members of the rings are coefficients of the band.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        power.download(runtime)
    }

    /// The power of the frames of all stacks by ring, `[stack, frame, ring]`.
    fn power_of_frames(&self, runtime: &R, moved: &Moved<R>) -> Result<Vec<f64>, KernelError> {
        let (rings, frames) = (moved.shape.rings as usize + 1, moved.shape.frames as usize);
        let mut power = Buffer::<f64, R>::zeros(runtime, moved.stacks * frames * rings)?;
        let launch = Launch {
            kernel: POWER_OF_FRAMES,
            grid: [rings as u32, frames as u32, moved.stacks as u32],
            block: [RING_THREADS, 1, 1],
            shared_bytes: 0,
        };
        let mut arguments = [
            power.write(),
            self.spectra.read(),
            moved.columns.read(),
            moved.turns.read(),
            self.starts.read(),
            self.members.read(),
            Argument::scalars(&moved.shape),
        ];
        // SAFETY: the arguments are those of `ring_power_of_frames`; the members of the rings are coefficients of the band.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        power.download(runtime)
    }

    /// Measures the stacks `run`.
    fn measure_run(
        &self,
        runtime: &R,
        host: &CpuStacks,
        run: Range<usize>,
        displacements: &[Vec<Pair>],
        wanted: Wanted<'_>,
    ) -> Result<Vec<OfStack>, KernelError> {
        let displacements: Vec<&[Pair]> = displacements[run.clone()].iter().map(Vec::as_slice).collect();
        let moved = self.moved(runtime, host, run.start, &displacements)?;
        let measures = match wanted {
            Wanted::Measures(weights) => self.measures(runtime, &moved, weights)?,
            Wanted::AllPower | Wanted::Power => Vec::new(),
        };
        let of_sums = self.power_of_sums(runtime, &moved)?;
        let of_frames = match wanted {
            Wanted::AllPower => self.power_of_frames(runtime, &moved)?,
            Wanted::Power | Wanted::Measures(_) => Vec::new(),
        };
        let (frames, rings) = (host.frames(), host.rings() + 1);
        let of_stack = |stack: usize| {
            let mut power = RingPower::new(host.rings(), frames);
            power.of_sum.copy_from_slice(&of_sums[stack * rings..][..rings]);
            for frame in of_frames.chunks_exact(rings).skip(stack * frames).take(frames) {
                power.of_frames.iter_mut().zip(frame).for_each(|(sum, value)| *sum += value);
            }
            power.add_count(host.ring());
            (measures.iter().skip(stack * frames).take(frames).copied().collect(), power)
        };
        Ok((0..run.len()).map(of_stack).collect())
    }

    /// The weighted products of the frames `run` with the sum of the others, `[frame, rows, stride]`.
    fn products(
        &self,
        runtime: &R,
        moved: &Moved<R>,
        weights: &Buffer<f32, R>,
        run: Range<usize>,
    ) -> Result<Vec<Float2>, KernelError> {
        let length = moved.shape.rows as usize * moved.shape.stride as usize;
        let mut products = Buffer::<Float2, R>::zeros(runtime, run.len() * length)?;
        let first_frame = run.start as i32;
        let mut arguments = [
            products.write(),
            moved.sums.read(),
            self.spectra.read(),
            moved.columns.read(),
            moved.turns.read(),
            weights.read(),
            Argument::scalars(&first_frame),
            Argument::scalars(&moved.shape),
        ];
        // SAFETY: the arguments are those of `products_with_others`; the frames are those of the stack, and there is room for
        // their products.
        unsafe { runtime.launch(&Launch::over(PRODUCTS, length, run.len()), &mut arguments) }?;
        products.download(runtime)
    }
}

impl<R: Runtime> Gpu<R> {
    /// Correlation images of the first stack, or an error before the first of them is made.
    fn images_on(
        &self,
        host: &CpuStacks,
        device: &OnDevice<R>,
        displacements: &[Pair],
        (b_factor, limit): (f64, f64),
    ) -> Result<Vec<CorrelationImage>, KernelError> {
        let (runtime, band) = (self.runtime(), host.band());
        let moved = device.moved(runtime, host, 0, &[displacements])?;
        let mut power = RingPower::new(host.rings(), host.frames());
        for frame in device.power_of_frames(runtime, &moved)?.chunks_exact(host.rings() + 1) {
            power.of_frames.iter_mut().zip(frame).for_each(|(sum, value)| *sum += value);
        }
        power.add_count(host.ring());
        let weights = Buffer::upload(runtime, &search_weights(band, &power, b_factor))?;
        let mut images = Vec::with_capacity(host.frames());
        let mut at_once = self.batch(band.len() * size_of::<Float2>(), 0, host.frames());
        while images.len() < host.frames() {
            let run = images.len()..(images.len() + at_once).min(host.frames());
            let products = match device.products(runtime, &moved, &weights, run.clone()) {
                Err(KernelError::OutOfMemory { .. }) if run.len() > 1 => {
                    at_once = run.len().div_ceil(2);
                    continue;
                }
                products => products?,
            };
            images.par_extend(products.par_chunks_exact(band.len()).map(|of_frame| {
                CorrelationImage::new(band, limit, |at| Complex32::new(of_frame[at].x, of_frame[at].y))
            }));
        }
        Ok(images)
    }
}

impl<R: Runtime> MotionCorrelation for Gpu<R> {
    type Stacks = GpuStacks<R>;

    fn motion_stacks(&self, band: &Band, rings: usize, spectra: Vec<Vec<Spectrum>>) -> GpuStacks<R> {
        let host = Cpu.motion_stacks(band, rings, spectra);
        let device = OnDevice::new(self.runtime(), &host).unwrap_or_else(|error| {
            self.remark(&error);
            None
        });
        GpuStacks { host, device }
    }

    fn measure_stacks(
        &self,
        stacks: &GpuStacks<R>,
        displacements: &[Vec<Pair>],
        wanted: Wanted<'_>,
    ) -> (Vec<Vec<Measure>>, RingPower) {
        let host = &stacks.host;
        let fits = match wanted {
            Wanted::Measures(weights) => weights.len() == host.band().len(),
            Wanted::AllPower | Wanted::Power => true,
        } && displacements.len() == host.spectra().len()
            && displacements.iter().all(|stack| stack.len() == host.frames());
        let Some(device) = stacks.device.as_ref().filter(|_| fits) else {
            return Cpu.measure_stacks(host, displacements, wanted);
        };
        let of_phases = host.frames() * (host.band().stride + host.band().rows()) * size_of::<Float2>();
        let bytes_each = host.band().len() * size_of::<Float2>() + of_phases;
        let count = host.spectra().len();
        let results = self.in_batches(
            count,
            self.batch(bytes_each, 0, count),
            &|run| device.measure_run(self.runtime(), host, run, displacements, wanted),
            &|run| host.measure_each(run, displacements, wanted),
        );
        let mut power = RingPower::new(host.rings(), host.frames());
        results.iter().for_each(|(_, part)| power.merge(part));
        (results.into_iter().map(|(measures, _)| measures).collect(), power)
    }

    fn correlation_images(
        &self,
        stacks: &mut GpuStacks<R>,
        displacements: &[Pair],
        b_factor: f64,
        limit: f64,
    ) -> Vec<CorrelationImage> {
        let GpuStacks { host, device } = stacks;
        if let Some(device) = device.as_ref().filter(|_| displacements.len() == host.frames()) {
            match self.images_on(host, device, displacements, (b_factor, limit)) {
                Ok(images) => return images,
                Err(error) => self.remark(&error),
            }
        }
        Cpu.correlation_images(host, displacements, b_factor, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failing_runtime::Failing;
    use vitreous_compute::parity;

    #[test]
    fn nothing_is_contracted() {
        assert!(!FAMILY.ptx.contains("fma.rn"), "products and sums should be rounded each");
    }

    #[test]
    fn what_the_device_cannot_do_is_done_on_the_cpu() {
        for failing in [Failing::Memory, Failing::Launches] {
            let gpu = Gpu::new(failing);
            assert!(
                parity::motion_correlation::checksum(&gpu) == parity::motion_correlation::checksum(&Cpu),
                "{failing:?}"
            );
            assert!(gpu.fell_back(), "{failing:?}");
        }
    }
}
