//! Schedulers as data: from a script to the command that submits it, from a command's answer to a job's state, from a
//! lane and a template to a script. Nothing here runs a command or touches a file, so every line of it is tested with
//! recorded answers; the `vitreous` program runs the commands, here or over ssh.
//!
//! To add a scheduler: a folder here, a template in `templates/`, one line in [`SCHEDULERS`].

pub mod lane;
pub mod local;
pub mod quote;
pub mod render;
pub mod scheduler;

pub use lane::{Lane, LaneError};
pub use render::{LaneContext, RenderError, ScriptContext};
pub use scheduler::{Answer, Cmd, EndReason, Ended, JobId, Queue, Scheduler, SchedulerError, Script, Stop};

/// Every scheduler, by the name lanes use.
pub static SCHEDULERS: &[&dyn Scheduler] = &[&local::Local];

/// The scheduler of a name.
pub fn find(name: &str) -> Option<&'static dyn Scheduler> {
    SCHEDULERS.iter().copied().find(|scheduler| scheduler.name() == name)
}
