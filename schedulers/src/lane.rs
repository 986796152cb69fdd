//! Lane files: where and how jobs run.

use crate::site::{CommandTemplates, Site};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vitreous_model::SCHEMA;
use vitreous_model::node_cache::CacheSettings;
use vitreous_model::resources::Resources;

/// A lane that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The file cannot be understood.
    #[error("lane `{lane}`: {message}")]
    Malformed {
        /// Name of the lane.
        lane: String,
        /// What was found, where, and what was expected.
        message: String,
    },
    /// Written by a newer version.
    #[error("lane `{lane}` has schema {found}, but this version reads up to {SCHEMA}")]
    Newer {
        /// Name of the lane.
        lane: String,
        /// Its schema.
        found: u32,
    },
    /// A job asks for more than the lane gives.
    #[error("the job asks for {asked}, but lane `{lane}` allows {allowed}")]
    TooMuch {
        /// Name of the lane.
        lane: String,
        /// What is asked for.
        asked: String,
        /// What there is.
        allowed: String,
    },
}

/// Upper limits of one job. What is absent is not limited.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall time: seconds, `12:00:00` or `2-00:00:00`.
    #[serde(deserialize_with = "walltime", skip_serializing_if = "Option::is_none")]
    pub walltime: Option<u64>,
    /// Memory of one host, GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_gib: Option<f64>,
    /// GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Cores: on a local lane, of all its jobs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// MPI ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<u32>,
    /// Hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
}

/// A machine of an `ssh` lane: jobs are placed on it as far as this reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Destination for `ssh`: a host, `user@host`, or a `Host` of `~/.ssh/config`.
    pub host: String,
    /// Cores.
    pub threads: u32,
    /// Memory, GiB; absent: not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_gib: Option<f64>,
    /// GPUs; jobs are given their numbers from 0.
    #[serde(default)]
    pub gpus: u32,
    /// Scratch folder there; empty: the lane's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scratch: String,
}

/// Grid Engine's parallel environments: one for threads on a host, one for ranks over hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParallelEnvironments {
    /// For one rank of several threads: all slots on one host.
    pub threads: String,
    /// For several ranks.
    pub ranks: String,
}

impl Default for ParallelEnvironments {
    fn default() -> Self {
        Self { threads: "smp".into(), ranks: "mpi".into() }
    }
}

/// A lane file, `lanes/NAME.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Version of the layout.
    pub schema: u32,
    /// Name of the scheduler.
    pub scheduler: String,
    /// A template file `NAME.sh.tera` beside the lane file; absent: the scheduler's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Queue or partition.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// Account or project that is charged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// Further directives for the script's head, as they are: `--qos=long`, `-l centos7`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// How GPUs are asked for; empty: the scheduler's usual way. Slurm: `gres` or `gpus-per-node`, then maybe a type
    /// (`gres:a100`); Grid Engine: the resource (`gpu`, or `gpu:slot` where the site counts it for each slot); PBS: the
    /// resource of a chunk (`ngpus`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gpu_option: String,
    /// How memory is asked for; empty: the scheduler's usual way. Slurm: `mem` of a host or `mem-per-cpu`; Grid Engine:
    /// the resource (`h_vmem`, `mem_free`), of one slot; `none`: not asked for at all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mem_option: String,
    /// Grid Engine's parallel environments.
    #[serde(default)]
    pub parallel_environments: ParallelEnvironments,
    /// Folder of the scheduler's commands; empty: found by PATH.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command_dir: String,
    /// Cluster (Slurm's `-M`) or server (PBS); empty: the default one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Dialect of the scheduler: `torque` on a `pbs` lane.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dialect: String,
    /// Host where the scheduler's commands are run through ssh; empty: here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub submit_host: String,
    /// Options for `ssh` to the submit host or the workers: `[-i, ~/.ssh/em, -p, "2222"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_options: Vec<String>,
    /// Machines of an `ssh` lane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<Worker>,
    /// The scheduler's commands in the site's own words, where they come from another program's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<CommandTemplates>,
    /// Per-movie work goes as an array of tasks of so many items; absent: as one job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<u32>,
    /// At most so many tasks of an array at once; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_at_once: Option<u32>,
    /// Jobs are submitted at once, behind the jobs they depend on; otherwise when those are done.
    #[serde(default = "yes")]
    pub chain: bool,
    /// A job that saved its work goes back into the queue by itself, where the scheduler offers it.
    #[serde(default = "yes")]
    pub requeue: bool,
    /// Seconds before its time limit at which a job is told to save its work.
    #[serde(default = "signal_s")]
    pub signal_s: u64,
    /// Jobs above their memory are killed by their own script, where nobody else does it (`local`, `ssh`).
    #[serde(default)]
    pub enforce_memory: bool,
    /// Least time between two questions to the scheduler, seconds; absent: 10 for clusters, 0 for own hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_s: Option<f64>,
    /// A job that the scheduler does not know any more, and that has left no record, is given so long for its record to
    /// arrive through the file system, seconds; absent: 90 for clusters, 30 for `ssh`, 0 for `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<f64>,
    /// Upper limits of one job.
    #[serde(default)]
    pub limits: Limits,
    /// Jobs at once; absent: as many as the scheduler takes, on a local lane as many as there are cores for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Node-local scratch folder; may hold shell variables such as `$USER`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scratch: String,
    /// How images are kept there: `{enabled, quota_gib, reserve_gib, movies, keep}`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cache: CacheSettings,
    /// The engine on the nodes; absent: the one beside this `vitreous`, else the one in PATH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Starts several ranks, e.g. `mpirun --bind-to none`; the number of ranks is added as `-n N`.
    #[serde(default = "mpirun")]
    pub launcher: String,
    /// Environment of the jobs.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Shell lines before the engine, e.g. `module load openmpi`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setup: String,
    /// For the template, as `lane.vars.NAME`.
    #[serde(default)]
    pub vars: BTreeMap<String, serde_json::Value>,
    /// Times a job is run again by itself; absent: as the project says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u32>,
}

