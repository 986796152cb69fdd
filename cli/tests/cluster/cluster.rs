//! What differs between schedulers, as far as these tests are concerned.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A scheduler, and how a test gets at it.
#[derive(Debug)]
pub struct Cluster {
    /// Its name in lanes.
    pub name: &'static str,
    /// Commands of it that Vitreous runs, which faults may stand before.
    pub commands: &'static [&'static str],
    /// The one that submits; empty: none.
    pub submit: &'static str,
    /// Those that tell of jobs.
    pub queries: &'static [&'static str],
    /// Lines of every lane of it.
    pub lane: &'static str,
    /// The directive that makes a job wait until somebody releases it; empty: none.
    pub hold: &'static str,
    /// A part of what `why` quotes of the scheduler for a job held so.
    pub held_words: &'static str,
    /// A queue that there is not, as a directive of a lane.
    pub wrong_queue: &'static str,
    /// What it says of a queue that there is not.
    pub wrong_queue_words: &'static str,
    /// What it says when it took a job but its answer was lost on the way.
    pub lost_words: &'static str,
    /// What it says when it takes no more jobs of this user.
    pub full_words: &'static str,
    /// The node that the first job goes to and that can be lost; empty: none.
    pub node: &'static str,
    /// Commands that show what it knows, for reports of failures.
    pub views: &'static [&'static [&'static str]],
}

/// Answers fast, because tests are impatient: asked twice a second, and believed after five.
const LOCAL: Cluster = Cluster {
    name: "local",
    commands: &[],
    submit: "",
    queries: &[],
    lane: "slots: 8\nlimits: {threads: 8}\nenforce_memory: true\n",
    hold: "",
    held_words: "",
    wrong_queue: "",
    wrong_queue_words: "",
    lost_words: "",
    full_words: "",
    node: "",
    views: &[&["ps", "x", "-o", "pid,ppid,sid,stat,etime,args"]],
};
const SLURM: Cluster = Cluster {
    name: "slurm",
    commands: &["sbatch", "squeue", "scontrol", "scancel", "sacct", "sinfo"],
    submit: "sbatch",
    queries: &["squeue", "scontrol", "sacct"],
    lane: "queue: normal\npoll_s: 0.5\ngrace_s: 5\n",
    hold: "--hold",
    held_words: "JobHeldUser",
    wrong_queue: "queue: nosuch\n",
    wrong_queue_words: "invalid partition specified: nosuch",
    lost_words: "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    full_words: "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    node: "n1",
    views: &[&["squeue", "-t", "all", "-o", "%i|%j|%T|%r|%N|%V|%S"], &["sinfo", "-N"]],
};
const SGE: Cluster = Cluster {
    name: "sge",
    commands: &["qsub", "qstat", "qdel", "qacct", "qconf", "qhost", "qmod"],
    submit: "qsub",
    queries: &["qstat", "qacct"],
    lane: "queue: all.q\npoll_s: 0.5\ngrace_s: 8\n",
    hold: "-h",
    held_words: "hqw",
    wrong_queue: "queue: nosuch.q\n",
    wrong_queue_words: "unknown queue \"nosuch.q\"",
    lost_words: "error: failed receiving gdi request response for mid=1 (got syncron message receive timeout error).",
    full_words: "Unable to run job: job rejected: Only 75000 jobs are allowed per user (current job count: 75000).",
    node: "all",
    views: &[&["qstat", "-f", "-u", "*"], &["qhost", "-q"]],
};
const PBS: Cluster = Cluster {
    name: "pbs",
    commands: &["qsub", "qstat", "qdel", "qsig", "pbsnodes"],
    submit: "qsub",
    queries: &["qstat"],
    lane: "queue: workq\npoll_s: 0.5\ngrace_s: 5\n",
    hold: "-h",
    held_words: "held",
    wrong_queue: "queue: nosuch\n",
    wrong_queue_words: "Unknown queue",
    lost_words: "qsub: End of File",
    full_words: "qsub: Maximum number of jobs already in queue",
    node: "n1",
    views: &[&["qstat", "-x"], &["pbsnodes", "-a"]],
};
const SSH: Cluster = Cluster {
    name: "ssh",
    commands: &["ssh"],
    submit: "",
    queries: &["ssh"],
    lane: "poll_s: 0.5\ngrace_s: 5\nenforce_memory: true\n",
    hold: "",
    held_words: "",
    wrong_queue: "",
    wrong_queue_words: "",
    lost_words: "",
    full_words: "",
    node: "w1",
    views: &[&["ps", "x", "-o", "pid,ppid,sid,stat,etime,args"]],
};

/// How long root may take to stop or start a part of the cluster.
const OPERATOR: Duration = Duration::from_secs(90);

impl Cluster {
    /// The one that the environment names.
    pub fn here() -> Option<&'static Self> {
        let name = std::env::var("VITREOUS_CLUSTER").ok()?;
        let known: [&'static Self; 5] = [&LOCAL, &SLURM, &SGE, &PBS, &SSH];
        let found = known.into_iter().find(|cluster| cluster.name == name);
        Some(found.unwrap_or_else(|| panic!("VITREOUS_CLUSTER={name} is none of the known clusters")))
    }

