//! `outputs.json`: what a finished job offers to the next one.

use serde::{Deserialize, Serialize};

/// What a slot carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Table of exposures that have movies.
    Movies,
    /// Table of exposures that have micrographs.
    Micrographs,
    /// Table of particle positions on micrographs.
    Picks,
    /// Table of particles with images.
    Particles,
    /// One density map with, optionally, its half maps.
    Volume,
    /// A mask volume, 0 to 1.
    Mask,
    /// Resolution of a map at each of its voxels, Å; 0 where there is none.
    LocalResolution,
    /// Table of class averages with their stack.
    ClassAverages,
    /// Files for another program or for people; no job of ours reads them.
    Files,
}

impl Kind {
    /// The word used in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Movies => "movies",
            Self::Micrographs => "micrographs",
            Self::Picks => "picks",
            Self::Particles => "particles",
            Self::Volume => "volume",
            Self::Mask => "mask",
            Self::LocalResolution => "local-resolution",
            Self::ClassAverages => "class-averages",
            Self::Files => "files",
        }
    }
}

/// One output of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Name of the output slot.
    pub slot: String,
    /// What it carries.
    pub kind: Kind,
    /// Main file, relative to the job directory.
    pub path: String,
    /// Further files by role, relative to the job directory: `half1`, `half2`, `mask`, `star` …
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub parts: std::collections::BTreeMap<String, String>,
    /// Rows of the table; 1 for a volume.
    pub count: u64,
    /// Pixel size, Å.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_size_a: Option<f64>,
    /// Box edge, pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub box_px: Option<u32>,
    /// Width and height of a micrograph or movie frame, pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_px: Option<[u32; 2]>,
    /// Frames of a movie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
}

impl Output {
    /// An output of which only the essentials are known.
    pub fn new(slot: &str, kind: Kind, path: &str, count: u64) -> Self {
        Self {
            slot: slot.into(),
            kind,
            path: path.into(),
            parts: Default::default(),
            count,
            pixel_size_a: None,
            box_px: None,
            frame_px: None,
            frames: None,
        }
    }
}

/// The file `outputs.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outputs {
    /// Version of the layout, [`crate::SCHEMA`].
    pub schema: u32,
    /// All outputs, in the order of the job type's slots.
    pub outputs: Vec<Output>,
}
