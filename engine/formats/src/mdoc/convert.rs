//! SerialEM's keys and what they are here: the only place that knows SerialEM's units.

use super::{Mdoc, MdocError, Section};
use vitreous_model::acquisition::{Acquisition, BeamShift, ShiftUnit};
use vitreous_model::exposure::GainFlip;

/// Two doses of frames that differ by less, relative to the larger, are the same.
const SAME_DOSE: f64 = 1e-3;
/// Size of numbers that no instrument writes: beyond it, products would overflow.
const ABSURD: f64 = 1e100;

/// How the movie that this file describes was recorded.
///
/// | SerialEM | unit there | here |
/// |---|---|---|
/// | `Voltage` (global) | kV | `voltage_kv` |
/// | `PixelSpacing` | Å, of the frames as saved | `pixel_size_a` |
/// | `ExposureDose` | e/Å²; 0: not calibrated | `total_dose` |
/// | `FrameDosesAndNumber` | pairs: e/Å² a frame, frames | `dose_per_frame`, if all pairs agree; and `total_dose` |
/// | `PriorRecordDose` | e/Å² | `pre_exposure` |
/// | `NumSubFrames` | – | `frames` |
/// | `ImageShift` | µm | `beam_shift` |
/// | `GainReference`, `DefectFile` | file names | `gain_name`, `defects_name` |
/// | `RotationAndFlip` | quarter turns counter-clockwise; with 4 added, after a mirror in x | `gain_orientation` |
///
/// A mirror before a turn by q is a turn by 4 - q before the mirror, the order used here.
/// `DoseRate` (electrons per unbinned pixel and second at the camera) is no dose at the specimen and not used.
///
/// # Errors
/// A file without a frame set, or with a value that is none.
pub fn acquisition(mdoc: &Mdoc) -> Result<Acquisition, MdocError> {
    let set = mdoc.sections.iter().find(|section| section.kind == "FrameSet").ok_or_else(|| {
        let first = mdoc.sections.first();
        let found = first.map_or("no sections".to_string(), |s| format!("sections [{} = …]", s.kind));
        MdocError::NoFrameSet { path: mdoc.path.clone(), found }
    })?;
    let values = Values { mdoc, set };
    let (doses, dose_total) = values.frame_doses()?;
    Ok(Acquisition {
        source: mdoc.path.to_string_lossy().into_owned(),
        voltage_kv: values.positive("Voltage")?,
        pixel_size_a: values.positive("PixelSpacing")?,
        image_width_px: None,
        total_dose: values.positive("ExposureDose")?.or(dose_total),
        dose_per_frame: doses,
        pre_exposure: values.positive("PriorRecordDose")?,
        frames: values.positive("NumSubFrames")?.map(|frames| frames as u32),
        magnification: values.positive("Magnification")?,
        beam_shift: values.pair("ImageShift")?.map(|xy| BeamShift { xy, unit: ShiftUnit::Micrometre }),
        gain_name: values.file_name("GainReference"),
        gain_orientation: values.orientation()?,
        defects_name: values.file_name("DefectFile"),
    })
}

/// The values of a frame set, and behind them the global ones.
struct Values<'a> {
    mdoc: &'a Mdoc,
    set: &'a Section,
}

impl Values<'_> {
    fn get(&self, key: &str) -> Option<(&str, usize)> {
        self.set.get(key).or_else(|| self.mdoc.global.get(key))
    }

    fn bad(&self, key: &str, found: &str, line: usize, expected: &'static str) -> MdocError {
        let path = self.mdoc.path.clone();
        MdocError::Value { path, line, key: key.into(), found: found.into(), expected }
    }

    /// All numbers of a value; none if the key is missing.
    fn numbers(&self, key: &str, expected: &'static str) -> Result<Vec<f64>, MdocError> {
        let Some((text, line)) = self.get(key) else { return Ok(Vec::new()) };
        let parse = |word: &str| word.parse::<f64>().ok().filter(|value| value.abs() < ABSURD);
        let numbers: Option<Vec<f64>> = text.split_whitespace().map(parse).collect();
        numbers.filter(|n| !n.is_empty()).ok_or_else(|| self.bad(key, text, line, expected))
    }

    /// A number; `None` if it is missing or 0, which SerialEM writes when it does not know.
    fn positive(&self, key: &str) -> Result<Option<f64>, MdocError> {
        const EXPECTED: &str = "a number of 0 or more";
        match self.numbers(key, EXPECTED)?.as_slice() {
            [] => Ok(None),
            [value] if *value >= 0.0 => Ok(Some(*value).filter(|value| *value > 0.0)),
            _ => {
                let (text, line) = self.get(key).unwrap_or_default();
                Err(self.bad(key, text, line, EXPECTED))
            }
        }
    }

    fn pair(&self, key: &str) -> Result<Option<[f64; 2]>, MdocError> {
        const EXPECTED: &str = "two numbers";
        match self.numbers(key, EXPECTED)?.as_slice() {
            [] => Ok(None),
            [x, y] => Ok(Some([*x, *y])),
            _ => {
                let (text, line) = self.get(key).unwrap_or_default();
                Err(self.bad(key, text, line, EXPECTED))
            }
        }
    }

    /// Dose of a frame, if it is known and all have the same, and of all frames, if it is known.
    fn frame_doses(&self) -> Result<(Option<f64>, Option<f64>), MdocError> {
        const KEY: &str = "FrameDosesAndNumber";
        const EXPECTED: &str = "pairs of a dose and a number of frames";
        let numbers = self.numbers(KEY, EXPECTED)?;
        let pairs = numbers.chunks_exact(2);
        if !pairs.remainder().is_empty() || pairs.clone().any(|pair| pair[0] < 0.0 || pair[1] < 1.0) {
            let (text, line) = self.get(KEY).unwrap_or_default();
            return Err(self.bad(KEY, text, line, EXPECTED));
        }
        let total: f64 = pairs.clone().map(|pair| pair[0] * pair[1]).sum();
        let high = pairs.clone().map(|pair| pair[0]).fold(0.0, f64::max);
        let low = pairs.map(|pair| pair[0]).fold(high, f64::min);
        let is_same = high > 0.0 && high - low <= SAME_DOSE * high;
        Ok((is_same.then_some(high), (low > 0.0).then_some(total)))
    }

    /// The last part of a path of Windows or Unix.
    fn file_name(&self, key: &str) -> Option<String> {
        let (text, _) = self.get(key)?;
        let name = text.rsplit(['\\', '/']).next()?.trim();
        (!name.is_empty()).then(|| name.to_string())
    }

    fn orientation(&self) -> Result<Option<(u32, GainFlip)>, MdocError> {
        const KEY: &str = "RotationAndFlip";
        const EXPECTED: &str = "0 to 7";
        let Some((text, line)) = self.get(KEY) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(turns @ 0..4) => Ok(Some((turns, GainFlip::None))),
            Ok(code @ 4..8) => Ok(Some(((8 - code) % 4, GainFlip::X))),
            _ => Err(self.bad(KEY, text, line, EXPECTED)),
        }
    }
}
