use super::*;
use crate::image::open_image;
use crate::samples::SampleType;
use proptest::prelude::*;
use std::io::Cursor;

const LABEL: &str = "test.tif";

fn spec(width: usize, height: usize, sample: SampleType) -> TiffSpec {
    TiffSpec::movie(width, height, 1, sample, 0.6575)
}

fn movie_bytes(spec: TiffSpec, frames: &[Vec<f32>]) -> Vec<u8> {
    let mut writer = TiffWriter::new(Cursor::new(Vec::new()), Path::new(LABEL), spec).unwrap();
    frames.iter().for_each(|frame| writer.append(frame).unwrap());
    writer.finish().unwrap().into_inner()
}

#[allow(clippy::disallowed_methods)] // a test's own temporary file
fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".tif").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// All frames, read in the pool; the plain way, and bytes where they are stored, must agree.
fn read_all(bytes: &[u8]) -> Result<Vec<Vec<f32>>, FormatError> {
    let file = on_disk(bytes);
    let source = open_image(file.path())?;
    let mut frames = vec![vec![f32::NAN; source.header().frame_len()]; source.header().frames];
    for (i, frame) in frames.iter_mut().enumerate() {
        source.read_frame_in_pool(i, frame)?;
        let mut alone = vec![f32::NAN; frame.len()];
        source.read_frame_at(i, &mut alone)?;
        assert_eq!(&alone, frame);
        let mut bytes = vec![0; frame.len()];
        let are_bytes = source.header().sample.bits() <= 8 && frame.iter().all(|value| *value >= 0.0);
        assert_eq!(source.read_bytes_at(i, &mut bytes)?, are_bytes);
        assert!(!are_bytes || frame.iter().zip(&bytes).all(|(a, b)| *a == f32::from(*b)));
    }
    Ok(frames)
}

fn frames(width: usize, height: usize, count: usize, seed: usize) -> Vec<Vec<f32>> {
    let value = |i: usize| ((i * 7919 + seed) % 113) as f32;
    (0..count).map(|f| (0..width * height).map(|i| value(i + 1000 * f)).collect()).collect()
}

const SAMPLES: [SampleType; 6] = [
    SampleType::Uint8,
    SampleType::Int8,
    SampleType::Uint16,
    SampleType::Int16,
    SampleType::Float16,
    SampleType::Float32,
];
const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lzw, Compression::Deflate];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn movies_round_trip(
        width in 1..40usize, height in 1..40usize, count in 1..4usize, seed in 0..1000usize,
        sample in 0..6usize, compression in 0..3usize, predictor: bool, big: bool,
    ) {
        let sample = SAMPLES[sample];
        let predictor = predictor && sample.is_integer();
        let spec = TiffSpec { compression: COMPRESSIONS[compression], predictor, big, ..spec(width, height, sample) };
        let frames = frames(width, height, count, seed);
        let bytes = movie_bytes(spec, &frames);
        let file = on_disk(&bytes);
        let source = open_image(file.path()).unwrap();
        let header = source.header();
        prop_assert_eq!((header.width, header.height, header.frames, header.sample), (width, height, count, sample));
        prop_assert!((header.pixel_size_a.unwrap() - 0.6575).abs() < 1e-7);
        prop_assert_eq!(read_all(&bytes).unwrap(), frames);
    }
}

#[test]
fn several_strips_come_together_in_order() {
    // 300 rows of 2000 bytes are five strips
    let frames = frames(1000, 300, 2, 5);
    for compression in COMPRESSIONS {
        let spec = spec(1000, 300, SampleType::Uint16).compression(compression);
        assert_eq!(read_all(&movie_bytes(spec, &frames)).unwrap(), frames);
    }
}

#[test]
fn the_first_stored_row_is_the_top() {
    let spec = spec(2, 3, SampleType::Uint8).compression(Compression::None);
    let bytes = movie_bytes(spec, &[vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]);
    assert_eq!(bytes[8..14], [5, 6, 3, 4, 1, 2]);
}

/// A big-endian file made by hand: 3 × 4 words in tiles of 2 × 3, written as four whole tiles.
fn big_endian_tiles() -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08".to_vec();
    let tags: [(u16, u16, u32, u32); 9] = [
        (256, 4, 1, 3),
        (257, 4, 1, 4),
        (258, 3, 1, 16 << 16),
        (259, 3, 1, 1 << 16),
        (277, 3, 1, 1 << 16),
        (322, 4, 1, 2),
        (323, 4, 1, 3),
        (324, 4, 4, 122),
        (325, 4, 4, 138),
    ];
    bytes.extend(9u16.to_be_bytes());
    for (tag, kind, count, value) in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend(value.to_be_bytes());
    }
    bytes.extend(0u32.to_be_bytes());
    assert_eq!(bytes.len(), 122);
    bytes.extend((0..4u32).flat_map(|tile| (154 + 12 * tile).to_be_bytes()));
    bytes.extend([12u32; 4].iter().flat_map(|length| length.to_be_bytes()));
    // pixel values are 256 + 10 row + column, 0 where a tile reaches over the image
    for (top, left) in [(0u16, 0u16), (0, 2), (3, 0), (3, 2)] {
        for (row, column) in (0..3).flat_map(|r| [(r, 0), (r, 1)]) {
            let (y, x) = (top + row, left + column);
            let value = if y < 4 && x < 3 { 256 + 10 * y + x } else { 0 };
            bytes.extend(value.to_be_bytes());
        }
    }
    bytes
}

