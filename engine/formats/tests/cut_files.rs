//! A file of any format, cut off at any place, is an error that names the file; with bits flipped it is an error that
//! names the file, or frames.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // temporary files of a test

mod eer_writer;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{Cursor, Write};
use std::path::Path;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};
use vitreous_formats::{FormatError, open_image};

const WIDTH: usize = 42;
const HEIGHT: usize = 30;
const FRAMES: usize = 3;
/// Lengths that each file is cut to.
const CUTS: usize = 64;

fn frames() -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    (0..FRAMES).map(|_| (0..WIDTH * HEIGHT).map(|_| f32::from(rng.random_range(0..16u8))).collect()).collect()
}

fn mrc(sample: SampleType) -> Vec<u8> {
    let spec = MrcSpec::images(WIDTH, HEIGHT, 1.0).sample(sample);
    let mut writer = MrcWriter::new(Cursor::new(Vec::new()), Path::new("seed.mrc"), spec).unwrap();
    frames().iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap().into_inner()
}

fn bz2(plain: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn tiff(sample: SampleType, compression: Compression, big: bool) -> Vec<u8> {
    let spec = TiffSpec { big, ..TiffSpec::movie(WIDTH, HEIGHT, FRAMES, sample, 1.0) };
    let spec = spec.compression(compression);
    let mut writer = TiffWriter::new(Cursor::new(Vec::new()), Path::new("seed.tif"), spec).unwrap();
    frames().iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap().into_inner()
}

fn eer(code: eer_writer::Code) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let symbol_bits = code.x_bits() + code.y_bits();
    let frames: Vec<_> = (0..2).map(|_| eer_writer::hits(&mut rng, 2048, 300, symbol_bits)).collect();
    eer_writer::file(code, &frames, 2048)
}

/// Name, extension, content.
fn seeds() -> Vec<(String, &'static str, Vec<u8>)> {
    use SampleType::{Float16, Float32, Int8, Int16, Uint4, Uint8, Uint16};
    let mut seeds = Vec::new();
    for sample in [Int8, Int16, Float32, Uint16, Float16, Uint4] {
        seeds.push((format!("MRC {}", sample.name()), "mrc", mrc(sample)));
    }
    seeds.push(("MRC in bzip2".into(), "mrc.bz2", bz2(&mrc(Int16))));
    for compression in [Compression::None, Compression::Lzw, Compression::Deflate, Compression::Zstd] {
        seeds.push((format!("TIFF {compression:?}"), "tif", tiff(Uint8, compression, false)));
        seeds.push((format!("BigTIFF {compression:?}"), "tif", tiff(Float32, compression, true)));
    }
    for code in
        [eer_writer::Code::Word12, eer_writer::Code::Run7, eer_writer::Code::Tagged { run: 7, x: 1, y: 1 }]
    {
        seeds.push((format!("EER {code:?}"), "eer", eer(code)));
    }
    seeds
}

fn read_all(path: &Path) -> Result<(), FormatError> {
    let source = open_image(path)?;
    let mut out = vec![0.0; source.header().frame_len()];
    (0..source.header().frames).try_for_each(|frame| source.read_frame_in_pool(frame, &mut out))
}

#[test]
fn a_file_cut_anywhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, ext, bytes) in seeds() {
        let path = folder.path().join(format!("cut.{ext}"));
        std::fs::write(&path, &bytes).unwrap();
        read_all(&path).unwrap_or_else(|e| panic!("{name} whole: {e}"));
        let cuts = (0..CUTS).map(|i| i * bytes.len() / CUTS);
        for length in cuts.chain([3, 7, 12, bytes.len() - 2, bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let Err(error) = read_all(&path) else {
                panic!("{name} cut to {length} of {} is read", bytes.len())
            };
            let message = error.to_string();
            assert!(
                message.contains(&format!("cut.{ext}")) && message.len() > 40,
                "{name}, {length}: {message}"
            );
        }
    }
}

#[test]
fn flipped_bits_are_an_error_that_names_the_file_or_values() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for (name, ext, bytes) in seeds() {
        let path = folder.path().join(format!("flipped.{ext}"));
        for _ in 0..CUTS {
            let mut harmed = bytes.clone();
            // half of them where headers are
            let reach = if rng.random_bool(0.5) { harmed.len().min(300) } else { harmed.len() };
            let place = rng.random_range(0..reach);
            harmed[place] ^= 1 << rng.random_range(0..8);
            std::fs::write(&path, &harmed).unwrap();
            if let Err(error) = read_all(&path) {
                refused += 1;
                assert!(
                    error.to_string().contains(&format!("flipped.{ext}")),
                    "{name}, byte {place}: {error}"
                );
            }
        }
    }
    assert!(refused > 100, "{refused} refused");
}
