//! `slurm`: jobs of Slurm, asked about with `squeue` and, where it is set up, `sacct`. See README.md.

mod queues;
mod reasons;
mod states;
#[cfg(test)]
mod tests;

use crate::cluster::{Said, id_lines, is_plain_id};
use crate::scheduler::{
    Answer, Cmd, EndReason, JobId, QueueInfo, Scheduler, SchedulerError, Script, Standing, Stop,
};
use crate::site::Site;
use uuid::Uuid;

/// Asks `$1` (squeue or sacct) for lists of ids, one line of standard input each. All lines are read first: nobody
/// writes to a full pipe.
const ASK: &str = r#"lists=$(cat) code=0
export SLURM_BITSTR_LEN=0
for list in $lists; do
    "$@" --jobs="$list" </dev/null || code=$?
done
echo end
exit "$code""#;

/// Prints id and comment of the jobs whose comment holds one of the tags on standard input.
const FIND: &str = r#"tags=$(cat)
jobs=$(squeue "$@" </dev/null) || exit
printf '%s\n' "$jobs" | grep -F -e "$tags"
echo end"#;

/// TERM to the script of what runs, which hands it to the engine; what waits is removed. `scancel --signal` leaves
/// waiting jobs as they are, and says of every job that it is in another state.
const ASK_TO_STOP: &str = r#"said=$({ scancel --state=PENDING "$@"; scancel --batch --signal=TERM --state=RUNNING "$@"; } 2>&1 |
    grep -v 'Invalid job id specified\|already completing or completed')
[ -z "$said" ] || { printf '%s\n' "$said" >&2; exit 1; }"#;

/// What is printed of each job by `squeue`; the last field is the longest reason.
const FIELDS: &str =
    "--Format=JobArrayID:|,State:|,Reason:|,exit_code:|,RestartCnt:|,BatchHost:|,ReasonList: ";
/// What is printed of each job and step by `sacct`.
const ACCOUNTED: &str = "--format=JobID,State,ExitCode,NodeList,ReqMem,MaxRSS";

/// What `sbatch` says when no job was made and the same may work later.
const LATER: &[&str] = &[
    "Unable to contact slurm controller",
    "Connection refused",
    "No route to host",
    "Could not establish a configuration source",
    "Slurm temporarily unable to accept job",
    "Slurm backup controller in standby mode",
    "Resource temporarily unavailable",
    "Address already in use",
    "Protocol authentication error",
    "Slurm is in the process of", // … being configured, shutting down
    "MaxSubmitJob",               // QOSMaxSubmitJobPerUserLimit, AssocMaxSubmitJobLimit
    "GrpSubmitJob",
    "job submit limit", // unless it names another limit, see HARD_LIMITS
];
/// Limits that a job runs into for what it asks, whenever it is submitted. Slurm's general sentence on limits names the
/// submit limit in either case.
const HARD_LIMITS: &[&str] =
    &["MaxWall", "MaxCpu", "MaxNode", "MaxMem", "MaxGRES", "MaxTRES", "GrpWall", "MinCpu", "MinGRES"];
/// What it says when a job may exist all the same.
const UNCERTAIN: &[&str] = &[
    "timed out",
    "Zero Bytes were transmitted",
    "Unexpected message received",
    "Transport endpoint is not connected",
    "Message receive failure",
    "Connection reset",
    // refused, and kept in the queue as FAILED BadConstraints
    "Requested node configuration is not available",
];
const NO_SUCH_JOB: &[&str] = &["Invalid job id specified"];
const NO_ACCOUNTING: &[&str] = &["accounting storage is disabled", "Slurm accounting storage is not"];

/// The adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slurm;

fn on_cluster(site: &Site) -> Option<String> {
    (!site.cluster.is_empty()).then(|| format!("--clusters={}", site.cluster))
}

/// `%` begins a placeholder in names of output files.
fn output_name(path: &str) -> String {
    path.replace('%', "%%")
}

