//! Family `warp`: the launches of `warp.cu`. Contract: [`vitreous_compute::ops::warp`].
//!
//! The sums stay on the device while frames come, [`GROUP`] at a time; of these each is sent as it was read. What the device
//! cannot do is done by the CPU twin, which goes on from the sums so far. The result equals the CPU twin's bit for bit.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::movie_frames::{FrameBuffer, can_be_indexed, upload_gain};
use crate::runtime::{Argument, Buffer, KernelError, Launch, MOST_ROWS, Runtime};
use bytemuck::{Pod, Zeroable};
use vitreous_compute::cpu::warp::CpuWarpedSums;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::ImageStack;
use vitreous_compute::movie::detector::Defects;
use vitreous_compute::movie::kernel::Kernel;
use vitreous_compute::ops::warp::{GROUP, MovedFrame, TILE, Warp, WarpError, WarpPlan};

/// Names of the kernels.
const READY: &str = "ready_frame";
const PLACE: &str = "place_large_counts";
const REPLACE: &str = "replace_bad_pixels";
const CONTINUE: &str = "continue_frame";
const PLAN: &str = "plan_tiles";
const ADD: &str = "add_warped";

/// Tiles of the output, side by side, that a block of [`ADD`] owns, and its rows of threads.
const TILES: usize = 2;
const THREAD_ROWS: u32 = 8;

/// The family.
pub const FAMILY: Family = Family {
    name: "warp",
    ptx: include_str!("../ptx/warp.ptx"),
    kernels: &[READY, PLACE, REPLACE, CONTINUE, PLAN, ADD],
};

/// Scalars of the kernels; the same struct stands in `warp.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct WarpShape {
    /// Of a frame, pixels.
    width: i32,
    height: i32,
    /// Of the sums, pixels.
    columns: i32,
    rows: i32,
    /// Of the sums.
    tiles_x: i32,
    tiles_y: i32,
    /// Sums, and floats from a row of one to that of the next.
    terms: i32,
    stride: i32,
    /// Frames of this group.
    frames: i32,
    has_gain: i32,
    /// Of the frame that is made ready, and its place in the group.
    kind: i32,
    slot: i32,
    /// Items of a list.
    count: i32,
}

/// Where the pixels of a tile come from; the same struct stands in `warp.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct TilePlan {
    row: i32,
    column: i32,
    tap_y: i32,
    tap_x: i32,
}

/// Sums in the device's memory, or, where that failed, in the host's.
#[derive(Debug)]
pub enum GpuWarpedSums<R: Runtime> {
    /// On the device.
    Device(Box<DeviceSums<R>>),
    /// With the CPU twin.
    Host(CpuWarpedSums),
}

/// Sums and working memory on the device.
#[derive(Debug)]
pub struct DeviceSums<R: Runtime> {
    plan: WarpPlan,
    shape: WarpShape,
    /// `[rows, terms, stride]`.
    sums: Buffer<f32, R>,
    /// Frames made ready, `[GROUP, rows, columns]`.
    group: Buffer<f32, R>,
    /// `[GROUP, tiles_y, tiles_x]`.
    tiles: Buffer<TilePlan, R>,
    gain: Buffer<f32, R>,
    taps: Buffer<f32, R>,
}

impl<R: Runtime> DeviceSums<R> {
    /// Empty sums; the plan was checked.
    fn new(runtime: &R, plan: &WarpPlan) -> Result<Self, KernelError> {
        let [columns, rows] = plan.size;
        let stride = ImageStack::zeros(0, columns, plan.terms).stride();
        let (tiles_x, tiles_y) = (columns.div_ceil(TILE), rows.div_ceil(TILE));
        let shape = WarpShape {
            width: plan.detector.width as i32,
            height: plan.detector.height as i32,
            columns: columns as i32,
            rows: rows as i32,
            tiles_x: tiles_x as i32,
            tiles_y: tiles_y as i32,
            terms: plan.terms as i32,
            stride: stride as i32,
            frames: 0,
            has_gain: i32::from(plan.detector.gain.is_some()),
            kind: 0,
            slot: 0,
            count: 0,
        };
        Ok(Self {
            shape,
            sums: Buffer::zeros(runtime, rows * plan.terms * stride)?,
            group: Buffer::zeros(runtime, GROUP * rows * columns)?,
            tiles: Buffer::zeros(runtime, GROUP * tiles_x * tiles_y)?,
            gain: upload_gain(runtime, &plan.detector)?,
            taps: Buffer::upload(runtime, Kernel::default().table().as_flattened())?,
            plan: plan.clone(),
        })
    }

