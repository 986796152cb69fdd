//! The engine's command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use vitreous_stages::Slice;

/// Runs one job of a Vitreous project on this machine or on the ranks of an MPI launcher.
///
/// Normally started by a submission script that `vitreous` wrote; by hand it is the same:
///
///   vitreous-engine run T20S/J0002-correct-motion
///
///   mpirun -n 4 vitreous-engine run T20S/J0002-correct-motion
#[derive(Debug, Parser)]
#[command(name = "vitreous-engine", version, verbatim_doc_comment)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the engine can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the job in a job folder, or goes on with it where it was
    Run(RunArgs),
    /// Prints version, features and what this build can use
    Version {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Lays one map onto another (rotation, shift, hand) and prints how well they agree, as JSON
    CompareMaps(CompareArgs),
    /// Tries the ranks that the launcher started and prints who took part, as JSON
    CheckRanks {
        /// Ranks that were asked for; another number of them is an error
        #[arg(long, value_name = "N", env = "VITREOUS_RANKS")]
        ranks: Option<usize>,
    },
    /// Looks round where the scheduler has put this job, and prints what was granted and what can be seen
    Probe(ProbeArgs),
}

/// Arguments of `probe`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProbeArgs {
    /// As one JSON object on one line
    #[arg(long)]
    pub json: bool,
    /// Write the JSON object here, too; the file appears whole
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A file or folder that jobs need: is it there, can it be read and written? May be given several times
    #[arg(long, value_name = "P")]
    pub path: Vec<PathBuf>,
    /// Scratch folder of the lane: a file is made in it and removed
    #[arg(long, value_name = "FOLDER", env = "VITREOUS_SCRATCH")]
    pub scratch: Option<PathBuf>,
    /// Threads of each rank that the submission asked for
    #[arg(long, value_name = "N", env = "VITREOUS_THREADS")]
    pub threads: Option<usize>,
    /// Ranks that the submission asked for; another number of them is a problem to report
    #[arg(long, value_name = "N", env = "VITREOUS_RANKS")]
    pub ranks: Option<usize>,
}

/// Arguments of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The job's folder, e.g. J0002-correct-motion
    #[arg(value_name = "JOBDIR")]
    pub job: PathBuf,
    /// Number of the attempt; its folder holds events, exit record and logs [default: the newest]
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Threads of each rank; never more than the scheduler granted [default: all that were granted]
    #[arg(long, value_name = "N", env = "VITREOUS_THREADS")]
    pub threads: Option<usize>,
    /// Processor to compute on; auto takes a GPU if one was granted and works
    #[arg(long, value_enum, default_value_t, env = "VITREOUS_DEVICE")]
    pub device: DeviceChoice,
    /// Ranks that the submission asked for; another number of them is an error
    #[arg(long, value_name = "N", env = "VITREOUS_RANKS")]
    pub ranks: Option<usize>,
    /// Do only every M-th item from item E on, as one element of an array job; a run without it collects the results
    #[arg(long, value_name = "E/M", env = "VITREOUS_SLICE")]
    pub slice: Option<Slice>,
}

/// Processors that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DeviceChoice {
    /// A GPU if there is one for us, else the CPU
    #[default]
    Auto,
    /// The CPU
    Cpu,
    /// A GPU, or an error
    Cuda,
}

/// Arguments of `compare-maps`.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// The map to be judged (MRC)
    pub map: PathBuf,
    /// The map it is held against (MRC); may have another box and pixel size
    pub reference: PathBuf,
    /// Take the maps as they lie: no search for rotation and hand
    #[arg(long)]
    pub aligned: bool,
    /// Diameter of the spherical mask of both maps, Å [default: 0.9 of the reference's box]
    #[arg(long, value_name = "Å")]
    pub mask_diameter: Option<f64>,
    /// Mask of both maps in the reference's box, in place of the sphere (MRC)
    #[arg(long, value_name = "FILE", conflicts_with = "mask_diameter")]
    pub mask: Option<PathBuf>,
    /// Write the aligned map here
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
