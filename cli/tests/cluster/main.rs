//! The one body of end-to-end tests that every scheduler has to pass: the built program, real processes, a real
//! scheduler. `ci/cluster NAME [--full]` starts the cluster and runs this with its environment; without it every test
//! says `skipped: …` and passes.
//!
//! What differs between schedulers stands in `cluster`; what a test stands on, in `scene`. Tests run side by side on
//! one cluster, but for those that stop its controller or lose a node, which have it for themselves.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "tests start what they test and say what they skip"
)]

mod arrays;
mod bad_input;
mod cluster;
mod cryosparc;
mod ends;
mod faults;
mod kills;
mod lanes;
mod nodes;
mod pipelines;
mod ranks;
mod scene;
mod waiting;
