//! crYOLO's `.cbox` files: boxes with a confidence.
//!
//! Since crYOLO 1.8 they are STAR files whose block `data_cryolo` has `CoordinateX`, `CoordinateY` (the corner of the box
//! nearest to the first pixel), `Width`, `Height` and `Confidence`; `<NA>` stands for what is not known. Earlier ones are
//! lines of `x y width height confidence …`.

use crate::box_file::{self, BoxError, ParticleBox};
use crate::star::{StarError, StarFile};
use std::path::Path;

/// A `.cbox` file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CboxError {
    /// Of the newer kind.
    #[error(transparent)]
    Star(#[from] StarError),
    /// Of the older kind.
    #[error(transparent)]
    Lines(#[from] BoxError),
}

/// Reads a file of either kind.
///
/// # Errors
/// A file that cannot be read, is of neither kind, or lacks a column.
pub fn read_cbox(path: &Path) -> Result<Vec<ParticleBox>, CboxError> {
    let io = |source| CboxError::Lines(BoxError::Io { path: path.into(), source });
    let text = String::from_utf8_lossy(&std::fs::read(path).map_err(io)?).into_owned();
    if text.lines().any(|line| line.trim_start().starts_with("data_")) {
        return Ok(of_star(&StarFile::parse(path, text)?)?);
    }
    Ok(box_file::parse(path, &text, true)?)
}

fn of_star(file: &StarFile) -> Result<Vec<ParticleBox>, StarError> {
    const NEEDED_FOR: &str = "the boxes";
    let table = file.table("cryolo").ok_or_else(|| StarError::MissingBlock {
        path: file.path().into(),
        block: "cryolo".into(),
        found: file.block_names(),
        needed_for: NEEDED_FOR,
    })?;
    let column = |label: &str| table.need(label, NEEDED_FOR);
    let (x, y) = (column("CoordinateX")?, column("CoordinateY")?);
    let (width, height) = (column("Width")?, column("Height")?);
    let score = table.find("Confidence");
    let mut boxes = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let (corner, size) = ([row.f64(x)?, row.f64(y)?], [row.f64(width)?, row.f64(height)?]);
        // `<NA>` is no number
        let score = score.and_then(|column| row.f64(column).ok()).unwrap_or(f64::NAN);
        let found = ParticleBox::from_corner(corner, size, score);
        if !found.is_sound() {
            let culprit = if size.iter().all(|edge| *edge > 0.0) { x } else { width };
            return Err(row.bad(culprit, "a position in an image, and a positive width and height (pixels)"));
        }
        boxes.push(found);
    }
    Ok(boxes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
100.0 200.0 <NA> 50.0 60.0 1 48.1 48.9 0.87 <NA> <NA>
-5.0 8.0 <NA> 50.0 50.0 1 <NA> <NA> <NA> <NA> <NA>

data_cryolo_include

loop_
_slice_index #1
";

    fn read(text: &str) -> Result<Vec<ParticleBox>, CboxError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cbox");
        #[expect(clippy::disallowed_methods, reason = "a file to read back")]
        std::fs::write(&path, text).unwrap();
        read_cbox(&path)
    }

    #[test]
    fn both_kinds_are_read() {
        let boxes = read(NEW).unwrap();
        assert_eq!(boxes.len(), 2);
        assert_eq!((boxes[0].centre_px, boxes[0].score), ([125.0, 230.0], 0.87));
        assert!(boxes[1].score.is_nan());
        let boxes = read("100 200 50 60 0.87 48 48\n").unwrap();
        assert_eq!((boxes[0].centre_px, boxes[0].score), ([125.0, 230.0], 0.87));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&NEW.replace("_Width #4", "_Breadth #4")).unwrap_err().to_string();
        assert!(error.contains("Width"), "{error}");
        let error = read(&NEW.replace("data_cryolo\n", "data_other\n")).unwrap_err().to_string();
        assert!(error.contains("data_cryolo"), "{error}");
        let error = read(&NEW.replace("50.0 60.0", "0 60.0")).unwrap_err().to_string();
        assert!(error.contains("positive width"), "{error}");
        for absurd in ["nan", "inf", "-1e300"] {
            let error =
                read(&NEW.replace("100.0 200.0", &format!("{absurd} 200.0"))).unwrap_err().to_string();
            assert!(error.contains(&format!("_CoordinateX holds `{absurd}`")), "{error}");
        }
    }
}
