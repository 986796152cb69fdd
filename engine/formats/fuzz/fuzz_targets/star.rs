//! Any text as a STAR file: an error, or tables whose rows all have their cells; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use vitreous_formats::star::StarFile;
use vitreous_formats::star::convert::{Fallback, read_coordinates, read_micrographs, read_particles};

fuzz_target!(|text: &str| {
    let Ok(star) = StarFile::parse(Path::new("fuzz.star"), text.to_string()) else { return };
    for table in star.blocks().iter().filter_map(|block| star.table(block.name())) {
        let mut rows = table.rows();
        let mut count = 0;
        while let Some(row) = rows.next() {
            assert_eq!(row.cells.len(), table.columns().len());
            count += 1;
        }
        assert_eq!(count, table.len());
    }
    let file = tempfile::Builder::new().suffix(".star").tempfile().expect("a temporary file should be had");
    std::fs::write(file.path(), text).expect("a temporary file should be writable");
    let same = |path: &str| path.to_string();
    let _ = read_particles(file.path(), &same, &Fallback::default());
    let _ = read_micrographs(file.path(), &same);
    let _ = read_coordinates(file.path(), Some("m1"));
});
