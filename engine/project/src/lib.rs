//! The project directory: its layout, how its files are written, and what they say about each job.
//!
//! The directory is the only state there is: no daemon, no database. Every record is a small file that appears
//! whole ([`atomic`]), a change of state is a *new* file whose name holds the attempt number, and the state of a
//! job is derived from those files each time ([`state`]), never stored where it could go stale.
//!
//! ```text
//! T20S/
//!   vitreous.yaml               ProjectFile: name, uuid, microscope, defaults
//!   lanes/                      lanes of this project
//!   J0002-correct-motion/       JobDir
//!     job.yaml                  JobSpec: type, parameters as given, inputs, lane, retry policy, uuid; never changed
//!     request-01.json           Request: somebody (user, retry policy, recovery, growth of
//!                               what it takes) asked for attempt 1
//!     cancel-01.json            Cancel: attempt 1 is to stop, or must not start
//!     watch-stopped             an import that followed a microscope does so no more
//!     attempt-01/               AttemptDir
//!       intent.json             Intent: written before the launch, once
//!       intent-withdrawn-UUID.json  an intent of which it is certain that nothing was submitted
//!       submit.sh               the rendered script
//!       submitting              locked while a submission is under way, by whatever may still submit
//!       submission.json         Submission: the scheduler's answer
//!       refused.json            Refusal: the scheduler did not take it
//!       unclear.json            Refusal: its answer does not tell whether it took the job
//!       ended.json              Verdict: what the scheduler said of the end, before it forgets
//!       claim/                  made by the script's first line
//!         owner                 which submission does the attempt; a second one stops there
//!         run-1/ run-2/ …       its starts: one that finds a later one writes no more
//!       events.jsonl            model::event::Event a line, written by the engine
//!       exit.json               Exit, written by the script's trap
//!       claim-3/ exit-3.json    the same of element 3, of an array
//!       usage-0.json            Usage of rank 0, written by the engine
//!       node-cache-0.json       NodeCacheUse of rank 0: copies of images on its node
//!       events-2.jsonl usage-2-0.json effective-2.json    the same of slice 2, of a job done in slices
//!       stdout stderr
//!     effective.json            Effective: every parameter after defaults, versions, host, device, command line
//!     outputs.json              model::outputs::Outputs
//!     report.json report.html figures/
//!   .vitreous/                  caches and locks: deleting it loses nothing
//! ```
//!
//! What the engine needs: [`JobDir::open`], [`JobDir::resolve_inputs`], [`JobDir::write_effective`],
//! [`JobDir::write_outputs`], [`JobDir::attempt`], [`AttemptDir::event_writer`], [`AttemptDir::write_usage`] and
//! [`atomic::write`].

pub mod allocate;
pub mod atomic;
pub mod attempt;
pub mod clock;
pub mod error;
pub mod events;
pub mod fingerprint;
pub mod fsck;
pub mod index;
pub mod job;
pub mod lease;
pub mod lineage;
pub mod names;
pub mod process;
pub mod project;
pub mod records;
pub mod retry;
pub mod state;

pub use allocate::NewJob;
pub use attempt::AttemptDir;
pub use error::ProjectError;
pub use events::EventWriter;
pub use events::Progress;
pub use job::{Effective, JobDir, JobSpec, RankDevice, ResolvedInput, ResourceOverrides, RetryPolicy};
pub use names::{InputRef, JobNumber};
pub use project::{Microscope, Project, ProjectFile};
pub use records::{
    Cancel, Elements, Exit, Intent, NodeCacheUse, Refusal, Request, Requester, Submission, Usage, Verdict,
};
pub use state::{Reason, State, Status};
