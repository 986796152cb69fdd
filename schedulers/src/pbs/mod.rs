//! `pbs`: jobs of OpenPBS and PBS Pro, and of Torque as `dialect: torque`. See README.md.

mod queues;
mod states;
#[cfg(test)]
mod tests;

use crate::cluster::{Said, is_plain_id, plain_name};
use crate::scheduler::{
    Answer, Cmd, EndReason, JobId, QueueInfo, Scheduler, SchedulerError, Script, Standing, Stop,
};
use crate::site::Site;
use uuid::Uuid;

/// Runs `"$@"` with the server of the lane as the default one.
const AT_SERVER: &str = r#"PBS_SERVER=$1 PBS_DEFAULT=$1
export PBS_SERVER PBS_DEFAULT
shift
exec "$@""#;

/// Prints `qstat -f` of the jobs on standard input, one line of ids for each call, with the tasks of arrays and, where
/// the server keeps them (`$1`, tried and left out where it does not), ended jobs; of each job the attributes that tell
/// how it stands, since the others are many times as long.
const STATUS: &str = r#"lists=$(cat) history=$1 code=0
ask() { # the ids
    if [ -n "$history" ]; then
        said=$(qstat -x -f -t "$@" 2>&1 >&3 3>&- </dev/null) 3>&1
        code_now=$?
        case $said in
        *'history'* | *'invalid option'* | *'Unknown option'*) history='' ;;
        *)
            [ -z "$said" ] || printf '%s\n' "$said" >&2
            return "$code_now"
            ;;
        esac
    fi
    qstat -f -t "$@" </dev/null
}
while read -r list; do
    [ -n "$list" ] || continue
    ask $list || code=$?
done <<LISTS
$lists
LISTS
echo end
exit "$code""#;

/// Prints `TAG ID` of the jobs that carry one of the tags on standard input in their environment.
const FIND: &str = r#"tags=$(cat)
jobs=$(qstat -f </dev/null) || exit
printf '%s\n' "$tags" -- "$jobs" | awk '
    function look() { for (tag in tags) if (index(block, "VITREOUS_ATTEMPT=" tag)) print tag, id }
    !listed { if ($0 == "--") listed = 1; else tags[$0]; next }
    /^Job Id:/ { look(); id = $3; block = ""; next }
    { sub(/^[ \t]+/, ""); block = block $0 }
    END { look() }'
echo end"#;

/// TERM to what runs, whose script hands it to the engine; what does not run is removed. Of an array the tasks that
/// wait find, when they start, that they are cancelled.
const ASK_TO_STOP: &str = r#"code=0
for id in "$@"; do
    qsig -s SIGTERM "$id" >/dev/null 2>&1 || said=$(qdel "$id" 2>&1) || case $said in
    *'Unknown Job'* | *'finished'* | *'nvalid state'* | *'nvalid for state'*) ;;
    *)
        printf '%s\n' "$said" >&2
        code=1
        ;;
    esac
done
exit "$code""#;

/// Deletes; by force where the host does not answer.
const KILL: &str = r#"code=0
for id in "$@"; do
    said=$(qdel "$id" 2>&1) || case $said in
    *'Unknown Job'* | *'finished'*) ;;
    *) qdel -W force "$id" || code=$? ;;
    esac
done
exit "$code""#;

/// Prints the server, its queues and hosts.
const DISCOVER: &str = r#"qstat -B -f </dev/null || exit
echo queues
qstat -Q -f </dev/null || exit
echo hosts
pbsnodes -a </dev/null
echo
echo end"#;

/// What `qsub` says when no job was made and the same may work later.
const LATER: &[&str] = &[
    "cannot connect to server",
    "Connection refused",
    "No route to host",
    "Communication failure",
    "server is shutting down",
    "Maximum number of jobs already in queue",
    "would exceed",
    "exceed the maximum number of jobs",
    "Job rejected by all possible destinations",
    "Server busy",
    "Request rejected, server",
    "pbs_iff",
    "No Permission to connect",
];
/// What it says when a job may exist all the same.
const UNCERTAIN: &[&str] =
    &["End of File", "Premature end of message", "Protocol", "Batch protocol error", "timed out"];
