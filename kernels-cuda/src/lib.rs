//! CUDA twins of the operation families of `vitreous-compute`: for each `<family>.cu`, its launches and the family's trait
//! in `<family>.rs`, and its checked-in PTX in `ptx/<family>.ptx`. [`families::FAMILIES`] lists them.
//!
//! Nothing of CUDA is needed to build or start: the driver is loaded when [`CudaDevice::open`] is called, and what is
//! missing is a named condition ([`CudaError`]). README.md says how the PTX is made, how kernels are tested without a
//! GPU, and how a family is added.
#![allow(unsafe_code)]

pub mod align;
pub mod any_device;
pub mod ceilings;
pub mod decimate;
pub mod driver;
#[cfg(test)]
mod failing_runtime;
pub mod families;
pub mod gpu;
pub mod insert;
pub mod motion_correlation;
pub mod movie_frames;
pub mod project;
pub mod runtime;
pub mod template_correlation;
pub mod tile_spectra;
pub mod transform;
pub mod warp;

pub use any_device::AnyDevice;
pub use driver::{CudaDevice, CudaError};
pub use gpu::Gpu;
