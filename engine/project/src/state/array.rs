//! The state of an array, from the ends of its elements.

use super::{Evidence, Reason, Seen, State, Status};
use crate::attempt::AttemptDir;
use crate::error::ProjectError;
use crate::records::Intent;
use crate::state::ElementEnd;
use std::collections::BTreeMap;

/// Reads the records that the elements of an array have left.
pub(super) fn read_ends(dir: &AttemptDir, intent: Option<&Intent>) -> Result<Vec<ElementEnd>, ProjectError> {
    let mut ends = Vec::new();
    let elements = intent.and_then(|intent| intent.elements.as_ref());
    for element in elements.into_iter().flat_map(|elements| elements.numbers.iter().copied()) {
        let exit = dir.element_exit(element)?.filter(|exit| intent.is_some_and(|i| i.uuid == exit.uuid));
        ends.extend(exit.map(|exit| ElementEnd { element, exit }));
    }
    Ok(ends)
}

impl Evidence {
    /// Elements that are still to be done after this attempt, in the order of their numbers.
    pub fn missing_elements(&self) -> Vec<u32> {
        let is_done =
            |element: &u32| self.element_ends.iter().any(|end| end.element == *element && end.exit.code == 0);
        let numbers = self.elements().map(|elements| elements.numbers.as_slice()).unwrap_or_default();
        numbers.iter().copied().filter(|element| !is_done(element)).collect()
    }

    /// The state of an array without the record of the task that collects: some of it is still out, or some of it
    /// failed, or nobody has collected.
    pub(super) fn array(&self, seen: &Seen, begun: State) -> Status {
        let all = self.elements().map_or(0, |elements| elements.numbers.len());
        let done = self.element_ends.iter().filter(|end| end.exit.code == 0).count();
        let so_far = format!("{done} of {all} elements done");
        let status = |state, note: String| Status { state, reason: None, attempt: self.attempt, note };
        let with = |why: &str| if why.is_empty() { so_far.clone() } else { format!("{so_far}; {why}") };
        if self.verdict.is_some() {
            return self.array_ended();
        }
        match seen {
            Seen::NotAsked => status(begun, so_far),
            Seen::Pending(why) if done == 0 && !self.claimed => status(State::Queued, why.clone()),
            Seen::Pending(why) => status(State::Running, with(why)),
            Seen::Running => status(State::Running, so_far),
            Seen::Unknown(why) | Seen::Awaited(why) => status(begun, with(why)),
            Seen::Stale(last, why) if **last == Seen::Gone => status(begun, with(why)),
            Seen::Stale(last, why) => Status { note: with(why), ..self.array(last, begun) },
            Seen::Gone | Seen::Ended(..) => self.array_ended(),
        }
    }

    /// No task of it is out any more.
    fn array_ended(&self) -> Status {
        let attempt = self.attempt;
        if self.cancel.is_some() {
            return self.ended_with(Reason::Cancelled, false);
        }
        let missing = self.missing_elements();
        if missing.is_empty() {
            let note = "all its elements are done; what they made is to be collected".into();
            return Status { state: State::Failed, reason: Some(Reason::Uncollected), attempt, note };
        }
        let told = self.verdict.as_ref().map_or_else(BTreeMap::new, |verdict| verdict.elements.clone());
        let reason_of = |element: &u32| {
            let exit = self.element_ends.iter().find(|end| end.element == *element).map(|end| &end.exit);
            let recorded = exit.map(Reason::of_exit);
            // the scheduler knows more about one that was killed
            match recorded {
                None | Some(Reason::Signal(_)) => told.get(element).cloned().or(recorded),
                recorded => recorded,
            }
        };
        let reasons: Vec<Option<Reason>> = missing.iter().map(reason_of).collect();
        let listed = missing.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let note = format!("{} of its elements did not end well: {listed}", missing.len());
        if reasons.contains(&Some(Reason::Cancelled)) {
            return Status { state: State::Cancelled, reason: None, attempt, note };
        }
        match reasons.into_iter().flatten().next() {
            Some(reason) => Status { state: State::Failed, reason: Some(reason), attempt, note },
            None => Status { state: State::Lost, reason: None, attempt, note },
        }
    }
}
