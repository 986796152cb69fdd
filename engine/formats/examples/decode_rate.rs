//! Decodes all frames of a movie, one after the other, each on so many threads, and prints wall seconds and pixels:
//! `cargo run --release -p vitreous-formats --example decode_rate -- movie.tif 2` (for `ci/bench decode`).
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program, not a library

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use vitreous_formats::{EerOptions, MovieOptions, open_movie};

/// Raw frames of an EER movie that are summed into a frame.
const FRAMES_PER_FRACTION: usize = 10;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [movie, threads] = arguments.as_slice() else {
        return Err("usage: decode_rate MOVIE THREADS".into());
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build()?;
    pool.install(|| {
        let started = Instant::now();
        let eer = EerOptions { upsampling: 1, frames_per_fraction: FRAMES_PER_FRACTION };
        let eer = if movie.ends_with(".eer") { eer } else { EerOptions::default() };
        let source = open_movie(Path::new(movie), &MovieOptions { eer })?;
        let header = source.header();
        let mut out = vec![0.0; header.frame_len()];
        (0..header.frames).try_for_each(|frame| source.read_frame_in_pool(frame, &mut out))?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{seconds} {}", header.frame_len() * header.frames);
        Ok(())
    })
}
