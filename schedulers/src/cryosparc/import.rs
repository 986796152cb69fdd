//! From `cluster_info.json` and `cluster_script.sh` to a lane file.

use crate::cryosparc::info::{ClusterInfo, InfoError};
use crate::cryosparc::template::{self, Variable};
use crate::cryosparc::values;
use crate::lane::parse_walltime;
use crate::render::RenderError;
use std::fmt::Write;

/// Files that no lane can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// `cluster_info.json`.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// `cluster_script.sh`, or one of the commands.
    #[error(transparent)]
    Template(#[from] RenderError),
    /// The script never runs the job.
    #[error("{file}: no line runs the job: expected `{{{{ run_cmd }}}}` on a line of its own")]
    NeverRuns {
        /// The script.
        file: String,
    },
    /// There is no `cluster_info.json`, and nothing to guess its commands from.
    #[error(
        "{file}: no `cluster_info.json` beside it, and no line begins with `#SBATCH`, `#$` or `#PBS`: the commands that submit, show and remove jobs cannot be guessed"
    )]
    NoCommands {
        /// The script.
        file: String,
    },
}

/// A file: its name for messages, and its text.
pub type Source<'a> = (&'a str, &'a str);

/// A lane made from CryoSPARC's files.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Text of the lane file.
    pub lane: String,
    /// CryoSPARC's variables that the script uses, and what they will be.
    pub mapping: Vec<(String, &'static str)>,
    /// Custom variables of the script, for `vars` of the lane or `--var` of a job.
    pub variables: Vec<Variable>,
    /// Custom variables of the commands, for `commands.vars` of the lane.
    pub command_variables: Vec<Variable>,
    /// What a person should know before the first job.
    pub warnings: Vec<String>,
}

impl Import {
    /// Custom variables without which no job can be submitted.
    pub fn unset(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter().chain(&self.command_variables).filter(|variable| !variable.is_optional)
    }
}

/// Makes the lane `name`, whose script will lie beside it as `template`.
///
/// # Errors
/// [`ImportError`].
pub fn import(
    name: &str,
    template: &str,
    info: Option<Source<'_>>,
    script: Source<'_>,
) -> Result<Import, ImportError> {
    let (file, text) = script;
    let mut warnings = Vec::new();
    let read = match info {
        Some((file, text)) => ClusterInfo::parse(file, text)?,
        None => {
            let guess =
                ClusterInfo::guess(text).ok_or_else(|| ImportError::NoCommands { file: file.into() })?;
            warnings.push(format!(
                "there is no cluster_info.json: the commands (`{}` …) are guessed from the script's directives",
                guess.submit
            ));
            guess
        }
    };
    let variables = template::variables(file, text)?;
    if !runs_the_job(text) {
        return Err(ImportError::NeverRuns { file: file.into() });
    }
    let mut command_variables: Vec<Variable> = Vec::new();
    let commands = commands_of(&read);
    for (key, command) in &commands {
        let new = template::variables(key, command)?;
        command_variables.extend(new.into_iter().filter(|new| new.name != "command"));
    }
    command_variables.sort_by(|a, b| a.name.cmp(&b.name));
    command_variables.dedup_by(|a, b| a.name == b.name);
    let scratch = scratch_of(&read.cache_path, &mut warnings);
    warn_of_info(&read, &mut warnings);
    warn_of_script(text, &mut warnings);
    let mapping = values::MAPPING.iter().filter(|(name, _)| template::uses(text, name));
    let walltime = time_limit(text);
    let head = Head { name, template, info: &read, file, scratch: &scratch, walltime };
    let lane = lane_text(&head, &commands, &variables, &command_variables);
    let mapping = mapping.map(|(name, what)| ((*name).to_string(), *what)).collect();
    Ok(Import { lane, mapping, variables, command_variables, warnings })
}

fn commands_of(info: &ClusterInfo) -> Vec<(&'static str, &str)> {
    let all = [
        ("send", &info.send),
        ("submit", &info.submit),
        ("status", &info.status),
        ("status_code", &info.status_code),
        ("cancel", &info.cancel),
        ("info", &info.info),
    ];
    // a wrapper that changes nothing says nothing
    let says_something = |(key, text): &(&str, &String)| {
        let is_empty_wrapper = *key == "send" && is_only_command(text);
        !text.is_empty() && !is_empty_wrapper
    };
    all.into_iter().filter(says_something).map(|(key, text)| (key, text.as_str())).collect()
}

fn is_only_command(send: &str) -> bool {
    send.split_whitespace().collect::<String>() == "{{command}}"
}

/// Whether a line that is no comment holds the command that does the work.
fn runs_the_job(text: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.into_iter().any(|line| ["run_cmd", "worker_bin_path"].iter().any(|name| template::uses(line, name)))
}

