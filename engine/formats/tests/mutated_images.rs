//! Valid files with bytes changed, cut off or repeated at random (seeded): readers answer with values or an error, never
//! with a panic, and never ask for more memory than the file can fill. The folder `fuzz/` does the same without end.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // temporary files of a test

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Cursor;
use std::path::Path;
use vitreous_formats::mrc::{MrcSpec, MrcWriter, read_volume};
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};

const CASES_PER_FILE: usize = 200;
const SIZE: usize = 24;
/// No stream of ours gives more than this times its length (zstd), and a byte may become two pixels.
const LARGEST_RATIO: u64 = 2 << 15;

fn frames(sample: SampleType) -> Vec<Vec<f32>> {
    let top = sample.range().1.min(1000.0);
    (0..3).map(|f| (0..SIZE * SIZE).map(|i| ((i * 31 + f) as f32) % top).collect()).collect()
}

fn mrc(sample: SampleType) -> Vec<u8> {
    let spec = MrcSpec::images(SIZE, SIZE, 1.0).sample(sample);
    let mut writer = MrcWriter::new(Cursor::new(Vec::new()), Path::new("seed.mrc"), spec).unwrap();
    frames(sample).iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap().into_inner()
}

fn tiff(sample: SampleType, compression: Compression, predictor: bool, big: bool) -> Vec<u8> {
    let spec =
        TiffSpec { predictor, big, ..TiffSpec::movie(SIZE, SIZE, 3, sample, 1.0).compression(compression) };
    let mut writer = TiffWriter::new(Cursor::new(Vec::new()), Path::new("seed.tif"), spec).unwrap();
    frames(sample).iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap().into_inner()
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    const TELLING: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    for _ in 0..rng.random_range(1..6) {
        let place = rng.random_range(0..bytes.len());
        match rng.random_range(0..10) {
            0 => bytes.truncate(place.max(1)),
            1 => bytes.extend_from_within(place..),
            2..=4 => bytes[place] = TELLING[rng.random_range(0..TELLING.len())],
            5 => {
                let end = (place + 4).min(bytes.len());
                bytes[place..end].fill(0xff);
            }
            6..=7 => bytes[place] ^= 1 << rng.random_range(0..8),
            _ => bytes[place] = rng.next_u32() as u8,
        }
    }
}

/// Reads all there is; whether that went well.
fn read(path: &Path, length: u64) -> bool {
    let Ok(source) = open_image(path) else { return false };
    let header = source.header();
    assert!(header.frame_len() as u64 <= LARGEST_RATIO * length, "{header:?} in {length} bytes");
    let mut out = vec![0.0; header.frame_len()];
    let plain = (0..header.frames.min(8)).all(|frame| source.read_frame_at(frame, &mut out).is_ok());
    let pooled = (0..header.frames.min(8)).all(|frame| source.read_frame_in_pool(frame, &mut out).is_ok());
    assert_eq!(plain, pooled);
    plain
}

#[test]
fn mutated_files_never_panic() {
    // an allocation beyond this address space aborts the test
    let limit = rustix::process::Rlimit { current: Some(4 << 30), maximum: Some(4 << 30) };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    let mut seeds: Vec<(&str, Vec<u8>)> = Vec::new();
    for sample in [SampleType::Int8, SampleType::Uint16, SampleType::Float16, SampleType::Float32] {
        seeds.push(("mrc", mrc(sample)));
    }
    for compression in [Compression::None, Compression::Lzw, Compression::Deflate, Compression::Zstd] {
        seeds.push(("tif", tiff(SampleType::Uint8, compression, false, false)));
        seeds.push(("tif", tiff(SampleType::Uint16, compression, true, true)));
        seeds.push(("tif", tiff(SampleType::Float32, compression, false, true)));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let folder = tempfile::tempdir().unwrap();
    let (mut read_well, mut refused) = (0, 0);
    for (ext, seed) in seeds {
        let path = folder.path().join(format!("case.{ext}"));
        for _ in 0..CASES_PER_FILE {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut rng);
            std::fs::write(&path, &bytes).unwrap();
            if read(&path, bytes.len() as u64) {
                read_well += 1
            } else {
                refused += 1
            }
            let _ = read_volume(&path); // must not panic either
        }
    }
    assert!(read_well > 200 && refused > 200, "both ways are taken: {read_well} read, {refused} refused");
}
