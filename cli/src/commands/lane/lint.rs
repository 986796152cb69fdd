//! What can be said of a lane's template without running anything: every name known, no variable unused, free text
//! quoted.

use super::Finding;
use crate::lanes::NamedLane;
use serde_json::Value;
use std::collections::BTreeMap;
use vitreous_schedulers::cryosparc::{self, template};
use vitreous_schedulers::{RenderError, ScriptContext};

/// Values of scripts that people, sites and folders name, and that may hold anything.
const FREE_TEXT: [&str; 14] = [
    "project_dir",
    "job_dir",
    "attempt_dir",
    "job_name",
    "cancel_file",
    "engine",
    "vitreous",
    "stdout",
    "stderr",
    "variable.value",
    "parent.outputs",
    "lane.queue",
    "lane.account",
    "word",
];

/// The lane's scripts with the values of an example, and what was found in its template.
pub fn lint(
    lane: &NamedLane,
    vars: &BTreeMap<String, Value>,
) -> (Option<crate::lanes::Rendered>, Vec<Finding>) {
    let mut findings = Vec::new();
    let rendered = match lane.render(&ScriptContext::example(lane.context(vars))) {
        Ok(rendered) => {
            findings.push(Finding::new("template", Ok(lane.template_name.clone())));
            Some(rendered)
        }
        Err(error) => {
            findings.push(Finding::new("template", Err(with_advice(lane, &error))));
            None
        }
    };
    let unused: Vec<&str> =
        lane.lane.vars.keys().map(String::as_str).filter(|name| !is_used(lane, name)).collect();
    if !unused.is_empty() {
        let detail = format!("in the lane, but not in {}: {}", lane.template_name, unused.join(", "));
        findings.push(Finding::warning("vars", detail));
    }
    if !is_cryosparc(lane) {
        findings.extend(unquoted(&lane.template).into_iter().map(|Unquoted { line, value, filter }| {
            let detail = format!(
                "{}, line {line}: `{{{{ {value} }}}}` may hold blanks and quotes: write `{{{{ {value} | {filter} }}}}`",
                lane.template_name
            );
            Finding::warning("quoting", detail)
        }));
    }
    (rendered, findings)
}

fn is_cryosparc(lane: &NamedLane) -> bool {
    lane.template_name.ends_with(cryosparc::ENDING)
}

fn with_advice(lane: &NamedLane, error: &RenderError) -> String {
    match error {
        RenderError::UnknownNames { .. } if is_cryosparc(lane) => {
            format!(
                "{error}\ngive them values in `vars` of the lane, or for one check with `--var NAME=VALUE`"
            )
        }
        _ => error.to_string(),
    }
}

fn is_used(lane: &NamedLane, name: &str) -> bool {
    if is_cryosparc(lane) {
        return template::uses(&lane.template, name);
    }
    let path = format!("lane.vars.{name}");
    let mut rest = lane.template.as_str();
    while let Some((_, after)) = rest.split_once(path.as_str()) {
        if !after.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return true;
        }
        rest = after;
    }
    false
}

/// Free text that stands in the script as it is.
#[derive(Debug, PartialEq)]
struct Unquoted {
    /// Line, from 1.
    line: usize,
    /// What stands between the braces.
    value: String,
    /// The filter that quotes there: no shell reads directives.
    filter: &'static str,
}

/// Free text that goes neither through the filters `sh` or `directive` nor stands in quotes.
fn unquoted(template: &str) -> Vec<Unquoted> {
    let mut found = Vec::new();
    for (at, line) in template.lines().enumerate() {
        // words for people; directives of schedulers begin with `#` and a letter or `$`
        if line.trim_start().starts_with("# ") {
            continue;
        }
        let mut before = String::new();
        for part in line.split_inclusive("}}") {
            let Some((text, value)) = part.split_once("{{") else { continue };
            before.push_str(text);
            let in_quotes = ['"', '\''].iter().any(|quote| before.matches(*quote).count() % 2 == 1);
            let value = value.trim_end_matches("}}").trim().trim_matches('-').trim();
            let mut filters = value.split('|').map(str::trim);
            let root = filters.next().unwrap_or("");
            let is_free = FREE_TEXT.contains(&root) || root.starts_with("lane.vars.");
            let is_quoted = in_quotes || filters.any(|filter| ["sh", "directive"].contains(&filter));
            if is_free && !is_quoted {
                let filter = if line.trim_start().starts_with('#') { "directive" } else { "sh" };
                found.push(Unquoted { line: at + 1, value: value.to_string(), filter });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vitreous_schedulers::{Lane, SCHEDULERS};

    fn lane(template: &str, vars: &[&str]) -> NamedLane {
        let vars = vars.iter().map(|name| ((*name).to_string(), json!("x"))).collect();
        NamedLane {
            name: "l".into(),
            path: None,
            lane: Lane { vars, ..Lane::default() },
            template_name: "l.sh.tera".into(),
            template: template.into(),
        }
    }

    fn notes(lane: &NamedLane) -> Vec<String> {
        lint(lane, &BTreeMap::new()).1.into_iter().filter(|f| f.warning || !f.ok).map(|f| f.detail).collect()
    }

    #[test]
    fn unknown_unused_and_unquoted_are_found() {
        let text = "#SBATCH -J {{ job_name }} -A {{ lane.vars.account | sh }}\ncd \"{{ job_dir }}\"\ncd {{ job_dir }}\n# {{ job_dir }}\n{{ threads }}";
        let found = notes(&lane(text, &["account", "acount"]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].ends_with("not in l.sh.tera: acount"), "{found:?}");
        assert!(
            found[1].contains("line 1: `{{ job_name }}`") && found[1].contains("{{ job_name | directive }}"),
            "{found:?}"
        );
        assert!(
            found[2].contains("line 3: `{{ job_dir }}`") && found[2].contains("{{ job_dir | sh }}"),
            "{found:?}"
        );
        let found = notes(&lane("{{ thread }} {% if lane.vars.b %}{% endif %}", &["a"]));
        assert!(found[0].contains("lane.vars.b, thread"), "{found:?}");
    }

    #[test]
    fn our_own_templates_have_nothing_to_complain_about() {
        for scheduler in SCHEDULERS {
            let own = NamedLane {
                template_name: format!("{}.sh.tera", scheduler.name()),
                ..lane(scheduler.template(), &[])
            };
            assert_eq!(notes(&own), Vec::<String>::new(), "{}", scheduler.name());
        }
    }

    #[test]
    fn variables_of_cryosparc_without_values_are_told_with_a_way_out() {
        let lane = NamedLane {
            template_name: "l.sh.jinja".into(),
            ..lane("{{ run_cmd }} {{ partition }}", &["unused"])
        };
        let found = notes(&lane);
        assert!(
            found[0].contains("partition (line 1)") && found[0].contains("--var NAME=VALUE"),
            "{found:?}"
        );
        assert!(found[1].contains("unused"), "{found:?}");
        let given = BTreeMap::from([("partition".to_string(), json!("gpu"))]);
        assert!(lint(&lane, &given).0.unwrap().body.is_some());
    }
}
