//! EPU's elements and what they are here: the only place that knows EPU's units.

use super::EpuError;
use roxmltree::{Document, Node, ParsingOptions};
use std::io::Read;
use std::path::Path;
use vitreous_model::acquisition::{Acquisition, BeamShift, ShiftUnit};

/// The longest file that is read, bytes: those of EPU 2 and 3 have some ten thousand.
pub(super) const LIMIT: u64 = 4 << 20;
/// Most nodes of a file: EPU's have some five hundred, more with many dose fractions.
const NODE_LIMIT: u32 = 200_000;
/// Characters of a bad value that an error quotes.
const QUOTED: usize = 60;

const A_PER_M: f64 = 1e10;
const KV_PER_V: f64 = 1e-3;
/// Sizes of numbers that no instrument writes: beyond them, a change of units would overflow or vanish.
const ABSURD: f64 = 1e100;
/// e/Å² in one e/m².
const PER_A2_IN_PER_M2: f64 = 1e-20;

/// Reads how a movie was recorded from EPU's file of the exposure.
///
/// | EPU | unit there | here |
/// |---|---|---|
/// | `gun/AccelerationVoltage` | V | `voltage_kv` |
/// | `SpatialScale/pixelSize/x/numericValue` | m | `pixel_size_a` |
/// | `camera/ReadoutArea/width` over `camera/Binning/x` | px | `image_width_px` |
/// | `CustomData`, key `Dose` | e/m² | `total_dose` |
/// | `DoseFractions` (number of them) or `NumberOffractions` | – | `frames` |
/// | `optics/TemMagnification/NominalMagnification` | – | `magnification` |
/// | `optics/BeamShift` | the microscope's own | `beam_shift` |
///
/// # Errors
/// A file that cannot be read, is no such XML, or has a value that is none.
pub fn acquisition(path: &Path) -> Result<Acquisition, EpuError> {
    let io = |source| EpuError::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > LIMIT {
        return Err(EpuError::TooLong { path: path.into(), limit: LIMIT });
    }
    convert(path, &String::from_utf8_lossy(&bytes))
}

/// The same from the file's text; `path` is for messages.
pub(super) fn convert(path: &Path, text: &str) -> Result<Acquisition, EpuError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODE_LIMIT, ..ParsingOptions::default() };
    let text = text.trim_start_matches('\u{feff}');
    let document = Document::parse_with_options(text, options).map_err(|error| EpuError::Xml {
        path: path.into(),
        line: error.pos().row,
        why: error.to_string(),
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "MicroscopeImage" {
        return Err(EpuError::NotAnExposure { path: path.into(), found: root.tag_name().name().into() });
    }
    let image = Image { path, root };
    let shift = |axis: &str| image.number(&["microscopeData", "optics", "BeamShift", axis]);
    let beam_shift = shift("_x")?.zip(shift("_y")?);
    let camera = |rest: [&'static str; 2]| {
        image.positive(&["microscopeData", "acquisition", "camera", rest[0], rest[1]])
    };
    let (width, binning) = (camera(["ReadoutArea", "width"])?, camera(["Binning", "x"])?);
    let scaled = |value: Option<f64>, factor: f64| value.map(|value| value * factor);
    Ok(Acquisition {
        source: path.to_string_lossy().into_owned(),
        voltage_kv: scaled(image.positive(&["microscopeData", "gun", "AccelerationVoltage"])?, KV_PER_V),
        pixel_size_a: scaled(image.positive(&["SpatialScale", "pixelSize", "x", "numericValue"])?, A_PER_M),
        image_width_px: width.map(|width| (width / binning.unwrap_or(1.0)).round() as u32),
        total_dose: scaled(image.custom_number("Dose")?.filter(|dose| *dose > 0.0), PER_A2_IN_PER_M2),
        dose_per_frame: None,
        pre_exposure: None,
        frames: image.fractions()?,
        magnification: image.positive(&[
            "microscopeData",
            "optics",
            "TemMagnification",
            "NominalMagnification",
        ])?,
        beam_shift: beam_shift.map(|(x, y)| BeamShift { xy: [x, y], unit: ShiftUnit::Own }),
        gain_name: None,
        gain_orientation: None,
        defects_name: None,
    })
}

/// The root element and where it comes from.
struct Image<'a> {
    path: &'a Path,
    root: Node<'a, 'a>,
}

