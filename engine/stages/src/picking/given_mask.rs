//! Masks of contamination that another program or a person made, one for each micrograph.

use crate::{Ctx, StageError};
use ndarray::Array2;
use std::path::{Path, PathBuf};
use vitreous_formats::open_image;
use vitreous_model::exposure::Exposure;

/// The aspect ratio of a mask may differ from that of its micrograph by this: sizes are rounded when one is binned.
const ASPECT_TOLERANCE: f64 = 0.02;

/// Where a micrograph is contaminated; spread over it whatever its own size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GivenMask {
    /// `[height, width]`.
    on: Array2<bool>,
}

impl GivenMask {
    /// From values `[height, width]`: contamination is what lies above `threshold`.
    pub fn of(values: &Array2<f32>, threshold: f64) -> Self {
        Self { on: values.mapv(|v| f64::from(v) > threshold) }
    }

    /// Whether the pixel nearest to a place of a micrograph of `width` × `height` pixels is contaminated; what lies
    /// outside is not.
    pub fn covers(&self, x_px: f64, y_px: f64, width: usize, height: usize) -> bool {
        let (rows, columns) = self.on.dim();
        let at = |place: f64, length: usize, mask: usize| -> Option<usize> {
            let part = (place.round() + 0.5) / length as f64;
            (0.0..1.0).contains(&part).then_some((part * mask as f64) as usize)
        };
        match (at(y_px, height, rows), at(x_px, width, columns)) {
            (Some(y), Some(x)) => self.on[[y, x]],
            _ => false,
        }
    }
}

/// The mask of an exposure, if there is a file of its name; `masks` is a path with a `*` in place of it.
///
/// # Errors
/// A file that cannot be read, or whose shape is not that of the micrograph.
pub(crate) fn of(
    ctx: &Ctx<'_>,
    masks: Option<&Path>,
    threshold: f64,
    exposure: &Exposure,
) -> Result<Option<GivenMask>, StageError> {
    let Some(path) = path_of(ctx, masks, &exposure.name).filter(|path| path.exists()) else {
        return Ok(None);
    };
    let values = read(&path)?;
    if let Some(micrograph) = &exposure.micrograph {
        let aspect = values.ncols() as f64 / values.nrows() as f64;
        let expected = f64::from(micrograph.width) / f64::from(micrograph.height);
        if (aspect / expected - 1.0).abs() > ASPECT_TOLERANCE {
            let what = format!(
                "{}: the mask has {} × {} px, the micrograph {} × {}",
                path.display(),
                values.ncols(),
                values.nrows(),
                micrograph.width,
                micrograph.height
            );
            return Err(StageError::input(what, "give masks of the same shape as the micrographs"));
        }
    }
    Ok(Some(GivenMask::of(&values, threshold)))
}

/// Changes when the mask does: its path, length and time of change; empty without one.
pub(crate) fn fingerprint(ctx: &Ctx<'_>, masks: Option<&Path>, exposure: &Exposure) -> String {
    let file = path_of(ctx, masks, &exposure.name).and_then(|path| std::fs::metadata(path).ok());
    file.map(|file| format!("mask {} {:?}", file.len(), file.modified().ok())).unwrap_or_default()
}

/// Where the mask of a micrograph would be; `None` if no masks are given.
fn path_of(ctx: &Ctx<'_>, masks: Option<&Path>, name: &str) -> Option<PathBuf> {
    Some(ctx.resolve(&masks?.to_string_lossy().replace('*', name)))
}

fn read(path: &Path) -> Result<Array2<f32>, StageError> {
    let file = open_image(path)?;
    let (width, height) = (file.header().width, file.header().height);
    let mut values = vec![0.0; file.header().frame_len()];
    file.read_frame_in_pool(0, &mut values)?;
    Ok(Array2::from_shape_vec((height, width), values)
        .expect("a frame should have as many pixels as its header says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_any_size_covers_the_same_part() {
        let part =
            |n: usize| Array2::from_shape_fn((n, 2 * n), |(y, x)| f32::from(u8::from(y < n / 2 && x >= n)));
        for n in [50, 10, 4] {
            let mask = GivenMask::of(&part(n), 0.5);
            assert!(mask.covers(150.0, 10.0, 200, 100) && mask.covers(100.0, 49.4, 200, 100), "{n}");
            assert!(!mask.covers(150.0, 60.0, 200, 100) && !mask.covers(99.4, 10.0, 200, 100), "{n}");
            assert!(!mask.covers(-3.0, 10.0, 200, 100) && !mask.covers(250.0, 10.0, 200, 100));
        }
    }

    #[test]
    fn values_at_the_threshold_are_clean() {
        let mask = GivenMask::of(&ndarray::arr2(&[[0.5, 0.51]]), 0.5);
        assert!(!mask.covers(0.0, 0.0, 2, 1) && mask.covers(1.0, 0.0, 2, 1));
    }
}
