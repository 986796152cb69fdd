//! What a compute device is. Operation families ([`crate::ops`]) are further traits on top of it, so that a missing twin
//! is a compile error.

/// A processor that holds buffers and runs operation families.
pub trait Device: Send + Sync + 'static {
    /// Name for people, e.g. `CPU, 2 threads`.
    fn name(&self) -> String;

    /// Memory that can still be allocated on it, in bytes.
    fn free_bytes(&self) -> u64;

    /// Waits until everything asked of it is done.
    fn synchronize(&self);
}

/// The host's cores, through the rayon pool the engine sized from its grant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

impl Device for Cpu {
    fn name(&self) -> String {
        format!("CPU, {} thread(s)", rayon::current_num_threads())
    }

    fn free_bytes(&self) -> u64 {
        u64::MAX
    }

    fn synchronize(&self) {}
}
