//! The command line of a job type, made from its parameter fields.

use crate::JobType;
use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};
use serde_json::{Map, Value};
use vitreous_model::params::{BadParam, Field, Form};

/// The subcommand of a job type: one flag per input slot and per parameter, in that order.
pub fn command(job: &dyn JobType) -> Command {
    let mut command = Command::new(job.name()).about(job.summary());
    for slot in job.inputs() {
        let needs = slot.need();
        command = command.arg(
            Arg::new(input_id(slot.name))
                .long(slot.name.replace('_', "-"))
                .value_name("JOB")
                .action(ArgAction::Append)
                .help_heading("Inputs")
                .help(format!("{} ({needs}; e.g. J1 or J1.{})", slot.help, slot.name)),
        );
    }
    let defaults = job.defaults();
    for field in job.fields() {
        command = command.arg(flag(field, &defaults[field.key]));
    }
    command
}

/// The argument id of an input slot; distinct from parameters of the same name.
fn input_id(slot: &str) -> String {
    format!("input:{slot}")
}

fn flag(field: &Field, default: &Value) -> Arg {
    let unit = if field.unit.is_empty() { String::new() } else { format!(" [{}]", field.unit) };
    let default = match default {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!(" (default {text})"),
        other => format!(" (default {other})"),
    };
    let arg = Arg::new(field.key)
        .long(field.key.replace('_', "-"))
        // values may be negative; what follows a switch is the next flag
        .allow_hyphen_values(!matches!(field.form, Form::Switch))
        .help_heading("Parameters")
        .help(format!("{}{unit}{default}", (field.help)()));
    match field.form {
        Form::Switch => arg.num_args(0..=1).default_missing_value("true").value_name("true|false"),
        Form::Number => arg.value_name("N"),
        Form::Text => arg.value_name("TEXT"),
        Form::Path => arg.value_name("PATH"),
        Form::Choice(words) => arg.value_parser(PossibleValuesParser::new(words)).value_name("WORD"),
    }
}

/// The jobs named for each input slot that was given, in slot order.
pub fn inputs(job: &dyn JobType, matches: &ArgMatches) -> Vec<(&'static str, Vec<String>)> {
    job.inputs()
        .iter()
        .filter_map(|slot| {
            let given = matches.get_many::<String>(&input_id(slot.name))?;
            Some((slot.name, given.cloned().collect()))
        })
        .collect()
}

/// The parameters that were given, as a JSON object.
///
/// # Errors
/// A number that is none, a switch that is neither true nor false.
pub fn params(job: &dyn JobType, matches: &ArgMatches) -> Result<Value, BadParam> {
    let mut given = Map::new();
    for field in job.fields() {
        if let Some(text) = matches.get_one::<String>(field.key) {
            given.insert(field.key.to_string(), value(field, text)?);
        }
    }
    Ok(Value::Object(given))
}

/// One parameter from its text; the word `none` empties an optional one.
///
/// # Errors
/// Text that does not have the parameter's form.
pub fn value(field: &Field, text: &str) -> Result<Value, BadParam> {
    if field.optional && text == "none" {
        return Ok(Value::Null);
    }
    match field.form {
        Form::Switch => text
            .parse::<bool>()
            .map(Value::Bool)
            .map_err(|_| BadParam::new(field.key, text, "must be true or false")),
        Form::Number => match text.parse::<i64>() {
            Ok(integer) => Ok(Value::from(integer)),
            Err(_) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::from(number)),
                _ => Err(BadParam::new(field.key, text, "must be a number")),
            },
        },
        Form::Text | Form::Path | Form::Choice(_) => Ok(Value::String(text.to_string())),
    }
}
