//! Images in polar Fourier coordinates: the grid of rings ([`grid`]), and the way from an image to its samples and back
//! ([`sample`]). Pose search and 2-D classification work on these samples, where an in-plane rotation is exact.

pub mod grid;
pub mod sample;

pub use grid::{PolarGrid, Ring};
pub use sample::ImageSampler;
