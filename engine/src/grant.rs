//! What was granted to this process: cores by the scheduler, the operating system and the submission script.
//!
//! The engine uses what it was given and never what the machine has: a 96-core node is not ours because we landed on it.

/// How many threads a rank may run, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Threads of this rank.
    pub threads: usize,
    /// The limit that decided, for the log: `--threads`, `SLURM_CPUS_PER_TASK`, the CPU set …
    pub decided_by: String,
}

/// Environment variables by which schedulers say how many cores one process of a job has, in the order of trust.
const PER_PROCESS: [&str; 3] = ["SLURM_CPUS_PER_TASK", "PBS_NCPUS", "OMP_NUM_THREADS"];

/// Variables that count the cores of the whole job on this host: shared by its ranks here.
const PER_HOST: [&str; 3] = ["NSLOTS", "NCPUS", "SLURM_CPUS_ON_NODE"];

/// Everything that limits the threads of one rank.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// What the command line or the submission script asked for.
    pub asked: Option<usize>,
    /// Variable and value of the schedulers' variables that are set.
    pub variables: Vec<(&'static str, usize)>,
    /// Cores this process may use: the CPU set (`sched_getaffinity`) and the quota of its control groups.
    pub cores: Option<usize>,
    /// Ranks of this job on this host.
    pub local_ranks: usize,
}

impl Limits {
    /// Reads them from this process and its environment.
    pub fn of_this_process(
        asked: Option<usize>,
        variable: &dyn Fn(&str) -> Option<String>,
        local_ranks: usize,
    ) -> Self {
        let number = |name: &&'static str| {
            let text = variable(name)?;
            // OMP_NUM_THREADS may be a list for nested levels
            text.split(',').next()?.trim().parse::<usize>().ok().filter(|n| *n > 0).map(|n| (*name, n))
        };
        Self {
            asked,
            variables: PER_PROCESS.iter().chain(&PER_HOST).filter_map(number).collect(),
            cores: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            local_ranks: local_ranks.max(1),
        }
    }

    /// The smallest limit. What is granted to the host is divided among its ranks; an MPI launcher that binds its
    /// ranks has divided the CPU set already, and then a number was asked for.
    pub fn grant(&self) -> Grant {
        let share = |n: usize| n.div_ceil(self.local_ranks).max(1);
        let mut limits: Vec<(usize, String)> = Vec::new();
        limits.extend(self.asked.map(|n| (n.max(1), "--threads".to_string())));
        let per_process = self.variables.iter().find(|(name, _)| PER_PROCESS.contains(name));
        limits.extend(per_process.map(|(name, n)| (*n, (*name).to_string())));
        let per_host = self.variables.iter().find(|(name, _)| PER_HOST.contains(name));
        limits.extend(per_host.map(|(name, n)| (share(*n), (*name).to_string())));
        // several ranks that may each run anywhere share those cores; asking for a number settles the division
        let undivided = self.asked.is_none() && per_process.is_none();
        limits.extend(
            self.cores.map(|n| (if undivided { share(n) } else { n }, "CPU set or quota".to_string())),
        );
        let (threads, decided_by) =
            limits.into_iter().min_by_key(|(n, _)| *n).unwrap_or((1, "nothing known".to_string()));
        Grant { threads, decided_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(
        asked: Option<usize>,
        variables: &[(&'static str, usize)],
        cores: usize,
        local_ranks: usize,
    ) -> Grant {
        Limits { asked, variables: variables.to_vec(), cores: Some(cores), local_ranks }.grant()
    }

    #[test]
    fn the_smallest_limit_decides() {
        assert_eq!(limits(None, &[], 96, 1), Grant { threads: 96, decided_by: "CPU set or quota".into() });
        assert_eq!(limits(None, &[("SLURM_CPUS_PER_TASK", 8)], 96, 1).threads, 8);
        assert_eq!(
            limits(Some(64), &[("SLURM_CPUS_PER_TASK", 8)], 96, 1).threads,
            8,
            "asking does not widen a grant"
        );
        assert_eq!(limits(Some(4), &[("SLURM_CPUS_PER_TASK", 8)], 96, 1).decided_by, "--threads");
        assert_eq!(limits(None, &[("NSLOTS", 6)], 96, 1), Grant { threads: 6, decided_by: "NSLOTS".into() });
        assert_eq!(limits(Some(0), &[], 4, 1).threads, 1);
    }

    #[test]
    fn ranks_on_one_host_share_its_cores() {
        assert_eq!(limits(None, &[("NSLOTS", 12)], 96, 3).threads, 4);
        assert_eq!(limits(None, &[], 2, 3).threads, 1);
        assert_eq!(limits(None, &[("SLURM_CPUS_PER_TASK", 8)], 16, 2).threads, 8, "already per rank");
        assert_eq!(limits(Some(2), &[], 2, 3).threads, 2, "asked for, and within the affinity");
    }

    #[test]
    fn variables_are_read_and_rubbish_is_ignored() {
        let variable = |name: &str| match name {
            "SLURM_CPUS_PER_TASK" => Some("many".to_string()),
            "OMP_NUM_THREADS" => Some("3,2".to_string()),
            _ => None,
        };
        assert_eq!(Limits::of_this_process(None, &variable, 1).variables, [("OMP_NUM_THREADS", 3)]);
    }
}
