//! A pipeline file: jobs and what each takes from others, in one YAML file.

use crate::failure::{Failure, Outcome};
use crate::make::Wish;
use crate::plan;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use vitreous_jobs::JobType;
use vitreous_project::job::ResourceOverrides;
use vitreous_project::{Project, ProjectError, atomic};

/// The file as it is written. A job's keys are `type`, `from`, `lane`, `retry`, `resources`, `vars` (values for the lane's
/// template), its inputs and its parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PipelineFile {
    #[allow(dead_code, reason = "checked when the file is read")]
    schema: u32,
    #[serde(default)]
    defaults: Defaults,
    jobs: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Defaults {
    lane: Option<String>,
    retry: Option<u32>,
    vars: BTreeMap<String, Value>,
}

/// A job of a pipeline.
#[derive(Debug)]
pub struct Node {
    /// Its key in the file.
    pub key: String,
    /// What is asked for; inputs still name keys of this file or jobs of the project.
    pub wish: Wish,
    /// Keys of this file that it takes something from.
    pub needs: Vec<String>,
}

/// Reads a pipeline file; its jobs come in an order in which every job follows those it needs.
///
/// # Errors
/// The file cannot be read or understood, names what is not there, or goes in circles.
pub fn read(path: &Path) -> Outcome<Vec<Node>> {
    let file: PipelineFile = atomic::read_yaml(path)?
        .ok_or_else(|| Failure::from(ProjectError::io("read", path)(rustix::io::Errno::NOENT.into())))?;
    let keys: Vec<&String> = file.jobs.keys().collect();
    if keys.is_empty() {
        return Err(Failure::usage(format!("{}: `jobs` is empty", path.display())));
    }
    let mut nodes = Vec::new();
    for (key, value) in &file.jobs {
        let node = node(key, value, &file.defaults, &keys);
        nodes.push(node.map_err(|failure| failure.context(format!("{}: job `{key}`", path.display())))?);
    }
    sorted(nodes).map_err(|circle| {
        Failure::usage(format!("{}: these jobs wait for each other: {}", path.display(), circle.join(", ")))
            .hint("a job can only take what another has made before it")
    })
}

fn node(key: &str, value: &Value, defaults: &Defaults, keys: &[&String]) -> Outcome<Node> {
    if key.parse::<vitreous_project::JobNumber>().is_ok() {
        return Err(Failure::usage(format!("`{key}` is the name of a job; choose another key")));
    }
    let Value::Object(entries) = value else { return Err(Failure::usage("must be a mapping with `type`")) };
    let Some(Value::String(type_name)) = entries.get("type") else {
        return Err(Failure::usage("`type` is missing").hint("`vitreous types` lists them"));
    };
    let job_type = plan::find_type(type_name)?;
    let mut wish = Wish {
        job_type: type_name.clone(),
        title: key.into(),
        lane: defaults.lane.clone(),
        vars: defaults.vars.clone(),
        retry: defaults.retry,
        ..Wish::default()
    };
    for (name, value) in entries.iter().filter(|(name, _)| *name != "type") {
        add(&mut wish, job_type, name, value)?;
    }
    let named = wish.inputs.values().flatten().chain(&wish.from);
    let mut needs = Vec::new();
    for given in named {
        let source = given.split_once('.').map_or(given.as_str(), |(job, _)| job);
        if keys.iter().any(|known| *known == source) {
            needs.push(source.to_string());
        } else if source.parse::<vitreous_project::JobNumber>().is_err() {
            let known = keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!(
                "`{given}` is neither a job of this file nor of the project"
            ))
            .hint(format!("jobs of this file: {known}")));
        }
    }
    needs.sort();
    needs.dedup();
    Ok(Node { key: key.into(), wish, needs })
}

/// Puts one entry of a job where it belongs: an input slot goes before a parameter of the same name.
fn add(wish: &mut Wish, job_type: &dyn JobType, name: &str, value: &Value) -> Outcome {
    if job_type.inputs().iter().any(|slot| slot.name == name) {
        wish.inputs.insert(name.into(), words(name, value)?);
        return Ok(());
    }
    if job_type.fields().iter().any(|field| field.key == name) {
        wish.params.insert(name.into(), value.clone());
        return Ok(());
    }
    let bad = |error: serde_json::Error| Failure::usage(format!("`{name}`: {error}"));
    match name {
        "from" => wish.from = words(name, value)?,
        "lane" => wish.lane = Some(serde_json::from_value(value.clone()).map_err(bad)?),
        "retry" => wish.retry = Some(serde_json::from_value(value.clone()).map_err(bad)?),
        "vars" => {
            let own: BTreeMap<String, Value> = serde_json::from_value(value.clone()).map_err(bad)?;
            wish.vars.extend(own);
        }
        "resources" => {
            wish.resources = serde_json::from_value::<ResourceOverrides>(value.clone()).map_err(bad)?
        }
        _ => {
            // the job type says what it knows, and what may have been meant
            let alone = Value::Object([(name.to_string(), value.clone())].into_iter().collect());
            let bad = job_type.check(&alone).err();
            let unknown = bad.filter(|bad| bad.key == name).map(Failure::from);
            return Err(unknown.unwrap_or_else(|| Failure::usage(format!("unknown key `{name}`"))));
        }
    }
    Ok(())
}

