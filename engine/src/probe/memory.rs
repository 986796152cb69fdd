//! Memory of this host, and how much of it this job may use.

use serde_json::{Value, json};
use std::path::Path;

/// Bytes of a MiB.
const MIB: f64 = 1024.0 * 1024.0;

/// Control groups of version 1 write this or a little less for "no limit".
const NO_LIMIT_BYTES: f64 = (1u64 << 62) as f64;

/// `total_mib`, `granted_mib`, `decided_by` (the smallest limit, or `machine`), and all `limits` found, MiB.
pub fn observe(variable: &dyn Fn(&str) -> Option<String>) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| total_mib(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit_mib(&groups, &|path| std::fs::read_to_string(path).ok());
    let ulimit = read("/proc/self/limits").and_then(|text| address_space_mib(&text));
    let mut limits = of_variables(variable);
    limits.extend(group.map(|mib| ("control group".to_string(), mib)));
    limits.extend(ulimit.map(|mib| ("ulimit -v".to_string(), mib)));
    let all = total.map(|mib| ("machine".to_string(), mib));
    let smallest = limits.iter().chain(all.iter()).min_by(|a, b| a.1.total_cmp(&b.1));
    json!({
        "total_mib": total,
        "granted_mib": smallest.map(|limit| limit.1),
        "decided_by": smallest.map(|limit| limit.0.clone()),
        "limits": limits.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

/// The smallest limit of all, MiB; `None` where nothing is known.
pub fn granted_mib(variable: &dyn Fn(&str) -> Option<String>) -> Option<f64> {
    observe(variable)["granted_mib"].as_f64()
}

/// What Slurm says it granted on this node, MiB. Grid Engine and PBS set a ulimit or a control group, and no variable.
fn of_variables(variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, f64)> {
    let number = |name: &str| variable(name)?.trim().parse::<f64>().ok().filter(|n| *n > 0.0);
    let times = |each: &str, count: Option<f64>| Some((each.to_string(), number(each)? * count?));
    // 0 stands for all memory of the node
    let node = number("SLURM_MEM_PER_NODE").map(|mib| ("SLURM_MEM_PER_NODE".to_string(), mib));
    let cores = times("SLURM_MEM_PER_CPU", number("SLURM_CPUS_ON_NODE"));
    let gpus = times("SLURM_MEM_PER_GPU", number("SLURM_GPUS_ON_NODE"));
    [node, cores, gpus].into_iter().flatten().collect()
}

/// `MemTotal` of `/proc/meminfo`, MiB.
fn total_mib(meminfo: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// The soft limit of the address space in `/proc/PID/limits`, MiB; `None` if there is none.
fn address_space_mib(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / MIB)
}

/// The smallest memory limit of the control groups in `/proc/PID/cgroup` and of those around them, MiB.
fn group_limit_mib(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<f64> {
    let mut smallest: Option<f64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let folder = Path::new(root).join(group.trim_start_matches('/'));
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
            let bytes: Option<f64> = read(&folder.join(file)).and_then(|text| text.trim().parse().ok());
            if let Some(bytes) = bytes.filter(|bytes| *bytes < NO_LIMIT_BYTES) {
                smallest = Some(smallest.map_or(bytes / MIB, |known| known.min(bytes / MIB)));
            }
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_of_both_versions_limit_from_any_level() {
        let files = |path: &Path| match path.to_str() {
            Some("/sys/fs/cgroup/slurm/job_3/memory.max") => Some("2147483648\n".to_string()),
            Some("/sys/fs/cgroup/slurm/job_3/step/memory.max") => Some("max\n".to_string()),
            Some("/sys/fs/cgroup/memory/sge/memory.limit_in_bytes") => Some("1073741824".to_string()),
            Some("/sys/fs/cgroup/memory/memory.limit_in_bytes") => Some("9223372036854771712".to_string()),
            _ => None,
        };
        assert_eq!(group_limit_mib("0::/slurm/job_3/step\n", &files), Some(2048.0));
        assert_eq!(group_limit_mib("5:cpu,cpuacct:/x\n4:memory:/sge\n", &files), Some(1024.0));
        assert_eq!(group_limit_mib("0::/\n4:memory:/\nrubbish\n", &files), None);
    }

    #[test]
    fn kernel_files_and_variables_are_read() {
        assert_eq!(total_mib("MemTotal:       2097152 kB\nMemFree: 1 kB\n"), Some(2048.0));
        let limits = "Max cpu time              unlimited  unlimited  seconds\n\
                      Max address space         1073741824           unlimited            bytes\n";
        assert_eq!(address_space_mib(limits), Some(1024.0));
        assert_eq!(address_space_mib(&limits.replace("1073741824", "unlimited")), None);
        let slurm = |name: &str| match name {
            "SLURM_MEM_PER_CPU" => Some("500".to_string()),
            "SLURM_CPUS_ON_NODE" => Some("4".to_string()),
            "SLURM_MEM_PER_NODE" => Some("0".to_string()),
            _ => None,
        };
        assert_eq!(of_variables(&slurm), [("SLURM_MEM_PER_CPU".to_string(), 2000.0)]);
    }

    #[test]
    fn the_smallest_limit_decides() {
        let found = observe(&|name| (name == "SLURM_MEM_PER_NODE").then(|| "7".to_string()));
        assert_eq!(
            (&found["granted_mib"], &found["decided_by"]),
            (&json!(7.0), &json!("SLURM_MEM_PER_NODE"))
        );
        assert!(observe(&|_| None)["granted_mib"].as_f64().is_some_and(|mib| mib > 16.0));
    }
}
