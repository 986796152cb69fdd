//! The job's inputs, checked and put into the units of the refinement.

use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::particle_sets::optics_groups;
use crate::ranks::{share, share_records};
use crate::{Ctx, Input, StageError};
use ndarray::Array3;
use rayon::prelude::*;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use vitreous_compute::fourier::{HalfImage, shell_power};
use vitreous_compute::mask;
use vitreous_compute::regrid::regridded;
use vitreous_compute::sharpen::low_passed;
use vitreous_compute::spectra::ShellSums;
use vitreous_formats::mrc::read_volume;
use vitreous_formats::table::particles;
use vitreous_jobs::refinement::{Masking, Search};
use vitreous_model::conventions::centre;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::half_set::HalfSet;
use vitreous_model::params::BadParam;
use vitreous_model::particle::ParticleSet;
use vitreous_model::pose::Pose;

use super::Settings;
use super::chunks::CHUNK;
use super::schedule::Geometry;
use super::state::ParticleState;

/// Least number of particles of which two halves make sense.
const LEAST_PARTICLES: usize = 8;

/// Diameter of the particle as a fraction of the box, when it is not given.
const USUAL_DIAMETER: f64 = 0.8;

/// Width of the edge of the spherical mask, pixels.
const SPHERE_EDGE_PX: f64 = 5.0;

/// Shells over which the first reference fades at its resolution.
const FIRST_EDGE_SHELLS: f64 = 2.0;

/// The inputs.
pub struct Data {
    /// The particle set as it was read.
    pub set: ParticleSet,
    /// Its images.
    pub images: ParticleImages,
    /// Places in the set of the particles that can be used.
    pub usable: Vec<usize>,
    /// Half of each usable particle.
    pub halves: Vec<HalfSet>,
    /// Optics group of each usable particle, as an index from 0 into all groups in use.
    pub groups: Vec<usize>,
    /// Number of optics groups in use.
    pub group_count: usize,
    /// Group of common amplitude of each usable particle: its micrograph, or its optics group where that is not known.
    pub amplitude_groups: Vec<usize>,
    /// Names of these groups.
    pub amplitude_names: Vec<String>,
    /// Mean power of the images' transforms by shell, per optics group.
    pub power: Vec<Vec<f64>>,
    /// Sizes.
    pub geometry: Geometry,
    /// The starting maps, low-passed, on the images' box: one for all classes or one for each.
    pub starts: Vec<Array3<f32>>,
    /// Spherical mask on the images' box.
    pub sphere: Array3<f32>,
    /// A mask the user gave, on the images' box.
    pub given_mask: Option<Array3<f32>>,
    /// The point that a structure refined locally turns about, Å from the middle of the box.
    pub fulcrum_a: [f64; 3],
    /// Changes with anything the refinement depends on.
    pub fingerprint: u64,
}

impl Data {
    /// Reads and checks everything. Particles without image or CTF are listed as skipped.
    ///
    /// # Errors
    /// Inputs that are missing, broken or do not fit each other.
    pub fn load(ctx: &Ctx<'_>, settings: &Settings) -> Result<Self, StageError> {
        let table = ctx.input("particles")?;
        let set = particles::read(&table.path)?;
        let (images, mut unfit) = ParticleImages::open_corrected(ctx, &set);
        images.bring_near(ctx);
        // without any CTF the images are taken as they are; a mixture is a mistake
        let any_ctf = set.particles.iter().any(|particle| particle.ctf.is_some());
        for (index, particle) in set.particles.iter().enumerate() {
            let lacks = if any_ctf && particle.ctf.is_none() {
                "its CTF was never estimated"
            } else if settings.search == Search::Local && particle.pose.is_none() {
                "it has no pose from which to search locally"
            } else {
                continue;
            };
            if images.has(index) {
                unfit.push(UnfitParticle::of(&set, index, lacks));
            }
        }
        let bad: HashSet<usize> = unfit.iter().map(|particle| particle.index).collect();
        let (surveyed, power) = survey(ctx, &set, &images, &bad)?;
        unfit.extend(surveyed);
        unfit.sort_by_key(|particle| particle.index);
        ParticleImages::accept(ctx, &unfit, set.particles.len(), settings.max_bad_fraction)?;
        let bad: HashSet<usize> = unfit.iter().map(|particle| particle.index).collect();
        let usable: Vec<usize> = (0..set.particles.len()).filter(|index| !bad.contains(index)).collect();
        if usable.len() < LEAST_PARTICLES {
            return Err(StageError::input(
                format!(
                    "{}: {} usable particles; two halves need at least {LEAST_PARTICLES}",
                    table.path.display(),
                    usable.len()
                ),
                "pick or extract more particles",
            ));
        }
        let geometry = geometry(&set, settings)?;
        let halves = split(&set, &usable, settings);
        let (groups, group_count) = optics_groups(&set, &usable);
        let (amplitude_groups, amplitude_names) = amplitude_groups(&set, &usable);
        let power = group_power(&power, &usable, &groups, group_count);
        let n = geometry.n;
        let sphere =
            if settings.masking == Masking::None { Array3::ones((n, n, n)) } else { sphere_of(&geometry) };
        let starts = starting_maps(ctx, settings, &geometry, &sphere)?;
        let given_mask = match ctx.optional_input("mask") {
            None => None,
            Some(input) => Some(on_box(&input.path, &geometry)?.mapv(|v| v.clamp(0.0, 1.0))),
        };
        let fulcrum_a = fulcrum(settings, &geometry, given_mask.as_ref())?;
        let fingerprint = fingerprint(ctx, &set, &usable, &starts, given_mask.as_ref());
        Ok(Self {
            set,
            images,
            usable,
            halves,
            groups,
            group_count,
            amplitude_groups,
            amplitude_names,
            power,
            geometry,
            starts,
            sphere,
            given_mask,
            fulcrum_a,
            fingerprint,
        })
    }

