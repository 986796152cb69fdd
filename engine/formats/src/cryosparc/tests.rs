//! Files made byte by byte, cut and changed anywhere, and numpy's own.

use super::*;
use proptest::prelude::*;
use std::path::Path;

const DESCR: &str = "[('uid', '<u8'), ('location/micrograph_path', '|S12'), ('location/micrograph_shape', '<u4', (2,)), \
                     ('location/center_x_frac', '<f4'), ('location/center_y_frac', '<f4'), ('pick_stats/ncc_score', '<f4')]";

/// A dataset of cryosparc-tools' `stream` with three records, each column packed or not.
fn csdat(packed: bool) -> Vec<u8> {
    let heap = b"\0J1/a.mrc\0J1/b.mrc\0";
    let columns: [(&str, Vec<u8>); 3] = [
        (r#"["uid", "<u8"]"#, [5u64, 6, 7].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (r#"["blob/path", "|O"]"#, [1u64, 10, 1].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (r#"["a/b", "<f4", [2]]"#, [0.5f32; 6].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let packing = if packed { (r#""lz4""#, r#"["blob/path", "a/b"]"#) } else { ("null", "[]") };
    let header = format!(
        r#"{{"length": 3, "dtype": [{}], "compression": {}, "compressed_fields": {}}}"#,
        names.join(", "),
        packing.0,
        packing.1
    );
    let mut bytes = b"\x95CSDAT".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header.as_bytes());
    for (index, (_, values)) in columns.iter().enumerate() {
        let stored = if packed && index > 0 { lz4_flex::block::compress(values) } else { values.clone() };
        bytes.extend((stored.len() as u32).to_le_bytes());
        bytes.extend(stored);
    }
    bytes.extend(heap);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Dataset, CsError> {
    Dataset::parse(Path::new("a.cs"), bytes.to_vec())
}

#[test]
fn csdat_is_read_packed_and_not() {
    for packed in [false, true] {
        let dataset = parse(&csdat(packed)).unwrap();
        assert_eq!(dataset.uids("a test").unwrap(), [5, 6, 7]);
        assert_eq!(dataset.texts("blob/path", "a test").unwrap(), ["J1/a.mrc", "J1/b.mrc", "J1/a.mrc"]);
        assert_eq!(dataset.numbers("a/b", 1, "a test").unwrap(), [0.5; 3]);
    }
}

#[test]
fn a_csdat_file_cut_anywhere_is_an_error_that_names_it() {
    for packed in [false, true] {
        let whole = csdat(packed);
        for length in 0..whole.len() {
            let Err(error) = parse(&whole[..length]) else { panic!("{length} of {} are read", whole.len()) };
            assert!(error.to_string().starts_with("a.cs: "), "{length}: {error}");
        }
    }
}

#[test]
fn vast_columns_are_refused_before_they_are_made() {
    let text = String::from_utf8_lossy(&csdat(true)[10..200]).into_owned();
    let header = &text[..text.find("}").unwrap() + 1];
    let vast = header.replace("\"length\": 3", "\"length\": 4000000000").replace("[2]", "[4000000000, 2]");
    let mut bytes = b"\x95CSDAT".to_vec();
    bytes.extend((vast.len() as u32).to_le_bytes());
    bytes.extend(vast.as_bytes());
    bytes.extend([4, 0, 0, 0, 1, 2, 3, 4, 4, 0, 0, 0, 1, 2, 3, 4]);
    let error = parse(&bytes).unwrap_err().to_string();
    assert!(error.contains("column `uid` has 4 bytes, expected 32000000000"), "{error}");
}

#[test]
fn records_without_a_byte_are_refused() {
    for descr in ["[]", "[('a', '|S0')]", "[('a', '<f4', (0,))]"] {
        let text =
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (4000000000000000000,), }}\n");
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        let error = parse(&bytes).unwrap_err().to_string();
        assert!(error.contains("4000000000000000000 records without a byte"), "{descr}: {error}");
    }
}

fn written(fields: &[FieldOut]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_dataset(&mut bytes, Path::new("a.cs"), fields).unwrap();
    bytes
}

fn fields(uids: &[u64], name: &'static str) -> Vec<FieldOut> {
    let values = uids.iter().map(|uid| *uid as f32).collect();
    vec![
        FieldOut { name: "uid", values: Values::U64(uids.to_vec()) },
        FieldOut { name, values: Values::F32(1, values) },
    ]
}

