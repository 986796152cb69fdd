//! Files made byte by byte, cut and changed anywhere, and numpy's own.

use super::*;
use proptest::prelude::*;
use std::path::Path;

const DESCR: &str = "[('uid', '<u8'), ('location/micrograph_path', '|S12'), ('location/micrograph_shape', '<u4', (2,)), \
                     ('location/center_x_frac', '<f4'), ('location/center_y_frac', '<f4'), ('pick_stats/ncc_score', '<f4')]";

/// Two picks on micrographs of 200 columns and 100 rows.
fn bytes(descr: &str) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2,), }}\n");
    let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header.as_bytes());
    for (uid, path, x, y) in [(7u64, "J1/a.mrc", 0.25f32, 0.1f32), (8, ">J1/bb.mrc", 0.5, 0.75)] {
        bytes.extend(uid.to_le_bytes());
        let mut fixed = [0; 12];
        fixed[..path.len()].copy_from_slice(path.as_bytes());
        bytes.extend(fixed);
        bytes.extend([100u32, 200].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([x, y, 0.5].iter().flat_map(|v| v.to_le_bytes()));
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<CsPick>, CsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picks.cs");
    #[expect(clippy::disallowed_methods, reason = "a file to read back")]
    std::fs::write(&path, bytes).unwrap();
    read_picks(&path)
}

#[test]
fn positions_are_fractions_from_either_edge() {
    let picks = read(&bytes(DESCR)).unwrap();
    assert_eq!(picks[0].micrograph, "J1/a.mrc");
    assert_eq!(picks[1].micrograph, "J1/bb.mrc");
    assert_eq!(picks[0].size_px, [200.0, 100.0]);
    assert_eq!(picks[1].position_px([200.0, 100.0], false), [100.0, 75.0]);
    assert_eq!(picks[1].position_px([400.0, 200.0], true), [200.0, 50.0]);
    assert_eq!(picks[0].score, 0.5);
}

#[test]
fn missing_and_wrong_fields_are_named() {
    let error = read(&bytes(&DESCR.replace("center_x_frac", "centre_x"))).unwrap_err().to_string();
    assert!(error.contains("no field `location/center_x_frac`"), "{error}");
    assert!(error.contains("location/centre_x"), "{error}");
    let error = read(&bytes(&DESCR.replace("'|S12'", "'<u4', (3,)"))).unwrap_err().to_string();
    assert!(error.contains("`location/micrograph_path` is 3 × <u4, expected text"), "{error}");
    let error = read(&bytes(&DESCR.replace("'<u8'", "'<c8'"))).unwrap_err().to_string();
    assert!(error.contains("of type `<c8`"), "{error}");
    let error = read(b"\x95CSDAT....").unwrap_err().to_string();
    assert!(error.contains("cryosparc-tools"), "{error}");
    let error = read(b"MZ").unwrap_err().to_string();
    assert!(error.contains("4d 5a"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = bytes(DESCR);
    for length in 0..whole.len() {
        assert!(Dataset::parse(Path::new("a.cs"), whole[..length].to_vec()).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(at in 0..400usize, value: u8) {
        let mut changed = bytes(DESCR);
        let at = at % changed.len();
        changed[at] = value;
        if let Ok(dataset) = Dataset::parse(Path::new("a.cs"), changed) {
            let _ = dataset.texts("location/micrograph_path", "a test");
            let _ = dataset.numbers("location/micrograph_shape", 1, "a test");
        }
    }
}
