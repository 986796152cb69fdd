//! How much disk a job's folder takes, without looking at every one of tens of thousands of files.

use std::fs::DirEntry;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A folder with more files than this is estimated from so many of them.
const LOOKED_AT: usize = 400;
/// Bytes of a block as `stat` counts them.
const BLOCK: u64 = 512;

/// Bytes in a job's folder, and whether they are an estimate. Folders of attempts, which hold logs, are left out.
pub fn used(folder: &Path) -> (u64, bool) {
    let (mut files, mut total): (Vec<DirEntry>, _) = (Vec::new(), (0, false));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !entry.file_name().to_string_lossy().starts_with("attempt-") => {
                let (bytes, is_estimate) = used(&entry.path());
                total = (total.0 + bytes, total.1 | is_estimate);
            }
            Ok(kind) if kind.is_file() => files.push(entry),
            _ => {}
        }
    }
    let step = files.len().div_ceil(LOOKED_AT).max(1);
    let (mut bytes, mut looked_at) = (0, 0u64);
    for entry in files.iter().step_by(step) {
        // a file that is renamed meanwhile is looked at next time
        if let Ok(meta) = entry.metadata() {
            bytes += meta.blocks() * BLOCK;
            looked_at += 1;
        }
    }
    if step > 1 && looked_at > 0 {
        bytes = (bytes as f64 / looked_at as f64 * files.len() as f64) as u64;
    }
    (total.0 + bytes, total.1 | (step > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "tests plant files")]
    fn many_files_are_estimated_and_few_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("micrographs");
        std::fs::create_dir(&inside).unwrap();
        for i in 0..10 {
            std::fs::write(inside.join(format!("{i}.mrc")), vec![1u8; 8192]).unwrap();
        }
        let (few, is_estimate) = used(folder.path());
        assert!((81_920..200_000).contains(&few) && !is_estimate, "{few}");
        for i in 10..1000 {
            std::fs::write(inside.join(format!("{i}.mrc")), vec![1u8; 8192]).unwrap();
        }
        let (many, is_estimate) = used(folder.path());
        assert!(is_estimate && (many as f64 / (100.0 * few as f64) - 1.0).abs() < 0.05, "{many} {few}");
        std::fs::create_dir(folder.path().join("attempt-01")).unwrap();
        std::fs::write(folder.path().join("attempt-01/events.jsonl"), vec![1u8; 100_000]).unwrap();
        assert_eq!(used(folder.path()).0, many);
    }
}
