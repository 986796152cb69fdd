//! The ranks of this run, and how they come to one verdict.

use crate::failure::Failure;
use crate::world;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use vitreous_compute::comm::{Comm, Solo};
use vitreous_model::exit;

/// How long a rank that failed waits for the others to come to the verdict before it ends them: they may be waiting
/// for it in a collective, where they would stay for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ranks of this run.
pub struct Ranks {
    comm: Box<dyn Comm>,
    /// Kept until the end of the program: dropping it finalises MPI.
    #[cfg(feature = "mpi")]
    _universe: Option<mpi::environment::Universe>,
}

impl Ranks {
    /// Joins the others that the launcher started, or runs alone.
    ///
    /// # Errors
    /// A number of ranks that is not what was asked for, or a launcher that this build cannot serve.
    pub fn start(asked: Option<usize>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let launched = world::launched(variable);
        let ranks = Self::join(launched.is_some() || asked.is_some_and(|n| n > 1))?;
        let checked = world::check(ranks.comm.size(), launched, asked, cfg!(feature = "mpi"));
        checked.map_err(|error| split_hint(exit::USAGE, &error)).map(|()| ranks)
    }

    #[cfg(feature = "mpi")]
    fn join(is_launched: bool) -> Result<Self, Failure> {
        if !is_launched {
            return Ok(Self { comm: Box::new(Solo), _universe: None });
        }
        let (universe, comm) =
            crate::comm_mpi::start().map_err(|error| split_hint(exit::INTERNAL, &error))?;
        Ok(Self { comm: Box::new(comm), _universe: Some(universe) })
    }

    #[cfg(not(feature = "mpi"))]
    fn join(_is_launched: bool) -> Result<Self, Failure> {
        Ok(Self { comm: Box::new(Solo) })
    }

    /// The communicator.
    pub fn comm(&self) -> &dyn Comm {
        &*self.comm
    }

    /// Ends every rank at once.
    pub fn end_all(code: i32) -> ! {
        #[cfg(feature = "mpi")]
        crate::comm_mpi::abort(code);
        #[cfg(not(feature = "mpi"))]
        std::process::exit(code)
    }
}

/// An error whose text may end in a `hint:` line.
fn split_hint(code: i32, error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
    Failure::new(code, message).hint(hint)
}

/// Brings the outcomes of all ranks together; every rank gets the same verdict. The first rank's own failure counts
/// before a request to stop, because ranks that stop only because another failed say `stopped`.
///
/// A failed rank calls `end_all` when the others have not come within `patience`.
///
/// # Errors
/// The verdict, if any rank did not succeed.
pub fn settle(
    comm: &dyn Comm,
    mine: Result<(), Failure>,
    patience: Duration,
    end_all: impl FnOnce(&Failure) + Send + 'static,
) -> Result<(), Failure> {
    if comm.size() == 1 {
        return mine;
    }
    let mine = mine.map_err(|failure| {
        let message = format!("rank {}: {}", comm.rank(), failure.message);
        if failure.is_requeue() { failure } else { Failure { message, ..failure } }
    });
    let watch = mine.as_ref().err().filter(|failure| !failure.is_requeue()).cloned();
    let watch = watch.map(|failure| Watch::start(patience, move || end_all(&failure)));
    let encoded = serde_json::to_vec(&mine.err()).unwrap_or_default();
    let failures: Vec<Failure> = comm
        .gather(&encoded)
        .iter()
        .filter_map(|bytes| serde_json::from_slice::<Option<Failure>>(bytes).ok().flatten())
        .collect();
    let gravest = failures.iter().find(|failure| !failure.is_requeue()).or(failures.first());
    let mut verdict = serde_json::to_vec(&gravest).unwrap_or_default();
    comm.broadcast(0, &mut verdict);
    drop(watch);
    match serde_json::from_slice::<Option<Failure>>(&verdict) {
        Ok(None) => Ok(()),
        Ok(Some(failure)) => Err(failure),
        Err(error) => {
            Err(Failure::new(exit::INTERNAL, format!("the ranks did not understand each other: {error}")))
        }
    }
}

/// [`settle`] with the usual patience.
///
/// # Errors
/// As [`settle`].
pub fn settle_or_end(
    comm: &dyn Comm,
    mine: Result<(), Failure>,
    last_words: impl FnOnce(&Failure) + Send + 'static,
) -> Result<(), Failure> {
    settle(comm, mine, PATIENCE, move |failure| {
        last_words(failure);
        Ranks::end_all(failure.code)
    })
}

/// Does something after a while unless it is dropped before.
struct Watch {
    disarm: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(patience: Duration, action: impl FnOnce() + Send + 'static) -> Self {
        let (disarm, disarmed) = channel();
        let thread = std::thread::spawn(move || {
            if disarmed.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                action();
            }
        });
        Self { disarm: Some(disarm), thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.disarm.take());
        if let Some(thread) = self.thread.take() {
            // it has nothing to return
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};
    use vitreous_compute::comm::Threads;

    fn verdicts(outcomes: &[Result<(), Failure>]) -> Vec<Result<(), Failure>> {
        Threads::run(outcomes.len(), |comm| {
            settle(comm, outcomes[comm.rank()].clone(), Duration::from_secs(60), |_| panic!("nobody is late"))
        })
    }

    #[test]
    fn every_rank_gets_the_gravest_outcome() {
        let stopped = Failure::new(exit::REQUEUE, "stopped");
        let broken = Failure::new(exit::INPUT, "a.mrc is broken");
        assert_eq!(verdicts(&[Ok(()), Ok(())]), [Ok(()), Ok(())]);
        assert_eq!(verdicts(&[Err(stopped.clone()), Ok(())]), [Err(stopped.clone()), Err(stopped.clone())]);
        let named = Failure { message: "rank 1: a.mrc is broken".into(), ..broken.clone() };
        assert_eq!(verdicts(&[Err(stopped), Err(broken)]), [Err(named.clone()), Err(named)]);
    }

    #[test]
    fn a_rank_that_failed_alone_ends_the_others() {
        let ended_with = Arc::new(AtomicI32::new(0));
        let outcome = std::panic::catch_unwind(|| {
            Threads::run(2, |comm| {
                let ended_with = Arc::clone(&ended_with);
                if comm.rank() == 0 {
                    // busy elsewhere, and never comes
                    while ended_with.load(Ordering::Relaxed) == 0 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    return;
                }
                let failure = Failure::new(exit::JOB_FAILED, "disk full");
                let _ = settle(comm, Err(failure), Duration::from_millis(20), move |failure| {
                    ended_with.store(failure.code, Ordering::Relaxed);
                });
            })
        });
        assert!(outcome.is_err(), "rank 1 was left alone in the collective");
        assert_eq!(ended_with.load(Ordering::Relaxed), exit::JOB_FAILED);
    }

    #[test]
    fn hints_are_told_from_messages() {
        let failure = split_hint(2, &anyhow::anyhow!("wrong\nhint: do it right"));
        assert_eq!((failure.message.as_str(), failure.hint.as_str()), ("wrong", "do it right"));
    }
}
