//! One movie in every container: the frames and their sums are the same to the last bit. Counts up to 15, so that four
//! bits hold them; TIFF is written with its first row at the top.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // temporary files of a test

use rand::{RngExt, SeedableRng};
use std::io::Write;
use std::path::{Path, PathBuf};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};

const HEIGHT: usize = 130;
const FRAMES: usize = 6;

fn movie(width: usize) -> Vec<Vec<f32>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    (0..FRAMES).map(|_| (0..width * HEIGHT).map(|_| f32::from(rng.random_range(0..16u8))).collect()).collect()
}

/// Writes the movie in every format that can hold it.
fn write_all(folder: &Path, width: usize, movie: &[Vec<f32>]) -> Vec<PathBuf> {
    use SampleType::{Float16, Float32, Int8, Int16, Uint4, Uint8, Uint16};
    let mut paths = Vec::new();
    for sample in [Int8, Int16, Float32, Uint16, Float16, Uint4] {
        let path = folder.join(format!("{}.mrc", sample.name()));
        let mut writer =
            MrcWriter::create(&path, MrcSpec::images(width, HEIGHT, 1.0).sample(sample)).unwrap();
        movie.iter().for_each(|frame| writer.append(frame).unwrap());
        writer.finish().unwrap();
        let packed = folder.join(format!("{}.mrc.bz2", sample.name()));
        let mut encoder =
            bzip2::write::BzEncoder::new(std::fs::File::create(&packed).unwrap(), bzip2::Compression::new(1));
        encoder.write_all(&std::fs::read(&path).unwrap()).unwrap();
        encoder.finish().unwrap();
        paths.extend([path, packed]);
    }
    for sample in [Uint8, Int8, Uint16, Int16, Float32] {
        for compression in [Compression::None, Compression::Lzw, Compression::Deflate, Compression::Zstd] {
            for big in [false, true] {
                let spec = TiffSpec { big, ..TiffSpec::movie(width, HEIGHT, FRAMES, sample, 1.0) };
                let path = folder.join(format!("{}-{compression:?}-{big}.tif", sample.name()));
                let mut writer = TiffWriter::create(&path, spec.compression(compression)).unwrap();
                movie.iter().for_each(|frame| writer.append(frame).unwrap());
                writer.finish().unwrap();
                paths.push(path);
            }
        }
    }
    paths
}

#[test]
fn every_container_gives_the_same_frames_and_sums() {
    for width in [128, 78] {
        let movie = movie(width);
        let expected: Vec<f32> =
            (0..width * HEIGHT).map(|i| movie.iter().map(|frame| frame[i]).sum()).collect();
        let folder = tempfile::tempdir().unwrap();
        let paths = write_all(folder.path(), width, &movie);
        assert_eq!(paths.len(), 12 + 40);
        for path in paths {
            let source = open_image(&path).unwrap_or_else(|e| panic!("{e}"));
            let header = source.header();
            assert_eq!(
                (header.width, header.height, header.frames),
                (width, HEIGHT, FRAMES),
                "{}",
                path.display()
            );
            let (mut out, mut sum) = (vec![0.0; header.frame_len()], vec![0.0f32; header.frame_len()]);
            for (f, frame) in movie.iter().enumerate() {
                source.read_frame_at(f, &mut out).unwrap_or_else(|e| panic!("{e}"));
                assert!(out == *frame, "{} frame {f}", path.display());
                out.fill(f32::NAN);
                source.read_frame_in_pool(f, &mut out).unwrap_or_else(|e| panic!("{e}"));
                assert!(out == *frame, "{} frame {f}, in the pool", path.display());
                sum.iter_mut().zip(&out).for_each(|(sum, value)| *sum += value);
            }
            assert!(
                sum.iter().map(|v| v.to_bits()).eq(expected.iter().map(|v| v.to_bits())),
                "{}",
                path.display()
            );
        }
    }
}
