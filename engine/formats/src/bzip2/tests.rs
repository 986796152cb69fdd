#![allow(clippy::disallowed_methods)] // temporary files of a test

use super::blocks::{self, Mark, MarkKind};
use super::stream::{Bzip2Stream, Threads};
use super::*;
use crate::mrc::{MrcSpec, MrcWriter};
use crate::open_image;
use crate::samples::SampleType;
use ::bzip2::write::BzEncoder;
use rand::{Rng, RngExt, SeedableRng};
use std::io::Write;
use std::path::PathBuf;

const WIDTH: usize = 301;
const HEIGHT: usize = 203;
const FRAMES: usize = 9;

fn compressed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), ::bzip2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Counts of one electron a pixel or so.
fn frames() -> Vec<Vec<f32>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let count = |rng: &mut rand_chacha::ChaCha8Rng| rng.random_range(0..4u8).saturating_sub(1);
    (0..FRAMES).map(|_| (0..WIDTH * HEIGHT).map(|_| f32::from(count(&mut rng))).collect()).collect()
}

fn mrc(frames: &[Vec<f32>]) -> Vec<u8> {
    let spec = MrcSpec::images(WIDTH, HEIGHT, 1.0).sample(SampleType::Int16);
    let mut writer = MrcWriter::new(std::io::Cursor::new(Vec::new()), Path::new("movie.mrc"), spec).unwrap();
    frames.iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap().into_inner()
}

fn saved(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("movie.mrc.bz2");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn frames_come_back_in_any_order_from_one_or_many_streams() {
    let frames = frames();
    let plain = mrc(&frames);
    let parts: Vec<u8> = plain.chunks(130_000).flat_map(|part| compressed(part, 1)).collect();
    let with_garbage = [compressed(&plain, 2), b"trailing".to_vec()].concat();
    let empty_stream =
        [compressed(&plain[..5000], 1), compressed(b"", 9), compressed(&plain[5000..], 9)].concat();
    for bytes in [compressed(&plain, 1), compressed(&plain, 9), parts, with_garbage, empty_stream] {
        let (_folder, path) = saved(&bytes);
        let source = open_image(&path).unwrap();
        let header = source.header();
        assert_eq!((header.width, header.height, header.frames), (WIDTH, HEIGHT, FRAMES));
        let mut out = vec![0.0; header.frame_len()];
        for f in [3, 0, 8, 7, 1, 2, 3, 4, 5, 6] {
            source.read_frame_at(f, &mut out).unwrap_or_else(|e| panic!("{e}"));
            assert!(out == frames[f], "frame {f}");
        }
        let source = open_image(&path).unwrap();
        for f in [0, 1, 2, 8, 4] {
            source.read_frame_in_pool(f, &mut out).unwrap_or_else(|e| panic!("{e}"));
            assert!(out == frames[f], "frame {f}, in the pool");
        }
    }
}

#[test]
fn threads_of_a_pool_may_read_at_once() {
    use rayon::prelude::*;
    let frames = frames();
    let (_folder, path) = saved(&compressed(&mrc(&frames), 1));
    let source = open_image(&path).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    pool.install(|| {
        (0..3 * FRAMES).into_par_iter().for_each(|i| {
            let mut out = vec![0.0; WIDTH * HEIGHT];
            let f = i % FRAMES;
            if i % 2 == 0 {
                source.read_frame_in_pool(f, &mut out).unwrap();
            } else {
                source.read_frame_at(f, &mut out).unwrap();
            }
            assert!(out == frames[f], "frame {f}");
        });
    });
}

#[test]
fn marks_are_found_at_every_bit() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for (mark, kind) in [(0x3141_5926_5359u64, MarkKind::Block), (0x1772_4538_5090, MarkKind::End)] {
        for bit in 0..40u64 {
            let mut bytes = vec![0; 20];
            rng.fill_bytes(&mut bytes);
            for i in 0..48 {
                let at = (bit + i) as usize;
                let set = (mark >> (47 - i) & 1) as u8;
                bytes[at / 8] = bytes[at / 8] & !(0x80 >> (at % 8)) | set << (7 - at % 8);
            }
            let mut found = Vec::new();
            blocks::find_marks(&bytes, 100, &mut found);
            assert_eq!(found, [Mark { bit: 800 + bit, kind }]);
        }
    }
}

