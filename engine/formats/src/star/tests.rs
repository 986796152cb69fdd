#![allow(clippy::disallowed_methods)] // temporary files of tests, and where their data are

use super::writer::{BlockOut, TableOut, write};
use super::*;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn parse(text: &str) -> Result<StarFile, StarError> {
    StarFile::parse(Path::new("t.star"), text.into())
}

fn cells(file: &StarFile, block: &str) -> Vec<Vec<String>> {
    let mut rows = file.table(block).expect("the block should be a table").rows();
    let mut all = Vec::new();
    while let Some(row) = rows.next() {
        all.push(row.cells.iter().map(|c| (*c).to_string()).collect());
    }
    all
}

#[test]
fn every_feature_of_the_dialect_is_read() {
    let text = "# made by hand\r\n\r\ndata_\r\n_name  'two words' # why\r\n_empty\r\n_none \"\"\r\n\r\ndata_t\r\n\
                loop_ \r\n_rlnA #1 \r\n_rlnB #2\r\n\t1.5  a#b  # a comment\r\n\r\n 'it's' \"x y\"\r\n# between\r\ndata_1.mrc _b";
    let file = parse(text).unwrap();
    let pairs: Vec<_> = file.block("").unwrap().pairs().collect();
    assert_eq!(pairs, [("name", "two words"), ("empty", ""), ("none", "")]);
    assert_eq!(file.table("t").unwrap().columns(), ["rlnA", "rlnB"]);
    assert_eq!(cells(&file, "t"), [["1.5", "a#b"], ["it's", "x y"], ["data_1.mrc", "_b"]]);
    assert_eq!(file.block("t").unwrap().line(), 8);
    let mut rows = file.table("t").unwrap().rows();
    let lines: Vec<usize> = std::iter::from_fn(|| rows.next().map(|row| row.line)).collect();
    assert_eq!(lines, [12, 14, 16]);
}

#[test]
fn a_pair_after_a_blank_line_of_an_empty_table_is_a_label() {
    let file = parse("data_a\nloop_\n_x #1\n\n\ndata_b\n_k v\n").unwrap();
    assert_eq!((file.table("a").unwrap().len(), file.block("b").unwrap().pair("k")), (0, Some("v")));
    assert!(file.table("b").is_none());
    assert_eq!(file.block_names(), "data_a, data_b");
}

#[test]
fn errors_name_file_line_found_and_expected() {
    for (text, message) in [
        ("", "t.star line 1: found no block"),
        ("hello\n", "t.star line 1: found `hello`, expected a line `data_NAME`"),
        ("data_\nloop_\n_a #1\n_b #2\n1 2\n3\n", "t.star line 6: found 1 value(s), expected 2"),
        ("data_\nloop_\n_a #1\n_a #2\n", "t.star line 4: found a second column _a"),
        ("data_\nloop_\n_a\n'open\n", "t.star line 4: found the open quote 'open"),
        ("data_\nword\n", "t.star line 2: found `word`, expected `_label value`"),
        ("data_\n_k a b c\n", "t.star line 2: found 4 words after `_k`"),
        ("data_\nloop_\n_a\n1\nloop_\n", "t.star line 5: found a second `loop_`"),
        ("data_\nloop_\n1\n", "t.star line 3: found 1 value(s), expected 0"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text:?}: {error}");
    }
    let error = StarFile::read(Path::new("/nowhere/x.star")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/x.star: cannot read: No such file"), "{error}");
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&path, b"data_\n\xff\n").unwrap();
    assert!(StarFile::read(&path).unwrap_err().to_string().contains("byte 6 is no UTF-8"));
}

