//! Three broken movies among fifty cost no more than themselves: jobs finish the others and list these with the reason.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests plant files

#[path = "../../formats/tests/eer_writer/mod.rs"]
mod eer_writer;
mod movie_project;

use eer_writer::{Code, Hit};
use movie_project::{correct_motion, counts, exposure, run, write_bz2, write_mrc, write_table, write_tiff};
use serde_json::json;
use std::path::{Path, PathBuf};
use vitreous_formats::samples::SampleType;
use vitreous_formats::table::exposures;
use vitreous_formats::tiff::{Compression, TiffSpec};
use vitreous_model::exposure::{EerRendering, Exposure};
use vitreous_model::outputs::Kind;
use vitreous_model::report::Report;

const MOVIES: usize = 50;
const SIDE: usize = 64;
const FRAMES: usize = 3;

/// A movie of counts that differ from pixel to pixel and frame to frame; no noise is needed to register it.
fn movie(path: &Path, side: usize, seed: usize) {
    let value = |frame: usize, i: usize| ((i * 7919 + seed * 104_729 + frame * 31) % 97) as f32;
    let frame = |frame: usize| (0..side * side).map(|i| value(frame, i)).collect::<Vec<_>>();
    write_mrc(path, [side, side], SampleType::Float32, &(0..FRAMES).map(frame).collect::<Vec<_>>());
}

/// One cut off, one of another size, one that is no image.
fn break_three(raw: &Path) {
    let cut = std::fs::File::options().write(true).open(raw.join("m07.mrc")).unwrap();
    cut.set_len(1024 + (SIDE * SIDE) as u64).unwrap();
    movie(&raw.join("m23.mrc"), SIDE / 2, 23);
    std::fs::write(raw.join("m41.mrc"), "<html>quota exceeded</html>".repeat(99)).unwrap();
}

fn listed<'a>(report: &'a Report, name: &str) -> &'a str {
    let found = report.skipped.iter().find(|skipped| skipped.item.contains(name));
    &found.unwrap_or_else(|| panic!("{name} should be listed: {:?}", report.skipped)).reason
}

#[test]
fn three_broken_movies_among_fifty_are_listed_and_the_others_finished() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    (0..MOVIES).for_each(|i| movie(&raw.join(format!("m{i:02}.mrc")), SIDE, i));
    let given =
        json!({"movies": "raw/*.mrc", "voltage": 300.0, "cs": 2.7, "pixel_size": 1.5, "dose_per_frame": 1.0});
    let report = run(dir.path(), "J1", "import-movies", given.clone(), &[]);
    assert_eq!((report.get("movies"), report.skipped.len()), (Some(50.0), 0));

    // broken after they were registered: the job that needs their pixels finds out
    break_three(&raw);
    let params = json!({"patches_x": 1, "patches_y": 1});
    let input = [("movies", Kind::Movies, "J1/movies.h5")];
    let report = run(dir.path(), "J2", "correct-motion", params, &input);
    assert_eq!(report.skipped.len(), 3);
    assert!(listed(&report, "m07").contains("truncated"), "{:?}", report.skipped);
    assert!(listed(&report, "m23").contains("holds 3 frame(s) of 32 × 32 px"), "{:?}", report.skipped);
    assert!(listed(&report, "m41").contains("m41.mrc"), "{:?}", report.skipped);
    let set = exposures::read(&dir.path().join("J2/micrographs.h5")).unwrap();
    assert_eq!(set.exposures.len(), 47);
    assert!(
        set.exposures
            .iter()
            .all(|e| e.micrograph.is_some() && !["m07", "m23", "m41"].contains(&e.name.as_str()))
    );

    // broken before: they are not registered
    let report = run(dir.path(), "J3", "import-movies", given, &[]);
    assert_eq!((report.get("movies"), report.skipped.len()), (Some(47.0), 3));
    assert!(listed(&report, "m07").contains("truncated"), "{:?}", report.skipped);
    assert!(
        listed(&report, "m23").contains("it has 3 frames of 32 × 32 px, expected 3 frames of 64 × 64 px")
    );
    assert!(listed(&report, "m41").contains("m41.mrc"), "{:?}", report.skipped);
}

/// Edge of the sensor, columns and rows of its frames, pixels.
const EDGE: usize = 2048;

/// An EER movie of three raw frames, the packed bytes of the second as `harm` leaves them.
fn eer_movie(path: &Path, harm: impl Fn(&mut Vec<u8>)) {
    let hits = |frame: usize| (0..5000).map(move |i| Hit { pixel: (i * 800 + 37 * frame) as u32, symbol: 5 });
    let raw = |frame| eer_writer::encode(Code::Run7, &hits(frame).collect::<Vec<_>>(), EDGE);
    let mut raws: Vec<Vec<u8>> = (0..FRAMES).map(raw).collect();
    harm(&mut raws[1]);
    std::fs::write(path, eer_writer::container(Code::Run7, &raws, EDGE)).unwrap();
}

