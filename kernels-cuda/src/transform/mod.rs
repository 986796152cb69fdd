//! Family `transform`: Fourier transforms of batches of images. Contract: [`vitreous_compute::ops::transform`].
//!
//! The kernels are our own, so that they run, and are tested, without a GPU. Lengths may have any prime factors up to
//! [`plan::LARGEST_RADIX`]; images of other sizes are transformed by the CPU twin. For images that already lie in the
//! device's memory other families use [`ImageTransform`], and kernels that do something of their own with lines
//! `transform.cuh`, with [`plan::LinePlan`] and [`plan::Block`].

mod image;
pub mod plan;

pub use image::ImageTransform;

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Buffer, Float2, KernelError, MOST_ROWS, Runtime};
use ndarray::{Array2, ArrayView2};
use num_complex::Complex32;
use std::ops::Range;
use vitreous_compute::cpu::transform::{forward_of, inverse_of};
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::ops::transform::{PhaseOrigin, Transform, TransformError, common_size};

const ROWS_FORWARD: &str = "transform_rows_forward";
const ROWS_INVERSE: &str = "transform_rows_inverse";
const LINES_IN_PLACE: &str = "transform_lines_in_place";
const LINES: &str = "transform_lines";
const PACK_ROWS: &str = "transform_pack_rows";
const PART_ROWS: &str = "transform_part_rows";
const JOIN_ROWS: &str = "transform_join_rows";
const UNPACK_ROWS: &str = "transform_unpack_rows";

/// The family.
pub const FAMILY: Family = Family {
    name: "transform",
    ptx: include_str!("../../ptx/transform.ptx"),
    kernels: &[
        ROWS_FORWARD,
        ROWS_INVERSE,
        LINES_IN_PLACE,
        LINES,
        PACK_ROWS,
        PART_ROWS,
        JOIN_ROWS,
        UNPACK_ROWS,
    ],
};

impl<R: Runtime> Gpu<R> {
    /// Images of one run.
    fn images_at_once(&self, ny: usize, nx: usize) -> usize {
        self.batch(ImageTransform::<R>::bytes_each(ny, nx), 0, MOST_ROWS)
    }

    fn forward_run(
        &self,
        plan: &ImageTransform<R>,
        images: &[ArrayView2<'_, f32>],
        origin: [usize; 2],
    ) -> Result<Vec<HalfImage>, KernelError> {
        let (ny, nx) = images[0].dim();
        let mut pixels: Vec<f32> = Vec::with_capacity(images.len() * ny * nx);
        images.iter().for_each(|image| match image.as_slice() {
            Some(all) => pixels.extend_from_slice(all),
            None => pixels.extend(image.iter()),
        });
        let pixels = Buffer::upload(self.runtime(), &pixels)?;
        let half = plan.forward(self.runtime(), &pixels, images.len(), origin)?;
        drop(pixels);
        let half: Vec<Complex32> = as_complex(half.download(self.runtime())?);
        let mut halves = Vec::with_capacity(images.len());
        for one in half.chunks_exact(plan.coefficients()) {
            let mut image = HalfImage::zeros(ny, nx);
            image.data_mut().iter_mut().zip(one).for_each(|(to, from)| *to = *from);
            halves.push(image);
        }
        Ok(halves)
    }

    fn inverse_run(
        &self,
        plan: &ImageTransform<R>,
        halves: &[HalfImage],
        origin: [usize; 2],
    ) -> Result<Vec<Array2<f32>>, KernelError> {
        let (ny, nx) = (halves[0].ny(), halves[0].nx());
        let mut coefficients: Vec<Float2> = Vec::with_capacity(halves.len() * plan.coefficients());
        halves.iter().for_each(|half| {
            coefficients.extend(half.data().iter().map(|value| Float2 { x: value.re, y: value.im }));
        });
        let half = Buffer::upload(self.runtime(), &coefficients)?;
        let pixels = plan.inverse(self.runtime(), half, halves.len(), origin)?.download(self.runtime())?;
        let image = |one: &[f32]| {
            let mut image = Array2::zeros((ny, nx));
            image.iter_mut().zip(one).for_each(|(to, from)| *to = *from);
            image
        };
        Ok(pixels.chunks_exact(plan.pixels()).map(image).collect())
    }

    /// `on_device` for all runs where there is a plan, else `on_host`.
    fn transformed<T>(
        &self,
        count: usize,
        (ny, nx): (usize, usize),
        on_device: &dyn Fn(&ImageTransform<R>, Range<usize>) -> Result<Vec<T>, KernelError>,
        on_host: &dyn Fn(Range<usize>) -> Vec<T>,
    ) -> Vec<T> {
        match ImageTransform::new(self.runtime(), ny, nx) {
            Ok(Some(plan)) => self.in_batches(
                count,
                self.images_at_once(ny, nx),
                &|run: Range<usize>| on_device(&plan, run),
                on_host,
            ),
            Ok(None) => on_host(0..count),
            Err(error) => {
                self.remark(&error);
                on_host(0..count)
            }
        }
    }
}

fn as_complex(values: Vec<Float2>) -> Vec<Complex32> {
    values.into_iter().map(|value| Complex32::new(value.x, value.y)).collect()
}

impl<R: Runtime> Transform for Gpu<R> {
    fn forward(
        &self,
        images: &[ArrayView2<'_, f32>],
        origin: PhaseOrigin,
    ) -> Result<Vec<HalfImage>, TransformError> {
        let (ny, nx) = common_size(images.iter().map(ArrayView2::dim))?;
        let on_device = |plan: &ImageTransform<R>, run: Range<usize>| {
            self.forward_run(plan, &images[run], origin.pixel(ny, nx))
        };
        let on_host =
            |run: Range<usize>| images[run].iter().map(|image| forward_of(*image, origin)).collect();
        Ok(self.transformed(images.len(), (ny, nx), &on_device, &on_host))
    }

    fn inverse(&self, halves: &[HalfImage], origin: PhaseOrigin) -> Result<Vec<Array2<f32>>, TransformError> {
        let (ny, nx) = common_size(halves.iter().map(|half| (half.ny(), half.nx())))?;
        let on_device = |plan: &ImageTransform<R>, run: Range<usize>| {
            self.inverse_run(plan, &halves[run], origin.pixel(ny, nx))
        };
        let on_host = |run: Range<usize>| halves[run].iter().map(|half| inverse_of(half, origin)).collect();
        Ok(self.transformed(halves.len(), (ny, nx), &on_device, &on_host))
    }
}
