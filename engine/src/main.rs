//! The engine: runs one job of a project on this machine, or on the ranks that an MPI launcher started.
//!
//! It reads the job's folder, writes what the stage of the job's type makes, and leaves with one of the exit codes of
//! `vitreous_model::exit`. What it says goes to `events.jsonl` and, readable, to stderr.

mod args;
mod check_ranks;
mod claim;
#[cfg(feature = "mpi")]
mod comm_mpi;
mod compare;
mod device;
mod failure;
mod grant;
mod granted_gpus;
mod node_copies;
mod probe;
mod ranks;
mod run;
mod signals;
mod speaker;
mod usage;
mod version;
mod world;

use args::{Args, Command};
use clap::Parser;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use vitreous_model::exit;

/// Images come and go by the thousand. The system's allocator gives each of them back to the kernel, which clears its
/// pages anew for the next one: a quarter of the CPU time of motion correction.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(clippy::disallowed_methods, reason = "a main is where environment and clock are read")]
fn main() {
    let args = Args::parse();
    let around = run::Surroundings {
        variable: &|name| std::env::var(name).ok(),
        command_line: std::env::args().collect(),
        unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
    };
    std::process::exit(match &args.command {
        Command::Run(args) => run::run(args, &around),
        Command::Version { json } => version(*json),
        Command::CompareMaps(args) => answer(compare::compare(args)),
        Command::CheckRanks { ranks } => check_ranks(*ranks, &around),
        Command::Probe(args) => probe(args, &around),
    });
}

/// Prints a command's answer. Who does not want to read it to its end, such as `head`, is no reason to fail.
fn print_line(answer: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{answer}");
}

/// Prints what a command found, or why it failed.
fn answer(found: anyhow::Result<serde_json::Value>) -> i32 {
    match found {
        Ok(found) => {
            print_line(found);
            exit::OK
        }
        Err(error) => {
            speaker::to_log(&format!("error: {error:#}"));
            exit::INPUT
        }
    }
}

/// Prints what a probe found, at rank 0.
fn probe(args: &args::ProbeArgs, around: &run::Surroundings<'_>) -> i32 {
    match probe::probe(args, around) {
        Ok(Some(found)) if !args.json => print_line(probe::text(&found)),
        Ok(Some(found)) => print_line(found),
        Ok(None) => {}
        Err(error) => {
            speaker::to_log(&format!("error: {error:#}"));
            return exit::JOB_FAILED;
        }
    }
    exit::OK
}

fn check_ranks(asked: Option<usize>, around: &run::Surroundings<'_>) -> i32 {
    let ranks = match ranks::Ranks::start(asked, around.variable) {
        Ok(ranks) => ranks,
        Err(failure) => {
            speaker::to_log(&failure.text());
            return failure.code;
        }
    };
    let found = check_ranks::check(ranks.comm(), vitreous_project::process::host());
    match found {
        Ok(_) if ranks.comm().rank() > 0 => exit::OK,
        Err(error) if ranks.comm().size() > 1 => {
            speaker::to_log(&format!("error: {error:#}"));
            ranks::Ranks::end_all(exit::INTERNAL)
        }
        found => answer(found),
    }
}

fn version(as_json: bool) -> i32 {
    if as_json {
        print_line(version::json());
    } else {
        print_line(version::text());
    }
    exit::OK
}
