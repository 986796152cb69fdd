//! `sge`: jobs of Grid Engine (Sun's, Son of, Open, Univa's, Altair's), asked about with `qstat` and `qacct`. See
//! README.md.

mod account;
mod hosts;
mod states;
#[cfg(test)]
mod tests;

use crate::cluster::{Said, id_lines, is_plain_id, plain_name};
use crate::scheduler::{Answer, Cmd, JobId, QueueInfo, Scheduler, SchedulerError, Script, Standing, Stop};
use crate::site::Site;
use uuid::Uuid;

/// Prints what `qstat -xml` says of the jobs on standard input, one id a line, and of those that wait or are in error
/// what `qstat -j` says of the reason. Everybody's jobs are asked for, since two people may work on one project; only
/// those asked for are printed.
const STATUS: &str = r#"ids=$(cat)
jobs=$(qstat -u '*' -xml </dev/null) || exit
printf '%s\n' "$ids" -- "$jobs" | awk '
    !listed { if ($0 == "--") listed = 1; else wanted[$0]; next }
    /<job_list/ { block = ""; id = ""; inside = 1 }
    !inside { print; next }
    { block = block $0 "\n" }
    /<JB_job_number>/ { id = $0; gsub(/[^0-9]/, "", id) }
    /<\/job_list>/ { if (id in wanted) printf "%s", block; inside = 0 }'
waiting=$(printf '%s\n' "$ids" -- "$jobs" | awk '
    !listed { if ($0 == "--") listed = 1; else wanted[$0]; next }
    /<JB_job_number>/ { id = $0; gsub(/[^0-9]/, "", id) }
    /<state>.*E.*<\/state>/ && id in wanted { print id; delete wanted[id] }
    /<state>.*w<\/state>/ && id in wanted && explained++ < 50 { print id; delete wanted[id] }' | paste -s -d, -)
[ -z "$waiting" ] || qstat -j "$waiting" 2>/dev/null </dev/null | awk '
    /^[a-z]/ { about = 0; lines = 0 }
    /^job_number:|^error reason|^jid_predecessor_list|^scheduling info:/ { about = 1 }
    about && lines++ < 6'
echo end"#;

/// Prints the records of jobs that have ended. `qacct` takes one id and reads the whole accounting each time: of many
/// jobs the records of this user are read at once.
const POST_MORTEM: &str = r#"ids=$(cat) code=0
if [ "$(printf '%s\n' "$ids" | wc -l)" -le 20 ]; then
    for id in $ids; do qacct -j "$id" </dev/null || code=$?; done
else
    records=$(qacct -o "$(id -un)" -j </dev/null) || code=$?
    printf '%s\n' "$ids" -- "$records" | awk '
        !listed { if ($0 == "--") listed = 1; else wanted[$0]; next }
        /^====/ { if (id in wanted) printf "%s", block; block = ""; id = "" }
        { block = block $0 "\n" }
        $1 == "jobnumber" { id = $2 }
        END { if (id in wanted) printf "%s", block }'
fi
echo end
exit "$code""#;

/// Prints number and context of the jobs whose context holds one of the tags on standard input.
const FIND: &str = r#"tags=$(cat)
jobs=$(qstat -j '*' 2>&1 </dev/null) || case $jobs in
*'do not exist'*) jobs='' ;;
*)
    printf '%s\n' "$jobs" >&2
    exit 1
    ;;
esac
printf '%s\n' "$jobs" | awk '/^job_number:/ { id = $2 } /^context:/ { print id, $0 }' | grep -F -e "$tags"
echo end"#;

/// Deletes, and where the host does not answer any more removes the jobs all the same, if the site allows it: that call
/// waits for a minute, so it is left behind.
const KILL: &str = r#"qdel "$@" </dev/null
code=$?
nohup qdel -f "$@" >/dev/null 2>&1 </dev/null &
exit "$code""#;

/// Prints the cell and the host of its master.
const IDENTIFY: &str = r#"master=$(qconf -sss </dev/null) && echo "${SGE_CELL:-default}@$master""#;

