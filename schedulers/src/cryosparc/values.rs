//! Our jobs in the words of CryoSPARC's templates. The table with reasons stands in README.md.

use crate::quote::sh;
use crate::render::ScriptContext;
use crate::scheduler::Script;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vitreous_model::resources::Resources;

/// The variables that CryoSPARC gives to templates of scripts and commands, sorted, and what they become.
pub const MAPPING: [(&str, &str); 17] = [
    ("cluster_job_id", "in commands: the scheduler's id; in the script: the shell's word for it"),
    ("command", "in `commands.send`: the command to send; in the script: as run_cmd"),
    ("cryosparc_username", "the user's name"),
    ("job_creator", "the user's name"),
    (
        "job_dir_abs",
        "the folder of the attempt, so that what the scheduler writes there belongs to one attempt",
    ),
    ("job_log_path_abs", "`job.log` in the folder of the attempt"),
    ("job_type", "our name of the job type, e.g. `correct-motion`"),
    ("job_uid", "the job's number, e.g. `J2`"),
    ("num_cpu", "ranks times threads"),
    ("num_gpu", "GPUs"),
    ("project_dir_abs", "the project's folder"),
    ("project_uid", "the project's name"),
    ("ram_gb", "memory in units of 1000 MiB, rounded up"),
    ("run_args", "`--project NAME --job J2`, for information"),
    ("run_cmd", "`sh ATTEMPT/run.sh`, which does the work"),
    ("script_path_abs", "the rendered script"),
    ("worker_bin_path", "`ATTEMPT/run.sh`, so that `worker_bin_path run …` does the work, too"),
];

/// Name of the script beside the submitted one that does the work: what the site's script runs as its `run_cmd`.
pub const WORK_SCRIPT: &str = "run.sh";

/// Shell word for the job's id inside a script, whichever scheduler runs it.
pub const JOB_ID_WORD: &str = "${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-${JOB_ID:-$$}}}}";

/// Megabytes that sites mean by a gigabyte when they write `(ram_gb*1000)|int`.
const SMALLEST_GIGABYTE_MIB: u64 = 1000;

/// Whether CryoSPARC gives a variable of that name.
pub fn is_known(name: &str) -> bool {
    MAPPING.iter().any(|(known, _)| *known == name)
}

/// Values for the template of a script.
pub fn of_script(context: &ScriptContext) -> BTreeMap<String, Value> {
    let mut values = of_resources(&Resources {
        nodes: context.nodes,
        ranks: context.ranks,
        threads: context.threads,
        gpus: context.gpus,
        mem_mib: context.mem_mib,
        ..Resources::default()
    });
    let tail = format!("-{}-{}", context.job, context.job_type);
    let project = context.job_name.strip_suffix(&tail).unwrap_or(&context.job_name);
    values.extend(of_job(project, &context.job, &context.job_type));
    values.extend(of_folders(&context.project_dir, &context.attempt_dir));
    let user =
        context.environment.iter().find(|variable| ["USER", "LOGNAME"].contains(&variable.name.as_str()));
    let user = user.map_or("vitreous", |variable| &variable.value);
    values.extend(texts([("job_creator", user), ("cryosparc_username", user)]));
    values
}

/// Values for the template of a command that submits.
pub fn of_submission(script: &Script) -> BTreeMap<String, Value> {
    let mut values = of_resources(&script.resources);
    // T20S-J2-correct-motion
    let job = script.name.split('-').find(|word| {
        word.strip_prefix('J')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    });
    let job = job.unwrap_or("J0");
    let (project, job_type) = script.name.split_once(&format!("-{job}-")).unwrap_or((&script.name, ""));
    values.extend(of_job(project, job, job_type));
    let job_dir = script.folder.rsplit_once('/').map_or("", |(above, _)| above);
    values.extend(of_folders(job_dir.rsplit_once('/').map_or("", |(above, _)| above), &script.folder));
    values.extend(texts([("script_path_abs", sh(&script.path).as_str())]));
    values
}

/// Values for the template of a command about a job that the scheduler has.
pub fn of_id(id: &str) -> BTreeMap<String, Value> {
    texts([("cluster_job_id", id)])
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_string(), Value::from(value))).collect()
}

fn of_resources(resources: &Resources) -> BTreeMap<String, Value> {
    // rounded up to a whole number, because sites cut it off (`ram_gb|int`) or multiply it by 1000
    let ram_gb = resources.mem_mib.div_ceil(SMALLEST_GIGABYTE_MIB) as f64;
    let numbers = [
        ("num_cpu", json!(resources.ranks * resources.threads)),
        ("num_gpu", json!(resources.gpus)),
        ("ram_gb", json!(ram_gb)),
    ];
    numbers.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn of_job(project: &str, job: &str, job_type: &str) -> BTreeMap<String, Value> {
    // they stand unquoted in names of jobs and files
    let word = |text: &str| text.replace(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c)), "_");
    let args = format!("--project {} --job {}", word(project), word(job));
    texts([
        ("project_uid", word(project).as_str()),
        ("job_uid", word(job).as_str()),
        ("job_type", job_type),
        ("run_args", args.as_str()),
    ])
}

fn of_folders(project_dir: &str, attempt_dir: &str) -> BTreeMap<String, Value> {
    let work = format!("{attempt_dir}/{WORK_SCRIPT}");
    texts([
        ("project_dir_abs", project_dir),
        ("job_dir_abs", attempt_dir),
        ("job_log_path_abs", format!("{attempt_dir}/job.log").as_str()),
        ("script_path_abs", format!("{attempt_dir}/submit.sh").as_str()),
        ("worker_bin_path", sh(&work).as_str()),
        ("run_cmd", format!("sh {}", sh(&work)).as_str()),
        ("cluster_job_id", JOB_ID_WORD),
        ("command", format!("sh {}", sh(&work)).as_str()),
    ])
}
