//! What clusters' adapters share: verdicts about answers, lists of ids, names.

use crate::scheduler::{Answer, EndReason, Ended, JobId, Queue, SchedulerError, Standing};

/// What `ssh` itself ends with when it cannot reach or enter a host.
const SSH_FAILED: i32 = 255;
/// What a shell ends with when there is no such command.
const NO_COMMAND: i32 = 127;

/// Bytes of one list of ids: below the 128 KiB that Linux allows for one argument, also when the whole command is one
/// argument of `ssh`.
const LIST_BYTES: usize = 100_000;

/// An answer and who gave it.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub scheduler: &'static str,
    pub answer: &'a Answer,
}

impl<'a> Said<'a> {
    pub fn new(scheduler: &'static str, answer: &'a Answer) -> Self {
        Self { scheduler, answer }
    }

    fn words(self) -> String {
        let stderr = self.answer.stderr.trim();
        if stderr.is_empty() { self.answer.stdout.trim().to_string() } else { stderr.to_string() }
    }

    pub fn refused(self) -> SchedulerError {
        SchedulerError::Refused { scheduler: self.scheduler, code: self.answer.code, stderr: self.words() }
    }

    pub fn unreachable(self) -> SchedulerError {
        SchedulerError::Unreachable {
            scheduler: self.scheduler,
            code: self.answer.code,
            stderr: self.words(),
        }
    }

    pub fn unexpected(self, expected: &'static str) -> SchedulerError {
        SchedulerError::Unexpected {
            scheduler: self.scheduler,
            got: shortened(self.answer.stdout.trim()),
            expected,
            stderr: self.answer.stderr.trim().to_string(),
        }
    }

    /// What it said holds one of `phrases`, in any case.
    pub fn says(self, phrases: &[&str]) -> bool {
        holds(&self.answer.stderr, phrases) || holds(&self.answer.stdout, phrases)
    }

    /// A command was not found, or ssh did not get through: nothing was asked.
    pub fn did_not_run(self) -> bool {
        self.answer.code == SSH_FAILED || self.is_without_command()
    }

    /// A submission failed, but a job may have been made all the same: the connection broke, an id was printed, or it
    /// said one of `phrases`.
    fn may_be_lost(self, phrases: &[&str]) -> bool {
        let has_id = self.answer.stdout.lines().any(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        self.answer.code == SSH_FAILED || has_id || self.says(phrases)
    }

    /// Why a submission that did not answer with an id failed. `lost`: phrases after which a job may have been made all
    /// the same; `later`: phrases of what passes (a full queue, say) unless one of `never` is said, too.
    pub fn not_submitted(
        self,
        lost: &[&str],
        later: &[&str],
        never: &[&str],
        expected: &'static str,
    ) -> SchedulerError {
        if self.may_be_lost(lost) {
            self.unexpected(expected)
        } else if self.is_without_command() || (self.says(later) && !self.says(never)) {
            self.unreachable()
        } else {
            self.refused()
        }
    }

    /// There is no such command.
    pub fn is_without_command(self) -> bool {
        self.answer.code == NO_COMMAND
    }

    /// A listing that is whole: it ends with the line `end`. Lines of standard error that hold one of `harmless` tell of
    /// jobs that are not there, which is an answer.
    pub fn listing(self, harmless: &[&str], expected: &'static str) -> Result<&'a str, SchedulerError> {
        if self.did_not_run() {
            return Err(self.unreachable());
        }
        if self.answer.code != 0 {
            let mut lines =
                self.answer.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
            if lines.peek().is_none() || !lines.all(|line| holds(line, harmless)) {
                return Err(self.unreachable());
            }
        }
        let text = self.answer.stdout.trim_end();
        match text.strip_suffix("end") {
            Some(listing) if listing.is_empty() || listing.ends_with('\n') => Ok(listing),
            _ => Err(self.unexpected(expected)),
        }
    }
}

fn holds(text: &str, phrases: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    phrases.iter().any(|phrase| text.contains(&phrase.to_ascii_lowercase()))
}

/// The beginning of a long text, for messages.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 300;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

/// Ids on as few lines as the length of an argument allows, each line a list joined by `separator`.
pub(crate) fn id_lines<'a>(ids: impl IntoIterator<Item = &'a str>, separator: &str) -> String {
    let mut text = String::new();
    let mut line = 0;
    for id in ids {
        if line > 0 && line + separator.len() + id.len() > LIST_BYTES {
            text.push('\n');
            line = 0;
        }
        if line > 0 {
            text += separator;
            line += separator.len();
        }
        text += id;
        line += id.len();
    }
    if line > 0 {
        text.push('\n');
    }
    text
}

/// Whether an id consists of a scheduler's own characters: what is not is never handed to a command.
pub(crate) fn is_plain_id(id: &JobId) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-[]@".contains(c);
    !id.0.is_empty() && !id.0.starts_with('-') && id.0.chars().all(plain)
}

/// A name as Grid Engine and PBS take it: letters, digits, `._-`, beginning with a letter.
pub(crate) fn plain_name(name: &str, longest: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let mut text: String = name.chars().map(plain).collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.insert(0, 'J');
    }
    text.truncate(longest);
    text
}

