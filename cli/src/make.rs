//! Making a job from what was asked for: inputs are found, parameters checked, paths made fit to travel.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::plan;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use vitreous_jobs::{JobType, Slot};
use vitreous_model::outputs::Kind;
use vitreous_model::params::Form;
use vitreous_project::job::{ResourceOverrides, RetryPolicy};
use vitreous_project::{InputRef, JobNumber, NewJob, Project, Request, Requester, lineage};

/// A job as a user asks for it.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Job type.
    pub job_type: String,
    /// A word for people.
    pub title: String,
    /// Input slot → `J1` or `J1.movies`.
    pub inputs: BTreeMap<String, Vec<String>>,
    /// Jobs to fill the remaining required slots from.
    pub from: Vec<String>,
    /// Parameters as given.
    pub params: Map<String, Value>,
    /// Lane; absent: the project's default.
    pub lane: Option<String>,
    /// Resources the user insists on.
    pub resources: ResourceOverrides,
    /// Values for the site's own variables in the lane's template.
    pub vars: BTreeMap<String, Value>,
    /// Times it is run again by itself; absent: as the lane or the project says.
    pub retry: Option<u32>,
}

/// Completes and checks a wish. `base` is the folder that relative paths in it start from.
///
/// # Errors
/// An unknown job type, a bad parameter, an input that cannot be had, a file that is not there.
pub fn job(context: &Context<'_>, project: &Project, wish: Wish, base: &Path) -> Outcome<NewJob> {
    let job_type = plan::find_type(&wish.job_type)?;
    let Settled { params, effective, sources } = settle(project, job_type, wish.params, base)?;
    let inputs = find_inputs(project, job_type, wish.inputs, &wish.from)?;
    let lane_name = wish.lane.unwrap_or_else(|| project.file().defaults.lane.clone());
    let lane = crate::lanes::find(context, Some(project), &lane_name)?;
    let times = wish.retry.or(lane.lane.retry).unwrap_or(project.file().defaults.retry);
    let fingerprint = lineage::fingerprint(project, job_type.name(), &effective, &inputs, &sources)?;
    Ok(NewJob {
        job_type: job_type.name().into(),
        title: wish.title,
        inputs,
        params,
        lane: lane_name,
        resources: wish.resources,
        vars: wish.vars,
        retry: RetryPolicy::times(times),
        fingerprint,
    })
}

/// Parameters that are fit to be written down.
pub struct Settled {
    /// As given, with paths settled and the microscope filled in.
    pub params: Map<String, Value>,
    /// After defaults.
    pub effective: Value,
    /// What the files they name are now: path, size and modification time of each.
    pub sources: Vec<String>,
}

/// Checks parameters and makes them fit to be written down. `base` is the folder that relative paths start from.
///
/// # Errors
/// A bad parameter, or a file that is not there.
pub fn settle(
    project: &Project,
    job_type: &dyn JobType,
    mut params: Map<String, Value>,
    base: &Path,
) -> Outcome<Settled> {
    let sources = settle_paths(job_type, &mut params, project.root(), base)?;
    // the project's microscope stands in for what was not given, and is written down with the job
    let params = vitreous_jobs::microscope::complete(job_type, &params, &project.file().microscope.values());
    let effective = job_type.check(&Value::Object(params.clone()))?;
    Ok(Settled { params, effective, sources })
}

/// The request of a person, with the environment its job needs.
pub fn request(context: &Context<'_>, why: &str) -> Request {
    Request { environment: context.environment.clone(), ..Request::new(Requester::User, why) }
}

/// Paths inside the project become relative to it, so that it can be moved; others absolute. Returns what the files
/// are now: path, size and modification time of each.
fn settle_paths(
    job_type: &dyn JobType,
    params: &mut Map<String, Value>,
    root: &Path,
    base: &Path,
) -> Outcome<Vec<String>> {
    let mut sources = Vec::new();
    for field in job_type.fields().iter().filter(|field| field.form == Form::Path) {
        let Some(Value::String(given)) = params.get(field.key) else { continue };
        let absolute = tidy(&base.join(given));
        let found = matching_files(&absolute);
        // the folder of a microscope may still be empty, and what it will hold is no part of what the job is
        let watches = field.key == "watch";
        if watches && !fixed_part(&absolute).is_dir() {
            return Err(Failure::input(format!("`watch`: no folder `{}`", fixed_part(&absolute).display()))
                .hint("a folder that is to be followed must be there, empty or not"));
        }
        if found.is_empty() && !watches {
            return Err(Failure::input(format!("`{}`: no file matches `{}`", field.key, absolute.display()))
                .hint(
                    "relative paths start from the working directory, in a pipeline from its file's folder",
                ));
        }
        sources.extend(found.iter().filter(|_| !watches).filter_map(|path| described(path, root)));
        let kept = absolute.strip_prefix(root).unwrap_or(&absolute).to_string_lossy().into_owned();
        params.insert(field.key.into(), Value::String(kept));
    }
    Ok(sources)
}

