//! What a launch consists of, for the CUDA driver and for the host shim of the tests alike.

/// Threads of a block, a whole number of warps.
pub const BLOCK: u32 = 128;

/// The largest second dimension of a grid that CUDA allows.
pub const MOST_ROWS: usize = 65_535;

/// A kernel by name, and its geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// `extern "C"` name in the `.cu` file.
    pub kernel: &'static str,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
}
