//! A dataset of exposures → ours: micrographs with their optics and CTF.

use super::particles::{finite, short, unfit, whole};
use super::{ImportOptions, RULES};
use crate::cryosparc::{CsError, CsPath, Dataset};
use crate::star::convert::{Imported, exposure_name};
use std::collections::{BTreeMap, HashMap};
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const FOR_MICROGRAPHS: &str = "finding the micrographs";
const FOR_OPTICS: &str = "the optics of the micrographs";
/// Amplitude contrast of proteins in ice where neither the dataset nor the user says: the usual assumption of the field.
const AMPLITUDE_CONTRAST: f64 = 0.1;

/// The fields of one kind of sums.
struct Sums {
    path: &'static str,
    shape: &'static str,
    pixel: &'static str,
}

const WEIGHTED: Sums =
    Sums { path: "micrograph_blob/path", shape: "micrograph_blob/shape", pixel: "micrograph_blob/psize_A" };
const UNWEIGHTED: Sums = Sums {
    path: "micrograph_blob_non_dw/path",
    shape: "micrograph_blob_non_dw/shape",
    pixel: "micrograph_blob_non_dw/psize_A",
};

/// What is left for a reason, where a dataset has it: the first part of its fields, and what to say.
const LEFT: [(&str, &str); 5] = [
    (
        "movie_blob/",
        "movies (movie_blob): register them with import-movies; the rows of CryoSPARC's sums of TIFF and EER movies run the \
         other way than those of the movies as they are read here",
    ),
    ("gain_ref_blob/", "gain references (gain_ref_blob): they come with the movies"),
    (
        "rigid_motion/",
        "whole-frame motion (rigid_motion): tables hold the sums' path lengths and RELION's files of motion, not CryoSPARC's \
         trajectories",
    ),
    ("spline_motion/", "local motion (spline_motion): as whole-frame motion"),
    ("background_blob/", "estimates of the background (background_blob): micrographs are taken as they are"),
];

/// The micrographs of a dataset, in its order; names are the stems of their files. Where there are sums with and without
/// dose weights, the latter become the unweighted ones.
///
/// # Errors
/// A dataset without micrographs, or without pixel size or optics that `options` do not give either; numbers that make
/// no sense; exposures of one group with different optics.
pub fn exposures_of(
    dataset: &Dataset,
    options: &ImportOptions<'_>,
) -> Result<Imported<ExposureSet>, CsError> {
    if dataset.is_empty() {
        return Err(unfit(dataset, "it holds no exposures".into(), "give a dataset with records"));
    }
    let sums =
        if dataset.has(WEIGHTED.path) || !dataset.has(UNWEIGHTED.path) { WEIGHTED } else { UNWEIGHTED };
    let paths = dataset.texts(sums.path, FOR_MICROGRAPHS)?;
    let unweighted = match dataset.has(UNWEIGHTED.path) && sums.path != UNWEIGHTED.path {
        true => Some(dataset.texts(UNWEIGHTED.path, FOR_MICROGRAPHS)?),
        false => None,
    };
    let rows = whole(dataset, sums.shape, 0, FOR_MICROGRAPHS)?;
    let columns = whole(dataset, sums.shape, 1, FOR_MICROGRAPHS)?;
    let pixels = match (dataset.has(sums.pixel), options.fallback.pixel_size_a) {
        (false, Some(given)) => vec![given; dataset.len()],
        _ => finite(dataset, sums.pixel, 0, "the pixel size")?,
    };
    if let Some(row) = pixels.iter().position(|pixel| *pixel <= 0.0) {
        let why = format!("`{}` of record {row} is {}, expected a number above 0", sums.pixel, pixels[row]);
        return Err(unfit(dataset, why, ""));
    }
    let mut notes = Vec::new();
    let (optics, groups) = optics(dataset, &pixels, options, &mut notes)?;
    let fits = fits(dataset, &optics, &groups)?;
    let resolve = |path: &String| (options.resolve)(CsPath::of(path));
    let exposure = |row: usize| Exposure {
        name: exposure_name(CsPath::of(&paths[row]).path),
        optics_group: groups[row],
        movie: None,
        micrograph: Some(MicrographSource {
            path: resolve(&paths[row]),
            width: columns[row],
            height: rows[row],
            pixel_size_a: short(pixels[row]),
            unweighted_path: unweighted.as_ref().map(|paths| resolve(&paths[row])).unwrap_or_default(),
            motion_star_path: String::new(),
        }),
        motion: None,
        ctf: fits.as_ref().and_then(|fits| fits[row].clone()),
    };
    let exposures = (0..dataset.len()).map(exposure).collect();
    notes.extend(left(dataset)?);
    let value = ExposureSet { optics, exposures };
    Ok(Imported { notes, ..Imported::new(value, ignored(dataset)) })
}

