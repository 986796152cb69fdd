//! What Frealign and cisTEM mean by their columns and what they are here ([`vitreous_model::conventions`]): the only place
//! that knows.
//!
//! | column | here | source |
//! |---|---|---|
//! | PHI, THETA, PSI | rot, tilt, psi of `Pose.rotation`, degrees | pyem metadata/cistem.py |
//! | SHX, SHY | `Pose.shift_a`, Å, of the same sign (rlnOrigin is minus that) | pyem metadata/cistem.py |
//! | DF1, DF2, ANGAST | `CtfParams`: Å, underfocus positive; degrees from x | pyem metadata/cistem.py |
//! | PSHIFT | `CtfParams.phase_shift`: radians | cisTEM src/core/ctf.h |
//! | position | `Particle.stack_index` + 1; `Particle.id` | cisTEM |
//! | INCLUDE, activity | below 0: the particle is left out | cisTEM |
//!
//! cisTEM's contrast transfer function is minus the one here: to it protein is dark on an image, here it is white. The
//! parameters are the same; the images need to be inverted.

use super::{ParError, Parameters, Row};
pub use crate::star::convert::Fallback;
use crate::star::convert::Imported;
use std::collections::{HashMap, HashSet};
use std::f64::consts::TAU;
use std::path::Path;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::particle::{ClassAssignment, Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

/// Two pixel sizes are the same within this fraction: files have five decimals.
const SAME: f64 = 1e-4;

/// What the file leaves open.
pub struct ImportOptions<'a> {
    /// The image stack, as one of our paths; `None`: those that the file names.
    pub stack: Option<&'a str>,
    /// Turns a path of the file into one of ours.
    pub resolve: &'a dyn Fn(&str) -> String,
    /// Optics of files that do not say.
    pub fallback: Fallback,
}

/// The particles of a file; `box_px` is 0, for the files do not say it. `path` is for messages.
///
/// # Errors
/// No stack or optics, neither in the file nor in `options`; numbers that make no sense; images named twice.
pub fn particles_of(
    path: &Path,
    parameters: &Parameters,
    options: &ImportOptions<'_>,
) -> Result<Imported<ParticleSet>, ParError> {
    let unfit = |why: String, hint| ParError::Unfit { path: path.into(), why, hint };
    let active: Vec<&Row> = parameters.rows.iter().filter(|row| row.activity >= 0.0).collect();
    if active.is_empty() {
        return Err(unfit("all of its particles are marked as left out".into(), ""));
    }
    let mut optics = Optics::new(path, &options.fallback);
    let phase_unit = phase_unit(parameters);
    let mut stacks: HashMap<&str, String> = HashMap::new();
    let mut seen = HashSet::with_capacity(active.len());
    let mut particles = Vec::with_capacity(active.len());
    for row in active {
        let number = optics.group(row)?;
        let stack = match options.stack {
            Some(stack) => stack.to_string(),
            None if row.stack.is_empty() => {
                let why = format!("line {} names no stack of images", row.line);
                return Err(unfit(why, "give the stack that was refined: --stack"));
            }
            None => stacks.entry(&row.stack).or_insert_with(|| (options.resolve)(&row.stack)).clone(),
        };
        if !seen.insert((stack.clone(), row.position)) {
            let why = format!("line {} has image {} a second time", row.line, row.position);
            return Err(unfit(why, "give the file of one class, as the refinement wrote it"));
        }
        let [psi, theta, phi] = row.angles;
        let group = &optics.groups[number as usize - 1];
        let id = if options.stack.is_some() { u64::from(row.position) - 1 } else { particles.len() as u64 };
        particles.push(Particle {
            optics_group: number,
            ctf: Some(CtfParams {
                defocus_u_a: row.defocus[0],
                defocus_v_a: row.defocus[1],
                astigmatism_angle: Degrees(row.astigmatism),
                phase_shift: Degrees(row.phase_shift * phase_unit),
                voltage: group.voltage,
                cs: group.cs,
                amplitude_contrast: group.amplitude_contrast,
                even: Default::default(),
            }),
            pose: Some(Pose { rotation: Rotation::from_euler_zyz_deg(phi, theta, psi), shift_a: row.shift }),
            class: (row.class > 0).then_some(ClassAssignment { number: row.class, probability: f64::NAN }),
            ..Particle::of_image(id, &stack, row.position - 1)
        });
    }
    let notes = notes(parameters, particles.len(), phase_unit);
    let value =
        ParticleSet { optics: optics.groups, box_px: 0, pixel_size_a: optics.pixel_size_a, particles };
    Ok(Imported { notes, ..Imported::new(value, parameters.ignored.clone()) })
}

