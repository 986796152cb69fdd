//! Particles in, without duplicates out. Every rank reads them (that is quick), rank 0 writes.

use super::report;
use crate::picking::places::{best_of_each, merits};
use crate::{Ctx, StageError, micrograph};
use std::collections::HashMap;
use vitreous_formats::table;
use vitreous_jobs::remove_duplicates::RemoveDuplicates;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

/// A micrograph's name and a position on it in Å; `None`: not known.
pub(super) type Place<'a> = Option<(&'a str, [f64; 2])>;

/// The stage.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: RemoveDuplicates = ctx.params()?;
    params.validate()?;
    let distance_a = params.min_distance.ok_or_else(|| BadParam::new("min_distance", "", "is required"))?;
    let pixels = Pixels::of(ctx, &params)?;
    let set = table::particles::read(&ctx.input("particles")?.path)?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let places: Vec<Place<'_>> = set.particles.iter().map(|particle| pixels.place_of(particle)).collect();
    if let (Some(first), true) = (set.particles.first(), places.iter().all(Option::is_none)) {
        let micrograph = first.pick.as_ref().map_or("no micrograph", |pick| pick.exposure.as_str());
        return Err(StageError::input(
            format!(
                "none of {} particles lies on a micrograph that was given (the first: {micrograph})",
                set.particles.len()
            ),
            "give the micrographs that the particles were picked on, or --micrograph-pixel-size",
        ));
    }
    let stays = best_of_each(&places, &merits(set.particles.iter()), distance_a);
    let report = report::make(&places, &stays, distance_a);
    write(ctx, &set, &stays)?;
    Ok(report)
}

/// The pixel sizes of micrographs.
enum Pixels {
    /// Of each by its name, Å.
    Each(HashMap<String, f64>),
    /// Of all, Å.
    All(f64),
}

impl Pixels {
    fn of(ctx: &Ctx<'_>, params: &RemoveDuplicates) -> Result<Self, StageError> {
        match (params.micrograph_pixel_size, ctx.optional_input("micrographs").is_some()) {
            (Some(pixel_size_a), false) => Ok(Self::All(pixel_size_a)),
            (None, true) => {
                let named = |exposure: vitreous_model::exposure::Exposure| {
                    Some((exposure.name, exposure.micrograph?.pixel_size_a))
                };
                Ok(Self::Each(micrograph::read_set(ctx)?.exposures.into_iter().filter_map(named).collect()))
            }
            (given, _) => {
                let (found, why) = match given {
                    Some(value) => {
                        (value.to_string(), "is given beside the micrographs, which have their own")
                    }
                    None => (String::new(), "is missing, and there are no micrographs"),
                };
                Err(BadParam::new("micrograph_pixel_size", found, why)
                    .hint("give one of the two: --micrographs J2, or --micrograph-pixel-size 1.06")
                    .into())
            }
        }
    }

    fn place_of<'a>(&self, particle: &'a Particle) -> Place<'a> {
        let micrograph = particle.pick.as_ref()?.exposure.as_str();
        let pixel_size_a = match self {
            Self::Each(sizes) => *sizes.get(micrograph)?,
            Self::All(size) => *size,
        };
        let at = particle.place_px(pixel_size_a)?;
        Some((micrograph, at.map(|px| px * pixel_size_a)))
    }
}

fn write(ctx: &Ctx<'_>, set: &ParticleSet, stays: &[bool]) -> Result<(), StageError> {
    const FILE: &str = "particles.h5";
    let kept = set.particles.iter().zip(stays).filter(|(_, stays)| **stays);
    let kept = ParticleSet {
        optics: set.optics.clone(),
        particles: kept.map(|(particle, _)| particle.clone()).collect(),
        ..*set
    };
    ctx.create_at_path(FILE, |path| table::particles::write(path, &kept))?;
    ctx.output(Output {
        pixel_size_a: Some(kept.pixel_size_a).filter(|pixel_size_a| pixel_size_a.is_finite()),
        box_px: Some(kept.box_px),
        ..Output::new("particles", Kind::Particles, FILE, kept.particles.len() as u64)
    });
    Ok(())
}