/// The first of several fields that a dataset has.
fn first_of(dataset: &Dataset, fields: &[&'static str]) -> Option<&'static str> {
    fields.iter().copied().find(|field| dataset.has(field))
}

/// Optics groups in the order of their numbers, and the number of each record's.
fn optics(
    dataset: &Dataset,
    pixels: &[f64],
    options: &ImportOptions<'_>,
    notes: &mut Vec<String>,
) -> Result<(Vec<OpticsGroup>, Vec<u32>), CsError> {
    let count = dataset.len();
    let value = |fields: [&'static str; 2], given: Option<f64>| match (first_of(dataset, &fields), given) {
        (None, Some(given)) => Ok(vec![given; count]),
        (field, _) => finite(dataset, field.unwrap_or(fields[0]), 0, FOR_OPTICS),
    };
    let fallback = &options.fallback;
    let voltage = value(["mscope_params/accel_kv", "ctf/accel_kv"], fallback.voltage_kv)?;
    let cs = value(["mscope_params/cs_mm", "ctf/cs_mm"], fallback.cs_mm)?;
    let contrast = match (dataset.has("ctf/amp_contrast"), fallback.amplitude_contrast) {
        (true, _) => finite(dataset, "ctf/amp_contrast", 0, FOR_OPTICS)?,
        (false, given) => {
            if given.is_none() {
                notes.push(format!("no amplitude contrast is known: {AMPLITUDE_CONTRAST} is assumed"));
            }
            vec![given.unwrap_or(AMPLITUDE_CONTRAST); count]
        }
    };
    let movie_pixels = match dataset.has("movie_blob/psize_A") {
        true => finite(dataset, "movie_blob/psize_A", 0, FOR_OPTICS)?,
        false => pixels.to_vec(),
    };
    let numbers: Vec<u32> = match first_of(dataset, &["mscope_params/exp_group_id", "ctf/exp_group_id"]) {
        Some(field) => whole(dataset, field, 0, FOR_OPTICS)?.into_iter().map(|id| id + 1).collect(),
        None => vec![1; count],
    };
    let mut groups: BTreeMap<u32, OpticsGroup> = BTreeMap::new();
    for row in 0..count {
        let number = numbers[row];
        if !(voltage[row] > 0.0 && (0.0..1.0).contains(&contrast[row])) {
            let (kv, contrast) = (voltage[row], contrast[row]);
            let why = format!(
                "record {row} has {kv} kV and an amplitude contrast of {contrast}, expected above 0, and 0 to below 1"
            );
            return Err(unfit(dataset, why, ""));
        }
        let found = [voltage[row], cs[row], contrast[row]].map(short);
        let movie = if movie_pixels[row] > 0.0 { movie_pixels[row] } else { pixels[row] };
        let group = groups.entry(number).or_insert_with(|| OpticsGroup {
            name: format!("opticsGroup{number}"),
            movie_pixel_size_a: short(movie),
            ..plain_group(number, found)
        });
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

/// A group of which only the lens is known: voltage (kV), Cs (mm), amplitude contrast.
fn plain_group(number: u32, [voltage, cs, amplitude_contrast]: [f64; 3]) -> OpticsGroup {
    OpticsGroup {
        number,
        name: String::new(),
        voltage: Kilovolt(voltage),
        cs: Millimetre(cs),
        amplitude_contrast,
        movie_pixel_size_a: f64::NAN,
        aberrations: Default::default(),
    }
}

/// The CTF of each record; none of a record without defocus.
fn fits(
    dataset: &Dataset,
    optics: &[OpticsGroup],
    groups: &[u32],
) -> Result<Option<Vec<Option<CtfFit>>>, CsError> {
    if !dataset.has("ctf/df1_A") {
        return Ok(None);
    }
    let value = |field| finite(dataset, field, 0, "the CTF");
    let (u, v, angle) = (value("ctf/df1_A")?, value("ctf/df2_A")?, value("ctf/df_angle_rad")?);
    let or = |fields: &[&'static str], otherwise: f64| match first_of(dataset, fields) {
        Some(field) => dataset.numbers(field, 0, "the CTF"),
        None => Ok(vec![otherwise; dataset.len()]),
    };
    let phase = or(&["ctf/phase_shift_rad"], 0.0)?;
    let resolution = or(&["ctf_stats/ctf_fit_to_A", "ctf/ctf_fit_to_A"], f64::NAN)?;
    let score = or(&["ctf_stats/cross_corr", "ctf/cross_corr_ctffind4"], f64::NAN)?;
    let by_number: HashMap<u32, &OpticsGroup> = optics.iter().map(|group| (group.number, group)).collect();
    let fit = |row: usize| {
        let group = by_number[&groups[row]];
        let ctf = CtfParams {
            defocus_u_a: u[row],
            defocus_v_a: v[row],
            astigmatism_angle: Degrees(angle[row].to_degrees()),
            phase_shift: Degrees(phase[row].to_degrees()),
            voltage: group.voltage,
            cs: group.cs,
            amplitude_contrast: group.amplitude_contrast,
            even: Default::default(),
        };
        // a defocus of 0 along both axes stands for none
        (u[row] != 0.0 || v[row] != 0.0).then(|| CtfFit::new(ctf, resolution[row], score[row]))
    };
    Ok(Some((0..dataset.len()).map(fit).collect()))
}

/// Fields that have no place here.
fn ignored(dataset: &Dataset) -> Vec<String> {
    let known = |name: &str| RULES.iter().any(|rule| rule.field == name);
    dataset.names().filter(|name| !known(name)).map(str::to_string).collect()
}

/// What of a dataset is left, and why.
fn left(dataset: &Dataset) -> Result<Vec<String>, CsError> {
    let has = |group: &str| dataset.names().any(|name| name.starts_with(group));
    let mut notes: Vec<String> =
        LEFT.iter().filter(|(group, _)| has(group)).map(|(_, why)| format!("left: {why}")).collect();
    if dataset.has("mscope_params/neg_stain") {
        let stained = dataset.numbers("mscope_params/neg_stain", 0, FOR_OPTICS)?;
        let stained = stained.iter().filter(|value| **value != 0.0).count();
        if stained > 0 {
            notes.push(format!(
                "{stained} of {} exposures are negatively stained: protein is white on them",
                dataset.len()
            ));
        }
    }
    Ok(notes)
}
