#![allow(clippy::disallowed_methods)] // temporary files of a test

use super::*;
use crate::mrc::{MrcSpec, MrcWriter};
use crate::samples::SampleType;
use crate::tiff::{TiffSpec, TiffWriter};

fn text(content: &str) -> Result<Defects, DefectError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("defects.txt");
    std::fs::write(&path, content).unwrap();
    read_defects(&path, 6, 4)
}

#[test]
fn boxes_cover_their_pixels_once() {
    let defects = text("# camera 7\n1 0 2 2\n\n 2 1 1 3 # a column\r\n5 3 1 1\n0 0 0 4\n").unwrap();
    assert_eq!(defects.indices, [1, 2, 7, 8, 14, 20, 23]);
    assert_eq!((defects.width, defects.height), (6, 4));
    assert!(text("").unwrap().indices.is_empty());
}

#[test]
fn lines_that_do_not_serve_are_named() {
    for broken in ["0 0 1 1\n1 2 3\n", "0 0 1 1\n1 2 3 4 5\n", "\n-1 0 1 1\n", "\n1.5 0 1 1\n"] {
        let error = text(broken).unwrap_err();
        assert!(matches!(error, DefectError::NotABox { line: 2, .. }), "{error}");
    }
    for outside in ["5 0 2 1", "0 3 1 2", "4294967295 0 4294967295 1"] {
        let error = text(outside).unwrap_err();
        assert!(matches!(error, DefectError::Outside { line: 1, width: 6, height: 4, .. }), "{error}");
    }
    assert!(matches!(text("0 0 6 4").unwrap_err(), DefectError::NothingLeft { pixels: 24, .. }));
}

#[test]
fn images_are_read_with_the_rows_of_their_format() {
    let folder = tempfile::tempdir().unwrap();
    let mut map = vec![0.0; 24];
    (map[1], map[20]) = (1.0, 3.0);
    let mrc = folder.path().join("map.mrc");
    let mut writer = MrcWriter::create(&mrc, MrcSpec::images(6, 4, 1.0).sample(SampleType::Int8)).unwrap();
    writer.append(&map).unwrap();
    writer.finish().unwrap();
    let tif = folder.path().join("map.tif");
    let mut writer = TiffWriter::create(&tif, TiffSpec::movie(6, 4, 1, SampleType::Uint8, 1.0)).unwrap();
    writer.append(&map).unwrap();
    writer.finish().unwrap();
    for path in [&mrc, &tif] {
        assert_eq!(read_defects(path, 6, 4).unwrap().indices, [1, 20]);
        assert!(matches!(read_defects(path, 4, 6).unwrap_err(), DefectError::WrongSize { .. }));
    }
}
