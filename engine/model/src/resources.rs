//! What a job asks of a machine, and what it is told about its inputs to compute that.

use serde::{Deserialize, Serialize};

/// A request to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Hosts.
    pub nodes: u32,
    /// MPI ranks over all hosts.
    pub ranks: u32,
    /// Threads of each rank.
    pub threads: u32,
    /// GPUs over all hosts.
    pub gpus: u32,
    /// Memory of all ranks on one host, MiB.
    pub mem_mib: u64,
    /// Memory of one GPU, MiB.
    pub vram_mib: u64,
    /// Node-local scratch, MiB.
    pub scratch_mib: u64,
    /// Wall time, seconds.
    pub walltime_s: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            nodes: 1,
            ranks: 1,
            threads: 1,
            gpus: 0,
            mem_mib: 1024,
            vram_mib: 0,
            scratch_mib: 0,
            walltime_s: 3600,
        }
    }
}

/// What the parents' `outputs.json` say of a job's inputs: enough for the resource formula without opening a table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InputSummary {
    /// Movies, micrographs or particles to go through.
    pub items: u64,
    /// Pixel size, Å.
    pub pixel_size_a: Option<f64>,
    /// Box edge, pixels.
    pub box_px: Option<u32>,
    /// Width and height of a micrograph or movie frame, pixels.
    pub frame_px: Option<[u32; 2]>,
    /// Frames of a movie.
    pub frames: Option<u32>,
    /// The input or a parameter is not known yet (the parent has not finished): numbers are guesses.
    pub provisional: bool,
}
