//! Which particle goes into which part.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use vitreous_jobs::split_particles::{MOST_PARTS, SplitBy, SplitParticles, numbers};
use vitreous_model::params::BadParam;
use vitreous_model::particle::Particle;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What is in it, for people.
    pub label: String,
    /// Places in the set, in its order.
    pub members: Vec<usize>,
}

/// The parts of a set, as the parameters say.
///
/// # Errors
/// A parameter that does not fit these particles.
pub(super) fn of(particles: &[Particle], params: &SplitParticles) -> Result<Vec<Part>, BadParam> {
    match params.by {
        SplitBy::Random => by_chance(params, &singly(particles)),
        SplitBy::Exposure => by_chance(params, &by_exposure(particles)),
        SplitBy::HalfSet => {
            by_number("half-set", particles, |p| p.half.map(|half| u32::from(half.number())), None)
        }
        SplitBy::Class => {
            let values = params.values.as_deref();
            by_number("class", particles, |p| p.class.map(|class| class.number), values)
        }
        SplitBy::OpticsGroup => {
            let values = params.values.as_deref();
            by_number("optics group", particles, |p| Some(p.optics_group), values)
        }
    }
}

/// Each particle by itself, in the order of their numbers, so that chance does not depend on the order of the table.
fn singly(particles: &[Particle]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..particles.len()).collect();
    order.sort_by_key(|&index| particles[index].id);
    order.into_iter().map(|index| vec![index]).collect()
}

/// The particles of each exposure, in the order of names; one of unknown exposure stands by itself.
fn by_exposure(particles: &[Particle]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut alone = Vec::new();
    for index in singly(particles).into_iter().flatten() {
        match &particles[index].pick {
            Some(pick) => groups.entry(&pick.exposure).or_default().push(index),
            None => alone.push(vec![index]),
        }
    }
    groups.into_values().chain(alone).collect()
}

/// Deals groups out in random order: to fill the first of two parts up to a size, or each to the part that has least.
fn by_chance(params: &SplitParticles, groups: &[Vec<usize>]) -> Result<Vec<Part>, BadParam> {
    let total: usize = groups.iter().map(Vec::len).sum();
    let count = params.parts as usize;
    if let Some(size) = params.first_size.filter(|&size| size >= total as u64) {
        let why = format!("must be smaller than the set of {total} particles");
        return Err(BadParam::new("first_size", size, why));
    }
    if groups.len() < count {
        let what = if params.by == SplitBy::Exposure { "exposures" } else { "particles" };
        let why = format!("must not be more than there are {what} ({})", groups.len());
        return Err(BadParam::new("parts", count, why));
    }
    let mut order: Vec<&Vec<usize>> = groups.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(params.seed));
    let mut members = vec![Vec::new(); count];
    for group in order {
        let smallest = (0..count).min_by_key(|&part| members[part].len()).unwrap_or(0);
        let part = match params.first_size {
            Some(size) => usize::from(members[0].len() as u64 >= size),
            None => smallest,
        };
        members[part].extend_from_slice(group);
    }
    let part = |(index, mut members): (usize, Vec<usize>)| {
        members.sort_unstable();
        Part { label: format!("part {}", index + 1), members }
    };
    Ok(members.into_iter().enumerate().map(part).collect())
}

/// A part for each number that particles have, in order, and one for those that have none; or, with a list of numbers,
/// those and all others.
fn by_number(
    what: &str,
    particles: &[Particle],
    number: impl Fn(&Particle) -> Option<u32>,
    list: Option<&str>,
) -> Result<Vec<Part>, BadParam> {
    let mut groups: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for (index, particle) in particles.iter().enumerate() {
        groups.entry(number(particle)).or_default().push(index);
    }
    let none = groups.remove(&None);
    if groups.is_empty() {
        let why = format!("cannot be used: no particle has a {what}");
        return Err(BadParam::new("by", what.replace(' ', "-"), why));
    }
    if let Some(list) = list {
        return listed(what, particles.len(), groups, list);
    }
    let found = groups.len() + usize::from(none.is_some());
    if found > MOST_PARTS {
        let why = format!("makes {found} parts, and there are outputs for {MOST_PARTS}");
        return Err(BadParam::new("by", what.replace(' ', "-"), why)
            .hint("say which numbers make the first part: --values 1,4-6"));
    }
    let named = groups
        .into_iter()
        .map(|(number, members)| Part { label: format!("{what} {}", number.unwrap_or_default()), members });
    let rest = none.map(|members| Part { label: format!("no {what}"), members });
    Ok(named.chain(rest).collect())
}

/// Two parts: the particles of the listed numbers, and all others.
fn listed(
    what: &str,
    total: usize,
    groups: BTreeMap<Option<u32>, Vec<usize>>,
    list: &str,
) -> Result<Vec<Part>, BadParam> {
    let wanted = numbers(list)?;
    let known = groups.keys().flatten().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let is_wanted = |number: &Option<u32>| number.is_some_and(|number| wanted.contains(&number));
    let mut chosen: Vec<usize> =
        groups.into_iter().filter(|(number, _)| is_wanted(number)).flat_map(|(_, members)| members).collect();
    if chosen.is_empty() {
        return Err(BadParam::new("values", list, format!("no particle has such a {what}"))
            .hint(format!("there are {known}")));
    }
    chosen.sort_unstable();
    let others = (0..total).filter(|index| chosen.binary_search(index).is_err()).collect();
    Ok(vec![
        Part { label: format!("{what} {list}"), members: chosen },
        Part { label: "all others".into(), members: others },
    ])
}
