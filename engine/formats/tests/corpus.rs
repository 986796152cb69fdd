//! Replays the corpus of the fuzz targets (`fuzz/corpus/TARGET/`): seeds of every kind of file, and what fuzzing found.

#![allow(clippy::unwrap_used)] // a test

mod fuzzed;

use std::path::Path;

#[test]
fn the_corpus_of_every_target_gives_values_or_errors() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, run) in fuzzed::TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(corpus.join(target)).unwrap_or_else(|e| panic!("{target}: {e}")) {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes.len() <= 16 << 10, "{}: seeds are small", path.display());
            run(&bytes);
            files += 1;
        }
        assert!(files >= 2, "{target}: {files} seeds");
    }
}
