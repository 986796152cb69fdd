//! When a job that ended badly is run again by itself.

use crate::error::ProjectError;
use crate::job::{JobDir, RetryPolicy};
use crate::records::{Request, Requester};
use crate::state::{Evidence, Reason, State, Status};

/// A job that goes on from its checkpoint so often without an end is stuck, not long.
const MOST_REQUEUES: u32 = 200;
/// A launch that is cut short so often is not bad luck.
const MOST_RECOVERIES: u32 = 3;

/// How often what was asked for since a person last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tried {
    by_policy: u32,
    requeues: u32,
    recoveries: u32,
}

/// The request for the next attempt, if the job should have one.
///
/// # Errors
/// [`ProjectError`] if an older request cannot be read.
pub fn next_request(
    job: &JobDir,
    evidence: &Evidence,
    status: &Status,
) -> Result<Option<Request>, ProjectError> {
    if !matches!(status.state, State::Failed | State::Lost) {
        return Ok(None);
    }
    let mut tried = Tried::default();
    for attempt in (1..=evidence.attempt).rev() {
        match job.read_request(attempt)?.map(|request| request.by) {
            Some(Requester::Policy) => tried.by_policy += 1,
            Some(Requester::Requeue) => tried.requeues += 1,
            Some(Requester::Recovery) => tried.recoveries += 1,
            Some(Requester::User | Requester::Growth) | None => break,
        }
    }
    Ok(decide(&job.spec().retry, evidence, status, tried))
}

fn decide(policy: &RetryPolicy, evidence: &Evidence, status: &Status, tried: Tried) -> Option<Request> {
    let last = evidence.request.clone().unwrap_or_else(|| Request::new(Requester::User, ""));
    let again = |by, why: String| Request {
        mem_factor: last.mem_factor,
        time_factor: last.time_factor,
        avoid: last.avoid.clone(),
        uid: last.uid,
        environment: last.environment.clone(),
        ..Request::new(by, why)
    };
    let kind = match (&status.reason, status.state) {
        (Some(Reason::Requeue), _) if tried.requeues < MOST_REQUEUES => {
            return Some(again(Requester::Requeue, "goes on from its checkpoint".into()));
        }
        (Some(Reason::Uncollected), _) if tried.requeues < MOST_REQUEUES => {
            return Some(again(Requester::Requeue, "collects what its elements made".into()));
        }
        (Some(Reason::LaunchCutShort), _) if tried.recoveries < MOST_RECOVERIES => {
            return Some(again(Requester::Recovery, "its launch was cut short".into()));
        }
        (Some(reason), _) => reason.kind(),
        (None, State::Lost) => "lost",
        (None, _) => return None,
    };
    if tried.by_policy >= policy.times || !policy.reasons.iter().any(|reason| reason == kind) {
        return None;
    }
    let why = format!("{kind}: try {} of {}", tried.by_policy + 2, policy.times + 1);
    let mut request = again(Requester::Policy, why);
    match kind {
        "out-of-memory" => request.mem_factor *= policy.mem_factor,
        "timeout" => request.time_factor *= policy.time_factor,
        _ => {}
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, reason: Option<Reason>) -> Status {
        Status { state, reason, attempt: 1, note: String::new() }
    }

    fn decided(times: u32, state: State, reason: Option<Reason>, tried: Tried) -> Option<Request> {
        decide(&RetryPolicy::times(times), &Evidence::default(), &status(state, reason), tried)
    }

    #[test]
    fn policy_counts_and_escalates() {
        let none = Tried::default();
        assert_eq!(decided(0, State::Failed, Some(Reason::OutOfMemory), none), None);
        let request = decided(2, State::Failed, Some(Reason::OutOfMemory), none).unwrap();
        assert_eq!((request.by, request.mem_factor, request.time_factor), (Requester::Policy, 1.5, 1.0));
        let request = decided(2, State::Failed, Some(Reason::Timeout), none).unwrap();
        assert_eq!((request.mem_factor, request.time_factor), (1.0, 2.0));
        assert!(decided(2, State::Lost, None, none).is_some());
        assert_eq!(decided(2, State::Failed, Some(Reason::BadInput), none), None, "would fail again");
        assert_eq!(decided(2, State::Failed, Some(Reason::Signal(9)), Tried { by_policy: 2, ..none }), None);
        assert_eq!(decided(2, State::Cancelled, None, none), None);
        assert_eq!(decided(2, State::Done, None, none), None);
    }

    #[test]
    fn checkpoints_and_cut_launches_need_no_policy_but_have_an_end() {
        let none = Tried::default();
        let request = decided(0, State::Failed, Some(Reason::Requeue), none).unwrap();
        assert_eq!(request.by, Requester::Requeue);
        let many = Tried { requeues: MOST_REQUEUES, recoveries: MOST_RECOVERIES, ..none };
        assert_eq!(decided(0, State::Failed, Some(Reason::Requeue), many), None);
        let request = decided(0, State::Lost, Some(Reason::LaunchCutShort), none).unwrap();
        assert_eq!(request.by, Requester::Recovery);
        assert_eq!(decided(0, State::Lost, Some(Reason::LaunchCutShort), many), None);
    }
}
