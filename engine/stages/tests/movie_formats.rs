//! One movie in every container gives the same micrographs and tracks to the last bit.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests plant files

#[path = "../../formats/tests/eer_writer/mod.rs"]
mod eer_writer;
mod movie_project;

use eer_writer::{Code, Hit};
use movie_project::{
    correct_motion, counts, exposure, write_bz2, write_mrc, write_pack_bits, write_table, write_tiff,
};
use serde_json::json;
use std::path::Path;
use vitreous_formats::samples::SampleType::{Float16, Float32, Int8, Int16, Uint4, Uint8, Uint16};
use vitreous_formats::tiff::{Compression, TiffSpec};
use vitreous_model::exposure::{EerRendering, Exposure};

/// Columns and rows; even, as the writer of half bytes wants it.
const SIZE: [usize; 2] = [130, 118];
const FRAMES: usize = 6;

/// Writes the movie in every container that can hold it into `raw`; returns the files' names.
fn write_all(raw: &Path, frames: &[Vec<f32>]) -> Vec<String> {
    let mut names = Vec::new();
    // modes 0, 1, 2, 6, 12 and 101
    for sample in [Int8, Int16, Float32, Uint16, Float16, Uint4] {
        let name = format!("{}.mrc", sample.name());
        write_mrc(&raw.join(&name), SIZE, sample, frames);
        for (streams, bytes) in [("one", usize::MAX), ("many", 50_000)] {
            let packed = format!("{}-{streams}.mrc.bz2", sample.name());
            write_bz2(&raw.join(&name), &raw.join(&packed), bytes);
            names.push(packed);
        }
        names.push(name);
    }
    for sample in [Uint8, Int8, Uint16, Int16, Float32] {
        for compression in [Compression::None, Compression::Lzw, Compression::Deflate, Compression::Zstd] {
            for big in [false, true] {
                let name = format!("{}-{compression:?}-{big}.tif", sample.name());
                let spec = TiffSpec { big, ..TiffSpec::movie(SIZE[0], SIZE[1], FRAMES, sample, 1.0) };
                write_tiff(&raw.join(&name), spec.compression(compression), frames);
                names.push(name);
            }
        }
    }
    write_pack_bits(&raw.join("pack-bits.tif"), SIZE, frames);
    names.push("pack-bits.tif".into());
    names
}

/// What the job `job` wrote of an exposure: weighted and plain sums, and its track.
fn results(dir: &Path, job: &str, name: &str) -> [Vec<u8>; 3] {
    let read =
        |file: String| std::fs::read(dir.join(job).join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let star = read(format!("motion/{name}.star"));
    let track = String::from_utf8(star).unwrap();
    // all of the file but the names of movie and gain
    let track: String =
        track.lines().filter(|line| !line.contains("raw/") && !line.contains(".mrc")).collect();
    let sums = ["", "_unweighted"].map(|suffix| read(format!("micrographs/{name}{suffix}.mrc")));
    let [weighted, plain] = sums;
    [weighted, plain, track.into_bytes()]
}

fn assert_same(dir: &Path, job: &str, exposures: &[Exposure]) {
    let names: Vec<&str> = exposures.iter().map(|exposure| exposure.name.as_str()).collect();
    let expected = results(dir, job, names[0]);
    assert!(expected[2].len() > 500, "the track is there");
    for name in &names[1..] {
        for (what, (found, expected)) in
            ["weighted sum", "plain sum", "track"].iter().zip(results(dir, job, name).iter().zip(&expected))
        {
            assert!(found == expected, "{job}: the {what} of {name} is not that of {}", names[0]);
        }
    }
}

#[test]
fn every_container_gives_the_same_sums() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    let movie = counts([SIZE[0], SIZE[1], FRAMES], 15, 1);
    let names = write_all(&raw, &movie);
    assert_eq!(names.len(), 18 + 40 + 1);
    let mut exposures: Vec<Exposure> = names
        .iter()
        .map(|name| {
            exposure(&name.replace('.', "-"), &format!("raw/{name}"), [SIZE[0], SIZE[1], FRAMES], None)
        })
        .collect();
    write_table(dir.path(), exposures.clone());
    let report = correct_motion(dir.path(), "J2", json!({"patches_x": 2, "patches_y": 2}));
    assert_eq!(report.skipped, []);
    assert_same(dir.path(), "J2", &exposures);

    // and with a gain reference whose pixels all differ, one of them dead
    let gain: Vec<f32> = (0..SIZE[0] * SIZE[1]).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
    write_mrc(&dir.path().join("gain.mrc"), SIZE, Float32, &[gain]);
    for movie in exposures.iter_mut().filter_map(|exposure| exposure.movie.as_mut()) {
        movie.gain_path = "gain.mrc".into();
    }
    write_table(dir.path(), exposures.clone());
    let report = correct_motion(dir.path(), "J3", json!({"patches_x": 1, "patches_y": 1}));
    assert_eq!(report.skipped, []);
    assert_same(dir.path(), "J3", &exposures);
    let [a, b] = ["J2", "J3"].map(|job| results(dir.path(), job, &exposures[0].name));
    assert!(a[0] != b[0], "the gain does something");
}

