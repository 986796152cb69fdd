//! Documentation of a job type made from its fields: the parameter table of its page and its YAML template.

use crate::JobType;
use serde_json::Value;
use vitreous_model::params::{Field, Form};

/// The parameter table in Markdown, as it stands in the job type's README.
pub fn parameter_table(job: &dyn JobType) -> String {
    let defaults = job.defaults();
    let mut table = String::from("| parameter | default | unit | meaning |\n|---|---|---|---|\n");
    for field in job.fields() {
        let default = shown(&defaults[field.key]);
        let help = (field.help)().replace('|', "\\|");
        table += &format!("| `{}` | {default} | {} | {help} |\n", field.key, field.unit);
    }
    table
}

/// A commented YAML template: every parameter with its meaning, unit and default.
pub fn yaml_template(job: &dyn JobType) -> String {
    let mut text = format!("# {}: {}\ntype: {}\n", job.name(), job.summary(), job.name());
    let first_of_several = job.inputs().iter().position(|slot| slot.one_of);
    for (index, slot) in job.inputs().iter().enumerate() {
        let is_given = slot.required || first_of_several == Some(index);
        text += &format!(
            "# {} ({})\n{}{}: {}\n",
            slot.help,
            slot.need(),
            if is_given { "" } else { "#" },
            slot.name,
            if slot.several { "[J1, J2]" } else { "J1" }
        );
    }
    let (defaults, example) = (job.defaults(), job.example());
    for field in job.fields() {
        text += &format!("# {}{}\n", (field.help)(), remark(field));
        match example.get(field.key) {
            Some(value) => text += &format!("{}: {}\n", field.key, shown_yaml(value)),
            None => text += &format!("#{}: {}\n", field.key, shown_yaml(&defaults[field.key])),
        }
    }
    text
}

fn remark(field: &Field) -> String {
    let mut remark = String::new();
    if !field.unit.is_empty() {
        remark += &format!(" [{}]", field.unit);
    }
    if let Form::Choice(words) = field.form {
        remark += &format!(" one of {}", words.join(", "));
    }
    remark
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) if text.is_empty() => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown_yaml(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        other => other.to_string(),
    }
}
