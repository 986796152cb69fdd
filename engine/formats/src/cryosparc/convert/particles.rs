//! A dataset of particles → ours.

use super::{CsPick, RULES, picks_of};
use crate::cryosparc::{CsError, CsPath, Dataset};
use crate::star::convert::{Fallback, Imported, exposure_name};
use std::collections::{BTreeMap, HashMap};
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::{ClassAssignment, Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const FOR_IMAGES: &str = "finding the particle images";
const FOR_OPTICS: &str = "the CTF";
const FOR_POSES: &str = "the poses";
const FOR_CLASSES: &str = "the classes";
const FOR_HALVES: &str = "the half-sets";
/// Two pixel sizes or boxes of a set are the same within this fraction: they are stored as 32-bit floats.
pub(super) const SAME: f64 = 1e-4;
/// Fields of aberrations, which are not converted: the images keep these errors, if the values are not 0.
const ABERRATIONS: &[(&str, usize)] = &[
    ("ctf/tilt_A", 2),
    ("ctf/shift_A", 2),
    ("ctf/trefoil_A", 2),
    ("ctf/tetra_A", 4),
    ("ctf/anisomag", 4),
    ("ctf/bfactor", 1),
];

/// What the dataset leaves open.
pub struct ImportOptions<'a> {
    /// Turns a path of the dataset into one of ours.
    pub resolve: &'a dyn Fn(CsPath<'_>) -> String,
    /// Optics for fields that are missing.
    pub fallback: Fallback,
    /// Whether the rows of the micrographs at hand run the other way than those of CryoSPARC's; `None`: not told, which
    /// is an error for a dataset with positions.
    pub mirrored: Option<bool>,
}

/// The particles of a dataset. `uid` becomes the id.
///
/// # Errors
/// A field that is missing or of another type, values out of range, more than one pixel size or box, or positions
/// without being told how their rows run.
pub fn particles_of(
    dataset: &Dataset,
    options: &ImportOptions<'_>,
) -> Result<Imported<ParticleSet>, CsError> {
    let ids = dataset.uids("telling particles apart")?;
    if ids.is_empty() {
        return Err(unfit(dataset, "it holds no particles".into(), "give a dataset with records"));
    }
    let paths = dataset.texts("blob/path", FOR_IMAGES)?;
    let indices = whole(dataset, "blob/idx", 0, FOR_IMAGES)?;
    let (pixel_size_a, box_px) = geometry(dataset, &options.fallback)?;
    let (optics, groups) = optics(dataset, pixel_size_a, &options.fallback)?;
    let ctfs = ctfs(dataset, &optics, &groups)?;
    let picks = picks(dataset, options.mirrored)?;
    let alignment = Alignment::of(dataset);
    let poses = alignment.poses(dataset, pixel_size_a)?;
    let halves = alignment.halves(dataset)?;
    let classes = alignment.classes(dataset)?;
    let mut stacks: HashMap<&str, String> = HashMap::new();
    let mut particles = Vec::with_capacity(ids.len());
    for (row, id) in ids.iter().enumerate() {
        let path = paths[row].as_str();
        let stack = stacks.entry(path).or_insert_with(|| (options.resolve)(CsPath::of(path)));
        particles.push(Particle {
            id: *id,
            stack_path: stack.clone(),
            stack_index: indices[row],
            optics_group: groups[row],
            pick: picks.as_ref().map(|picks| picks[row].clone()),
            ctf: ctfs.as_ref().map(|ctfs| ctfs[row]),
            pose: poses.as_ref().map(|poses| poses[row]),
            half: halves.as_ref().map(|halves| halves[row]),
            class: classes.as_ref().map(|classes| classes[row]),
            log_likelihood: f64::NAN,
        });
    }
    let value = ParticleSet { optics, box_px, pixel_size_a, particles };
    let notes = notes(dataset)?;
    let micrographs = micrographs(dataset)?;
    Ok(Imported { notes, micrographs, ..Imported::new(value, ignored(dataset, &alignment)) })
}

pub(super) fn unfit(dataset: &Dataset, why: String, hint: &'static str) -> CsError {
    CsError::Unfit { path: dataset.path().into(), why, hint }
}

/// Finite numbers of a field.
pub(super) fn finite(
    dataset: &Dataset,
    field: &'static str,
    index: usize,
    needed_for: &'static str,
) -> Result<Vec<f64>, CsError> {
    let values = dataset.numbers(field, index, needed_for)?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(row) => {
            let why = format!("`{field}` of record {row} is {}, expected a finite number", values[row]);
            Err(unfit(dataset, why, "leave the record out in CryoSPARC and export again"))
        }
    }
}