#[test]
fn cells_that_are_no_numbers_are_errors() {
    let file = parse("data_\nloop_\n_a\n_b\n1.000000 x\n-3 2.5\n").unwrap();
    let table = file.table("").unwrap();
    let mut rows = table.rows();
    let row = rows.next().unwrap();
    assert_eq!((row.integer::<u32>(0).unwrap(), row.f64(0).unwrap()), (1, 1.0));
    let error = row.f64(1).unwrap_err().to_string();
    assert!(error.contains("t.star line 5: column _b holds `x`, expected a number"), "{error}");
    let row = rows.next().unwrap();
    assert!(row.integer::<u32>(0).unwrap_err().to_string().contains("`-3`, expected a whole number"));
    assert!(row.integer::<u32>(1).is_err());
    let error = table.need("c", "the test").unwrap_err().to_string();
    assert!(error.contains("column _c is missing in block data_; it is needed for the test"), "{error}");
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_./@#'\"é -]{0,12}",
        Just("loop_".to_string()),
        Just("data_x".to_string()),
        Just("_x".to_string()),
        Just("#".to_string()),
        Just("it's \"fine".to_string()),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        pairs in prop::collection::vec(value(), 0..5),
        rows in prop::collection::vec(prop::array::uniform3(value()), 0..20),
    ) {
        let pairs: Vec<_> = pairs.into_iter().enumerate().map(|(i, v)| (format!("k{i}"), v)).collect();
        let mut table = TableOut::new("t", &["rlnA", "b", "cé"]);
        table.cells = rows.iter().flatten().cloned().collect();
        let blocks = [BlockOut::Pairs { name: "g".into(), pairs: pairs.clone() }, BlockOut::Table(table)];
        let mut bytes = Vec::new();
        if let Err(error) = write(&mut bytes, Path::new("o.star"), &blocks) {
            // only values no quoting can hold
            prop_assert!(error.to_string().contains("cannot stand in a STAR file"));
            return Ok(());
        }
        let file = parse(std::str::from_utf8(&bytes).unwrap()).unwrap();
        let read: Vec<_> = file.block("g").unwrap().pairs().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        prop_assert_eq!(read, pairs);
        let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.to_vec()).collect();
        prop_assert_eq!(cells(&file, "t"), rows);
    }

    #[test]
    fn rubbish_never_panics(text in "[ -~\n\r\t]{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("data_\nloop_\n_a\n_b\n{text}"));
    }
}

#[test]
fn values_that_cannot_be_quoted_are_refused() {
    for bad in ["a\nb", "a\" b' c"] {
        let mut table = TableOut::new("t", &["a"]);
        table.cells.push(bad.into());
        let error = write(&mut Vec::new(), Path::new("o.star"), &[BlockOut::Table(table)]).unwrap_err();
        assert!(error.to_string().contains("o.star: the value of _a"), "{error}");
    }
}

/// Third-party files, or `None` with a line that says so.
fn test_data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var("VITREOUS_TESTDATA");
    match root {
        Ok(root) => Some(Path::new(&root).join(folder)),
        Err(_) => {
            println!("skipped: VITREOUS_TESTDATA not set");
            None
        }
    }
}

fn star_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            star_files(&entry.path(), found);
        } else if entry.path().extension().is_some_and(|e| e == "star") {
            found.push(entry.path());
        }
    }
}

#[test]
fn files_of_other_programs_are_read() {
    let Some(folder) = test_data("meta") else { return };
    let mut files = Vec::new();
    star_files(&folder, &mut files);
    assert!(files.len() >= 20, "{files:?}");
    for path in files {
        let file = StarFile::read(&path).unwrap_or_else(|e| panic!("{e}"));
        assert!(!file.blocks().is_empty(), "{}", path.display());
    }
    let quoted = StarFile::read(&folder.join("starfile/loop_single_quote.star")).unwrap();
    let first = ["noquote", "quote string", " ", "", "4.0", "5.0", "6.0", ""];
    assert_eq!(cells(&quoted, "")[0], first);
    let pipeline = StarFile::read(&folder.join("starfile/default_pipeline.star")).unwrap();
    assert_eq!(pipeline.block("pipeline_general").unwrap().pair("rlnPipeLineJobCounter"), Some("32"));
    assert_eq!(pipeline.table("pipeline_processes").unwrap().len(), 31);
    assert_eq!(StarFile::read(&folder.join("starfile/empty_loop.star")).unwrap().table("").unwrap().len(), 0);
}

#[test]
fn truncated_and_mutated_files_never_panic() {
    let Some(folder) = test_data("meta/starfile") else { return };
    let text = std::fs::read_to_string(folder.join("rln3.1_data_style.star")).unwrap();
    let consume = |text: String| {
        if let Ok(file) = StarFile::parse(Path::new("t.star"), text) {
            for table in file.blocks().iter().filter_map(|b| file.table(b.name())) {
                let mut rows = table.rows();
                let mut count = 0;
                while let Some(row) = rows.next() {
                    assert_eq!(row.cells.len(), table.columns().len());
                    count += 1;
                }
                assert_eq!(count, table.len());
            }
        }
    };
    for end in (0..text.len()).step_by(7) {
        consume(text[..end].to_string());
    }
    for at in (0..text.len()).step_by(11) {
        for byte in ["\"", "'", "#", "\n", "_", " ", "loop_", "data_"] {
            let mut mutated = text.clone();
            mutated.replace_range(at..at + 1, byte);
            consume(mutated);
        }
    }
}
