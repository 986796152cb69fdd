//! What the sites' own commands print, read without knowing which scheduler it is.

use crate::cryosparc::commands;
use crate::cryosparc::words::queue_of;
use crate::scheduler::{Answer, EndReason, Ended, JobId, Queue, SchedulerError, Standing};
use std::collections::HashMap;

/// Begins the line in front of a job's answer; its id follows.
pub const BEGIN: &str = "=== vitreous job";
/// Begins the line behind a job's answer; the exit code follows.
pub const END: &str = "=== vitreous end";

const NAME: &str = "cryosparc";

/// What `ssh` itself ends with when it cannot reach or enter a host.
const SSH_FAILED: i32 = 255;

/// Words of schedulers and of ssh when the server cannot be spoken to: the same may work later.
const UNREACHABLE: [&str; 16] = [
    "Unable to contact slurm controller",
    "Unable to establish controller machine",
    "Unable to establish control",
    "Connection refused",
    "Connection timed out",
    "Connection closed by",
    "Connection reset by",
    "No route to host",
    "Could not resolve hostname",
    "Temporary failure in name resolution",
    "commlib error",
    "unable to send message to qmaster",
    "cannot connect to server",
    "Cannot connect to specified server host",
    "Communication failure",
    "LSF is down",
];

/// Words after which a job may exist although its submission failed.
const UNDECIDED: [&str; 4] =
    ["Socket timed out", "Zero Bytes were transmitted", "Broken pipe", "Message receive failure"];

/// Words of schedulers for a job that they do not know (any more).
const ABSENT: [&str; 9] = [
    "Invalid job id specified",
    "do not exist",
    "does not exist",
    "Unknown Job Id",
    "Unknown Job ID",
    "Job has finished",
    "is not found",
    "No matching job found",
    "No unfinished job found",
];

fn has_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// The id in the answer to a submission.
pub fn submitted(answer: &Answer) -> Result<JobId, SchedulerError> {
    if let Some(id) = id_in(&answer.stdout).filter(commands::is_safe) {
        return Ok(id);
    }
    let said = [answer.stdout.trim(), answer.stderr.trim()].join("\n").trim().to_string();
    let unexpected = || SchedulerError::Unexpected {
        scheduler: NAME,
        got: answer.stdout.trim().into(),
        expected: "the job's id, e.g. `Submitted batch job 123`, `Your job 123 (\"name\") has been submitted` or `123`",
        stderr: answer.stderr.clone(),
    };
    if answer.code == SSH_FAILED || has_any(&said, &UNDECIDED) {
        return Err(unexpected());
    }
    if has_any(&said, &UNREACHABLE) {
        return Err(SchedulerError::Unreachable { scheduler: NAME, code: answer.code, stderr: said });
    }
    // a pipe such as `| cut` ends well after a refusal too, and then prints nothing
    let refused = answer.code != 0 || (answer.stdout.trim().is_empty() && says_error(&answer.stderr));
    if refused {
        return Err(SchedulerError::Refused { scheduler: NAME, code: answer.code, stderr: said });
    }
    Err(unexpected())
}

fn says_error(stderr: &str) -> bool {
    let stderr = stderr.to_lowercase();
    has_any(
        &stderr,
        &[
            "error",
            "unable to run job",
            "not found",
            "denied",
            "rejected",
            "failed",
            "illegal",
            "invalid",
            "unknown",
        ],
    )
}

/// The id among what a submission printed: in the phrase of its scheduler, or alone on a line, or as the last word.
/// Lines that a login shell prints before are passed over.
fn id_in(text: &str) -> Option<JobId> {
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let id = lines().find_map(id_in_phrase);
    let id = id.or_else(|| lines().find(|line| is_id(line)));
    let id = id.or_else(|| lines().next()?.split_whitespace().last().filter(|word| is_id(word)))?;
    // 123;cluster of `sbatch --parsable`, 5.1-4:1 of an array of Grid Engine
    let id = id.split(';').next().unwrap_or(id);
    Some(JobId(if id.contains(':') { id.split('.').next().unwrap_or(id) } else { id }.to_string()))
}

