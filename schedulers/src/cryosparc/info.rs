//! `cluster_info.json`: names, folders and the site's commands.

use serde_json::{Map, Value};

/// Every key that a version of CryoSPARC has written or read, sorted.
const KEYS: [&str; 14] = [
    "cache_path",
    "cache_quota_mb",
    "cache_reserve_mb",
    "name",
    "qdel_cmd_tpl",
    "qinfo_cmd_tpl",
    "qstat_cmd_tpl",
    "qstat_code_cmd_tpl",
    "qsub_cmd_tpl",
    "send_cmd_tpl",
    "ssd_path",
    "title",
    "transfer_cmd_tpl",
    "worker_bin_path",
];

/// A `cluster_info.json` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// It is no JSON, comments and trailing commas forgiven.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Something in it has another form than it should.
    #[error("{file}: `{key}` is {found}, expected {expected}")]
    Form {
        /// The file.
        file: String,
        /// Which key.
        key: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A key without which no job can be submitted is missing.
    #[error("{file}: no `{key}`: expected the command that {does}, e.g. `{example}`")]
    Missing {
        /// The file.
        file: String,
        /// Which key.
        key: &'static str,
        /// What it does.
        does: &'static str,
        /// What it may look like.
        example: &'static str,
    },
}

/// What a `cluster_info.json` says. Keys that are absent, null or empty are empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterInfo {
    /// The lane's name in CryoSPARC.
    pub name: String,
    /// Its title.
    pub title: String,
    /// CryoSPARC's own program on the nodes.
    pub worker_bin_path: String,
    /// Folder for its cache on the nodes.
    pub cache_path: String,
    /// Space to leave free there, MB.
    pub cache_reserve_mb: Option<f64>,
    /// Most space to use there, MB.
    pub cache_quota_mb: Option<f64>,
    /// Wraps every command.
    pub send: String,
    /// Submits.
    pub submit: String,
    /// Shows a job.
    pub status: String,
    /// Prints the state of a job as a word.
    pub status_code: String,
    /// Removes a job.
    pub cancel: String,
    /// Shows the cluster.
    pub info: String,
    /// Copied the script to the cluster, in old versions.
    pub transfer: String,
    /// Keys that no version is known to have.
    pub unknown: Vec<String>,
}

impl ClusterInfo {
    /// Reads the text of `file`, which is named in messages.
    ///
    /// # Errors
    /// [`InfoError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, InfoError> {
        let strict = strict_json(text);
        let value: Value = serde_json::from_str(&strict).map_err(|error| InfoError::Syntax {
            file: file.into(),
            line: error.line(),
            column: error.column(),
            message: bare_message(&error),
        })?;
        let Value::Object(map) = value else {
            return Err(InfoError::Form {
                file: file.into(),
                key: "the file".into(),
                found: kind(&value).into(),
                expected: "an object `{…}` of keys and values",
            });
        };
        let text = |key: &str| text_of(file, &map, key);
        let info = Self {
            name: text("name")?,
            title: text("title")?,
            worker_bin_path: text("worker_bin_path")?,
            cache_path: Some(text("cache_path")?)
                .filter(|path| !path.is_empty())
                .unwrap_or(text("ssd_path")?),
            cache_reserve_mb: number_of(file, &map, "cache_reserve_mb")?,
            cache_quota_mb: number_of(file, &map, "cache_quota_mb")?,
            send: text("send_cmd_tpl")?,
            submit: text("qsub_cmd_tpl")?,
            status: text("qstat_cmd_tpl")?,
            status_code: text("qstat_code_cmd_tpl")?,
            cancel: text("qdel_cmd_tpl")?,
            info: text("qinfo_cmd_tpl")?,
            transfer: text("transfer_cmd_tpl")?,
            unknown: map.keys().filter(|key| !KEYS.contains(&key.as_str())).cloned().collect(),
        };
        let missing = |key, does, example| InfoError::Missing { file: file.into(), key, does, example };
        if info.submit.is_empty() {
            return Err(missing("qsub_cmd_tpl", "submits a script", "sbatch {{ script_path_abs }}"));
        }
        if info.status.is_empty() && info.status_code.is_empty() {
            return Err(missing("qstat_cmd_tpl", "shows a job", "squeue -j {{ cluster_job_id }}"));
        }
        if info.cancel.is_empty() {
            return Err(missing("qdel_cmd_tpl", "removes a job", "scancel {{ cluster_job_id }}"));
        }
        Ok(info)
    }

    /// The commands of the scheduler whose directives a script has, for sites that keep only their script:
    /// Slurm's for `#SBATCH`, those of `qsub` and its like for `#$` and `#PBS`.
    pub fn guess(script: &str) -> Option<Self> {
        let has = |word: &str| script.lines().any(|line| line.trim_start().starts_with(word));
        let [submit, status, cancel, info] = if has("#SBATCH") {
            [
                "sbatch {{ script_path_abs }}",
                "squeue -j {{ cluster_job_id }}",
                "scancel {{ cluster_job_id }}",
                "sinfo",
            ]
        } else if has("#PBS") {
            [
                "qsub {{ script_path_abs }}",
                "qstat {{ cluster_job_id }}",
                "qdel {{ cluster_job_id }}",
                "qstat -Q",
            ]
        } else if has("#$") {
            [
                "qsub {{ script_path_abs }}",
                "qstat -j {{ cluster_job_id }}",
                "qdel {{ cluster_job_id }}",
                "qstat -g c",
            ]
        } else {
            return None;
        };
        Some(Self {
            submit: submit.into(),
            status: status.into(),
            cancel: cancel.into(),
            info: info.into(),
            ..Self::default()
        })
    }
}

