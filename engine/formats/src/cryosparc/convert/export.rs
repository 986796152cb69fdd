//! Our particles → the fields of a dataset.

use super::CsPick;
use crate::cryosparc::{CsError, FieldOut, Values};
use std::collections::HashMap;
use std::path::Path;
use vitreous_model::exposure::{ExposureSet, MicrographSource};
use vitreous_model::particle::{Particle, ParticleSet};

/// What CryoSPARC is to be told beside the particles.
pub struct ExportOptions<'a> {
    /// The micrographs; without them positions cannot be written, since they are fractions of a micrograph's edges.
    pub exposures: Option<&'a ExposureSet>,
    /// Turns our paths into the ones to be written.
    pub paths: &'a dyn Fn(&str) -> String,
    /// Whether CryoSPARC's micrographs have their rows the other way than ours.
    pub mirrored: bool,
}

/// The fields of a dataset, and what they do not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The fields, all of as many records as particles.
    pub fields: Vec<FieldOut>,
    /// Names of the results in a group: `blob`, `ctf` …
    pub results: Vec<&'static str>,
    /// What was not carried, in sentences.
    pub left: Vec<String>,
}

/// The fields of a set of particles; `path` is for messages.
///
/// # Errors
/// No particles, two of one id, a CTF that only some have, or a number of an optics group or class of 0.
pub fn particle_fields(
    path: &Path,
    set: &ParticleSet,
    options: &ExportOptions<'_>,
) -> Result<Exported, CsError> {
    check(path, set)?;
    let mut out = Builder { set, fields: Vec::new(), results: vec!["blob"], left: Vec::new() };
    out.blob(options);
    out.optics();
    out.ctf();
    out.alignment();
    out.location(options);
    out.what_has_no_field();
    Ok(Exported { fields: out.fields, results: out.results, left: out.left })
}

fn check(path: &Path, set: &ParticleSet) -> Result<(), CsError> {
    let error = |why: String, hint| Err(CsError::Unfit { path: path.into(), why, hint });
    let all = set.particles.len();
    if all == 0 {
        return error("there are no particles".into(), "give a set that has some");
    }
    let mut ids: Vec<u64> = set.particles.iter().map(|p| p.id).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        let why = format!("two particles have the id {}, which is to be their uid", twice[0]);
        return error(why, "combine-particles gives every particle a number of its own");
    }
    let with_ctf = set.particles.iter().filter(|p| p.ctf.is_some()).count();
    if with_ctf != 0 && with_ctf != all {
        return error(format!("only {with_ctf} of {all} particles have a CTF"), "export those that have one");
    }
    let known = |p: &&Particle| set.optics.iter().any(|g| g.number == p.optics_group && g.number > 0);
    if let Some(stray) = set.particles.iter().find(|p| !known(p)) {
        let why =
            format!("particle {} is of optics group {}, which is not there", stray.id, stray.optics_group);
        return error(why, "");
    }
    match set.particles.iter().find(|p| p.class.is_some_and(|class| class.number == 0)) {
        Some(p) => error(format!("particle {} is of class 0, expected from 1", p.id), ""),
        None => Ok(()),
    }
}

struct Builder<'a> {
    set: &'a ParticleSet,
    fields: Vec<FieldOut>,
    results: Vec<&'static str>,
    left: Vec<String>,
}

