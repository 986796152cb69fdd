//! `vitreous types`: what can be run.

use crate::context::Context;
use crate::failure::Outcome;
use serde_json::json;
use vitreous_jobs::{CATALOG, Slot};
use vitreous_model::exit;

pub const ABOUT: &str = "List the job types";
pub const EXAMPLES: &str = "  vitreous types\n  vitreous types --json | jq -r '.types[].name'";

/// Arguments of `types`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub fn run(context: &mut Context<'_>, _: &Arguments) -> Outcome<i32> {
    let slots = |slots: &[Slot]| -> Vec<_> {
        slots
            .iter()
            .map(|slot| {
                json!({
                    "name": slot.name, "kind": slot.kind, "required": slot.required, "one_of": slot.one_of,
                    "several": slot.several, "help": slot.help
                })
            })
            .collect()
    };
    let types: Vec<_> = CATALOG
        .iter()
        .map(|job| {
            json!({
                "name": job.name(), "summary": job.summary(), "inputs": slots(job.inputs()),
                "outputs": slots(job.outputs()), "parameters": job.fields().iter().map(|f| f.key).collect::<Vec<_>>(),
            })
        })
        .collect();
    context.screen.result(&json!({"types": types}), || {
        CATALOG.iter().map(|job| format!("{:<20} {}\n", job.name(), job.summary())).collect()
    })?;
    Ok(exit::OK)
}