/// Degrees in the file's unit of phase shifts. A phase beyond a full turn is none in radians.
fn phase_unit(parameters: &Parameters) -> f64 {
    if parameters.rows.iter().any(|row| row.phase_shift.abs() > TAU) { 1.0 } else { 1f64.to_degrees() }
}

fn notes(parameters: &Parameters, taken: usize, phase_unit: f64) -> Vec<String> {
    let mut notes = vec![
        "cisTEM's and Frealign's CTF is minus the one here: to them protein is dark on an image, here it is expected to be \
         white. If it is dark in this stack, a map made of it comes out inverted: run restack-particles with --invert first."
            .to_string(),
    ];
    let left = parameters.rows.len() - taken;
    if left > 0 {
        notes.push(format!(
            "{left} particles are marked as left out in the file (a negative activity) and were left out"
        ));
    }
    if !parameters.is_star {
        notes.push(
            "shifts were taken to be in Å, as of Frealign 9 and cisTEM; older files have pixels".into(),
        );
    }
    if parameters.rows.iter().any(|row| row.phase_shift != 0.0) {
        let unit = if phase_unit == 1.0 {
            "degrees, since some are above a full turn of radians"
        } else {
            "radians"
        };
        notes.push(format!("phase shifts were taken to be in {unit}"));
    }
    notes
}

/// Optics groups in the order of their first particle.
struct Optics<'a> {
    path: &'a Path,
    fallback: &'a Fallback,
    groups: Vec<OpticsGroup>,
    pixel_size_a: f64,
}

impl<'a> Optics<'a> {
    fn new(path: &'a Path, fallback: &'a Fallback) -> Self {
        Self { path, fallback, groups: Vec::new(), pixel_size_a: f64::NAN }
    }

    /// The number of a particle's group.
    fn group(&mut self, row: &Row) -> Result<u32, ParError> {
        let unfit = |why: String, hint| ParError::Unfit { path: self.path.into(), why, hint };
        let need = |own: Option<f64>, given: Option<f64>, what: &str, hint| {
            own.or(given).ok_or_else(|| unfit(format!("it does not say the {what}"), hint))
        };
        let (lens, given) = (row.lens, self.fallback);
        let pixel =
            need(lens.map(|l| l.pixel_size_a), given.pixel_size_a, "pixel size", "give --pixel-size")?;
        let voltage = need(lens.map(|l| l.voltage_kv), given.voltage_kv, "voltage", "give --voltage")?;
        let cs = need(lens.map(|l| l.cs_mm), given.cs_mm, "spherical aberration", "give --cs")?;
        let contrast = lens.map(|l| l.amplitude_contrast);
        let contrast =
            need(contrast, given.amplitude_contrast, "amplitude contrast", "give --amplitude-contrast")?;
        if !(pixel > 0.0 && voltage > 0.0 && (0.0..1.0).contains(&contrast)) {
            let why = format!(
                "line {} has a pixel size of {pixel} Å, {voltage} kV and an amplitude contrast of {contrast}, expected \
                 above 0, above 0, and 0 to below 1",
                row.line
            );
            return Err(unfit(why, ""));
        }
        if self.groups.is_empty() {
            self.pixel_size_a = pixel;
        }
        if (pixel / self.pixel_size_a - 1.0).abs() > SAME {
            let why =
                format!("line {} has a pixel size of {pixel} Å, the first {} Å", row.line, self.pixel_size_a);
            return Err(unfit(why, "import particles of each pixel size apart"));
        }
        let same = |g: &OpticsGroup| (g.voltage.0, g.cs.0, g.amplitude_contrast) == (voltage, cs, contrast);
        if let Some(known) = self.groups.iter().find(|group| same(group)) {
            return Ok(known.number);
        }
        let number = self.groups.len() as u32 + 1;
        self.groups.push(OpticsGroup {
            number,
            name: format!("opticsGroup{number}"),
            voltage: Kilovolt(voltage),
            cs: Millimetre(cs),
            amplitude_contrast: contrast,
            movie_pixel_size_a: pixel,
            aberrations: Default::default(),
        });
        Ok(number)
    }
}
