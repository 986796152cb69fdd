//! Which results rest on which: fingerprints of what was asked for, and staleness of what came out.

use crate::error::ProjectError;
use crate::fingerprint::Fingerprint;
use crate::job::JobDir;
use crate::names::InputRef;
use crate::project::Project;
use serde_json::Value;
use std::collections::BTreeMap;

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
            ranks: 1,
            threads: 1,
            command_line: vec![],
            started_unix_s: 0.0,
        }
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
