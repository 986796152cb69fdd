//! Signals that ask for a stop: the stage checkpoints and the engine leaves with the requeue code.

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first signal, read by stages between items.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Whether a stop was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A flag that the first of the schedulers' warning signals sets: SIGTERM, SIGINT, SIGUSR1 (Slurm `--signal`,
    /// Grid Engine suspends), SIGUSR2 (Grid Engine kill) and SIGXCPU (CPU limit). A second SIGTERM or SIGINT ends the
    /// process at once, without a checkpoint.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn on_signals() -> std::io::Result<Self> {
        let flag = Self::default();
        for signal in [SIGTERM, SIGINT] {
            // order matters: the second signal must find the flag that the first one set
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag.0))?;
        }
        for signal in [SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU] {
            signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
        }
        Ok(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_signal_sets_the_flag_and_nothing_else() {
        let flag = StopFlag::on_signals().expect("handlers should be accepted");
        assert!(!flag.is_set());
        signal_hook::low_level::raise(SIGUSR1).expect("raise should work");
        assert!(flag.is_set());
    }
}
