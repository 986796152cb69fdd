//! How what a job asks for came about, in words: what `run --dry-run` shows.

use crate::plan;
use vitreous_jobs::Estimate;
use vitreous_model::resources::Resources;

/// A resource of a job to come, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reasoned {
    /// `ranks`, `nodes`, `threads`, `gpus`, `memory`, `wall time`, `GPU memory`, `scratch`.
    pub resource: &'static str,
    /// With its unit.
    pub value: String,
    /// In words.
    pub why: String,
}

/// How what is asked for came about: the estimate, what the user insists on, more after a failure, the lane's limits.
pub fn reasons(
    estimate: &Estimate,
    attempt: &plan::Attempt<'_>,
    lane: &str,
    asked: &Resources,
) -> Vec<Reasoned> {
    let (own, request) = (&attempt.spec.resources, attempt.request);
    let mib = |mib: u64| format!("{mib} MiB");
    let time = vitreous_schedulers::lane::walltime_text;
    let count = |count: u32| count.to_string();
    let formula = &estimate.resources;
    let one =
        |resource, name: &str, said: String, own: Option<(&str, String)>, factor: f64, value: String| {
            let mut why = match (&own, estimate.reason(name)) {
                (Some((flag, _)), "") => format!("as asked for (`{flag}`)"),
                (Some((flag, _)), why) => format!("as asked for (`{flag}`); the formula says {said}: {why}"),
                (None, "") => "as usual".to_string(),
                (None, why) => why.to_string(),
            };
            if (factor - 1.0).abs() > 1e-9 {
                why += &format!("; x {factor} after an attempt that ran out of it");
            }
            let before = own.map_or(said, |(_, value)| value);
            if before != value && (factor - 1.0).abs() < 1e-9 {
                why += &format!("; {value} instead of {before}, as lane `{lane}` gives it");
            }
            Reasoned { resource, value, why }
        };
    let counts = [
        ("ranks", "--ranks", formula.ranks, own.ranks, asked.ranks),
        ("nodes", "--nodes", formula.nodes, own.nodes, asked.nodes),
        ("threads", "--threads", formula.threads, own.threads, asked.threads),
        ("gpus", "--gpus", formula.gpus, own.gpus, asked.gpus),
    ];
    let mut reasoned: Vec<Reasoned> = counts
        .into_iter()
        .map(|(name, flag, formula, own, asked)| {
            one(name, name, count(formula), own.map(|n| (flag, count(n))), 1.0, count(asked))
        })
        .collect();
    reasoned.extend([
        one(
            "memory",
            "mem_mib",
            mib(formula.mem_mib),
            own.mem_mib.map(|n| ("--mem-gib", mib(n))),
            request.mem_factor,
            mib(asked.mem_mib),
        ),
        one(
            "wall time",
            "walltime_s",
            time(formula.walltime_s),
            own.walltime_s.map(|n| ("--walltime", time(n))),
            request.time_factor,
            time(asked.walltime_s),
        ),
    ]);
    // most jobs need neither
    let further = [("GPU memory", "vram_mib", asked.vram_mib), ("scratch", "scratch_mib", asked.scratch_mib)];
    reasoned.extend(
        further
            .into_iter()
            .filter(|(_, _, needed)| *needed > 0)
            .map(|(resource, name, needed)| one(resource, name, mib(needed), None, 1.0, mib(needed))),
    );
    reasoned
}
