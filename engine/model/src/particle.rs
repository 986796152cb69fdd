//! Particles: where they were picked, where their images are, and what is known of each.

use crate::ctf::CtfParams;
use crate::exposure::OpticsGroup;
use crate::half_set::HalfSet;
use crate::pose::Pose;
use serde::{Deserialize, Serialize};

/// A position on a micrograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// Name of the exposure.
    pub exposure: String,
    /// Column of the particle's centre in pixels of the micrograph; the first stored pixel's centre is 0.
    pub x_px: f64,
    /// Row likewise; row 0 is the first stored row of the MRC file.
    pub y_px: f64,
    /// Score of the picker, larger is better; NaN if none.
    pub score: f64,
}

/// The content of a `picks` table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PickSet {
    /// Diameter that was looked for, Å.
    pub diameter_a: f64,
    /// Positions, by exposure in the order of the micrograph table.
    pub picks: Vec<Pick>,
    /// Of every pick, the template that fits it; empty if no templates were used.
    #[serde(default)]
    pub matches: Vec<TemplateMatch>,
    /// Of every pick, what lies round it; empty if that was not measured.
    #[serde(default)]
    pub surroundings: Vec<Surroundings>,
}

/// How a template fits a pick.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TemplateMatch {
    /// Number of the template, from 0.
    pub template: u32,
    /// Angle by which it is turned in the plane from x towards y, degrees.
    pub angle_deg: f64,
}

/// How a pick's neighbourhood of about a diameter differs from the rest of its micrograph.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Its standard deviation (the root of the local power) over the usual one of the micrograph.
    pub local_sd: f64,
    /// Its mean above the level of the micrograph, bright particles counting as positive, in standard deviations of the
    /// pixels at the working pixel size.
    pub local_mean: f64,
}

/// One particle image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Particle {
    /// Number unique in the set and kept by later jobs.
    pub id: u64,
    /// Image stack; relative to the project directory or absolute.
    pub stack_path: String,
    /// Image in the stack, from 0.
    pub stack_index: u32,
    /// Number of the optics group, 1-based.
    pub optics_group: u32,
    /// The place on the micrograph that the centre pixel of its box is on, with the score of the pick; `None` for
    /// particles of unknown origin. The particle itself lies there plus the shift of its pose.
    pub pick: Option<Pick>,
    /// Its CTF; `None` if never estimated (then no correction is possible).
    pub ctf: Option<CtfParams>,
    /// Its pose; `None` before any alignment.
    pub pose: Option<Pose>,
    /// Its half of a gold-standard refinement.
    pub half: Option<HalfSet>,
    /// Its class in the last classification; `None` if it was in none.
    pub class: Option<ClassAssignment>,
    /// Log-likelihood of the best pose in nats; NaN if none.
    pub log_likelihood: f64,
}

/// To which class a classification put a particle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassAssignment {
    /// Number of the most probable class, from 1.
    pub number: u32,
    /// Its posterior probability, 0 to 1; NaN if unknown.
    pub probability: f64,
}

impl Particle {
    /// A particle of which only its image is known, in optics group 1: image `stack_index` (from 0) of a stack.
    pub fn of_image(id: u64, stack_path: &str, stack_index: u32) -> Self {
        Self {
            id,
            stack_path: stack_path.into(),
            stack_index,
            optics_group: 1,
            pick: None,
            ctf: None,
            pose: None,
            half: None,
            class: None,
            log_likelihood: f64::NAN,
        }
    }

    /// Where its centre lies on a micrograph of `pixel_size_a` (Å), column and row in pixels: the place of its box plus
    /// the shift of its pose (RELION's coordinate minus origin); `None` for particles of unknown origin.
    /// ```
    /// use vitreous_model::particle::{Particle, Pick};
    /// use vitreous_model::pose::{Pose, Rotation};
    /// let pick = Pick { exposure: "m".into(), x_px: 100.0, y_px: 50.0, score: 1.0 };
    /// // rlnOriginXAngst -3, rlnOriginYAngst 4.5
    /// let pose = Pose { rotation: Rotation::IDENTITY, shift_a: [3.0, -4.5] };
    /// let particle = Particle { id: 0, stack_path: "s.mrcs".into(), stack_index: 0, optics_group: 1, pick: Some(pick),
    ///     ctf: None, pose: Some(pose), half: None, class: None,
    ///     log_likelihood: f64::NAN };
    /// assert_eq!(particle.place_px(1.5), Some([102.0, 47.0]));
    /// ```
    pub fn place_px(&self, pixel_size_a: f64) -> Option<[f64; 2]> {
        let pick = self.pick.as_ref()?;
        let [x_a, y_a] = self.pose.map_or([0.0; 2], |pose| pose.shift_a);
        Some([pick.x_px + x_a / pixel_size_a, pick.y_px + y_a / pixel_size_a])
    }
}

/// The content of a `particles` table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ParticleSet {
    /// Optics groups, by number.
    pub optics: Vec<OpticsGroup>,
    /// Box edge of every image, pixels.
    pub box_px: u32,
    /// Pixel size of every image, Å.
    pub pixel_size_a: f64,
    /// The particles.
    pub particles: Vec<Particle>,
}

impl ParticleSet {
    /// The optics of a group number.
    pub fn optics_of(&self, number: u32) -> Option<&OpticsGroup> {
        self.optics.iter().find(|group| group.number == number)
    }

    /// Gives the even aberrations of every optics group to the CTFs of its particles. Readers of files do so; whoever
    /// changes a group's aberrations must.
    pub fn share_even_aberrations(&mut self) {
        let Self { optics, particles, .. } = self;
        for particle in particles {
            let group = optics.iter().find(|group| group.number == particle.optics_group);
            if let (Some(ctf), Some(group)) = (&mut particle.ctf, group) {
                ctf.even = group.aberrations.even;
            }
        }
    }
}