impl<'a> Image<'a> {
    /// The element at a path of local names; `None` if there is none.
    fn find(&self, path: &[&str]) -> Option<Node<'a, 'a>> {
        path.iter().try_fold(self.root, |node, name| {
            node.children().find(|child| child.is_element() && child.tag_name().name() == *name)
        })
    }

    fn bad(&self, node: Node<'_, '_>, element: &str, expected: &'static str) -> EpuError {
        EpuError::Value {
            path: self.path.into(),
            line: node.document().text_pos_at(node.range().start).row,
            element: element.into(),
            found: node.text().unwrap_or_default().chars().take(QUOTED).collect(),
            expected,
        }
    }

    /// The finite number in a node; `None` if it is empty (`i:nil`).
    fn number_in(&self, node: Node<'_, '_>, element: &str) -> Result<Option<f64>, EpuError> {
        let Some(text) = node.text().map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
        let sane = |value: &f64| *value == 0.0 || (ABSURD.recip()..ABSURD).contains(&value.abs());
        let value = text.parse::<f64>().ok().filter(sane);
        value.map(Some).ok_or_else(|| self.bad(node, element, "a number of a sensible size"))
    }

    fn number(&self, path: &[&str]) -> Result<Option<f64>, EpuError> {
        self.find(path).map_or(Ok(None), |node| self.number_in(node, &path.join("/")))
    }

    /// A number; `None` if it is missing or 0.
    fn positive(&self, path: &[&str]) -> Result<Option<f64>, EpuError> {
        let value = self.number(path)?;
        match (value, self.find(path)) {
            (Some(value), Some(node)) if value < 0.0 => {
                Err(self.bad(node, &path.join("/"), "a number of 0 or more"))
            }
            _ => Ok(value.filter(|value| *value > 0.0)),
        }
    }

    /// A number of the list of keys and values `CustomData`.
    fn custom_number(&self, key: &str) -> Result<Option<f64>, EpuError> {
        let Some(list) = self.find(&["CustomData"]) else { return Ok(None) };
        self.value_of(list, key).map_or(Ok(None), |node| self.number_in(node, &format!("CustomData/{key}")))
    }

    /// The value beside a key in a list of pairs.
    fn value_of(&self, list: Node<'a, 'a>, key: &str) -> Option<Node<'a, 'a>> {
        let named = |pair: &Node<'a, 'a>, name: &str| {
            pair.children().find(|child| child.is_element() && child.tag_name().name() == name)
        };
        let is_it = |pair: &Node<'a, 'a>| named(pair, "Key").and_then(|node| node.text()) == Some(key);
        list.children().find(is_it).and_then(|pair| named(&pair, "Value"))
    }

    /// The number of dose fractions: counted where they are listed one by one, else as stated.
    fn fractions(&self) -> Result<Option<u32>, EpuError> {
        let list = self.find(&["microscopeData", "acquisition", "camera", "CameraSpecificInput"]);
        let Some(settings) = list.and_then(|list| self.value_of(list, "FractionationSettings")) else {
            return Ok(None);
        };
        let mut inside = settings.descendants().filter(|node| node.is_element());
        if let Some(listed) = inside.clone().find(|node| node.tag_name().name() == "DoseFractions") {
            let count = listed.children().filter(|node| node.is_element()).count() as u32;
            return Ok((count > 0).then_some(count));
        }
        let Some(stated) = inside.find(|node| node.tag_name().name() == "NumberOffractions") else {
            return Ok(None);
        };
        let count = self.number_in(stated, "FractionationSettings/NumberOffractions")?;
        Ok(count.filter(|count| *count >= 1.0).map(|count| count as u32))
    }
}