fn mpirun() -> String {
    "mpirun".into()
}

fn yes() -> bool {
    true
}

fn is_default(cache: &CacheSettings) -> bool {
    *cache == CacheSettings::default()
}

fn signal_s() -> u64 {
    180
}

impl Default for Lane {
    /// The lane `local` that needs no set-up.
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            scheduler: "local".into(),
            template: None,
            queue: String::new(),
            account: String::new(),
            options: Vec::new(),
            gpu_option: String::new(),
            mem_option: String::new(),
            parallel_environments: ParallelEnvironments::default(),
            command_dir: String::new(),
            cluster: String::new(),
            dialect: String::new(),
            submit_host: String::new(),
            ssh_options: Vec::new(),
            workers: Vec::new(),
            commands: None,
            array: None,
            array_at_once: None,
            chain: true,
            requeue: true,
            signal_s: signal_s(),
            enforce_memory: false,
            poll_s: None,
            grace_s: None,
            limits: Limits::default(),
            slots: None,
            scratch: String::new(),
            cache: CacheSettings::default(),
            engine: None,
            launcher: mpirun(),
            env: BTreeMap::new(),
            setup: String::new(),
            vars: BTreeMap::new(),
            retry: None,
        }
    }
}

impl Lane {
    /// Reads a lane file's text; `name` is for messages.
    ///
    /// # Errors
    /// [`LaneError::Malformed`] with line and column, [`LaneError::Newer`].
    pub fn parse(name: &str, text: &str) -> Result<Self, LaneError> {
        let malformed = |message: String| LaneError::Malformed { lane: name.into(), message };
        let schema = text.lines().find_map(|line| line.strip_prefix("schema:")?.trim().parse::<u32>().ok());
        if let Some(found) = schema.filter(|found| *found > SCHEMA) {
            return Err(LaneError::Newer { lane: name.into(), found });
        }
        let lane: Self = serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if crate::find(&lane.scheduler).is_none() {
            let known: Vec<&str> = crate::SCHEDULERS.iter().map(|scheduler| scheduler.name()).collect();
            return Err(malformed(format!(
                "unknown scheduler `{}`; known: {}",
                lane.scheduler,
                known.join(", ")
            )));
        }
        if (lane.scheduler == "ssh") == lane.workers.is_empty() {
            return Err(malformed(match lane.workers.is_empty() {
                true => "an ssh lane needs `workers: [{host: NAME, threads: N}]`".into(),
                false => format!("`workers` are for scheduler `ssh`, and this lane has `{}`", lane.scheduler),
            }));
        }
        if lane.scheduler == "ssh" && !lane.submit_host.is_empty() {
            return Err(malformed(
                "`submit_host` is for clusters; an ssh lane reaches its workers itself".into(),
            ));
        }
        let has_commands = lane.commands.as_ref().is_some_and(|commands| !commands.submit.is_empty());
        if (lane.scheduler == "cryosparc") != has_commands {
            return Err(malformed(match has_commands {
                true => format!("`commands` are for scheduler `cryosparc`, and this lane has `{}`", lane.scheduler),
                false => "a cryosparc lane needs `commands: {submit: …, status: …, cancel: …}`; `vitreous lane import-cryosparc` writes them".into(),
            }));
        }
        let has_arrays = crate::find(&lane.scheduler).is_some_and(|found| !found.task_id_var().is_empty());
        if lane.array.is_some() && !has_arrays {
            return Err(malformed(format!(
                "`array` is for schedulers that have arrays, and `{}` has none",
                lane.scheduler
            )));
        }
        if lane.array == Some(0) {
            return Err(malformed(
                "`array: 0`: an array task needs at least one item; leave `array` out for one job".into(),
            ));
        }
        if let Some(bad) = lane.env.keys().find(|key| !is_variable_name(key)) {
            return Err(malformed(format!("`{bad}` in `env` is no name of an environment variable")));
        }
        lane.cache.validate().map_err(malformed)?;
        Ok(lane)
    }

