//! Motion of one movie: the STAR file that RELION's own motion correction writes, which polishing needs.

use super::{FRAME_SHIFT_X, FRAME_SHIFT_Y, PRE_EXPOSURE};
use crate::star::StarError;
use crate::star::reader::StarFile;
use crate::star::writer::{BlockOut, TableOut, number};
use std::path::Path;

/// Motion of a movie in our convention.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MovieMotion {
    /// The movie as it is to be named in the file.
    pub movie_path: String,
    /// The gain reference likewise; empty: none.
    pub gain_path: String,
    /// Columns and rows of a movie frame.
    pub frame_px: [u32; 2],
    /// Pixel size of the movie, Å.
    pub pixel_size_a: f64,
    /// Pixel size of the micrograph over that of the movie.
    pub binning: f64,
    /// Dose per frame, e/Å².
    pub dose_per_frame: f64,
    /// Dose before the first frame, e/Å².
    pub pre_exposure: f64,
    /// Acceleration voltage, kV.
    pub voltage_kv: f64,
    /// Where the content of each frame lies relative to that of the first, (x, y), Å.
    pub global_a: Vec<[f64; 2]>,
    /// Local motion on top of that; may be empty.
    pub local: Vec<LocalTrack>,
}

/// How a movie was recorded, as the file of its motion says; 0, empty or `None` where it does not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MovieRecord {
    /// The movie as it is named there.
    pub movie_path: String,
    /// The gain reference likewise, turned and mirrored already; empty: none.
    pub gain_path: String,
    /// Dose per frame, e/Å².
    pub dose_per_frame: f64,
    /// Dose before the first frame, e/Å².
    pub pre_exposure: f64,
    /// Of EER movies: pixels of a frame along each edge of a physical one, and camera frames in a frame.
    pub eer: Option<[u32; 2]>,
    /// Pixel size of the movie, Å.
    pub pixel_size_a: f64,
    /// RELION's shifts of the whole frames, column and row, pixels of the movie.
    pub shifts_px: Vec<[f64; 2]>,
}

impl MovieRecord {
    /// Length of the path of the whole frames, pixels of the movie.
    pub fn path_px(&self) -> f64 {
        let steps =
            self.shifts_px.windows(2).map(|pair| (pair[1][0] - pair[0][0]).hypot(pair[1][1] - pair[0][1]));
        steps.sum()
    }
}

/// Reads how a movie was recorded from the `general` block of a file of motion.
///
/// # Errors
/// A file that is no STAR file or has no such block.
pub fn read_movie_record(path: &Path) -> Result<MovieRecord, StarError> {
    let file = StarFile::read(path)?;
    let block = file.block("general").ok_or_else(|| StarError::MissingBlock {
        path: path.into(),
        block: "general".into(),
        found: file.block_names(),
        needed_for: "how the movie was recorded",
    })?;
    let text = |label: &str| block.pair(label).unwrap_or_default().to_string();
    let number = |label: &str| block.pair(label).and_then(|v| v.parse().ok()).filter(|v: &f64| v.is_finite());
    let whole = |label: &str| block.pair(label).and_then(|value| value.parse::<u32>().ok());
    let eer = whole("rlnEERUpsampling").zip(whole("rlnEERGrouping")).map(|(by, of)| [by, of]);
    let mut shifts_px = Vec::new();
    if let Some(table) = file.table("global_shift") {
        const FOR_MOTION: &str = "the motion of the frames";
        let x = table.need(FRAME_SHIFT_X.label, FOR_MOTION)?;
        let y = table.need(FRAME_SHIFT_Y.label, FOR_MOTION)?;
        let mut rows = table.rows();
        while let Some(row) = rows.next() {
            shifts_px.push([row.f64(x)?, row.f64(y)?]);
        }
    }
    Ok(MovieRecord {
        movie_path: text("rlnMicrographMovieName"),
        gain_path: text("rlnMicrographGainName"),
        dose_per_frame: number("rlnMicrographDoseRate").unwrap_or(0.0),
        pre_exposure: number("rlnMicrographPreExposure").unwrap_or(0.0),
        eer,
        pixel_size_a: number("rlnMicrographOriginalPixelSize").unwrap_or(f64::NAN),
        shifts_px,
    })
}

/// Motion of one patch relative to the whole frame.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalTrack {
    /// Centre of the patch, column and row, pixels of the movie.
    pub centre_px: [f64; 2],
    /// Displacement of its content in each frame on top of the global one, (x, y), Å.
    pub displacement_a: Vec<[f64; 2]>,
}

/// Terms of RELION's polynomial: (1, x, x², y, y², xy) × (t, t², t³).
const TERMS: usize = 18;

