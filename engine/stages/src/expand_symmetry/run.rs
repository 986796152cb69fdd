//! The sequence: read the table, make sure that it holds each image once, write the copies. Rank 0 does it alone.

use super::{copies, report};
use crate::particle_sets::{self, Stacks};
use crate::reconstruct::half_of;
use crate::{Ctx, Input, StageError};
use vitreous_formats::table;
use vitreous_jobs::expand_symmetry::ExpandSymmetry;
use vitreous_model::params::Validate;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// What was made of a set.
pub(super) struct Expanded {
    /// The copies.
    pub set: ParticleSet,
    /// Particles left out because they have no pose.
    pub poseless: usize,
    /// Particles that were given a half-set.
    pub halved: usize,
}

/// Does the job.
///
/// # Errors
/// No particle has a pose; particles that are copies already; numbers beyond 64 bits; files that cannot be read or written.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ExpandSymmetry = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let input = ctx.input("particles")?;
    let set = table::particles::read(&input.path)?;
    refuse_copies(ctx, input, &set, &params)?;
    let expanded = expand(input, &set, &params)?;
    particle_sets::write(ctx, "particles", &expanded.set)?;
    Ok(report::make(&params, &set, &expanded))
}

fn refuse_copies(
    ctx: &Ctx<'_>,
    input: &Input,
    set: &ParticleSet,
    params: &ExpandSymmetry,
) -> Result<(), StageError> {
    let absolute = |path: &str| ctx.resolve(path);
    let mut stacks = Stacks::new(&absolute);
    let images = set.particles.iter().map(|particle| stacks.image_of(particle));
    let Some(again) = copies::first_again(&set.particles, images, params.symmetry) else { return Ok(()) };
    let [one, two] = again.indices.map(|index| &set.particles[index]);
    let (path, image, stack) = (input.path.display(), one.stack_index + 1, &one.stack_path);
    let what =
        format!("{path}: particles {} and {} are of one image, image {image} of {stack}", one.id, two.id);
    Err(if again.are_equivalent {
        let group = params.symmetry;
        StageError::input(
            format!(
                "{what}, and a rotation of {group} takes one pose to the other: the set has been expanded already"
            ),
            "refine or reconstruct these particles in C1 as they are; copies of copies would count each image many times",
        )
    } else {
        StageError::input(
            format!(
                "{what}, expected each image once: the set was expanded by another group, or holds duplicates"
            ),
            "give the particles from before that, or remove duplicates first (remove-duplicates, combine-particles)",
        )
    })
}

fn expand(input: &Input, set: &ParticleSet, params: &ExpandSymmetry) -> Result<Expanded, StageError> {
    let rotations = params.symmetry.rotations();
    let mut particles = Vec::with_capacity(set.particles.len() * rotations.len());
    let (mut poseless, mut halved) = (0, 0);
    for particle in &set.particles {
        if particle.pose.is_none() {
            poseless += 1;
            continue;
        }
        halved += usize::from(particle.half.is_none());
        let half = half_of(particle, params.seed);
        let copies = copies::copies(particle, &rotations, half).ok_or_else(|| {
            let order = rotations.len();
            StageError::input(
                format!(
                    "{}: particle number {} times {order} is beyond 64 bits",
                    input.path.display(),
                    particle.id
                ),
                "number the particles anew: import-particles of an export does",
            )
        })?;
        particles.extend(copies);
    }
    if particles.is_empty() {
        return Err(StageError::input(
            format!("{}: no particle has a pose", input.path.display()),
            "give particles that a refinement made",
        ));
    }
    Ok(Expanded { set: ParticleSet { optics: set.optics.clone(), particles, ..*set }, poseless, halved })
}