    /// Where its scheduler is spoken to; `worker` for a lane of several hosts.
    pub fn site(&self, worker: Option<&Worker>) -> Site {
        Site {
            scheduler: self.scheduler.clone(),
            command_dir: self.command_dir.clone(),
            cluster: self.cluster.clone(),
            dialect: self.dialect.clone(),
            host: worker.map_or_else(|| self.submit_host.clone(), |worker| worker.host.clone()),
            ssh_options: self.ssh_options.clone(),
            command_templates: self.commands.clone(),
            environment: BTreeMap::new(),
        }
    }

    /// Least time between two questions to the scheduler, seconds.
    pub fn poll_s(&self) -> f64 {
        self.poll_s.unwrap_or(if self.is_cluster() { 10.0 } else { 0.0 })
    }

    /// How long absence is tolerated before it is a verdict, seconds.
    pub fn grace_s(&self) -> f64 {
        let usual = match self.scheduler.as_str() {
            "local" => 0.0,
            "ssh" => 30.0,
            _ => 90.0,
        };
        self.grace_s.unwrap_or(usual)
    }

    /// Jobs go to a scheduler that decides where they run.
    pub fn is_cluster(&self) -> bool {
        !crate::find(&self.scheduler).is_some_and(|scheduler| scheduler.places_jobs())
    }

    /// Fits a request into the lane. Threads and wall time shrink to what the lane has (a job that runs out of time
    /// goes on from its checkpoint); everything else must fit.
    ///
    /// # Errors
    /// [`LaneError::TooMuch`].
    pub fn fit(&self, name: &str, resources: &Resources) -> Result<Resources, LaneError> {
        let limits = &self.limits;
        let check = |asked: f64, limit: Option<f64>, unit: &str| match limit {
            Some(limit) if asked > limit => Err(LaneError::TooMuch {
                lane: name.into(),
                asked: format!("{} {unit}", shown(asked)),
                allowed: format!("{} {unit}", shown(limit)),
            }),
            _ => Ok(()),
        };
        check(f64::from(resources.ranks), limits.ranks.map(f64::from), "ranks")?;
        check(f64::from(resources.gpus), limits.gpus.map(f64::from), "GPUs")?;
        let places_jobs = crate::find(&self.scheduler).is_some_and(|scheduler| scheduler.places_jobs());
        let most_nodes = if places_jobs { Some(1) } else { limits.nodes };
        check(f64::from(resources.nodes), most_nodes.map(f64::from), "hosts")?;
        check(
            f64::from(resources.nodes),
            Some(f64::from(resources.ranks.max(1))),
            "hosts for as many ranks",
        )?;
        check(resources.mem_mib as f64 / 1024.0, limits.mem_gib, "GiB of memory")?;
        let walltime_s = resources.walltime_s.min(limits.walltime.unwrap_or(u64::MAX));
        let per_rank = limits.threads.map_or(u32::MAX, |threads| (threads / resources.ranks.max(1)).max(1));
        Ok(Resources { threads: resources.threads.clamp(1, per_rank), walltime_s, ..resources.clone() })
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.1}") }
}

fn is_variable_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether `name` can be a lane's name: it becomes a file name and stands in scripts.
pub fn is_lane_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

/// Seconds from `90`, `12:00:00`, `2-00:00:00`.
fn walltime<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Seconds(u64),
        Text(String),
    }
    match Option::<Given>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Given::Seconds(seconds)) => Ok(Some(seconds)),
        Some(Given::Text(text)) => parse_walltime(&text).map(Some).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is no wall time; write seconds, `12:00:00` or `2-00:00:00`"
            ))
        }),
    }
}

/// Seconds from `90`, `12:00:00`, `2-00:00:00`.
pub fn parse_walltime(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, text),
    };
    let parts: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let seconds = match parts[..] {
        [seconds] if days == 0 => seconds,
        [hours, minutes, seconds] if minutes < 60 && seconds < 60 => hours * 3600 + minutes * 60 + seconds,
        _ => return None,
    };
    Some(days * 86_400 + seconds)
}

