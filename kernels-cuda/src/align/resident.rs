//! Images in the device's memory: what an alignment reads of them, once.

use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, Runtime};
use bytemuck::{Pod, Zeroable};
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_compute::cpu::align::lattice::Lattice;
use vitreous_compute::likelihood::ImageModel;
use vitreous_compute::ops::align::AlignImage;

/// Reads images at the points of a lattice.
pub const SAMPLES: &str = "align_samples";

/// Images of one batch: of small boxes it takes many to fill a device.
const MOST_IMAGES: usize = 16_384;

/// Coefficients that are gathered in the host's memory for one batch, bytes.
const MOST_GATHERED_BYTES: usize = 256 << 20;

/// One image at one point; the struct of `align.cu`, as are the following.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C, align(16))]
pub struct Sample {
    re: f32,
    im: f32,
    transfer: f32,
    over_noise: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct ImageTransfer {
    ctf: [f64; 9],
    amplitude: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct SampleShape {
    points: i32,
    end: i32,
    shells: i32,
}

/// The first points of a lattice, that images are read at.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    lattice: &'a Lattice,
    points: usize,
    /// Largest coordinate of these points.
    end: usize,
}

impl<'a> Held<'a> {
    /// The first `points` points.
    pub fn new(lattice: &'a Lattice, points: usize) -> Self {
        // points come by rings
        let end = points.checked_sub(1).map_or(0.0, |last| lattice.radius[last].ceil()) as usize;
        Self { lattice, points, end }
    }

    /// The lattice.
    pub fn lattice(&self) -> &'a Lattice {
        self.lattice
    }

    /// How many points.
    pub fn points(&self) -> usize {
        self.points
    }

    /// Coefficients of an image that are sent.
    fn window_len(&self) -> usize {
        (2 * self.end + 1) * (self.end + 1)
    }

    /// Noise shells that are sent: linear interpolation needs one beyond the last point.
    fn shells(&self) -> usize {
        self.end + 2
    }

    /// Images of one batch, of which each takes `pose_bytes` for its poses.
    pub fn batch<R: Runtime>(&self, gpu: &Gpu<R>, pose_bytes: usize) -> usize {
        let gathered = self.window_len() * size_of::<Float2>();
        let image = self.points * size_of::<Sample>()
            + gathered
            + self.shells() * size_of::<f64>()
            + size_of::<ImageTransfer>()
            + pose_bytes;
        // coordinates, window, places by shell
        let lattice = self.points * (size_of::<Float2>() + size_of::<f32>() + size_of::<i32>());
        gpu.batch(image, lattice, (MOST_GATHERED_BYTES / gathered.max(1)).min(MOST_IMAGES))
    }

    /// The window of an image's coefficients in which the points lie: qy from `-end`, qx from 0.
    fn copy_window(&self, model: &ImageModel<'_>, to: &mut [Float2]) {
        let data = model.image.data();
        let (rows, width) = (data.nrows(), self.end + 1);
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            let from = data.row((rows + row - self.end) % rows);
            for (to, &Complex32 { re, im }) in to.iter_mut().zip(from) {
                *to = Float2 { x: re, y: im };
            }
        }
    }

    /// The noise of an image by shell, as [`vitreous_compute::likelihood::spectrum_at`] continues it.
    fn noise<'b>(&self, model: &ImageModel<'b>) -> impl Iterator<Item = f64> + use<'b> {
        let shells = model.noise;
        let last = shells.last().copied().unwrap_or(1.0);
        (0..self.shells()).map(move |shell| shells.get(shell).copied().unwrap_or(last))
    }
}

/// Images of a batch in the device's memory.
#[derive(Debug)]
pub struct Resident<R: Runtime> {
    /// Coordinates of the points.
    pub points: Buffer<Float2, R>,
    /// `[images][points]`.
    pub samples: Buffer<Sample, R>,
}

impl<R: Runtime> Resident<R> {
    /// Reads images at the points held of a lattice.
    ///
    /// # Errors
    /// The device has not enough memory, or failed.
    pub fn read(runtime: &R, held: &Held<'_>, images: &[AlignImage<'_>]) -> Result<Self, KernelError> {
        let mut samples = Buffer::<Sample, R>::zeros(runtime, images.len() * held.points)?;
        let q = |point: usize| Float2 { x: held.lattice.qx[point], y: held.lattice.qy[point] };
        let points: Vec<Float2> = (0..held.points).map(q).collect();
        let points = Buffer::upload(runtime, &points)?;
        let mut windows = vec![Float2::default(); images.len() * held.window_len()];
        windows
            .par_chunks_exact_mut(held.window_len())
            .zip(images)
            .for_each(|(window, image)| held.copy_window(&image.model, window));
        let windows = Buffer::upload(runtime, &windows)?;
        let transfer = |image: &AlignImage<'_>| ImageTransfer {
            ctf: image.model.lattice_ctf().coefficients(),
            amplitude: image.model.amplitude,
        };
        let transfers: Vec<ImageTransfer> = images.iter().map(transfer).collect();
        let transfers = Buffer::upload(runtime, &transfers)?;
        let noise: Vec<f64> = images.iter().flat_map(|image| held.noise(&image.model)).collect();
        let noise = Buffer::upload(runtime, &noise)?;
        let shape =
            SampleShape { points: held.points as i32, end: held.end as i32, shells: held.shells() as i32 };
        let launch = Launch::over(SAMPLES, held.points, images.len());
        let mut arguments = [
            samples.write(),
            windows.read(),
            points.read(),
            transfers.read(),
            noise.read(),
            Argument::scalars(&shape),
        ];
        // SAFETY: the arguments are those of `align_samples` in number, order and size; the arrays have the lengths that
        // `SampleShape` states, and no coordinate of a point held is larger than its `end`.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        Ok(Self { points, samples })
    }
}

/// Points by shell in the device's memory.
#[derive(Debug)]
pub struct ResidentShells<R: Runtime> {
    /// The points of the lattice, shell after shell.
    pub order: Buffer<i32, R>,
    /// Where each shell's begin there, and the end.
    pub starts: Buffer<i32, R>,
    /// Points of each shell.
    pub points: Vec<f64>,
}

impl<R: Runtime> ResidentShells<R> {
    /// Of `shells` shells; points beyond count to the last.
    ///
    /// # Errors
    /// The device has not enough memory, or copying failed.
    pub fn new(runtime: &R, lattice: &Lattice, shells: usize) -> Result<Self, KernelError> {
        let shell_of = |point: i32| (lattice.shell[point as usize] as usize).min(shells.saturating_sub(1));
        let mut order: Vec<i32> = (0..lattice.points() as i32).collect();
        order.sort_by_key(|&point| shell_of(point));
        let starts: Vec<i32> = (0..=shells)
            .map(|shell| order.partition_point(|&point| shell_of(point) < shell) as i32)
            .collect();
        Ok(Self {
            order: Buffer::upload(runtime, &order)?,
            points: starts.windows(2).map(|ends| f64::from(ends[1] - ends[0])).collect(),
            starts: Buffer::upload(runtime, &starts)?,
        })
    }
}