/// Numbers from 0 that fit into 32 bits.
pub(super) fn whole(
    dataset: &Dataset,
    field: &'static str,
    index: usize,
    needed_for: &'static str,
) -> Result<Vec<u32>, CsError> {
    let values = finite(dataset, field, index, needed_for)?;
    // one less than the largest, since some are counted from 1 here
    let fits = |value: &f64| (0.0..f64::from(u32::MAX)).contains(value) && value.fract() == 0.0;
    match values.iter().position(|value| !fits(value)) {
        None => Ok(values.into_iter().map(|value| value as u32).collect()),
        Some(row) => {
            let why = format!("`{field}` of record {row} is {}, expected a number from 0", values[row]);
            Err(unfit(dataset, why, ""))
        }
    }
}

/// Pixel size and box, which must be those of every image.
fn geometry(dataset: &Dataset, fallback: &Fallback) -> Result<(f64, u32), CsError> {
    let pixels = match (dataset.has("blob/psize_A"), fallback.pixel_size_a) {
        (false, Some(given)) => vec![given],
        _ => finite(dataset, "blob/psize_A", 0, "the pixel size")?,
    };
    let (rows, columns) = match dataset.has("blob/shape") {
        true => (whole(dataset, "blob/shape", 0, FOR_IMAGES)?, whole(dataset, "blob/shape", 1, FOR_IMAGES)?),
        false => (vec![0], vec![0]),
    };
    let (pixel, size) = (pixels[0], rows[0]);
    if pixel <= 0.0 {
        return Err(unfit(dataset, format!("`blob/psize_A` is {pixel}"), "expected a number above 0"));
    }
    if let Some(row) = (0..rows.len()).find(|row| rows[*row] != size || columns[*row] != size) {
        let why = format!(
            "`blob/shape` of record {row} is {} × {}, expected {size} × {size} as of the first",
            rows[row], columns[row]
        );
        return Err(unfit(dataset, why, "extract in one square box, or import the sets apart"));
    }
    if let Some(row) = pixels.iter().position(|other| (other - pixel).abs() > SAME * pixel) {
        let why = format!("`blob/psize_A` of record {row} is {} Å, of the first {pixel} Å", pixels[row]);
        return Err(unfit(dataset, why, "bring the images to one pixel size, or import the sets apart"));
    }
    Ok((short(pixel), size))
}

/// Optics groups in the order of their numbers, and the number of each record's.
fn optics(
    dataset: &Dataset,
    pixel_size_a: f64,
    fallback: &Fallback,
) -> Result<(Vec<OpticsGroup>, Vec<u32>), CsError> {
    let count = dataset.len();
    let value = |field: &'static str, given: Option<f64>| match (dataset.has(field), given) {
        (false, Some(given)) => Ok(vec![given; count]),
        _ => finite(dataset, field, 0, FOR_OPTICS),
    };
    let voltage = value("ctf/accel_kv", fallback.voltage_kv)?;
    let cs = value("ctf/cs_mm", fallback.cs_mm)?;
    let contrast = value("ctf/amp_contrast", fallback.amplitude_contrast)?;
    let pixel = match dataset.has("location/micrograph_psize_A") {
        true => dataset.numbers("location/micrograph_psize_A", 0, FOR_OPTICS)?,
        false => vec![pixel_size_a; count],
    };
    let numbers: Vec<u32> = match dataset.has("ctf/exp_group_id") {
        true => whole(dataset, "ctf/exp_group_id", 0, FOR_OPTICS)?.into_iter().map(|id| id + 1).collect(),
        false => vec![1; count],
    };
    let mut groups: BTreeMap<u32, OpticsGroup> = BTreeMap::new();
    for row in 0..count {
        let number = numbers[row];
        if !(voltage[row] > 0.0 && (0.0..1.0).contains(&contrast[row])) {
            let why = format!(
                "record {row} has {} kV and an amplitude contrast of {}, expected above 0, and 0 to below 1",
                voltage[row], contrast[row]
            );
            return Err(unfit(dataset, why, ""));
        }
        let group = groups.entry(number).or_insert_with(|| OpticsGroup {
            number,
            name: format!("opticsGroup{number}"),
            voltage: Kilovolt(short(voltage[row])),
            cs: Millimetre(short(cs[row])),
            amplitude_contrast: short(contrast[row]),
            movie_pixel_size_a: if pixel[row] > 0.0 { short(pixel[row]) } else { pixel_size_a },
            aberrations: Default::default(),
        });
        let found = [voltage[row], cs[row], contrast[row]].map(short);
        let expected = [group.voltage.0, group.cs.0, group.amplitude_contrast];
        if found != expected {
            let why = format!(
                "record {row} of exposure group {} has {found:?} (kV, mm, contrast), an earlier one {expected:?}",
                number - 1
            );
            return Err(unfit(dataset, why, "give such exposures groups of their own in CryoSPARC"));
        }
    }
    Ok((groups.into_values().collect(), numbers))
}

