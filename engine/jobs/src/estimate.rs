//! What a job will need, with the reason of every number.

use vitreous_model::resources::Resources;

/// Resources and how they came about. What no formula sets has the default and no reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    /// What to ask for.
    pub resources: Resources,
    /// Name of a resource as in [`Resources`], and its formula with the numbers of this job put in.
    pub reasons: Vec<(&'static str, String)>,
}

impl Estimate {
    /// An estimate of one rank with so many threads.
    pub fn of_threads(threads: u32) -> Self {
        let reasons = vec![("threads", format!("{threads}, as this job type uses them well"))];
        Self { resources: Resources { threads, ..Resources::default() }, reasons }
    }

    /// Sets the memory of all ranks on one host.
    #[must_use]
    pub fn mem_mib(mut self, mem_mib: u64, why: impl Into<String>) -> Self {
        self.resources.mem_mib = mem_mib;
        self.because("mem_mib", why.into())
    }

    /// Sets the wall time.
    #[must_use]
    pub fn walltime_s(mut self, walltime_s: u64, why: impl Into<String>) -> Self {
        self.resources.walltime_s = walltime_s;
        self.because("walltime_s", why.into())
    }

    fn because(mut self, resource: &'static str, why: String) -> Self {
        self.reasons.push((resource, why));
        self
    }

    /// The newest reason of a resource; empty if it has none.
    pub fn reason(&self, resource: &str) -> &str {
        self.reasons.iter().rev().find(|(name, _)| *name == resource).map_or("", |(_, why)| why.as_str())
    }
}