#[test]
fn passthrough_files_are_joined_by_uid_in_any_order() {
    const LARGE: u64 = u64::MAX - 3;
    let mut first = parse(&written(&fields(&[9, LARGE, 3], "a/one"))).unwrap();
    let other = parse(&written(&fields(&[3, 4, LARGE, 9], "b/two"))).unwrap();
    assert!(first.join(other).unwrap().is_empty());
    assert_eq!(first.len(), 3);
    assert_eq!(first.numbers("b/two", 0, "a test").unwrap(), [9.0, LARGE as f64, 3.0]);
    let again = parse(&written(&fields(&[3, LARGE, 9], "a/one"))).unwrap();
    assert_eq!(first.join(again).unwrap(), ["a/one"]);
    let short = parse(&written(&fields(&[3, 9], "c/three"))).unwrap();
    let error = first.join(short).unwrap_err().to_string();
    assert!(error.contains(&format!("1 of 3 records are not in it, first: uid {LARGE}")), "{error}");
    let twice = parse(&written(&fields(&[3, 9, 3, LARGE], "c/three"))).unwrap();
    assert!(first.join(twice).unwrap_err().to_string().contains("uid 3 occurs twice"));
    let strange = parse(&bytes(&DESCR.replace("'uid', '<u8'", "'uid', '<f8'"))).unwrap();
    assert!(first.join(strange).unwrap_err().to_string().contains("`uid` is 1 × <f8, expected one <u8"));
}

#[test]
fn what_is_written_is_read() {
    let texts = Values::Text(vec!["a'b".into(), String::new(), "µ".into()]);
    let fields = [
        FieldOut { name: "uid", values: Values::U64(vec![1, u64::MAX, 3]) },
        FieldOut { name: "t/text", values: texts },
        FieldOut { name: "n/pair", values: Values::U32(2, vec![1, 2, 3, 4, 5, 6]) },
    ];
    let bytes = written(&fields);
    let start = bytes.len() - 3 * (8 + 3 + 8);
    assert_eq!(start % 64, 0, "numpy aligns the records");
    let dataset = parse(&bytes).unwrap();
    assert_eq!(dataset.uids("a test").unwrap(), [1, u64::MAX, 3]);
    assert_eq!(dataset.texts("t/text", "a test").unwrap(), ["a'b", "", "µ"]);
    assert_eq!(dataset.numbers("n/pair", 1, "a test").unwrap(), [2.0, 4.0, 6.0]);
    let uneven = [fields[0].clone(), FieldOut { name: "x", values: Values::U32(1, vec![1]) }];
    let error = write_dataset(&mut Vec::new(), Path::new("a.cs"), &uneven).unwrap_err().to_string();
    assert!(error.contains("`x` has 1 records, the first field 3"), "{error}");
}

#[test]
fn groups_name_their_files_blob_first() {
    let group = "created: 2024-01-01 10:00:00.000000\ngroup:\n  description: x\n  name: particles\n  title: t\n  type: particle\n\
                 results:\n  alignments3D:\n    metafile: '>p/../J2_pass.cs'\n    num_items: 5\n    type: particle.alignments3D\n  blob:\n    \
                 metafile: '>J2.cs'\n    num_items: 5\n    type: particle.blob\n  ctf:\n    metafile: '>J2.cs'\n    num_items: 5\n    \
                 type: particle.ctf\nversion: v4.4.1\n";
    let of = |text: &str| group_files_of(Path::new("exports/J2.csg"), text, PARTICLE);
    let files = of(group).unwrap();
    assert_eq!(files, [Path::new("exports/J2.cs"), Path::new("exports/J2_pass.cs")]);
    for (from, to, expected) in [
        ("type: particle\n", "type: exposure\n", "group of type `exposure`, expected `particle`"),
        ("'>J2.cs'", "'>'", "results.blob.metafile is empty"),
        ("group:", "grape:", "group"),
    ] {
        let error = of(&group.replace(from, to)).unwrap_err().to_string();
        assert!(error.starts_with("exports/J2.csg: ") && error.contains(expected), "{error}");
    }
    assert!(of("results: [").is_err());
}

#[test]
fn a_written_group_is_read() {
    let result = |name, dataset| ResultOut { name, kind: name, dataset };
    let group = GroupOut {
        name: "particles",
        kind: PARTICLE,
        description: "of J5: #1",
        results: &[
            result("blob", "particles.cs"),
            result("ctf", "particles.cs"),
            result("alignments3D", "passthrough.cs"),
        ],
        rows: 7,
    };
    let mut text = Vec::new();
    write_group(&mut text, Path::new("a.csg"), &group).unwrap();
    let text = String::from_utf8(text).unwrap();
    let files = group_files_of(Path::new("J9/a.csg"), &text, PARTICLE).unwrap();
    // that of the images first, so that it tells which records there are
    assert_eq!(files, [Path::new("J9/particles.cs"), Path::new("J9/passthrough.cs")]);
    assert!(text.contains("type: particle.ctf"), "{text}");
}

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
    let error = read(b"\x95CSDAT\x09\x00\x00\x00{}").unwrap_err().to_string();
    assert!(error.contains("byte 10: the header needs 9 bytes, the file has 2 more"), "{error}");
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