/// The blocks of the file: `general`, `global_shift`, and, if there is local motion enough to determine it,
/// `local_motion_model` with RELION's polynomial fitted to the patches.
///
/// RELION's shifts are what brings a frame back, in pixels of the movie: minus the displacement. In the polynomial x and
/// y are fractions of the frame from its middle, and t is the frame's number from 0 plus one half (checked against the
/// coefficients and patch shifts in files of relion_run_motioncorr 3.1.3: they agree to all printed digits).
pub fn motion_blocks(motion: &MovieMotion) -> Vec<BlockOut> {
    let coefficients = fit(motion);
    let mut blocks =
        vec![BlockOut::Pairs { name: "general".into(), pairs: general(motion, coefficients.is_some()) }];
    let columns = ["rlnMicrographFrameNumber", FRAME_SHIFT_X.label, FRAME_SHIFT_Y.label];
    let mut table = TableOut::new("global_shift", &columns);
    for (frame, displacement) in motion.global_a.iter().enumerate() {
        table.cells.extend([
            (frame + 1).to_string(),
            number(FRAME_SHIFT_X.theirs(displacement[0] / motion.pixel_size_a)),
            number(FRAME_SHIFT_Y.theirs(displacement[1] / motion.pixel_size_a)),
        ]);
    }
    blocks.push(BlockOut::Table(table));
    if let Some(coefficients) = coefficients {
        let mut table =
            TableOut::new("local_motion_model", &["rlnMotionModelCoeffsIdx", "rlnMotionModelCoeff"]);
        for (i, value) in coefficients.iter().enumerate() {
            // cubes of frame numbers: six decimals would not do
            table.cells.extend([i.to_string(), format!("{value:.9e}")]);
        }
        blocks.push(BlockOut::Table(table));
    }
    blocks
}

/// Motion of a movie as its file tells it, in our convention.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownMotion {
    /// Columns and rows of a movie frame.
    pub frame_px: [u32; 2],
    /// Pixel size of the movie, Å.
    pub pixel_size_a: f64,
    /// Dose before the first of the frames, e/Å²; `None`: not said.
    pub pre_exposure: Option<f64>,
    /// Where the content of each frame lies relative to that of the first, (x, y), Å.
    pub global_a: Vec<[f64; 2]>,
    /// Coefficients of the polynomial for the local motion on top of that, x then y; `None`: none.
    model: Option<[f64; 2 * TERMS]>,
}

impl KnownMotion {
    /// Displacement in frame `frame` of what lies at `at_px`, pixels of the movie, (x, y) in Å.
    pub fn displacement_a(&self, frame: usize, at_px: [f64; 2]) -> [f64; 2] {
        let global = self.global_a[frame];
        let Some(model) = &self.model else { return global };
        let [x, y] = [0, 1].map(|i| at_px[i] / f64::from(self.frame_px[i]) - 0.5);
        let basis = basis(x, y, frame as f64 + 0.5);
        [0, 1].map(|axis| {
            let local: f64 = basis.iter().zip(&model[axis * TERMS..]).map(|(b, c)| b * c).sum();
            global[axis] + [FRAME_SHIFT_X, FRAME_SHIFT_Y][axis].ours(local) * self.pixel_size_a
        })
    }
}

/// Reads the motion of a movie from a file as [`motion_blocks`] makes it, or RELION's motion correction.
///
/// # Errors
/// A file that cannot be read, is no such file, or lacks a number that is needed.
pub fn read_motion(path: &Path) -> Result<KnownMotion, StarError> {
    const FOR: &str = "the motion of the movie";
    let file = StarFile::read(path)?;
    let missing = |block: &str| StarError::MissingBlock {
        path: path.into(),
        block: block.into(),
        found: file.block_names(),
        needed_for: FOR,
    };
    let general = file.block("general").ok_or_else(|| missing("general"))?;
    let number = |label: &str| -> Result<f64, StarError> {
        let text = general.pair(label).ok_or_else(|| StarError::MissingColumn {
            path: path.into(),
            block: "general".into(),
            column: label.into(),
            needed_for: FOR,
        })?;
        text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| StarError::Value {
            path: path.into(),
            line: general.line(),
            column: label.into(),
            found: text.into(),
            expected: "a number".into(),
        })
    };
    let pixel_size_a = number("rlnMicrographOriginalPixelSize")?;
    let frame_px = [number("rlnImageSizeX")? as u32, number("rlnImageSizeY")? as u32];
    let pre_exposure = general.pair(PRE_EXPOSURE.label).map(|_| number(PRE_EXPOSURE.label)).transpose()?;
    let table = file.table("global_shift").ok_or_else(|| missing("global_shift"))?;
    let columns = [table.need(FRAME_SHIFT_X.label, FOR)?, table.need(FRAME_SHIFT_Y.label, FOR)?];
    let mut global_a = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let [x, y] = [row.f64(columns[0])?, row.f64(columns[1])?];
        global_a.push([FRAME_SHIFT_X.ours(x) * pixel_size_a, FRAME_SHIFT_Y.ours(y) * pixel_size_a]);
    }
    Ok(KnownMotion { frame_px, pixel_size_a, pre_exposure, global_a, model: read_model(&file)? })
}