/// The shortest decimal number of a 32-bit float: 2.7 mm, not 2.700000047683716.
pub(super) fn short(value: f64) -> f64 {
    let single = value as f32;
    if f64::from(single) != value {
        return value;
    }
    single.to_string().parse().unwrap_or(value)
}

fn ctfs(
    dataset: &Dataset,
    optics: &[OpticsGroup],
    groups: &[u32],
) -> Result<Option<Vec<CtfParams>>, CsError> {
    if !dataset.has("ctf/df1_A") {
        return Ok(None);
    }
    let value = |field| finite(dataset, field, 0, FOR_OPTICS);
    let (u, v, angle) = (value("ctf/df1_A")?, value("ctf/df2_A")?, value("ctf/df_angle_rad")?);
    let phase = match dataset.has("ctf/phase_shift_rad") {
        true => value("ctf/phase_shift_rad")?,
        false => vec![0.0; dataset.len()],
    };
    let by_number: HashMap<u32, &OpticsGroup> = optics.iter().map(|group| (group.number, group)).collect();
    let ctf = |row: usize| {
        let group = by_number[&groups[row]];
        CtfParams {
            defocus_u_a: u[row],
            defocus_v_a: v[row],
            astigmatism_angle: Degrees(angle[row].to_degrees()),
            phase_shift: Degrees(phase[row].to_degrees()),
            voltage: group.voltage,
            cs: group.cs,
            amplitude_contrast: group.amplitude_contrast,
            even: Default::default(),
        }
    };
    Ok(Some((0..dataset.len()).map(ctf).collect()))
}

fn picks(dataset: &Dataset, mirrored: Option<bool>) -> Result<Option<Vec<Pick>>, CsError> {
    if !dataset.has("location/center_x_frac") {
        return Ok(None);
    }
    let Some(mirrored) = mirrored else {
        let why = "it has positions (`location/…`), whose rows count from the first or the last stored row";
        return Err(unfit(
            dataset,
            why.into(),
            "give --y-origin first-row for micrographs that CryoSPARC summed, last-row for others",
        ));
    };
    let picks = picks_of(dataset)?;
    let mut names: HashMap<String, String> = HashMap::new();
    let mut found = Vec::with_capacity(picks.len());
    for (row, pick) in picks.into_iter().enumerate() {
        let [x_px, y_px] = CsPick::position_px(&pick, pick.size_px, mirrored);
        if !(x_px.is_finite() && y_px.is_finite()) {
            let why = format!("the position of record {row} is {x_px}, {y_px} px, expected finite numbers");
            return Err(unfit(dataset, why, ""));
        }
        let name = names.entry(pick.micrograph).or_insert_with_key(|path| exposure_name(path));
        found.push(Pick { exposure: name.clone(), x_px, y_px, score: pick.score });
    }
    Ok(Some(found))
}

/// The path of each micrograph that has particles, by the name of its exposure.
fn micrographs(dataset: &Dataset) -> Result<BTreeMap<String, String>, CsError> {
    if !dataset.has("location/micrograph_path") {
        return Ok(BTreeMap::new());
    }
    let mut paths = dataset.texts("location/micrograph_path", FOR_IMAGES)?;
    paths.sort_unstable();
    paths.dedup();
    Ok(paths.into_iter().map(|path| (exposure_name(CsPath::of(&path).path), path)).collect())
}

/// Which of the alignments of a dataset is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alignment {
    Space,
    Plane,
    None,
}

impl Alignment {
    fn of(dataset: &Dataset) -> Self {
        let any = |group: &str| dataset.names().any(|name| name.starts_with(group));
        match (any("alignments3D/"), any("alignments2D/")) {
            (true, _) => Self::Space,
            (false, true) => Self::Plane,
            (false, false) => Self::None,
        }
    }