/// The cache folder as ours: shell variables in place of templates.
fn scratch_of(cache_path: &str, warnings: &mut Vec<String>) -> String {
    if cache_path.is_empty() {
        return String::new();
    }
    let mut scratch = cache_path.to_string();
    while let Some((before, rest)) = scratch.split_once("{{")
        && let Some((code, after)) = rest.split_once("}}")
    {
        if code.trim() != "cluster_job_id" {
            warnings.push(format!(
                "cache_path `{cache_path}` depends on `{}`: set `scratch` in the lane by hand",
                code.trim()
            ));
            return String::new();
        }
        scratch = format!("{before}{}{after}", values::JOB_ID_WORD);
    }
    if let Some(below_home) =
        scratch.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        scratch = format!("$HOME{below_home}");
    }
    if is_of_one_job(&scratch) {
        warnings.push(format!(
            "cache_path `{cache_path}` names a folder for each job: its copies of particles serve no other job, and are removed when it ends"
        ));
    }
    scratch
}

/// Whether a scratch folder has the job's id in its name.
fn is_of_one_job(scratch: &str) -> bool {
    scratch.contains(values::JOB_ID_WORD)
}

fn warn_of_info(info: &ClusterInfo, warnings: &mut Vec<String>) {
    if !info.unknown.is_empty() {
        warnings.push(format!("keys of cluster_info.json that are not used: {}", info.unknown.join(", ")));
    }
    if !info.transfer.is_empty() {
        warnings.push("transfer_cmd_tpl is not used: the script is submitted from the project's folder, which the submit host must see".into());
    }
    let tails = [&info.status, &info.status_code];
    if info.send.contains("ssh") && tails.iter().any(|text| text.contains('|')) {
        warnings.push(
            "the status command has a pipe behind ssh: its right side runs here, as in CryoSPARC".into(),
        );
    }
}

fn warn_of_script(text: &str, warnings: &mut Vec<String>) {
    if text.contains("\r\n") {
        warnings.push("the script has Windows line ends: they are left out when it is rendered".into());
    }
    for (line, code) in template::code_lines(text) {
        if let Some(factor) = memory_factor(&code) {
            warnings.push(format!(
                "line {line} multiplies memory by {factor} (`{}`): what we ask for is measured and has its reserve already",
                code.trim()
            ));
        }
    }
    for (name, what) in [("num_cpu", "cores"), ("ram_gb", "memory")] {
        if !template::uses(text, name) {
            warnings.push(format!("the script does not use `{name}`: {what} are those that it asks for itself, whatever a job needs"));
        }
    }
    let code = || text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    if let Some((at, _)) = code().find(|(_, line)| line.contains("nvidia-smi")) {
        warnings.push(format!("line {} looks for free GPUs itself: two jobs that start together may choose the same one; the scheduler's own choice is safe", at + 1));
    }
    let folder = "{{ job_dir_abs }}";
    let mut lines = text.lines().enumerate();
    if let Some((at, line)) = lines.find(|(_, line)| template::output_folder(line, folder).is_some()) {
        warnings.push(format!(
            "line {} names a folder for the output (`{}`), with which Slurm fails the job: a file `slurm-%j.out` in it is meant and rendered",
            at + 1,
            line.trim()
        ));
    }
    if time_limit(text).is_none() {
        warnings.push("the script names no time limit: set `limits.walltime` in the lane to that of the queue, so that jobs save their work before it".into());
    }
}

/// The number that memory is multiplied with, other than 1000 and 1024, which only change its unit.
fn memory_factor(code: &str) -> Option<&str> {
    if !code.contains("ram_gb") || !code.contains('*') {
        return None;
    }
    let numbers = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
    let mut numbers = numbers.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    numbers.find(|word| word.parse::<f64>().is_ok_and(|number| ![0.0, 1.0, 1000.0, 1024.0].contains(&number)))
}

/// The time limit that the directives ask for, seconds, if it is a plain number or time.
fn time_limit(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let line = line.trim();
        if let Some(directive) = line.strip_prefix("#SBATCH") {
            let words: Vec<&str> =
                directive.split(['=', ' ', '\t']).filter(|word| !word.is_empty()).collect();
            let at = words.iter().position(|word| ["--time", "-t"].contains(word))?;
            return slurm_time(words.get(at + 1)?);
        }
        if !line.starts_with("#$") && !line.starts_with("#PBS") {
            return None;
        }
        let after =
            ["h_rt=", "walltime="].iter().find_map(|key| line.split_once(key)).map(|(_, after)| after)?;
        parse_walltime(
            after
                .split([',', ' ', ':'])
                .next()
                .filter(|_| !after.contains(':'))
                .unwrap_or_else(|| after.split([',', ' ']).next().unwrap_or(after)),
        )
    })
}

/// Slurm's times: `60` (minutes), `10:00` (minutes and seconds), `1:00:00`, `2-0`, `2-12:00`, `2-00:00:00`.
fn slurm_time(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(days.parse::<u64>().ok()?), clock),
        None => (None, text),
    };
    let parts: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    Some(match (days, &parts[..]) {
        (None, [minutes]) => minutes * 60,
        (None, [minutes, seconds]) => minutes * 60 + seconds,
        (days, [hours, minutes, seconds]) => {
            days.unwrap_or(0) * 86_400 + hours * 3600 + minutes * 60 + seconds
        }
        (Some(days), [hours]) => days * 86_400 + hours * 3600,
        (Some(days), [hours, minutes]) => days * 86_400 + hours * 3600 + minutes * 60,
        _ => return None,
    })
}

