//! Parameters of the microscope, which several job types share and a project states once.

use crate::JobType;
use serde_json::{Map, Value};
use vitreous_model::params::BadParam;

/// Job types whose `pixel_size` is that of the project's movies; elsewhere it is that of some other file.
const OF_MOVIES: [&str; 3] = ["import-movies", "import-micrographs", "simulate"];

/// The given parameters, completed from a project's microscope (its values by parameter name) where the job type has
/// such a parameter and none was given.
pub fn complete(
    job_type: &dyn JobType,
    given: &Map<String, Value>,
    microscope: &[(&str, Option<f64>)],
) -> Map<String, Value> {
    let mut params = given.clone();
    for (key, value) in microscope {
        let is_known = job_type.fields().iter().any(|field| field.key == *key);
        let is_meant = *key != "pixel_size" || OF_MOVIES.contains(&job_type.name());
        let is_given = params.get(*key).is_some_and(|value| !value.is_null());
        if let (true, false, Some(value)) = (is_known && is_meant, is_given, value) {
            params.insert((*key).into(), (*value).into());
        }
    }
    params
}

/// Refuses pixel sizes, voltages, aberrations and contrasts that no microscope has.
pub(crate) fn check(
    pixel_size: Option<f64>,
    voltage: Option<f64>,
    cs: Option<f64>,
    amplitude_contrast: Option<f64>,
) -> Result<(), BadParam> {
    for (key, value, low, high, unit) in [
        ("pixel_size", pixel_size, 0.05, 100.0, "Å"),
        ("voltage", voltage, 20.0, 3000.0, "kV"),
        ("cs", cs, 0.0, 20.0, "mm"),
        ("amplitude_contrast", amplitude_contrast, 0.0, 0.99, "as a fraction"),
    ] {
        if let Some(value) = value {
            let fits = (low..=high).contains(&value);
            BadParam::unless(fits, key, value, &format!("must lie between {low} and {high} {unit}"))?;
        }
    }
    Ok(())
}

/// Refuses a fraction outside 0 to 1.
pub(crate) fn check_fraction(key: &str, value: f64) -> Result<(), BadParam> {
    BadParam::unless((0.0..=1.0).contains(&value), key, value, "must lie between 0 and 1")
}

/// Refuses a value that is not above zero.
pub(crate) fn check_positive(key: &str, value: f64) -> Result<(), BadParam> {
    BadParam::unless(value > 0.0, key, value, "must be greater than 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_given_wins_and_what_a_job_does_not_know_stays_out() {
        let microscope = [
            ("pixel_size", Some(0.66)),
            ("voltage", Some(300.0)),
            ("cs", Some(2.7)),
            ("amplitude_contrast", None),
        ];
        let completed = |job: &str, given: Value| {
            let job = crate::find(job).expect("should be a job type");
            Value::Object(complete(job, given.as_object().expect("should be an object"), &microscope))
        };
        let params = completed("import-movies", json!({"voltage": 200.0, "cs": null}));
        assert_eq!(params, json!({"voltage": 200.0, "cs": 2.7, "pixel_size": 0.66}));
        assert_eq!(completed("sharpen", json!({})), json!({}));
        assert_eq!(completed("import-volume", json!({})).get("pixel_size"), None, "that is the map's own");
    }
}
