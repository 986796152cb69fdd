//! `probe`: what a job finds where the scheduler has put it. Run by a lane's one-minute probe job.
//!
//! Rank 0 reports. What every host sees for itself (memory, GPUs, scratch, paths, clock) is reported for rank 0's host
//! at the top level and for each other host under `other_hosts`. What does not fit together stands in `problems`, in
//! sentences; a report with problems is still a successful probe.

mod gpus;
mod memory;
mod places;

pub use memory::granted_mib;

use crate::args::ProbeArgs;
use crate::check_ranks;
use crate::failure::Failure;
use crate::grant::Limits;
use crate::ranks::Ranks;
use crate::run::Surroundings;
use crate::{version, world};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use vitreous_compute::comm::{Comm, Solo};
use vitreous_model::SCHEMA;
use vitreous_project::{atomic, process};

/// Variables by which schedulers name a job and its place.
const JOB_VARIABLES: [&str; 22] = [
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_CLUSTER_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_NODELIST",
    "SLURM_RESTART_COUNT",
    "JOB_ID",
    "SGE_TASK_ID",
    "SGE_CLUSTER_NAME",
    "QUEUE",
    "PE",
    "RESTARTED",
    "PBS_JOBID",
    "PBS_ARRAY_INDEX",
    "PBS_ARRAYID",
    "PBS_QUEUE",
    "PBS_SERVER",
    "PBS_NODEFILE",
    "LSB_JOBID",
    "LSB_QUEUE",
];

/// Clocks that differ by more confuse people who compare times of files with logs, seconds. (Vitreous itself never
/// compares clocks of two machines.)
const CLOCKS_DIFFER_S: f64 = 30.0;

/// Looks round on every rank, and writes and returns the report at rank 0 (`None` elsewhere).
///
/// # Errors
/// Ranks that cannot talk to each other, or a report that cannot be written.
pub fn probe(args: &ProbeArgs, around: &Surroundings<'_>) -> anyhow::Result<Option<Value>> {
    let (ranks, problem) = match Ranks::start(args.ranks, around.variable) {
        Ok(ranks) => (Some(ranks), None),
        Err(Failure { message, hint, .. }) => (None, Some(format!("{message}; {hint}"))),
    };
    // processes that could not join each other all take themselves for rank 0: the launcher knows better
    if ranks.is_none() && world::launched_rank(around.variable).is_some_and(|rank| rank > 0) {
        return Ok(None);
    }
    let comm: &dyn Comm = ranks.as_ref().map_or(&Solo, Ranks::comm);
    let tried = check_ranks::check(comm, process::host());
    if let (Err(error), true) = (&tried, comm.size() > 1) {
        crate::speaker::to_log(&format!("error: {error:#}"));
        Ranks::end_all(vitreous_model::exit::INTERNAL);
    }
    let local_ranks = world::ranks_on_host(comm, process::host())?;
    let mine = serde_json::to_vec(&observe(args, around.variable, local_ranks))?;
    let gathered = comm.gather(&mine);
    if comm.rank() > 0 {
        return Ok(None);
    }
    let report = report(&tried?, problem, args, around, &gathered)?;
    if let Some(path) = &args.output {
        atomic::write(path, format!("{report}\n").as_bytes())?;
    }
    Ok(Some(report))
}

/// What this rank sees.
fn observe(args: &ProbeArgs, variable: &dyn Fn(&str) -> Option<String>, local_ranks: usize) -> Value {
    let limits = Limits::of_this_process(args.threads, variable, local_ranks);
    let grant = limits.grant();
    let scratch = args.scratch.as_deref().filter(|folder| !folder.as_os_str().is_empty());
    let paths: Vec<Value> = args.path.iter().map(|path| places::path(path)).collect();
    json!({
        "host": process::host(),
        "cores": {
            "granted": grant.threads,
            "decided_by": grant.decided_by,
            "variables": limits.variables.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "cpu_set": limits.cores,
            "ranks_on_host": local_ranks,
        },
        "memory": memory::observe(variable),
        "gpus": gpus::observe(variable),
        "scratch": scratch.map(places::scratch),
        "paths": paths,
        "clock": places::clock_difference(&shared_folder(args)),
    })
}

/// The folder whose server's clock is compared: where the report goes, else the current one.
fn shared_folder(args: &ProbeArgs) -> PathBuf {
    let folder = args.output.as_deref().and_then(Path::parent);
    folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).into()
}

/// Rank 0's report, from what each rank saw.
fn report(
    tried: &Value,
    problem: Option<String>,
    args: &ProbeArgs,
    around: &Surroundings<'_>,
    gathered: &[Vec<u8>],
) -> anyhow::Result<Value> {
    let mut hosts: Vec<Value> = Vec::new();
    for bytes in gathered {
        let seen: Value = serde_json::from_slice(bytes).context("what another rank saw")?;
        if hosts.iter().all(|known| known["host"] != seen["host"]) {
            hosts.push(seen);
        }
    }
    let mut problems: Vec<String> = problem.into_iter().collect();
    problems.extend(hosts.iter().flat_map(problems_of));
    let variables = JOB_VARIABLES.iter().filter_map(|name| Some((*name, (around.variable)(name)?)));
    let modules = (around.variable)("LOADEDMODULES").unwrap_or_default();
    let engine = version::json();
    let mut report = Map::new();
    report.insert("schema".into(), SCHEMA.into());
    let mut hosts = hosts.into_iter();
    if let Some(Value::Object(own)) = hosts.next() {
        report.extend(own);
    }
    let more = json!({
        "other_hosts": hosts.collect::<Vec<_>>(),
        "ranks": {"count": tried["ranks"], "asked": args.ranks, "hosts": tried["hosts"]},
        "job": variables.collect::<std::collections::BTreeMap<_, _>>(),
        "engine": {"version": engine["version"], "features": engine["features"], "mpi": engine["mpi"]},
        "modules": modules.split(':').filter(|name| !name.is_empty()).collect::<Vec<_>>(),
        "unix_s": around.unix_s,
        "problems": problems,
    });
    if let Value::Object(more) = more {
        report.extend(more);
    }
    Ok(Value::Object(report))
}