fn submission(site: &Site, script: &Script) -> Vec<String> {
    let mut args = vec!["--parsable".to_string()];
    args.extend(on_cluster(site));
    args.extend([
        format!("--job-name={}", script.name),
        format!("--comment=vitreous:{}", script.tag),
        format!("--chdir={}", script.folder),
        format!("--output={}", output_name(&script.stdout)),
        format!("--error={}", output_name(&script.stderr)),
        "--open-mode=append".into(),
        // so that the reason can be read; we cancel it
        "--kill-on-invalid-dep=no".into(),
    ]);
    if !script.after.is_empty() {
        let ids: Vec<&str> = script.after.iter().map(|id| id.0.as_str()).collect();
        args.push(format!("--dependency=afterok:{}", ids.join(":")));
    }
    if let Some(array) = script.array {
        let throttle = if array.at_once > 0 { format!("%{}", array.at_once) } else { String::new() };
        args.push(format!("--array=1-{}{throttle}", array.tasks));
    }
    if !script.avoid.is_empty() {
        let hosts: Vec<&str> = script.avoid.iter().map(String::as_str).collect();
        args.push(format!("--exclude={}", hosts.join(",")));
    }
    args
}

fn ask(site: &Site, words: &[&str], ids: &[JobId]) -> Cmd {
    let words = words.iter().map(|word| word.to_string()).chain(on_cluster(site));
    let asked = ids.iter().filter(|id| is_plain_id(id)).map(|id| id.0.as_str());
    Cmd { stdin: Some(id_lines(asked, ",")), ..Cmd::shell(ASK, "ask", words) }
}