    /// The one of the two fields that counts, if it is there.
    fn field(self, dataset: &Dataset, space: &'static str, plane: &'static str) -> Option<&'static str> {
        let field = match self {
            Self::Space => space,
            Self::Plane => plane,
            Self::None => return None,
        };
        dataset.has(field).then_some(field)
    }

    fn poses(self, dataset: &Dataset, pixel_size_a: f64) -> Result<Option<Vec<Pose>>, CsError> {
        let Some(field) = self.field(dataset, "alignments3D/pose", "alignments2D/pose") else {
            return Ok(None);
        };
        let value = |field, index| finite(dataset, field, index, FOR_POSES);
        let rotations: Vec<Rotation> = match self {
            Self::Plane => {
                let psi = |angle: f64| Rotation::from_euler_zyz_deg(0.0, 0.0, angle.to_degrees());
                value(field, 0)?.into_iter().map(psi).collect()
            }
            _ => {
                let (x, y, z) = (value(field, 0)?, value(field, 1)?, value(field, 2)?);
                (0..x.len()).map(|i| Rotation::from_rotation_vector([x[i], y[i], z[i]])).collect()
            }
        };
        let shifts: [Vec<f64>; 2] = match self.field(dataset, "alignments3D/shift", "alignments2D/shift") {
            Some(field) => [value(field, 0)?, value(field, 1)?],
            None => [vec![0.0; dataset.len()], vec![0.0; dataset.len()]],
        };
        // shifts count in the pixels of the images that were aligned
        let pixels = match self.field(dataset, "alignments3D/psize_A", "alignments2D/psize_A") {
            Some(field) => value(field, 0)?,
            None => vec![pixel_size_a; dataset.len()],
        };
        let pose = |(row, rotation): (usize, Rotation)| {
            let pixel = pixels[row];
            // + 0 makes 0 of the -0 of a shift of 0
            let shift_a = [0, 1].map(|axis: usize| -shifts[axis][row] * pixel + 0.0);
            Pose { rotation, shift_a }
        };
        Ok(Some(rotations.into_iter().enumerate().map(pose).collect()))
    }

    fn halves(self, dataset: &Dataset) -> Result<Option<Vec<HalfSet>>, CsError> {
        let Some(field) = self.field(dataset, "alignments3D/split", "alignments2D/split") else {
            return Ok(None);
        };
        let splits = whole(dataset, field, 0, FOR_HALVES)?;
        let half = |(row, split): (usize, &u32)| {
            HalfSet::from_number(i64::from(*split) + 1).ok_or_else(|| {
                unfit(dataset, format!("`{field}` of record {row} is {split}, expected 0 or 1"), "")
            })
        };
        splits.iter().enumerate().map(half).collect::<Result<_, _>>().map(Some)
    }

    fn classes(self, dataset: &Dataset) -> Result<Option<Vec<ClassAssignment>>, CsError> {
        let Some(field) = self.field(dataset, "alignments3D/class", "alignments2D/class") else {
            return Ok(None);
        };
        let numbers = whole(dataset, field, 0, FOR_CLASSES)?;
        let posterior = "alignments3D/class_posterior";
        let probabilities = match self.field(dataset, posterior, "alignments2D/class_posterior") {
            Some(field) => dataset.numbers(field, 0, FOR_CLASSES)?,
            None => vec![f64::NAN; numbers.len()],
        };
        let class = |(number, probability): (u32, f64)| ClassAssignment { number: number + 1, probability };
        Ok(Some(numbers.into_iter().zip(probabilities).map(class).collect()))
    }
}

/// Fields that have no place here, or whose place another field took.
fn ignored(dataset: &Dataset, alignment: &Alignment) -> Vec<String> {
    let unused = |name: &&str| {
        let is_second = *alignment == Alignment::Space && name.starts_with("alignments2D/");
        is_second || !RULES.iter().any(|rule| rule.field == *name)
    };
    dataset.names().filter(unused).map(str::to_string).collect()
}

/// What to know about the images.
fn notes(dataset: &Dataset) -> Result<Vec<String>, CsError> {
    let mut notes = Vec::new();
    for (field, count) in ABERRATIONS {
        if !dataset.has(field) {
            continue;
        }
        let mut strong = vec![false; dataset.len()];
        for index in 0..*count {
            // a shape of another version has fewer values
            let Ok(values) = dataset.numbers(field, index, FOR_OPTICS) else { break };
            strong.iter_mut().zip(values).for_each(|(strong, value)| *strong |= value != 0.0);
        }
        let strong = strong.iter().filter(|strong| **strong).count();
        if strong > 0 {
            notes.push(format!(
                "{field} is not 0 for {strong} of {} particles: later jobs will not correct for it",
                dataset.len()
            ));
        }
    }
    if dataset.has("blob/sign") {
        let signs = dataset.numbers("blob/sign", 0, FOR_IMAGES)?;
        let dark = signs.iter().filter(|sign| **sign < 0.0).count();
        if dark > 0 {
            notes.push(format!(
                "blob/sign is negative for {dark} of {} particles: their protein is dark on disk, here it is expected to be \
                 white; a map made of them comes out inverted",
                signs.len()
            ));
        }
    }
    Ok(notes)
}
