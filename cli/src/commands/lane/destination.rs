//! Where lanes are written: into the project's, the user's or the site's folder.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};
use vitreous_project::{Project, ProjectError, atomic};
use vitreous_schedulers::lane::is_lane_name;

/// Whose lane it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Owner {
    /// `lanes/` of the project
    Project,
    /// `~/.config/vitreous/lanes`
    User,
    /// `/etc/vitreous/lanes`, or `$VITREOUS_SITE/lanes`
    Site,
}

/// Which lane is written, and where.
#[derive(Debug, Clone)]
pub struct Destination {
    folder: PathBuf,
    name: String,
    force: bool,
}

impl Destination {
    /// Of a lane that does not exist yet, or with `force` may exist. Without an owner: the project's, else the user's.
    ///
    /// # Errors
    /// The name is none, there is no such folder, or the lane exists.
    pub fn new(
        context: &Context<'_>,
        project: Option<&Project>,
        name: &str,
        owner: Option<Owner>,
        force: bool,
    ) -> Outcome<Self> {
        if !is_lane_name(name) {
            return Err(Failure::usage(format!("`{name}` is no name for a lane"))
                .hint("letters, digits, `-`, `_` and `.`"));
        }
        let owner = owner.unwrap_or(if project.is_some() { Owner::Project } else { Owner::User });
        let folder = folder(context, project, owner)?;
        let destination = Self { folder, name: name.into(), force };
        let path = destination.file();
        if path.exists() && !force {
            return Err(Failure::usage(format!("{} exists", path.display()))
                .hint("take another name, or `--force` to replace it; `--dry-run` only shows it"));
        }
        Ok(destination)
    }

    /// The lane file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.yaml", self.name))
    }

    /// A file beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the lane and files beside it; the lane last, so that it is never there without them.
    ///
    /// # Errors
    /// The folder cannot be written, or a file beside it exists and differs.
    pub fn write(&self, lane: &str, beside: &[(&str, &[u8])]) -> Outcome {
        std::fs::create_dir_all(&self.folder).map_err(ProjectError::io("create", &self.folder))?;
        for (name, bytes) in beside {
            let path = self.beside(name);
            if !self.force && std::fs::read(&path).is_ok_and(|old| old != *bytes) {
                return Err(Failure::usage(format!("{} exists and is another file", path.display()))
                    .hint("take another name for the lane, or `--force` to replace it"));
            }
            atomic::write(&path, bytes)?;
        }
        atomic::write(&self.file(), lane.as_bytes())?;
        Ok(())
    }
}

fn folder(context: &Context<'_>, project: Option<&Project>, owner: Owner) -> Outcome<PathBuf> {
    // the user's folder comes before the site's, and is missing without HOME
    let of_user = || context.lane_folders.iter().rev().nth(1);
    let found = match owner {
        Owner::Project => project.map(|project| project.root().join("lanes")),
        Owner::User => of_user().cloned(),
        Owner::Site => context.lane_folders.last().cloned(),
    };
    found.ok_or_else(|| match owner {
        Owner::Project => Failure::usage("this folder lies in no project")
            .hint("`--in user` writes the lane for all projects, `--project DIR` names a project"),
        _ => {
            Failure::usage("neither HOME nor XDG_CONFIG_HOME is set: there is no folder for the user's lanes")
        }
    })
}

/// A path for messages: relative to the working directory where it lies below it.
pub fn shown(context: &Context<'_>, path: &Path) -> String {
    path.strip_prefix(&context.cwd).unwrap_or(path).display().to_string()
}
