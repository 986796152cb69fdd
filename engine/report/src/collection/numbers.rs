//! The key figures of a collection.

use super::{Collection, Exposure, Job};
use vitreous_model::report::Number;

/// Rates are those of so long before the last event, seconds.
const RATE_WINDOW_S: f64 = 3600.0;
/// Bytes that a unit is worth, and its name.
const UNITS: [(f64, &str); 5] = [(1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];

/// Key figures, the most important first. Those of jobs that the collection does not have are left out.
pub fn numbers(collection: &Collection) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut add = |key: &str, label: &str, value: Option<f64>, unit: &str| {
        numbers.push(Number { key: key.into(), label: label.into(), value, unit: unit.into() });
    };
    let movies = collection.movies();
    add("movies", "Movies", Some(movies as f64), "");
    let last = collection.last_of_preprocessing();
    if last.is_some() {
        let backlog = collection.backlog();
        add("preprocessed", "Preprocessed", Some((movies - backlog) as f64), "");
        add("backlog", "To be done", Some(backlog as f64), "");
    }
    let recorded = collection.exposures.iter().filter_map(|e| Some((e.recorded_unix_s?, 1))).collect();
    add("acquired_per_h", "Acquired, last hour", rate_per_h(recorded), "/h");
    if let Some(job) = last {
        add("preprocessed_per_h", "Preprocessed, last hour", rate_per_h(job.finished.clone()), "/h");
        let rejected = collection.exposures.iter().filter(|e| e.rejected.is_some()).count();
        add("rejected", "Rejected", Some((rejected + collection.left_out.len()) as f64), "");
    }
    let median = |value: fn(&Exposure) -> Option<f64>| median(kept(collection).filter_map(value).collect());
    if collection.job_of(super::CTF).is_some() {
        add("defocus_median_um", "Median defocus", median(|e| e.defocus_a).map(|a| a * 1e-4), "µm");
        add("astigmatism_median_A", "Median astigmatism", median(|e| e.astigmatism_a), "Å");
        add("fit_resolution_median_A", "Median fit resolution", median(|e| e.fit_resolution_a), "Å");
    }
    if collection.job_of(super::MOTION).is_some() {
        add("motion_total_median_A", "Median motion", median(|e| e.motion_total_a), "Å");
        add("motion_early_median_A", "of it in the first 4 e/Å²", median(|e| e.motion_early_a), "Å");
    }
    if collection.picker().is_some() {
        let picks = median(|e| e.picks.map(|n| n as f64));
        add("picks_median", "Picks per micrograph, median", picks, "");
    }
    if collection.jobs.iter().any(|job| job.job_type == "extract-particles") {
        let particles = collection.exposures.iter().filter_map(|e| e.particles).sum::<u64>();
        add("particles", "Particles", Some(particles as f64), "");
    }
    let used = collection.jobs.iter().map(|job| job.bytes.0).sum::<u64>();
    let raw = collection.exposures.iter().map(|e| e.movie_bytes).sum::<u64>();
    for (key, label, bytes) in [
        ("movies_bytes", "Disk: movies", Some(raw)),
        ("jobs_bytes", "Disk: jobs", Some(used)),
        ("free_bytes", "Disk: free", collection.free_bytes),
    ] {
        let Some(bytes) = bytes else { continue };
        let (value, unit) = in_units(bytes);
        add(key, label, Some(value), unit);
    }
    numbers
}

/// Exposures that were not rejected.
pub(super) fn kept(collection: &Collection) -> impl Iterator<Item = &Exposure> {
    collection.exposures.iter().filter(|exposure| exposure.rejected.is_none())
}

/// Bytes with a unit of 1000.
pub(super) fn in_units(bytes: u64) -> (f64, &'static str) {
    let bytes = bytes as f64;
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    unit.map_or((bytes, "B"), |(size, name)| (bytes / size, name))
}

/// The middle value, the mean of the middle two of an even number.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[n / 2]),
        n => Some(0.5 * (values[n / 2 - 1] + values[n / 2])),
    }
}

/// Events an hour in the last [`RATE_WINDOW_S`] before the last of them (time, number of events), or since the first if
/// that is less. The first only begins the time. `None` for less than two moments.
pub(super) fn rate_per_h(mut events: Vec<(f64, u64)>) -> Option<f64> {
    events.retain(|(at, _)| at.is_finite());
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last = events.last()?.0;
    let begin = events.iter().position(|(at, _)| last - at <= RATE_WINDOW_S)?;
    let span = last - events[begin].0;
    let counted: u64 = events[begin + 1..].iter().map(|(_, count)| count).sum();
    (span > 0.0).then(|| counted as f64 * 3600.0 / span)
}

/// Time between movies, the median, seconds; `None` for less than three.
pub(super) fn usual_interval_s(collection: &Collection) -> Option<f64> {
    let mut times: Vec<f64> = collection.exposures.iter().filter_map(|e| e.recorded_unix_s).collect();
    times.sort_by(f64::total_cmp);
    median(times.windows(2).map(|pair| pair[1] - pair[0]).collect()).filter(|_| times.len() > 2)
}

/// How many items a job had finished by and by: times on the wall clock, and counts from its first item on.
pub(super) fn course(collection: &Collection, job: &Job) -> Vec<(f64, f64)> {
    let mut total = 0;
    let points = job.finished.iter().map(|(at, count)| {
        total += count;
        (collection.wall_s(*at), total as f64)
    });
    points.collect()
}