    /// The pose that usable particle `which` came with.
    pub fn given_pose(&self, which: usize) -> Option<Pose> {
        self.set.particles[self.usable[which]].pose
    }

    /// What is known of usable particle `which` before the first iteration.
    pub fn first_particle(&self, which: usize, search: Search) -> ParticleState {
        match (search, self.given_pose(which)) {
            (Search::Local, Some(pose)) => ParticleState::at(pose),
            _ => ParticleState::unknown(),
        }
    }

    /// Place of a usable particle's noise spectrum in [`State::noise`](super::state::State::noise).
    pub fn noise_index(&self, which: usize) -> usize {
        self.halves[which].index() * self.group_count + self.groups[which]
    }

    /// Place of usable particle `which` in lists by half and group of common amplitude.
    pub fn amplitude_index(&self, which: usize) -> usize {
        self.halves[which].index() * self.amplitude_names.len() + self.amplitude_groups[which]
    }

    /// Id of usable particle `which`.
    pub fn id(&self, which: usize) -> u64 {
        self.set.particles[self.usable[which]].id
    }

    /// CTF of usable particle `which`.
    pub fn ctf(&self, which: usize) -> Option<&CtfParams> {
        self.set.particles[self.usable[which]].ctf.as_ref()
    }
}

/// The point a structure turns about, Å from the middle of the box: what is given, or the middle of the mask's mass.
fn fulcrum(
    settings: &Settings,
    geometry: &Geometry,
    mask: Option<&Array3<f32>>,
) -> Result<[f64; 3], StageError> {
    let Some(locality) = &settings.locality else { return Ok([0.0; 3]) };
    let middle_a = centre(geometry.n) as f64 * geometry.pixel_size_a;
    if let Some(given) = locality.fulcrum_a {
        let reach = geometry.edge_a();
        if given.iter().any(|&a| !(0.0..=reach).contains(&a)) {
            let [x, y, z] = given;
            return Err(BadParam::new(
                "fulcrum",
                format!("{x},{y},{z}"),
                format!("must lie within the box, 0 to {reach:.1} Å along each axis"),
            )
            .into());
        }
        return Ok(given.map(|a| a - middle_a));
    }
    let Some(mask) = mask else { return Ok([0.0; 3]) };
    let mut sums = [0.0; 4];
    for ((z, y, x), &value) in mask.indexed_iter() {
        let value = f64::from(value);
        for (sum, at) in sums.iter_mut().zip([x as f64, y as f64, z as f64, 1.0]) {
            *sum += value * at;
        }
    }
    if sums[3] <= 0.0 {
        return Err(StageError::input(
            "the mask is zero everywhere",
            "make one of the part that is to be refined",
        ));
    }
    Ok([0, 1, 2].map(|axis| sums[axis] / sums[3] * geometry.pixel_size_a - middle_a))
}