/// A path without `.` and `..`; links are not followed, so that data linked into a project stays in it.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(tidy.pop()),
            other => tidy.push(other),
        }
    }
    tidy
}

/// The file of that name, or all that match it as a pattern, sorted.
pub fn matching_files(path: &Path) -> Vec<PathBuf> {
    if path.exists() {
        return vec![path.into()];
    }
    let paths = glob::glob(&path.to_string_lossy()).map(|paths| paths.flatten().collect());
    paths.unwrap_or_default()
}

/// The folder in which a pattern starts to vary; of a folder, itself.
fn fixed_part(pattern: &Path) -> PathBuf {
    let is_fixed = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = pattern.components().take_while(is_fixed).collect();
    if fixed.is_file() { fixed.parent().map_or(fixed.clone(), Path::to_path_buf) } else { fixed }
}

/// `PATH SIZE MTIME`, the path relative to the project where it lies inside.
fn described(path: &Path, root: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Some(format!("{name} {} {}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// Fills the input slots: those named one by one, then required ones that are still empty, and the first that can be of
/// those of which one is needed, from the jobs in `from`.
fn find_inputs(
    project: &Project,
    job_type: &dyn JobType,
    named: BTreeMap<String, Vec<String>>,
    from: &[String],
) -> Outcome<BTreeMap<String, Vec<InputRef>>> {
    refuse_second(job_type, |name| named.contains_key(name))?;
    let mut inputs: BTreeMap<String, Vec<InputRef>> = BTreeMap::new();
    for (name, refs) in named {
        let slot = job_type.inputs().iter().find(|slot| slot.name == name).ok_or_else(|| {
            Failure::usage(format!("{} has no input `{name}`", job_type.name()))
                .hint(format!("`vitreous params {}` shows its inputs", job_type.name()))
        })?;
        refuse_more_than_one(job_type, slot, &refs)?;
        let found: Outcome<Vec<InputRef>> =
            refs.iter().map(|given| find_output(project, slot, given)).collect();
        inputs.insert(name, found?);
    }
    for slot in job_type.inputs().iter().filter(|slot| slot.required) {
        if inputs.contains_key(slot.name) {
            continue;
        }
        let offered = from.iter().filter_map(|given| find_output(project, slot, given).ok());
        let found: Vec<InputRef> = offered.take(if slot.several { usize::MAX } else { 1 }).collect();
        if found.is_empty() {
            return Err(missing_input(job_type, slot, from));
        }
        inputs.insert(slot.name.into(), found);
    }
    fill_one(project, job_type, from, &mut inputs)?;
    Ok(inputs)
}

/// Refuses several jobs for a slot that takes one: all but the first would be left out.
fn refuse_more_than_one(job_type: &dyn JobType, slot: &Slot, refs: &[String]) -> Outcome<()> {
    if slot.several || refs.len() <= 1 {
        return Ok(());
    }
    let (name, given) = (slot.name, refs.join(", "));
    let failure = Failure::usage(format!("input `{name}` of {} takes one job, not {given}", job_type.name()));
    Err(match slot.kind {
        Kind::Particles => failure.hint("put the sets together first: combine-particles"),
        _ => failure.hint(format!("give `--{}` once", name.replace('_', "-"))),
    })
}

/// Refuses two of the slots of which exactly one must be filled, before anything is looked for.
fn refuse_second(job_type: &dyn JobType, is_given: impl Fn(&str) -> bool) -> Outcome<()> {
    let slots = job_type.inputs().iter().filter(|slot| slot.one_of);
    let given: Vec<&str> = slots.map(|slot| slot.name).filter(|name| is_given(name)).collect();
    let [first, second, ..] = given[..] else { return Ok(()) };
    Err(Failure::usage(format!("{} takes {first} or {second}, not both", job_type.name()))
        .hint(format!("leave out `--{first}` or `--{second}`")))
}

/// Of the slots of which exactly one must be filled, fills one if none is.
fn fill_one(
    project: &Project,
    job_type: &dyn JobType,
    from: &[String],
    inputs: &mut BTreeMap<String, Vec<InputRef>>,
) -> Outcome<()> {
    let slots: Vec<&Slot> = job_type.inputs().iter().filter(|slot| slot.one_of).collect();
    let is_given = slots.iter().any(|slot| inputs.contains_key(slot.name));
    let (Some(first), false) = (slots.first(), is_given) else { return Ok(()) };
    let offered = slots.iter().find_map(|slot| {
        let found = from.iter().find_map(|given| find_output(project, slot, given).ok());
        found.map(|found| (slot.name, found))
    });
    let (name, found) = offered.ok_or_else(|| missing_input(job_type, first, from))?;
    inputs.insert(name.into(), vec![found]);
    Ok(())
}

fn missing_input(job_type: &dyn JobType, slot: &Slot, from: &[String]) -> Failure {
    let name = slot.name;
    if from.is_empty() {
        return Failure::usage(format!(
            "{} needs {}: input `{name}` is not given",
            job_type.name(),
            slot.kind.name()
        ))
        .hint(format!(
            "name a job that has {}: `--{} J1`",
            slot.kind.name(),
            name.replace('_', "-")
        ));
    }
    let from = from.join(", ");
    Failure::input(format!("{from} offers no {} for input `{name}` of {}", slot.kind.name(), job_type.name()))
        .hint(format!("`vitreous show {from}` lists what it offers"))
}

/// The output that `J1` or `J1.movies` means for a slot: the one named, else the one of the slot's name, else the only
/// one of its kind.
fn find_output(project: &Project, slot: &Slot, given: &str) -> Outcome<InputRef> {
    let (job, output) = match given.split_once('.') {
        Some((job, output)) => (job, Some(output)),
        None => (given, None),
    };
    let job: JobNumber = job.parse()?;
    let parent = project.job(job)?;
    let parent_type = plan::find_type(&parent.spec().job_type)?;
    // what a finished parent really made; what its type promises otherwise
    let offered: Vec<(String, Kind)> = match parent.outputs()? {
        Some(made) => made.outputs.into_iter().map(|output| (output.slot, output.kind)).collect(),
        None => parent_type.outputs().iter().map(|slot| (slot.name.to_string(), slot.kind)).collect(),
    };
    let list = || {
        offered.iter().map(|(name, kind)| format!("{name} ({})", kind.name())).collect::<Vec<_>>().join(", ")
    };
    let no_such = |what: String| Failure::input(format!("{job} {what}; it offers {}", list()));
    if let Some(output) = output {
        return match offered.iter().find(|(name, _)| name == output) {
            Some((_, kind)) if *kind == slot.kind => Ok(InputRef { job, slot: output.into() }),
            Some((_, kind)) => Err(no_such(format!(
                "offers {} as `{output}`, but input `{}` takes {}",
                kind.name(),
                slot.name,
                slot.kind.name()
            ))),
            None => Err(no_such(format!("has no output `{output}`"))),
        };
    }
    let fitting: Vec<&String> =
        offered.iter().filter(|(_, kind)| *kind == slot.kind).map(|(name, _)| name).collect();
    let chosen = match fitting.as_slice() {
        [] => return Err(no_such(format!("offers no {}", slot.kind.name()))),
        [only] => only,
        several => *several.iter().find(|name| **name == slot.name).ok_or_else(|| {
            no_such(format!("offers several {}", slot.kind.name()))
                .hint(format!("say which: `{job}.{}`", several.first().map_or("", |name| name.as_str())))
        })?,
    };
    Ok(InputRef { job, slot: chosen.to_string() })
}

/// Variables of several `--var NAME=VALUE`: numbers and truths as such, everything else as text.
///
/// # Errors
/// One that has no name or no `=`.
pub fn variables<'a>(given: impl Iterator<Item = &'a String>) -> Outcome<BTreeMap<String, Value>> {
    let variable = |text: &'a String| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Failure::usage(format!("--var: `{text}` is no variable")).hint("write `--var NAME=VALUE`")
        })?;
        let plain = serde_json::from_str::<Value>(value).ok();
        let plain = plain.filter(|value| value.is_number() || value.is_boolean());
        Ok((name.to_string(), plain.unwrap_or_else(|| Value::from(value))))
    };
    given.map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied_without_following_links() {
        assert_eq!(tidy(Path::new("/em/T20S/raw/./../gain.mrc")), Path::new("/em/T20S/gain.mrc"));
        assert_eq!(tidy(Path::new("/em/../../x")), Path::new("/x"));
    }
}