impl Scheduler for Slurm {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn template(&self) -> &'static str {
        include_str!("../../../templates/slurm.sh.tera")
    }

    fn variables(&self) -> &'static [&'static str] {
        &["SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS"]
    }

    fn submit(&self, site: &Site, script: &Script) -> Cmd {
        Cmd::new("sbatch", submission(site, script).into_iter().chain([script.path.clone()]))
    }

    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError> {
        let said = Said::new("slurm", answer);
        const EXPECTED: &str = "the job's number";
        if answer.code == 0 {
            // warnings may stand before it; with --clusters it is `5;cluster`
            let ids =
                answer.stdout.lines().rev().map(|line| line.trim().split(';').next().unwrap_or_default());
            return ids
                .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_digit()))
                .map(|id| JobId(id.to_string()))
                .next()
                .ok_or_else(|| said.unexpected(EXPECTED));
        }
        Err(said.not_submitted(UNCERTAIN, LATER, HARD_LIMITS, EXPECTED))
    }

    fn status(&self, site: &Site, ids: &[JobId]) -> Cmd {
        ask(site, &["squeue", "--noheader", "--states=all", FIELDS], ids)
    }

    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        const EXPECTED: &str = "lines of `ID|STATE|REASON|EXIT|RESTARTS|HOST|REASONS`, then `end`";
        let said = Said::new("slurm", answer);
        let listing = said.listing(NO_SUCH_JOB, EXPECTED)?;
        states::of_squeue(ids, listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn post_mortem(&self, site: &Site, ids: &[JobId]) -> Option<Cmd> {
        Some(ask(site, &["sacct", "--noheader", "--parsable2", ACCOUNTED], ids))
    }

    fn parse_post_mortem(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        const EXPECTED: &str = "lines of `ID|STATE|EXIT|NODES|MEMORY|USED`, then `end`";
        let said = Said::new("slurm", answer);
        if answer.code != 0 && (said.says(NO_ACCOUNTING) || said.is_without_command()) {
            return Ok(vec![Standing::gone(); ids.len()]);
        }
        let listing = said.listing(NO_SUCH_JOB, EXPECTED)?;
        states::of_sacct(ids, listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn find_by_tag(&self, site: &Site, tags: &[Uuid]) -> Option<Cmd> {
        let words = ["--noheader", "--states=all", "--Format=JobArrayID:|,Comment: "].map(String::from);
        let cmd = Cmd::shell(FIND, "find", words.into_iter().chain(on_cluster(site)));
        let tags: Vec<String> = tags.iter().map(|tag| format!("vitreous:{tag}")).collect();
        Some(Cmd { stdin: Some(tags.join("\n")), ..cmd })
    }

    fn parse_find(&self, tags: &[Uuid], answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
        let listing = Said::new("slurm", answer).listing(&[], "lines of `ID|vitreous:UUID`, then `end`")?;
        let mut jobs: Vec<(Uuid, JobId)> = Vec::new();
        for (id, comment) in listing.lines().filter_map(|line| line.split_once('|')) {
            let Some(tag) = tags.iter().find(|tag| comment.contains(&tag.to_string())) else { continue };
            let job = JobId(id.split('_').next().unwrap_or_default().to_string());
            if !job.0.is_empty() && !jobs.contains(&(*tag, job.clone())) {
                jobs.push((*tag, job));
            }
        }
        Ok(jobs)
    }

    fn test_only(&self, site: &Site, script: &Script) -> Option<Cmd> {
        let args = std::iter::once("--test-only".to_string()).chain(submission(site, script));
        Some(Cmd::new("sbatch", args.chain([script.path.clone()])))
    }

    fn parse_test_only(&self, answer: &Answer) -> Result<String, SchedulerError> {
        let said = Said::new("slurm", answer);
        match answer.code {
            0 => Ok(answer.stderr.trim().to_string()),
            _ if said.did_not_run() || said.says(LATER) => Err(said.unreachable()),
            _ => Err(said.refused()),
        }
    }

    fn cancel(&self, site: &Site, ids: &[JobId], how: Stop) -> Cmd {
        let args = on_cluster(site)
            .into_iter()
            .chain(ids.iter().filter(|id| is_plain_id(id)).map(|id| id.0.clone()));
        match how {
            Stop::Ask => Cmd::shell(ASK_TO_STOP, "cancel", args),
            // TERM, and KILL after the cluster's KillWait, to every process of the job
            Stop::Kill => Cmd::new("scancel", args),
        }
    }

    fn identify(&self, site: &Site) -> Option<Cmd> {
        let words = on_cluster(site).into_iter().chain(["show".into(), "config".into()]);
        Some(Cmd::new("scontrol", words))
    }

    fn parse_identify(&self, answer: &Answer) -> Option<String> {
        let mut settings = answer.stdout.lines().filter_map(|line| line.split_once('='));
        let name = settings.find(|(key, _)| key.trim() == "ClusterName")?.1.trim();
        (answer.code == 0 && !name.is_empty()).then(|| name.to_string())
    }

    fn discover(&self, site: &Site) -> Option<Cmd> {
        let words = ["--noheader".to_string(), queues::FIELDS.to_string()];
        Some(Cmd::new("sinfo", words.into_iter().chain(on_cluster(site))))
    }

    fn parse_discover(&self, answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError> {
        let said = Said::new("slurm", answer);
        if answer.code != 0 {
            return Err(said.unreachable());
        }
        queues::of_sinfo(&answer.stdout)
            .ok_or_else(|| said.unexpected("lines of `PARTITION|STATE|TIME|NODES|CPUS|MEMORY|GRES|`"))
    }

    fn job_id_var(&self) -> &'static str {
        "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"
    }

    fn task_id_var(&self) -> &'static str {
        "$SLURM_ARRAY_TASK_ID"
    }

    fn signals_before_limit(&self) -> bool {
        true
    }

    fn reason_in_stderr(&self, stderr: &str) -> Option<EndReason> {
        reasons::in_stderr(stderr)
    }

    fn requeue(&self) -> &'static str {
        // the last task of an array has the number of the whole array: only ARRAY_TASK names it
        r#"scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}""#
    }
}
