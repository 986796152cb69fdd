//! `vitreous logs`: what a job printed.

use crate::board::Board;
use crate::context::{Context, remark};
use crate::failure::{Failure, Outcome};
use serde_json::json;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vitreous_model::exit;
use vitreous_project::{JobNumber, Project};

pub const ABOUT: &str = "Show what a job printed";
pub const EXAMPLES: &str = "  vitreous logs J2\n  vitreous logs -f J2";

/// Time between two looks with `-f`.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: JobNumber,
    /// Go on until the job ends
    #[arg(short, long)]
    follow: bool,
    /// Which attempt [default: the newest]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Only so many lines from the end
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    let project = context.open_project()?;
    let job = project.job(args.job)?;
    let newest = job.latest_attempt()?.map(|attempt| attempt.number());
    let Some(number) = args.attempt.or(newest) else {
        return Err(Failure::input(format!("{} has not run yet", args.job))
            .hint(format!("`vitreous why {}` says what it waits for", args.job)));
    };
    let attempt = job.attempt(number);
    if !attempt.path().is_dir() {
        return Err(Failure::input(format!("{} has no attempt {number}", args.job)));
    }
    let mut streams: Vec<Stream> = files(attempt.path()).into_iter().map(Stream::new).collect();
    if context.screen.json {
        let mut text = |kind: &str| -> String {
            let of_kind = streams.iter_mut().filter(|stream| stream.is(kind));
            of_kind.map(|stream| stream.text(args.lines)).collect()
        };
        let (stdout, stderr) = (text("stdout"), text("stderr"));
        let result = json!({"job": args.job, "attempt": number, "stdout": stdout, "stderr": stderr});
        context.screen.result(&result, String::new)?;
        return Ok(exit::OK);
    }
    for stream in &mut streams {
        let text = stream.text(args.lines);
        context.screen.raw(text.as_bytes())?;
    }
    if args.follow {
        follow(context, &project, args.job, &mut streams)?;
    }
    Ok(exit::OK)
}

fn follow(context: &mut Context<'_>, project: &Project, job: JobNumber, streams: &mut [Stream]) -> Outcome {
    loop {
        // asked before the last reading, so that nothing said in between is missed
        let ended = Board::look(project, context.shell)?.get(job).is_none_or(|job| job.settled);
        for stream in &mut *streams {
            let bytes = stream.more();
            context.screen.raw(&bytes)?;
        }
        if ended {
            remark(format!("{job} has ended"));
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// What an attempt says: its standard output and error, and those of each element of an array.
fn files(attempt: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(attempt).into_iter().flatten().flatten();
    let element = |name: &str, kind: &str| name.strip_prefix(kind)?.strip_prefix('-')?.parse::<u32>().ok();
    let mut elements: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = element(&name, "stdout").or_else(|| element(&name, "stderr"))?;
            Some((number, entry.path()))
        })
        .collect();
    elements.sort();
    let whole = ["stdout", "stderr"].map(|name| attempt.join(name));
    whole.into_iter().chain(elements.into_iter().map(|(_, path)| path)).collect()
}

/// A growing file.
struct Stream {
    path: PathBuf,
    offset: u64,
}

impl Stream {
    fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// Whether it is of that kind, `stdout` or `stderr`.
    fn is(&self, kind: &str) -> bool {
        self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind))
    }

    /// What was added since the last call; nothing if the file is not there.
    fn more(&mut self) -> Vec<u8> {
        let bytes = read_from(&self.path, self.offset).unwrap_or_default();
        self.offset += bytes.len() as u64;
        bytes
    }

    fn text(&mut self, lines: Option<usize>) -> String {
        let text = String::from_utf8_lossy(&self.more()).into_owned();
        let Some(lines) = lines else { return text };
        let skip = text.lines().count().saturating_sub(lines);
        text.split_inclusive('\n').skip(skip).collect()
    }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
