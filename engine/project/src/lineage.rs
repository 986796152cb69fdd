//! Which results rest on which: fingerprints of what was asked for, staleness of what came out, and what the records of all
//! ancestors tell.

use crate::atomic;
use crate::error::ProjectError;
use crate::fingerprint::Fingerprint;
use crate::job::JobDir;
use crate::names::{InputRef, JobNumber};
use crate::project::Project;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use vitreous_model::lineage::Ancestor;
use vitreous_model::report::Number;

/// The fingerprint of a job to be: its type, its effective parameters, the files they name, and the fingerprints of
/// its parents. Two jobs of equal fingerprints promise equal results.
///
/// `sources` describes the files outside of jobs that parameters name (path, size, modification time).
///
/// # Errors
/// A parent does not exist.
pub fn fingerprint(
    project: &Project,
    job_type: &str,
    effective: &Value,
    inputs: &BTreeMap<String, Vec<InputRef>>,
    sources: &[String],
) -> Result<String, ProjectError> {
    let mut sum = Fingerprint::default();
    sum.bytes(job_type.as_bytes()).value(effective);
    for source in sources {
        sum.bytes(source.as_bytes());
    }
    for (slot, from) in inputs.iter().flat_map(|(slot, refs)| refs.iter().map(move |from| (slot, from))) {
        let parent = project.job(from.job)?;
        sum.bytes(slot.as_bytes()).bytes(from.slot.as_bytes()).bytes(parent.spec().fingerprint.as_bytes());
    }
    Ok(sum.hex())
}

/// Why a finished job's results no longer follow from its inputs; `None`: they do, or it has no results.
///
/// # Errors
/// [`ProjectError`] if a record cannot be read.
pub fn staleness(job: &JobDir) -> Result<Option<String>, ProjectError> {
    let Some(effective) = job.effective()? else { return Ok(None) };
    for record in effective.inputs.values().flatten() {
        let Ok(parent) = job.sibling(record.from.job) else {
            return Ok(Some(format!("{} is gone", record.from.job)));
        };
        let now = parent.outputs_fingerprint()?;
        if now.is_empty() {
            return Ok(Some(format!("{} has no outputs any more", record.from.job)));
        }
        if now != record.outputs_fingerprint {
            return Ok(Some(format!("{} has new outputs", record.from.job)));
        }
    }
    Ok(None)
}

/// What this program reads of `report.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReportPart {
    numbers: Vec<Number>,
}

/// Every job that a job rests on, itself not among them, by number: what their records tell. One that cannot be read is
/// listed with the reason, and what it rests on is then not known.
pub fn ancestors(job: &JobDir) -> Vec<Ancestor> {
    let mut found: BTreeMap<JobNumber, Ancestor> = BTreeMap::new();
    let mut open: Vec<JobNumber> = job.spec().inputs.values().flatten().map(|from| from.job).collect();
    while let Some(number) = open.pop() {
        if found.contains_key(&number) {
            continue;
        }
        let ancestor = match job.sibling(number) {
            Ok(dir) => {
                open.extend(dir.spec().inputs.values().flatten().map(|from| from.job));
                of_records(&dir)
            }
            Err(error) => {
                Ancestor { job: number.to_string(), missing: error.to_string(), ..Ancestor::default() }
            }
        };
        found.insert(number, ancestor);
    }
    found.into_values().collect()
}

