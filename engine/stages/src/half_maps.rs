//! The half maps that come with a map, and a mask for them. Nothing is measured here.

use crate::{Input, StageError};
use ndarray::Array3;
use std::path::Path;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::mask::{AutoMask, Level, USUAL_LEAST_PART, USUAL_LEVEL, auto_mask};
use vitreous_formats::mrc;
use vitreous_model::conventions::resolution_at;

/// The map is low-passed to this for the mask, or to 1.5 times its resolution if that is coarser.
const MASK_LOW_PASS_A: f64 = 12.0;

/// Two half maps of one cubic box.
pub(crate) struct Halves {
    /// The maps, `[n, n, n]`.
    pub maps: [Array3<f32>; 2],
    /// Voxel edge, Å.
    pub pixel_a: f64,
}

impl Halves {
    /// Those of a volume.
    ///
    /// # Errors
    /// The volume has none, or they are broken, no cubes, or of different boxes.
    pub fn read(input: &Input) -> Result<Self, StageError> {
        let part = |role: &str| {
            input.parts.get(role).ok_or_else(|| {
                StageError::input(
                    format!(
                        "the map of {} has no part `{role}`: there are no half maps to compare",
                        input.job
                    ),
                    "give a map made by refine-homogeneous or reconstruct",
                )
            })
        };
        let (first, second) = (part("half1")?, part("half2")?);
        let (one, two) = (mrc::read_volume(first)?, mrc::read_volume(second)?);
        let shape = one.data.dim();
        if shape.0 != shape.1 || shape.1 != shape.2 {
            return Err(misfit(first, shape, "a cube"));
        }
        if two.data.dim() != shape {
            return Err(misfit(
                second,
                two.data.dim(),
                &format!("{0} × {0} × {0} as {1}", shape.0, first.display()),
            ));
        }
        let pixel_a = input.output.pixel_size_a.unwrap_or(one.voxel_a);
        Ok(Self { maps: [one.data, two.data], pixel_a })
    }

    /// Edge of the box, voxels.
    pub fn n(&self) -> usize {
        self.maps[0].dim().0
    }

    /// Their mean, `[n, n, n]`.
    pub fn mean(&self) -> Array3<f32> {
        (&self.maps[0] + &self.maps[1]) * 0.5
    }

    /// A mask from a file.
    ///
    /// # Errors
    /// It cannot be read or has another box.
    pub fn mask(&self, path: &Path) -> Result<Array3<f32>, StageError> {
        let mask = mrc::read_volume(path)?.data;
        if mask.dim() == self.maps[0].dim() {
            return Ok(mask);
        }
        Err(misfit(path, mask.dim(), &format!("{0} × {0} × {0}", self.n())))
    }

    /// A mask made from their mean: `level` is a share of its high density (`None`: the usual one), `extend_a` and
    /// `edge_a` in Å.
    ///
    /// # Errors
    /// Nothing is above the level.
    pub fn automatic_mask(
        &self,
        level: Option<f64>,
        extend_a: f64,
        edge_a: f64,
    ) -> Result<Array3<f32>, StageError> {
        let [one, two] = &self.maps;
        let (n, pixel_a) = (self.n(), self.pixel_a);
        let (rough_a, _) = resolution_at(&fsc_of_maps(one.view(), two.view(), None), 0.143, n, pixel_a);
        let low_pass_a = MASK_LOW_PASS_A.max(1.5 * rough_a);
        let how = AutoMask {
            low_pass_radius: n as f64 * pixel_a / low_pass_a,
            level: Level::OfHigh(level.unwrap_or(USUAL_LEVEL)),
            least_part: USUAL_LEAST_PART,
            extend_px: extend_a / pixel_a,
            edge_px: edge_a / pixel_a,
        };
        auto_mask(self.mean().view(), &how)
            .map(|masked| masked.mask)
            .map_err(|error| StageError::input(error.to_string(), "give a mask, or another mask_level"))
    }
}

fn misfit(path: &Path, (z, y, x): (usize, usize, usize), expected: &str) -> StageError {
    StageError::input(
        format!("{}: found {x} × {y} × {z} voxels, expected {expected}", path.display()),
        "both halves and the mask must have the same cubic box",
    )
}
