//! The login-node command line of Vitreous. It starts in milliseconds and needs neither MPI nor CUDA nor HDF5.
//!
//! [`commands`] holds one file per command; the modules beside it are what several commands share: looking at all jobs
//! ([`board`]), moving them on ([`pass`]), launching one ([`plan`], [`launch`]), making one ([`make`]), staying with
//! one ([`follow`]), the page of a collection ([`collection`]). Processes are started in [`shell`] and nowhere else.

pub mod app;
pub mod board;
pub mod collection;
pub mod commands;
pub mod context;
pub mod failure;
pub mod follow;
pub mod growth;
pub mod inputs;
pub mod lanes;
pub mod launch;
pub mod make;
pub mod pass;
pub mod pipeline;
pub mod place;
pub mod plan;
pub mod queue;
pub mod reasons;
pub mod shell;
pub mod tell;
pub mod usage;
pub mod verdict;

use std::ffi::OsString;
use std::io::Write;
use vitreous_model::exit;

/// Runs a command line and returns its exit code. Results go to `out`, remarks and errors to standard error.
pub fn run(args: Vec<OsString>, shell: &dyn shell::Shell, out: &mut dyn Write) -> i32 {
    let matches = match app::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // help and version are results and go to standard output
            let is_error = error.use_stderr();
            if error.print().is_err() || !is_error {
                return exit::OK;
            }
            return exit::USAGE;
        }
    };
    let outcome = context::Context::of_this_process(shell, out)
        .and_then(|mut context| app::dispatch(&mut context, &matches));
    match outcome {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => exit::OK,
        Err(failure) => {
            context::remark(failure.text().trim_end());
            failure.code
        }
    }
}