/// A word or a list of words.
fn words(name: &str, value: &Value) -> Outcome<Vec<String>> {
    let word = |value: &Value| value.as_str().map(String::from);
    let words = match value {
        Value::Array(items) => items.iter().map(word).collect(),
        other => word(other).map(|word| vec![word]),
    };
    words
        .ok_or_else(|| Failure::usage(format!("`{name}` must name a job or a list of jobs, found `{value}`")))
}

/// In the order of the file as far as needs allow; the keys of a circle if there is one.
fn sorted(mut nodes: Vec<Node>) -> Result<Vec<Node>, Vec<String>> {
    let mut done: Vec<Node> = Vec::new();
    while !nodes.is_empty() {
        let is_ready =
            |node: &Node| node.needs.iter().all(|need| done.iter().any(|before| before.key == *need));
        match nodes.iter().position(is_ready) {
            Some(at) => done.push(nodes.remove(at)),
            None => return Err(nodes.into_iter().map(|node| node.key).collect()),
        }
    }
    Ok(done)
}

impl Node {
    /// What is asked for, with the keys of the file replaced by the names of the jobs that stand for them.
    pub fn wish_with(&self, jobs: &BTreeMap<String, String>) -> Wish {
        let named = |given: &String| match given.split_once('.') {
            Some((key, slot)) => jobs.get(key).map_or_else(|| given.clone(), |job| format!("{job}.{slot}")),
            None => jobs.get(given).unwrap_or(given).clone(),
        };
        let mut wish = self.wish.clone();
        wish.from = wish.from.iter().map(named).collect();
        for refs in wish.inputs.values_mut() {
            *refs = refs.iter().map(named).collect();
        }
        wish
    }
}

/// The folder that relative paths of a pipeline file start from: its own.
pub fn base_of(path: &Path, project: &Project) -> std::path::PathBuf {
    let folder = path.parent().unwrap_or(project.root());
    folder.canonicalize().unwrap_or_else(|_| folder.into())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests write their input")]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Outcome<Vec<Node>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn error(text: &str) -> String {
        read_text(text).unwrap_err().text()
    }

    #[test]
    fn jobs_come_after_what_they_need_and_keys_go_where_they_belong() {
        let nodes = read_text(
            "schema: 1\ndefaults: {lane: gpu, retry: 2, vars: {h_rt: 60, s_vmem: 2G}}\njobs:\n  motion: {type: correct-motion, from: movies, bfactor: 99, vars: {h_rt: 600}}\n  \
             movies: {type: import-movies, movies: raw/*.tif, lane: local}\n  map:\n    type: import-volume\n    volume: a.mrc\n",
        )
        .unwrap();
        assert_eq!(
            nodes.iter().map(|node| node.key.as_str()).collect::<Vec<_>>(),
            ["movies", "motion", "map"]
        );
        assert_eq!(nodes[0].wish.params["movies"], "raw/*.tif");
        assert_eq!(nodes[0].wish.lane.as_deref(), Some("local"));
        assert_eq!((nodes[1].wish.lane.as_deref(), nodes[1].wish.retry), (Some("gpu"), Some(2)));
        let of_job = |at: usize, name: &str| nodes[at].wish.vars[name].clone();
        assert_eq!(
            (of_job(0, "h_rt"), of_job(1, "h_rt"), of_job(1, "s_vmem")),
            (60.into(), 600.into(), "2G".into())
        );
        let jobs = BTreeMap::from([("movies".to_string(), "J7".to_string())]);
        assert_eq!(nodes[1].wish_with(&jobs).from, ["J7"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = error(
            "schema: 1\njobs:\n  a: {type: correct-motion, movies: b}\n  b: {type: correct-motion, movies: a}\n",
        );
        assert!(text.contains("wait for each other: a, b"), "{text}");
        let text = error("schema: 1\njobs:\n  a: {type: correct-motion, from: nobody}\n");
        assert!(text.contains("job `a`") && text.contains("`nobody` is neither"), "{text}");
        let text = error("schema: 1\njobs:\n  a: {type: correct-motion, from: J1, bfctor: 1}\n");
        assert!(text.contains("did you mean `bfactor`?"), "{text}");
        let text = error("schema: 1\njobs:\n  a: {type: corect-motion}\n");
        assert!(text.contains("no job type `corect-motion`"), "{text}");
        let text = error("schema: 1\njob: {}\n");
        assert!(text.contains("p.yaml") && text.contains("job"), "{text}");
        assert!(error("schema: 1\njobs: {}\n").contains("`jobs` is empty"));
    }
}
