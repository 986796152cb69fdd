//! How fast the kernels are, as parts of what the device can do at most, which is measured in the same run. Without a GPU it
//! says so and ends.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it measures")]

use ndarray::Array3;
use num_complex::Complex32;
use std::time::Instant;
use vitreous_compute::device::Device;
use vitreous_compute::ops::ceilings::Ceilings;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedPoint, Insert, SliceBatch};
use vitreous_compute::ops::project::Project;
use vitreous_compute::parity::project::{blob_volume, rotations};
use vitreous_kernels_cuda::CudaDevice;

type Measured<T> = Result<T, Box<dyn std::error::Error>>;

/// What the device can do, per second.
struct Limits {
    /// Bytes read and written in copying within its memory.
    copied_bytes: f64,
    /// Single-precision operations.
    operations: f64,
}

/// What one run of a family does.
struct Work {
    items: usize,
    /// Bytes that have to be read and written.
    bytes: f64,
    operations: f64,
}

fn main() {
    let device = match CudaDevice::open(0) {
        Ok(device) => device,
        Err(error) => return println!("skipped: {error}"),
    };
    println!("device: {}, {} MiB free", device.name(), device.free_bytes() >> 20);
    if let Err(error) = measure(&device) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn measure(device: &CudaDevice) -> Measured<()> {
    let limits = limits(device)?;
    insertion(device, &limits)?;
    projection(device, &limits)
}

fn limits(device: &CudaDevice) -> Measured<Limits> {
    let values = vec![1f32; 256 << 20];
    let copy = device.copy(&values, 20)?;
    let [to, from] = device.transfer(&values[..64 << 20], 5)?;
    let chains = device.multiply_add(1 << 22, 4096, 5)?;
    println!("copy within the device  {:8.1} GB/s", copy.rate() / 1e9);
    println!("to the device           {:8.1} GB/s", to.rate() / 1e9);
    println!("from the device         {:8.1} GB/s", from.rate() / 1e9);
    println!("multiply-add            {:8.1} TFLOP/s", chains.rate() / 1e12);
    Ok(Limits { copied_bytes: copy.rate(), operations: chains.rate() })
}

/// Reports the fastest of three runs.
fn report(what: &str, limits: &Limits, work: &Work, mut run: impl FnMut() -> Measured<()>) -> Measured<()> {
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        run()?;
        seconds = seconds.min(begun.elapsed().as_secs_f64());
    }
    println!(
        "{what:<28} {:9.0} a second, {:5.1} % of copying, {:5.1} % of multiply-add",
        work.items as f64 / seconds,
        100.0 * work.bytes / seconds / limits.copied_bytes,
        100.0 * work.operations / seconds / limits.operations
    );
    Ok(())
}

/// Slices of a box of 256 into the grid of one half; that they are sent is part of the time.
fn insertion(device: &CudaDevice, limits: &Limits) -> Measured<()> {
    let (n, images) = (256, 512);
    let grid = PaddedGrid::for_sums(n, 2.0, PaddedGrid::last_shell_end(n));
    let numerator = Array3::from_elem((images, n, n / 2 + 1), Complex32::new(0.5, 0.25));
    let weight = Array3::from_elem(numerator.dim(), 0.5f32);
    let rotations = rotations(images, 1);
    let batch = SliceBatch {
        numerator: numerator.view(),
        weight: weight.view(),
        rotations: &rotations,
        bends: &[],
        rmax: 0.5 * n as f64,
    };
    let mut sums = device.accumulator(grid, FixedPoint::new(1.0, 1.0, 100_000))?;
    let coefficients = images * batch.row_ends(&grid).iter().sum::<usize>();
    // eight cells of three sums of eight bytes, read and written
    let work = Work { items: images, bytes: (coefficients * 8 * 3 * 16) as f64, operations: 0.0 };
    report("insert, box 256", limits, &work, || {
        device.insert(&mut sums, &batch)?;
        device.synchronize();
        Ok(())
    })
}

/// Slices of a box of 128; that they are fetched is part of the time.
fn projection(device: &CudaDevice, limits: &Limits) -> Measured<()> {
    let (n, slices) = (128, 2048);
    let slicer = device.slicer(blob_volume(n, 1).view(), 2.0, 0.5 * n as f64)?;
    let rotations = rotations(slices, 2);
    // eight coefficients read for one written
    let work = Work { items: slices, bytes: (slices * n * (n / 2 + 1) * 8 * 9) as f64, operations: 0.0 };
    report("project, box 128", limits, &work, || {
        device.slices(&slicer, &rotations, 0.5 * n as f64)?;
        Ok(())
    })
}
