//! `cluster_script.sh`: a Jinja2 template, rendered unchanged.
//!
//! In Jinja2 an unknown name is silently empty. Here every name must have a value, and all that have none are listed
//! with their lines; only a name that the template itself guards (`x is defined`, `x | default(…)`) may stay without.

use crate::cryosparc::{filters, values};
use crate::render::{RenderError, ScriptContext};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use std::collections::BTreeMap;

/// Ending of the names of template files that are Jinja2 and are rendered by [`render`].
pub const ENDING: &str = ".jinja";

/// A name that a template uses and that is not one of CryoSPARC's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// Lines in which it is used, from 1.
    pub lines: Vec<usize>,
    /// The template does without it: it asks whether it is defined, or gives a default.
    pub is_optional: bool,
}

impl Variable {
    /// `lines 3, 7`.
    pub fn lines_in_words(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        let word = if lines.len() == 1 { "line" } else { "lines" };
        format!("{word} {}", lines.join(", "))
    }

    /// `name (lines 3, 7)`.
    pub fn with_lines(&self) -> String {
        format!("{} ({})", self.name, self.lines_in_words())
    }
}

/// The custom variables of a template: every name that is neither CryoSPARC's own nor made in the template itself, in
/// the order of their first lines.
///
/// # Errors
/// [`RenderError::Syntax`].
pub fn variables(name: &str, text: &str) -> Result<Vec<Variable>, RenderError> {
    let used = used_names(name, text)?;
    Ok(used.into_iter().filter(|variable| !values::is_known(&variable.name)).collect())
}

/// Renders a template of CryoSPARC for one of our jobs. `vars` are the job's own values of custom variables; they win
/// over the lane's, and both win over CryoSPARC's variables of the same name.
///
/// # Errors
/// [`RenderError::Syntax`]; [`RenderError::UnknownNames`] with all names that have no value, and their lines.
pub fn render(
    name: &str,
    text: &str,
    context: &ScriptContext,
    vars: &BTreeMap<String, Value>,
) -> Result<String, RenderError> {
    let mut known = values::of_script(context);
    known.extend(context.lane.vars.clone());
    known.extend(vars.clone());
    let script = render_with(name, text, known)?;
    Ok(script.split_inclusive('\n').map(|line| with_output_file(line, &context.attempt_dir)).collect())
}

/// A line of a script; where it is a directive that sends Slurm's output to the attempt's folder, a file in it: sites
/// have such directives, and Slurm fails jobs that have them. (Grid Engine and PBS take folders.)
fn with_output_file(line: &str, folder: &str) -> String {
    let Some(ending) = output_folder(line, folder) else { return line.into() };
    let bare = line.trim_end();
    format!("{}/slurm-%j.{ending}{}", bare.trim_end_matches('/'), &line[bare.len()..])
}

/// Whether a line sends Slurm's output to `folder` itself; if so, the ending of the file that is meant.
pub(super) fn output_folder(line: &str, folder: &str) -> Option<&'static str> {
    let directive = line.trim().strip_prefix("#SBATCH")?.trim();
    let value = directive.strip_suffix('/').unwrap_or(directive).strip_suffix(folder)?;
    match value.trim_end_matches(['=', ' ', '\t']) {
        "-o" | "--output" => Some("out"),
        "-e" | "--error" => Some("err"),
        _ => None,
    }
}

/// Renders `text` with exactly these values; null counts as none.
pub(super) fn render_with(
    name: &str,
    text: &str,
    mut known: BTreeMap<String, Value>,
) -> Result<String, RenderError> {
    known.retain(|_, value| !value.is_null());
    let missing: Vec<String> = used_names(name, text)?
        .into_iter()
        .filter(|variable| !variable.is_optional && !known.contains_key(&variable.name))
        .map(|variable| variable.with_lines())
        .collect();
    if !missing.is_empty() {
        let known = known.into_keys().collect();
        return Err(RenderError::UnknownNames { template: name.into(), unknown: missing, known });
    }
    let text = without_carriage_returns(text);
    let environment = environment();
    let template = environment.template_from_named_str(name, &text).map_err(|error| syntax(name, &error))?;
    template.render(known).map_err(|error| syntax(name, &error))
}

/// Jinja2 as scripts of sites expect it.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    filters::add_to(&mut environment);
    environment
}

/// Bash does not run lines that end in a carriage return.
fn without_carriage_returns(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn syntax(name: &str, error: &minijinja::Error) -> RenderError {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let message = match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    };
    RenderError::Syntax { template: name.into(), message }
}

