//! From a template and its context to a script.
//!
//! In tera an unknown name in `{{ x }}` is an error, but in `{% if x %}` it is silently false, and nothing is quoted
//! for the shell. So every name in a template is checked against the context before it is rendered, all unknown ones
//! are listed, and values go through the filter `sh`, or `directive` in the directives of a script's head.

use crate::lane::{Lane, ParallelEnvironments, walltime_text};
use crate::quote;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tera::{Context, Kwargs, State, Tera};
use vitreous_model::resources::Resources;

/// The part of every built-in script that does not depend on the scheduler; templates include it by this name.
pub const BODY: &str = "_body.sh.tera";
const BODY_TEXT: &str = include_str!("../../templates/_body.sh.tera");

/// A template that cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// It is no template.
    #[error("template `{template}`: {message}")]
    Syntax {
        /// Name of the template.
        template: String,
        /// What and where.
        message: String,
    },
    /// It uses names that no script has.
    #[error("template `{template}` uses unknown names: {}; known: {}", unknown.join(", "), known.join(", "))]
    UnknownNames {
        /// Name of the template.
        template: String,
        /// All of them, sorted.
        unknown: Vec<String>,
        /// What there is.
        known: Vec<String>,
    },
}

/// What a template sees of the lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneContext {
    /// Name of the lane.
    pub name: String,
    /// Queue or partition; may be empty.
    pub queue: String,
    /// Account that is charged; may be empty.
    pub account: String,
    /// Further directives, as they are.
    pub options: Vec<String>,
    /// How GPUs are asked for; empty: the scheduler's usual way.
    pub gpu_option: String,
    /// How memory is asked for; empty: the scheduler's usual way; `none`: not at all.
    pub mem_option: String,
    /// Grid Engine's parallel environments.
    pub parallel_environments: ParallelEnvironments,
    /// Dialect of the scheduler: `torque` on a `pbs` lane.
    pub dialect: String,
    /// The scheduler may run the job again, under the same id.
    pub requeue: bool,
    /// Seconds before the time limit at which the job is told to save its work.
    pub signal_s: u64,
    /// Scratch folder; may be empty and may hold shell variables.
    pub scratch: String,
    /// How images are kept there: JSON of `CacheSettings`.
    pub cache: String,
    /// Shell lines before the engine; may be empty.
    pub setup: String,
    /// The site's own values.
    pub vars: BTreeMap<String, Value>,
}

/// A job whose outputs must be there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parent {
    /// `J1`.
    pub job: String,
    /// Its `outputs.json`, absolute.
    pub outputs: String,
}

/// A variable of the job's environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// Everything a template can use. The names of the fields are the names in templates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScriptContext {
    /// `J2`.
    pub job: String,
    /// `correct-motion`.
    pub job_type: String,
    /// Name in the queue: project, job and type.
    pub job_name: String,
    /// The project's folder, absolute.
    pub project_dir: String,
    /// The job's folder, absolute.
    pub job_dir: String,
    /// The attempt's folder, absolute.
    pub attempt_dir: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// If this file exists, the attempt must not start; absolute.
    pub cancel_file: String,
    /// Identity of the attempt.
    pub uuid: String,
    /// The engine.
    pub engine: String,
    /// This `vitreous`, run at the end to start what waits; empty: not run.
    pub vitreous: String,
    /// Words that start several ranks, e.g. `mpirun`; empty for one rank.
    pub launcher: Vec<String>,
    /// Hosts.
    pub nodes: u32,
    /// MPI ranks over all hosts.
    pub ranks: u32,
    /// MPI ranks of each host.
    pub ranks_per_node: u32,
    /// Threads of each rank.
    pub threads: u32,
    /// GPUs over all hosts.
    pub gpus: u32,
    /// GPUs of each host.
    pub gpus_per_node: u32,
    /// Memory of each host, MiB.
    pub mem_mib: u64,
    /// Memory of one GPU, MiB.
    pub vram_mib: u64,
    /// Scratch of each host, MiB.
    pub scratch_mib: u64,
    /// Wall time, seconds.
    pub walltime_s: u64,
    /// Wall time, `HH:MM:SS`.
    pub walltime: String,
    /// Jobs whose outputs the script waits for a moment, and then does not start without.
    pub parents: Vec<Parent>,
    /// A shell word that is the job's id inside the script, e.g. `$SLURM_JOB_ID`; not to be quoted.
    pub job_id_var: String,
    /// A shell word that is a task's number inside the script, e.g. `$SLURM_ARRAY_TASK_ID`; not to be quoted.
    pub task_id_var: String,
    /// The elements that the tasks of this array do, in the order of the tasks; empty: no array.
    pub elements: Vec<u32>,
    /// How many elements the items are divided into; 0: no array.
    pub element_count: u32,
    /// Shell words that put the running job back into the queue; empty: there are none. Not to be quoted.
    pub requeue_command: String,
    /// Ending with code 99 makes the scheduler run the job again.
    pub reruns_on_99: bool,
    /// The script itself tells the engine so many seconds after its start to save its work; 0: the scheduler does.
    pub deadline_s: u64,
    /// The script itself ends the engine so many seconds after its start; 0: the scheduler does.
    pub hard_limit_s: u64,
    /// The script itself kills the engine above so much memory, MiB; 0: somebody else does.
    pub mem_limit_mib: u64,
    /// Whether the job is told which GPUs are its own, because nobody else does.
    pub gives_gpus: bool,
    /// Their numbers, as in `CUDA_VISIBLE_DEVICES`.
    pub gpu_ids: Vec<u32>,
    /// File for standard output, absolute.
    pub stdout: String,
    /// File for standard error, absolute.
    pub stderr: String,
    /// Environment to set.
    pub environment: Vec<Variable>,
    /// The lane.
    pub lane: LaneContext,
}