impl Builder<'_> {
    fn put(&mut self, name: &'static str, values: Values) {
        self.fields.push(FieldOut { name, values });
    }

    /// A field of `N` numbers of each particle.
    fn floats<const N: usize>(&mut self, name: &'static str, value: impl Fn(&Particle) -> [f64; N]) {
        let values = self.set.particles.iter().flat_map(|p| value(p).map(|v| v as f32)).collect();
        self.put(name, Values::F32(N, values));
    }

    fn integers(&mut self, name: &'static str, value: impl Fn(&Particle) -> u32) {
        let values = self.set.particles.iter().map(value).collect();
        self.put(name, Values::U32(1, values));
    }

    fn count(&self, test: impl Fn(&Particle) -> bool) -> usize {
        self.set.particles.iter().filter(|p| test(p)).count()
    }

    fn blob(&mut self, options: &ExportOptions<'_>) {
        let set = self.set;
        self.put("uid", Values::U64(set.particles.iter().map(|p| p.id).collect()));
        let mut known: HashMap<&str, String> = HashMap::new();
        let path = |p: &'_ Particle| (options.paths)(&p.stack_path);
        let paths: Vec<String> = set
            .particles
            .iter()
            .map(|p| known.entry(p.stack_path.as_str()).or_insert_with(|| path(p)).clone())
            .collect();
        self.put("blob/path", Values::Text(paths));
        self.integers("blob/idx", |p| p.stack_index);
        let shape = set.particles.iter().flat_map(|_| [set.box_px; 2]).collect();
        self.put("blob/shape", Values::U32(2, shape));
        self.floats("blob/psize_A", |_| [set.pixel_size_a]);
        // particles are white on disk here
        self.floats("blob/sign", |_| [1.0]);
        // the signature of a file that CryoSPARC itself imported; 0: none
        self.put("blob/import_sig", Values::U64(vec![0; set.particles.len()]));
    }

    fn optics(&mut self) {
        let optics: HashMap<u32, [f64; 3]> = self
            .set
            .optics
            .iter()
            .map(|group| (group.number, [group.voltage.0, group.cs.0, group.amplitude_contrast]))
            .collect();
        let of = |p: &Particle, which: usize| [optics[&p.optics_group][which]];
        self.integers("ctf/exp_group_id", |p| p.optics_group - 1);
        self.floats("ctf/accel_kv", |p| of(p, 0));
        self.floats("ctf/cs_mm", |p| of(p, 1));
        self.floats("ctf/amp_contrast", |p| of(p, 2));
        let own = |p: &Particle| {
            p.ctf.is_some_and(|ctf| {
                [ctf.voltage.0, ctf.cs.0, ctf.amplitude_contrast] != optics[&p.optics_group]
            })
        };
        let other = self.count(own);
        if other > 0 {
            self.left.push(format!(
                "voltage, Cs and amplitude contrast of {other} particles differ from those of their optics group, which \
                 were written"
            ));
        }
    }

    fn ctf(&mut self) {
        if self.count(|p| p.ctf.is_some()) == 0 {
            self.left.push("the particles have no CTF: refine in CryoSPARC only after estimating one".into());
            return;
        }
        self.results.push("ctf");
        let all = self.set.particles.len();
        self.put("ctf/type", Values::Text(vec!["imported".into(); all]));
        let of = |p: &Particle, value: fn(&vitreous_model::ctf::CtfParams) -> f64| {
            [p.ctf.as_ref().map_or(0.0, value)]
        };
        self.floats("ctf/df1_A", |p| of(p, |ctf| ctf.defocus_u_a));
        self.floats("ctf/df2_A", |p| of(p, |ctf| ctf.defocus_v_a));
        self.floats("ctf/df_angle_rad", |p| of(p, |ctf| ctf.astigmatism_angle.radians()));
        self.floats("ctf/phase_shift_rad", |p| of(p, |ctf| ctf.phase_shift.radians()));
        self.floats("ctf/scale", |_| [1.0]);
        self.floats("ctf/scale_const", |_| [0.0]);
        self.floats("ctf/shift_A", |_| [0.0; 2]);
        self.floats("ctf/tilt_A", |_| [0.0; 2]);
        self.floats("ctf/trefoil_A", |_| [0.0; 2]);
        self.floats("ctf/tetra_A", |_| [0.0; 4]);
        self.floats("ctf/anisomag", |_| [0.0; 4]);
        self.floats("ctf/bfactor", |_| [0.0]);
    }

    fn alignment(&mut self) {
        let set = self.set;
        let all = set.particles.len();
        let posed = self.count(|p| p.pose.is_some());
        let (halved, classed) = (self.count(|p| p.half.is_some()), self.count(|p| p.class.is_some()));
        if posed == 0 {
            for (count, what) in [(halved, "half-sets"), (classed, "classes")] {
                if count > 0 {
                    self.left.push(format!(
                        "{what} of {count} particles: they have no poses beside which they stand"
                    ));
                }
            }
            return;
        }
        self.results.push("alignments3D");
        if posed < all {
            let without = all - posed;
            self.left.push(format!("that {without} particles have no pose: they were written with zeros"));
        }
        self.floats("alignments3D/pose", |p| p.pose.unwrap_or_default().rotation.to_rotation_vector());
        self.floats("alignments3D/shift", |p| {
            p.pose.unwrap_or_default().shift_a.map(|t| -t / set.pixel_size_a + 0.0)
        });
        self.floats("alignments3D/psize_A", |_| [set.pixel_size_a]);
        if halved == all {
            self.integers("alignments3D/split", |p| p.half.map_or(0, |half| u32::from(half.number()) - 1));
        } else if halved > 0 {
            self.left.push(format!("half-sets: only {halved} of {all} particles have one"));
        }
        if classed == all {
            self.integers("alignments3D/class", |p| p.class.map_or(0, |class| class.number - 1));
            let probability = |p: &Particle| p.class.map_or(1.0, |class| class.probability);
            let unknown = self.count(|p| probability(p).is_nan());
            if unknown > 0 {
                self.left.push(format!(
                    "that the probability of {unknown} particles' class is not known: it was written as 1"
                ));
            }
            self.floats("alignments3D/class_posterior", |p| {
                [if probability(p).is_nan() { 1.0 } else { probability(p) }]
            });
        } else if classed > 0 {
            self.left.push(format!("classes: only {classed} of {all} particles have one"));
        }
        for (name, value) in NEUTRAL {
            self.floats(name, |_| [*value]);
        }
    }

    fn location(&mut self, options: &ExportOptions<'_>) {
        let set = self.set;
        let all = set.particles.len();
        let placed = self.count(|p| p.pick.is_some());
        if placed == 0 {
            return;
        }
        let micrographs: HashMap<&str, &MicrographSource> = options
            .exposures
            .into_iter()
            .flat_map(|set| &set.exposures)
            .filter_map(|e| Some((e.name.as_str(), e.micrograph.as_ref()?)))
            .collect();
        let of =
            |p: &Particle| Some((*micrographs.get(p.pick.as_ref()?.exposure.as_str())?, p.pick.clone()?));
        let known: Vec<_> = set.particles.iter().filter_map(of).collect();
        if known.len() < all {
            let why = match options.exposures {
                None => "micrographs were not given, and CryoSPARC's are fractions of a micrograph's edges"
                    .to_string(),
                Some(_) => {
                    format!("only {} of {all} particles have one on a micrograph of the input", known.len())
                }
            };
            self.left.push(format!("positions of particles: {why}"));
            return;
        }
        self.results.push("location");
        let mut paths: HashMap<&str, String> = HashMap::new();
        let path = |(m, _): &(&'_ MicrographSource, _)| (options.paths)(&m.path);
        let texts =
            known.iter().map(|one| paths.entry(one.0.path.as_str()).or_insert_with(|| path(one)).clone());
        let texts = texts.collect();
        self.put("location/micrograph_path", Values::Text(texts));
        self.put(
            "location/micrograph_uid",
            Values::U64(known.iter().map(|(_, pick)| uid_of(&pick.exposure)).collect()),
        );
        self.integers("location/exp_group_id", |p| p.optics_group - 1);
        let shape = known.iter().flat_map(|(m, _)| [m.height, m.width]).collect();
        self.put("location/micrograph_shape", Values::U32(2, shape));
        let pixel = known.iter().map(|(m, _)| m.pixel_size_a as f32).collect();
        self.put("location/micrograph_psize_A", Values::F32(1, pixel));
        let fraction = |axis: usize| {
            let of = |(m, pick): &(&MicrographSource, vitreous_model::particle::Pick)| {
                let size = [f64::from(m.width), f64::from(m.height)];
                CsPick::fraction_of([pick.x_px, pick.y_px], size, options.mirrored)[axis] as f32
            };
            Values::F32(1, known.iter().map(of).collect())
        };
        let (x, y) = (fraction(0), fraction(1));
        self.put("location/center_x_frac", x);
        self.put("location/center_y_frac", y);
        if known.iter().all(|(_, pick)| pick.score.is_finite()) {
            self.results.push("pick_stats");
            self.put(
                "pick_stats/ncc_score",
                Values::F32(1, known.iter().map(|(_, pick)| pick.score as f32).collect()),
            );
        } else if known.iter().any(|(_, pick)| pick.score.is_finite()) {
            self.left.push("scores of picks: not all particles have one".into());
        }
    }

    fn what_has_no_field(&mut self) {
        let likely = self.count(|p| p.log_likelihood.is_finite());
        if likely > 0 {
            self.left.push(format!("log-likelihoods of {likely} particles: CryoSPARC has no such field"));
        }
        let plain = |group: &&vitreous_model::exposure::OpticsGroup| {
            group.name != format!("opticsGroup{}", group.number)
        };
        let named: Vec<&str> =
            self.set.optics.iter().filter(plain).map(|group| group.name.as_str()).collect();
        if !named.is_empty() {
            self.left.push(format!("names of optics groups ({}): CryoSPARC numbers them", named.join(", ")));
        }
        let used = |number: u32| self.set.particles.iter().any(|p| p.optics_group == number);
        let unused: Vec<String> =
            self.set.optics.iter().filter(|g| !used(g.number)).map(|g| g.number.to_string()).collect();
        if !unused.is_empty() {
            self.left.push(format!("optics groups without particles: {}", unused.join(", ")));
        }
        let has_pixel = self.fields.iter().any(|field| field.name == "location/micrograph_psize_A");
        let what = if has_pixel { "; that of the micrographs was written" } else { "" };
        self.left.push(format!("the pixel size of the movies{what}"));
    }
}

/// What a refinement measures and a set from elsewhere does not have.
const NEUTRAL: &[(&str, f64)] = &[
    ("alignments3D/error", 0.0),
    ("alignments3D/error_min", 0.0),
    ("alignments3D/resid_pow", 0.0),
    ("alignments3D/slice_pow", 0.0),
    ("alignments3D/image_pow", 0.0),
    ("alignments3D/cross_cor", 0.0),
    ("alignments3D/alpha", 1.0),
    ("alignments3D/alpha_min", 1.0),
    ("alignments3D/weight", 1.0),
    ("alignments3D/pose_ess", 0.0),
    ("alignments3D/shift_ess", 0.0),
    ("alignments3D/class_ess", 1.0),
];

/// A number for an exposure that is the same in every export: FNV-1a of its name.
pub(super) fn uid_of(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
