//! The sequence: read particles and map, go through the particles round after round, write the particles.

use super::pass::{Job, Outcome, Particles, Sample, go_through};
use super::reference::Reference;
use super::report;
use super::update::{GroupFit, Grouping, apply, fit_groups};
use crate::particle_images::{ParticleImages, UnfitParticle};
use crate::{Ctx, StageError, particle_sets};
use vitreous_formats::table;
use vitreous_jobs::refine_ctf::RefineCtf;
use vitreous_model::event::EventKind;
use vitreous_model::params::Validate;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// What the rounds left, for the report.
pub struct Refined<'a> {
    /// The particles as they were given.
    pub before: &'a ParticleSet,
    /// As they are now.
    pub after: &'a ParticleSet,
    /// Places of those that took part.
    pub usable: &'a [usize],
    /// Their groups.
    pub grouping: &'a Grouping,
    /// Change of the defocus of each, Å.
    pub offsets_a: &'a [f64],
    /// What the first round found, and the fits of its groups.
    pub first: &'a (Outcome, Vec<GroupFit>),
    /// The last round likewise.
    pub last: &'a (Outcome, Vec<GroupFit>),
    /// Correlation of images and map by shell, before and after.
    pub correlation: [Vec<f64>; 2],
    /// Log-likelihood of all particles, before and after, nats, with the noise before.
    pub log_likelihood: [f64; 2],
}

/// Does the job on this rank.
///
/// # Errors
/// Inputs that are missing, broken or do not fit each other; too many unfit particles; images that do not resemble the map;
/// asked to stop; files that cannot be written.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: RefineCtf = ctx.params()?;
    params.validate()?;
    let before = table::particles::read(&ctx.input("particles")?.path)?;
    let reference = Reference::read(ctx, &params, &before)?;
    let lattice = reference.lattice(&params, &before)?;
    let job = Job { ctx, params: &params, reference: &reference, lattice: &lattice };
    let (images, mut unfit) = ParticleImages::open_corrected(ctx, &before);
    images.bring_near(ctx);
    unfit.extend(lacking(&before, &images));
    unfit.sort_by_key(|particle| particle.index);
    let mut usable = without(&before, &unfit);
    require_some(&usable, &unfit)?;

    let mut set = before.clone();
    let mut offsets_a = vec![0.0; usable.len()];
    let mut grouping = Grouping::of(&set, &usable);
    let sample = Sample::take(&job, &particles(&set, &images, &usable, &offsets_a, &grouping));
    let first_correlation = sample.correlation();
    let first_weights = sample.weights().ok_or_else(unlike)?;
    let mut weights = first_weights.clone();
    let mut rounds: Vec<(Outcome, Vec<GroupFit>)> = Vec::new();
    let mut images = images;
    for round in 1..=params.rounds {
        if round > 1 {
            images = ParticleImages::open_corrected(ctx, &set).0;
            let now = particles(&set, &images, &usable, &offsets_a, &grouping);
            weights = Sample::take(&job, &now).weights().ok_or_else(unlike)?;
        }
        let params = in_round(&params, round);
        let job = Job { params: &params, ..job };
        let now = particles(&set, &images, &usable, &offsets_a, &grouping);
        let mut outcome = go_through(&job, &now, &weights, round)?;
        if round == 1 {
            // images that turn out to be unfit take no further part
            unfit.extend(
                outcome.failed.iter().map(|(which, why)| UnfitParticle::of(&before, usable[*which], why)),
            );
            unfit.sort_by_key(|particle| particle.index);
            ParticleImages::accept(ctx, &unfit, before.particles.len(), params.max_bad_fraction)?;
            usable = without(&before, &unfit);
            outcome.said.retain(Option::is_some);
            offsets_a.truncate(usable.len());
            grouping = Grouping::of(&set, &usable);
        }
        let fits = fit_groups(&lattice, &outcome, grouping.group_places.len());
        apply(&params, &lattice, (&grouping, &usable), (&outcome, &fits), &mut set, &mut offsets_a);
        rounds.push((outcome, fits));
    }
    let images = ParticleImages::open_corrected(ctx, &set).0;
    let now = particles(&set, &images, &usable, &offsets_a, &grouping);
    ctx.say(EventKind::Phase { name: "gain".into(), total: 0 });
    let last_correlation = Sample::take(&job, &now).correlation();
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    particle_sets::write(ctx, "particles", &set)?;
    let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else { return Ok(Report::new("")) };
    let refined = Refined {
        before: &before,
        after: &set,
        usable: &usable,
        grouping: &grouping,
        offsets_a: &offsets_a,
        first,
        last,
        correlation: [first_correlation, last_correlation],
        log_likelihood: [total(first), total(last)],
    };
    let mut report = report::report(&params, &reference, &lattice, &refined);
    report.skipped = ctx.skipped();
    Ok(report)
}

/// What is fitted in a round. Astigmatism of micrographs and even aberrations of groups are alike in part: fitted at once,
/// both would take all of what they share, so that they take turns.
fn in_round(params: &RefineCtf, round: u32) -> RefineCtf {
    let mut params = params.clone();
    if params.astigmatism && params.fourth_order {
        params.astigmatism = !round.is_multiple_of(2);
        params.fourth_order = !params.astigmatism;
    }
    params
}

fn particles<'a>(
    set: &'a ParticleSet,
    images: &'a ParticleImages,
    usable: &'a [usize],
    offsets_a: &'a [f64],
    grouping: &'a Grouping,
) -> Particles<'a> {
    let group_count = grouping.group_places.len();
    Particles { set, images, usable, offsets_a, groups: &grouping.groups, group_count }
}

/// Log-likelihood of all particles at the start of a round, nats.
fn total((outcome, _): &(Outcome, Vec<GroupFit>)) -> f64 {
    outcome.said.iter().flatten().map(|said| said.log_likelihood).sum()
}

/// Particles with an image that lack something else.
fn lacking(set: &ParticleSet, images: &ParticleImages) -> Vec<UnfitParticle> {
    let lack = |index: usize| {
        let particle = &set.particles[index];
        let known_group = set.optics_of(particle.optics_group).is_some();
        match (&particle.pose, &particle.ctf) {
            (None, _) => Some("it has no pose; refine the particles first"),
            (_, None) => Some("its CTF was never estimated"),
            _ if !known_group => Some("its optics group is not in the table"),
            _ => None,
        }
    };
    let with_image = (0..set.particles.len()).filter(|&index| images.has(index));
    with_image.filter_map(|index| Some(UnfitParticle::of(set, index, lack(index)?))).collect()
}

fn without(set: &ParticleSet, unfit: &[UnfitParticle]) -> Vec<usize> {
    let is_fit = |index: &usize| unfit.binary_search_by_key(index, |particle| particle.index).is_err();
    (0..set.particles.len()).filter(is_fit).collect()
}

fn require_some(usable: &[usize], unfit: &[UnfitParticle]) -> Result<(), StageError> {
    if !usable.is_empty() {
        return Ok(());
    }
    let found =
        unfit.first().map_or("there are none".into(), |first| format!("{}: {}", first.item, first.reason));
    Err(StageError::input(format!("no particle can be used: {found}"), "give particles with poses and CTF"))
}

fn unlike() -> StageError {
    StageError::input(
        "the images do not resemble the map: their correlation is not positive",
        "give the map that these particles were refined to, with its contrast",
    )
}
