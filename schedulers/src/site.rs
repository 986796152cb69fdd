//! How a scheduler is reached: from here or through a submit host, with which commands and which environment.
//!
//! A lane says it; every launch keeps a copy, so that a job is followed where it was submitted even if its lane has
//! changed since.

use crate::quote::sh;
use crate::scheduler::{Cmd, Scheduler};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Commands in the words of a site: templates of another program that are run as they are. See `cryosparc/README.md`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandTemplates {
    /// Wraps every command: `ssh submit.site {{ command }}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub send: String,
    /// Submits `{{ script_path_abs }}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub submit: String,
    /// Shows job `{{ cluster_job_id }}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Prints the state of job `{{ cluster_job_id }}` as one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status_code: String,
    /// Removes job `{{ cluster_job_id }}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cancel: String,
    /// Shows the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub info: String,
    /// Values of the site's own variables in these templates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, serde_json::Value>,
}

/// Where and how a scheduler is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    /// Name of the scheduler.
    pub scheduler: String,
    /// Folder of its commands; empty: found by PATH.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command_dir: String,
    /// Cluster (Slurm's `-M`) or server (PBS); empty: the default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Dialect: `torque` on a `pbs` lane; empty: the usual one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dialect: String,
    /// Destination for `ssh` where commands run: a submit host, or a worker of an `ssh` lane; empty: here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Options for `ssh`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_options: Vec<String>,
    /// Commands in the site's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_templates: Option<CommandTemplates>,
    /// Environment of the commands, from the shell where the job was asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// Options of every `ssh`: never a question, host keys always verified, a dead peer noticed.
const SSH_OPTIONS: [&str; 5] = [
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    "-oConnectTimeout=15",
    "-oServerAliveInterval=10",
    "-oServerAliveCountMax=3",
];

/// Variables of this side that `ssh` itself needs; everything else belongs to the other side.
const SSH_VARIABLES: [&str; 2] = ["SSH_AUTH_SOCK", "PATH"];

impl Site {
    /// Keeps of `environment` what this scheduler's commands need.
    #[must_use]
    pub fn with_environment(
        mut self,
        scheduler: &dyn Scheduler,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let needed =
            |name: &str| ["PATH", "SSH_AUTH_SOCK"].contains(&name) || scheduler.variables().contains(&name);
        self.environment = environment
            .iter()
            .filter(|(name, _)| needed(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self
    }

    /// A scheduler's command as it is run for this site.
    ///
    /// ```
    /// use vitreous_schedulers::{Cmd, Site};
    /// let here = Site { command_dir: "/opt/slurm/bin".into(), ..Site::default() };
    /// assert_eq!(here.command(Cmd::new("squeue", ["--me"])).program, "/opt/slurm/bin/squeue");
    /// let there = Site { host: "em@login".into(), ..here };
    /// let words = there.command(Cmd::new("squeue", ["--me", "-o", "%i %T"])).words();
    /// assert_eq!(words.first().unwrap(), "ssh");
    /// assert_eq!(words.last().unwrap(), "/opt/slurm/bin/squeue --me -o '%i %T'");
    /// ```
    pub fn command(&self, mut cmd: Cmd) -> Cmd {
        let is_own = cmd.program != "sh" && !cmd.program.contains('/');
        if is_own && !self.command_dir.is_empty() {
            cmd.program = format!("{}/{}", self.command_dir.trim_end_matches('/'), cmd.program);
        }
        if self.host.is_empty() {
            cmd.env.extend(self.environment.clone());
            if cmd.program == "sh" && !self.command_dir.is_empty() {
                let path = self.environment.get("PATH").map_or("/usr/bin:/bin", String::as_str);
                cmd.env.insert("PATH".into(), format!("{}:{path}", self.command_dir));
            }
            return cmd;
        }
        let words = cmd.words().iter().map(|word| sh(word)).collect::<Vec<_>>().join(" ");
        let far = if cmd.program == "sh" && !self.command_dir.is_empty() {
            format!("PATH={}:\"$PATH\" {words}", sh(&self.command_dir))
        } else {
            words
        };
        let mut args: Vec<String> = SSH_OPTIONS.map(String::from).to_vec();
        // the first value of an option counts, so a site's own come first
        args.splice(0..0, self.ssh_options.iter().cloned());
        args.extend(["--".into(), self.host.clone(), far]);
        let env = self.environment.iter().filter(|(name, _)| SSH_VARIABLES.contains(&name.as_str()));
        let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
        Cmd { program: "ssh".into(), args, stdin: cmd.stdin, env }
    }

    /// A word for messages and cache files: scheduler, cluster and host.
    pub fn label(&self) -> String {
        let parts = [&self.scheduler, &self.cluster, &self.host];
        parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("@")
    }
}
