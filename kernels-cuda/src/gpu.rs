//! A device made of a runtime: the families are implemented on it, each in its own file.

use crate::runtime::{KernelError, Runtime};
use std::sync::atomic::{AtomicBool, Ordering};
use vitreous_compute::device::Device;

/// A processor that runs the kernels of this crate.
#[derive(Debug)]
pub struct Gpu<R> {
    runtime: R,
    failed: AtomicBool,
}

impl<R: Runtime> Gpu<R> {
    /// With a runtime that knows all kernels of [`crate::families::FAMILIES`].
    pub fn new(runtime: R) -> Self {
        Self { runtime, failed: AtomicBool::new(false) }
    }

    /// What runs the kernels.
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// How many items of `bytes_each` fit into the free memory beside `fixed_bytes`, between 1 and `most`. A quarter of the
    /// free memory is left to others.
    pub fn batch(&self, bytes_each: usize, fixed_bytes: usize, most: usize) -> usize {
        let free = usize::try_from(self.runtime.free_bytes()).unwrap_or(usize::MAX);
        let usable = (free - free / 4).saturating_sub(fixed_bytes);
        (usable / bytes_each.max(1)).clamp(1, most.max(1))
    }

    /// The result of `on_device` for `count` items, cut into halves while the device's memory does not hold them, and of
    /// `on_host` for those that the device cannot do; the first such failure is written to the log.
    pub fn in_batches<T>(
        &self,
        count: usize,
        at_once: usize,
        on_device: &dyn Fn(std::ops::Range<usize>) -> Result<Vec<T>, KernelError>,
        on_host: &dyn Fn(std::ops::Range<usize>) -> Vec<T>,
    ) -> Vec<T> {
        let mut results = Vec::with_capacity(count);
        let mut at_once = at_once.max(1);
        while results.len() < count {
            let run = results.len()..(results.len() + at_once).min(count);
            match on_device(run.clone()) {
                Ok(found) => results.extend(found),
                Err(KernelError::OutOfMemory { .. }) if run.len() > 1 => at_once = run.len().div_ceil(2),
                Err(error) => {
                    self.remark(&error);
                    results.extend(on_host(run));
                }
            }
        }
        results
    }

    /// Says in the log, once, that part of the work is done on the CPU.
    pub fn remark(&self, error: &KernelError) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            log::warn!("{}: {error}; what it cannot do is computed on the CPU", self.runtime.name());
        }
    }

    /// Whether something that was asked of it was computed on the CPU.
    pub fn fell_back(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl<R: Runtime> Device for Gpu<R> {
    fn name(&self) -> String {
        self.runtime.name()
    }

    fn free_bytes(&self) -> u64 {
        self.runtime.free_bytes()
    }

    fn synchronize(&self) {
        // a failure shows again, with its cause, in the next call that returns a result
        if let Err(error) = self.runtime.synchronize() {
            log::error!("waiting for {}: {error}", self.runtime.name());
        }
    }
}
