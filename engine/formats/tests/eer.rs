//! EER movies written here word by word, electrons known, are read as written; imagecodecs (PyPI) finds the same.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)] // runs the other program

mod eer_writer;

use eer_writer::{Code, Hit, container, encode, file, hits};
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};
use std::process::Command;
use vitreous_formats::{EerOptions, FormatError, MovieOptions, open_image, open_movie};

fn options(upsampling: u32, frames_per_fraction: usize) -> MovieOptions {
    MovieOptions { eer: EerOptions { upsampling, frames_per_fraction } }
}

fn written(code: Code, frames: &[Vec<Hit>], edge: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("movie.eer");
    std::fs::write(&path, file(code, frames, edge)).unwrap();
    (folder, path)
}

fn some_frames(count: usize, edge: usize, symbol_bits: u32) -> Vec<Vec<Hit>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut frames: Vec<Vec<Hit>> =
        (0..count).map(|f| hits(&mut rng, edge, 10 + 997 * f, symbol_bits)).collect();
    // the corners of the sensor, and a frame without electrons
    let last = (edge * edge - 1) as u32;
    frames[0].retain(|hit| hit.pixel != 0 && hit.pixel != last);
    frames[0].insert(0, Hit { pixel: 0, symbol: 0 });
    frames[0].push(Hit { pixel: last, symbol: rng.random_range(0..1 << symbol_bits) });
    if count > 2 {
        frames[2].clear();
    }
    frames
}

/// The sum of frames as the format says, slowly.
fn sum(code: Code, frames: &[Vec<Hit>], edge: usize, upsampling: usize) -> Vec<f32> {
    let mut out = vec![0.0; (edge * upsampling).pow(2)];
    for hit in frames.iter().flatten() {
        let (sx, sy) = (hit.symbol as usize % (1 << code.x_bits()), hit.symbol as usize >> code.x_bits());
        let x = (hit.pixel as usize % edge) * upsampling + sx * upsampling / (1 << code.x_bits());
        let y = (hit.pixel as usize / edge) * upsampling + sy * upsampling / (1 << code.y_bits());
        out[y * edge * upsampling + x] += 1.0;
    }
    out
}

#[test]
fn electrons_come_back_for_every_code_upsampling_and_grouping() {
    let tagged = [(7, 2, 2), (7, 1, 1), (8, 4, 3), (16, 2, 2), (3, 2, 2)];
    let tagged = tagged.map(|(run, x, y)| Code::Tagged { run, x, y });
    for code in [Code::Word12, Code::Run7].into_iter().chain(tagged) {
        let frames = some_frames(5, 2048, code.x_bits() + code.y_bits());
        let (_folder, path) = written(code, &frames, 2048);
        for (upsampling, frames_per_fraction) in [(1, 2), (2, 5)] {
            let source = open_movie(&path, &options(upsampling, frames_per_fraction)).unwrap();
            let header = source.header();
            let edge = 2048 * upsampling as usize;
            let expected = (edge, edge, 5 / frames_per_fraction);
            assert_eq!((header.width, header.height, header.frames), expected);
            assert_eq!(source.dropped_raw_frames(), 5 % frames_per_fraction);
            let mut out = vec![-1.0; header.frame_len()];
            for (f, group) in frames.chunks_exact(frames_per_fraction).enumerate() {
                let expected = sum(code, group, 2048, upsampling as usize);
                source.read_frame_at(f, &mut out).unwrap();
                assert!(out == expected, "{code:?} × {upsampling}, frame {f}");
                out.fill(-1.0);
                source.read_frame_in_pool(f, &mut out).unwrap();
                assert!(out == expected, "{code:?} × {upsampling}, frame {f}, in the pool");
            }
        }
    }
}

#[test]
fn sixteen_thousand_pixels_an_edge() {
    let frames = some_frames(1, 4096, 4);
    let (_folder, path) = written(Code::Run7, &frames, 4096);
    let source = open_movie(&path, &options(4, 1)).unwrap();
    assert_eq!(source.header().width, 16384);
    let mut out = vec![0.0; source.header().frame_len()];
    source.read_frame_in_pool(0, &mut out).unwrap();
    assert!(out == sum(Code::Run7, &frames, 4096, 4));
}