    /// Adds up to [`GROUP`] frames; after an error nothing of them was added.
    fn add_group(&mut self, runtime: &R, frames: &[MovedFrame<'_>]) -> Result<(), KernelError> {
        for (slot, frame) in frames.iter().enumerate() {
            self.make_ready(runtime, slot, frame)?;
        }
        let motion: Vec<f64> =
            frames.iter().flat_map(|frame| frame.motion.iter().flatten().copied()).collect();
        let motion = Buffer::upload(runtime, &motion)?;
        let weight = |term: usize, slot: usize| frames.get(slot).map_or(0.0, |frame| frame.weights[term]);
        let weights: Vec<f32> =
            (0..self.plan.terms).flat_map(|term| (0..GROUP).map(move |slot| weight(term, slot))).collect();
        let weights = Buffer::upload(runtime, &weights)?;
        let shape = WarpShape { frames: frames.len() as i32, ..self.shape };
        let (tiles_x, tiles_y) = (shape.tiles_x as usize, shape.tiles_y as usize);
        let launch = Launch::over(PLAN, tiles_x * tiles_y, frames.len());
        let mut arguments = [self.tiles.write(), motion.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `plan_tiles`; it writes one plan per tile and frame of the group, for which there
        // is room, and reads the polynomials of these frames.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        let launch = Launch {
            kernel: ADD,
            grid: [tiles_x.div_ceil(TILES) as u32, tiles_y as u32, 1],
            block: [(TILES * TILE) as u32, THREAD_ROWS, 1],
            shared_bytes: 0,
        };
        let mut arguments = [
            self.sums.write(),
            self.group.read(),
            self.tiles.read(),
            self.taps.read(),
            weights.read(),
            Argument::scalars(&shape),
        ];
        // SAFETY: the arguments are those of `add_warped`; the plans keep rows and columns within the frames and fractions
        // within the table, and it writes the pixels of the sums.
        unsafe { runtime.launch(&launch, &mut arguments) }
    }

    /// Puts a frame, corrected and continued beyond its edges, into its place of the group.
    fn make_ready(&mut self, runtime: &R, slot: usize, frame: &MovedFrame<'_>) -> Result<(), KernelError> {
        let sent = FrameBuffer::upload(runtime, frame.raw)?;
        let shape = WarpShape { slot: slot as i32, kind: sent.kind, ..self.shape };
        let launch = Launch::over(READY, shape.width as usize, (shape.height as usize).min(MOST_ROWS));
        let mut arguments =
            [self.group.write(), sent.raw.read(), self.gain.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `ready_frame`; raw frame and gain have the size of the plan, which was checked.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        if !sent.large.is_empty() {
            let shape = WarpShape { count: sent.large.len() as i32, ..shape };
            let launch = Launch::over(PLACE, sent.large.len(), 1);
            let mut arguments =
                [self.group.write(), sent.large.read(), self.gain.read(), Argument::scalars(&shape)];
            // SAFETY: the arguments are those of `place_large_counts`; the indices are pixels of the frame.
            unsafe { runtime.launch(&launch, &mut arguments) }?;
        }
        self.replace_bad_pixels(runtime, shape, frame.number)?;
        let beyond = self.plan.size[0] * self.plan.size[1] - shape.width as usize * shape.height as usize;
        if beyond == 0 {
            return Ok(());
        }
        let shape = WarpShape { count: beyond as i32, ..shape };
        let mut arguments = [self.group.write(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `continue_frame`; it writes the pixels beyond the frame and reads those within.
        unsafe { runtime.launch(&Launch::over(CONTINUE, beyond, 1), &mut arguments) }
    }

    fn replace_bad_pixels(
        &mut self,
        runtime: &R,
        shape: WarpShape,
        number: usize,
    ) -> Result<(), KernelError> {
        let stand_in = |defect| Defects::replacement(defect, number).map_or(-1, |index| index as i32);
        let pairs: Vec<[i32; 2]> =
            self.plan.defects.pixels.iter().map(|defect| [defect.index as i32, stand_in(defect)]).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let shape = WarpShape { count: pairs.len() as i32, ..shape };
        let pairs = Buffer::upload(runtime, &pairs)?;
        let launch = Launch::over(REPLACE, pairs.len(), 1);
        let mut arguments = [self.group.write(), pairs.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `replace_bad_pixels`; indices are pixels of the frame, and what stands in for one
        // is never itself replaced.
        unsafe { runtime.launch(&launch, &mut arguments) }
    }

    /// The sums in the host's memory.
    fn download(&self, runtime: &R) -> Result<ImageStack, WarpError> {
        let failed = |error: KernelError| WarpError::Device(error.to_string());
        let mut stack = ImageStack::zeros(self.plan.size[1], self.plan.size[0], self.plan.terms);
        stack.values_mut().copy_from_slice(&self.sums.download(runtime).map_err(failed)?);
        Ok(stack)
    }
}

impl<R: Runtime> Warp for Gpu<R> {
    type WarpedSums = GpuWarpedSums<R>;

    fn warped_sums(&self, plan: WarpPlan) -> Result<GpuWarpedSums<R>, WarpError> {
        plan.check()?;
        let rows = plan.size[1].div_ceil(TILE);
        let nothing = plan.size.contains(&0) || plan.terms == 0;
        if nothing || rows > MOST_ROWS || !can_be_indexed(plan.size) {
            return Ok(GpuWarpedSums::Host(Cpu.warped_sums(plan)?));
        }
        match DeviceSums::new(self.runtime(), &plan) {
            Ok(sums) => Ok(GpuWarpedSums::Device(Box::new(sums))),
            Err(error) => {
                self.remark(&error);
                Ok(GpuWarpedSums::Host(Cpu.warped_sums(plan)?))
            }
        }
    }

    fn add_warped(&self, into: &mut GpuWarpedSums<R>, frames: &[MovedFrame<'_>]) -> Result<(), WarpError> {
        let sums = match into {
            GpuWarpedSums::Host(sums) => return Cpu.add_warped(sums, frames),
            GpuWarpedSums::Device(sums) => sums,
        };
        sums.plan.check_frames(frames)?;
        for first in (0..frames.len()).step_by(GROUP) {
            let group = &frames[first..(first + GROUP).min(frames.len())];
            if let Err(error) = sums.add_group(self.runtime(), group) {
                self.remark(&error);
                let stack = sums.download(self.runtime())?;
                let mut host = CpuWarpedSums::new(sums.plan.clone(), stack);
                Cpu.add_warped(&mut host, &frames[first..])?;
                *into = GpuWarpedSums::Host(host);
                return Ok(());
            }
        }
        Ok(())
    }

    fn collect_warped(&self, sums: GpuWarpedSums<R>) -> Result<ImageStack, WarpError> {
        match sums {
            GpuWarpedSums::Device(sums) => sums.download(self.runtime()),
            GpuWarpedSums::Host(sums) => Cpu.collect_warped(sums),
        }
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
            assert!(parity::warp::checksum(&gpu) == parity::warp::checksum(&Cpu), "{failing:?}");
            assert!(gpu.fell_back(), "{failing:?}");
        }
    }
}
