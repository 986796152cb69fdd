//! What jobs told of the caches they met, by node.

use serde::Serialize;
use std::collections::BTreeMap;
use vitreous_project::{JobNumber, NodeCacheUse, Project};

/// The last that was heard of a node's cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heard {
    /// The job that told.
    pub job: JobNumber,
    /// What its ranks there had of it, together.
    #[serde(flatten)]
    pub used: NodeCacheUse,
}

/// By node, the newest job of the project that told of it.
pub fn heard(project: &Project) -> Vec<Heard> {
    let mut newest: BTreeMap<String, Heard> = BTreeMap::new();
    for (number, _) in project.job_folders().unwrap_or_default() {
        // a broken job is `fsck`'s business
        let Ok(Some(attempt)) = project.job(number).and_then(|job| job.latest_attempt()) else { continue };
        let mut of_job: BTreeMap<String, NodeCacheUse> = BTreeMap::new();
        for used in attempt.node_caches() {
            of_job.entry(used.host.clone()).or_default().add(&used);
        }
        for (host, used) in of_job {
            let is_newer = newest.get(&host).is_none_or(|known| known.job < number);
            if is_newer {
                newest.insert(host, Heard { job: number, used });
            }
        }
    }
    newest.into_values().collect()
}
