//! Particles' places held against micrographs: those of the input, or those that the file names.

use super::roots::Roots;
use crate::exposure_files::names::Names;
use crate::particle_images::ParticleImages;
use crate::row_origin::{self, Sight, Verdict, Way};
use crate::{Ctx, StageError};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use vitreous_formats::star::convert::Imported;
use vitreous_formats::table;
use vitreous_jobs::import_picks::YOrigin;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

/// What was found of the particles' places.
#[derive(Debug, Default)]
pub struct Places {
    /// Where the micrographs are from, if there were any to look at.
    verdict: Option<Verdict>,
    is_input: bool,
    notes: Vec<String>,
}

impl Places {
    /// Gives places the names of the input's exposures, if there is one, and compares images with micrographs.
    ///
    /// # Errors
    /// A broken table, or places that contradict the micrographs of the input.
    pub fn look(
        ctx: &Ctx<'_>,
        imported: &mut Imported<ParticleSet>,
        images: &ParticleImages,
        file: &Path,
        root: Option<&Path>,
        stated: Option<YOrigin>,
    ) -> Result<Self, StageError> {
        let mut places = Self::default();
        let sights = match ctx.optional_input("micrographs") {
            Some(input) => {
                places.is_input = true;
                let exposures = table::exposures::read(&input.path)?;
                places.notes.extend(rename(&mut imported.value, &imported.micrographs, &exposures));
                of_table(ctx, &exposures)
            }
            None => of_file(ctx, &imported.micrographs, file, root),
        };
        places.verdict = row_origin::compare(ctx, &imported.value, images, &sights);
        places.judge(stated)?;
        Ok(places)
    }

    /// Says what the comparison means; refuses places that the input's micrographs contradict.
    fn judge(&mut self, stated: Option<YOrigin>) -> Result<(), StageError> {
        let Some(verdict) = &self.verdict else { return Ok(()) };
        let compared = verdict.compared;
        let Some(way) = verdict.way() else {
            self.notes.push(format!(
                "{compared} particle images were compared with their micrographs: none of the four ways in which rows may \
                 run fits clearly (the images may have been made of other sums, or filtered)"
            ));
            return Ok(());
        };
        let correlation = verdict.of(way);
        let here = verdict.of(Way { other_end: false, ..way });
        let whose =
            if self.is_input { "the input's micrographs" } else { "the micrographs that the file names" };
        if way.other_end {
            let other = match stated {
                Some(YOrigin::FirstRow) => "last-row",
                Some(YOrigin::LastRow) => "first-row",
                None => "the other row",
            };
            let what = format!(
                "places of particles do not fit {whose}: {compared} images correlate with boxes round places counted from the \
                 other end ({correlation:.2}), not round those as they were taken ({here:.2})"
            );
            if let (true, Some(_)) = (self.is_input, stated) {
                return Err(StageError::input(what, format!("give --y-origin {other}")));
            }
            let advice = match stated {
                Some(_) => {
                    format!("y-origin {other} is right for these; the one given is right only for other sums")
                }
                None => "they were picked on sums whose rows run the other way".into(),
            };
            self.notes.push(format!("{what}; {advice}"));
        } else {
            self.notes.push(format!(
                "places fit {whose}: {compared} particle images correlate with boxes cut there ({correlation:.2})"
            ));
        }
        if way.mirrored {
            self.notes.push(format!(
                "the particle images are mirrored against {whose}: poses are those of the images; do not cut the particles \
                 out anew and keep their poses"
            ));
        }
        Ok(())
    }

    /// Adds what was found to a report.
    pub fn tell(&self, report: &mut Report) {
        report.notes.extend(self.notes.iter().cloned());
        let Some(verdict) = &self.verdict else { return };
        let ways: Vec<_> = row_origin::WAYS
            .iter()
            .map(|way| json!({"other_end": way.other_end, "mirrored": way.mirrored, "correlation": verdict.of(*way)}))
            .collect();
        let contrast = verdict.same_contrast;
        report.data.insert(
            "row_origin".into(),
            json!({"compared": verdict.compared, "same_contrast": contrast, "ways": ways}),
        );
    }
}

/// The micrographs of a table, by the names of their exposures.
fn of_table(ctx: &Ctx<'_>, exposures: &ExposureSet) -> BTreeMap<String, Sight> {
    let sight = |exposure: &vitreous_model::exposure::Exposure| {
        let micrograph = exposure.micrograph.as_ref()?;
        let sight =
            Sight { path: ctx.resolve(&micrograph.path), pixel_size_a: Some(micrograph.pixel_size_a) };
        Some((exposure.name.clone(), sight))
    };
    exposures.exposures.iter().filter_map(sight).collect()
}

/// The micrographs that a file of particles names.
fn of_file(
    ctx: &Ctx<'_>,
    named: &BTreeMap<String, String>,
    file: &Path,
    root: Option<&Path>,
) -> BTreeMap<String, Sight> {
    let roots = Roots::new(file, root);
    let sight = |(name, path): (&String, &String)| {
        // paths of exported groups are marked when they are relative to their file
        let absolute = match (path.strip_prefix('>'), file.parent()) {
            (Some(beside), Some(folder)) => folder.join(beside),
            _ => roots.absolute(path),
        };
        let sight = Sight { path: ctx.resolve(&absolute.to_string_lossy()), pixel_size_a: None };
        (name.clone(), sight)
    };
    named.iter().map(sight).collect()
}

/// Gives places the names of the exposures they mean; says how many mean none.
fn rename(
    set: &mut ParticleSet,
    named: &BTreeMap<String, String>,
    exposures: &ExposureSet,
) -> Option<String> {
    let names = Names::of(exposures);
    let mut known: HashMap<String, Option<usize>> = HashMap::new();
    let mut unknown = 0;
    for pick in set.particles.iter_mut().filter_map(|particle| particle.pick.as_mut()) {
        let found = *known.entry(pick.exposure.clone()).or_insert_with(|| {
            let path = named.get(&pick.exposure).map_or(pick.exposure.as_str(), String::as_str);
            names.find(path)
        });
        match found {
            Some(index) => pick.exposure.clone_from(&exposures.exposures[index].name),
            None => unknown += 1,
        }
    }
    (unknown > 0).then(|| format!("{unknown} particles lie on micrographs that the input does not have"))
}
