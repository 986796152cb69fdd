//! Reads particles of a STAR file or a CryoSPARC dataset into our table's form and prints how many there are:
//! `cargo run --release -p vitreous-formats --example read_rate -- particles.star` (for `ci/bench exchange`).
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program, not a library

use std::error::Error;
use std::path::Path;
use vitreous_formats::cryosparc::Dataset;
use vitreous_formats::cryosparc::convert::{ImportOptions, particles_of};
use vitreous_formats::star::convert::{Fallback, read_particles};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = arguments.as_slice() else {
        return Err("usage: read_rate FILE".into());
    };
    let path = Path::new(file);
    let imported = if file.ends_with(".cs") {
        let dataset = Dataset::read(path)?;
        let resolve = |path: vitreous_formats::cryosparc::CsPath<'_>| path.path.to_string();
        let options =
            ImportOptions { resolve: &resolve, fallback: Fallback::default(), mirrored: Some(false) };
        particles_of(&dataset, &options)?
    } else {
        read_particles(path, &|path| path.to_string(), &Fallback::default())?
    };
    println!("{}", imported.value.particles.len());
    Ok(())
}
