//! EMAN's box files: one box a line, `x y width height`, of which x and y are the corner nearest to the first pixel.
//!
//! Further columns (EMAN1 writes a fifth) are ignored, as are empty lines and those that start with `#`. The corner may
//! lie outside the image. Conversion: centre = corner + size / 2, in pixels from the first stored pixel, as EMAN2's
//! `EMAN2DB` and RELION's import read them.

use std::path::{Path, PathBuf};

/// A box of a particle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParticleBox {
    /// Column and row of the centre, pixels; the first stored pixel is 0, 0.
    pub centre_px: [f64; 2],
    /// Width and height, pixels.
    pub size_px: [f64; 2],
    /// The picker's confidence; NaN: none.
    pub score: f64,
}

/// Pixels that no image has: beyond it, a box is no box.
const ABSURD_PX: f64 = 1e9;

impl ParticleBox {
    /// From the corner nearest to the first pixel.
    pub fn from_corner(corner_px: [f64; 2], size_px: [f64; 2], score: f64) -> Self {
        Self { centre_px: [0, 1].map(|i| corner_px[i] + 0.5 * size_px[i]), size_px, score }
    }

    /// Whether it has an extent, and lies where an image may be.
    pub(crate) fn is_sound(&self) -> bool {
        let numbers = self.centre_px.iter().chain(&self.size_px);
        numbers.into_iter().all(|value| value.abs() < ABSURD_PX)
            && self.size_px.iter().all(|edge| *edge > 0.0)
    }
}

/// A box file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BoxError {
    /// The operating system refused.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line is no box.
    #[error("{path}: line {line} is `{found}`, expected {expected}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Its beginning.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// Reads a box file.
///
/// # Errors
/// A file that cannot be read, or a line that is no box.
pub fn read_boxes(path: &Path) -> Result<Vec<ParticleBox>, BoxError> {
    let bytes = std::fs::read(path).map_err(|source| BoxError::Io { path: path.into(), source })?;
    parse(path, &String::from_utf8_lossy(&bytes), false)
}

/// The boxes of a text. `has_score`: the fifth column, if there, is a confidence.
pub(crate) fn parse(path: &Path, text: &str, has_score: bool) -> Result<Vec<ParticleBox>, BoxError> {
    const SHOWN: usize = 60;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| {
            let number = |word: &str| word.parse::<f64>().ok().filter(|value| value.is_finite());
            let words: Vec<Option<f64>> = line.split_whitespace().take(5).map(number).collect();
            let bad = || BoxError::Line {
                path: path.into(),
                line: index + 1,
                found: line.chars().take(SHOWN).collect(),
                expected: "four numbers: x and y of the corner, width, height (pixels)",
            };
            let [Some(x), Some(y), Some(width), Some(height), rest @ ..] = words.as_slice() else {
                return Err(bad());
            };
            let score = rest.first().copied().flatten().filter(|_| has_score).unwrap_or(f64::NAN);
            let found = ParticleBox::from_corner([*x, *y], [*width, *height], score);
            if found.is_sound() { Ok(found) } else { Err(bad()) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_box_is_a_corner_and_a_size() {
        let text = "# picks\n100\t-20\t50\t60\n\n  1.5 2 4 4 -3\r\n";
        let boxes = parse(Path::new("a.box"), text, false).unwrap();
        assert_eq!(boxes.len(), 2);
        assert_eq!((boxes[0].centre_px, boxes[0].size_px), ([125.0, 10.0], [50.0, 60.0]));
        assert_eq!(boxes[1].centre_px, [3.5, 4.0]);
        assert!(boxes.iter().all(|b| b.score.is_nan()));
    }

    #[test]
    fn what_is_no_box_is_named_by_its_line() {
        for text in ["1 2 3", "1 2 x 4", "1 2 0 4", "1 2 3 nan", "0 0 -3 3", "1e308 0 1e308 3"] {
            let error = parse(Path::new("a.box"), &format!("1 2 3 4\n{text}\n"), false).unwrap_err();
            assert!(error.to_string().starts_with(&format!("a.box: line 2 is `{text}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_boxes_or_an_error(text in "[0-9a-z .#\\n\\t-]{0,200}") {
            let _ = parse(Path::new("a.box"), &text, true);
        }
    }
}
