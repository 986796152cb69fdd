//! Frames of a movie in a device's memory, as they were read: what families of movies share. `movie_frames.cuh` is the same
//! for kernels.

use crate::runtime::{Buffer, KernelError, Runtime};
use bytemuck::{Pod, Zeroable};
use vitreous_compute::movie::detector::Detector;
use vitreous_compute::movie::frame::RawFrame;

/// A count that half a byte cannot hold; the same struct stands in `movie_frames.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct LargeCount {
    /// Index in the frame.
    index: i32,
    value: f32,
}

/// A frame on the device, gain not applied.
#[derive(Debug)]
pub struct FrameBuffer<R: Runtime> {
    /// Its values.
    pub raw: Buffer<u8, R>,
    /// How they lie: `FrameKind` of `movie_frames.cuh`.
    pub kind: i32,
    /// Counts that half a byte cannot hold.
    pub large: LargeCounts<R>,
}

/// A list of large counts.
#[derive(Debug)]
pub struct LargeCounts<R: Runtime>(Buffer<LargeCount, R>);

impl<R: Runtime> LargeCounts<R> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As what a kernel reads.
    pub fn read(&self) -> crate::runtime::Argument<'_, R::Memory> {
        self.0.read()
    }
}

impl<R: Runtime> FrameBuffer<R> {
    /// Sends a frame.
    ///
    /// # Errors
    /// There is not enough memory, or copying failed.
    pub fn upload(runtime: &R, frame: &RawFrame) -> Result<Self, KernelError> {
        let (kind, bytes, large): (i32, &[u8], &[(u32, u8)]) = match frame {
            RawFrame::Counts(counts) => (0, counts.packed(), counts.large()),
            RawFrame::Bytes(values) => (1, values, &[]),
            RawFrame::Floats(values) => (2, bytemuck::cast_slice(values), &[]),
        };
        let large: Vec<LargeCount> = large
            .iter()
            .map(|&(index, value)| LargeCount { index: index as i32, value: f32::from(value) })
            .collect();
        let large = LargeCounts(Buffer::upload(runtime, &large)?);
        Ok(Self { raw: Buffer::upload(runtime, bytes)?, kind, large })
    }
}

/// The gain reference on the device; a single value that nothing reads, where there is none.
///
/// # Errors
/// There is not enough memory, or copying failed.
pub fn upload_gain<R: Runtime>(runtime: &R, detector: &Detector) -> Result<Buffer<f32, R>, KernelError> {
    Buffer::upload(runtime, detector.gain.as_deref().unwrap_or(&[1.0]))
}

/// Whether pixels of the size can be counted by the kernels.
pub fn can_be_indexed([width, height]: [usize; 2]) -> bool {
    width.checked_mul(height).is_some_and(|pixels| i32::try_from(pixels).is_ok())
}
