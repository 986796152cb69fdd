//! `cryosparc`: a cluster spoken to with CryoSPARC's own `cluster_info.json` and `cluster_script.sh`, unchanged. See
//! README.md.
//!
//! Which scheduler answers is not known here: the site's commands are run as they are, and what they print is
//! recognised by the phrases of Slurm, Grid Engine, PBS and LSF. What is not recognised is [`Queue::Unknown`].

mod answers;
mod commands;
mod filters;
pub mod import;
pub mod info;
pub mod template;
#[cfg(test)]
mod tests;
pub mod values;
mod words;

pub use commands::{complaints, info as info_command};
pub use import::{Import, ImportError, import};
pub use info::{ClusterInfo, InfoError};
pub use template::{ENDING, Variable, render, variables};
pub use values::WORK_SCRIPT;

use crate::scheduler::{
    Answer, Cmd, JobId, Queue, QueueInfo, Scheduler, SchedulerError, Script, Standing, Stop,
};
use crate::site::{CommandTemplates, Site};
use uuid::Uuid;

/// The adapter. Its built-in template is that of [`WORK_SCRIPT`]; what is submitted is the site's own script.
#[derive(Debug, Clone, Copy, Default)]
pub struct CryoSparc;

/// The site's commands; without any, every command complains.
fn templates(site: &Site) -> CommandTemplates {
    site.command_templates.clone().unwrap_or_default()
}

impl Scheduler for CryoSparc {
    fn name(&self) -> &'static str {
        "cryosparc"
    }

    fn template(&self) -> &'static str {
        include_str!("../../../templates/cryosparc.sh.tera")
    }

    fn variables(&self) -> &'static [&'static str] {
        &[
            "SLURM_CONF",
            "SGE_ROOT",
            "SGE_CELL",
            "SGE_CLUSTER_NAME",
            "SGE_QMASTER_PORT",
            "SGE_EXECD_PORT",
            "PBS_CONF_FILE",
            "PBS_SERVER",
            "LSF_ENVDIR",
            "LSF_SERVERDIR",
            "LSF_LIBDIR",
            "LSF_BINDIR",
        ]
    }

    fn submit(&self, site: &Site, script: &Script) -> Cmd {
        commands::submit(&templates(site), script)
    }

    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError> {
        answers::submitted(answer)
    }

    fn status(&self, site: &Site, ids: &[JobId]) -> Cmd {
        commands::status(&templates(site), ids)
    }

    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        answers::states(ids, answer)
    }

    /// CryoSPARC's files name no command for jobs that have ended: the job's own record tells.
    fn post_mortem(&self, _site: &Site, _ids: &[JobId]) -> Option<Cmd> {
        None
    }

    fn parse_post_mortem(&self, ids: &[JobId], _answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        Ok(vec![Standing::of(Queue::Gone); ids.len()])
    }

    /// Nor one that lists jobs: a launch that was cut short is fenced off instead.
    fn find_by_tag(&self, _site: &Site, _tags: &[Uuid]) -> Option<Cmd> {
        None
    }

    fn parse_find(&self, _tags: &[Uuid], _answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
        Ok(Vec::new())
    }

    fn test_only(&self, _site: &Site, script: &Script) -> Option<Cmd> {
        Some(Cmd::new("bash", ["-n", &script.path]))
    }

    fn cancel(&self, site: &Site, ids: &[JobId], _how: Stop) -> Cmd {
        commands::cancel(&templates(site), ids)
    }

    fn identify(&self, _site: &Site) -> Option<Cmd> {
        None
    }

    fn parse_identify(&self, _answer: &Answer) -> Option<String> {
        None
    }

    fn discover(&self, _site: &Site) -> Option<Cmd> {
        None
    }

    fn parse_discover(&self, _answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError> {
        Ok(Vec::new())
    }

    fn job_id_var(&self) -> &'static str {
        values::JOB_ID_WORD
    }

    /// CryoSPARC's scripts have one time limit for all jobs.
    fn grants_walltime(&self) -> bool {
        false
    }

    fn can_wait_for_jobs(&self) -> bool {
        false
    }
}
