//! Lines and columns as they are in the files.

use super::ParError;
use crate::star::StarFile;
use std::path::Path;

/// Columns of a `.par` file without and with the phase shift.
const COLUMNS: [usize; 2] = [16, 17];
/// The label by which cisTEM's STAR files are known.
const POSITION: &str = "cisTEMPositionInStack";

/// A particle as its file has it, in the file's units.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Line in the file, from 1.
    pub line: usize,
    /// Image in the stack, from 1.
    pub position: u32,
    /// PSI, THETA, PHI, degrees.
    pub angles: [f64; 3],
    /// SHX, SHY, Å.
    pub shift: [f64; 2],
    /// Negative: cisTEM leaves the particle out. 0 in files that do not say.
    pub activity: f64,
    /// DF1, DF2, Å.
    pub defocus: [f64; 2],
    /// ANGAST, degrees.
    pub astigmatism: f64,
    /// PSHIFT, radians in cisTEM; 0 in files that do not say.
    pub phase_shift: f64,
    /// Class in the plane, from 1; 0: none.
    pub class: u32,
    /// The stack, in STAR files that name it; else empty.
    pub stack: String,
    /// Optics, in STAR files that say so.
    pub lens: Option<Lens>,
}

/// Optics of a particle in cisTEM's STAR files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lens {
    /// Pixel size, Å.
    pub pixel_size_a: f64,
    /// Acceleration voltage, kV.
    pub voltage_kv: f64,
    /// Spherical aberration, mm.
    pub cs_mm: f64,
    /// Amplitude contrast as a fraction.
    pub amplitude_contrast: f64,
}

/// The particles of a file, and its columns that are not read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// The particles in their order.
    pub rows: Vec<Row>,
    /// Columns without a place here.
    pub ignored: Vec<String>,
    /// Whether it is cisTEM's STAR file.
    pub is_star: bool,
}

/// Reads a file of either kind.
///
/// # Errors
/// A file that cannot be read, or a line that is no particle.
pub fn read(path: &Path) -> Result<Parameters, ParError> {
    let bytes = std::fs::read(path).map_err(|source| ParError::Io { path: path.into(), source })?;
    parse(path, String::from_utf8_lossy(&bytes).into_owned())
}

/// The same from text; `path` is for messages. A file with cisTEM's labels is taken for its STAR file.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: String) -> Result<Parameters, ParError> {
    let is_star = text.lines().any(|line| line.trim_start().starts_with("_cisTEM"));
    if is_star { parse_star(path, text) } else { parse_par(path, &text) }
}

fn parse_par(path: &Path, text: &str) -> Result<Parameters, ParError> {
    let mut rows = Vec::new();
    let mut width = 0;
    // cisTEM calls the eighth column INCLUDE, which is negative for particles left out; to Frealign it is a film's number
    let mut says_active = false;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.first() {
            None => continue,
            Some(first) if first.starts_with(['C', 'c']) => {
                says_active |= words.contains(&"INCLUDE");
                continue;
            }
            Some(_) => {}
        }
        let bad = |found: String, expected| ParError::Line {
            path: path.into(),
            line: line_number,
            found,
            expected,
        };
        if !COLUMNS.contains(&words.len()) || (width != 0 && words.len() != width) {
            let found = format!("{} values", words.len());
            return Err(bad(
                found,
                "16 values (Frealign) or 17 (cisTEM) in every line, or `C` before a comment",
            ));
        }
        width = words.len();
        let mut values = [0.0; 17];
        for (value, word) in values.iter_mut().zip(&words) {
            *value = word
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
                .ok_or_else(|| bad(format!("`{}`", shorten(word)), "a finite number"))?;
        }
        let position = whole(values[0]).filter(|position| *position > 0);
        let position =
            position.ok_or_else(|| bad(format!("image {}", shorten(words[0])), "a whole number from 1"))?;
        rows.push(Row {
            line: line_number,
            position,
            angles: [values[1], values[2], values[3]],
            shift: [values[4], values[5]],
            activity: if says_active { values[7] } else { 0.0 },
            defocus: [values[8], values[9]],
            astigmatism: values[10],
            phase_shift: if width == COLUMNS[1] { values[11] } else { 0.0 },
            ..Row::default()
        });
    }
    if rows.is_empty() {
        let why = "it holds no particles".into();
        return Err(ParError::Unfit {
            path: path.into(),
            why,
            hint: "give the file that a refinement wrote",
        });
    }
    let others = ["MAG", "FILM", "OCC", "LogP", "SIGMA", "SCORE", "CHANGE"];
    let ignored =
        others.into_iter().filter(|name| *name != "FILM" || !says_active).map(String::from).collect();
    Ok(Parameters { rows, ignored, is_star: false })
}