fn read_model(file: &StarFile) -> Result<Option<[f64; 2 * TERMS]>, StarError> {
    let Some(table) = file.table("local_motion_model") else { return Ok(None) };
    let column = table.need("rlnMotionModelCoeff", "the local motion of the movie")?;
    let mut model = [0.0; 2 * TERMS];
    let mut count = 0;
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        if let Some(cell) = model.get_mut(count) {
            *cell = row.f64(column)?;
        }
        count += 1;
    }
    if count == model.len() {
        return Ok(Some(model));
    }
    Err(StarError::Unfit {
        path: file.path().into(),
        found: format!("data_local_motion_model has {count} coefficients"),
        expected: format!("expected {}: the polynomial of RELION", model.len()),
    })
}

fn general(motion: &MovieMotion, has_model: bool) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("rlnImageSizeX", motion.frame_px[0].to_string()),
        ("rlnImageSizeY", motion.frame_px[1].to_string()),
        ("rlnImageSizeZ", motion.global_a.len().to_string()),
        ("rlnMicrographMovieName", motion.movie_path.clone()),
    ];
    if !motion.gain_path.is_empty() {
        pairs.push(("rlnMicrographGainName", motion.gain_path.clone()));
    }
    pairs.extend([
        ("rlnMicrographBinning", number(motion.binning)),
        ("rlnMicrographOriginalPixelSize", number(motion.pixel_size_a)),
        ("rlnMicrographDoseRate", number(motion.dose_per_frame)),
        ("rlnMicrographPreExposure", number(motion.pre_exposure)),
        ("rlnVoltage", number(motion.voltage_kv)),
        ("rlnMicrographStartFrame", "1".into()),
        ("rlnMotionModelVersion", u8::from(has_model).to_string()),
    ]);
    pairs.into_iter().map(|(label, value)| (label.to_string(), value)).collect()
}

/// Least-squares coefficients of RELION's polynomial, x then y, pixels; `None` if the patches do not determine it.
fn fit(motion: &MovieMotion) -> Option<[f64; 2 * TERMS]> {
    let frames = motion.global_a.len();
    let complete = |track: &&LocalTrack| track.displacement_a.len() == frames;
    let tracks: Vec<&LocalTrack> = motion.local.iter().filter(complete).collect();
    // t runs to the number of frames; scaled to 1 the normal equations are well conditioned
    let scale = frames.max(1) as f64;
    let mut normal = [[0.0; TERMS + 2]; TERMS];
    for track in &tracks {
        let [x, y] = [0, 1].map(|i| track.centre_px[i] / f64::from(motion.frame_px[i]) - 0.5);
        for (frame, displacement) in track.displacement_a.iter().enumerate() {
            let t = (frame as f64 + 0.5) / scale;
            let basis = basis(x, y, t);
            for i in 0..TERMS {
                for j in 0..TERMS {
                    normal[i][j] += basis[i] * basis[j];
                }
                normal[i][TERMS] += basis[i] * FRAME_SHIFT_X.theirs(displacement[0] / motion.pixel_size_a);
                normal[i][TERMS + 1] +=
                    basis[i] * FRAME_SHIFT_Y.theirs(displacement[1] / motion.pixel_size_a);
            }
        }
    }
    let solved = solve(normal)?;
    let mut coefficients = [0.0; 2 * TERMS];
    for i in 0..TERMS {
        let power = (i % 3 + 1) as i32;
        coefficients[i] = solved[i][0] / scale.powi(power);
        coefficients[TERMS + i] = solved[i][1] / scale.powi(power);
    }
    Some(coefficients)
}

fn basis(x: f64, y: f64, t: f64) -> [f64; TERMS] {
    let space = [1.0, x, x * x, y, y * y, x * y];
    let time = [t, t * t, t * t * t];
    std::array::from_fn(|i| space[i / 3] * time[i % 3])
}

/// Gauss–Jordan elimination with pivots of two right-hand sides; `None` if the matrix is singular.
fn solve(mut m: [[f64; TERMS + 2]; TERMS]) -> Option<[[f64; 2]; TERMS]> {
    let largest = m.iter().flat_map(|row| row[..TERMS].iter()).fold(0.0, |a: f64, b| a.max(b.abs()));
    for column in 0..TERMS {
        let pivot = (column..TERMS).max_by(|&a, &b| m[a][column].abs().total_cmp(&m[b][column].abs()))?;
        let size = m[pivot][column].abs();
        if size.is_nan() || size <= 1e-12 * largest {
            return None;
        }
        m.swap(column, pivot);
        let row = m[column];
        for (_, other) in m.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            let factor = other[column] / row[column];
            for (cell, value) in other.iter_mut().zip(row) {
                *cell -= factor * value;
            }
        }
    }
    Some(std::array::from_fn(|i| [m[i][TERMS] / m[i][i], m[i][TERMS + 1] / m[i][i]]))
}
