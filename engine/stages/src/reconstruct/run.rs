//! The sequence: read the table, insert, symmetrise, compare the halves, filter, write.

use super::accumulate::{Accumulated, Insertion, accumulate};
use super::report;
use super::trial::{self, Trial};
use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::{Ctx, StageError};
use ndarray::Array3;
use vitreous_compute::fsc::{CorrectedFsc, corrected_fsc};
use vitreous_compute::mask;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::Insert;
use vitreous_compute::reconstruct::tau2_from_fsc;
use vitreous_compute::slices::Ewald;
use vitreous_formats::{mrc, table};
use vitreous_jobs::reconstruct::Reconstruct;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// Diameter of the spherical mask, if none is given, as a fraction of the box.
const USUAL_DIAMETER: f64 = 0.8;
/// Soft edge of the spherical mask, pixels.
const MASK_EDGE_PX: f64 = 5.0;

/// What the halves say.
pub struct Maps {
    /// Unfiltered maps of the halves.
    pub halves: [Array3<f32>; 2],
    /// The map of all particles, filtered by the signal-to-noise ratio of the halves.
    pub map: Array3<f32>,
    /// FSC of the halves.
    pub fsc: CorrectedFsc,
}

/// Does the job on this rank.
///
/// # Errors
/// Parameters and inputs that do not fit, too many unreadable particles, files that cannot be written.
pub fn run<D: Insert>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: Reconstruct = ctx.params()?;
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    let n = set.box_px as usize;
    let mask = fsc_mask(ctx, &params, &set)?;
    let (images, mut unfit) = ParticleImages::open_corrected(ctx, &set);
    unfit.extend(without_pose(&set));
    unfit.sort_by_key(|bad| bad.index);
    unfit.dedup_by_key(|bad| bad.index);
    let usable: Vec<usize> =
        (0..set.particles.len()).filter(|&i| images.has(i) && set.particles[i].pose.is_some()).collect();
    let wanted = params.max_resolution.map_or(f64::INFINITY, |a| n as f64 * set.pixel_size_a / a);
    let rmax = wanted.min(PaddedGrid::last_shell_end(n));
    let diameter_a = params.diameter.unwrap_or(USUAL_DIAMETER * n as f64 * set.pixel_size_a);
    let independent = f64::from(mask.mean().unwrap_or(1.0)) / params.symmetry.rotations().len() as f64;
    let mut result: Option<Reconstructed> = None;
    for (place, &curvature) in params.ewald.trials().iter().enumerate() {
        let ewald = curvature.map(|curvature| Ewald { curvature, diameter_a });
        let how = Insertion { rmax, padding: params.padding, ewald, seed: params.seed };
        let accumulated = accumulate(ctx, device, &set, &images, &usable, how)?;
        if place == 0 {
            // the images that fail are the same in every trial
            for bad in &accumulated.left_out {
                unfit.push(UnfitParticle::of(&set, bad.index, &bad.reason));
            }
            ParticleImages::accept(ctx, &unfit, set.particles.len(), params.max_bad_fraction)?;
            check_halves(&accumulated)?;
        }
        if !ctx.is_root() {
            // one rank is enough for what is left
            continue;
        }
        ctx.say(EventKind::Phase { name: "maps".into(), total: 0 });
        let counts = accumulated.counts;
        let maps = maps_of(accumulated, &params, &mask, rmax);
        let trial = Trial { curvature, fsc: maps.fsc.corrected.clone() };
        match &mut result {
            None => result = Some(Reconstructed { maps, counts, trials: vec![trial], best: 0, independent }),
            Some(result) => result.consider(maps, trial),
        }
    }
    let Some(result) = result else { return Ok(Report::new("Reconstruction")) };
    write(ctx, &result.maps, &set)?;
    Ok(report::report(&result, &set, &params))
}