#[test]
fn marks_that_chance_put_into_a_block_do_no_harm() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let plain: Vec<u8> = (0..950_000).map(|_| rng.random_range(0..9)).collect();
    let (_folder, path) = saved(&compressed(&plain, 1));
    for (at, kind) in [(0, MarkKind::Block), (1, MarkKind::End), (5, MarkKind::Block), (9, MarkKind::End)] {
        for threads in [Threads::Caller, Threads::Pool] {
            let stream = Bzip2Stream::open(&path).unwrap();
            let mut marks = stream.marks().unwrap().to_vec();
            assert!(marks.len() >= 10, "{} marks", marks.len());
            let (from, to) = (marks[at].bit, marks.get(at + 1).map_or(marks[at].bit, |mark| mark.bit));
            if from == to {
                continue;
            }
            let middle = from + (to - from) / 2;
            marks.insert(at + 1, Mark { bit: middle, kind });
            marks.insert(at + 2, Mark { bit: middle + 123, kind: MarkKind::Block });
            stream.set_marks(marks);
            let mut out = vec![0; plain.len()];
            stream.read(0, &mut out, "all of it", threads).unwrap_or_else(|e| panic!("{e}"));
            assert!(out == plain, "after mark {at}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let frames = frames();
    let plain = mrc(&frames);
    let packed = compressed(&plain, 1);
    let mut out = vec![0.0; WIDTH * HEIGHT];

    let (_folder, path) = saved(&packed[..packed.len() - 1]);
    assert!(matches!(open_image(&path).err().unwrap(), FormatError::Truncated { .. }));

    let mut harmed = packed.clone();
    harmed[packed.len() / 2] ^= 4;
    let (_folder, path) = saved(&harmed);
    let source = open_image(&path).unwrap();
    let errors: Vec<FormatError> =
        (0..FRAMES).filter_map(|f| source.read_frame_in_pool(f, &mut out).err()).collect();
    assert!(!errors.is_empty());
    for error in errors {
        let FormatError::CorruptBlock { offset, .. } = error else { panic!("{error}") };
        assert!((packed.len() as u64 / 2).abs_diff(offset) < 200_000, "{offset} of {}", packed.len());
    }

    let (_folder, path) = saved(&compressed(&plain[..plain.len() / 2], 1));
    let source = open_image(&path).unwrap();
    source.read_frame_at(0, &mut out).unwrap();
    let error = source.read_frame_at(FRAMES - 1, &mut out).unwrap_err();
    assert!(
        matches!(error, FormatError::Truncated { .. }) && error.to_string().contains("frame 8"),
        "{error}"
    );

    let mut vast = plain[..1024].to_vec();
    vast[0..12].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0]);
    let (_folder, path) = saved(&compressed(&vast, 1));
    assert!(matches!(open_image(&path).err().unwrap(), FormatError::Field { .. }));

    let (_folder, path) = saved(&compressed(&[b'x'; 5000], 1));
    assert!(matches!(open_image(&path).err().unwrap(), FormatError::Field { .. }));
}

#[test]
fn blocks_of_the_first_bzip2_are_decoded_dressed_as_streams() {
    // the bit after the checksum says that bits were turned: libbz2 then turns those of this short text back
    let text = b"no bit of so short a text is turned: the first is the 619th".repeat(3);
    let mut packed = compressed(&text, 1);
    packed[14] |= 0x80;
    let stream_bits = 8 * packed.len() as u64;
    // the end's mark and checksum, and what fills the last byte
    let ends: Vec<u64> = (0..8).map(|filled| stream_bits - 80 - filled).collect();
    let found: Vec<Vec<u8>> = ends
        .iter()
        .filter_map(|&end| blocks::read(&packed, 32, end).ok())
        .flat_map(|block| blocks::texts(vec![block]))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(found, [text]);
}

#[test]
fn frames_before_a_corrupt_block_are_read() {
    let frames = frames();
    let plain = mrc(&frames);
    let mut packed = compressed(&plain, 1);
    let (_folder, path) = saved(&packed);
    let marks = Bzip2Stream::open(&path).unwrap().marks().unwrap();
    // in the middle of the third block, of some 100,000 bytes and more, as runs count little
    let middle = (marks[2].bit + marks[3].bit) / 16;
    packed[middle as usize] ^= 0x10;
    let (_folder, path) = saved(&packed);
    for in_pool in [false, true] {
        let source = open_image(&path).unwrap();
        let mut out = vec![0.0; WIDTH * HEIGHT];
        let mut read = |f| match in_pool {
            true => source.read_frame_in_pool(f, &mut out),
            false => source.read_frame_at(f, &mut out),
        };
        let good = (0..FRAMES).take_while(|f| read(*f).is_ok()).count();
        assert!((1..=4).contains(&good), "{good}");
        for f in good..FRAMES {
            let error = read(f).unwrap_err().to_string();
            assert!(error.contains("bzip2 block 2 at byte"), "{error}");
        }
        (0..good).for_each(|f| read(f).unwrap());
    }
}
