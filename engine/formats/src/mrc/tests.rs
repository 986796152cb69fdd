use super::header::HEADER_BYTES;
use super::*;
use crate::image::open_image;
use crate::samples::SampleType;
use ndarray::Array3;
use proptest::prelude::*;
use std::io::Cursor;
use std::path::PathBuf;

const LABEL: &str = "test.mrc";

/// Test data of third parties, if there.
fn testdata(name: &str) -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods)] // tests may read the environment
    let Ok(folder) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return None;
    };
    Some(Path::new(&folder).join(name))
}

fn stack_bytes(spec: MrcSpec, sections: &[Vec<f32>]) -> Vec<u8> {
    let mut writer = MrcWriter::new(Cursor::new(Vec::new()), Path::new(LABEL), spec).unwrap();
    sections.iter().for_each(|section| writer.append(section).unwrap());
    writer.finish().unwrap().into_inner()
}

#[allow(clippy::disallowed_methods)] // a test's own temporary file
fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".mrc").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn read_all(path: &Path) -> Result<Vec<Vec<f32>>, FormatError> {
    let source = open_image(path)?;
    let mut frames = vec![vec![f32::NAN; source.header().frame_len()]; source.header().frames];
    for (i, frame) in frames.iter_mut().enumerate() {
        source.read_frame_at(i, frame)?;
    }
    Ok(frames)
}

fn put(bytes: &mut [u8], word: usize, value: impl Into<f64>, float: bool) {
    let value = value.into();
    let raw = if float { (value as f32).to_le_bytes() } else { (value as i32).to_le_bytes() };
    bytes[4 * word..4 * word + 4].copy_from_slice(&raw);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn stacks_round_trip(width in 1..9usize, height in 1..9usize, frames in 1..4usize, which in 0..5usize, seed in 0..1000u32) {
        let sample = [SampleType::Int8, SampleType::Int16, SampleType::Uint16, SampleType::Float16, SampleType::Float32][which];
        let value = |i: usize| ((i as u32 * 37 + seed) % 120) as f32;
        let sections: Vec<Vec<f32>> =
            (0..frames).map(|f| (0..width * height).map(|i| value(i + 100 * f)).collect()).collect();
        let bytes = stack_bytes(MrcSpec::images(width, height, 1.25).sample(sample), &sections);
        let file = on_disk(&bytes);
        let source = open_image(file.path()).unwrap();
        let header = source.header();
        prop_assert_eq!((header.width, header.height, header.frames, header.sample), (width, height, frames, sample));
        prop_assert!((header.pixel_size_a.unwrap() - 1.25).abs() < 1e-6);
        prop_assert_eq!(read_all(file.path()).unwrap(), sections);
    }
}

#[test]
fn volumes_round_trip_with_origin() {
    let data = Array3::from_shape_fn((4, 3, 5), |(z, y, x)| (100 * z + 10 * y + x) as f32);
    let mut bytes = Vec::new();
    write_volume_to(&mut bytes, Path::new(LABEL), &data, 1.5, [3.0, -4.5, 6.0]).unwrap();
    let volume = read_volume(on_disk(&bytes).path()).unwrap();
    assert_eq!(volume.data, data);
    assert_eq!((volume.voxel_a, volume.origin_a), (1.5, [3.0, -4.5, 6.0]));
    assert!(volume.has_cubic_voxels());
}

#[test]
fn both_byte_orders_read_the_same() {
    let sections = vec![vec![1.0, -2.0, 300.0, 4.0, 5.0, 6.0]];
    for (sample, width) in [(SampleType::Int16, 2), (SampleType::Float32, 4), (SampleType::Float16, 2)] {
        let little = stack_bytes(MrcSpec::images(3, 2, 2.0).sample(sample), &sections);
        let mut big = little.clone();
        for word in (0..52).chain(54..56) {
            big[4 * word..4 * word + 4].reverse();
        }
        big[HEADER_BYTES..].chunks_exact_mut(width).for_each(<[u8]>::reverse);
        for stamp in [[0x11, 0x11, 0, 0], [0, 0, 0, 0], [0x44, 0x44, 0, 0]] {
            big[212..216].copy_from_slice(&stamp);
            assert_eq!(read_all(on_disk(&big).path()).unwrap(), sections, "{sample:?} {stamp:x?}");
        }
    }
}

#[test]
fn four_bit_rows_start_at_a_byte() {
    let mut bytes = stack_bytes(MrcSpec::images(3, 2, 1.0).sample(SampleType::Int8), &[vec![0.0; 6]]);
    put(&mut bytes, 3, 101, false);
    bytes.truncate(HEADER_BYTES);
    bytes.extend([0x21, 0x03, 0x54, 0x06]);
    assert_eq!(read_all(on_disk(&bytes).path()).unwrap(), [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]);
}

