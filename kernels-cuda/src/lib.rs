//! CUDA twins of the operation families of `vitreous-compute`: for each `<family>.cu`, its launch in `<family>.rs`, and
//! its checked-in PTX in `ptx/<family>.ptx`.
//!
//! Nothing of CUDA is needed to build or start: the driver is loaded when [`CudaDevice::open`] is called, and what is
//! missing is a named condition ([`CudaError`]). README.md says how the PTX is made, how kernels are tested without a
//! GPU, and how a family is added.

pub mod device;
pub mod insert;
pub mod launch;

pub use device::{CudaDevice, CudaError};