/// Writes movies of three formats in turn; every seventeenth is an EER movie.
fn planted(dir: &Path) -> Vec<Exposure> {
    let raw = dir.join("raw");
    std::fs::create_dir_all(&raw).unwrap();
    let plant = |i: usize| {
        let name = format!("m{i:02}");
        let frames = counts([SIDE, SIDE, FRAMES], 9, i);
        let file = match i % 3 {
            _ if i.is_multiple_of(17) => format!("{name}.eer"),
            0 => format!("{name}.tif"),
            1 => format!("{name}.mrc"),
            _ => format!("{name}.mrc.bz2"),
        };
        let path = raw.join(&file);
        if file.ends_with(".eer") {
            eer_movie(&path, |_| {});
            let eer = EerRendering { upsampling: 1, grouping: 1 };
            return exposure(&name, &format!("raw/{file}"), [EDGE, EDGE, FRAMES], Some(eer));
        }
        if file.ends_with(".tif") {
            let spec = TiffSpec::movie(SIDE, SIDE, FRAMES, SampleType::Uint8, 1.0);
            write_tiff(&path, spec.compression(Compression::Lzw), &frames);
        } else {
            let plain = raw.join(format!("{name}.mrc"));
            write_mrc(&plain, [SIDE, SIDE], SampleType::Int8, &frames);
            if file.ends_with(".bz2") {
                write_bz2(&plain, &path, usize::MAX);
            }
        }
        exposure(&name, &format!("raw/{file}"), [SIDE, SIDE, FRAMES], None)
    };
    (0..MOVIES).map(plant).collect()
}

/// Overwrites bytes in the middle of what is stored from `from` to `to`.
fn harm(path: &PathBuf, from: usize, to: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = (from + to) / 2;
    bytes[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(path, bytes).unwrap();
}

/// Runs the job and holds what it lists against files and words of their reasons.
fn assert_lists(dir: &Path, job: &str, expected: [(&str, &[&str]); 3]) {
    let report = correct_motion(dir, job, json!({"patches_x": 1, "patches_y": 1}));
    let names: Vec<&str> = report.skipped.iter().map(|skipped| skipped.item.as_str()).collect();
    assert_eq!(names, expected.map(|(file, _)| &file[..3]), "{:?}", report.skipped);
    for (file, words) in expected {
        let reason = listed(&report, &file[..3]);
        assert!(reason.contains(&format!("raw/{file}")), "{reason}");
        words.iter().for_each(|word| assert!(reason.contains(word), "{word}: {reason}"));
    }
    let set = exposures::read(&dir.join(job).join("micrographs.h5")).unwrap();
    assert_eq!(set.exposures.len(), MOVIES - 3);
    assert!(set.exposures.iter().all(|e| e.micrograph.is_some() && !names.contains(&e.name.as_str())));
}

#[test]
fn reasons_name_file_and_place_whatever_the_format() {
    let dir = tempfile::tempdir().unwrap();
    let movies = planted(dir.path());
    write_table(dir.path(), movies);
    let raw = dir.path().join("raw");

    // a TIFF whose copy was cut off, a block of bzip2 and a raw frame of EER with some bytes wrong
    let cut = std::fs::File::options().write(true).open(raw.join("m06.tif")).unwrap();
    let length = cut.metadata().unwrap().len();
    cut.set_len(length - length / 4).unwrap();
    let packed = std::fs::metadata(raw.join("m20.mrc.bz2")).unwrap().len() as usize;
    harm(&raw.join("m20.mrc.bz2"), 0, packed);
    eer_movie(&raw.join("m34.eer"), |raw| raw.truncate(raw.len() / 2));
    let at = "page 1, strip or tile 0 at byte";
    assert_lists(
        dir.path(),
        "J2",
        [
            ("m06.tif", &["truncated", "bytes, the file has"]),
            ("m20.mrc.bz2", &["bzip2 block 0 at byte 4 is corrupt", "copy it again"]),
            ("m34.eer", &[at, "its data end at pixel"]),
        ],
    );

    // the same movies mended; a strip of LZW with some bytes wrong, an MRC cut off within a frame, runs too long
    let movies = planted(dir.path());
    write_table(dir.path(), movies);
    harm(&raw.join("m06.tif"), 8, length as usize / 3);
    let cut = std::fs::File::options().write(true).open(raw.join("m22.mrc")).unwrap();
    cut.set_len(1024 + (SIDE * SIDE * 3 / 2) as u64).unwrap();
    eer_movie(&raw.join("m34.eer"), |raw| {
        raw.truncate(raw.len() - 4);
        raw.extend([0xff; 12]);
    });
    assert_lists(
        dir.path(),
        "J3",
        [
            ("m06.tif", &["page 0, strip or tile", "at byte", "LZW", "copy it again"]),
            ("m22.mrc", &["truncated", "64 × 64 × 3 pixels of int8", "needs 13312 bytes, the file has 7168"]),
            ("m34.eer", &[at, "its runs add up to"]),
        ],
    );
}