#[test]
fn bytes_that_serial_em_marks_hold_two_pixels() {
    let mut bytes = stack_bytes(MrcSpec::images(2, 2, 1.0).sample(SampleType::Int8), &[vec![0.0; 4]]);
    bytes.truncate(HEADER_BYTES);
    bytes.extend([0x21, 0x43, 0x65, 0x87]);
    put(&mut bytes, 39, 16, false);
    assert_eq!(open_image(on_disk(&bytes).path()).unwrap().header().width, 2, "no stamp");
    put(&mut bytes, 38, 1_146_047_817, false);
    let file = on_disk(&bytes);
    let source = open_image(file.path()).unwrap();
    let header = source.header();
    assert_eq!((header.width, header.sample, header.pixel_size_a), (4, SampleType::Uint4, Some(1.0)));
    assert_eq!(read_all(file.path()).unwrap(), [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]]);
}

#[test]
fn compressed_maps_are_known_for_what_they_are() {
    for (magic, program) in
        [(&[0x1f, 0x8b, 8, 0][..], "gunzip"), (b"BZh9", "bunzip2"), (b"PK\x03\x04", "unzip")]
    {
        let bytes = [magic, &[0xa5; 2000]].concat();
        let error = read_volume(on_disk(&bytes).path()).unwrap_err().to_string();
        assert!(error.contains("compressed") && error.contains(program), "{error}");
    }
    let error = open_image(on_disk(&[&[0x1f, 0x8b, 8, 0][..], &[0xa5; 2000]].concat()).path()).err().unwrap();
    assert!(error.to_string().contains("unpack it first (gunzip)"), "{error}");
}

#[test]
fn bytes_are_signed_unless_the_file_says_otherwise() {
    let mut bytes = stack_bytes(MrcSpec::images(2, 1, 1.0).sample(SampleType::Int8), &[vec![-1.0, 1.0]]);
    assert_eq!(read_all(on_disk(&bytes).path()).unwrap(), [[-1.0, 1.0]]);
    put(&mut bytes, 38, 1_146_047_817, false);
    assert_eq!(
        read_all(on_disk(&bytes).path()).unwrap(),
        [[255.0, 1.0]],
        "IMOD stamp without the signed bit"
    );
    put(&mut bytes, 39, 1, false);
    assert_eq!(read_all(on_disk(&bytes).path()).unwrap(), [[-1.0, 1.0]], "IMOD's signed bit");
    put(&mut bytes, 38, 0, false);
    put(&mut bytes, 19, 1, true);
    put(&mut bytes, 20, 255, true);
    assert_eq!(read_all(on_disk(&bytes).path()).unwrap(), [[255.0, 1.0]], "stated maximum 255");
}

