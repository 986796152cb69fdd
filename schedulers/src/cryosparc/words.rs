//! The words that schedulers have for states, as sites' own commands print them: of Slurm, Grid Engine, PBS and LSF.

use crate::scheduler::{EndReason, Ended, Queue};

/// What a word says; `reason` is why a job waits, in the scheduler's words. `None`: it is no word for a state.
pub fn queue_of(word: &str, reason: &str) -> Option<Queue> {
    // CANCELLED+, CANCELLED by 1001, and PBS's states of arrays
    let word = word.trim().trim_end_matches('+');
    let pending = || Queue::Pending(if reason.is_empty() { word.into() } else { reason.into() });
    let held = || Queue::Held(if reason.is_empty() { word.into() } else { reason.into() });
    let ended = |reason: EndReason| Queue::Ended(Ended { reason, words: word.into(), ..exited(None) });
    let queue = match word {
        // Slurm
        "PENDING" | "PD" if is_hold(reason) => held(),
        "PENDING" | "PD" | "CONFIGURING" | "CF" => pending(),
        "REQUEUE_HOLD" | "RH" | "RESV_DEL_HOLD" | "RD" | "SPECIAL_EXIT" | "SE" => held(),
        "RUNNING" | "COMPLETING" | "CG" | "SUSPENDED" | "STOPPED" | "ST" | "STAGE_OUT" | "SO"
        | "SIGNALING" | "SI" | "RESIZING" | "RS" => Queue::Running,
        "REQUEUED" | "RQ" | "REQUEUE_FED" | "RF" => Queue::Requeued,
        "COMPLETED" | "CD" => Queue::Ended(exited(Some(0))),
        "FAILED" => ended(EndReason::Exited),
        "CANCELLED" | "CA" => ended(EndReason::Cancelled),
        "TIMEOUT" | "TO" | "DEADLINE" | "DL" => ended(EndReason::TimeLimit),
        "OUT_OF_MEMORY" | "OOM" => ended(EndReason::OutOfMemory),
        "NODE_FAIL" | "NF" => ended(EndReason::NodeFailed),
        "PREEMPTED" | "PR" => ended(EndReason::Preempted),
        "BOOT_FAIL" | "BF" => ended(EndReason::LaunchFailed(word.into())),
        "REVOKED" | "RV" => ended(EndReason::Other(word.into())),
        // LSF
        "PEND" | "WAIT" => pending(),
        "PSUSP" => held(),
        "RUN" | "USUSP" | "SSUSP" => Queue::Running,
        "DONE" => Queue::Ended(exited(Some(0))),
        "EXIT" => ended(EndReason::Exited),
        // PBS: one letter. F is also Slurm's short word for failed: an end in both, of which nothing more is known
        "Q" | "W" | "T" => pending(),
        "H" => held(),
        "R" | "E" | "B" | "S" | "U" => Queue::Running,
        "C" | "F" | "X" => ended(EndReason::Exited),
        _ => return grid_engine(word, reason),
    };
    Some(queue)
}

/// Grid Engine's words are made of letters: `qw`, `hqw`, `Eqw`, `t`, `r`, `Rr`, `dr`, `s`, `S`, `dT`.
fn grid_engine(word: &str, reason: &str) -> Option<Queue> {
    let known = !word.is_empty() && word.len() <= 5 && word.chars().all(|c| "qwhEtrRdsSTz".contains(c));
    if !known {
        return None;
    }
    let said = || if reason.is_empty() { word.to_string() } else { format!("{word}: {reason}") };
    if word.contains('E') || word.starts_with('h') {
        return Some(Queue::Held(said()));
    }
    if word.ends_with("qw") {
        return Some(if word.starts_with('R') { Queue::Requeued } else { Queue::Pending(said()) });
    }
    let runs = ["r", "t", "Rr", "Rt", "dr", "dt", "s", "S", "ds", "dS", "dT", "dRr", "Rs", "RS", "RT"];
    runs.contains(&word).then_some(Queue::Running)
}

/// Slurm's reasons of jobs that wait for somebody.
fn is_hold(reason: &str) -> bool {
    ["JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "launch failed requeued held"]
        .iter()
        .any(|hold| reason.contains(hold))
}

fn exited(exit: Option<i32>) -> Ended {
    Ended { exit, signal: None, reason: EndReason::Exited, host: String::new(), words: String::new() }
}
