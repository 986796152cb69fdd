//! Reading a particle file of RELION: grammar alone, and to particles.

#![allow(clippy::disallowed_methods)] // temporary files of a benchmark

use divan::Bencher;
use divan::counter::ItemsCount;
use std::fmt::Write;
use std::path::Path;
use vitreous_formats::star::StarFile;
use vitreous_formats::star::convert::{Fallback, read_particles};

const ROWS: usize = 200_000;

fn main() {
    divan::main();
}

fn text() -> String {
    let mut text = String::from(
        "data_optics\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n\
         _rlnImagePixelSize\n_rlnImageSize\n1 300 2.7 0.1 1.1 256\n\ndata_particles\nloop_\n_rlnCoordinateX\n\
         _rlnCoordinateY\n_rlnAutopickFigureOfMerit\n_rlnImageName\n_rlnMicrographName\n_rlnOpticsGroup\n_rlnDefocusU\n\
         _rlnDefocusV\n_rlnDefocusAngle\n_rlnCtfBfactor\n_rlnCtfScalefactor\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n\
         _rlnOriginXAngst\n_rlnOriginYAngst\n_rlnClassNumber\n_rlnNormCorrection\n_rlnRandomSubset\n\
         _rlnLogLikeliContribution\n",
    );
    for i in 0..ROWS {
        let (movie, image, x) = (i / 200, i % 200 + 1, i as f64 * 0.37 % 4000.0);
        writeln!(
            text,
            "{x:12.6} {x:12.6} {x:12.6} {image:06}@Extract/job012/movies/movie_{movie:05}.mrcs \
             MotionCorr/job002/movies/movie_{movie:05}.mrc 1 {x:12.6} {x:12.6} {x:12.6} 0.000000 1.000000 {x:12.6} \
             {x:12.6} {x:12.6} {x:12.6} {x:12.6} 1 0.987654 {} 1.234567e+05",
            i % 2 + 1
        )
        .expect("writing to a string should not fail");
    }
    text
}

#[divan::bench]
fn grammar(bencher: Bencher<'_, '_>) {
    let text = text();
    bencher
        .counter(ItemsCount::new(ROWS))
        .with_inputs(|| text.clone())
        .bench_values(|text| StarFile::parse(Path::new("bench.star"), text).map(|file| file.blocks().len()));
}

#[divan::bench]
fn particles(bencher: Bencher<'_, '_>) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file should be had");
    std::fs::write(file.path(), text()).expect("a temporary file should be writable");
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        read_particles(file.path(), &|path| path.to_string(), &Fallback::default())
            .map(|read| read.value.particles.len())
    });
}
