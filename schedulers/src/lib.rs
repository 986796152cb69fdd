//! Schedulers as data: from a script to the command that submits it, from a command's answer to a job's state, from a
//! lane and a template to a script. Nothing here runs a command or touches a file, so every line of it is tested with
//! recorded answers; the `vitreous` program runs the commands, here or over ssh.
//!
//! To add a scheduler: a folder here, a template in `templates/`, one line in [`SCHEDULERS`].

mod cluster;
pub mod cryosparc;
pub mod lane;
pub mod local;
pub mod pbs;
pub mod quote;
pub mod render;
pub mod scheduler;
pub mod sge;
pub mod site;
pub mod slurm;
pub mod ssh;

pub use lane::{Lane, LaneError, Worker};
pub use render::{LaneContext, RenderError, ScriptContext};
pub use scheduler::{
    Answer, Array, Cmd, EndReason, Ended, JobId, Queue, QueueInfo, Scheduler, SchedulerError, Script,
    Standing, Stop,
};
pub use site::Site;

/// Every scheduler, by the name lanes use.
pub static SCHEDULERS: &[&dyn Scheduler] =
    &[&local::Local, &ssh::Ssh, &slurm::Slurm, &sge::Sge, &pbs::Pbs, &cryosparc::CryoSparc];

/// The scheduler of a name.
pub fn find(name: &str) -> Option<&'static dyn Scheduler> {
    SCHEDULERS.iter().copied().find(|scheduler| scheduler.name() == name)
}
