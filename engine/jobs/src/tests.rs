//! What must hold for every job type.

use crate::{CATALOG, command, page};
use serde_json::{Value, json};
use vitreous_model::params::Form;

#[test]
fn names_are_unique_kebab_case_and_found() {
    for job in CATALOG {
        assert!(
            job.name().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{}",
            job.name()
        );
        assert_eq!(CATALOG.iter().filter(|other| other.name() == job.name()).count(), 1);
        assert_eq!(crate::find(job.name()).map(|found| found.name()), Some(job.name()));
    }
    assert!(crate::find("bake-cake").is_none());
}

#[test]
fn jobs_on_movies_micrographs_and_stacks_are_done_item_by_item() {
    let per_item: Vec<&str> = CATALOG.iter().filter(|job| job.is_per_item()).map(|job| job.name()).collect();
    assert_eq!(
        per_item,
        [
            "correct-motion",
            "estimate-ctf",
            "curate-exposures",
            "pick-blobs",
            "pick-templates",
            "inspect-picks",
            "extract-particles",
            "downsample-particles",
            "restack-particles",
            "subtract-signal",
            "polish",
            "simulate"
        ]
    );
}

#[test]
fn examples_are_valid_and_differ_from_the_defaults() {
    for job in CATALOG {
        let example = job.example();
        assert!(example.as_object().is_some_and(|map| !map.is_empty()), "{}", job.name());
        let effective = job.check(&example).unwrap_or_else(|error| panic!("{}: {error}", job.name()));
        assert_eq!(job.check(&effective).unwrap(), effective, "{}: checking is idempotent", job.name());
    }
}

#[test]
fn every_parameter_has_help_and_physical_ones_a_unit() {
    for job in CATALOG {
        for field in job.fields() {
            let help = (field.help)();
            assert!(help.ends_with('.') && help.len() > 10, "{}.{}: `{help}`", job.name(), field.key);
            let physical = [
                "defocus",
                "pixel_size",
                "resolution",
                "dose",
                "voltage",
                "diameter",
                "bfactor",
                "shift_range",
            ];
            if field.form == Form::Number && physical.iter().any(|word| field.key.contains(word)) {
                assert!(!field.unit.is_empty(), "{}.{} has no unit", job.name(), field.key);
            }
        }
    }
}

