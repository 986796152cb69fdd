//! One picture in one PNG file that any program opens: the marks, the caption and the scale stand in a text chunk of it.
//! Stages leave one per exposure, so that a page can show the newest while the job still runs.

use crate::files::write_file;
use crate::raster::{self, Pixels};
use crate::{ReportError, clean};
use std::path::Path;
use vitreous_model::report::Figure;

/// Keyword of the text chunk.
const CHUNK: &str = "vitreous-figure";
/// No picture of ours is larger, bytes.
const LARGEST_FILE: u64 = 64 << 20;

/// Writes an image figure to `path`, whole or not at all.
///
/// # Errors
/// [`ReportError::Figure`] for a figure that is no image, or a raster without its pixels; [`ReportError::Io`].
pub fn write(path: &Path, figure: &Figure) -> Result<(), ReportError> {
    let figure = clean::cleaned_figure(figure);
    let Figure::Image { id, raster, .. } = &figure else {
        return Err(ReportError::figure(figure.id(), "only an image can be a picture in a file of its own"));
    };
    let text = serde_json::to_string(&figure)
        .map_err(|source| ReportError::Json { path: path.to_path_buf(), source })?;
    let pixels = Pixels::Grey(&raster.pixels);
    let png = raster::encode_with_text(id, raster.width, raster.height, pixels, Some((CHUNK, &text)))?;
    write_file(path, &png)
}

/// Reads back what [`write()`] wrote.
///
/// # Errors
/// [`ReportError::Io`]; [`ReportError::Png`] for a file that is no such picture; [`ReportError::Json`].
pub fn read(path: &Path) -> Result<Figure, ReportError> {
    let length = std::fs::metadata(path).map_err(ReportError::io("read", path))?.len();
    let foreign = |why: String| ReportError::Picture { path: path.to_path_buf(), why };
    if length > LARGEST_FILE {
        return Err(foreign(format!("it has {length} bytes, expected at most {LARGEST_FILE}")));
    }
    let bytes = std::fs::read(path).map_err(ReportError::io("read", path))?;
    let text = raster::text(&bytes, CHUNK).map_err(foreign)?;
    let mut figure: Figure = serde_json::from_str(&text)
        .map_err(|source| ReportError::Json { path: path.to_path_buf(), source })?;
    match &mut figure {
        Figure::Image { raster, .. } => raster.pixels = raster::decode(path, &bytes, raster)?,
        _ => return Err(foreign("its text is of a figure that is no image".into())),
    }
    Ok(figure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::report::{Axis, Mark, Raster};

    fn picture() -> Figure {
        Figure::Image {
            id: "m1".into(),
            title: "Mizelle, 3 Å".into(),
            raster: Raster { width: 3, height: 2, pixels: vec![0, 1, 2, 3, 4, 255], file: String::new() },
            marks: vec![Mark::Circle { x: 1.0, y: 2.0, radius: 0.5 }],
            pixel_size_a: Some(12.5),
        }
    }

    #[test]
    fn a_picture_comes_back_with_pixels_and_marks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m1.png");
        write(&path, &picture()).unwrap();
        assert_eq!(read(&path).unwrap(), picture());
    }

    #[test]
    fn what_is_no_picture_of_ours_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m1.png");
        write(&path, &picture()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let cut = folder.path().join("cut.png");
        for length in 0..whole.len() {
            write_file(&cut, &whole[..length]).unwrap();
            // the closing chunk says nothing about the pixels
            let Err(error) = read(&cut) else {
                assert!(length + 12 >= whole.len(), "{length} of {} bytes were read", whole.len());
                continue;
            };
            assert!(error.to_string().contains("cut.png"), "{length}: {error}");
        }
        let plain = raster::encode("x", 1, 1, Pixels::Grey(&[7])).unwrap();
        write_file(&cut, &plain).unwrap();
        assert!(read(&cut).unwrap_err().to_string().contains("no text chunk"));
        let plot = Figure::Plot {
            id: "p".into(),
            title: String::new(),
            x: Axis::new("", ""),
            y: Axis::new("", ""),
            series: Vec::new(),
            levels: Vec::new(),
            x_is_resolution: false,
            equal_axes: false,
        };
        assert!(write(&cut, &plot).unwrap_err().to_string().contains("only an image"));
    }
}
