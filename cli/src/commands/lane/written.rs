//! Lane files as `lane add` writes them: every line with what it means, limits as the scheduler told them, and what
//! could stand there besides in comments.

use std::fmt::Write;
use vitreous_schedulers::lane::walltime_text;
use vitreous_schedulers::{Lane, QueueInfo, Worker};

/// Column of the comments behind values; a longer value pushes its comment on, a blank away.
const COLUMN: usize = 39;

/// Lines of a lane file.
struct Sheet {
    text: String,
}

impl Sheet {
    fn new(name: &str, what: &str) -> Self {
        let mut sheet = Self { text: String::new() };
        sheet.line(&format!("# Lane {name}: {what}."));
        sheet.line("# After changes: `vitreous lane check` runs a job of a minute through it.");
        sheet.line("schema: 1");
        sheet
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a string should succeed");
    }

    /// `key: value  # meaning`.
    fn value(&mut self, indent: &str, key: &str, value: &str, meaning: &str) {
        let entry = format!("{indent}{key}: {value}");
        self.line(&format!("{entry:<COLUMN$} # {meaning}"));
    }

    /// The same, not in force.
    fn proposal(&mut self, indent: &str, key: &str, value: &str, meaning: &str) {
        let entry = format!("{indent}# {key}: {value}");
        self.line(&format!("{entry:<COLUMN$} # {meaning}"));
    }

    /// In force if there is a value, else a proposal with an example.
    fn known(&mut self, indent: &str, key: &str, value: Option<String>, example: &str, meaning: &str) {
        match value {
            Some(value) => self.value(indent, key, &value, meaning),
            None => self.proposal(indent, key, example, meaning),
        }
    }

    fn text_value(&mut self, key: &str, value: &str, example: &str, meaning: &str) {
        self.known("", key, Some(value).filter(|value| !value.is_empty()).map(quoted), example, meaning);
    }

    /// What all lanes can have, for the end.
    fn common(&mut self, scratch: &str) {
        self.text_value("scratch", scratch, "/scratch/$USER", "folder for temporary files on each host");
        self.proposal(
            "",
            "engine",
            "/apps/vitreous/bin/vitreous-engine",
            "on the hosts; else beside vitreous or in PATH",
        );
        self.value("", "launcher", "mpirun", "starts several ranks: `-n RANKS` is added");
        self.proposal(
            "",
            "setup",
            "module load openmpi",
            "shell lines before the engine; several after `setup: |`",
        );
        self.proposal("", "env", "{OMP_PROC_BIND: \"false\"}", "environment of the jobs");
        self.proposal("", "retry", "2", "times a job runs again by itself; else as the project says");
    }
}

/// As YAML: JSON's texts are YAML's, too; plain words stay bare.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-@$".contains(c);
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '$')
        && text.chars().all(plain);
    let is_reserved =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_word && !is_reserved { text.into() } else { serde_json::Value::from(text).to_string() }
}