fn id_in_phrase(line: &str) -> Option<&str> {
    let after = |mark: &str| Some(line[line.find(mark)? + mark.len()..].trim_start());
    let rest = after("Submitted batch job ")
        .or_else(|| after("Your job-array "))
        .or_else(|| after("Your job ").filter(|rest| rest.contains("has been submitted")))
        .or_else(|| after("Job <").filter(|rest| rest.contains("is submitted")))?;
    let word = rest.split([' ', '>', '(']).next().unwrap_or("");
    Some(word).filter(|word| is_id(word))
}

/// `123`, `123;cluster`, `5.1-4:1`, `123.pbs01`, `3[].pbs1`.
fn is_id(word: &str) -> bool {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &word[digits..];
    let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || "._[]-;:".contains(c));
    digits > 0 && plain && !rest.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Where each job stands, from the answers between [`BEGIN`] and [`END`].
pub fn states(ids: &[JobId], answer: &Answer) -> Result<Vec<Standing>, SchedulerError> {
    let sections = sections(&answer.stdout);
    if answer.code != 0 || (sections.is_empty() && ids.iter().any(commands::is_safe)) {
        let said = answer.stderr.trim().to_string();
        if answer.code == SSH_FAILED || has_any(&said, &UNREACHABLE) {
            return Err(SchedulerError::Unreachable { scheduler: NAME, code: answer.code, stderr: said });
        }
        return Err(SchedulerError::Unexpected {
            scheduler: NAME,
            got: format!("exit code {}: {}", answer.code, answer.stdout.trim()),
            expected: "the answers of the site's status command, one for each job",
            stderr: said,
        });
    }
    let of_id = |id: &JobId| match sections.get(id.0.as_str()) {
        Some((code, text)) => standing(id, *code, text),
        None if !commands::is_safe(id) => {
            Ok(Queue::Unknown(format!("`{id}` is no id that the site's commands can take")))
        }
        None => Ok(Queue::Unknown("the answer ends before this job".into())),
    };
    ids.iter().map(|id| of_id(id).map(Standing::of)).collect()
}

/// Id → exit code and text.
fn sections(text: &str) -> HashMap<&str, (i32, String)> {
    let mut sections = HashMap::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines() {
        if let Some(id) = line.strip_prefix(BEGIN) {
            open = Some((id.trim(), String::new()));
        } else if let Some(code) = line.strip_prefix(END) {
            if let (Some((id, said)), Ok(code)) = (open.take(), code.trim().parse()) {
                sections.insert(id, (code, said));
            }
        } else if let Some((_, said)) = &mut open {
            said.push_str(line);
            said.push('\n');
        }
    }
    sections
}

/// Where one job stands, from what the site's command printed about it.
fn standing(id: &JobId, code: i32, text: &str) -> Result<Queue, SchedulerError> {
    if code == SSH_FAILED || has_any(text, &UNREACHABLE) {
        return Err(SchedulerError::Unreachable { scheduler: NAME, code, stderr: text.trim().into() });
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let quoted = || {
        let said = if lines.is_empty() { "nothing".to_string() } else { lines.join(" / ") };
        Queue::Unknown(if code == 0 { said } else { format!("exit code {code}: {said}") })
    };
    let said_alone = lines
        .iter()
        .rev()
        .filter(|line| !line.contains(char::is_whitespace))
        .find_map(|word| queue_of(word, ""));
    if let Some(queue) = said_alone {
        return Ok(queue);
    }
    if has_any(text, &ABSENT) {
        return Ok(Queue::Gone);
    }
    if let Some(queue) = in_table(id, &lines).or_else(|| in_fields(id, &lines)) {
        return Ok(queue);
    }
    // `grep` and its like end with 1 when they found nothing
    let is_header = |line: &&str| {
        let line = line.to_ascii_lowercase();
        ["jobid", "job-id", "job id", "state"].iter().any(|word| line.contains(word))
            || line.starts_with("---")
    };
    // a command that lists all jobs, and this one is not among them
    let is_of_another = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(is_id) && words.count() > 1
    };
    let is_listing = lines.iter().all(|line| is_header(line) || is_of_another(line))
        && (lines.iter().any(is_header) || lines.is_empty());
    match is_listing && (0..=1).contains(&code) {
        true => Ok(Queue::Gone),
        false => Ok(quoted()),
    }
}