#[test]
fn big_endian_tiles_are_read() {
    let expected: Vec<f32> =
        [30, 20, 10, 0].iter().flat_map(|row| [0, 1, 2].map(|x| (256 + row + x) as f32)).collect();
    assert_eq!(read_all(&big_endian_tiles()).unwrap(), [expected]);
}

#[test]
fn loops_of_directories_are_refused() {
    let mut bytes = big_endian_tiles();
    bytes[118..122].copy_from_slice(&8u32.to_be_bytes());
    let error = read_all(&bytes).unwrap_err().to_string();
    assert!(error.contains("next directory of page 0") && error.contains("a loop"), "{error}");
}

#[test]
fn tags_that_cannot_be_used_are_named() {
    let entry = |i: usize| 10 + 12 * i;
    for (tag, value, message) in [
        (0, 0u32, "page 0, tag 256 (ImageWidth) (byte 10) is 0"),
        (2, 1 << 16, "tag 258 (BitsPerSample) (byte 34) is 1 with sample format 1"),
        (3, 7 << 16, "tag 259 (Compression) (byte 46) is 7, expected 1 (none), 5 (LZW)"),
        (4, 3 << 16, "tag 277 (SamplesPerPixel) (byte 58) is 3"),
        (5, 1 << 20, "tag 324 (offsets of strips or tiles) (byte 94) is 4 values, expected 2"),
        (7, 10_000, "the values of tag 324 needs 10016 bytes"),
    ] {
        let mut bytes = big_endian_tiles();
        bytes[entry(tag) + 8..entry(tag) + 12].copy_from_slice(&value.to_be_bytes());
        let error = read_all(&bytes).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn pixels_that_a_file_cannot_hold_are_refused_before_allocation() {
    for compression in COMPRESSIONS {
        let mut bytes = movie_bytes(spec(8, 8, SampleType::Uint8).compression(compression), &[vec![1.0; 64]]);
        let at = |bytes: &[u8], tag: u16| {
            let needle = [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0]].concat();
            bytes.windows(8).position(|window| window == needle).unwrap() + 8
        };
        for (edge, message) in
            [(32_000u32, "bytes cannot hold the 1024000000 bytes"), (16_000_000, "at most 1073741824 pixels")]
        {
            for tag in [256, 257, 278] {
                let place = at(&bytes, tag);
                bytes[place..place + 4].copy_from_slice(&edge.to_le_bytes());
            }
            let error = read_all(&bytes).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

/// Bytes 8184 a row and 5760 rows, say, are half bytes of twice as many columns; tiles, too.
#[test]
fn frames_of_half_bytes_are_known_by_their_size() {
    for (stored, height) in [(3710usize, 7676usize), (7420, 3838)] {
        let bytes: Vec<u8> = (0..stored * height).map(|i| ((i * 7919) >> 3) as u8).collect();
        let floats: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
        for tiled in [false, true] {
            let file = match tiled {
                false => movie_bytes(spec(stored, height, SampleType::Uint8), std::slice::from_ref(&floats)),
                true => one_row_of_tiles(stored, height, &bytes),
            };
            let file = on_disk(&file);
            let source = open_image(file.path()).unwrap();
            let header = source.header();
            assert_eq!((header.width, header.height, header.sample), (2 * stored, height, SampleType::Uint4));
            let (mut out, mut small) = (vec![-1.0; header.frame_len()], vec![99; header.frame_len()]);
            source.read_frame_in_pool(0, &mut out).unwrap();
            assert!(source.read_bytes_at(0, &mut small).unwrap());
            let expected = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
            assert!(small.iter().copied().eq(expected), "{stored} × {height}, tiled: {tiled}");
            assert!(out.iter().zip(&small).all(|(a, b)| *a == f32::from(*b)));
        }
    }
}

/// A little-endian TIFF of bytes, not compressed, in two tiles side by side, of which the second is padded; the rows of
/// `bytes` from the bottom.
fn one_row_of_tiles(width: usize, height: usize, bytes: &[u8]) -> Vec<u8> {
    let (tile_width, tile_height) = (width.div_ceil(32) * 16, height.next_multiple_of(16));
    let tile_bytes = tile_width * tile_height;
    let data = 8 + 2 + 9 * 12 + 4 + 16;
    let tags: [(u16, u32, u32); 9] = [
        (256, 1, width as u32),
        (257, 1, height as u32),
        (258, 1, 8),
        (259, 1, 1),
        (277, 1, 1),
        (322, 1, tile_width as u32),
        (323, 1, tile_height as u32),
        (324, 2, data - 16),
        (325, 2, data - 8),
    ];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, count, value) in tags {
        file.extend(tag.to_le_bytes());
        file.extend([4, 0]);
        file.extend([count, value].iter().flat_map(|n| n.to_le_bytes()));
    }
    file.extend([0; 4]);
    file.extend(
        [data, data + tile_bytes as u32, tile_bytes as u32, tile_bytes as u32]
            .iter()
            .flat_map(|n| n.to_le_bytes()),
    );
    for left in [0, tile_width] {
        for row in 0..tile_height {
            let from_bottom = (height - 1).saturating_sub(row) * width;
            let stored = &bytes[from_bottom..from_bottom + width];
            file.extend((left..left + tile_width).map(|x| stored.get(x).copied().unwrap_or(0)));
        }
    }
    file
}

#[test]
fn frames_of_two_sizes_are_refused() {
    let mut bytes = movie_bytes(spec(8, 8, SampleType::Uint8), &[vec![1.0; 64]]);
    let second = movie_bytes(spec(8, 4, SampleType::Uint8), &[vec![1.0; 32]]);
    // hang the second file's directory, moved, behind the first one
    let first_directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let second_directory = u32::from_le_bytes(second[4..8].try_into().unwrap()) as usize;
    let tags = u16::from_le_bytes(bytes[first_directory..first_directory + 2].try_into().unwrap()) as usize;
    let place = bytes.len() as u32;
    bytes.extend(&second[second_directory..]);
    let link = first_directory + 2 + 12 * tags;
    bytes[link..link + 4].copy_from_slice(&place.to_le_bytes());
    let error = read_all(&bytes).unwrap_err().to_string();
    assert!(error.contains("page 1") && error.contains("8 × 4 of uint8, expected 8 × 8 of uint8"), "{error}");
}

#[test]
fn truncated_anywhere_is_an_error() {
    for compression in COMPRESSIONS {
        let bytes =
            movie_bytes(spec(16, 16, SampleType::Uint16).compression(compression), &frames(16, 16, 3, 1));
        for length in (0..bytes.len()).step_by(64) {
            assert!(read_all(&bytes[..length]).is_err(), "{compression:?} {length}");
        }
    }
}

#[test]
fn corrupt_strips_are_named() {
    let mut bytes = movie_bytes(spec(64, 64, SampleType::Uint8), &frames(64, 64, 1, 1));
    bytes[8..40].fill(0xff);
    let error = read_all(&bytes).unwrap_err().to_string();
    assert!(error.contains("page 0, strip or tile 0 at byte 8 is corrupt"), "{error}");
}

#[test]
fn writers_refuse_what_does_not_fit() {
    let new = |spec| TiffWriter::new(Cursor::new(Vec::new()), Path::new(LABEL), spec);
    let mut writer = new(spec(2, 2, SampleType::Uint8)).unwrap();
    assert!(matches!(writer.append(&[1.0]), Err(FormatError::WrongLength { found: 1, expected: 4, .. })));
    let error = writer.append(&[1.0, 2.0, 256.0, 3.0]).unwrap_err();
    assert!(matches!(error, FormatError::OutOfRange { index: 2, .. }), "{error}");
    assert!(writer.finish().is_err(), "a file without pages");
    assert!(new(spec(2, 2, SampleType::Uint4)).is_err());
    assert!(new(spec(2, 2, SampleType::Uint8).compression(Compression::PackBits)).is_err());
    assert!(new(TiffSpec { predictor: true, ..spec(2, 2, SampleType::Float32) }).is_err());
}

#[test]
fn movies_beyond_4_gib_are_bigtiff() {
    assert!(!TiffSpec::movie(4096, 4096, 40, SampleType::Uint8, 1.0).big);
    assert!(TiffSpec::movie(11520, 8184, 40, SampleType::Uint8, 1.0).big);
}

#[test]
fn many_directories_are_linear() {
    // as many pages as EER and old IMOD files have
    let spec = spec(1, 1, SampleType::Uint8).compression(Compression::None);
    let bytes = movie_bytes(spec, &vec![vec![3.0]; 65_600]);
    let file = on_disk(&bytes);
    let source = open_image(file.path()).unwrap();
    assert_eq!(source.header().frames, 65_600);
    let mut pixel = [0.0];
    source.read_frame_at(65_599, &mut pixel).unwrap();
    assert_eq!(pixel, [3.0]);
}
