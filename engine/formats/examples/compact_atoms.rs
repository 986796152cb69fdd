//! Writes an atomic model in the compact form of `vitreous_formats::atomic_model::compact`, gzipped:
//! `cargo run --release -p vitreous-formats --example compact_atoms -- 1mnf.pdb.gz 1MNF.atoms.gz 0.05`
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program, not a library

use flate2::{Compression, GzBuilder};
use std::error::Error;
use std::path::Path;
use vitreous_formats::atomic_model::{self, compact};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, step] = arguments.as_slice() else {
        return Err("usage: compact_atoms MODEL OUTPUT.atoms.gz STEP_IN_ANGSTROM".into());
    };
    let model = atomic_model::read(Path::new(input))?;
    // no file name and no time in the header, so that the same model gives the same bytes
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    let atoms = compact::write(&mut encoder, &model, step.parse()?)?;
    let bytes = encoder.finish()?;
    std::fs::write(output, &bytes)?;
    println!("{output}: {atoms} atoms of {}, {} bytes", model.id, bytes.len());
    Ok(())
}
