//! Family `decimate`: the launches of `decimate.cu`. Contract: [`vitreous_compute::ops::decimate`].
//!
//! Gain and taps stay on the device for all frames of a movie; each frame is sent as it was read. The result equals the CPU
//! twin's bit for bit.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::movie_frames::{FrameBuffer, can_be_indexed, upload_gain};
use crate::runtime::{Argument, Buffer, KernelError, Launch, MOST_ROWS, Runtime, SHARED_BYTES};
use bytemuck::{Pod, Zeroable};
use ndarray::Array2;
use vitreous_compute::device::Cpu;
use vitreous_compute::movie::detector::Detector;
use vitreous_compute::movie::frame::RawFrame;
use vitreous_compute::ops::decimate::{Decimate, DecimationFilter};

/// Names of the kernels.
const EXPAND: &str = "expand_frame";
const EXPAND_LARGE: &str = "expand_large_counts";
const DECIMATE: &str = "decimate_frame";

/// Threads of a block of [`DECIMATE`]: the columns and rows of its tile of the small copy.
const THREADS: [u32; 2] = [32, 8];

/// The family.
pub const FAMILY: Family = Family {
    name: "decimate",
    ptx: include_str!("../ptx/decimate.ptx"),
    kernels: &[EXPAND, EXPAND_LARGE, DECIMATE],
};

/// Scalars of the kernels; the same struct stands in `decimate.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct DecimationShape {
    /// Of the frame, pixels.
    width: i32,
    height: i32,
    /// Of the small copy, pixels.
    columns: i32,
    rows: i32,
    /// Pixels of the frame per pixel of the copy.
    block: i32,
    /// Taps, and where the first lies.
    count: i32,
    first: i32,
    /// Columns of the small copy that a block of threads makes.
    tile_columns: i32,
    has_gain: i32,
    kind: i32,
    /// Counts that half a byte cannot hold.
    large: i32,
}

/// What all frames of a movie have in common.
#[derive(Debug)]
pub struct GpuDecimator<R: Runtime> {
    pub(crate) host: (Detector, DecimationFilter),
    /// `None`: the CPU twin does it.
    device: Option<OnDevice<R>>,
}

/// The part on the device.
#[derive(Debug)]
struct OnDevice<R: Runtime> {
    shape: DecimationShape,
    gain: Buffer<f32, R>,
    taps: Buffer<f32, R>,
}

/// Bytes of a block's lines.
fn shared_bytes(tile_columns: usize, filter: &DecimationFilter) -> usize {
    let length = (tile_columns - 1) * filter.block() + filter.taps().len();
    THREADS[1] as usize * length * size_of::<f32>()
}

impl<R: Runtime> OnDevice<R> {
    /// `None` where the kernels cannot do it: nothing to make, or more than they can count or hold in shared memory.
    fn new(
        runtime: &R,
        (detector, filter): &(Detector, DecimationFilter),
    ) -> Result<Option<Self>, KernelError> {
        let (width, height) = (detector.width, detector.height);
        let (rows, columns) = filter.shape(width, height);
        let fits = |tile_columns: &usize| shared_bytes(*tile_columns, filter) <= SHARED_BYTES;
        let tile_columns = (1..=THREADS[0] as usize).rev().find(fits);
        let indexed = can_be_indexed([width, height]) && rows.div_ceil(THREADS[1] as usize) <= MOST_ROWS;
        let Some(tile_columns) = tile_columns.filter(|_| rows * columns > 0 && indexed) else {
            return Ok(None);
        };
        let shape = DecimationShape {
            width: width as i32,
            height: height as i32,
            columns: columns as i32,
            rows: rows as i32,
            block: filter.block() as i32,
            count: filter.taps().len() as i32,
            first: filter.first() as i32,
            tile_columns: tile_columns as i32,
            has_gain: i32::from(detector.gain.is_some()),
            kind: 0,
            large: 0,
        };
        let gain = upload_gain(runtime, detector)?;
        Ok(Some(Self { shape, gain, taps: Buffer::upload(runtime, filter.taps())? }))
    }

    /// The small copy of a frame of the right size.
    fn decimate(
        &self,
        runtime: &R,
        filter: &DecimationFilter,
        frame: &RawFrame,
    ) -> Result<Array2<f32>, KernelError> {
        let sent = FrameBuffer::upload(runtime, frame)?;
        let shape = DecimationShape { kind: sent.kind, large: sent.large.len() as i32, ..self.shape };
        let (width, height) = (shape.width as usize, shape.height as usize);
        let (rows, columns) = (shape.rows as usize, shape.columns as usize);
        let mut expanded = Buffer::<f32, R>::zeros(runtime, width * height)?;
        let mut small = Buffer::<f32, R>::zeros(runtime, rows * columns)?;
        let launch = Launch::over(EXPAND, width, height.min(MOST_ROWS));
        let mut arguments = [expanded.write(), sent.raw.read(), self.gain.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `expand_frame`; frame and gain have the size of the shape.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        if !sent.large.is_empty() {
            let launch = Launch::over(EXPAND_LARGE, sent.large.len(), 1);
            let mut arguments =
                [expanded.write(), sent.large.read(), self.gain.read(), Argument::scalars(&shape)];
            // SAFETY: the arguments are those of `expand_large_counts`; the indices are pixels of the frame.
            unsafe { runtime.launch(&launch, &mut arguments) }?;
        }
        let tile_columns = shape.tile_columns as usize;
        let launch = Launch {
            kernel: DECIMATE,
            grid: [columns.div_ceil(tile_columns) as u32, rows.div_ceil(THREADS[1] as usize) as u32, 1],
            block: [THREADS[0], THREADS[1], 1],
            shared_bytes: shared_bytes(tile_columns, filter) as u32,
        };
        let mut arguments = [small.write(), expanded.read(), self.taps.read(), Argument::scalars(&shape)];
        // SAFETY: the arguments are those of `decimate_frame`, the shared memory has room for its lines; it writes the pixels
        // of the small copy and reads those of the frame, held within its edges.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        let values = small.download(runtime)?;
        Array2::from_shape_vec((rows, columns), values).map_err(|error| KernelError::Call {
            doing: "fetching a small copy".into(),
            reason: error.to_string(),
        })
    }
}

impl<R: Runtime> Decimate for Gpu<R> {
    type Decimator = GpuDecimator<R>;

    fn decimator(&self, detector: &Detector, block: usize) -> GpuDecimator<R> {
        let host = (detector.clone(), DecimationFilter::new(block));
        let device = OnDevice::new(self.runtime(), &host).unwrap_or_else(|error| {
            self.remark(&error);
            None
        });
        GpuDecimator { host, device }
    }

    fn decimate(&self, with: &GpuDecimator<R>, frame: &RawFrame) -> Array2<f32> {
        let detector = &with.host.0;
        let fits = frame.pixels(detector.width) == detector.width * detector.height;
        let Some(device) = with.device.as_ref().filter(|_| fits) else {
            return Cpu.decimate(&with.host, frame);
        };
        device.decimate(self.runtime(), &with.host.1, frame).unwrap_or_else(|error| {
            self.remark(&error);
            Cpu.decimate(&with.host, frame)
        })
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
            assert!(parity::decimate::checksum(&gpu) == parity::decimate::checksum(&Cpu), "{failing:?}");
            assert!(gpu.fell_back(), "{failing:?}");
        }
    }
}
