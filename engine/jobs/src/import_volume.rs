//! `import-volume`: a map made elsewhere, resampled and low-passed on request.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::{choices, parameters};

choices! {
    /// Which of a CryoSPARC group's maps.
    pub enum GroupMap {
        /// The map as it was reconstructed.
        #[default]
        Map = "map",
        /// The sharpened map.
        Sharp = "sharp",
        /// The map of the first half-set.
        HalfA = "half-a",
        /// The map of the second half-set.
        HalfB = "half-b",
    }
}

parameters! {
    /// Parameters of `import-volume`.
    pub struct ImportVolume {
        /// The map, required: MRC, or a CryoSPARC dataset (.cs) or group (.csg) that names it.
        pub volume: Option<PathBuf> = None;
        /// With a dataset or group: which of its maps.
        pub group_map: GroupMap = GroupMap::Map;
        /// With a dataset or group: folder that its paths are relative to; left out, the nearest above it in which they exist.
        pub root: Option<PathBuf> = None;
        /// Pixel size of the file, where its header is wrong.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Pixel size after resampling; left out, that of the particles, or the map's own.
        pub target_pixel_size: Option<f64> = None, unit "Å";
        /// Box edge after resampling; left out, that of the particles, or what holds the whole map.
        pub target_box: Option<u32> = None, unit "px";
        /// Low-pass filter; left out, none.
        pub low_pass: Option<f64> = None, unit "Å";
        /// Mirror the map (the other hand).
        pub flip_hand: bool = false;
    }
}

impl Validate for ImportVolume {
    fn validate(&self) -> Result<(), BadParam> {
        if self.volume.is_none() {
            return Err(BadParam::new("volume", "", "is required").hint("give --volume map.mrc"));
        }
        for (key, value) in [("target_pixel_size", self.target_pixel_size), ("low_pass", self.low_pass)] {
            if let Some(value) = value {
                microscope::check_positive(key, value)?;
            }
        }
        if let Some(box_px) = self.target_box {
            BadParam::unless(
                (8..=4096).contains(&box_px),
                "target_box",
                box_px,
                "must lie between 8 and 4096 px",
            )?;
        }
        microscope::check(self.pixel_size, None, None, None)
    }

    fn example() -> Self {
        Self { volume: Some("emd_1234.map".into()), low_pass: Some(40.0), ..Self::default() }
    }
}

/// The job type.
pub static JOB: Typed<ImportVolume> = Typed {
    name: "import-volume",
    summary: "a map made elsewhere, resampled and low-passed on request",
    inputs: &[Slot::optional(
        "particles",
        Kind::Particles,
        "particles whose box and pixel size the map shall have",
    )],
    outputs: &[Slot::required("volume", Kind::Volume, "the map")],
    per_item: false,
    on_gpu: false,
    estimate: |params, inputs| {
        let edge = u64::from(params.target_box.or(inputs.box_px).unwrap_or(512)).max(512);
        Estimate::default().mem_mib(
            512 + edge.pow(3) * 32 / (1 << 20),
            format!("512 MiB + 32 bytes for each voxel of a box of {edge}, as large as maps are or larger"),
        )
    },
};
