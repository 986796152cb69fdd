//! Exit codes that scripts can rely on.

/// Everything asked for was done.
pub const OK: i32 = 0;
/// Command line or parameters are wrong; nothing was done.
pub const USAGE: i32 = 2;
/// An input file or an earlier job is missing, broken or unfit.
pub const INPUT: i32 = 3;
/// The scheduler refused or could not be asked.
pub const SCHEDULER: i32 = 4;
/// A job ran and failed.
pub const JOB_FAILED: i32 = 5;
/// Something that should not happen: a bug or a broken installation.
pub const INTERNAL: i32 = 70;
/// The scheduler has started this job a second time while this process still lived; the later start goes on, and this
/// one has stopped without writing anything more (`EX_TEMPFAIL` of sysexits.h).
pub const SUPERSEDED: i32 = 75;
/// An input was not there when the job's turn came; written by the submission script, never by a program.
pub const NOT_READY: i32 = 96;
/// Checkpoint written, run me again (Grid Engine's own rerun code).
pub const REQUEUE: i32 = 99;
