//! `vitreous params TYPE`: the parameters of a job type, as a commented YAML template.

use crate::context::Context;
use crate::failure::Outcome;
use crate::plan;
use serde_json::json;
use vitreous_model::exit;

pub const ABOUT: &str = "Print a commented YAML template of a job type's parameters";
pub const EXAMPLES: &str = "  vitreous params correct-motion > motion.yaml";

/// Arguments of `params`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job type
    #[arg(value_name = "TYPE")]
    job_type: String,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let job = plan::find_type(&args.job_type)?;
    let (defaults, example) = (job.defaults(), job.example());
    let fields: Vec<_> = job
        .fields()
        .iter()
        .map(|field| {
            json!({
                "key": field.key, "help": (field.help)(), "unit": field.unit, "default": defaults[field.key],
                "example": example.get(field.key), "optional": field.optional,
            })
        })
        .collect();
    let result = json!({"type": job.name(), "parameters": fields});
    context.screen.result(&result, || vitreous_jobs::page::yaml_template(job))?;
    Ok(exit::OK)
}
