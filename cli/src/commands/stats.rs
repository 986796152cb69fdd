//! `vitreous stats`: what jobs asked for and what they used.

use crate::context::Context;
use crate::failure::Outcome;
use crate::tell;
use crate::usage::{self, End, Spent};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use vitreous_model::exit;

pub const ABOUT: &str = "Show what jobs asked for and what they used, by type and lane";
pub const EXAMPLES: &str =
    "  vitreous stats\n  vitreous stats --lane gpu --type correct-motion\n  vitreous stats --json";

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this lane
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Only this job type
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
}

/// All attempts of a type in a lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    #[serde(rename = "type")]
    job_type: String,
    lane: String,
    /// Jobs, and their attempts that ran and ended.
    jobs: usize,
    attempts: usize,
    out_of_memory: usize,
    time_limit: usize,
    /// Ended otherwise than well.
    other_ends: usize,
    /// Cores times wall time that were held, hours.
    core_hours: f64,
    /// CPU time over cores times wall time, of the attempts that could say; 1 is best.
    cpu_efficiency: Option<f64>,
    /// The largest memory used, MiB, what that attempt asked for, and the median of used over asked for.
    max_mem_mib: Option<f64>,
    max_mem_asked_mib: Option<u64>,
    mem_efficiency: Option<f64>,
    /// The longest attempt, seconds, and the median of wall time over time limit.
    max_wall_s: f64,
    wall_efficiency: Option<f64>,
    /// GPUs times wall time that were held, hours.
    gpu_hours: f64,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    if let Some(name) = &args.job_type {
        crate::plan::find_type(name)?;
    }
    let mut groups: BTreeMap<(String, String), Vec<Spent>> = BTreeMap::new();
    for (number, _) in project.job_folders()? {
        // a broken job is `fsck`'s business
        let Ok(job) = project.job(number) else { continue };
        if args.job_type.as_ref().is_some_and(|wanted| *wanted != job.spec().job_type) {
            continue;
        }
        for spent in usage::attempts(&job)? {
            if args.lane.as_ref().is_none_or(|wanted| *wanted == spent.lane) {
                groups.entry((spent.job_type.clone(), spent.lane.clone())).or_default().push(spent);
            }
        }
    }
    let rows: Vec<Row> = groups.values().map(|spent| row(spent)).collect();
    context.screen.result(&json!({"project": project.root(), "stats": rows}), || table(&rows))?;
    Ok(exit::OK)
}