    /// Jobs are handed to somebody else who decides when they run.
    pub fn has_queue(&self) -> bool {
        !self.submit.is_empty()
    }

    /// Its own lines of a lane; some depend on the run.
    pub fn lane_lines(&self) -> String {
        let mut lines = format!("scheduler: {}\n{}", self.name, self.lane);
        if self.name == "ssh" {
            lines += "workers:\n";
            for worker in variable("VITREOUS_SSH_WORKERS").split_whitespace() {
                lines += &format!("- {{host: {worker}, threads: 4, mem_gib: 4}}\n");
            }
            lines += &format!("ssh_options: [-F, {}]\n", variable("VITREOUS_SSH_CONFIG"));
        }
        lines
    }

    /// Hosts that jobs run on; a single server on the loopback, where there are no network namespaces, is this one.
    pub fn hosts(&self) -> usize {
        match self.name {
            "local" => 1,
            "ssh" => variable("VITREOUS_SSH_WORKERS").split(' ').count(),
            // one daemon that can be lost while its jobs live
            _ => 2,
        }
    }

    /// Jobs that the scheduler started with a working directory or output below `folder`, a line for each start, in its
    /// own words; `None` where nobody keeps such a list. A start may take a moment to be listed.
    pub fn starts(&self, folder: &Path) -> Option<Vec<String>> {
        let lines = match self.name {
            "slurm" => {
                let text = std::fs::read_to_string(self.folder().join("jobcomp.txt")).unwrap();
                // one that was cancelled before its start has no node
                text.lines().filter(|line| !line.contains("NodeList=(null)")).map(String::from).collect()
            }
            "sge" => lines_of(&self.folder().join("executions")),
            "pbs" => pbs_starts()?,
            _ => return None,
        };
        let folder = folder.to_string_lossy();
        Some(lines.into_iter().filter(|line| line.contains(&*folder)).collect())
    }

    /// Lets go of a job that [`Cluster::hold`] keeps.
    pub fn release(&self, id: &str) {
        match self.name {
            // once it has forgotten what a held job waited for, Slurm takes the hold for an administrator's
            "slurm" => self.operate(&format!("release job {id}")),
            "sge" | "pbs" => run(&["qrls", id]),
            other => panic!("{other} holds no jobs"),
        }
    }

    /// Waits until the scheduler has forgotten a job that has ended.
    pub fn forget(&self, id: &str) {
        match self.name {
            "slurm" => until(Duration::from_secs(120), "Slurm to forget a job", || {
                !output(&["scontrol", "show", "job", id]).status.success()
            }),
            "pbs" => run(&["qdel", "-x", id]),
            // it has left the queue when it has ended; nothing there looks at its end
            _ => {}
        }
    }

    /// Asks root to stop or start the controller.
    pub fn controller(&self, direction: &str) {
        self.operate(&format!("controller {direction}"));
    }

    /// Asks root to lose or find a node.
    pub fn node(&self, direction: &str) {
        self.operate(&format!("node {direction} {}", self.node));
    }

    fn operate(&self, request: &str) {
        let folder = PathBuf::from(variable("VITREOUS_CLUSTER_RUN")).join("operator");
        let name = format!("{}-{:?}", std::process::id(), Instant::now())
            .replace(|c: char| !c.is_alphanumeric(), "-");
        std::fs::write(folder.join(format!("{name}.new")), format!("{request}\n")).unwrap();
        std::fs::rename(folder.join(format!("{name}.new")), folder.join(format!("{name}.request"))).unwrap();
        let answer = folder.join(format!("{name}.answer"));
        until(OPERATOR, request, || answer.exists());
        let code = std::fs::read_to_string(&answer).unwrap();
        assert_eq!(code.trim(), "0", "{request}: see operator.log of the run's folder");
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(variable("VITREOUS_CLUSTER_DIR"))
    }
}

/// A line for each script that the stand-in started, with its working directory.
fn pbs_starts() -> Option<Vec<String>> {
    let folder = PathBuf::from(std::env::var("VITREOUS_FAKE_PBS").ok().filter(|folder| !folder.is_empty())?);
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("state.json")).unwrap()).unwrap();
    let with_folder = |line: String| {
        let id = line.split(' ').next().unwrap_or_default();
        format!("{line} {}", state["jobs"][id]["origin"]["PBS_O_WORKDIR"].as_str().unwrap_or_default())
    };
    Some(lines_of(&folder.join("executions")).into_iter().map(with_folder).collect())
}

fn lines_of(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(String::from).collect()
}

/// A variable that `ci/cluster` sets.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run ci/cluster"))
}

fn output(words: &[&str]) -> Output {
    Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Runs a command that must succeed.
pub fn run(words: &[&str]) {
    let output = output(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until something holds that no project knows of.
pub fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}