/// Prints queues, consumables and hosts.
const DISCOVER: &str = r#"queues=$(qconf -sql </dev/null) || exit
for queue in $queues; do qconf -sq "$queue" </dev/null; done
echo complexes
complexes=$(qconf -sc </dev/null)
printf '%s\n' "$complexes"
gpu=$(printf '%s\n' "$complexes" | awk 'tolower($1) ~ /gpu|cuda/ && $6 != "NO" { print $1; exit }')
echo hosts
qhost -q -F "num_proc${gpu:+,$gpu}" -xml </dev/null
echo
echo end"#;

/// What `qsub` says when no job was made and the same may work later.
const LATER: &[&str] = &[
    "unable to send message to qmaster",
    "unable to contact qmaster",
    "can't connect to service",
    "got select error",
    "can't resolve hostname of qmaster",
    "jobs are allowed per user",
    "jobs are allowed per cluster",
    "jobs are allowed in total",
    "Connection refused",
    "try again later",
];
/// What it says when a job may exist all the same.
const UNCERTAIN: &[&str] = &[
    "failed receiving gdi request",
    "got no response from qmaster",
    "got receive error",
    "timeout",
    "timed out",
];
const NO_SUCH_JOB: &[&str] = &["not found"];
const NO_ACCOUNTING: &[&str] = &["No such file or directory", "no accounting", "Permission denied"];

/// Name of the tag in a job's context.
const TAG: &str = "vitreous";

/// The adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sge;

fn submission(script: &Script) -> Vec<String> {
    /// Longest name of a job that every Grid Engine shows whole.
    const LONGEST_NAME: usize = 200;
    let mut args = vec!["-terse".to_string()];
    let mut option = |name: &str, value: String| args.extend([name.to_string(), value]);
    option("-N", plain_name(&script.name, LONGEST_NAME));
    option("-ac", format!("{TAG}={}", script.tag));
    option("-wd", script.folder.clone());
    option("-o", script.stdout.clone());
    option("-e", script.stderr.clone());
    option("-j", "n".into());
    if !script.after.is_empty() {
        let ids: Vec<&str> = script.after.iter().map(|id| id.0.as_str()).collect();
        option("-hold_jid", ids.join(","));
    }
    if let Some(array) = script.array {
        option("-t", format!("1-{}", array.tasks));
        if array.at_once > 0 {
            option("-tc", array.at_once.to_string());
        }
    }
    if !script.avoid.is_empty() {
        let hosts: Vec<&str> = script.avoid.iter().map(String::as_str).collect();
        option("-l", format!("h=!({})", hosts.join("|")));
    }
    // qdel warns with SIGUSR2, as long before its SIGKILL as the queue says: the engine saves its work
    args.push("-notify".into());
    args
}

fn lines_of(ids: &[JobId]) -> Option<String> {
    Some(id_lines(ids.iter().filter(|id| is_plain_id(id)).map(|id| id.0.as_str()), "\n"))
}

