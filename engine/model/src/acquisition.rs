//! What the microscope's software wrote down of one exposure, whichever software it was. Absent is not known.

use crate::exposure::GainFlip;
use serde::{Deserialize, Serialize};

/// How one movie was recorded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Acquisition {
    /// The file that says so.
    pub source: String,
    /// Acceleration voltage, kV.
    pub voltage_kv: Option<f64>,
    /// Pixel size of the image this describes, Å: of a movie of [`Acquisition::image_width_px`] columns, if that is known.
    pub pixel_size_a: Option<f64>,
    /// Columns of that image.
    pub image_width_px: Option<u32>,
    /// Dose of the whole movie at the specimen, e/Å².
    pub total_dose: Option<f64>,
    /// Dose of one frame at the specimen, e/Å²; only if all frames got the same.
    pub dose_per_frame: Option<f64>,
    /// Dose before the first frame, e/Å².
    pub pre_exposure: Option<f64>,
    /// Frames that were saved.
    pub frames: Option<u32>,
    /// Nominal magnification.
    pub magnification: Option<f64>,
    /// Deflection of the beam on the specimen.
    pub beam_shift: Option<BeamShift>,
    /// Gain reference as its file is named, without folders.
    pub gain_name: Option<String>,
    /// What brings that gain onto the frames: quarter turns counter-clockwise, then the mirror.
    pub gain_orientation: Option<(u32, GainFlip)>,
    /// The camera's list of defects as its file is named, without folders.
    pub defects_name: Option<String>,
}

/// Where the beam was put by its deflectors: exposures of one shift share beam tilt and other aberrations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BeamShift {
    /// Along the two axes of the deflectors.
    pub xy: [f64; 2],
    /// The unit of both.
    pub unit: ShiftUnit,
}

/// Unit of a [`BeamShift`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShiftUnit {
    /// The microscope's own, without dimension (EPU).
    Own,
    /// Micrometres in the plane of the specimen (SerialEM's image shift).
    Micrometre,
}

impl ShiftUnit {
    /// As on an axis.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Own => "a.u.",
            Self::Micrometre => "µm",
        }
    }
}
