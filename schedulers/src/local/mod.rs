//! `local`: a job is a session of processes of this host. See README.md.

mod answers;
#[cfg(test)]
mod tests;

use crate::scheduler::{
    Answer, Cmd, JobId, Queue, QueueInfo, Scheduler, SchedulerError, Script, Standing, Stop,
};
use crate::site::Site;
use uuid::Uuid;

/// Starts `$1` as a session of its own, detached from terminal and login shell, with its output in `$2` and `$3`, and
/// prints host, boot, pid and start time. In a shell without job control a background command leads no process group,
/// so `setsid` does not fork, and `$!` is the session's leader. A leader that has ended already is a zombie of this
/// shell and can still be read.
const SUBMIT: &str = r#"VITREOUS_ATTEMPT="$4" setsid nohup sh "$1" </dev/null >>"$2" 2>>"$3" &
pid=$!
read -r boot </proc/sys/kernel/random/boot_id && read -r stat <"/proc/$pid/stat" || exit 1
echo "started $(uname -n) $boot $pid ${stat##*) }""#;

/// Prints host and boot, the stat line of each pid asked for, and, if one is missing, of the live members of its
/// session: an engine outlives its script when only the script is killed.
const STATUS: &str = r#"read -r boot </proc/sys/kernel/random/boot_id
echo "host $(uname -n) $boot"
gone=' '
for pid in "$@"; do
    if read -r stat 2>/dev/null <"/proc/$pid/stat"; then
        rest=${stat##*) }
        echo "leader $pid $rest"
        case $rest in [ZX]*) gone="$gone$pid " ;; esac
    else
        gone="$gone$pid "
    fi
done
[ "$gone" = ' ' ] && { echo end; exit 0; }
for file in /proc/[0-9]*/stat; do
    read -r stat 2>/dev/null <"$file" || continue
    rest=${stat##*) }
    set -- $rest
    case $gone in *" $4 "*) echo "member $4 ${stat%% *} $rest" ;; esac
done
echo end"#;

/// Prints, for each tag, the processes that carry it in their environment.
const FIND: &str = r#"read -r boot </proc/sys/kernel/random/boot_id
for tag in "$@"; do
    for file in $(grep -lsz "^VITREOUS_ATTEMPT=$tag\$" /proc/[0-9]*/environ); do
        pid=${file#/proc/} pid=${pid%/environ}
        read -r stat 2>/dev/null <"/proc/$pid/stat" || continue
        echo "found $tag $(uname -n) $boot $pid ${stat##*) }"
    done
done
echo end"#;

/// Asks (TERM to the script, which hands it to the engine) or kills (KILL to every process of the session). The start
/// time is compared, so that a process that was given the pid later is left alone.
const CANCEL: &str = r#"signal=$1
shift
while [ $# -ge 2 ]; do
    leader=$1 start=$2
    shift 2
    found=
    if read -r stat 2>/dev/null <"/proc/$leader/stat"; then
        found=$(echo "${stat##*) }" | cut -d' ' -f20)
        [ "$found" = "$start" ] || continue
        case ${stat##*) } in [ZX]*) found= ;; esac
    fi
    if [ "$signal" = TERM ] && [ -n "$found" ]; then
        kill -s TERM "$leader" 2>/dev/null
        continue
    fi
    for file in /proc/[0-9]*/stat; do
        read -r stat 2>/dev/null <"$file" || continue
        session=$(echo "${stat##*) }" | cut -d' ' -f4)
        [ "$session" = "$leader" ] && kill -s "$signal" "${stat%% *}" 2>/dev/null
    done
done
exit 0"#;

/// Prints the host's name, cores, memory in KiB, and the numbers of its NVIDIA devices.
const DISCOVER: &str = r#"echo "host $(uname -n) $(nproc) $(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
for device in /dev/nvidia[0-9]*; do
    [ -c "$device" ] && echo "gpu ${device#/dev/nvidia}"
done
echo end"#;

/// The adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Scheduler for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn template(&self) -> &'static str {
        include_str!("../../../templates/local.sh.tera")
    }

    fn variables(&self) -> &'static [&'static str] {
        &[]
    }

    fn submit(&self, _site: &Site, script: &Script) -> Cmd {
        let args = [&script.path, &script.stdout, &script.stderr].map(Clone::clone);
        Cmd::shell(SUBMIT, "launch", args.into_iter().chain([script.tag.to_string()]))
    }

    fn parse_submit(&self, answer: &Answer) -> Result<JobId, SchedulerError> {
        answers::started(answer)
    }

    fn status(&self, _site: &Site, ids: &[JobId]) -> Cmd {
        let pids = ids.iter().filter_map(answers::Process::of_id).map(|process| process.pid.to_string());
        Cmd::shell(STATUS, "status", pids)
    }

    fn parse_status(&self, ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        answers::states(ids, answer)
    }

    fn post_mortem(&self, _site: &Site, _ids: &[JobId]) -> Option<Cmd> {
        None
    }

    fn parse_post_mortem(&self, ids: &[JobId], _answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
        Ok(vec![Standing::of(Queue::Gone); ids.len()])
    }

    fn find_by_tag(&self, _site: &Site, tags: &[Uuid]) -> Option<Cmd> {
        Some(Cmd::shell(FIND, "find", tags.iter().map(Uuid::to_string)))
    }

    fn parse_find(&self, _tags: &[Uuid], answer: &Answer) -> Result<Vec<(Uuid, JobId)>, SchedulerError> {
        answers::found(answer)
    }

    fn test_only(&self, _site: &Site, script: &Script) -> Option<Cmd> {
        Some(Cmd::new("sh", ["-n", &script.path]))
    }

    fn cancel(&self, _site: &Site, ids: &[JobId], how: Stop) -> Cmd {
        let signal = match how {
            Stop::Ask => "TERM",
            Stop::Kill => "KILL",
        };
        let processes = ids.iter().filter_map(answers::Process::of_id);
        let args = processes.flat_map(|process| [process.pid.to_string(), process.start_ticks.to_string()]);
        Cmd::shell(CANCEL, "cancel", std::iter::once(signal.to_string()).chain(args))
    }

    fn identify(&self, _site: &Site) -> Option<Cmd> {
        None
    }

    fn parse_identify(&self, _answer: &Answer) -> Option<String> {
        None
    }

    fn discover(&self, _site: &Site) -> Option<Cmd> {
        Some(Cmd::shell(DISCOVER, "discover", Vec::<String>::new()))
    }

    fn parse_discover(&self, answer: &Answer) -> Result<Vec<QueueInfo>, SchedulerError> {
        answers::host(answer).map(|host| vec![host])
    }

    fn job_id_var(&self) -> &'static str {
        "$$"
    }

    fn can_wait_for_jobs(&self) -> bool {
        false
    }

    fn places_jobs(&self) -> bool {
        true
    }
}