/// What all trials gave.
pub struct Reconstructed {
    /// Maps of the best trial.
    pub maps: Maps,
    /// Particles by half.
    pub counts: [usize; 2],
    /// All trials.
    pub trials: Vec<Trial>,
    /// Place of the best one.
    pub best: usize,
    /// Part of the coefficients of a shell that are independent.
    pub independent: f64,
}

impl Reconstructed {
    /// Takes a further trial in, and its maps if they are better.
    fn consider(&mut self, maps: Maps, trial: Trial) {
        self.trials.push(trial);
        let best = trial::best_of(&self.trials, self.independent);
        if best != self.best {
            (self.best, self.maps) = (best, maps);
        }
    }
}

/// The symmetrised halves as maps, their FSC, and the filtered map of all.
fn maps_of(accumulated: Accumulated, params: &Reconstruct, mask: &Array3<f32>, rmax: f64) -> Maps {
    let [one, two] = accumulated.sums.map(|sums| sums.symmetrised(params.symmetry));
    let halves = [one.map(None, rmax), two.map(None, rmax)];
    let fsc = corrected_fsc(halves[0].view(), halves[1].view(), mask.view(), params.seed);
    let half_weight: Vec<f64> =
        one.shell_weight().iter().zip(two.shell_weight()).map(|(a, b)| 0.5 * (a + b)).collect();
    let tau2 = tau2_from_fsc(&fsc.corrected, &half_weight, 1.0);
    let mut both = one;
    both.add(&two);
    drop(two);
    Maps { map: both.map(Some(&tau2), rmax), halves, fsc }
}

/// The mask for the FSC: the input, or a sphere.
fn fsc_mask(ctx: &Ctx<'_>, params: &Reconstruct, set: &ParticleSet) -> Result<Array3<f32>, StageError> {
    let n = set.box_px as usize;
    let box_a = n as f64 * set.pixel_size_a;
    if let Some(input) = ctx.optional_input("mask") {
        let mask = mrc::read_volume(&input.path)?.data;
        if mask.dim() == (n, n, n) {
            return Ok(mask);
        }
        let (z, y, x) = mask.dim();
        return Err(StageError::input(
            format!(
                "{}: the mask has {x} × {y} × {z} voxels, the particles have a box of {n} px",
                input.path.display()
            ),
            "make a mask of the particles' box",
        ));
    }
    let diameter_a = params.diameter.unwrap_or(USUAL_DIAMETER * box_a);
    if diameter_a > box_a {
        let why = format!("must not be larger than the box of {box_a:.1} Å");
        return Err(BadParam::new("diameter", diameter_a, why).into());
    }
    Ok(mask::sphere(n, 0.5 * diameter_a / set.pixel_size_a, MASK_EDGE_PX))
}

fn without_pose(set: &ParticleSet) -> impl Iterator<Item = UnfitParticle> {
    let lost = set.particles.iter().enumerate().filter(|(_, particle)| particle.pose.is_none());
    lost.map(|(index, _)| UnfitParticle::of(set, index, "it has no pose; refine the particles first"))
}

fn check_halves(accumulated: &Accumulated) -> Result<(), StageError> {
    let [one, two] = accumulated.counts;
    if one > 0 && two > 0 {
        return Ok(());
    }
    Err(StageError::input(
        format!("the halves have {one} and {two} particles; each needs some"),
        "give more particles, or repair their half-sets",
    ))
}

fn write(ctx: &Ctx<'_>, maps: &Maps, set: &ParticleSet) -> Result<(), StageError> {
    let mut output = Output::new("volume", Kind::Volume, "map.mrc", 1);
    output.pixel_size_a = Some(set.pixel_size_a);
    output.box_px = Some(set.box_px);
    for (role, file, map) in [
        ("", "map.mrc", &maps.map),
        ("half1", "half1.mrc", &maps.halves[0]),
        ("half2", "half2.mrc", &maps.halves[1]),
    ] {
        ctx.create_at_path(file, |path| mrc::write_volume(path, map, set.pixel_size_a))?;
        if !role.is_empty() {
            output.parts.insert(role.into(), file.into());
        }
    }
    ctx.output(output);
    Ok(())
}
