//! What a pass found, applied to the particles and their optics groups.

use super::defocus::AstigmatismTerms;
use super::lattice::Lattice;
use super::magnification::{inverse, product};
use super::pass::Outcome;
use super::phases::{Fitted, add_even, add_odd, fit_even, fit_odd};
use rayon::prelude::*;
use vitreous_jobs::refine_ctf::RefineCtf;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::particle::ParticleSet;

/// How the usable particles are grouped.
pub struct Grouping {
    /// By usable particle: its optics group, as an index into `group_places`.
    pub groups: Vec<usize>,
    /// Places in the set's optics of the groups in use.
    pub group_places: Vec<usize>,
    /// By usable particle: its micrograph, as an index into `micrographs`.
    pub of_micrograph: Vec<usize>,
    /// Names of the micrographs, sorted.
    pub micrographs: Vec<String>,
}

impl Grouping {
    /// That of the particles at these places of a set; those of an unknown optics group are left to the first.
    pub fn of(set: &ParticleSet, usable: &[usize]) -> Self {
        let place = |index: usize| {
            let number = set.particles[index].optics_group;
            set.optics.iter().position(|group| group.number == number).unwrap_or(0)
        };
        let places: Vec<usize> = usable.iter().map(|&index| place(index)).collect();
        let mut group_places = places.clone();
        group_places.sort_unstable();
        group_places.dedup();
        let name = |&index: &usize| match &set.particles[index].pick {
            Some(pick) => pick.exposure.clone(),
            None => format!("optics group {}", set.particles[index].optics_group),
        };
        let names: Vec<String> = usable.iter().map(name).collect();
        let mut micrographs = names.clone();
        micrographs.sort_unstable();
        micrographs.dedup();
        Self {
            groups: places.iter().map(|place| group_places.partition_point(|other| other < place)).collect(),
            of_micrograph: names
                .iter()
                .map(|name| micrographs.partition_point(|other| other < name))
                .collect(),
            group_places,
            micrographs,
        }
    }
}

/// What was found of an optics group in a round.
#[derive(Debug, Clone, Default)]
pub struct GroupFit {
    /// Odd phase.
    pub odd: Option<Fitted>,
    /// Even phase.
    pub even: Option<Fitted>,
    /// Magnification that was added, and the standard error of its anisotropy.
    pub magnification: Option<([[f64; 2]; 2], f64)>,
}

/// The fits of all groups in use.
pub fn fit_groups(lattice: &Lattice, outcome: &Outcome, count: usize) -> Vec<GroupFit> {
    let fit = |group: usize| GroupFit {
        odd: outcome.odd.get(group).map(|sums| fit_odd(lattice, sums)),
        even: outcome.even.get(group).map(|sums| fit_even(lattice, sums)),
        magnification: outcome.magnification.get(group).map(|terms| terms.best(lattice)),
    };
    (0..count).into_par_iter().map(fit).collect()
}

/// Changes defoci, astigmatism and aberrations as found; `offsets_a` keeps the sum of the changes of defocus.
pub fn apply(
    params: &RefineCtf,
    lattice: &Lattice,
    (grouping, usable): (&Grouping, &[usize]),
    (outcome, fits): (&Outcome, &[GroupFit]),
    set: &mut ParticleSet,
    offsets_a: &mut [f64],
) {
    let astigmatism = astigmatism_of(params, grouping, outcome);
    for (which, &index) in usable.iter().enumerate() {
        let (Some(said), Some(ctf)) = (&outcome.said[which], &mut set.particles[index].ctf) else { continue };
        if params.defocus {
            ctf.defocus_u_a += said.offset.offset_a;
            ctf.defocus_v_a += said.offset.offset_a;
            offsets_a[which] += said.offset.offset_a;
        }
        if params.astigmatism {
            let (mean_a, [a, b]) = ctf.defocus_terms_a();
            let [more_a, more_b] = astigmatism[grouping.of_micrograph[which]];
            *ctf = ctf.with_defocus(mean_a, [a + more_a, b + more_b]);
        }
    }
    for (fit, &place) in fits.iter().zip(&grouping.group_places) {
        apply_to_group(lattice, fit, place, set);
    }
    set.share_even_aberrations();
}

/// Change of astigmatism of each micrograph, Å.
fn astigmatism_of(params: &RefineCtf, grouping: &Grouping, outcome: &Outcome) -> Vec<[f64; 2]> {
    let mut terms = vec![AstigmatismTerms::default(); grouping.micrographs.len()];
    for (said, &micrograph) in outcome.said.iter().zip(&grouping.of_micrograph) {
        said.iter().for_each(|said| terms[micrograph].add(&said.astigmatism));
    }
    terms.iter().map(|terms| terms.best_a(params.astigmatism_sd)).collect()
}

fn apply_to_group(lattice: &Lattice, fit: &GroupFit, place: usize, set: &mut ParticleSet) {
    let ParticleSet { optics, particles, .. } = set;
    let group = &mut optics[place];
    let own = &mut group.aberrations;
    if let Some(odd) = &fit.odd {
        add_odd(own, &odd.coefficients, lattice.kmax(), group.voltage.wavelength_a(), group.cs);
    }
    if let Some(even) = &fit.even {
        add_even(own, &even.coefficients, lattice.kmax());
    }
    let Some((more, _)) = fit.magnification else { return };
    own.magnification = product(more, own.magnification);
    // images will be seen through the inverse of what was found: their CTF as measured, and their shifts, go along
    let added = Aberrations { magnification: more, ..Aberrations::default() };
    let number = group.number;
    for particle in particles.iter_mut().filter(|particle| particle.optics_group == number) {
        particle.ctf = particle.ctf.map(|ctf| ctf.seen_through(inverse(more)));
        if let Some(pose) = &mut particle.pose {
            pose.shift_a = added.shift_without(pose.shift_a);
        }
    }
}
