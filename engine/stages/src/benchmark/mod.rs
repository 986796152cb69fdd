//! `benchmark`: how fast the lane's processors, memories, disks and ranks are. README.md says what is measured and how.
//!
//! Every rank measures at the same time, for that is how jobs work; rank 0 gathers. [`processor`], [`memory`] and
//! [`device`] measure a rank, [`disk`] a host, [`messages`] all ranks together; [`compared`] names those that are slow.

mod compared;
mod device;
mod disk;
mod measured;
mod memory;
mod messages;
mod processor;
mod report;
mod run;
mod simd;
#[cfg(test)]
mod tests;

use crate::{Ctx, Stage, StageError};
use vitreous_model::report::Report;

/// The stage.
pub struct Benchmark;

impl Stage for Benchmark {
    fn name(&self) -> &'static str {
        "benchmark"
    }

    fn run(&self, ctx: &Ctx<'_>) -> Result<Report, StageError> {
        run::run(ctx, ctx.device)
    }
}
