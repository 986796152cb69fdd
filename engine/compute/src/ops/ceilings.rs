//! Family `ceilings`: what a device can do at most, for benchmarks that state a speed as a part of it.
//!
//! # Contract
//! - [`Ceilings::copy`] copies an array of single-precision numbers within the device's memory: each is read and written
//!   once, so it moves 8 bytes for each.
//! - [`Ceilings::multiply_add`] runs `lanes` independent recursions side by side, each of [`CHAINS`] chains
//!   `x ← 0.999 x + 0.001` from `x = (lane mod 1024)/1024 + chain`: two operations a step, one rounding. The result of a lane is the sum of its chains.
//! - [`Ceilings::transfer`] sends an array to the device and fetches it back. On the host that is a copy each way.
//! - Each is done once without being timed, then `times` times.
//! - Determinism: bitwise on one device; the chains bitwise on all that have fused multiply-add.
//! - Allowed error: copies are exact; of a chain 1e-6 per value after any number of steps (the recursion damps its errors).

use crate::device::Device;

/// Chains of a lane.
pub const CHAINS: usize = 8;

/// Multiplier and summand of a step of a chain.
pub const STEP: [f32; 2] = [0.999, 0.001];

/// The first value of a chain.
pub fn start(lane: usize, chain: usize) -> f32 {
    (lane % 1024) as f32 / 1024.0 + chain as f32
}

/// Work done in a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timed {
    /// Bytes moved, or operations done, in all repetitions.
    pub work: f64,
    /// Seconds that they took together.
    pub seconds: f64,
    /// The values at the end.
    pub values: Vec<f32>,
}

impl Timed {
    /// Work per second; 0 if no time was measured.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.work / self.seconds } else { 0.0 }
    }
}

/// Why nothing was measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the device could not be measured: {0}")]
pub struct CeilingsError(pub String);

/// The family.
pub trait Ceilings: Device {
    /// Copies `values` within the device's memory.
    ///
    /// # Errors
    /// The device lacks memory, or failed.
    fn copy(&self, values: &[f32], times: u32) -> Result<Timed, CeilingsError>;

    /// Runs `lanes` recursions of `steps` steps.
    ///
    /// # Errors
    /// As [`Ceilings::copy`].
    fn multiply_add(&self, lanes: usize, steps: u32, times: u32) -> Result<Timed, CeilingsError>;

    /// Sends `values` to the device, and fetches them.
    ///
    /// # Errors
    /// As [`Ceilings::copy`].
    fn transfer(&self, values: &[f32], times: u32) -> Result<[Timed; 2], CeilingsError>;
}
