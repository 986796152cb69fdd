//! `lane import-cryosparc`: a lane of CryoSPARC's own cluster files.

use super::destination::{Destination, Owner, shown};
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use serde_json::json;
use std::path::{Path, PathBuf};
use vitreous_model::exit;
use vitreous_project::Project;
use vitreous_schedulers::cryosparc::{self, ClusterInfo, Import, ImportError};
use vitreous_schedulers::lane::is_lane_name;

const INFO: &str = "cluster_info.json";
const SCRIPT: &str = "cluster_script.sh";

/// Arguments of `lane import-cryosparc`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder with cluster_info.json and cluster_script.sh, or with several pairs PREFIXcluster_info.json …
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name of the lane [default: the name in cluster_info.json]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Which pair, where the folder has several
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Whose lane it is [default: the project's, else the user's]
    #[arg(long = "in", value_enum, value_name = "WHERE")]
    owner: Option<Owner>,
    /// Replace a lane of that name
    #[arg(long)]
    force: bool,
    /// Only show the lane and what is to be known about it
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, project: Option<&Project>, args: &Arguments) -> Outcome<i32> {
    let folder = context.cwd.join(&args.folder);
    let pair = Pair::find(&folder, args.prefix.as_deref())?;
    let name = lane_name(args, &pair)?;
    let template = format!("{name}.sh{}", cryosparc::ENDING);
    let info = pair.info.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let (script_path, script) = &pair.script;
    let made = cryosparc::import(&name, &template, info, (script_path, script)).map_err(failure)?;
    vitreous_schedulers::Lane::parse(&name, &made.lane)?;
    let destination = Destination::new(context, project, &name, args.owner, args.force || args.dry_run)?;
    if !args.dry_run {
        destination.write(&made.lane, &[(&template, script.as_bytes())])?;
    }
    let unset: Vec<&str> = made.unset().map(|variable| variable.name.as_str()).collect();
    let result = json!({
        "lane": name, "file": destination.file(), "template": destination.beside(&template),
        "written": !args.dry_run, "text": made.lane, "unset": unset, "warnings": made.warnings,
        "mapping": made.mapping.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    });
    let file = shown(context, &destination.file());
    context.screen.result(&result, || told(&made, &name, &file, args.dry_run))?;
    for warning in &made.warnings {
        remark(format!("note: {warning}"));
    }
    Ok(if unset.is_empty() { exit::OK } else { exit::USAGE })
}

fn failure(error: ImportError) -> Failure {
    let hint = match &error {
        ImportError::NoCommands { .. } => "put the cluster_info.json beside it that CryoSPARC was given",
        ImportError::NeverRuns { .. } => "CryoSPARC replaces it by the command of the job",
        _ => "CryoSPARC must be able to read the same file",
    };
    Failure::input(error).hint(hint)
}

/// A `cluster_script.sh` and the `cluster_info.json` beside it: paths and texts.
struct Pair {
    prefix: String,
    info: Option<(String, String)>,
    script: (String, String),
}

impl Pair {
    /// The pair of a prefix; without one the only pair of the folder.
    fn find(folder: &Path, prefix: Option<&str>) -> Outcome<Self> {
        let listed = std::fs::read_dir(folder)
            .map_err(|error| Failure::input(format!("{}: {error}", folder.display())))?;
        let names = listed.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut prefixes: Vec<String> =
            names.filter_map(|name| name.strip_suffix(SCRIPT).map(String::from)).collect();
        prefixes.sort();
        let all = || prefixes.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        let found = match (prefix, &prefixes[..]) {
            (_, []) => {
                return Err(Failure::input(format!("{}: no {SCRIPT}", folder.display())).hint(
                    "`cryosparcm cluster dump NAME` writes cluster_info.json and cluster_script.sh into a folder",
                ));
            }
            (Some(prefix), all) => {
                all.iter().find(|known| *known == prefix || known.trim_end_matches('_') == prefix)
            }
            (None, [only]) => Some(only),
            (None, many) => many.iter().find(|known| known.is_empty()),
        };
        let found = found.ok_or_else(|| {
            Failure::usage(format!("{}: several pairs of files", folder.display()))
                .hint(format!("`--prefix` names one of {}", all()))
        })?;
        let read = |name: String| -> Outcome<Option<(String, String)>> {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(text) => Ok(Some((path.display().to_string(), text))),
                    Err(error) => Err(Failure::input(format!(
                        "{}: byte {} is no UTF-8 text",
                        path.display(),
                        error.utf8_error().valid_up_to() + 1
                    ))),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Failure::input(format!("{}: {error}", path.display()))),
            }
        };
        let script = read(format!("{found}{SCRIPT}"))?
            .ok_or_else(|| Failure::input(format!("{}: {found}{SCRIPT} has just gone", folder.display())))?;
        Ok(Self { prefix: found.clone(), info: read(format!("{found}{INFO}"))?, script })
    }
}

/// The name given, else that in `cluster_info.json` with what no lane's name may hold replaced, else the prefix.
fn lane_name(args: &Arguments, pair: &Pair) -> Outcome<String> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let info = pair.info.as_ref().map(|(path, text)| ClusterInfo::parse(path, text)).transpose();
    let theirs = info.map_err(|error| failure(error.into()))?.map_or(String::new(), |info| info.name);
    let plain = |text: &str| {
        let text = text.trim().to_lowercase();
        text.replace(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)), "-")
            .trim_matches(['-', '.', '_'])
            .to_string()
    };
    let names = [plain(&theirs), plain(&pair.prefix)];
    names.into_iter().find(|name| is_lane_name(name)).ok_or_else(|| {
        Failure::usage("cluster_info.json gives the lane no name").hint("give it one with `--name NAME`")
    })
}

fn told(made: &Import, name: &str, file: &str, dry_run: bool) -> String {
    let mut text = if dry_run { made.lane.clone() + "\n" } else { format!("{file} is written\n") };
    text += "CryoSPARC's variables in the script:\n";
    for (variable, what) in &made.mapping {
        text += &format!("  {variable:<20} {what}\n");
    }
    let listed = |of: &[cryosparc::Variable], place: &str| {
        let line = |variable: &cryosparc::Variable| {
            let need = if variable.is_optional { "may stay unset" } else { "NEEDS A VALUE" };
            format!("  {:<20} {need}: {place} ({})\n", variable.name, variable.lines_in_words())
        };
        of.iter().map(line).collect::<String>()
    };
    if !made.variables.is_empty() || !made.command_variables.is_empty() {
        text += "The site's own variables:\n";
        text += &listed(&made.variables, "`vars` of the lane, or `--var` of a job");
        text += &listed(&made.command_variables, "`commands.vars` of the lane");
    }
    text + &format!("next: `vitreous lane check {name}`\n")
}
