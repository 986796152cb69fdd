//! The parity suites on a GPU, where there is one.
#![allow(clippy::print_stdout, reason = "a test says why it skips")]

mod suites;

use vitreous_compute::device::Device;
use vitreous_compute::parity;
use vitreous_kernels_cuda::families::FAMILIES;
use vitreous_kernels_cuda::{AnyDevice, CudaDevice, CudaError};

/// The first device, or `None` with a line that says why there is none.
fn device() -> Option<AnyDevice> {
    match CudaDevice::open(0) {
        Ok(device) => Some(AnyDevice::Gpu(device)),
        Err(error) if error.is_absence() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("there is a CUDA device, but: {error}"),
    }
}

#[test]
fn parity_on_the_gpu() {
    let Some(device) = device() else { return };
    println!("device: {}, {} MiB free", device.name(), device.free_bytes() >> 20);
    for family in FAMILIES {
        let outcomes = suites::of_family(family.name, &device);
        parity::assert_all(&outcomes);
        println!("{}: {} outcomes hold", family.name, outcomes.len());
    }
}

#[test]
fn a_device_that_does_not_exist_is_a_named_condition() {
    match CudaDevice::open(4096) {
        Err(CudaError::NoSuchDevice { wanted: 4096, visible }) => assert!(visible > 0),
        Err(error) => assert!(error.is_absence(), "{error}"),
        Ok(_) => panic!("there should be no device 4096"),
    }
}