/// The soft sphere of the particle's diameter, on the images' box.
pub fn sphere_of(geometry: &Geometry) -> Array3<f32> {
    let radius_px =
        (0.5 * geometry.diameter_a / geometry.pixel_size_a).min(0.5 * geometry.n as f64 - SPHERE_EDGE_PX);
    mask::sphere(geometry.n, radius_px.max(1.0), SPHERE_EDGE_PX)
}

/// Reads every image once: those that cannot be read, or hold nothing or no numbers, and the shell power of the others
/// (`[particle][shell]`, empty for unfit ones). Ranks share the work and the result.
fn survey(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    images: &ParticleImages,
    known_bad: &HashSet<usize>,
) -> Result<(Vec<UnfitParticle>, Vec<Vec<f64>>), StageError> {
    let total = set.particles.len();
    let shells = set.box_px as usize / 2 + 1;
    ctx.say(EventKind::Phase { name: "reading images".into(), total: total as u64 });
    let (rank, size) = (ctx.comm.rank(), ctx.comm.size());
    let mut mine: Vec<f64> = Vec::new();
    let mut reasons: Vec<(usize, String)> = Vec::new();
    for chunk in (rank..total.div_ceil(CHUNK)).step_by(size) {
        ctx.check_stop()?;
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(total);
        let read = |index: usize| -> Result<Vec<f64>, String> {
            if known_bad.contains(&index) {
                return Ok(Vec::new());
            }
            let pixels = images.read_fit(index)?;
            Ok(shell_power(&HalfImage::of_box(pixels.view())))
        };
        let found: Vec<Result<Vec<f64>, String>> = range.clone().into_par_iter().map(read).collect();
        for (index, power) in range.zip(found) {
            let power = power.unwrap_or_else(|reason| {
                reasons.push((index, reason));
                Vec::new()
            });
            // NaN marks a particle without spectrum
            mine.extend((0..shells).map(|shell| power.get(shell).copied().unwrap_or(f64::NAN)));
        }
        ctx.say(EventKind::Progress { done: ((chunk + 1) * CHUNK).min(total) as u64, total: total as u64 });
    }
    let unfit = share_records(ctx, &reasons)?
        .into_iter()
        .map(|(index, reason): (usize, String)| UnfitParticle::of(set, index, reason))
        .collect();
    let shared = share(ctx.comm, &mine);
    let mut power = vec![Vec::new(); total];
    for (rank, numbers) in shared.iter().enumerate() {
        let owned = (rank..total.div_ceil(CHUNK))
            .step_by(size)
            .flat_map(|chunk| chunk * CHUNK..((chunk + 1) * CHUNK).min(total));
        for (index, spectrum) in owned.zip(numbers.chunks_exact(shells)) {
            if spectrum.iter().all(|v| v.is_finite()) {
                power[index] = spectrum.to_vec();
            }
        }
    }
    Ok((unfit, power))
}

/// Mean power by shell of each optics group.
fn group_power(power: &[Vec<f64>], usable: &[usize], groups: &[usize], group_count: usize) -> Vec<Vec<f64>> {
    let shells = usable.first().map_or(0, |&index| power[index].len());
    let mut sums = vec![ShellSums::new(shells); group_count];
    for (&index, &group) in usable.iter().zip(groups) {
        sums[group].add(&power[index]);
    }
    sums.iter().map(ShellSums::means).collect()
}

fn geometry(set: &ParticleSet, settings: &Settings) -> Result<Geometry, StageError> {
    let n = set.box_px as usize;
    let edge_a = n as f64 * set.pixel_size_a;
    let diameter_a = settings.diameter_a.unwrap_or(USUAL_DIAMETER * edge_a);
    if diameter_a > edge_a {
        return Err(BadParam::new("diameter", diameter_a, format!("must fit the box of {edge_a:.1} Å"))
            .hint("extract the particles in a larger box, or give the diameter in Å")
            .into());
    }
    Ok(Geometry { n, pixel_size_a: set.pixel_size_a, diameter_a })
}

/// A volume on the box and pixel size of the images.
fn on_box(path: &std::path::Path, geometry: &Geometry) -> Result<Array3<f32>, StageError> {
    let volume = read_volume(path)?;
    let (nz, ny, nx) = volume.data.dim();
    if nz != ny || ny != nx || !volume.has_cubic_voxels() {
        return Err(StageError::input(
            format!(
                "{}: {nx} × {ny} × {nz} voxels; a refinement needs a cube of cubic voxels",
                path.display()
            ),
            "bring the map into a cubic box first (import-volume does)",
        ));
    }
    let same = nx == geometry.n && (volume.voxel_a / geometry.pixel_size_a - 1.0).abs() < 1e-3;
    if same {
        return Ok(volume.data);
    }
    Ok(regridded(volume.data.view(), [volume.voxel_a; 3], geometry.n, geometry.pixel_size_a, 0.0))
}