const NO_SUCH_JOB: &[&str] = &["Unknown Job Id", "Job has finished", "nonexistent job id", "Unknown Job"];

/// Ids of one call of `qstat`.
const IDS_OF_A_CALL: usize = 1000;

/// The adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pbs;

fn is_torque(site: &Site) -> bool {
    site.dialect == "torque"
}

/// With the server of the site as the default one.
fn at_server(site: &Site, cmd: Cmd) -> Cmd {
    if site.cluster.is_empty() {
        return cmd;
    }
    let words = std::iter::once(site.cluster.clone()).chain(cmd.words());
    Cmd { stdin: cmd.stdin.clone(), ..Cmd::shell(AT_SERVER, "server", words) }
}

/// `afterok:4.s:5.s`; of a whole array under Torque `afterokarray:3[].s`.
fn dependency(site: &Site, after: &[JobId]) -> String {
    let (arrays, jobs): (Vec<&str>, Vec<&str>) =
        after.iter().map(|id| id.0.as_str()).partition(|id| is_torque(site) && id.contains("[]"));
    let kinds = [("afterok", jobs), ("afterokarray", arrays)];
    let parts = kinds.iter().filter(|(_, ids)| !ids.is_empty());
    parts.map(|(kind, ids)| format!("{kind}:{}", ids.join(":"))).collect::<Vec<_>>().join(",")
}

fn submission(site: &Site, script: &Script) -> Vec<String> {
    /// PBS before version 13 and Torque refuse longer names.
    const LONGEST_NAME: usize = 15;
    let mut args = Vec::new();
    let mut option = |name: &str, value: String| args.extend([name.to_string(), value]);
    option("-N", plain_name(&script.name, LONGEST_NAME));
    option("-v", format!("VITREOUS_ATTEMPT={}", script.tag));
    // PBS copies what it collected over these files when the job is over: the script itself writes to its own, and
    // these hold what the scheduler says
    let index = if script.array.is_some_and(|array| array.tasks > 1) && !is_torque(site) {
        "-^array_index^"
    } else {
        ""
    };
    option("-o", format!("{}.pbs{index}", script.stdout));
    option("-e", format!("{}.pbs{index}", script.stderr));
    if is_torque(site) {
        option("-d", script.folder.clone());
    }
    if !script.after.is_empty() {
        option("-W", format!("depend={}", dependency(site, &script.after)));
    }
    // an array of one task is refused
    if let Some(array) = script.array.filter(|array| array.tasks > 1) {
        let throttle = if array.at_once > 0 { format!("%{}", array.at_once) } else { String::new() };
        option(if is_torque(site) { "-t" } else { "-J" }, format!("1-{}{throttle}", array.tasks));
    }
    args
}