impl LaneContext {
    /// What templates see of a lane.
    pub fn new(name: &str, lane: &Lane) -> Self {
        Self {
            name: name.into(),
            queue: lane.queue.clone(),
            account: lane.account.clone(),
            options: lane.options.clone(),
            gpu_option: lane.gpu_option.clone(),
            mem_option: lane.mem_option.clone(),
            parallel_environments: lane.parallel_environments.clone(),
            dialect: lane.dialect.clone(),
            requeue: lane.requeue,
            signal_s: lane.signal_s,
            scratch: lane.scratch.clone(),
            cache: serde_json::to_string(&lane.cache).unwrap_or_default(),
            setup: lane.setup.clone(),
            vars: lane.vars.clone(),
        }
    }
}

impl ScriptContext {
    /// Fills the fields that follow from a request.
    pub fn set_resources(&mut self, resources: &Resources) {
        let nodes = resources.nodes.max(1);
        self.nodes = nodes;
        self.ranks = resources.ranks;
        self.ranks_per_node = resources.ranks.div_ceil(nodes);
        self.threads = resources.threads;
        self.gpus = resources.gpus;
        self.gpus_per_node = resources.gpus.div_ceil(nodes);
        self.mem_mib = resources.mem_mib;
        self.vram_mib = resources.vram_mib;
        self.scratch_mib = resources.scratch_mib;
        self.walltime_s = resources.walltime_s;
        self.walltime = walltime_text(resources.walltime_s);
    }

    /// A context as a job could have it: for checking templates.
    pub fn example(lane: LaneContext) -> Self {
        let mut example = Self {
            job: "J2".into(),
            job_type: "correct-motion".into(),
            job_name: "T20S-J2-correct-motion".into(),
            project_dir: "/em/T20S".into(),
            job_dir: "/em/T20S/J0002-correct-motion".into(),
            attempt_dir: "/em/T20S/J0002-correct-motion/attempt-01".into(),
            attempt: 1,
            cancel_file: "/em/T20S/J0002-correct-motion/cancel-01.json".into(),
            uuid: "00000000-0000-4000-8000-000000000000".into(),
            engine: "/opt/vitreous/bin/vitreous-engine".into(),
            vitreous: "/opt/vitreous/bin/vitreous".into(),
            launcher: Vec::new(),
            nodes: 1,
            ranks: 1,
            ranks_per_node: 1,
            threads: 1,
            gpus: 0,
            gpus_per_node: 0,
            mem_mib: 0,
            vram_mib: 0,
            scratch_mib: 0,
            walltime_s: 0,
            walltime: String::new(),
            parents: Vec::new(),
            job_id_var: "$$".into(),
            task_id_var: "$VITREOUS_TASK".into(),
            elements: Vec::new(),
            element_count: 0,
            requeue_command: String::new(),
            reruns_on_99: false,
            deadline_s: 0,
            hard_limit_s: 0,
            mem_limit_mib: 0,
            gives_gpus: false,
            gpu_ids: Vec::new(),
            stdout: "/em/T20S/J0002-correct-motion/attempt-01/stdout".into(),
            stderr: "/em/T20S/J0002-correct-motion/attempt-01/stderr".into(),
            environment: vec![Variable { name: "PATH".into(), value: "/usr/bin:/bin".into() }],
            lane,
        };
        example.set_resources(&Resources { threads: 4, ..Resources::default() });
        example
    }

    fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("a struct of plain fields should serialise to a map"),
        }
    }
}

