//! Which caches there are on this node.

use super::failed;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::lanes;
use std::path::PathBuf;
use vitreous_cache::CacheFolder;
use vitreous_model::exit;
use vitreous_project::Project;
use vitreous_schedulers::Cmd;

/// A cache of this user on this node.
#[derive(Debug)]
pub struct Found {
    pub cache: CacheFolder,
    /// Lanes whose scratch folder it lies in.
    pub lanes: Vec<String>,
}

/// The caches below the scratch folders that are named, else of all lanes; and why those of some lanes cannot be used.
pub fn find(
    context: &Context<'_>,
    project: Option<&Project>,
    named: &[String],
) -> Outcome<(Vec<Found>, Vec<String>)> {
    let mut folders: Vec<(PathBuf, Option<String>)> = Vec::new();
    if named.is_empty() {
        for (name, _) in lanes::list(context, project) {
            // a broken lane is `lane check`'s business
            let Ok(lane) = lanes::find(context, project, &name) else { continue };
            let of_workers = lane.lane.workers.iter().map(|worker| &worker.scratch);
            for scratch in of_workers.chain([&lane.lane.scratch]).filter(|scratch| !scratch.is_empty()) {
                folders.extend(expanded(context, scratch)?.map(|path| (path, Some(name.clone()))));
            }
        }
    } else {
        for scratch in named {
            let path = expanded(context, scratch)?.ok_or_else(|| {
                Failure::usage(format!("--scratch `{scratch}` is no absolute path on this node"))
                    .hint("in single quotes its variables are those of the node it is looked up on")
            })?;
            folders.push((path, None));
        }
    }
    let mut found: Vec<Found> = Vec::new();
    let mut unfit = Vec::new();
    for (scratch, lane) in folders {
        let cache = match CacheFolder::existing(&scratch) {
            // one bad folder hides no other; who names it wants to know
            Err(error) if lane.is_some() => {
                unfit.push(format!("{:#}", anyhow::Error::from(error)));
                continue;
            }
            found => found.map_err(failed)?,
        };
        let Some(cache) = cache else { continue };
        match found.iter_mut().find(|known| known.cache == cache) {
            Some(known) => known.lanes.extend(lane.filter(|lane| !known.lanes.contains(lane))),
            None => found.push(Found { cache, lanes: lane.into_iter().collect() }),
        }
    }
    Ok((found, unfit))
}

/// A scratch folder with its variables' values as they are here, as the submission script has them there; `None` if one is
/// unset, as those of schedulers are outside of jobs.
fn expanded(context: &Context<'_>, scratch: &str) -> Outcome<Option<PathBuf>> {
    let script = format!("set -u; printf %s \"{scratch}\"");
    let answer = context.shell.run(&Cmd::new("sh", ["-c", &script]));
    let answer = answer.map_err(|error| Failure::new(exit::INTERNAL, error))?;
    let path = PathBuf::from(answer.stdout);
    Ok((answer.code == 0 && path.is_absolute()).then_some(path))
}

/// What is said where there is none.
pub fn none_text() -> String {
    "no cache on this node: jobs make one in the `scratch` folder of their lane\n".into()
}
