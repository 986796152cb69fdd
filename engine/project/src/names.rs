//! Names: `J2`, `J0002-correct-motion`, `J1.movies`, `attempt-01`.

use crate::error::ProjectError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Number of a job within its project, written `J2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobNumber(pub u32);

impl fmt::Display for JobNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("J{}", self.0))
    }
}

impl FromStr for JobNumber {
    type Err = ProjectError;

    /// Reads `J2`, `j2`, `J0002` and a job's folder name.
    fn from_str(text: &str) -> Result<Self, ProjectError> {
        let digits = text.strip_prefix(['J', 'j']).map(|rest| rest.split_once('-').map_or(rest, |(n, _)| n));
        match digits.map(str::parse) {
            Some(Ok(number)) if number > 0 => Ok(Self(number)),
            _ => Err(ProjectError::BadName {
                got: text.into(),
                expected: "a job: `J` and a number, e.g. `J2`",
            }),
        }
    }
}

impl JobNumber {
    /// Name of the job's folder.
    pub fn folder(self, job_type: &str) -> String {
        format!("{}-{job_type}", self.bare_folder())
    }

    /// The folder's name while the job is being made.
    pub fn bare_folder(self) -> String {
        format!("J{:04}", self.0)
    }

    /// Number and type of a job folder's name; type empty while the job is being made.
    pub fn of_folder(name: &str) -> Option<(Self, &str)> {
        let rest = name.strip_prefix('J')?;
        let (digits, job_type) = rest.split_once('-').unwrap_or((rest, ""));
        let is_number = digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok().map(|n| (Self(n), job_type))).flatten()
    }
}

/// An output of a job, written `J1.movies`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputRef {
    /// The job.
    pub job: JobNumber,
    /// Its output slot.
    pub slot: String,
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.slot)
    }
}

impl FromStr for InputRef {
    type Err = ProjectError;

    fn from_str(text: &str) -> Result<Self, ProjectError> {
        let bad = || ProjectError::BadName { got: text.into(), expected: "a job's output, e.g. `J1.movies`" };
        let (job, slot) = text.split_once('.').ok_or_else(bad)?;
        let job = job.parse().map_err(|_| bad())?;
        if slot.is_empty() { Err(bad()) } else { Ok(Self { job, slot: slot.into() }) }
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(JobNumber);
as_text!(InputRef);

/// `PREFIX-NN.json` or `PREFIX-NN`: the attempt number in a record's name.
pub fn attempt_in(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?.strip_prefix('-')?;
    digits.strip_suffix(".json").unwrap_or(digits).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_form_users_type() {
        for text in ["J2", "j2", "J0002", "J0002-correct-motion"] {
            assert_eq!(text.parse::<JobNumber>().unwrap(), JobNumber(2));
        }
        for text in ["2", "J", "J0", "Jx", "", "J-1"] {
            assert!(text.parse::<JobNumber>().is_err(), "{text}");
        }
        assert_eq!("J1.movies".parse::<InputRef>().unwrap().to_string(), "J1.movies");
        for text in ["J1", "J1.", ".movies", "movies"] {
            assert!(text.parse::<InputRef>().is_err(), "{text}");
        }
        assert_eq!(JobNumber(12345).folder("x"), "J12345-x");
        assert_eq!(JobNumber::of_folder("J0002-correct-motion"), Some((JobNumber(2), "correct-motion")));
        assert_eq!(JobNumber::of_folder("J2-x"), None);
        assert_eq!(JobNumber::of_folder("lanes"), None);
        assert_eq!(attempt_in("request-03.json", "request"), Some(3));
        assert_eq!(attempt_in("attempt-12", "attempt"), Some(12));
        assert_eq!(attempt_in("attempts", "attempt"), None);
    }
}
