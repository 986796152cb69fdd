//! What a probe job found, line by line, against what was asked for.

use super::Finding;
use crate::lanes::NamedLane;
use serde_json::Value;
use vitreous_model::resources::Resources;

/// What the engine found, line by line, against what was asked for.
pub fn findings(report: &Value, asked: &Resources, lane: &NamedLane) -> Vec<Finding> {
    let mut findings = vec![place(report), cores(report, asked), memory(report, asked), gpus(report, asked)];
    findings.extend(ranks(report, asked));
    let scratch = &report["scratch"];
    if scratch.is_object() {
        let free = scratch["free_mib"]
            .as_f64()
            .map_or(String::new(), |mib| format!(", {:.0} GiB free", mib / 1024.0));
        let words = format!("{}{free}", plain(&scratch["path"]));
        let works = scratch["writable"] == true;
        findings.push(Finding::new(
            "scratch",
            if works {
                Ok(words)
            } else {
                Err(format!("{}: {}", plain(&scratch["path"]), plain(&scratch["problem"])))
            },
        ));
    } else if !lane.lane.scratch.is_empty() {
        findings
            .push(Finding::new("scratch", Err(format!("`{}` did not reach the engine", lane.lane.scratch))));
    }
    for path in report["paths"].as_array().into_iter().flatten() {
        let can = |key: &str| path[key] == true;
        let words = plain(&path["path"]);
        findings.push(Finding::new(
            "seen there",
            match (can("readable"), can("writable")) {
                (true, true) => Ok(format!("{words}, readable and writable")),
                (true, false) => Ok(format!("{words}, readable")),
                _ => Err(format!("{words}: {}", plain(&path["problem"]))),
            },
        ));
    }
    findings.push(version(report));
    findings.push(clock(report));
    findings
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

fn list(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(", ")
}

fn place(report: &Value) -> Finding {
    let mut words = plain(&report["host"]);
    for key in ["SLURM_JOB_PARTITION", "QUEUE", "PBS_QUEUE", "LSB_QUEUE"] {
        if let Some(queue) = report["job"][key].as_str() {
            words += &format!(", queue {queue}");
        }
    }
    let modules = list(&report["modules"]);
    if !modules.is_empty() {
        words += &format!(", modules {modules}");
    }
    Finding::new("node", Ok(words))
}

fn cores(report: &Value, asked: &Resources) -> Finding {
    let cores = &report["cores"];
    let granted = cores["granted"].as_u64().unwrap_or(0);
    let words =
        format!("{granted} for each rank ({}), {} asked for", plain(&cores["decided_by"]), asked.threads);
    let enough = granted >= u64::from(asked.threads);
    Finding::new("cores", if enough { Ok(words) } else { Err(words) })
}

fn memory(report: &Value, asked: &Resources) -> Finding {
    let memory = &report["memory"];
    let Some(granted) = memory["granted_mib"].as_f64() else {
        return Finding::warning("memory", "its limit is not known there");
    };
    let by = plain(&memory["decided_by"]);
    let words = format!("{granted:.0} MiB ({by}), {} MiB asked for", asked.mem_mib);
    if granted + 1.0 < asked.mem_mib as f64 {
        return Finding::new("memory", Err(words));
    }
    if by == "machine" {
        return Finding::new("memory", Ok(format!("{words}; nothing limits jobs to what they ask for")));
    }
    Finding::new("memory", Ok(words))
}

fn gpus(report: &Value, asked: &Resources) -> Finding {
    let gpus = &report["gpus"];
    let count = |key: &str| gpus[key].as_array().map_or(0, Vec::len);
    let names: Vec<String> =
        gpus["devices"].as_array().into_iter().flatten().map(|device| plain(&device["name"])).collect();
    let by = gpus["decided_by"].as_str().map_or(String::new(), |by| format!(" ({by})"));
    let words = format!(
        "{} granted{by}, {} usable{}, {} asked for",
        count("granted"),
        count("devices"),
        if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) },
        asked.gpus
    );
    let enough = count("granted").min(count("devices")) >= asked.gpus as usize;
    if enough {
        return Finding::new("GPUs", Ok(words));
    }
    let why = gpus["driver_says"].as_str().map_or(String::new(), |why| format!("; the driver says: {why}"));
    Finding::new("GPUs", Err(words + &why))
}