fn text_of(file: &str, map: &Map<String, Value>, key: &str) -> Result<String, InfoError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.trim().to_string()),
        Some(other) => Err(InfoError::Form {
            file: file.into(),
            key: key.into(),
            found: format!("{} `{other}`", kind(other)),
            expected: "a text in quotes",
        }),
    }
}

/// A number, also one in quotes; empty text is none.
fn number_of(file: &str, map: &Map<String, Value>, key: &str) -> Result<Option<f64>, InfoError> {
    let value = match map.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => value,
    };
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|number: &f64| number.is_finite());
    number.map(Some).ok_or_else(|| InfoError::Form {
        file: file.into(),
        key: key.into(),
        found: format!("{} `{value}`", kind(value)),
        expected: "a number of megabytes",
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// serde_json's message without the place at its end, which we say in front.
fn bare_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_string())
}

/// The text with everything blanked that people write into JSON and JSON does not have (comments, trailing commas, a
/// byte order mark), and line breaks inside of texts escaped. Lines stay where they are.
fn strict_json(text: &str) -> String {
    let mut strict = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches('\u{feff}').chars().peekable();
    let mut in_text = false;
    // where the last comma stands, while nothing but blanks and comments has followed it
    let mut comma: Option<usize> = None;
    while let Some(c) = rest.next() {
        if in_text {
            match c {
                '\\' => {
                    strict.push(c);
                    strict.extend(rest.next());
                }
                '\n' => strict.push_str("\\n"),
                '\r' => {}
                '\t' => strict.push_str("\\t"),
                _ => {
                    in_text = c != '"';
                    strict.push(c);
                }
            }
            continue;
        }
        match c {
            '#' => skip_line(&mut rest, &mut strict),
            '/' if rest.peek() == Some(&'/') => skip_line(&mut rest, &mut strict),
            '/' if rest.peek() == Some(&'*') => skip_block(&mut rest, &mut strict),
            _ => {
                if matches!(c, '}' | ']')
                    && let Some(at) = comma.take()
                {
                    strict.replace_range(at..=at, " ");
                }
                if c == ',' {
                    comma = Some(strict.len());
                } else if !c.is_whitespace() {
                    comma = None;
                }
                in_text = c == '"';
                strict.push(c);
            }
        }
    }
    strict
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Leaves out the rest of a line but not its end.
fn skip_line(rest: &mut Rest<'_>, strict: &mut String) {
    while rest.next_if(|c| *c != '\n').is_some() {
        strict.push(' ');
    }
}

/// Leaves out the rest of `/* … */` but keeps its line breaks.
fn skip_block(rest: &mut Rest<'_>, strict: &mut String) {
    let mut before = ' ';
    rest.next();
    for c in rest.by_ref() {
        strict.push(if c == '\n' { '\n' } else { ' ' });
        if before == '*' && c == '/' {
            return;
        }
        before = c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = r#"{
        "name": "gpu",
        "send_cmd_tpl": "ssh login \"{{ command }}\"",
        "qsub_cmd_tpl": "sbatch {{ script_path_abs }}",
        "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
        "qdel_cmd_tpl": "scancel {{ cluster_job_id }}"
    }"#;

    #[test]
    fn what_people_write_into_json_is_forgiven() {
        let text = "\u{feff}{\r\n  // the GPU nodes, see http://wiki\r\n  \"name\": \"g//u#1\", # no comment in the text\n  /* old,\n }\n  */\n  \
                    \"qsub_cmd_tpl\": \"sbatch x\", \"qstat_cmd_tpl\": \"squeue\",\n \"qdel_cmd_tpl\": \"a\n b\", \"cache_quota_mb\": \"250000\", \"extra\": [1, 2,],\n}";
        let info = ClusterInfo::parse("f", text).unwrap();
        assert_eq!((info.name.as_str(), info.cancel.as_str()), ("g//u#1", "a\n b"));
        assert_eq!((info.cache_quota_mb, info.unknown), (Some(250_000.0), vec!["extra".to_string()]));
        let info = ClusterInfo::parse("f", USUAL).unwrap();
        assert_eq!(info.send, r#"ssh login "{{ command }}""#);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let error = |text: &str| ClusterInfo::parse("cluster_info.json", text).unwrap_err().to_string();
        let text = error("{\n// one\n\"name\" \"x\"}");
        assert!(text.starts_with("cluster_info.json:3:8: expected `:`"), "{text}");
        let text = error(&USUAL.replace("\"gpu\"", "7"));
        assert_eq!(text, "cluster_info.json: `name` is a number `7`, expected a text in quotes");
        let text = error(&USUAL.replace("qsub_cmd_tpl", "qsub"));
        assert!(text.contains("no `qsub_cmd_tpl`: expected the command that submits a script"), "{text}");
        assert!(error("[1]").contains("expected an object"));
        assert!(error("").contains(":1:0: EOF"));
    }
}