/// The columns of cisTEM's STAR files that are read.
const KNOWN: [&str; 17] = [
    POSITION,
    "cisTEMAnglePsi",
    "cisTEMAngleTheta",
    "cisTEMAnglePhi",
    "cisTEMXShift",
    "cisTEMYShift",
    "cisTEMDefocus1",
    "cisTEMDefocus2",
    "cisTEMDefocusAngle",
    "cisTEMPhaseShift",
    "cisTEMImageActivity",
    "cisTEMPixelSize",
    "cisTEMMicroscopeVoltagekV",
    "cisTEMMicroscopeCsMM",
    "cisTEMAmplitudeContrast",
    "cisTEMBest2DClass",
    "cisTEMStackFilename",
];

fn parse_star(path: &Path, text: String) -> Result<Parameters, ParError> {
    const FOR_POSE: &str = "the poses";
    const FOR_CTF: &str = "the CTF";
    let file = StarFile::parse(path, text)?;
    let mut tables = file.blocks().iter().filter_map(|block| file.table(block.name()));
    let Some(table) = tables.find(|table| table.find(POSITION).is_some()) else {
        let why = format!("no table has _{POSITION}");
        return Err(ParError::Unfit {
            path: path.into(),
            why,
            hint: "give the STAR file of a refinement of cisTEM",
        });
    };
    let position = table.need(POSITION, "finding the images")?;
    let psi = table.need("cisTEMAnglePsi", FOR_POSE)?;
    let [theta, phi] = ["cisTEMAngleTheta", "cisTEMAnglePhi"].map(|label| table.find(label));
    let shift = [table.need("cisTEMXShift", FOR_POSE)?, table.need("cisTEMYShift", FOR_POSE)?];
    let defocus = [table.need("cisTEMDefocus1", FOR_CTF)?, table.need("cisTEMDefocus2", FOR_CTF)?];
    let angle = table.need("cisTEMDefocusAngle", FOR_CTF)?;
    let [phase, activity, class, stack] =
        ["cisTEMPhaseShift", "cisTEMImageActivity", "cisTEMBest2DClass", "cisTEMStackFilename"]
            .map(|label| table.find(label));
    let lens =
        ["cisTEMPixelSize", "cisTEMMicroscopeVoltagekV", "cisTEMMicroscopeCsMM", "cisTEMAmplitudeContrast"]
            .map(|label| table.find(label));
    let mut found = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let finite = |column: usize| match row.f64(column) {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) => Err(row.bad(column, "a finite number")),
            Err(error) => Err(error),
        };
        let or_zero = |column: Option<usize>| column.map_or(Ok(0.0), finite);
        let number: u32 = row.integer(position)?;
        if number == 0 {
            return Err(row.bad(position, "a whole number from 1").into());
        }
        let lens = match lens {
            [Some(pixel), Some(kv), Some(cs), Some(contrast)] => Some(Lens {
                pixel_size_a: finite(pixel)?,
                voltage_kv: finite(kv)?,
                cs_mm: finite(cs)?,
                amplitude_contrast: finite(contrast)?,
            }),
            _ => None,
        };
        found.push(Row {
            line: row.line,
            position: number,
            angles: [finite(psi)?, or_zero(theta)?, or_zero(phi)?],
            shift: [finite(shift[0])?, finite(shift[1])?],
            activity: or_zero(activity)?,
            defocus: [finite(defocus[0])?, finite(defocus[1])?],
            astigmatism: finite(angle)?,
            phase_shift: or_zero(phase)?,
            class: whole(or_zero(class)?).unwrap_or(0),
            stack: stack.map_or("", |column| row.cells[column]).to_string(),
            lens,
        });
    }
    if found.is_empty() {
        let why = "it holds no particles".into();
        return Err(ParError::Unfit {
            path: path.into(),
            why,
            hint: "give the file that a refinement wrote",
        });
    }
    let others = table.columns().iter().filter(|label| !KNOWN.contains(&label.as_str()));
    Ok(Parameters { rows: found, ignored: others.map(|label| format!("_{label}")).collect(), is_star: true })
}

/// A number from 0 without a fraction.
fn whole(value: f64) -> Option<u32> {
    let fits = (0.0..f64::from(u32::MAX)).contains(&value) && value.fract() == 0.0;
    fits.then_some(value as u32)
}

/// The start of a word, for messages.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