impl Scheduler for Pbs {
    fn name(&self) -> &'static str {
        "pbs"
    }

    fn template(&self) -> &'static str {
        include_str!("../../../templates/pbs.sh.tera")
    }

    fn variables(&self) -> &'static [&'static str] {
        &["PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "PBS_DEFAULT", "PBS_HOME"]
    }

    fn submit(&self, site: &Site, script: &Script) -> Cmd {
        at_server(site, Cmd::new("qsub", submission(site, script).into_iter().chain([script.path.clone()])))
    }

    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError> {
        const EXPECTED: &str = "the job's id, as `12.server` or `12[].server`";
        let said = Said::new("pbs", answer);
        if answer.code == 0 {
            // hooks of a site may print before it
            let mut ids = answer.stdout.lines().rev().map(|line| JobId(line.trim().to_string()));
            return ids
                .find(|id| is_plain_id(id) && id.0.starts_with(|c: char| c.is_ascii_digit()))
                .ok_or_else(|| said.unexpected(EXPECTED));
        }
        Err(said.not_submitted(UNCERTAIN, LATER, &[], EXPECTED))
    }

    fn status(&self, site: &Site, ids: &[JobId]) -> Cmd {
        let plain: Vec<&str> = ids.iter().filter(|id| is_plain_id(id)).map(|id| id.0.as_str()).collect();
        let lists: String = plain.chunks(IDS_OF_A_CALL).map(|ids| ids.join(" ") + "\n").collect();
        let history = if is_torque(site) { "" } else { "-x" };
        at_server(site, Cmd { stdin: Some(lists), ..Cmd::shell(STATUS, "status", [history]) })
    }

    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        const EXPECTED: &str = "`qstat -f` of the jobs, then `end`";
        let said = Said::new("pbs", answer);
        let listing = said.listing(NO_SUCH_JOB, EXPECTED)?;
        states::of_qstat(ids, listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn post_mortem(&self, _site: &Site, _ids: &[JobId]) -> Option<Cmd> {
        None
    }

    fn parse_post_mortem(&self, ids: &[JobId], _answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        Ok(vec![Standing::gone(); ids.len()])
    }

    fn find_by_tag(&self, site: &Site, tags: &[Uuid]) -> Option<Cmd> {
        let tags: Vec<String> = tags.iter().map(Uuid::to_string).collect();
        let cmd = Cmd { stdin: Some(tags.join("\n")), ..Cmd::shell(FIND, "find", Vec::<String>::new()) };
        Some(at_server(site, cmd))
    }

    fn parse_find(&self, tags: &[Uuid], answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
        let listing = Said::new("pbs", answer).listing(&[], "lines of `UUID ID`, then `end`")?;
        let jobs = listing.lines().filter_map(|line| {
            let (tag, id) = line.split_once(' ')?;
            let tag = tag.parse::<Uuid>().ok().filter(|tag| tags.contains(tag))?;
            let id = JobId(id.trim().to_string());
            is_plain_id(&id).then_some((tag, id))
        });
        Ok(jobs.collect())
    }

    fn test_only(&self, _site: &Site, _script: &Script) -> Option<Cmd> {
        None
    }

    fn cancel(&self, site: &Site, ids: &[JobId], how: Stop) -> Cmd {
        let ids = ids.iter().filter(|id| is_plain_id(id)).map(|id| id.0.clone());
        let text = match how {
            Stop::Ask => ASK_TO_STOP,
            Stop::Kill => KILL,
        };
        at_server(site, Cmd::shell(text, "cancel", ids))
    }

    fn identify(&self, site: &Site) -> Option<Cmd> {
        Some(at_server(site, Cmd::new("qstat", ["-B", "-f"])))
    }

    fn parse_identify(&self, answer: &Answer) -> Option<String> {
        let name = answer.stdout.lines().find_map(|line| line.strip_prefix("Server:"))?.trim();
        (answer.code == 0 && !name.is_empty()).then(|| name.to_string())
    }

    fn discover(&self, site: &Site) -> Option<Cmd> {
        Some(at_server(site, Cmd::shell(DISCOVER, "discover", Vec::<String>::new())))
    }

    fn parse_discover(&self, answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError> {
        const EXPECTED: &str = "the server, `queues`, `hosts`, then `end`";
        let said = Said::new("pbs", answer);
        // pbsnodes is for administrators at some sites
        let listing = said.listing(&["pbsnodes"], EXPECTED)?;
        queues::of_qstat(listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn job_id_var(&self) -> &'static str {
        // of a task `3[2].server`, of the whole array `3[].server`
        r#"$(printf '%s' "$PBS_JOBID" | sed 's/\[[0-9]*\]/[]/')"#
    }

    fn task_id_var(&self) -> &'static str {
        "${PBS_ARRAY_INDEX:-$PBS_ARRAYID}"
    }

    fn reason_in_stderr(&self, stderr: &str) -> Option<EndReason> {
        states::in_stderr(stderr)
    }
}