impl Scheduler for Sge {
    fn name(&self) -> &'static str {
        "sge"
    }

    fn template(&self) -> &'static str {
        include_str!("../../../templates/sge.sh.tera")
    }

    fn variables(&self) -> &'static [&'static str] {
        &["SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_CLUSTER_NAME", "LD_LIBRARY_PATH"]
    }

    fn submit(&self, _site: &Site, script: &Script) -> Cmd {
        Cmd::new("qsub", submission(script).into_iter().chain([script.path.clone()]))
    }

    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError> {
        const EXPECTED: &str = "the job's number";
        let said = Said::new("sge", answer);
        if answer.code == 0 {
            // warnings may stand before it; an array is `5.1-4:1`
            let ids =
                answer.stdout.lines().rev().map(|line| line.trim().split('.').next().unwrap_or_default());
            return ids
                .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_digit()))
                .map(|id| JobId(id.to_string()))
                .next()
                .ok_or_else(|| said.unexpected(EXPECTED));
        }
        Err(said.not_submitted(UNCERTAIN, LATER, &[], EXPECTED))
    }

    fn status(&self, _site: &Site, ids: &[JobId]) -> Cmd {
        Cmd { stdin: lines_of(ids), ..Cmd::shell(STATUS, "status", Vec::<String>::new()) }
    }

    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        const EXPECTED: &str = "the XML of qstat, then `end`";
        let said = Said::new("sge", answer);
        let listing = said.listing(&[], EXPECTED)?;
        states::of_qstat(ids, listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn post_mortem(&self, _site: &Site, ids: &[JobId]) -> Option<Cmd> {
        Some(Cmd { stdin: lines_of(ids), ..Cmd::shell(POST_MORTEM, "post-mortem", Vec::<String>::new()) })
    }

    fn parse_post_mortem(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        const EXPECTED: &str = "records of qacct, then `end`";
        let said = Said::new("sge", answer);
        if answer.code != 0 && (said.is_without_command() || said.says(NO_ACCOUNTING)) {
            return Ok(vec![Standing::gone(); ids.len()]);
        }
        let listing = said.listing(NO_SUCH_JOB, EXPECTED)?;
        account::of_qacct(ids, listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn find_by_tag(&self, _site: &Site, tags: &[Uuid]) -> Option<Cmd> {
        let tags: Vec<String> = tags.iter().map(|tag| format!("{TAG}={tag}")).collect();
        Some(Cmd { stdin: Some(tags.join("\n")), ..Cmd::shell(FIND, "find", Vec::<String>::new()) })
    }

    fn parse_find(&self, tags: &[Uuid], answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
        let listing =
            Said::new("sge", answer).listing(&[], "lines of `ID context: vitreous=UUID`, then `end`")?;
        let jobs = listing.lines().filter_map(|line| {
            let (id, context) = line.split_once(' ')?;
            let tag = tags.iter().find(|tag| context.contains(&tag.to_string()))?;
            id.chars().all(|c| c.is_ascii_digit()).then(|| (*tag, JobId(id.to_string())))
        });
        Ok(jobs.collect())
    }

    fn test_only(&self, _site: &Site, script: &Script) -> Option<Cmd> {
        let args = ["-w".to_string(), "v".to_string()].into_iter().chain(submission(script));
        Some(Cmd::new("qsub", args.chain([script.path.clone()])))
    }

    fn parse_test_only(&self, answer: &Answer) -> Result<String, SchedulerError> {
        let said = Said::new("sge", answer);
        match answer.code {
            0 => Ok(format!("{}\n{}", answer.stdout.trim(), answer.stderr.trim()).trim().to_string()),
            _ if said.did_not_run() || said.says(LATER) => Err(said.unreachable()),
            _ => Err(said.refused()),
        }
    }

    fn cancel(&self, _site: &Site, ids: &[JobId], how: Stop) -> Cmd {
        let ids = ids.iter().filter(|id| is_plain_id(id)).map(|id| id.0.clone());
        match how {
            Stop::Ask => Cmd::new("qdel", ids),
            Stop::Kill => Cmd::shell(KILL, "cancel", ids),
        }
    }

    fn identify(&self, _site: &Site) -> Option<Cmd> {
        Some(Cmd::shell(IDENTIFY, "identify", Vec::<String>::new()))
    }

    fn parse_identify(&self, answer: &Answer) -> Option<String> {
        let name = answer.stdout.trim();
        (answer.code == 0 && name.contains('@') && !name.ends_with('@')).then(|| name.to_string())
    }

    fn discover(&self, _site: &Site) -> Option<Cmd> {
        Some(Cmd::shell(DISCOVER, "discover", Vec::<String>::new()))
    }

    fn parse_discover(&self, answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError> {
        const EXPECTED: &str =
            "`qconf -sq` of the queues, `complexes`, `hosts` and the XML of qhost, then `end`";
        let said = Said::new("sge", answer);
        let listing = said.listing(&[], EXPECTED)?;
        hosts::of_qconf(listing).ok_or_else(|| said.unexpected(EXPECTED))
    }

    fn job_id_var(&self) -> &'static str {
        "$JOB_ID"
    }

    fn task_id_var(&self) -> &'static str {
        "$SGE_TASK_ID"
    }

    fn reruns_on_99(&self) -> bool {
        true
    }
}