/// Numbers in `1-3`, `1-9:2`, `3,4`, `2-4%2`; `None`: it is no such list, or longer than any array.
pub(crate) fn task_numbers(text: &str) -> Option<Vec<u32>> {
    /// No scheduler takes larger arrays (Slurm: 4,000,001 at most, 1001 by default).
    const MOST: usize = 4_000_001;
    let list = text.split('%').next()?;
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let step: u32 = step.trim().parse().ok().filter(|step| *step > 0)?;
        let count = last.checked_sub(first)? as usize / step as usize + 1;
        if numbers.len() + count > MOST {
            return None;
        }
        numbers.extend((first..=last).step_by(step as usize));
    }
    Some(numbers)
}

/// The first host of `n[01-04,7]`, `n1,n2`, `vm`; empty for what is no host.
pub(crate) fn first_host(list: &str) -> String {
    let list = list.trim();
    if list.is_empty()
        || ["n/a", "(null)", "none", "none assigned"].contains(&list.to_ascii_lowercase().as_str())
    {
        return String::new();
    }
    let Some((prefix, rest)) = list.split_once('[').filter(|(prefix, _)| !prefix.contains(',')) else {
        return list.split(',').next().unwrap_or_default().to_string();
    };
    let number = rest.split([']', ',', '-']).next().unwrap_or_default();
    let suffix = rest.split_once(']').map_or("", |(_, suffix)| suffix.split(',').next().unwrap_or_default());
    format!("{prefix}{number}{suffix}")
}

/// Bytes in `200M`, `1.5G`, `104857kb`, `314.3K`, `0`; the letter is a power of 1024.
pub(crate) fn bytes(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let power = match text[digits..].chars().next().map(|unit| unit.to_ascii_uppercase()) {
        None | Some('B') => 0,
        Some('K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        Some('P') => 5,
        Some(_) => return None,
    };
    Some(number * 1024_f64.powi(power))
}

/// A job that the scheduler lists as ended, or that cannot end well any more.
pub(crate) fn ended(reason: EndReason, words: impl Into<String>) -> Ended {
    Ended { exit: None, signal: None, reason, host: String::new(), words: words.into() }
}

/// It ended by itself, with a shell's exit code: above 128 it was a signal.
pub(crate) fn exited(code: i32, words: impl Into<String>) -> Ended {
    let signal = (129..=192).contains(&code).then(|| code - 128);
    Ended { exit: Some(code), signal, ..ended(EndReason::Exited, words) }
}

/// The scheduler's word with an explanation for those who do not know it.
pub(crate) fn explained(word: &str, table: &[(&str, &str)]) -> String {
    match table.iter().find(|(known, _)| word.starts_with(known)) {
        Some((_, meaning)) if !meaning.is_empty() => format!("{word} ({meaning})"),
        _ => word.to_string(),
    }
}

/// The standing of each id: a job that is not listed is gone, but one that cannot be this scheduler's was not asked about.
pub(crate) fn standings(ids: &[JobId], listed: impl Fn(&str) -> Option<Standing>) -> Vec<Standing> {
    let standing = |id: &JobId| match is_plain_id(id) {
        true => listed(&id.0).unwrap_or_else(Standing::gone),
        false => Standing::of(Queue::Unknown(format!("`{id}` is no id of this scheduler"))),
    };
    ids.iter().map(standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tasks_in_all_their_forms() {
        for (text, numbers) in [
            ("7", vec![7]),
            ("2-4%2", vec![2, 3, 4]),
            ("1-3:1", vec![1, 2, 3]),
            ("1-7:3,9", vec![1, 4, 7, 9]),
            ("3,4", vec![3, 4]),
        ] {
            assert_eq!(task_numbers(text), Some(numbers), "{text}");
        }
        for text in ["", "a", "4-2", "1-", "-", "1-3:0", "1-4294967295", "1,...", "99999999999"] {
            assert_eq!(task_numbers(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_host_of_a_list() {
        for (list, host) in [
            ("n1", "n1"),
            ("n[1-2]", "n1"),
            ("gpu[007,9-12]", "gpu007"),
            ("a[3-4]-ib", "a3-ib"),
            ("b1,n[1-2]", "b1"),
            ("None assigned", ""),
            ("n/a", ""),
            ("", ""),
        ] {
            assert_eq!(first_host(list), host, "{list}");
        }
    }

    #[test]
    fn ten_thousand_ids_are_few_lines_below_the_length_of_an_argument() {
        let ids: Vec<String> = (12_345_000..12_355_000).map(|id| format!("{id}.pbs-server-01")).collect();
        let text = id_lines(ids.iter().map(String::as_str), ",");
        assert!(text.lines().all(|line| line.len() <= LIST_BYTES) && text.lines().count() <= 3);
        assert_eq!(text.lines().flat_map(|line| line.split(',')).collect::<Vec<_>>(), ids);
        assert_eq!(id_lines([], ","), "");
    }

    #[test]
    fn names_that_every_scheduler_takes() {
        assert_eq!(plain_name("T20S-J2-correct-motion", 200), "T20S-J2-correct-motion");
        assert_eq!(plain_name("20S it's/a:name", 200), "J20S_it_s_a_name");
        assert_eq!(plain_name("-β", 200), "J-_");
        assert_eq!(plain_name(&"a".repeat(300), 15).len(), 15);
    }

    #[test]
    fn sizes_in_all_their_forms() {
        for (text, mib) in
            [("200M", 200.0), ("1.5G", 1536.0), ("1048576", 1.0), ("2048kb", 2.0), ("0.000B", 0.0)]
        {
            assert_eq!(bytes(text).map(|bytes| bytes / 1048576.0), Some(mib), "{text}");
        }
        assert_eq!((bytes(""), bytes("M"), bytes("3x")), (None, None, None));
    }
}