/// What does not fit together on one host.
fn problems_of(seen: &Value) -> Vec<String> {
    let host = seen["host"].as_str().unwrap_or_default();
    let mut problems: Vec<String> = gpus::problem(&seen["gpus"]).into_iter().collect();
    let places = seen["paths"].as_array().into_iter().flatten().chain([&seen["scratch"], &seen["clock"]]);
    for place in places {
        if let Some(why) = place["problem"].as_str() {
            let path = place["path"].as_str().or(place["folder"].as_str()).unwrap_or_default();
            problems.push(format!("{path}: {why}"));
        }
    }
    if let Some(seconds) = seen["clock"]["difference_s"].as_f64().filter(|s| s.abs() > CLOCKS_DIFFER_S) {
        problems.push(format!("the file server's clock is {seconds:.0} s ahead of this host's"));
    }
    problems.iter().map(|problem| format!("{host}: {problem}")).collect()
}

/// The report for people.
pub fn text(report: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let (cores, memory, gpus) = (&report["cores"], &report["memory"], &report["gpus"]);
    let mib = |value: &Value| value.as_f64().map_or("unknown".into(), |mib| format!("{mib:.0} MiB"));
    let list =
        |value: &Value| value.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!("host: {}", plain(&report["host"])),
        format!("engine: {} ({})", plain(&report["engine"]["version"]), list(&report["engine"]["features"])),
        format!("ranks: {} on {}", report["ranks"]["count"], list(&report["ranks"]["hosts"])),
        format!("cores of each rank: {} ({})", cores["granted"], plain(&cores["decided_by"])),
        format!(
            "memory: {} of {} ({})",
            mib(&memory["granted_mib"]),
            mib(&memory["total_mib"]),
            plain(&memory["decided_by"])
        ),
        format!("GPUs granted: {}", list(&gpus["granted"])),
    ];
    for device in gpus["devices"].as_array().into_iter().flatten() {
        lines.push(format!(
            "GPU {}: {}, {} free",
            device["ordinal"],
            plain(&device["name"]),
            mib(&device["free_mib"])
        ));
    }
    if report["scratch"].is_object() {
        let scratch = &report["scratch"];
        lines.push(format!("scratch: {}, {} free", plain(&scratch["path"]), mib(&scratch["free_mib"])));
    }
    for path in report["paths"].as_array().into_iter().flatten() {
        let can = |key: &str, word: &'static str| path[key].as_bool().unwrap_or_default().then_some(word);
        let words: Vec<_> =
            [can("readable", "readable"), can("writable", "writable")].into_iter().flatten().collect();
        lines.push(format!("{}: {}", plain(&path["path"]), words.join(", ")));
    }
    if let Some(seconds) = report["clock"]["difference_s"].as_f64() {
        lines.push(format!("clock of the file server: {seconds:.3} s ahead"));
    }
    let problems = report["problems"].as_array().into_iter().flatten();
    lines.extend(problems.map(|problem| format!("problem: {}", plain(problem))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_reported_once_and_their_problems_named() {
        let seen = |host: &str, problem: Value, ahead: f64| {
            let value = json!({
                "host": host,
                "gpus": {"granted": [], "devices": []},
                "scratch": null,
                "paths": [{"path": "/data", "problem": problem}],
                "clock": {"folder": ".", "difference_s": ahead, "problem": null},
            });
            serde_json::to_vec(&value).expect("should have a form")
        };
        let gathered = [
            seen("n1", Value::Null, 0.1),
            seen("n1", Value::Null, 0.1),
            seen("n2", json!("No such file or directory"), -90.0),
        ];
        let around = Surroundings {
            variable: &|name| match name {
                "SLURM_JOB_ID" => Some("12".into()),
                "LOADEDMODULES" => Some("gcc/12:openmpi/4".into()),
                _ => None,
            },
            command_line: Vec::new(),
            unix_s: 1.0,
        };
        let tried = json!({"ranks": 3, "hosts": ["n1", "n1", "n2"]});
        let found = report(&tried, None, &ProbeArgs::default(), &around, &gathered).expect("should report");
        assert_eq!((&found["host"], &found["other_hosts"][0]["host"]), (&json!("n1"), &json!("n2")));
        assert_eq!(found["other_hosts"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            found["problems"],
            json!([
                "n2: /data: No such file or directory",
                "n2: the file server's clock is -90 s ahead of this host's"
            ])
        );
        assert_eq!(
            (&found["job"], &found["modules"]),
            (&json!({"SLURM_JOB_ID": "12"}), &json!(["gcc/12", "openmpi/4"]))
        );
        assert!(text(&found).contains("ranks: 3 on n1, n1, n2"), "{}", text(&found));
    }
}
