//! `benchmark`: how fast the processors, memories, disks and the network of a lane are.

use crate::{Estimate, Typed};
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `benchmark`.
    pub struct Benchmark {
        /// Time of each measurement; at least three repeats are made, however long they take.
        pub seconds: f64 = 1.0, unit "s";
        /// Memory that each rank copies to and fro; it must be more than the processor's cache holds.
        pub memory: u32 = 384, unit "MiB";
        /// File that is written and read on the disk of the project and on that of each node's scratch; 0: no disks.
        pub disk: u32 = 256, unit "MiB";
        /// Largest message between ranks.
        pub message: u32 = 16, unit "MiB";
        /// Ranks and hosts that reach less than this part of the median are named.
        pub slow: f64 = 0.8;
    }
}

impl Validate for Benchmark {
    fn validate(&self) -> Result<(), BadParam> {
        let why = "must lie between 0.01 and 600 s";
        BadParam::unless((0.01..=600.0).contains(&self.seconds), "seconds", self.seconds, why)?;
        for (key, value, low, high) in [
            ("memory", self.memory, 3, 1 << 20),
            ("disk", self.disk, 0, 1 << 20),
            ("message", self.message, 1, 1024),
        ] {
            let fits = (low..=high).contains(&value);
            BadParam::unless(fits, key, value, &format!("must lie between {low} and {high} MiB"))?;
        }
        let slow = self.slow > 0.0 && self.slow < 1.0;
        BadParam::unless(slow, "slow", self.slow, "must lie between 0 and 1")
    }

    fn example() -> Self {
        Self { seconds: 5.0, disk: 4096, ..Self::default() }
    }
}

/// Measurements of a rank, disks and messages left out.
const MEASUREMENTS: f64 = 10.0;
/// Slowest disk that is reckoned with, MiB/s.
const SLOW_DISK: u64 = 20;

fn estimate(params: &Benchmark, _: &InputSummary) -> Estimate {
    let [memory, disk, message] = [params.memory, params.disk, params.message].map(u64::from);
    let measuring = (MEASUREMENTS * 2.0 * params.seconds).ceil() as u64;
    // two disks, three rounds, written and read twice in each
    let disk_s = 18 * disk / SLOW_DISK;
    Estimate::of_threads(4)
        .mem_mib(
            512 + memory + 4 * message,
            format!("512 MiB + {memory} MiB of memory to be copied + 4 messages of {message} MiB"),
        )
        .walltime_s(
            1800 + measuring + disk_s,
            format!(
                "30 min + {measuring} s of measurements + 18 ways through {disk} MiB at {SLOW_DISK} MiB a second"
            ),
        )
}

/// The job type.
pub static JOB: Typed<Benchmark> = Typed {
    name: "benchmark",
    summary: "measure the processors, memories, disks and ranks of a lane",
    inputs: &[],
    outputs: &[],
    per_item: false,
    on_gpu: true,
    estimate,
};
