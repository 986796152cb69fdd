//! Fourier transforms of images and volumes, in the layout of [`vitreous_model::conventions`]: single precision,
//! unnormalised forward, `1/N` per axis in the inverse, a real array's transform kept as its half with `qx ≥ 0`.
//!
//! What an array holds is its type: real pixels are ndarrays, transforms are [`HalfImage`] and [`HalfVolume`]. Where
//! phases are counted from stands in the name of the function that made them: [`HalfImage::of`] counts from pixel 0,
//! [`HalfImage::of_box`] from the centre of the box, and [`HalfImage::into_pixels`], [`HalfImage::into_box`] undo them.

mod cropped;
mod image;
mod lanes;
mod mix;
mod plans;
mod radial;
mod resample;
mod volume;

#[cfg(test)]
mod tests;

pub use cropped::CroppedForward;
pub use image::HalfImage;
pub use mix::{ImageStack, ROW_MULTIPLE};
pub use radial::{
    friedel_count, high_pass_weight, low_pass_weight, radius_of, shell_power, shell_power_volume, shells,
};
pub use resample::{next_5_smooth, resample_box, resample_image, resample_volume};
pub use volume::HalfVolume;
