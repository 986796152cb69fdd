//! How large images become, and how they become so.

use ndarray::{Array2, s};
use vitreous_compute::fourier::{next_5_smooth, resample_box};
use vitreous_jobs::downsample_particles::DownsampleParticles;
use vitreous_model::conventions::centre;
use vitreous_model::params::BadParam;

/// Smallest box that is made, pixels; as `extract-particles` has it.
const LEAST_BOX: usize = 16;

/// Boxes of the images, from the source to the result, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boxes {
    /// Of the source.
    pub source: usize,
    /// That is cut out of its middle.
    pub crop: usize,
    /// Of the result.
    pub output: usize,
}

impl Boxes {
    /// Of the parameters, for images of `source` pixels of `pixel_size_a`.
    ///
    /// # Errors
    /// A box that is larger than the images, or a pixel size that is finer than theirs or leaves no image.
    pub fn of(params: &DownsampleParticles, source: usize, pixel_size_a: f64) -> Result<Self, BadParam> {
        let fit = |key: &str, size: u32, largest: usize| {
            let why = format!("must not be larger than the images ({largest} px)");
            BadParam::unless(size as usize <= largest, key, size, &why).map(|()| size as usize)
        };
        let crop = params.crop_box.map_or(Ok(source), |size| fit("crop_box", size, source))?;
        let output = match (params.output_box, params.pixel_size) {
            (Some(size), _) => fit("output_box", size, crop)?,
            (None, Some(wanted_a)) => fast_box(crop, pixel_size_a, wanted_a)?,
            (None, None) => crop,
        };
        Ok(Self { source, crop, output })
    }

    /// Pixel size of the result, Å: cropping in Fourier space keeps the length of the edge.
    pub fn pixel_size_a(self, source_a: f64) -> f64 {
        source_a * self.crop as f64 / self.output as f64
    }

    /// An image `[source, source]` as `[output, output]`; the centre pixel `n/2` stays the centre pixel.
    pub fn apply(self, image: Array2<f32>) -> Array2<f32> {
        let cropped = if self.crop == self.source { image } else { self.cut(&image) };
        if self.output == self.crop { cropped } else { resample_box(cropped.view(), self.output) }
    }

    fn cut(self, image: &Array2<f32>) -> Array2<f32> {
        let first = centre(self.source) - centre(self.crop);
        let range = first..first + self.crop;
        image.slice(s![range.clone(), range]).as_standard_layout().into_owned()
    }
}

/// The smallest even box that transforms fast and whose pixels are not coarser than `wanted_a`; not larger than `crop`.
fn fast_box(crop: usize, pixel_size_a: f64, wanted_a: f64) -> Result<usize, BadParam> {
    // a pixel size that was copied from a report has lost its last digits
    const SLACK: f64 = 1e-6;
    if wanted_a < pixel_size_a * (1.0 - SLACK) {
        let why = format!("must not be finer than that of the images, {pixel_size_a} Å");
        return Err(BadParam::new("pixel_size", wanted_a, why));
    }
    let least = crop as f64 * pixel_size_a / wanted_a;
    let output = (2 * next_5_smooth((least / 2.0 - SLACK).ceil() as usize)).min(crop);
    if output < LEAST_BOX {
        let why = format!("leaves images of {output} px, and {LEAST_BOX} px are the least");
        return Err(BadParam::new("pixel_size", wanted_a, why));
    }
    Ok(output)
}