/// Names that a template looks up and does not make itself, in the order of their first lines.
fn used_names(name: &str, text: &str) -> Result<Vec<Variable>, RenderError> {
    refuse_length_of_arrays(name, text)?;
    let text = &without_carriage_returns(text);
    let environment = environment();
    let template = environment.template_from_named_str(name, text).map_err(|error| syntax(name, &error))?;
    let globals: Vec<&str> = environment.globals().map(|(global, _)| global).collect();
    let mut variables: Vec<Variable> = template
        .undeclared_variables(false)
        .into_iter()
        .filter(|name| {
            !globals.contains(&name.as_str()) && !["self", "super", "loop", "caller"].contains(&name.as_str())
        })
        .map(|name| Variable { name, lines: Vec::new(), is_optional: false })
        .collect();
    for (line, code) in code_lines(text) {
        for variable in &mut variables {
            let Some(guarded) = looks_up(&code, &variable.name) else { continue };
            if variable.lines.last() != Some(&line) {
                variable.lines.push(line);
            }
            variable.is_optional |= guarded;
        }
    }
    variables.sort_by(|a, b| (a.lines.first(), &a.name).cmp(&(b.lines.first(), &b.name)));
    Ok(variables)
}

/// Whether a template uses a name.
pub fn uses(text: &str, name: &str) -> bool {
    code_lines(text).iter().any(|(_, code)| looks_up(code, name).is_some())
}

/// Bash's `${#array[@]}` holds `{#`, with which a comment of Jinja2 begins: what follows would vanish from the script.
fn refuse_length_of_arrays(name: &str, text: &str) -> Result<(), RenderError> {
    let mut is_raw = false;
    for (at, line) in text.lines().enumerate() {
        let raw_begins = line.contains("raw %}") && !line.contains("endraw");
        if let Some((_, after)) = line.split_once("${#")
            && !is_raw
            && !line.contains("raw %}")
        {
            let word: String = after.chars().take_while(|c| *c != '}').collect();
            return Err(RenderError::Syntax {
                template: name.into(),
                message: format!(
                    "line {}: `${{#{word}}}`: `{{#` begins a comment in Jinja2, so CryoSPARC could not read this file \
                     either; write `{{% raw %}}${{#{word}}}{{% endraw %}}`",
                    at + 1
                ),
            });
        }
        is_raw = (is_raw || raw_begins) && !line.contains("endraw");
    }
    Ok(())
}

/// What stands inside of `{{ }}` and `{% %}`, with the number of its line; texts in quotes are left out.
pub(super) fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut codes = Vec::new();
    let (mut line, mut rest) = (1, text);
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|mark| rest.find(mark)).min() {
        line += rest[..start].matches('\n').count();
        let (open, inside) = rest[start..].split_at(2);
        let close = match open {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = inside.find(close).unwrap_or(inside.len());
        let code = &inside[..end];
        if open == "{%" && code.trim_matches(['-', '+', ' ']) == "raw" {
            // nothing in there is code
            let after = inside.find("endraw").unwrap_or(inside.len());
            line += inside[..after].matches('\n').count();
            rest = &inside[after..];
            continue;
        }
        if open != "{#" {
            codes.extend(
                without_texts(code).lines().enumerate().map(|(at, code)| (line + at, code.to_string())),
            );
        }
        line += code.matches('\n').count();
        rest = &inside[end..];
    }
    codes
}

/// The same with everything in quotes blanked.
fn without_texts(code: &str) -> String {
    let mut quote = None;
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    code.chars()
        .map(|c| match quote {
            Some(q) => {
                if c == q {
                    quote = None;
                }
                blank(c)
            }
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                ' '
            }
            None => c,
        })
        .collect()
}

/// Whether `code` looks `name` up, and if so whether it guards against its absence.
fn looks_up(code: &str, name: &str) -> Option<bool> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = None;
    for (at, _) in code.match_indices(name) {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        // part of another name, an attribute, a filter or the name of an argument
        let is_part = before.ends_with(is_word) || after.starts_with(is_word);
        let is_other = before.trim_end().ends_with(['.', '|'])
            || (after.trim_start().starts_with('=') && !after.trim_start().starts_with("=="));
        if is_part || is_other {
            continue;
        }
        let after = after.trim_start();
        let filter = after.strip_prefix('|').map(str::trim_start).unwrap_or("");
        let filter = filter.split(|c| !is_word(c)).next().unwrap_or("");
        let words: Vec<&str> = after.split_whitespace().take(3).collect();
        let asks =
            matches!(words[..], ["is", "defined" | "undefined", ..] | ["is", "not", "defined" | "undefined"]);
        found = Some(found.unwrap_or(false) || asks || ["default", "d"].contains(&filter));
    }
    found
}
