//! Where jobs of a lane go whose hosts we count ourselves: this machine (`local`) or one of several (`ssh`).

use crate::board::Board;
use crate::lanes::{self, NamedLane};
use std::collections::{BTreeMap, BTreeSet};
use vitreous_model::resources::Resources;
use vitreous_project::process::host;
use vitreous_project::{Intent, State};
use vitreous_schedulers::Worker;

/// What is taken of a lane's host, or of a cluster lane as a whole.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Jobs.
    pub jobs: u32,
    /// Threads of all ranks.
    pub threads: u32,
    /// Memory, MiB.
    pub mem_mib: u64,
    /// Numbers of the GPUs.
    pub gpus: BTreeSet<u32>,
}

impl Taken {
    /// Adds a job.
    pub fn add(&mut self, resources: &Resources, gpu_ids: &[u32]) {
        self.jobs += 1;
        self.threads += resources.threads * resources.ranks;
        self.mem_mib += resources.mem_mib;
        self.gpus.extend(gpu_ids);
    }
}

/// What is taken of all lanes, by lane and host; the host of a cluster lane and of `local` is empty.
#[derive(Debug, Clone, Default)]
pub struct Room {
    taken: BTreeMap<(String, String), Taken>,
}

/// A host for a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The worker of an `ssh` lane; `None`: this host, or wherever the cluster wants.
    pub worker: Option<Worker>,
    /// GPUs of that host that the job is given.
    pub gpu_ids: Vec<u32>,
}

impl Place {
    /// Wherever: for clusters, and for looking at what a job would ask for.
    pub fn anywhere() -> Self {
        Self { worker: None, gpu_ids: Vec::new() }
    }
}

impl Room {
    /// What the jobs that are out take. Jobs of other machines' `local` lanes do not count here.
    pub fn of(board: &Board) -> Self {
        let mut room = Self::default();
        let out = board.jobs.iter().filter(|job| matches!(job.status.state, State::Queued | State::Running));
        for intent in out.filter_map(|job| job.open.as_deref()?.evidence.intent.as_ref()) {
            if intent.scheduler != "local" || intent.author.host == host() {
                room.take(intent);
            }
        }
        room
    }

    fn take(&mut self, intent: &Intent) {
        let site = crate::board::site_of(intent);
        let places = vitreous_schedulers::find(&intent.scheduler).is_some_and(|s| s.places_jobs());
        let host = if places { site.host } else { String::new() };
        let taken = self.taken.entry((intent.lane.clone(), host)).or_default();
        taken.add(&intent.resources, &intent.gpu_ids);
    }

    /// Notes a launch.
    pub fn add(&mut self, lane: &str, place: &Place, resources: &Resources) {
        let host = place.worker.as_ref().map_or_else(String::new, |worker| worker.host.clone());
        self.taken.entry((lane.into(), host)).or_default().add(resources, &place.gpu_ids);
    }

    /// Jobs of a lane that are out.
    pub fn jobs(&self, lane: &str) -> u32 {
        self.taken.iter().filter(|((name, _), _)| name == lane).map(|(_, taken)| taken.jobs).sum()
    }

    /// A place for a job that needs so much; `None`: not now. A job larger than any host runs alone on the largest.
    pub fn find(&self, lane: &NamedLane, resources: &Resources) -> Option<Place> {
        if lane.lane.is_cluster() {
            return Some(Place::anywhere());
        }
        let hosts = hosts(lane);
        let nothing = Taken::default();
        let taken =
            |host: &Worker| self.taken.get(&(lane.name.clone(), host.host.clone())).unwrap_or(&nothing);
        let fits = |host: &&Worker| has_room(host, taken(host), resources);
        // the emptiest first, so that jobs spread
        let free = |host: &&Worker| host.threads.saturating_sub(taken(host).threads);
        let chosen = hosts.iter().filter(fits).max_by_key(free).or_else(|| {
            let too_large = hosts.iter().all(|host| !has_room(host, &nothing, resources));
            let largest =
                hosts.iter().filter(|host| host.gpus >= resources.gpus).max_by_key(|host| host.threads);
            largest.filter(|host| too_large && taken(host).jobs == 0)
        })?;
        let gpu_ids = (0..chosen.gpus).filter(|id| !taken(chosen).gpus.contains(id));
        let gpu_ids = gpu_ids.take(resources.gpus as usize).collect();
        let worker = (!chosen.host.is_empty()).then(|| chosen.clone());
        Some(Place { worker, gpu_ids })
    }
}

fn has_room(host: &Worker, taken: &Taken, resources: &Resources) -> bool {
    let threads = resources.threads * resources.ranks;
    let mem_mib = host.mem_gib.map_or(u64::MAX, |gib| (gib * 1024.0) as u64);
    taken.threads + threads <= host.threads
        && taken.gpus.len() as u32 + resources.gpus <= host.gpus
        && taken.mem_mib.saturating_add(resources.mem_mib) <= mem_mib
}

/// The hosts of a lane: its workers, or this one.
pub fn hosts(lane: &NamedLane) -> Vec<Worker> {
    if !lane.lane.workers.is_empty() {
        return lane.lane.workers.clone();
    }
    let gpus = lane.lane.limits.gpus.unwrap_or_else(lanes::gpus_here);
    let mem_gib = lane.lane.limits.mem_gib;
    vec![Worker { host: String::new(), threads: lane.cores(), mem_gib, gpus, scratch: String::new() }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_schedulers::Lane;

    fn lane(yaml: &str) -> NamedLane {
        let lane = Lane::parse("l", &format!("schema: 1\n{yaml}")).unwrap();
        let (template_name, template) = ("t".into(), String::new());
        NamedLane { name: "l".into(), path: None, lane, template_name, template }
    }

    fn asking(threads: u32, gpus: u32, mem_mib: u64) -> Resources {
        Resources { threads, gpus, mem_mib, ..Resources::default() }
    }

    #[test]
    fn jobs_spread_over_workers_as_far_as_each_reaches() {
        let workers =
            "scheduler: ssh\nworkers: [{host: a, threads: 4, gpus: 1, mem_gib: 8}, {host: b, threads: 8}]";
        let lane = lane(workers);
        let mut room = Room::default();
        let mut put = |resources: Resources| {
            let place = room.find(&lane, &resources)?;
            room.add("l", &place, &resources);
            Some((place.worker.unwrap().host, place.gpu_ids))
        };
        assert_eq!(put(asking(4, 0, 1)), Some(("b".into(), vec![])));
        assert_eq!(put(asking(1, 1, 1)), Some(("a".into(), vec![0])), "the one with a GPU");
        assert_eq!(put(asking(1, 1, 1)), None, "its only GPU is taken");
        assert_eq!(put(asking(4, 0, 1)), Some(("b".into(), vec![])));
        assert_eq!(put(asking(2, 0, 8192)), None, "b is full and a lacks the memory");
        assert_eq!(put(asking(3, 0, 100)), Some(("a".into(), vec![])));
        assert_eq!(put(asking(1, 0, 1)), None);
    }

    #[test]
    fn a_job_larger_than_every_host_runs_alone() {
        let lane = lane("scheduler: local\nlimits: {threads: 4, gpus: 0}");
        let mut room = Room::default();
        let large = asking(16, 0, 1);
        let place = room.find(&lane, &large).unwrap();
        assert_eq!(place, Place::anywhere());
        room.add("l", &place, &large);
        assert_eq!(room.find(&lane, &large), None);
        assert_eq!(room.find(&lane, &asking(1, 0, 1)), None);
        assert_eq!(Room::default().find(&lane, &asking(1, 1, 1)), None, "no GPU, no place");
    }
}