#[test]
fn headers_that_depart_from_the_standard_are_read() {
    let good = stack_bytes(MrcSpec::images(2, 2, 3.0), &[vec![1.0, 2.0, 3.0, 4.0]]);
    let mut bytes = good.clone();
    bytes[208..216].fill(0); // no MAP, no stamp
    for word in [12, 16, 17, 18, 27] {
        put(&mut bytes, word, 0, false); // cell z, axes, version
    }
    let file = on_disk(&bytes);
    assert_eq!(read_all(file.path()).unwrap(), [[1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(open_image(file.path()).unwrap().header().pixel_size_a, Some(3.0));
    assert_eq!(read_volume(file.path()).unwrap().voxel_xyz_a, [3.0; 3]);
    let mut unset = good;
    for word in [10, 11, 12] {
        put(&mut unset, word, 0, false);
    }
    assert_eq!(open_image(on_disk(&unset).path()).unwrap().header().pixel_size_a, None);
}

#[test]
fn wrong_fields_are_named() {
    let good = stack_bytes(MrcSpec::images(2, 2, 3.0), &[vec![1.0, 2.0, 3.0, 4.0]]);
    for (word, value, message) in [
        (0, -4, "header field NX (byte 0) is -4"),
        (2, 0, "header field NZ (byte 8) is 0"),
        (3, 4, "holds complex transforms"),
        (3, 77, "header field MODE (byte 12) is 77"),
        (16, 2, "header fields MAPC, MAPR, MAPS (byte 64) is [2, 2, 3]"),
        (23, -1, "header field NSYMBT (byte 92) is -1"),
        (2, 3, "needs 1072 bytes, the file has 1040"),
        (23, 8, "with 8 bytes of extended header needs 1048 bytes"),
    ] {
        let mut bytes = good.clone();
        put(&mut bytes, word, value, false);
        let error = open_image(on_disk(&bytes).path()).err().unwrap().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn nan_is_refused_and_named() {
    let mut data = Array3::zeros((2, 3, 4));
    let mut bytes = Vec::new();
    write_volume_to(&mut bytes, Path::new(LABEL), &data, 1.0, [0.0; 3]).unwrap();
    let at = HEADER_BYTES + 4 * (12 + 4 + 2);
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = read_volume(on_disk(&bytes).path()).unwrap_err().to_string();
    assert!(error.contains("column 2, row 1, section 1 (from 0) is NaN"), "{error}");
    data[[1, 2, 3]] = f32::INFINITY;
    let error = write_volume_to(&mut Vec::new(), Path::new(LABEL), &data, 1.0, [0.0; 3]).unwrap_err();
    assert!(matches!(error, FormatError::NotFinite { x: 3, y: 2, z: 1, count: 1, .. }));
}

#[test]
fn writers_refuse_what_does_not_fit() {
    let mut writer = MrcWriter::new(
        Cursor::new(Vec::new()),
        Path::new(LABEL),
        MrcSpec::images(2, 1, 1.0).sample(SampleType::Uint16),
    )
    .unwrap();
    assert!(matches!(writer.append(&[1.0]), Err(FormatError::WrongLength { found: 1, expected: 2, .. })));
    assert!(matches!(writer.append(&[1.0, -3.0]), Err(FormatError::OutOfRange { index: 1, .. })));
    assert!(matches!(writer.append(&[f32::NAN, 0.0]), Err(FormatError::NotFinite { x: 0, .. })));
    assert!(writer.finish().is_err(), "a file without sections");
    let bytes = MrcSpec::images(1, 1, 1.0).sample(SampleType::Uint8);
    assert!(MrcWriter::new(Cursor::new(Vec::new()), Path::new(LABEL), bytes).is_err());
}

#[test]
fn truncated_anywhere_is_an_error() {
    let sections = vec![(0..64).map(|i| i as f32).collect::<Vec<_>>(); 3];
    let bytes = stack_bytes(MrcSpec::images(8, 8, 1.0).sample(SampleType::Int16), &sections);
    for length in (0..bytes.len()).step_by(64) {
        let error = read_all(on_disk(&bytes[..length]).path()).unwrap_err();
        assert!(
            matches!(error, FormatError::Truncated { found, .. } if found == length as u64),
            "{length}: {error}"
        );
    }
}

#[test]
fn frames_and_buffers_are_checked() {
    let file = on_disk(&stack_bytes(MrcSpec::images(2, 2, 1.0), &[vec![0.0; 4]]));
    let source = open_image(file.path()).unwrap();
    assert!(matches!(
        source.read_frame_at(1, &mut [0.0; 4]),
        Err(FormatError::NoSuchFrame { frames: 1, .. })
    ));
    assert!(matches!(source.read_frame_at(0, &mut [0.0; 5]), Err(FormatError::WrongLength { .. })));
}

#[test]
fn real_micrographs_are_read() {
    let Some(path) = testdata("micrographs/fei-extended.mrc") else { return };
    let reader = MrcReader::open(&path).unwrap();
    let header = reader.header().clone();
    assert_eq!(
        (header.width, header.height, header.frames, header.sample),
        (3710, 3838, 1, SampleType::Uint16)
    );
    assert!((header.pixel_size_a.unwrap() - 0.85378).abs() < 1e-5);
    let mut image = vec![0.0; header.frame_len()];
    reader.read_frame_at(0, &mut image).unwrap();
    let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / image.len() as f64;
    assert_eq!(image.iter().copied().fold(0.0, f32::max), 45804.0);
    assert!((mean - 3521.0).abs() < 1.0, "{mean}");
}

#[test]
fn fei_pixel_size_serves_where_the_cell_is_missing() {
    let Some(path) = testdata("micrographs/fei-extended.mrc") else { return };
    let mut bytes = std::fs::read(path).unwrap();
    bytes[40..52].fill(0);
    let source = open_image(on_disk(&bytes).path()).unwrap().header().pixel_size_a;
    assert!((source.unwrap() - 0.85378).abs() < 1e-4);
}

#[test]
fn foreign_axis_order_is_put_into_ours() {
    let Some(path) = testdata("maps/mrcfile_EMD-3001.map") else { return };
    let reader = MrcReader::open(&path).unwrap();
    let [columns, rows, sections] = reader.mrc_header().size;
    assert_eq!([columns, rows, sections], [73, 43, 25]);
    let mut section = vec![0.0; columns * rows];
    reader.read_frame_at(7, &mut section).unwrap();
    let volume = read_volume(&path).unwrap();
    // columns run along z, rows along x, sections along y
    assert_eq!(volume.data.dim(), (73, 25, 43));
    assert_eq!(volume.data[[11, 7, 30]], section[30 * columns + 11]);
    let expected = [17.93 / 40.0, 4.71 / 12.0, 33.03 / 72.0];
    for (voxel, want) in volume.voxel_xyz_a.iter().zip(expected) {
        assert!((voxel - want).abs() < 1e-4);
    }
    assert!(!volume.has_cubic_voxels());
    // NYSTART -21 is of rows (x), NZSTART -12 of sections (y)
    assert!((volume.origin_a[0] + 21.0 * expected[0]).abs() < 1e-3);
    assert!((volume.origin_a[1] + 12.0 * expected[1]).abs() < 1e-3);
}

#[test]
fn every_real_map_is_read() {
    for (name, edge, voxel) in [
        ("ngl_betaGal.mrc", 100, 3.54),
        ("mrcfile_EMD-3197.map", 20, 11.4),
        ("sfftk_emd_1832.map", 64, 5.7),
        ("sfftk_emd_5625.map", 56, 4.23),
    ] {
        let Some(path) = testdata(&format!("maps/{name}")) else { return };
        let volume = read_volume(&path).unwrap();
        assert_eq!(volume.data.dim(), (edge, edge, edge));
        assert!((volume.voxel_a - voxel).abs() < 1e-3, "{name}");
    }
}