fn ranks(report: &Value, asked: &Resources) -> Option<Finding> {
    let count = report["ranks"]["count"].as_u64().unwrap_or(0);
    let words = format!("{count} started on {}, {} asked for", list(&report["ranks"]["hosts"]), asked.ranks);
    if count == u64::from(asked.ranks) {
        return Some(Finding::new("ranks", Ok(words)));
    }
    let why = report["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(plain)
        .find(|problem| problem.contains("rank"));
    Some(Finding::new(
        "ranks",
        Err(format!("{words}{}", why.map_or(String::new(), |why| format!("; {why}")))),
    ))
}

fn version(report: &Value) -> Finding {
    let (found, ours) = (plain(&report["engine"]["version"]), env!("CARGO_PKG_VERSION"));
    let features = list(&report["engine"]["features"]);
    if found == ours {
        return Finding::new("engine", Ok(format!("{found} ({features})")));
    }
    Finding::new(
        "engine",
        Err(format!("version {found} there, this vitreous is {ours}: install both from one build")),
    )
}

fn clock(report: &Value) -> Finding {
    const CONFUSING_S: f64 = 30.0;
    match report["clock"]["difference_s"].as_f64() {
        Some(seconds) if seconds.abs() > CONFUSING_S => Finding::warning(
            "clock",
            format!(
                "the file server is {seconds:.0} s ahead of the node: times of files and logs will not agree"
            ),
        ),
        Some(seconds) => Finding::new("clock", Ok(format!("{seconds:.1} s between node and file server"))),
        None => Finding::warning("clock", plain(&report["clock"]["problem"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vitreous_schedulers::Lane;

    fn lane(scratch: &str) -> NamedLane {
        NamedLane {
            name: "l".into(),
            path: None,
            lane: Lane { scratch: scratch.into(), ..Lane::default() },
            template_name: "t".into(),
            template: String::new(),
        }
    }

    fn good() -> Value {
        json!({
            "host": "n1", "job": {"SLURM_JOB_PARTITION": "gpu"}, "modules": ["openmpi/4"],
            "cores": {"granted": 2, "decided_by": "SLURM_CPUS_PER_TASK"},
            "memory": {"granted_mib": 1024.0, "decided_by": "control group"},
            "gpus": {"granted": ["0"], "decided_by": "CUDA_VISIBLE_DEVICES", "devices": [{"name": "H200"}], "driver_says": null},
            "ranks": {"count": 2, "hosts": ["n1", "n2"]},
            "scratch": {"path": "/s", "writable": true, "free_mib": 2048.0},
            "paths": [{"path": "/em", "readable": true, "writable": true}],
            "engine": {"version": env!("CARGO_PKG_VERSION"), "features": ["mpi"]},
            "clock": {"difference_s": 0.02}, "problems": [],
        })
    }

    fn asked() -> Resources {
        Resources { ranks: 2, threads: 2, gpus: 1, mem_mib: 1024, ..Resources::default() }
    }

    #[test]
    fn what_fits_is_well() {
        let found = findings(&good(), &asked(), &lane("/s"));
        assert!(found.iter().all(|finding| finding.ok && !finding.warning), "{found:#?}");
        let lines: Vec<String> = found.iter().map(Finding::line).collect();
        assert_eq!(lines[0], "ok     node         n1, queue gpu, modules openmpi/4");
        assert_eq!(lines[4], "ok     ranks        2 started on n1, n2, 2 asked for");
    }

    /// Each thing that a node may lack is one line that failed, with both numbers.
    #[test]
    fn what_does_not_fit_is_named() {
        for (key, value, what, words) in [
            ("/cores/granted", json!(1), "cores", "1 for each rank (SLURM_CPUS_PER_TASK), 2 asked for"),
            ("/memory/granted_mib", json!(512.0), "memory", "512 MiB (control group), 1024 MiB asked for"),
            ("/gpus/devices", json!([]), "GPUs", "1 granted (CUDA_VISIBLE_DEVICES), 0 usable, 1 asked for"),
            ("/ranks/count", json!(1), "ranks", "1 started on n1, n2, 2 asked for"),
            ("/scratch/writable", json!(false), "scratch", "/s: "),
            ("/scratch", json!(null), "scratch", "`/s` did not reach the engine"),
            ("/paths/0/readable", json!(false), "seen there", "/em: "),
            ("/engine/version", json!("0.0.1"), "engine", "version 0.0.1 there"),
        ] {
            let mut report = good();
            *report.pointer_mut(key).unwrap() = value;
            let failed: Vec<Finding> =
                findings(&report, &asked(), &lane("/s")).into_iter().filter(|f| !f.ok).collect();
            assert_eq!(failed.len(), 1, "{key}: {failed:#?}");
            assert!(failed[0].what == what && failed[0].detail.starts_with(words), "{key}: {failed:#?}");
        }
        let mut report = good();
        report["clock"]["difference_s"] = json!(-3600.0);
        assert!(
            findings(&report, &asked(), &lane("/s"))
                .iter()
                .any(|finding| finding.warning && finding.what == "clock")
        );
    }
}