/// The state in the job's row of a table. The heading says in which column; where it does not fit, the first word that
/// is one counts.
fn in_table(id: &JobId, lines: &[&str]) -> Option<Queue> {
    let number = |word: &str| word.split(['.', '_', '[']).next().unwrap_or(word).to_string();
    let rows = || lines.iter().map(|line| (*line, line.split_whitespace().collect::<Vec<_>>()));
    let (line, row) = rows().find(|(_, words)| {
        words.first().is_some_and(|first| number(first) == number(&id.0)) && words.len() > 1
    })?;
    let reason = line.rsplit_once('(').map_or("", |(_, reason)| reason.trim_end_matches(')'));
    let heading = rows().map(|(_, words)| words).find(|words| {
        words.len() == row.len()
            && words.iter().any(|word| ["ST", "STATE", "S", "STAT"].contains(&word.to_uppercase().as_str()))
    });
    let column = heading.and_then(|words| {
        words.iter().position(|word| ["ST", "STATE", "S", "STAT"].contains(&word.to_uppercase().as_str()))
    });
    let said = column.and_then(|column| queue_of(row.get(column)?, reason));
    said.or_else(|| row.iter().skip(1).find_map(|word| queue_of(word, reason)))
}

/// The state in a description of the job: `qstat -j` of Grid Engine, `qstat -f` of PBS, `scontrol show job`.
fn in_fields(id: &JobId, lines: &[&str]) -> Option<Queue> {
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once([':', '='])?;
            (key.split_whitespace().next()? == name).then(|| value.trim())
        })
    };
    if let Some(state) = field("job_state") {
        let code = field("Exit_status").and_then(|code| code.parse::<i32>().ok());
        let queue = queue_of(state, field("comment").unwrap_or(""))?;
        return Some(match (queue, code) {
            (Queue::Ended(ended), Some(code)) => Queue::Ended(with_pbs_code(ended, code)),
            (queue, _) => queue,
        });
    }
    let word = |name: &str| {
        let mut words = lines.iter().flat_map(|line| line.split_whitespace());
        words.find_map(|word| word.strip_prefix(name)).filter(|value| *value != "None" && *value != "(null)")
    };
    if let Some(state) = word("JobState=") {
        return queue_of(state, word("Reason=").unwrap_or(""));
    }
    // `qstat -j` shows no state: a job that runs has used something, one that failed to start has an error
    (field("job_number")? == id.0).then(|| match (field("error"), field("usage"), field("scheduling")) {
        (Some(error), _, _) => Queue::Held(error.into()),
        (None, Some(_), _) => Queue::Running,
        (None, None, reason) => Queue::Pending(reason.unwrap_or("").into()),
    })
}

/// PBS's `Exit_status`: 256 and more is 256 plus a signal, below 0 is PBS's own end.
fn with_pbs_code(ended: Ended, code: i32) -> Ended {
    const KILLED_BY_USER: i32 = 271;
    const WALL_TIME_EXCEEDED: i32 = -29;
    match code {
        KILLED_BY_USER => Ended { reason: EndReason::Cancelled, signal: Some(code - 256), ..ended },
        WALL_TIME_EXCEEDED => Ended { reason: EndReason::TimeLimit, ..ended },
        256.. => Ended { signal: Some(code - 256), ..ended },
        0.. => Ended { exit: Some(code), ..ended },
        _ => Ended { reason: EndReason::LaunchFailed(format!("Exit_status {code}")), ..ended },
    }
}
