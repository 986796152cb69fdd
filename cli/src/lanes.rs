//! Finding lanes: of the project, the user, the site; `local` needs none.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitreous_project::Project;
use vitreous_schedulers::{
    Lane, LaneContext, RenderError, Scheduler, ScriptContext, Site, Worker, cryosparc, lane, render,
};

/// The scripts of a job.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// What is submitted.
    pub script: String,
    /// What that runs, where it is another program's script; else it holds everything itself.
    pub body: Option<String>,
}

/// A lane, read.
#[derive(Debug, Clone)]
pub struct NamedLane {
    /// Its name.
    pub name: String,
    /// The file; `None`: built in.
    pub path: Option<PathBuf>,
    /// What it says.
    pub lane: Lane,
    /// Name of its template, for messages.
    pub template_name: String,
    /// Text of its template.
    pub template: String,
}

impl NamedLane {
    /// Its scheduler.
    pub fn scheduler(&self) -> &'static dyn Scheduler {
        vitreous_schedulers::find(&self.lane.scheduler)
            .expect("a lane's scheduler should be checked when it is read")
    }

    /// What templates see of it; `vars` of a job go before the lane's own.
    pub fn context(&self, vars: &BTreeMap<String, Value>) -> LaneContext {
        let mut context = LaneContext::new(&self.name, &self.lane);
        context.vars.extend(vars.clone());
        context
    }

    /// Its scripts for a job.
    ///
    /// # Errors
    /// The template is broken.
    pub fn render(&self, values: &ScriptContext) -> Result<Rendered, RenderError> {
        if !self.template_name.ends_with(cryosparc::ENDING) {
            let script = render::render(&self.template_name, &self.template, values)?;
            return Ok(Rendered { script, body: None });
        }
        let script = cryosparc::render(&self.template_name, &self.template, values, &BTreeMap::new())?;
        let scheduler = self.scheduler();
        let body = render::render(&format!("{}.sh.tera", scheduler.name()), scheduler.template(), values)?;
        Ok(Rendered { script, body: Some(body) })
    }

    /// Where its scheduler is spoken to, for jobs asked for with this environment.
    pub fn site(&self, worker: Option<&Worker>, environment: &BTreeMap<String, String>) -> Site {
        self.lane.site(worker).with_environment(self.scheduler(), environment)
    }

    /// Cores that all jobs of a local lane share.
    pub fn cores(&self) -> u32 {
        let here = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        self.lane.limits.threads.unwrap_or(here)
    }

    /// Jobs at once.
    pub fn slots(&self) -> u32 {
        match self.lane.slots {
            Some(slots) => slots,
            None if !self.lane.workers.is_empty() => {
                self.lane.workers.iter().map(|worker| worker.threads).sum()
            }
            None if self.scheduler().places_jobs() => self.cores(),
            None => u32::MAX,
        }
    }

    /// The engine: the lane's, else the one beside this program, else the one in PATH.
    pub fn engine(&self, program: &Path) -> String {
        if let Some(engine) = &self.lane.engine {
            return engine.clone();
        }
        let beside = program.with_file_name("vitreous-engine");
        if beside.is_file() { beside.to_string_lossy().into_owned() } else { "vitreous-engine".into() }
    }
}

/// Memory of this machine, MiB.
pub fn memory_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// GPUs of this machine: its NVIDIA devices.
pub fn gpus_here() -> u32 {
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    entries.filter(|entry| is_gpu(&entry.file_name().to_string_lossy())).count() as u32
}

/// The folders that are searched, the project's first.
fn folders(context: &Context<'_>, project: Option<&Project>) -> Vec<PathBuf> {
    let own = project.map(|project| project.root().join("lanes"));
    own.into_iter().chain(context.lane_folders.iter().cloned()).collect()
}

/// The lane of a name.
///
/// # Errors
/// There is none, or its file or template is broken.
pub fn find(context: &Context<'_>, project: Option<&Project>, name: &str) -> Outcome<NamedLane> {
    if !lane::is_lane_name(name) {
        return Err(Failure::usage(format!("`{name}` is no name of a lane"))
            .hint("letters, digits, `-`, `_` and `.`"));
    }
    for folder in folders(context, project) {
        let path = folder.join(format!("{name}.yaml"));
        if let Some(text) = vitreous_project::atomic::read(&path)? {
            let lane =
                Lane::parse(name, &text).map_err(|error| Failure::from(error).context(path.display()))?;
            return with_template(name, Some(path), lane);
        }
    }
    if name == "local" {
        return with_template(name, None, Lane::default());
    }
    let known: Vec<String> = list(context, project).into_iter().map(|(name, _)| name).collect();
    Err(Failure::usage(format!("no lane `{name}`")).hint(format!("there are: {}", known.join(", "))))
}

fn with_template(name: &str, path: Option<PathBuf>, lane: Lane) -> Outcome<NamedLane> {
    let builtin = vitreous_schedulers::find(&lane.scheduler).map_or("", |scheduler| scheduler.template());
    let (template_name, template) = match (&lane.template, &path) {
        (Some(file), Some(path)) if Some(file.as_str()) != Some(lane.scheduler.as_str()) => {
            let is_whole = [".tera", cryosparc::ENDING].iter().any(|ending| file.ends_with(ending));
            let name = if is_whole { file.clone() } else { format!("{file}.sh.tera") };
            let template = path.with_file_name(&name);
            let text = vitreous_project::atomic::read(&template)?.ok_or_else(|| {
                Failure::usage(format!("{}: no template `{}`", path.display(), template.display()))
                    .hint("put it beside the lane file, or leave `template` out to use the scheduler's own")
            })?;
            (name, text)
        }
        _ => (format!("{}.sh.tera", lane.scheduler), builtin.to_string()),
    };
    Ok(NamedLane { name: name.into(), path, lane, template_name, template })
}

/// Names of all lanes and their files; the first of a name counts.
pub fn list(context: &Context<'_>, project: Option<&Project>) -> Vec<(String, Option<PathBuf>)> {
    let mut lanes: Vec<(String, Option<PathBuf>)> = Vec::new();
    for folder in folders(context, project) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.sort();
        for path in found.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")) {
            let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            if lane::is_lane_name(&name) && !lanes.iter().any(|(known, _)| *known == name) {
                lanes.push((name, Some(path)));
            }
        }
    }
    if !lanes.iter().any(|(name, _)| name == "local") {
        lanes.insert(0, ("local".into(), None));
    }
    lanes
}
