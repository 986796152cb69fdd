//! A project with movies for tests of whole jobs: its table, a run of a job in it, movies in every container.
#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)] // each test uses a part; tests plant files

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::table;
use vitreous_formats::tiff::{TiffSpec, TiffWriter};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::exposure::{EerRendering, Exposure, ExposureSet, GainFlip, MovieSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;
use vitreous_model::units::{Kilovolt, Millimetre};
use vitreous_stages::ctx::Input;
use vitreous_stages::{Ctx, STAGES};

/// Runs a job of the type `name` in `dir`; inputs are slots, kinds and tables.
pub fn run(dir: &Path, job: &str, name: &str, params: Value, inputs: &[(&str, Kind, &str)]) -> Report {
    let job_dir = dir.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, dir, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    for &(slot, kind, table) in inputs {
        let input = Input {
            job: "J1".into(),
            output: Output::new(slot, kind, table, 1),
            path: dir.join(table),
            parts: Default::default(),
        };
        ctx.inputs.insert(slot.into(), vec![input]);
    }
    STAGES.iter().find(|stage| stage.name() == name).unwrap().run(&ctx).unwrap()
}

/// Corrects the movies of `movies.h5`.
pub fn correct_motion(dir: &Path, job: &str, params: Value) -> Report {
    run(dir, job, "correct-motion", params, &[("movies", Kind::Movies, "movies.h5")])
}

/// A movie of `[columns, rows, frames]` in the file `path` (from the project), 1 Å and 2 e/Å² a frame.
pub fn exposure(
    name: &str,
    path: &str,
    [width, height, frames]: [usize; 3],
    eer: Option<EerRendering>,
) -> Exposure {
    let movie = MovieSource {
        path: path.into(),
        frames: frames as u32,
        width: width as u32,
        height: height as u32,
        pixel_size_a: 1.0,
        dose_per_frame: 2.0,
        pre_exposure: 0.0,
        gain_path: String::new(),
        gain_rotate: 0,
        gain_flip: GainFlip::None,
        defects_path: String::new(),
        eer,
    };
    Exposure {
        name: name.into(),
        optics_group: 1,
        movie: Some(movie),
        micrograph: None,
        motion: None,
        ctf: None,
    }
}

/// Writes `movies.h5`.
pub fn write_table(dir: &Path, exposures: Vec<Exposure>) {
    let optics = OpticsGroup {
        number: 1,
        name: "opticsGroup1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 1.0,
        aberrations: Default::default(),
    };
    let set = ExposureSet { optics: vec![optics], exposures };
    table::exposures::write(&dir.join("movies.h5"), Kind::Movies, &set).unwrap();
}

/// Counts from 0 to `most` of a picture that moves by a pixel a frame, in x then in y: what alignment can find.
pub fn counts([width, height, frames]: [usize; 3], most: u8, seed: usize) -> Vec<Vec<f32>> {
    let hash = |x: usize, y: usize| {
        let mut h = (x * 73_856_093) ^ (y * 19_349_663) ^ (seed * 83_492_791);
        h = (h ^ (h >> 13)).wrapping_mul(0x5bd1_e995);
        (h ^ (h >> 15)) % (usize::from(most) + 1)
    };
    let frame = |f: usize| {
        let (dx, dy) = (f.div_ceil(2), f / 2);
        (0..width * height).map(|i| hash(i % width + dx, i / width + dy) as f32).collect()
    };
    (0..frames).map(frame).collect()
}

/// Writes a movie as MRC.
pub fn write_mrc(path: &Path, [width, height]: [usize; 2], sample: SampleType, frames: &[Vec<f32>]) {
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, 1.0).sample(sample)).unwrap();
    frames.iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap();
}

/// Writes a movie as TIFF.
pub fn write_tiff(path: &Path, spec: TiffSpec, frames: &[Vec<f32>]) {
    let mut writer = TiffWriter::create(path, spec).unwrap();
    frames.iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap();
}

/// Compresses a file with bzip2, in one stream or, as parallel compressors do, in several.
pub fn write_bz2(from: &Path, to: &Path, stream_bytes: usize) {
    let mut packed = Vec::new();
    for part in std::fs::read(from).unwrap().chunks(stream_bytes) {
        let mut encoder = bzip2::write::BzEncoder::new(packed, bzip2::Compression::new(1));
        encoder.write_all(part).unwrap();
        packed = encoder.finish().unwrap();
    }
    std::fs::write(to, packed).unwrap();
}

/// Writes a movie of bytes as a TIFF of PackBits, row 0 at the bottom as in the others; rows packed one by one, as TIFF
/// wants them.
pub fn write_pack_bits(path: &Path, [width, height]: [usize; 2], frames: &[Vec<f32>]) {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    for (index, frame) in frames.iter().enumerate() {
        let packed: Vec<u8> = frame.chunks(width).rev().flat_map(pack_bits).collect();
        let data = file.len() as u32 + 2 + 8 * 12 + 4;
        let tags = [
            (256u16, width as u32),
            (257, height as u32),
            (258, 8),
            (259, 32773),
            (273, data),
            (277, 1),
            (278, height as u32),
            (279, packed.len() as u32),
        ];
        file.extend((tags.len() as u16).to_le_bytes());
        for (tag, value) in tags {
            file.extend(tag.to_le_bytes());
            file.extend([4, 0, 1, 0, 0, 0]);
            file.extend(value.to_le_bytes());
        }
        // directories begin at even bytes
        let end = (data as usize + packed.len()).next_multiple_of(2);
        file.extend(if index + 1 < frames.len() { end as u32 } else { 0 }.to_le_bytes());
        file.extend(packed);
        file.resize(end, 0);
    }
    std::fs::write(path, file).unwrap();
}

/// Runs of equal bytes, and single ones as they are.
fn pack_bits(row: &[f32]) -> Vec<u8> {
    let mut packed = Vec::new();
    for run in row.chunk_by(|a, b| a == b) {
        for part in run.chunks(128) {
            packed.extend([(1 - part.len() as i32) as i8 as u8, part[0] as u8]);
        }
    }
    packed
}