fn list(words: &[String]) -> String {
    format!(
        "[{}]",
        words
            .iter()
            .map(|word| serde_json::Value::from(word.as_str()).to_string())
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// Whole GiB, rounded down: the host itself needs some.
fn gib(mem_mib: Option<u64>) -> Option<String> {
    mem_mib.map(|mib| mib / 1024).filter(|gib| *gib > 0).map(|gib| gib.to_string())
}

/// A lane of a cluster's queue.
pub fn cluster(name: &str, lane: &Lane, queue: &QueueInfo, all: &[QueueInfo]) -> String {
    let mut sheet = Sheet::new(name, &format!("queue {} of {}", queue.name, kind(&lane.scheduler)));
    sheet.value(
        "",
        "scheduler",
        &lane.scheduler,
        "its template is built in; `template: FILE` names another beside this",
    );
    sheet.value("", "queue", &quoted(&queue.name), "queue or partition");
    for other in all.iter().filter(|other| other.name != queue.name) {
        sheet.line(&format!("# queue: {}", described(other)));
    }
    sheet.text_value("account", &lane.account, "em42", "account or project that is charged");
    sheet.proposal("", "options", options_example(&lane.scheduler), "further directives, as they are");
    reach(&mut sheet, lane);
    sheet
        .line("limits:                                 # what one job may ask for, as far as the queue says");
    let walltime = queue.walltime_s.map(walltime_text);
    sheet.known(
        "  ",
        "walltime",
        walltime.map(|text| quoted(&text)),
        "2-00:00:00",
        "jobs save their work before it and go on after it",
    );
    sheet.known("  ", "mem_gib", gib(queue.mem_mib), "180", "memory of the largest host, GiB");
    sheet.known(
        "  ",
        "threads",
        queue.cores.map(|cores| cores.to_string()),
        "32",
        "cores of the largest host, for all ranks of a job",
    );
    sheet.known("  ", "gpus", queue.gpus.map(|gpus| gpus.to_string()), "4", "GPUs of the largest host");
    sheet.value("  ", "nodes", "1", "hosts of one job; more needs a launcher that reaches them");
    words_of_requests(&mut sheet, lane, queue);
    sheet.proposal("", "array", "50", "per-movie work as an array of tasks of so many items");
    sheet.proposal("", "array_at_once", "20", "at most so many tasks at once");
    sheet.proposal("", "slots", "100", "at most so many jobs with the scheduler at once");
    sheet.value("", "signal_s", "180", "seconds before the time limit at which jobs save their work");
    sheet.proposal("", "poll_s", "10", "least time between two questions to the scheduler, seconds");
    sheet.common("");
    sheet.text
}

fn kind(scheduler: &str) -> &str {
    match scheduler {
        "slurm" => "Slurm",
        "sge" => "Grid Engine",
        "pbs" => "PBS",
        other => other,
    }
}

fn options_example(scheduler: &str) -> &'static str {
    match scheduler {
        "slurm" => "[\"--qos=long\"]",
        "sge" => "[\"-l os=rhel8\"]",
        _ => "[\"-l place=scatter\"]",
    }
}

/// `short: 4 hosts of 32 cores, 187 GiB, 2 GPUs (gres:a100), 12:00:00, closed`.
fn described(queue: &QueueInfo) -> String {
    let mut words = Vec::new();
    let hosts = queue.nodes.map(|nodes| format!("{nodes} host{}", if nodes == 1 { "" } else { "s" }));
    let cores = queue.cores.map(|cores| format!("up to {cores} cores"));
    words.extend(hosts.into_iter().chain(cores));
    words.extend(gib(queue.mem_mib).map(|gib| format!("{gib} GiB")));
    if let Some(gpus) = queue.gpus.filter(|gpus| *gpus > 0) {
        let word = queue.gpu_resource.as_ref().map_or(String::new(), |word| format!(" ({word})"));
        words.push(format!("{gpus} GPUs{word}"));
    }
    words.extend(queue.walltime_s.map(walltime_text));
    words.extend(queue.is_default.then(|| "the default".to_string()));
    words.extend((!queue.is_open).then(|| "closed".to_string()));
    format!("{:<24} # {}", quoted(&queue.name), words.join(", "))
}

/// How the scheduler is reached.
fn reach(sheet: &mut Sheet, lane: &Lane) {
    sheet.text_value(
        "submit_host",
        &lane.submit_host,
        "login.site",
        "host where the scheduler's commands run, through ssh",
    );
    if !lane.ssh_options.is_empty() {
        sheet.value("", "ssh_options", &list(&lane.ssh_options), "for ssh");
    }
    sheet.text_value(
        "command_dir",
        &lane.command_dir,
        "/opt/cluster/bin",
        "folder of its commands, if they are not in PATH",
    );
    sheet.text_value(
        "cluster",
        &lane.cluster,
        "big",
        "cluster (Slurm) or server (PBS), if it is not the default one",
    );
    if !lane.dialect.is_empty() {
        sheet.value("", "dialect", &quoted(&lane.dialect), "of the scheduler");
    }
}

/// The words by which GPUs, memory and slots are asked for there.
fn words_of_requests(sheet: &mut Sheet, lane: &Lane, queue: &QueueInfo) {
    let has_gpus = queue.gpus.is_some_and(|gpus| gpus > 0);
    let word = queue.gpu_resource.as_deref().filter(|_| has_gpus).unwrap_or("");
    match lane.scheduler.as_str() {
        "slurm" => {
            // a word with a type (`gres:a100`); without one it is what is asked for anyway
            let option = Some(word).filter(|word| word.contains(':')).map(quoted);
            let meaning = "how GPUs are asked for: `gres` or `gpus-per-node`, then maybe a type";
            sheet.known("", "gpu_option", option, "gres:a100", meaning);
            sheet.proposal("", "mem_option", "mem-per-cpu", "how memory is asked for; `none`: not at all");
        }
        "sge" => {
            let option = Some(word).filter(|word| !word.is_empty()).map(quoted);
            sheet.known("", "gpu_option", option, "gpu", "the resource by which GPUs are asked for");
            sheet.proposal(
                "",
                "mem_option",
                "h_vmem",
                "the resource of memory, for each slot; `none`: not asked for",
            );
            environments(sheet, &queue.parallel_environments);
        }
        _ => {
            let option = Some(word).filter(|word| !word.is_empty()).map(quoted);
            sheet.known(
                "",
                "gpu_option",
                option,
                "ngpus",
                "the resource of a chunk by which GPUs are asked for",
            );
        }
    }
}

fn environments(sheet: &mut Sheet, all: &[String]) {
    let find = |words: &[&str]| {
        let has = |name: &&String| words.iter().any(|word| name.to_lowercase().contains(word));
        all.iter().find(has).map(|name| quoted(name))
    };
    let threads = find(&["smp", "thread", "openmp", "shared", "def_slot", "serial"]);
    let ranks = find(&["mpi", "orte", "round"]);
    sheet.line("parallel_environments:                  # of Grid Engine");
    let names = if all.is_empty() { "none found: ask `qconf -spl`".to_string() } else { all.join(", ") };
    sheet.value(
        "  ",
        "threads",
        threads.as_deref().unwrap_or("smp"),
        &format!("all slots on one host; there are: {names}"),
    );
    sheet.value("  ", "ranks", ranks.as_deref().unwrap_or("mpi"), "slots over hosts, for several ranks");
}

/// A lane of this machine.
pub fn local(name: &str, lane: &Lane, found: &[QueueInfo]) -> String {
    let host = found.first().cloned().unwrap_or_default();
    let mut sheet = Sheet::new(name, &format!("processes of {}", host.name));
    sheet.value("", "scheduler", &lane.scheduler, "jobs are processes of the host where `vitreous` runs");
    sheet.proposal("", "slots", "2", "jobs at once; else as many as there are cores for");
    sheet.line("limits:");
    sheet.known(
        "  ",
        "threads",
        host.cores.map(|cores| cores.to_string()),
        "16",
        "cores of all its jobs together",
    );
    sheet.known("  ", "mem_gib", gib(host.mem_mib), "60", "memory of one job, GiB");
    sheet.known("  ", "gpus", host.gpus.map(|gpus| gpus.to_string()), "1", "GPUs of one job");
    sheet.proposal("  ", "walltime", "2-00:00:00", "jobs save their work before it and go on after it");
    sheet.proposal("", "enforce_memory", "true", "jobs above their memory are killed");
    sheet.common("");
    sheet.text
}

/// A lane of several machines.
pub fn ssh(name: &str, lane: &Lane, workers: &[Worker]) -> String {
    let mut sheet =
        Sheet::new(name, "machines that share this file system, reached through ssh without a question");
    sheet.value("", "scheduler", "ssh", "jobs are placed on the machines as far as these reach");
    if lane.ssh_options.is_empty() {
        sheet.proposal(
            "",
            "ssh_options",
            "[-i, ~/.ssh/em, -p, \"2222\"]",
            "for ssh; host keys are always verified",
        );
    } else {
        sheet.value("", "ssh_options", &list(&lane.ssh_options), "for ssh; host keys are always verified");
    }
    sheet.line("workers:");
    for worker in workers {
        let entry = format!("host: {}", quoted(&worker.host));
        sheet.line(&format!(
            "{:<COLUMN$} # destination for ssh, or a `Host` of ~/.ssh/config",
            format!("  - {entry}")
        ));
        sheet.value("    ", "threads", &worker.threads.to_string(), "cores for jobs");
        sheet.known(
            "    ",
            "mem_gib",
            worker.mem_gib.map(|gib| gib.to_string()),
            "60",
            "memory for jobs, GiB; absent: not counted",
        );
        sheet.value("    ", "gpus", &worker.gpus.to_string(), "GPUs; jobs are given their numbers from 0");
        if !worker.scratch.is_empty() {
            sheet.value("    ", "scratch", &quoted(&worker.scratch), "folder for temporary files there");
        }
    }
    sheet.proposal("", "enforce_memory", "true", "jobs above their memory are killed");
    sheet.line("# limits: {walltime: 2-00:00:00}       # jobs save their work before it and go on after it");
    sheet.common(&lane.scratch);
    sheet.text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueInfo {
        QueueInfo {
            name: name.into(),
            is_open: true,
            walltime_s: Some(172_800),
            nodes: Some(4),
            cores: Some(32),
            mem_mib: Some(191_000),
            gpus: Some(2),
            ..QueueInfo::default()
        }
    }

    fn asked(scheduler: &str) -> Lane {
        Lane { scheduler: scheduler.into(), ..Lane::default() }
    }

    fn read(text: &str) -> Lane {
        Lane::parse("l", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_each_scheduler_says_becomes_a_lane() {
        for (scheduler, recorded) in [
            ("slurm", include_str!("../../../../schedulers/src/slurm/fixtures/sinfo.txt")),
            ("sge", include_str!("../../../../schedulers/src/sge/fixtures/discover.txt")),
            ("pbs", include_str!("../../../../schedulers/src/pbs/fixtures/discover.txt")),
        ] {
            let answer = vitreous_schedulers::Answer { stdout: recorded.into(), ..Default::default() };
            let queues = vitreous_schedulers::find(scheduler).unwrap().parse_discover(&answer).unwrap();
            for queue in &queues {
                let lane = read(&cluster("l", &asked(scheduler), queue, &queues));
                assert_eq!((lane.scheduler.as_str(), lane.queue.as_str()), (scheduler, queue.name.as_str()));
                assert_eq!((lane.limits.walltime, lane.limits.threads), (queue.walltime_s, queue.cores));
            }
        }
    }

    #[test]
    fn what_a_queue_has_becomes_limits_and_words() {
        let gpu = QueueInfo { gpu_resource: Some("gres:a100".into()), ..queue("gpu") };
        let all = [gpu.clone(), QueueInfo { is_open: false, is_default: true, ..queue("old") }];
        let far = "/a/folder/whose/name/is/longer/than/the/column/of/comments";
        let lane = Lane {
            command_dir: far.into(),
            account: "em42".into(),
            submit_host: "em@login".into(),
            ssh_options: vec!["-p".into(), "22".into()],
            ..asked("slurm")
        };
        let text = cluster("gpu", &lane, &gpu, &all);
        assert!(text.contains("# queue: old                      # 4 hosts, up to 32 cores, 186 GiB, 2 GPUs, 48:00:00, the default, closed"), "{text}");
        let lane = read(&text);
        assert_eq!(
            (lane.queue.as_str(), lane.account.as_str(), lane.gpu_option.as_str()),
            ("gpu", "em42", "gres:a100")
        );
        assert_eq!(
            (lane.limits.walltime, lane.limits.mem_gib, lane.limits.gpus),
            (Some(172_800), Some(186.0), Some(2))
        );
        assert_eq!((lane.submit_host.as_str(), &lane.ssh_options[1][..]), ("em@login", "22"));
        assert_eq!(lane.command_dir, far);
        // every line says what it means
        let bare = text.lines().filter(|line| !line.contains('#') && !line.starts_with("schema:"));
        assert_eq!(bare.count(), 0, "{text}");
    }

    #[test]
    fn grid_engines_words_are_found_among_its_environments() {
        let environments = ["mpi-fill", "orte", "openmp"].map(String::from).to_vec();
        let all = QueueInfo {
            gpu_resource: Some("v100".into()),
            parallel_environments: environments,
            ..queue("all.q")
        };
        let lane = read(&cluster("sge", &asked("sge"), &all, &[]));
        assert_eq!(
            (lane.parallel_environments.threads.as_str(), lane.parallel_environments.ranks.as_str()),
            ("openmp", "mpi-fill")
        );
        assert_eq!(lane.gpu_option, "v100");
    }

    #[test]
    fn what_is_not_known_is_a_comment() {
        let bare = QueueInfo { name: "on".into(), ..QueueInfo::default() };
        for scheduler in ["slurm", "sge", "pbs"] {
            let lane = read(&cluster("x", &asked(scheduler), &bare, std::slice::from_ref(&bare)));
            assert_eq!((lane.queue.as_str(), lane.limits.mem_gib, lane.limits.gpus), ("on", None, None));
        }
    }

    #[test]
    fn own_machines_are_counted() {
        let lane = Lane::parse("l", &local("l", &asked("local"), &[queue("here")])).unwrap();
        assert_eq!((lane.limits.threads, lane.limits.gpus), (Some(32), Some(2)));
        let workers = [
            Worker {
                host: "em@a".into(),
                threads: 8,
                mem_gib: Some(31.5),
                gpus: 1,
                scratch: "/ssd/my dir".into(),
            },
            Worker { host: "b".into(), threads: 4, mem_gib: None, gpus: 0, scratch: String::new() },
        ];
        let lane = Lane::parse("l", &ssh("l", &asked("ssh"), &workers)).unwrap();
        assert_eq!(lane.workers, workers);
    }
}
