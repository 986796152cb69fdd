//! Parameters that a project states once for all its jobs: the microscope of `vitreous.yaml`.

use serde_json::{Map, Value};
use vitreous_jobs::JobType;
use vitreous_project::Microscope;

/// Job types whose `pixel_size` is that of the project's movies; elsewhere it is that of some other file.
const OF_MOVIES: [&str; 3] = ["import-movies", "import-micrographs", "simulate"];

/// The given parameters, completed from the project where the job type has such a parameter and none was given.
pub fn with_defaults(job_type: &dyn JobType, given: &Map<String, Value>, microscope: &Microscope) -> Value {
    let mut params = given.clone();
    for (key, value) in [
        ("pixel_size", microscope.pixel_size_a.filter(|_| OF_MOVIES.contains(&job_type.name()))),
        ("voltage", microscope.voltage_kv),
        ("cs", microscope.cs_mm),
        ("amplitude_contrast", microscope.amplitude_contrast),
    ] {
        let is_known = job_type.fields().iter().any(|field| field.key == key);
        let is_given = params.get(key).is_some_and(|value| !value.is_null());
        if let (true, false, Some(value)) = (is_known, is_given, value) {
            params.insert(key.into(), value.into());
        }
    }
    Value::Object(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_given_wins_and_what_a_job_does_not_know_stays_out() {
        let microscope = Microscope {
            pixel_size_a: Some(0.66),
            voltage_kv: Some(300.0),
            cs_mm: Some(2.7),
            amplitude_contrast: None,
        };
        let complete = |job: &str, given: Value| {
            let job = vitreous_jobs::find(job).expect("should be a job type");
            with_defaults(job, given.as_object().expect("should be an object"), &microscope)
        };
        let params = complete("import-movies", json!({"voltage": 200.0, "cs": null}));
        assert_eq!(params, json!({"voltage": 200.0, "cs": 2.7, "pixel_size": 0.66}));
        assert_eq!(complete("sharpen", json!({})), json!({}));
        assert_eq!(complete("import-volume", json!({})).get("pixel_size"), None, "that is the map's own");
    }
}