/// What the records of a job tell.
fn of_records(job: &JobDir) -> Ancestor {
    let mut ancestor = Ancestor {
        job: job.number().to_string(),
        job_type: job.spec().job_type.clone(),
        ..Ancestor::default()
    };
    let as_text = |from: &InputRef| (from.job.to_string(), from.slot.clone());
    for (slot, from) in &job.spec().inputs {
        ancestor.inputs.insert(slot.clone(), from.iter().map(as_text).collect());
    }
    let mut missing = Vec::new();
    match job.effective() {
        Ok(Some(effective)) => (ancestor.params, ancestor.versions) = (effective.params, effective.versions),
        Ok(None) => missing.push("effective.json is not there".to_string()),
        Err(error) => missing.push(error.to_string()),
    }
    match job.outputs() {
        Ok(Some(outputs)) => ancestor.outputs = outputs.outputs,
        Ok(None) => missing.push("outputs.json is not there".to_string()),
        Err(error) => missing.push(error.to_string()),
    }
    match atomic::read_json::<ReportPart>(&job.file("report.json")) {
        Ok(part) => ancestor.numbers = part.unwrap_or_default().numbers,
        Err(error) => missing.push(error.to_string()),
    }
    ancestor.missing = missing.join("; ");
    ancestor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocate::tests::new_job;
    use crate::job::{Effective, InputRecord};
    use crate::project::{Microscope, ProjectFile};
    use serde_json::json;
    use vitreous_model::outputs::{Kind, Output};

    #[test]
    fn a_child_is_stale_when_its_parent_has_new_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let parent = project.create_job(new_job("import-movies"), None).unwrap();
        let mut new = new_job("correct-motion");
        let from: InputRef = "J1.movies".parse().unwrap();
        new.inputs.insert("movies".into(), vec![from.clone()]);
        let child = project.create_job(new, None).unwrap();
        assert!(
            child.resolve_inputs().unwrap_err().to_string().contains("J1 has not written its outputs yet")
        );
        parent.write_outputs(vec![Output::new("movies", Kind::Movies, "movies.h5", 4)]).unwrap();
        let resolved = child.resolve_inputs().unwrap();
        assert_eq!(resolved[0].path(), parent.file("movies.h5"));
        let inputs = BTreeMap::from([("movies".to_string(), vec![resolved[0].record()])]);
        assert_eq!(staleness(&child).unwrap(), None, "no results yet");
        child.write_effective(&effective(&child, inputs)).unwrap();
        assert_eq!(staleness(&child).unwrap(), None);
        parent.write_outputs(vec![Output::new("movies", Kind::Movies, "movies.h5", 5)]).unwrap();
        assert_eq!(staleness(&child).unwrap().as_deref(), Some("J1 has new outputs"));
    }

    fn effective(job: &JobDir, inputs: BTreeMap<String, Vec<InputRecord>>) -> Effective {
        Effective {
            schema: 1,
            job: job.number(),
            job_type: job.spec().job_type.clone(),
            uuid: job.spec().uuid,
            attempt: 1,
            params: json!({}),
            inputs,
            versions: BTreeMap::new(),
            host: "h".into(),
            device: "cpu".into(),
            devices: Vec::new(),
            ranks: 1,
            threads: 1,
            command_line: vec![],
            started_unix_s: 0.0,
        }
    }

    #[test]
    fn ancestors_are_all_jobs_behind_a_job_and_tell_what_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let make = |job_type: &str, from: &[&str]| {
            let mut new = new_job(job_type);
            let refs: Vec<InputRef> = from.iter().map(|from| from.parse().unwrap()).collect();
            new.inputs.insert("movies".into(), refs);
            project.create_job(new, None).unwrap()
        };
        let first = make("import-movies", &[]);
        make("import-movies", &[]);
        let lost = make("correct-motion", &["J1.movies"]);
        make("estimate-ctf", &["J3.movies", "J1.movies"]);
        let last = make("pick-blobs", &["J4.movies"]);
        first.write_outputs(vec![Output::new("movies", Kind::Movies, "movies.h5", 4)]).unwrap();
        let mut record = effective(&first, BTreeMap::new());
        record.params = json!({"pixel_size": 0.5});
        record.versions.insert("vitreous-engine".into(), "0.1.0".into());
        first.write_effective(&record).unwrap();
        let mut report = vitreous_model::report::Report::new("Movies");
        report.number("frames", "Frames", 38.0, "");
        atomic::write_json(&first.file("report.json"), &report).unwrap();
        let found = ancestors(&last);
        let names: Vec<&str> = found.iter().map(|job| job.job.as_str()).collect();
        assert_eq!(names, ["J1", "J3", "J4"], "each once, by number, and no other");
        assert_eq!((found[0].job_type.as_str(), found[0].missing.as_str()), ("import-movies", ""));
        assert_eq!(
            (found[0].number("frames"), found[0].param("pixel_size")),
            (Some(38.0), Some(&json!(0.5)))
        );
        assert_eq!(
            (found[0].output("movies").unwrap().count, &found[0].versions["vitreous-engine"][..]),
            (4, "0.1.0")
        );
        assert_eq!(
            found[2].inputs["movies"],
            [("J3".into(), "movies".into()), ("J1".into(), "movies".into())]
        );
        assert!(found[1].missing.contains("effective.json is not there"), "{}", found[1].missing);
        std::fs::remove_dir_all(lost.path()).unwrap();
        let found = ancestors(&last);
        assert!(found[1].job == "J3" && !found[1].missing.is_empty(), "{:?}", found[1]);
    }

    #[test]
    fn a_fingerprint_follows_parameters_sources_and_ancestors() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::init(folder.path(), ProjectFile::new("x", Microscope::default())).unwrap();
        let mut new = new_job("import-movies");
        new.fingerprint = "a".into();
        project.create_job(new.clone(), None).unwrap();
        project.create_job(new.clone(), None).unwrap();
        new.fingerprint = "b".into();
        project.create_job(new, None).unwrap();
        let of = |job: &str, value: Value, sources: &[String]| {
            let inputs =
                BTreeMap::from([("movies".to_string(), vec![format!("{job}.movies").parse().unwrap()])]);
            fingerprint(&project, "correct-motion", &value, &inputs, sources).unwrap()
        };
        let base = of("J1", json!({"b": 1}), &[]);
        assert_eq!(base, of("J2", json!({"b": 1.0}), &[]), "another job of the same content");
        assert_ne!(base, of("J3", json!({"b": 1}), &[]));
        assert_ne!(base, of("J1", json!({"b": 2}), &[]));
        assert_ne!(base, of("J1", json!({"b": 1}), &["gain.mrc 10 20".into()]));
    }
}