#[test]
fn unknown_keys_and_wrong_forms_are_named() {
    for job in CATALOG {
        let error = job.check(&json!({"no_such_key": 1})).unwrap_err();
        assert_eq!(error.key, "no_such_key", "{}", job.name());
        assert!(job.check(&json!([1])).is_err());
        for field in job.fields().iter().filter(|field| field.form == Form::Number) {
            let error = job.check(&json!({field.key: "many"})).unwrap_err();
            assert_eq!(error.key, field.key, "{}", job.name());
        }
    }
    let error = crate::correct_motion::JOB.check_json(r#"{"bfacter": 1}"#);
    assert_eq!(error.hint, "did you mean `bfactor`?");
}

impl<P: vitreous_model::params::Validate> crate::Typed<P> {
    fn check_json(&self, text: &str) -> vitreous_model::params::BadParam {
        use crate::JobType;
        self.check(&serde_json::from_str(text).unwrap()).unwrap_err()
    }
}

#[test]
fn the_command_line_gives_the_same_parameters_as_yaml() {
    for job in CATALOG {
        let example = job.example();
        let mut words = vec![job.name().to_string()];
        for (key, value) in example.as_object().unwrap() {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            words.push(format!("--{}={text}", key.replace('_', "-")));
        }
        let matches = command::command(*job).try_get_matches_from(words).unwrap();
        let given = command::params(*job, &matches).unwrap();
        assert_eq!(job.check(&given).unwrap(), job.check(&example).unwrap(), "{}", job.name());
    }
}

#[test]
fn the_command_line_names_inputs_and_bad_numbers() {
    let job = crate::find("correct-motion").unwrap();
    let matches = command::command(job)
        .try_get_matches_from(["correct-motion", "--movies", "J1", "--bfactor", "many"])
        .unwrap();
    assert_eq!(command::inputs(job, &matches), [("movies", vec!["J1".to_string()])]);
    assert_eq!(command::params(job, &matches).unwrap_err().key, "bfactor");
}

#[test]
fn impossible_parameters_are_refused() {
    for (name, key, params) in [
        ("import-movies", "dose_per_frame", json!({"movies": "a", "dose_per_frame": -1.0})),
        ("import-movies", "movies", json!({})),
        ("import-movies", "settle_s", json!({"movies": "a", "settle_s": -1.0})),
        ("import-movies", "watch_idle_h", json!({"movies": "a", "watch_idle_h": 0.0})),
        ("correct-motion", "binning", json!({"binning": 0.5})),
        ("correct-motion", "last_frame", json!({"first_frame": 5, "last_frame": 4})),
        ("estimate-ctf", "min_resolution", json!({"min_resolution": 3.0})),
        ("curate-exposures", "min_defocus", json!({"min_defocus": 3e4, "max_defocus": 1e4})),
        ("curate-exposures", "max_motion", json!({"max_motion": 0.0})),
        ("import-picks", "diameter", json!({"picks": "a.box"})),
        ("pick-blobs", "diameter", json!({})),
        ("inspect-picks", "min_local_sd", json!({"min_local_sd": 2.0, "max_local_sd": 1.0})),
        ("inspect-picks", "max_picks", json!({"max_picks": 0})),
        ("extract-particles", "min_distance", json!({"box_size": 64, "min_distance": 0.0})),
        ("extract-particles", "output_box", json!({"box_size": 64, "output_box": 128})),
        ("remove-duplicates", "min_distance", json!({})),
        ("split-particles", "parts", json!({"parts": 17})),
        ("split-particles", "first_size", json!({"by": "class", "first_size": 10})),
        ("split-particles", "first_size", json!({"parts": 3, "first_size": 10})),
        ("split-particles", "values", json!({"values": "1"})),
        ("split-particles", "values", json!({"by": "class", "values": "a"})),
        ("intersect-particles", "max_distance", json!({"by": "place"})),
        ("intersect-particles", "max_distance", json!({"max_distance": 10.0})),
        ("downsample-particles", "output_box", json!({})),
        ("downsample-particles", "output_box", json!({"output_box": 63})),
        ("downsample-particles", "output_box", json!({"output_box": 64, "crop_box": 32})),
        ("downsample-particles", "pixel_size", json!({"output_box": 64, "pixel_size": 3.0})),
        ("restack-particles", "images_per_stack", json!({"images_per_stack": 0})),
        ("refine-homogeneous", "symmetry", json!({"symmetry": "Q4"})),
        ("refine-ctf", "rounds", json!({"rounds": 0})),
        ("refine-ctf", "max_resolution", json!({"max_resolution": 30.0})),
        ("refine-ctf", "defocus", json!({"defocus": false, "beam_tilt": false})),
        ("simulate", "anisotropy", json!({"model": "a", "anisotropy": 0.3})),
        ("simulate", "beam_tilt_x", json!({"model": "a", "beam_tilt_x": 0.5})),
        ("estimate-local-resolution", "threshold", json!({"threshold": 1.0})),
        ("estimate-local-resolution", "window", json!({"window": 0.5})),
        ("filter-locally", "scale", json!({"scale": 0.0})),
        ("filter-locally", "smoothing", json!({"smoothing": -1.0})),
        ("expand-symmetry", "symmetry", json!({})),
        ("subtract-signal", "max_resolution", json!({"max_resolution": 0.0})),
        ("subtract-signal", "output_box", json!({"output_box": 8})),
        ("align-maps", "low_pass", json!({"low_pass": -1.0})),
        ("resample-volume", "box_size", json!({"box_size": 4})),
        ("resample-volume", "scan", json!({"scan": 30.0})),
        ("export-deposition", "prefix", json!({"prefix": "a/b"})),
        ("simulate", "box_size", json!({"model": "a", "box_size": 97})),
    ] {
        assert_eq!(crate::find(name).unwrap().check(&params).unwrap_err().key, key, "{name}");
    }
}

#[test]
fn templates_and_tables_name_every_parameter() {
    for job in CATALOG {
        let (template, table) = (page::yaml_template(*job), page::parameter_table(*job));
        for field in job.fields() {
            assert!(template.contains(&format!("{}:", field.key)), "{}.{}", job.name(), field.key);
            assert!(table.contains(&format!("| `{}` |", field.key)), "{}.{}", job.name(), field.key);
        }
    }
}

/// Memory and time that a formula sets have a reason in words, with the numbers that were put in.
#[test]
fn every_estimate_says_how_it_came_about() {
    use vitreous_model::resources::{InputSummary, Resources};
    let inputs = InputSummary {
        items: 123,
        box_px: Some(96),
        frame_px: Some([3710, 3838]),
        frames: Some(38),
        ..InputSummary::default()
    };
    for job in CATALOG {
        let effective = job.check(&job.example()).unwrap();
        let estimate = job.estimate(&effective, &inputs);
        assert_eq!(job.resources(&effective, &inputs), estimate.resources, "{}", job.name());
        let default = Resources::default();
        let set = [
            ("threads", estimate.resources.threads != default.threads),
            ("mem_mib", estimate.resources.mem_mib != default.mem_mib),
            ("walltime_s", estimate.resources.walltime_s != default.walltime_s),
        ];
        for (resource, is_set) in set {
            assert!(!is_set || !estimate.reason(resource).is_empty(), "{}: {resource}", job.name());
        }
    }
    let motion = crate::find("correct-motion").unwrap().estimate(&Value::Null, &inputs);
    assert_eq!(
        motion.reason("mem_mib"),
        "256 MiB + 34 frames of 3710 x 3838 pixels in floats (55 MiB each), at least 1 GiB"
    );
    assert_eq!(motion.resources.mem_mib, 256 + 34 * 55);
}