/// `HH:MM:SS`, hours beyond 24 if need be: a form that every scheduler reads.
pub fn walltime_text(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_file_reads() {
        let lane = Lane::parse(
            "gpu",
            "schema: 1\nscheduler: local\nslots: 2\nlimits: {walltime: 2-00:00:00, mem_gib: 16, threads: 8}\n\
             env: {OMP_NUM_THREADS: \"1\"}\nvars: {account: em42}\n",
        )
        .unwrap();
        assert_eq!(lane.limits.walltime, Some(172_800));
        assert_eq!(lane.slots, Some(2));
        assert_eq!(lane.vars["account"], "em42");
    }

    #[test]
    fn the_example_is_a_lane() {
        let lane = Lane::parse("local", include_str!("../../templates/lanes/local.example.yaml")).unwrap();
        assert_eq!((lane.slots, lane.limits.walltime), (Some(2), Some(172_800)));
        assert_eq!(lane.setup, "module load openmpi\n");
    }

    #[test]
    fn every_scheduler_has_an_example_of_a_lane() {
        for (name, text) in [
            ("slurm", include_str!("../../templates/lanes/slurm.example.yaml")),
            ("sge", include_str!("../../templates/lanes/sge.example.yaml")),
            ("pbs", include_str!("../../templates/lanes/pbs.example.yaml")),
            ("ssh", include_str!("../../templates/lanes/ssh.example.yaml")),
        ] {
            let lane = Lane::parse(name, text).unwrap();
            assert_eq!(lane.scheduler, name);
            assert_eq!(lane.is_cluster(), name != "ssh");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let error = |text: &str| Lane::parse("gpu", text).unwrap_err().to_string();
        let text = error("schema: 1\nscheduler: local\nslot: 2\n");
        assert!(text.contains("gpu") && text.contains("slot") && text.contains('3'), "{text}");
        let text = error("schema: 1\nscheduler: lsf\n");
        assert!(text.contains("unknown scheduler `lsf`; known: local, ssh"), "{text}");
        let text = error("schema: 1\nscheduler: local\nlimits: {walltime: tomorrow}\n");
        assert!(text.contains("`tomorrow` is no wall time"), "{text}");
        let text = error("schema: 1\nscheduler: cryosparc\n");
        assert!(text.contains("needs `commands"), "{text}");
        let text = error("schema: 1\nscheduler: local\ncommands: {submit: sbatch}\n");
        assert!(
            text.contains("`commands` are for scheduler `cryosparc`, and this lane has `local`"),
            "{text}"
        );
        let text = error("schema: 1\nscheduler: cryosparc\ncommands: {submit: s}\narray: 5\n");
        assert!(text.contains("`cryosparc` has none"), "{text}");
        assert!(error("schema: 2\nscheduler: local\nnews: 1\n").contains("schema 2"));
        assert!(error("schema: 1\nscheduler: local\nenv: {\"A B\": c}\n").contains("`A B`"));
    }

    #[test]
    fn requests_are_fitted_or_refused() {
        let limits = Limits { threads: Some(8), mem_gib: Some(1.5), walltime: Some(60), ..Limits::default() };
        let lane = Lane { limits, ..Lane::default() };
        let asked =
            Resources { threads: 16, ranks: 2, mem_mib: 1024, walltime_s: 3600, ..Resources::default() };
        let fitted = lane.fit("l", &asked).unwrap();
        assert_eq!((fitted.threads, fitted.walltime_s), (4, 60));
        let error = lane.fit("l", &Resources { mem_mib: 2048, ..asked }).unwrap_err().to_string();
        assert_eq!(error, "the job asks for 2 GiB of memory, but lane `l` allows 1.5 GiB of memory");
        let spread = Resources { nodes: 2, ranks: 4, ..Resources::default() };
        let error = lane.fit("l", &spread).unwrap_err().to_string();
        assert_eq!(error, "the job asks for 2 hosts, but lane `l` allows 1 hosts", "a local lane has one");
        let cluster = Lane { scheduler: "slurm".into(), ..Lane::default() };
        assert_eq!(cluster.fit("l", &spread).unwrap().nodes, 2);
        let error = cluster.fit("l", &Resources { nodes: 8, ..spread }).unwrap_err().to_string();
        assert!(error.contains("8 hosts for as many ranks, but lane `l` allows 4"), "{error}");
    }

    #[test]
    fn wall_times_in_all_their_forms() {
        for (text, seconds) in
            [("90", 90), ("01:00:00", 3600), ("2-00:00:00", 172_800), ("1-01:01:01", 90_061)]
        {
            assert_eq!(parse_walltime(text), Some(seconds), "{text}");
        }
        for text in ["", "1:2", "1-2", "a", "1:60:00", "-1"] {
            assert_eq!(parse_walltime(text), None, "{text}");
        }
        assert_eq!(walltime_text(90_061), "25:01:01");
    }
}