/// Edge of the smallest sensor of an EER movie, pixels.
const EDGE: usize = 2048;
/// Raw frames that make a frame: as many as its largest count.
const RAW: usize = 3;

/// Raw frames that sum up to `frame`: a pixel of count n is hit in n of them.
fn raw_frames(frame: &[f32]) -> Vec<Vec<Hit>> {
    let hit = |pixel: usize| Hit { pixel: pixel as u32, symbol: (pixel % 16) as u32 };
    let is_hit = |raw: usize, pixel: usize| frame[pixel] as usize > (raw + pixel) % RAW;
    let hits = |raw: usize| (0..frame.len()).filter(|&pixel| is_hit(raw, pixel)).map(hit).collect();
    (0..RAW).map(hits).collect()
}

#[test]
fn electrons_give_the_sums_of_their_counts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("raw")).unwrap();
    let frames = counts([EDGE, EDGE, 2], RAW as u8, 2);
    let size = [EDGE, EDGE];
    write_mrc(&dir.path().join("raw/counts.mrc"), size, Int8, &frames);
    let mut exposures = vec![exposure("counts", "raw/counts.mrc", [EDGE, EDGE, 2], None)];
    let raws: Vec<Vec<Hit>> = frames.iter().flat_map(|frame| raw_frames(frame)).collect();
    let codes =
        [("65000", Code::Word12), ("65001", Code::Run7), ("65002", Code::Tagged { run: 6, x: 2, y: 2 })];
    for (name, code) in codes {
        let path = format!("raw/{name}.eer");
        std::fs::write(dir.path().join(&path), eer_writer::file(code, &raws, EDGE)).unwrap();
        let eer = EerRendering { upsampling: 1, grouping: RAW as u32 };
        exposures.push(exposure(name, &path, [EDGE, EDGE, 2], Some(eer)));
    }
    write_table(dir.path(), exposures.clone());
    let params = json!({"patches_x": 1, "patches_y": 1});
    assert_eq!(correct_motion(dir.path(), "J2", params.clone()).skipped, []);
    assert_same(dir.path(), "J2", &exposures);

    // EER movies are divided by their gain, whose mean is kept: the others are multiplied by the same quotient
    let divisor: Vec<f32> = (0..EDGE * EDGE).map(|i| [0.5, 1.0, 2.0][i % 3]).collect();
    let mean = divisor.iter().map(|v| f64::from(*v)).sum::<f64>() / divisor.len() as f64;
    let factor: Vec<f32> = divisor.iter().map(|v| (mean / f64::from(*v)) as f32).collect();
    write_mrc(&dir.path().join("divisor.mrc"), size, Float32, &[divisor]);
    write_mrc(&dir.path().join("factor.mrc"), size, Float32, &[factor]);
    for movie in exposures.iter_mut().filter_map(|exposure| exposure.movie.as_mut()) {
        movie.gain_path = if movie.eer.is_some() { "divisor.mrc" } else { "factor.mrc" }.into();
    }
    write_table(dir.path(), exposures.clone());
    assert_eq!(correct_motion(dir.path(), "J3", params).skipped, []);
    assert_same(dir.path(), "J3", &exposures);
}