/// The starting maps within the sphere.
fn starting_maps(
    ctx: &Ctx<'_>,
    settings: &Settings,
    geometry: &Geometry,
    sphere: &Array3<f32>,
) -> Result<Vec<Array3<f32>>, StageError> {
    if settings.initial_lowpass_a < 2.0 * geometry.pixel_size_a {
        return Err(BadParam::new(
            "initial_lowpass",
            settings.initial_lowpass_a,
            format!("must not be finer than the Nyquist limit, {:.2} Å", 2.0 * geometry.pixel_size_a),
        )
        .into());
    }
    ctx.input("volume")?;
    let all = ctx.inputs.get("volume").map_or(&[][..], Vec::as_slice);
    let start = |input: &Input| {
        let map = on_box(&input.path, geometry)?;
        if map.iter().all(|&v| v == 0.0) {
            return Err(StageError::input(
                format!("{}: the starting map is zero everywhere", input.path.display()),
                "",
            ));
        }
        let filtered =
            low_passed(map.view(), geometry.pixel_size_a, settings.initial_lowpass_a, FIRST_EDGE_SHELLS);
        Ok(filtered * sphere)
    };
    all.iter().map(start).collect()
}

/// The halves: those of the input if all particles have one, else alternating in the order of a seeded hash of ids, so
/// that they differ by one particle at most and do not depend on the order of the table.
fn split(set: &ParticleSet, usable: &[usize], settings: &Settings) -> Vec<HalfSet> {
    let given: Option<Vec<HalfSet>> = usable.iter().map(|&index| set.particles[index].half).collect();
    if let (true, Some(given)) = (settings.keep_half_sets, given) {
        let first = given.iter().filter(|&&half| half == HalfSet::One).count();
        if first > 0 && first < given.len() {
            return given;
        }
    }
    let mut order: Vec<usize> = (0..usable.len()).collect();
    let key = |which: usize| {
        let id = set.particles[usable[which]].id;
        (scrambled(id ^ scrambled(settings.seed)), id)
    };
    order.sort_by_key(|&which| key(which));
    let mut halves = vec![HalfSet::One; usable.len()];
    order.iter().skip(1).step_by(2).for_each(|&which| halves[which] = HalfSet::Two);
    halves
}

/// A number's bits mixed (the finaliser of SplitMix64, Steele, Lea & Flood 2014).
pub fn scrambled(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn amplitude_groups(set: &ParticleSet, usable: &[usize]) -> (Vec<usize>, Vec<String>) {
    let name = |&index: &usize| {
        let particle = &set.particles[index];
        match &particle.pick {
            Some(pick) => pick.exposure.clone(),
            None => format!("optics group {}", particle.optics_group),
        }
    };
    let mut names: Vec<String> = usable.iter().map(name).collect();
    let of_particles = names.clone();
    names.sort_unstable();
    names.dedup();
    (of_particles.iter().map(|own| names.partition_point(|other| other < own)).collect(), names)
}

/// A hash of the parameters and of what was read.
fn fingerprint(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    usable: &[usize],
    starts: &[Array3<f32>],
    given_mask: Option<&Array3<f32>>,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    ctx.params.to_string().hash(&mut hasher);
    (set.box_px, set.pixel_size_a.to_bits()).hash(&mut hasher);
    for &index in usable {
        let particle = &set.particles[index];
        (particle.id, &particle.stack_path, particle.stack_index).hash(&mut hasher);
        let defocus = particle.ctf.map(|ctf| [ctf.defocus_u_a.to_bits(), ctf.defocus_v_a.to_bits()]);
        defocus.hash(&mut hasher);
        let pose = particle
            .pose
            .map(|p| [p.rotation.w, p.rotation.x, p.rotation.y, p.rotation.z, p.shift_a[0], p.shift_a[1]]);
        pose.map(|numbers| numbers.map(f64::to_bits)).hash(&mut hasher);
    }
    for volume in starts.iter().chain(given_mask) {
        volume.iter().for_each(|value| value.to_bits().hash(&mut hasher));
    }
    hasher.finish()
}
