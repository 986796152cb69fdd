//! Any bytes as a TIFF file: an error or values, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vitreous_formats::FrameSource;
use vitreous_formats::tiff::TiffReader;

fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::Builder::new().suffix(".tif").tempfile().expect("a temporary file should be had");
    std::fs::write(file.path(), bytes).expect("a temporary file should be writable");
    let Ok(source) = TiffReader::open(file.path()) else { return };
    let mut out = vec![0.0; source.header().frame_len()];
    for frame in 0..source.header().frames.min(4) {
        let _ = source.read_frame_at(frame, &mut out);
    }
});
