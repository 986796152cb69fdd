//! Whether this process is still the one that does the job.
//!
//! A scheduler that has lost sight of a node may start the same job again while the old process still lives, and so may
//! we, as a new attempt. The submission script numbers its starts: it makes `claim/run-1`, `claim/run-2` … in the
//! attempt's folder, and exports `VITREOUS_RUN` (and `VITREOUS_CLAIM`, where the folder has another name: slices have
//! their own). Whoever finds a later start than its own, or a claim in a later attempt's folder, has been superseded and
//! must not write any more.

use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vitreous_model::exit;
use vitreous_project::AttemptDir;

/// Time between two looks when nothing is about to be written: a listing of a small folder on the file server.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

/// This start's claim to the job.
#[derive(Debug, Default)]
pub struct Claim {
    /// `None` outside a submission script.
    start: Option<Start>,
    lost: AtomicBool,
    last_look: Mutex<Option<Instant>>,
}

/// A start as the submission script has counted it.
#[derive(Debug)]
struct Start {
    /// The job's folder.
    job_dir: PathBuf,
    /// Number of the attempt.
    attempt: u32,
    /// Name of the folder of claims in an attempt's folder.
    claim: String,
    /// Number of this start in the attempt.
    number: u32,
}

impl Claim {
    /// The claim that the submission script has made in `attempt`.
    ///
    /// # Errors
    /// `VITREOUS_RUN` is no number, or `VITREOUS_CLAIM` no name of a folder.
    pub fn of_script(
        attempt: &AttemptDir,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let Some(text) = variable("VITREOUS_RUN").filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        let unfit = |name: &str, found: &str, expected: &str| {
            Failure::new(exit::USAGE, format!("{name} is `{found}`, expected {expected}"))
                .hint("the submission script sets it; started by hand, unset it")
        };
        let number: u32 =
            text.parse().map_err(|_| unfit("VITREOUS_RUN", &text, "the number of this start"))?;
        let claim = variable("VITREOUS_CLAIM").filter(|text| !text.is_empty()).unwrap_or("claim".into());
        if Path::new(&claim).file_name() != Some(claim.as_ref()) {
            return Err(unfit("VITREOUS_CLAIM", &claim, "the name of a folder in the attempt's folder"));
        }
        let job_dir = attempt.path().parent().unwrap_or(attempt.path()).into();
        let start = Start { job_dir, attempt: attempt.number(), claim, number };
        Ok(Self { start: Some(start), ..Self::default() })
    }

    /// Number of this start, if a script has counted it.
    pub fn number(&self) -> Option<u32> {
        self.start.as_ref().map(|start| start.number)
    }

    /// Whether a later start has taken over, as it was found not longer than ten seconds ago.
    pub fn is_lost(&self) -> bool {
        let mut last = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= BETWEEN_LOOKS) {
            *last = Some(Instant::now());
            drop(last);
            return self.is_lost_now();
        }
        self.lost.load(Ordering::Relaxed)
    }

    /// The same, looked up now: before something is written.
    pub fn is_lost_now(&self) -> bool {
        // once lost it stays lost
        if !self.lost.load(Ordering::Relaxed) && self.start.as_ref().is_some_and(Start::has_successor) {
            self.lost.store(true, Ordering::Relaxed);
        }
        self.lost.load(Ordering::Relaxed)
    }

    /// What is said when the claim is lost.
    pub fn failure(&self) -> Failure {
        let start = self.number().map_or_else(String::new, |number| format!(" (this was start {number})"));
        Failure::new(
            exit::SUPERSEDED,
            format!("a later start of this job has taken over{start}; nothing more was written"),
        )
    }
}

impl Start {
    fn has_successor(&self) -> bool {
        let claims = self.job_dir.join(attempt_name(self.attempt)).join(&self.claim);
        let later = |number: u32| self.job_dir.join(attempt_name(number)).join(&self.claim).is_dir();
        numbers_in(&claims, "run-").any(|number| number > self.number)
            || numbers_in(&self.job_dir, "attempt-").any(|number| number > self.attempt && later(number))
    }
}

fn attempt_name(number: u32) -> String {
    format!("attempt-{number:02}")
}

/// The numbers behind `prefix` in the names of a folder's entries. Lists the folder instead of asking for one name:
/// file servers' clients remember for a while that a name was absent, but ask whether a folder has changed when it is
/// opened.
fn numbers_in(folder: &Path, prefix: &'static str) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| entry.file_name().to_string_lossy().strip_prefix(prefix)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(job: &Path, run: &str, name: Option<&str>) -> Result<Claim, Failure> {
        Claim::of_script(&AttemptDir::new(job, 1), &|variable| match variable {
            "VITREOUS_RUN" => Some(run.to_string()),
            "VITREOUS_CLAIM" => name.map(Into::into),
            _ => None,
        })
    }

    #[test]
    fn a_later_start_takes_the_claim_and_keeps_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let claims = folder.path().join("attempt-01/claim");
        std::fs::create_dir_all(claims.join("run-1")).expect("should create");
        let first = claim(folder.path(), "1", None).expect("should be fit");
        assert!(!first.is_lost() && !first.is_lost_now());
        for other in ["run-x", "owner"] {
            std::fs::create_dir(claims.join(other)).expect("should create");
        }
        assert!(!first.is_lost_now());
        // a start may be skipped: the third before the second has come far
        std::fs::create_dir(claims.join("run-3")).expect("should create");
        assert!(!first.is_lost(), "it was looked up just now");
        assert!(first.is_lost_now() && first.is_lost());
        std::fs::remove_dir_all(&claims).expect("should remove");
        assert!(first.is_lost_now(), "once lost it stays lost");
        assert!(first.failure().message.contains("start 1"), "{first:?}");
    }

    #[test]
    fn slices_have_claims_of_their_own_and_no_script_means_no_claim() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir_all(folder.path().join("attempt-01/claim/run-2")).expect("should create");
        assert!(claim(folder.path(), "1", None).expect("fit").is_lost());
        assert!(!claim(folder.path(), "1", Some("claim-4")).expect("fit").is_lost());
        let by_hand = Claim::of_script(&AttemptDir::new(folder.path(), 1), &|_| None).expect("fit");
        assert!(!by_hand.is_lost_now());
    }

    #[test]
    fn a_later_attempt_takes_the_claim_once_it_has_started() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (whole, slice) = (claim(folder.path(), "1", None), claim(folder.path(), "1", Some("claim-4")));
        let (whole, slice) = (whole.expect("fit"), slice.expect("fit"));
        std::fs::create_dir_all(folder.path().join("attempt-02")).expect("should create");
        assert!(!whole.is_lost_now(), "it has not started");
        std::fs::create_dir_all(folder.path().join("attempt-02/claim-4")).expect("should create");
        assert!(slice.is_lost_now() && !whole.is_lost_now(), "the same slice was started again");
        std::fs::create_dir_all(folder.path().join("attempt-02/claim")).expect("should create");
        assert!(whole.is_lost_now());
    }

    #[test]
    fn unfit_variables_are_quoted() {
        let message = |run, name| claim(Path::new("x"), run, name).expect_err("should be unfit").message;
        assert!(message("first", None).contains("VITREOUS_RUN is `first`"));
        assert!(message("1", Some("../claim")).contains("VITREOUS_CLAIM is `../claim`"));
    }
}