/// Renders a template.
///
/// # Errors
/// [`RenderError::Syntax`]; [`RenderError::UnknownNames`] with all of them.
pub fn render(name: &str, template: &str, context: &ScriptContext) -> Result<String, RenderError> {
    let syntax =
        |error: &dyn std::error::Error| RenderError::Syntax { template: name.into(), message: chain(error) };
    let tera = prepare(name, template).map_err(|error| syntax(&error))?;
    let map = context.to_map();
    let unknown = unknown_names(&tera, name, template, &map).map_err(|error| syntax(&error))?;
    if !unknown.is_empty() {
        return Err(RenderError::UnknownNames { template: name.into(), unknown, known: known_names(&map) });
    }
    let values = Context::from_serialize(&map).map_err(|error| syntax(&error))?;
    tera.render(name, &values).map_err(|error| syntax(&error))
}

fn prepare(name: &str, template: &str) -> Result<Tera, tera::Error> {
    let mut tera = Tera::default();
    tera.autoescape_on(Vec::<&'static str>::new());
    tera.register_filter("sh", |value: tera::Value, _: Kwargs, _: &State| quote::sh(&value.to_string()));
    tera.register_filter("directive", |value: tera::Value, _: Kwargs, _: &State| {
        quote::directive(&value.to_string())
    });
    tera.add_raw_templates([(BODY, BODY_TEXT), (name, template)])?;
    Ok(tera)
}

/// Names that the template uses and the context lacks: whole names at the top level, and the keys below `lane`.
fn unknown_names(
    tera: &Tera,
    name: &str,
    template: &str,
    map: &Map<String, Value>,
) -> Result<Vec<String>, tera::Error> {
    let top = tera.get_template_variables(name)?;
    let mut unknown: Vec<String> =
        top.into_iter().filter(|n| !map.contains_key(*n)).map(String::from).collect();
    for path in lane_paths(template).into_iter().chain(lane_paths(BODY_TEXT)) {
        let mut at = Some(&map["lane"]);
        for key in path.split('.').skip(1) {
            at = at.and_then(|value| value.get(key));
        }
        if at.is_none() {
            unknown.push(path);
        }
    }
    unknown.sort();
    unknown.dedup();
    Ok(unknown)
}

/// Every `lane.a.b` inside the template's `{{ }}` and `{% %}`.
fn lane_paths(template: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let inside = &rest[start + 2..];
        let end = inside.find("}}").into_iter().chain(inside.find("%}")).min().unwrap_or(inside.len());
        let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let words = inside[..end].split(|c| !is_path(c));
        paths.extend(
            words.filter(|word| word.starts_with("lane.")).map(|word| word.trim_end_matches('.').to_string()),
        );
        rest = &inside[end..];
    }
    paths
}

fn known_names(map: &Map<String, Value>) -> Vec<String> {
    let mut known: Vec<String> = map.keys().filter(|key| *key != "lane").cloned().collect();
    for (key, value) in map["lane"].as_object().into_iter().flatten() {
        match value.as_object().filter(|vars| !vars.is_empty()) {
            Some(vars) => known.extend(vars.keys().map(|name| format!("lane.{key}.{name}"))),
            None => known.push(format!("lane.{key}")),
        }
    }
    known
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text += &format!(": {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> LaneContext {
        let vars = BTreeMap::from([("account".to_string(), Value::from("em42"))]);
        LaneContext::new("gpu", &Lane { queue: "q 1".into(), vars, ..Lane::default() })
    }

    #[test]
    fn values_are_quoted_and_site_values_found() {
        let text = "#X {{ lane.queue | sh }} {{ lane.vars.account | sh }} {{ threads | sh }}";
        assert_eq!(render("t", text, &ScriptContext::example(lane())).unwrap(), "#X 'q 1' em42 4");
    }

    #[test]
    fn all_unknown_names_are_listed_even_those_in_conditions() {
        let text = "{{ thread }}{% if gpu %}x{% endif %}{% if lane.vars.acount %}{% endif %}{{ lane.que | sh }}{{ job }}";
        match render("t", text, &ScriptContext::example(lane())) {
            Err(RenderError::UnknownNames { unknown, known, .. }) => {
                assert_eq!(unknown, ["gpu", "lane.que", "lane.vars.acount", "thread"]);
                assert!(known.contains(&"lane.vars.account".to_string()));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_bound_in_the_template_are_no_strangers() {
        let text = "{% for v in environment %}{{ v.name }}{% endfor %}{% set a = threads %}{{ a }}";
        assert_eq!(render("t", text, &ScriptContext::example(lane())).unwrap(), "PATH4");
    }

    #[test]
    fn a_broken_template_says_where() {
        let error = render("t", "line\n{{ job ", &ScriptContext::example(lane())).unwrap_err();
        assert!(matches!(&error, RenderError::Syntax { message, .. } if message.contains('2')), "{error}");
    }
}