#[test]
fn options_that_the_file_cannot_serve_are_refused() {
    let frames = some_frames(3, 2048, 2);
    let (_folder, path) = written(Code::Tagged { run: 7, x: 1, y: 1 }, &frames, 2048);
    for (upsampling, frames_per_fraction, word) in
        [(3, 1, "1 or 2"), (4, 1, "1 or 2"), (0, 1, "1 or 2"), (1, 0, "1 to 3"), (1, 4, "1 to 3")]
    {
        let error = open_movie(&path, &options(upsampling, frames_per_fraction)).err().unwrap();
        assert!(matches!(error, FormatError::Option { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn corrupt_raw_frames_are_named() {
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    // the last run is as long as a run that is not full can be
    let too_long = |bytes: &mut Vec<u8>| {
        bytes.truncate(bytes.len() - 4);
        bytes.extend([0xff; 12]);
    };
    for (name, harm) in [("cut", &cut as &dyn Fn(&mut Vec<u8>)), ("too long", &too_long)] {
        let frames = some_frames(3, 2048, 4);
        let mut raws: Vec<Vec<u8>> = frames.iter().map(|hits| encode(Code::Run7, hits, 2048)).collect();
        harm(&mut raws[1]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harmed.eer");
        std::fs::write(&path, container(Code::Run7, &raws, 2048)).unwrap();
        let source = open_image(&path).unwrap();
        let mut out = vec![0.0; source.header().frame_len()];
        source.read_frame_at(0, &mut out).unwrap();
        source.read_frame_at(2, &mut out).unwrap();
        for error in [source.read_frame_at(1, &mut out), source.read_frame_in_pool(1, &mut out)] {
            let error = error.unwrap_err();
            let FormatError::Corrupt { page: 1, offset, .. } = error else { panic!("{name}: {error}") };
            let start = 8 + raws[0].len() as u64;
            assert!((start..=start + raws[1].len() as u64).contains(&offset), "{name}: {error}");
            assert!(error.to_string().contains("harmed.eer"), "{error}");
        }
    }
}

/// Sums of every raw frame weighted by place, as imagecodecs decodes them, for upsampling 1, 2 and 4.
const SCRIPT: &str = "
import sys, struct
import numpy as np, imagecodecs
raw, run, x, y = open(sys.argv[1], 'rb').read(), *map(int, sys.argv[2:5])
for superres in range(int(sys.argv[5])):
    edge = 2048 << superres
    image = imagecodecs.eer_decode(raw, (edge, edge), run, x, y, superres=superres)
    image.astype('<f4').tofile(sys.argv[1] + f'.{superres}')
";

#[test]
fn imagecodecs_finds_the_same_frames() {
    let has =
        Command::new("python3").args(["-c", "import numpy, imagecodecs; imagecodecs.eer_decode"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no imagecodecs with an EER decoder");
        return;
    }
    let tagged = [(7, 2, 2), (8, 2, 2), (7, 1, 1)].map(|(run, x, y)| Code::Tagged { run, x, y });
    for code in [Code::Run7].into_iter().chain(tagged) {
        let frames = some_frames(2, 2048, code.x_bits() + code.y_bits());
        // the finest grid is large: once is enough
        let grids = if matches!(code, Code::Run7) { 3 } else { 2 };
        let (folder, path) = written(code, &frames, 2048);
        for (f, hits) in frames.iter().enumerate() {
            let raw = folder.path().join(format!("raw{f}"));
            std::fs::write(&raw, encode(code, hits, 2048)).unwrap();
            let numbers =
                [code.run_bits(), code.x_bits(), code.y_bits(), grids as u32].map(|n| n.to_string());
            let output =
                Command::new("python3").args(["-c", SCRIPT]).arg(&raw).args(numbers).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            for (superres, upsampling) in [1, 2, 4].into_iter().enumerate().take(grids) {
                let source = open_movie(&path, &options(upsampling, 1)).unwrap();
                let mut out = vec![0.0; source.header().frame_len()];
                source.read_frame_in_pool(f, &mut out).unwrap();
                let theirs = floats(&folder.path().join(format!("raw{f}.{superres}")));
                let different = out.iter().zip(&theirs).filter(|(a, b)| a != b).count();
                assert_eq!(
                    (out.len(), different),
                    (theirs.len(), 0),
                    "{code:?} × {upsampling}, raw frame {f}"
                );
            }
        }
    }
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}