struct Head<'a> {
    name: &'a str,
    template: &'a str,
    info: &'a ClusterInfo,
    file: &'a str,
    scratch: &'a str,
    walltime: Option<u64>,
}

fn lane_text(
    head: &Head<'_>,
    commands: &[(&str, &str)],
    variables: &[Variable],
    command_variables: &[Variable],
) -> String {
    let mut text = String::new();
    let mut add = |line: &str| writeln!(text, "{line}").expect("writing to a string should succeed");
    let title = [&head.info.title, &head.info.name].into_iter().find(|title| !title.is_empty());
    let title = title.map_or(String::new(), |title| format!(" ({})", title.replace(['\n', '\r'], " ")));
    add(&format!("# Lane {}: CryoSPARC's lane{title}, imported from {}.", head.name, head.file));
    add(
        "# Its script lies beside this file, unchanged. schedulers/src/cryosparc/README.md says what its variables become.",
    );
    add("schema: 1");
    add("scheduler: cryosparc");
    add(&format!("template: {}", quoted(head.template)));
    add("commands:                       # as in cluster_info.json; run by `sh -c`");
    for (key, command) in commands {
        add(&format!("  {key}: {}", quoted(command)));
    }
    add_variables(&mut add, "  ", "vars", "of the commands", command_variables);
    add_variables(
        &mut add,
        "",
        "vars",
        "of the script; for one job: `vitreous run … --var NAME=VALUE`",
        variables,
    );
    add("limits:");
    add("  nodes: 1                      # CryoSPARC's scripts are for one host");
    match head.walltime {
        Some(seconds) => {
            add(&format!("  walltime: {seconds}               # seconds, from the script's own directive"))
        }
        None => add(
            "  # walltime: 2-00:00:00        # the time limit of the queue: jobs save their work before it",
        ),
    }
    add("  # mem_gib: 180                # the largest that one job may ask for");
    add("  # gpus: 4");
    add("  # threads: 32");
    if !head.scratch.is_empty() {
        add(&format!("scratch: {}  # was cache_path", quoted(head.scratch)));
        add(&cache_line(head));
    }
    add(
        "# engine: /apps/vitreous/bin/vitreous-engine   # on the nodes, if it is not beside `vitreous` or in PATH",
    );
    add("# setup: |                      # shell lines before the engine");
    add("#   module load openmpi");
    text
}

/// How copies of particles are kept below the scratch folder: what CryoSPARC's own cache was allowed.
fn cache_line(head: &Head<'_>) -> String {
    let gib = |mb: Option<f64>| mb.filter(|mb| *mb > 0.0).map(|mb| (mb / 102.4).ceil() / 10.0);
    let keys = [
        gib(head.info.cache_quota_mb).map(|gib| format!("quota_gib: {gib}")),
        gib(head.info.cache_reserve_mb).map(|gib| format!("reserve_gib: {gib}")),
        is_of_one_job(head.scratch).then(|| "keep: false".into()),
    ];
    let keys: Vec<String> = keys.into_iter().flatten().collect();
    match keys.is_empty() {
        true => "# cache: {quota_gib: 500}        # room for copies of particles there; absent: the whole disk but 10 GiB".into(),
        false => format!("cache: {{{}}}", keys.join(", ")),
    }
}

fn add_variables(add: &mut impl FnMut(&str), indent: &str, key: &str, what: &str, variables: &[Variable]) {
    if variables.is_empty() {
        return;
    }
    add(&format!("{indent}# {key}:                         # {what}"));
    for variable in variables {
        let need = if variable.is_optional { "may stay unset" } else { "NEEDS A VALUE" };
        add(&format!(
            "{indent}#   {}:                   # {need}; used in {}",
            variable.name,
            variable.lines_in_words()
        ));
    }
}

/// As YAML: JSON's texts are YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_of_directives() {
        for (line, seconds) in [
            ("#SBATCH --time=2-00:00:00", Some(172_800)),
            ("#SBATCH -t 90", Some(5400)),
            ("#SBATCH --time 1-12", Some(129_600)),
            ("#SBATCH --time=10:30", Some(630)),
            ("#$ -l h_rt=345600", Some(345_600)),
            ("#$ -l h_rt=96:00:00,h_vmem=4G", Some(345_600)),
            ("#PBS -l nodes=1,walltime=12:00:00", Some(43_200)),
            ("#$ -l h_rt={{ h_rt }}", None),
            ("#SBATCH --mem=4G", None),
            ("echo --time=3", None),
        ] {
            assert_eq!(time_limit(line), seconds, "{line}");
        }
    }

    #[test]
    fn only_true_multiplications_of_memory_are_told() {
        assert_eq!(memory_factor("(ram_gb*2)|int"), Some("2"));
        assert_eq!(memory_factor("(1.5 * ram_gb * 1024)|int"), Some("1.5"));
        assert_eq!(memory_factor("(ram_gb*1000)|int"), None);
        assert_eq!(memory_factor("(num_gpu*120)|int"), None);
    }
}
