//! `vitreous show`: everything about one job.

use crate::board::Board;
use crate::context::Context;
use crate::failure::Outcome;
use crate::tell;
use serde_json::{Value, json};
use vitreous_model::exit;
use vitreous_project::{JobDir, JobNumber, atomic, lineage};

pub const ABOUT: &str = "Show one job: what was asked, where it stands, what it made";
pub const EXAMPLES: &str = "  vitreous show J3\n  vitreous show J3 --json | jq .report.numbers";

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: JobNumber,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let job = project.job(args.job)?;
    let board = Board::look(&project, context.shell)?;
    let Some(judged) = board.get(args.job) else { return Ok(exit::INTERNAL) };
    let stale = lineage::staleness(&job)?;
    let files = files(&job)?;
    let attempt = job.attempt(judged.status.attempt);
    let read = |name: &str| atomic::read_json::<Value>(&attempt.file(name));
    let mut result = tell::JobLine::new(judged).value();
    if let Value::Object(map) = &mut result {
        map.insert("path".into(), json!(job.path()));
        map.insert("record".into(), json!(job.spec()));
        map.insert("intent".into(), json!(read("intent.json")?));
        map.insert("submission".into(), json!(read("submission.json")?));
        map.insert("exit".into(), json!(read("exit.json")?));
        map.insert("usage".into(), json!(attempt.usage()));
        map.insert("effective".into(), json!(job.effective()?));
        map.insert("outputs".into(), json!(job.outputs()?.map(|outputs| outputs.outputs)));
        map.insert("report".into(), json!(atomic::read_json::<Value>(&job.file("report.json"))?));
        map.insert("stale".into(), json!(stale));
        map.insert("files".into(), json!(files));
    }
    let standing = tell::standing(judged);
    context.screen.result(&result, || text(&job, &standing, &result, stale.as_deref()))?;
    Ok(exit::OK)
}

/// Files of a job, relative to its folder, sorted; the attempts' folders included.
fn files(job: &JobDir) -> Outcome<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![job.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(job.path()) {
                files.push(name.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn text(job: &JobDir, standing: &str, result: &Value, stale: Option<&str>) -> String {
    let spec = job.spec();
    let mut text = format!("{} {}: {standing}\n", spec.job, spec.job_type);
    let mut line = |name: &str, value: String| text += &format!("  {name:<10} {value}\n");
    line("folder", job.path().display().to_string());
    line("made", tell::time(spec.created_unix_s));
    line("lane", spec.lane.clone());
    for (slot, refs) in &spec.inputs {
        line(
            "input",
            format!("{slot}: {}", refs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        );
    }
    for (key, value) in &spec.params {
        line("parameter", format!("{key}: {value}"));
    }
    if let Some(stale) = stale {
        line("stale", format!("{stale}; `vitreous retry {} --force` makes it new", spec.job));
    }
    if let Some(id) = result.pointer("/submission/job_id").and_then(Value::as_str) {
        line("id", format!("{id} (attempt {})", result["attempt"]));
    }
    let seconds = |from: &str| result.pointer(from).and_then(Value::as_f64);
    if let (Some(start), Some(end)) = (seconds("/exit/start_unix_s"), seconds("/exit/end_unix_s")) {
        line("ran", format!("{} for {}", tell::time(start), tell::duration(end - start)));
    }
    if let (Some(cpu), Some(rss)) = (seconds("/usage/cpu_seconds"), seconds("/usage/max_rss_mib")) {
        line("used", format!("{cpu:.1} CPU seconds, {rss:.0} MiB"));
    }
    for output in result["outputs"].as_array().into_iter().flatten() {
        let word = |key: &str| output[key].as_str().unwrap_or("?").to_string();
        line(
            "output",
            format!(
                "{}.{} ({}, {}): {}",
                spec.job,
                word("slot"),
                word("kind"),
                output["count"],
                word("path")
            ),
        );
    }
    for number in result.pointer("/report/numbers").and_then(Value::as_array).into_iter().flatten() {
        let word = |key: &str| number[key].as_str().unwrap_or("").to_string();
        let value = number["value"].as_f64().map_or_else(|| "–".into(), tell::number);
        line("result", format!("{}: {value} {}", word("label"), word("unit")).trim_end().to_string());
    }
    text
}
