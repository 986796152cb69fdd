//! The site's commands: rendered from its templates, for many jobs at once, in text for `sh`.

use crate::cryosparc::answers::{BEGIN, END};
use crate::cryosparc::{template, values};
use crate::quote::sh;
use crate::render::RenderError;
use crate::scheduler::{Cmd, JobId, Script};
use crate::site::CommandTemplates;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Exit code of a command that could not even be written.
pub const NO_COMMAND: i32 = 64;

/// The command that submits a script, from the folder of its attempt.
pub fn submit(templates: &CommandTemplates, script: &Script) -> Cmd {
    let words = rendered(templates, ("commands.submit", &templates.submit), values::of_submission(script));
    or_complaint(words.map(|words| {
        let folder = if script.folder.is_empty() { "." } else { &script.folder };
        Cmd::shell(&format!("cd {} || exit 1\n{words}", sh(folder)), "submit", Vec::<String>::new())
    }))
}

/// The command that asks for all jobs: for each a line that begins its answer, what the site's command printed on both
/// streams, and a line with its exit code. It goes to standard input, which has no limit of length.
pub fn status(templates: &CommandTemplates, ids: &[JobId]) -> Cmd {
    let template = match templates.status_code.is_empty() {
        true => ("commands.status", templates.status.as_str()),
        false => ("commands.status_code", templates.status_code.as_str()),
    };
    let text = for_each(templates, template, ids, |text, id, words| {
        writeln!(text, "echo '{BEGIN} {id}'\n(\n{words}\n) </dev/null 2>&1\nprintf '\\n{END} %s\\n' \"$?\"")
    });
    or_complaint(text.map(|text| stdin_script(text + "exit 0\n")))
}

/// The command that removes jobs. It fails if one of them could not be removed.
pub fn cancel(templates: &CommandTemplates, ids: &[JobId]) -> Cmd {
    let text = for_each(templates, ("commands.cancel", &templates.cancel), ids, |text, _, words| {
        writeln!(text, "(\n{words}\n) </dev/null || code=$?")
    });
    or_complaint(text.map(|text| stdin_script(format!("code=0\n{text}exit $code\n"))))
}

/// The command that shows the cluster, if the site has one.
pub fn info(templates: &CommandTemplates) -> Option<Cmd> {
    if templates.info.is_empty() {
        return None;
    }
    let words = rendered(templates, ("commands.info", &templates.info), BTreeMap::new());
    Some(or_complaint(words.map(|words| Cmd::shell(&words, "info", Vec::<String>::new()))))
}

/// What is wrong with the templates themselves: a syntax error, or names without a value, each with the name of the
/// template.
pub fn complaints(templates: &CommandTemplates) -> Vec<String> {
    let script =
        Script { folder: "/em/P/J0001-x/attempt-01".into(), name: "P-J1-x".into(), ..Script::default() };
    let id = || values::of_id("1");
    let all = [
        (("commands.submit", &templates.submit), values::of_submission(&script)),
        (("commands.status", &templates.status), id()),
        (("commands.status_code", &templates.status_code), id()),
        (("commands.cancel", &templates.cancel), id()),
        (("commands.info", &templates.info), BTreeMap::new()),
    ];
    let all = all.into_iter().filter(|((_, text), _)| !text.is_empty());
    all.filter_map(|(template, values)| rendered(templates, (template.0, template.1), values).err())
        .map(|error| error.to_string())
        .collect()
}

/// One command with these values, wrapped as the site sends its commands.
fn rendered(
    templates: &CommandTemplates,
    (name, text): (&str, &str),
    mut values: BTreeMap<String, Value>,
) -> Result<String, RenderError> {
    values.extend(templates.vars.clone());
    let command = template::render_with(name, text, values.clone())?;
    if templates.send.is_empty() {
        return Ok(command);
    }
    values.insert("command".into(), command.into());
    template::render_with("commands.send", &templates.send, values)
}

fn for_each(
    templates: &CommandTemplates,
    template: (&str, &str),
    ids: &[JobId],
    add: impl Fn(&mut String, &JobId, &str) -> std::fmt::Result,
) -> Result<String, RenderError> {
    let mut text = String::new();
    for id in ids.iter().filter(|id| is_safe(id)) {
        let words = rendered(templates, template, values::of_id(&id.0))?;
        add(&mut text, id, &words).expect("writing to a string should succeed");
    }
    Ok(text)
}

/// An id that can stand in a command as it is. Others were never ours.
pub fn is_safe(id: &JobId) -> bool {
    !id.0.is_empty()
        && id.0.chars().all(|c| c.is_ascii_alphanumeric() || "._[]-".contains(c))
        && !id.0.starts_with('-')
}

fn stdin_script(text: String) -> Cmd {
    Cmd { stdin: Some(text), ..Cmd::new("sh", ["-s"]) }
}

/// A template that cannot be rendered becomes a command that says so, because whoever asked for the command will read
/// its answer.
fn or_complaint(cmd: Result<Cmd, RenderError>) -> Cmd {
    cmd.unwrap_or_else(|error| {
        Cmd::shell(&format!("echo \"$1\" >&2; exit {NO_COMMAND}"), "cryosparc", [error.to_string()])
    })
}
