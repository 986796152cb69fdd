//! What is known of the machines that a job runs on, without paths: for reports that people send to others.

use crate::{Ctx, StageError, ranks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vitreous_compute::device::Device;
use vitreous_model::report::{Cell, Table};

/// What one rank sees of its host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its name.
    pub host: String,
    /// Model of its processor; empty if the system does not say.
    pub processor: String,
    /// Release of its kernel; empty if the system does not say.
    pub kernel: String,
    /// Name of the device it computes on.
    pub device: String,
    /// Threads of the rank.
    pub threads: usize,
    /// Memory granted to the rank, MiB.
    pub memory_mib: Option<u64>,
}

impl Seen {
    /// By this rank.
    pub fn here(ctx: &Ctx<'_>) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            host: ctx.host.clone(),
            processor: processor(&file("/proc/cpuinfo")),
            kernel: file("/proc/sys/kernel/osrelease").trim().into(),
            device: ctx.device.name(),
            threads: ctx.threads,
            memory_mib: ctx.memory_mib,
        }
    }
}

/// The processor's model as Linux names it.
fn processor(cpuinfo: &str) -> String {
    let is_model = |line: &&str| line.starts_with("model name") || line.starts_with("Model");
    let line = cpuinfo.lines().find(is_model).unwrap_or_default();
    line.split_once(':').map(|(_, name)| name.trim().to_string()).unwrap_or_default()
}

/// What every rank sees, for every rank.
///
/// # Errors
/// As [`ranks::share_records`].
pub(crate) fn all(ctx: &Ctx<'_>) -> Result<Vec<Seen>, StageError> {
    ranks::share_records(ctx, &[Seen::here(ctx)])
}

/// One row for each rank.
pub(crate) fn table(seen: &[Seen]) -> Table {
    let columns = [
        ("rank", ""),
        ("host", ""),
        ("processor", ""),
        ("kernel", ""),
        ("device", ""),
        ("threads", ""),
        ("memory", "MiB"),
    ];
    let mut table = Table::new("Ranks and hosts", &columns);
    for (rank, seen) in seen.iter().enumerate() {
        table.rows.push(vec![
            (rank as f64).into(),
            seen.host.as_str().into(),
            seen.processor.as_str().into(),
            seen.kernel.as_str().into(),
            seen.device.as_str().into(),
            (seen.threads as f64).into(),
            seen.memory_mib.map_or(Cell::Absent, |mib| (mib as f64).into()),
        ]);
    }
    table
}

/// Versions of the programs and the number of ranks, as `effective.json` has them; empty without one.
pub(crate) fn versions(ctx: &Ctx<'_>) -> Vec<(String, String)> {
    let bytes = std::fs::read(ctx.job_dir.join("effective.json")).unwrap_or_default();
    let effective: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let versions = effective["versions"].as_object().into_iter().flatten();
    versions.filter_map(|(name, version)| Some((name.clone(), version.as_str()?.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named_as_the_system_does() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: A B 7\nmodel name\t: A B 7\n"), "A B 7");
        assert_eq!(processor("nothing"), "");
    }
}
