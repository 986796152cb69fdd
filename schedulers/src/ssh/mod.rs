//! `ssh`: a job is a session of processes of one of several machines that share a file system, reached over ssh. See
//! README.md. On the machine itself everything is as on a `local` lane; what differs is who runs the commands, which is
//! [`Site::command`]'s to say.

#[cfg(test)]
mod tests;

use crate::local::Local;
use crate::scheduler::{Answer, Cmd, JobId, QueueInfo, Scheduler, SchedulerError, Script, Standing, Stop};
use crate::site::Site;
use uuid::Uuid;

/// The adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ssh;

/// What `ssh` itself ends with when it cannot reach or enter a host.
const SSH_FAILED: i32 = 255;

/// The answer, unless it is ssh's own: then the worker could not be asked.
fn of_worker(answer: &Answer) -> Result<&Answer, SchedulerError> {
    match answer.code {
        SSH_FAILED => Err(SchedulerError::Unreachable {
            scheduler: "ssh",
            code: answer.code,
            stderr: answer.stderr.trim().to_string(),
        }),
        _ => Ok(answer),
    }
}

impl Scheduler for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn template(&self) -> &'static str {
        Local.template()
    }

    fn variables(&self) -> &'static [&'static str] {
        &[]
    }

    fn submit(&self, site: &Site, script: &Script) -> Cmd {
        Local.submit(site, script)
    }

    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError> {
        // a connection that breaks after the start looks the same as one that breaks before it: the job is looked for
        if answer.code == SSH_FAILED {
            return Err(SchedulerError::Unexpected {
                scheduler: "ssh",
                got: answer.stdout.trim().into(),
                expected: "the worker's answer",
                stderr: answer.stderr.clone(),
            });
        }
        Local.parse_submit(answer)
    }

    fn status(&self, site: &Site, ids: &[JobId]) -> Cmd {
        Local.status(site, ids)
    }

    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        Local.parse_status(ids, of_worker(answer)?)
    }

    fn post_mortem(&self, site: &Site, ids: &[JobId]) -> Option<Cmd> {
        Local.post_mortem(site, ids)
    }

    fn parse_post_mortem(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        Local.parse_post_mortem(ids, of_worker(answer)?)
    }

    fn find_by_tag(&self, site: &Site, tags: &[Uuid]) -> Option<Cmd> {
        Local.find_by_tag(site, tags)
    }

    fn parse_find(&self, tags: &[Uuid], answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
        Local.parse_find(tags, of_worker(answer)?)
    }

    fn test_only(&self, site: &Site, script: &Script) -> Option<Cmd> {
        Local.test_only(site, script)
    }

    fn parse_test_only(&self, answer: &Answer) -> Result<String, SchedulerError> {
        Local.parse_test_only(of_worker(answer)?)
    }

    fn cancel(&self, site: &Site, ids: &[JobId], how: Stop) -> Cmd {
        Local.cancel(site, ids, how)
    }

    fn identify(&self, site: &Site) -> Option<Cmd> {
        Local.identify(site)
    }

    fn parse_identify(&self, answer: &Answer) -> Option<String> {
        Local.parse_identify(answer)
    }

    fn discover(&self, site: &Site) -> Option<Cmd> {
        Local.discover(site)
    }

    fn parse_discover(&self, answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError> {
        Local.parse_discover(of_worker(answer)?)
    }

    fn job_id_var(&self) -> &'static str {
        Local.job_id_var()
    }

    fn can_wait_for_jobs(&self) -> bool {
        false
    }

    fn places_jobs(&self) -> bool {
        true
    }
}