/// One row of at least one attempt, all of one type and lane.
fn row(spent: &[Spent]) -> Row {
    let count = |end: End| spent.iter().filter(|one| one.end == end).count();
    let mut jobs: Vec<_> = spent.iter().map(|one| one.job).collect();
    jobs.sort_unstable();
    jobs.dedup();
    let told: Vec<(f64, f64)> = spent.iter().filter_map(|one| Some((one.cpu_s?, one.core_s))).collect();
    let (cpu_s, core_s) = told.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let largest = spent
        .iter()
        .filter(|one| one.mem_mib.is_some())
        .max_by(|a, b| a.mem_mib.unwrap_or(0.0).total_cmp(&b.mem_mib.unwrap_or(0.0)));
    let over = |used: f64, asked: u64| (asked > 0).then(|| used / asked as f64);
    let wall_s = |one: &Spent| one.core_s / f64::from((one.asked.threads * one.asked.ranks).max(1));
    Row {
        job_type: spent[0].job_type.clone(),
        lane: spent[0].lane.clone(),
        jobs: jobs.len(),
        attempts: spent.len(),
        out_of_memory: count(End::OutOfMemory),
        time_limit: count(End::TimeLimit),
        other_ends: count(End::Other),
        core_hours: spent.iter().map(|one| one.core_s).sum::<f64>() / 3600.0,
        cpu_efficiency: (core_s > 0.0).then(|| cpu_s / core_s),
        max_mem_mib: largest.and_then(|one| one.mem_mib),
        max_mem_asked_mib: largest.map(|one| one.asked.mem_mib),
        mem_efficiency: median(
            spent.iter().filter_map(|one| over(one.mem_mib?, one.asked.mem_mib)).collect(),
        ),
        max_wall_s: spent.iter().map(|one| one.wall_s).fold(0.0, f64::max),
        wall_efficiency: median(
            spent.iter().filter_map(|one| over(one.wall_s, one.asked.walltime_s)).collect(),
        ),
        gpu_hours: spent.iter().map(|one| wall_s(one) * f64::from(one.asked.gpus)).sum::<f64>() / 3600.0,
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(0.5 * (values[middle - 1] + values[middle])),
        _ => Some(values[middle]),
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no attempt has run and ended yet".into();
    }
    let percent = |value: Option<f64>| value.map_or("–".into(), |value| format!("{:.0} %", value * 100.0));
    let head = [
        "type",
        "lane",
        "jobs",
        "attempts",
        "core-h",
        "CPU used",
        "memory used",
        "largest",
        "time used",
        "longest",
        "GPU-h",
        "trouble",
    ];
    let mut cells = vec![head.map(String::from)];
    for row in rows {
        let largest = match (row.max_mem_mib, row.max_mem_asked_mib) {
            (Some(used), Some(asked)) => format!("{used:.0} of {asked} MiB"),
            _ => "–".into(),
        };
        cells.push([
            row.job_type.clone(),
            row.lane.clone(),
            row.jobs.to_string(),
            row.attempts.to_string(),
            format!("{:.1}", row.core_hours),
            percent(row.cpu_efficiency),
            percent(row.mem_efficiency),
            largest,
            percent(row.wall_efficiency),
            tell::duration(row.max_wall_s),
            format!("{:.1}", row.gpu_hours),
            trouble(row),
        ]);
    }
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String; 12]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 | 11 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let text: String = cells.iter().map(line).collect();
    text + "used: CPU time over cores held; medians of memory and time over what was asked for\n"
}

fn trouble(row: &Row) -> String {
    let counted = [
        (row.out_of_memory, "out of memory"),
        (row.time_limit, "at the time limit"),
        (row.other_ends, "failed otherwise"),
    ];
    let told = counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::resources::Resources;
    use vitreous_project::JobNumber;

    fn spent(job: u32, cpu_s: Option<f64>, mem_mib: Option<f64>, end: End) -> Spent {
        Spent {
            job: JobNumber(job),
            attempt: 1,
            job_type: "correct-motion".into(),
            lane: "gpu".into(),
            asked: Resources { threads: 4, gpus: 1, mem_mib: 1000, walltime_s: 7200, ..Resources::default() },
            is_array: false,
            wall_s: 1800.0,
            core_s: 7200.0,
            cpu_s,
            mem_mib,
            end,
        }
    }

    #[test]
    fn a_row_sums_and_takes_medians() {
        let all = [
            spent(1, Some(3600.0), Some(400.0), End::Done),
            spent(1, None, None, End::OutOfMemory),
            spent(2, Some(7200.0), Some(800.0), End::Done),
        ];
        let row = row(&all);
        assert_eq!((row.jobs, row.attempts, row.out_of_memory), (2, 3, 1));
        assert_eq!(
            (row.cpu_efficiency, row.mem_efficiency, row.wall_efficiency),
            (Some(0.75), Some(0.6000000000000001), Some(0.25))
        );
        assert_eq!((row.core_hours, row.gpu_hours, row.max_mem_mib), (6.0, 1.5, Some(800.0)));
        let text = table(&[row]);
        assert!(
            text.contains("800 of 1000 MiB") && text.contains("1 out of memory") && text.contains("75 %"),
            "{text}"
        );
        assert_eq!(table(&[]), "no attempt has run and ended yet");
    }
}
