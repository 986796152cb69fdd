//! Files → the import jobs of their kinds → outputs. It takes as long as those; rank 0 does it alone.

use super::find::Project;
use crate::import_micrographs::ImportMicrographs;
use crate::import_movies::ImportMovies;
use crate::import_particles::ImportParticles;
use crate::import_picks::ImportPicks;
use crate::{Ctx, Input, Stage, StageError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitreous_compute::comm::Solo;
use vitreous_formats::star::convert::{MovieRecord, read_movie_record};
use vitreous_formats::table::exposures;
use vitreous_jobs::import_relion_project::ImportRelionProject;
use vitreous_model::exposure::ExposureSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::report::{Report, Skipped};

/// Part of the box within which RELION takes a particle to be, if it is not told: the background lies outside.
const PARTICLE_PER_BOX: f64 = 0.75;

/// Does the job.
///
/// # Errors
/// No project, nothing in it that can be imported, or a file that was named and cannot.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportRelionProject = ctx.params()?;
    params.validate()?;
    let folder = params.project.as_ref().ok_or_else(|| BadParam::new("project", "", "is required"))?;
    if !ctx.is_root() {
        return Ok(Report::new("RELION project"));
    }
    let folder = ctx.resolve(&folder.to_string_lossy());
    let project = Project::open(&folder);
    if !project.has_jobs() {
        let what = format!("{}: it has no jobs of RELION, such as Extract/job012", folder.display());
        return Err(StageError::input(what, "give the folder in which RELION was started: --project"));
    }
    let mut import = Import { ctx, params: &params, folder, parts: Vec::new(), lost: Vec::new() };
    import.micrographs(&project)?;
    import.movies(&project)?;
    import.join_movies()?;
    import.particles(&project)?;
    import.picks(&project)?;
    import.finish()
}

/// An import that was done.
struct Part {
    slot: &'static str,
    file: PathBuf,
    report: Report,
    output: Output,
    skipped: Vec<Skipped>,
}

struct Import<'a> {
    ctx: &'a Ctx<'a>,
    params: &'a ImportRelionProject,
    /// RELION's project.
    folder: PathBuf,
    parts: Vec<Part>,
    /// What could not be imported, and why.
    lost: Vec<String>,
}

impl Import<'_> {
    fn movies(&mut self, project: &Project) -> Result<(), StageError> {
        let Some((file, is_named)) = self.choose(self.params.movies.as_ref(), project.movies()) else {
            return Ok(());
        };
        let (record, mut notes) = self.record()?;
        let mut params = json!({
            "star": file, "root": self.folder, "metadata": "none", "max_bad_fraction": self.params.max_bad_fraction,
        });
        if let Some(record) = record {
            match record.eer {
                None if record.dose_per_frame > 0.0 => {
                    params["dose_per_frame"] = record.dose_per_frame.into()
                }
                None => {}
                Some([upsampling, grouping]) => {
                    params["eer_upsampling"] = upsampling.into();
                    params["eer_grouping"] = grouping.into();
                    notes.push("the dose of EER movies was not taken over".into());
                }
            }
            if record.pre_exposure > 0.0 {
                params["pre_exposure"] = record.pre_exposure.into();
            }
            let gain = self.folder.join(&record.gain_path);
            if !record.gain_path.is_empty() && gain.is_file() {
                params["gain"] = json!(gain);
                notes.push(format!("gain reference as motion correction used it: {}", gain.display()));
            } else if !record.gain_path.is_empty() {
                notes.push(format!("the gain reference {} is not there: movies have none", gain.display()));
            }
        }
        self.part("movies", &file, is_named, &ImportMovies, params, &[])?;
        if let Some(part) = self.parts.last_mut().filter(|part| part.slot == "movies") {
            part.report.notes.extend(notes);
        }
        Ok(())
    }

    /// How the movies were recorded, as the motion of the first micrograph that has any says; and remarks.
    fn record(&self) -> Result<(Option<MovieRecord>, Vec<String>), StageError> {
        let unknown = || {
            vec!["dose and gain are not known: no file of motion (rlnMicrographMetadata) was found".into()]
        };
        let Some(set) = self.micrograph_set()? else { return Ok((None, unknown())) };
        let motion = set.exposures.iter().filter_map(|e| e.micrograph.as_ref());
        let first = motion.map(|m| m.motion_star_path.as_str()).find(|path| !path.is_empty());
        Ok(match first.map(|path| read_movie_record(&self.ctx.resolve(path))) {
            Some(Ok(record)) => (Some(record), Vec::new()),
            Some(Err(error)) => (None, vec![error.to_string()]),
            None => (None, unknown()),
        })
    }

    fn micrographs(&mut self, project: &Project) -> Result<(), StageError> {
        let chosen = self.choose(self.params.micrographs.as_ref(), project.micrographs());
        let Some((file, is_named)) = chosen else { return Ok(()) };
        let fraction = self.params.max_bad_fraction;
        let params = json!({"star": file, "root": self.folder, "max_bad_fraction": fraction});
        self.part("micrographs", &file, is_named, &ImportMicrographs, params, &[])
    }

    /// The micrographs that were imported.
    fn micrograph_set(&self) -> Result<Option<ExposureSet>, StageError> {
        let part = self.parts.iter().find(|part| part.slot == "micrographs");
        Ok(part.map(|part| exposures::read(&self.ctx.job_dir.join(&part.output.path))).transpose()?)
    }

    /// Puts each movie beside its micrograph, by the name of the exposure: jobs that need both find them in one table.
    fn join_movies(&mut self) -> Result<(), StageError> {
        let Some(movies) = self.parts.iter().find(|part| part.slot == "movies") else { return Ok(()) };
        let movies = exposures::read(&self.ctx.job_dir.join(&movies.output.path))?;
        let Some(mut set) = self.micrograph_set()? else { return Ok(()) };
        let mut of_name: BTreeMap<String, _> =
            movies.exposures.into_iter().filter_map(|e| Some((e.name, e.movie?))).collect();
        let mut joined = 0;
        for exposure in &mut set.exposures {
            exposure.movie = of_name.remove(&exposure.name);
            joined += usize::from(exposure.movie.is_some());
        }
        let part = self.parts.iter_mut().find(|part| part.slot == "micrographs");
        let part = part.expect("a table of micrographs should have been made by a part");
        part.report.number("with_movie", "With a movie", joined as f64, "");
        self.ctx.create_at_path(&part.output.path, |path| exposures::write(path, Kind::Micrographs, &set))?;
        Ok(())
    }

    fn particles(&mut self, project: &Project) -> Result<(), StageError> {
        let chosen = self.choose(self.params.particles.as_ref(), project.particles());
        let Some((file, is_named)) = chosen else { return Ok(()) };
        let fraction = self.params.max_bad_fraction;
        let params = json!({"star": file, "root": self.folder, "max_bad_fraction": fraction});
        self.part("particles", &file, is_named, &ImportParticles, params, &["micrographs"])
    }

    fn picks(&mut self, project: &Project) -> Result<(), StageError> {
        let Some((file, is_named)) = self.choose(self.params.picks.as_ref(), project.picks()) else {
            return Ok(());
        };
        let particles = self.parts.iter().find(|part| part.slot == "particles");
        let boxed =
            particles.and_then(|part| Some(part.output.pixel_size_a? * f64::from(part.output.box_px?)));
        let Some(diameter) = self.params.diameter.or(boxed.map(|edge| PARTICLE_PER_BOX * edge)) else {
            self.lost.push("picks: their diameter is not known; give --diameter".into());
            return Ok(());
        };
        if !self.parts.iter().any(|part| part.slot == "micrographs") {
            self.lost.push("picks: there are no micrographs that they could lie on".into());
            return Ok(());
        }
        let fraction = self.params.max_bad_fraction;
        let params = json!({"picks": file, "diameter": diameter, "max_bad_fraction": fraction});
        self.part("picks", &file, is_named, &ImportPicks, params, &["micrographs"])
    }

    /// The file named by the user, or the one found; and whether it was named.
    fn choose(&self, named: Option<&PathBuf>, found: Option<PathBuf>) -> Option<(PathBuf, bool)> {
        match named {
            Some(named) => Some((self.folder.join(named), true)),
            None => found.map(|path| (path, false)),
        }
    }

    /// Does one import with what was imported before as inputs. A failure ends the job only if the file was named.
    fn part(
        &mut self,
        slot: &'static str,
        file: &Path,
        is_named: bool,
        stage: &dyn Stage,
        params: Value,
        inputs: &[&str],
    ) -> Result<(), StageError> {
        self.ctx.check_stop()?;
        let outer = self.ctx;
        let mut ctx =
            Ctx::new(&outer.job_dir, &outer.project_dir, outer.device, &Solo, outer.event, outer.stop);
        (ctx.job, ctx.writer, ctx.host) = (outer.job.clone(), outer.writer.clone(), outer.host.clone());
        (ctx.threads, ctx.memory_mib) = (outer.threads, outer.memory_mib);
        (ctx.superseded, ctx.draw) = (outer.superseded, outer.draw);
        ctx.params = params;
        for part in self.parts.iter().filter(|part| inputs.contains(&part.slot)) {
            let input = Input {
                job: outer.job.clone(),
                path: outer.job_dir.join(&part.output.path),
                output: part.output.clone(),
                parts: BTreeMap::new(),
            };
            ctx.inputs.insert(part.slot.into(), vec![input]);
        }
        match stage.run(&ctx) {
            Ok(report) => {
                let output = ctx.declared_outputs().into_iter().find(|output| output.slot == slot);
                let output = output.expect("an import should declare the output of its name");
                self.parts.push(Part { slot, file: file.into(), report, output, skipped: ctx.skipped() });
                Ok(())
            }
            Err(error @ (StageError::Stopped | StageError::Superseded | StageError::Io { .. })) => Err(error),
            Err(error) if is_named => Err(error),
            Err(error) => {
                self.lost.push(format!("{slot} of {}: {error}", file.display()));
                Ok(())
            }
        }
    }

    /// Declares the outputs in the order of the job type's slots and puts the reports into one.
    fn finish(self) -> Result<Report, StageError> {
        const SLOTS: [&str; 4] = ["movies", "micrographs", "picks", "particles"];
        if self.parts.is_empty() {
            let why = match self.lost.first() {
                Some(first) => format!("; first: {first}"),
                None => String::new(),
            };
            let what = format!("{}: nothing in it can be imported{why}", self.folder.display());
            return Err(StageError::input(what, "name a file: --particles Extract/job012/particles.star"));
        }
        let mut report = Report::new("RELION project");
        let mut sources = serde_json::Map::new();
        for slot in SLOTS {
            let Some(part) = self.parts.iter().find(|part| part.slot == slot) else { continue };
            self.ctx.output(part.output.clone());
            report.number(slot, &capital(slot), part.output.count as f64, "");
            let file = part.file.strip_prefix(&self.folder).unwrap_or(&part.file).display().to_string();
            report.notes.push(format!("{}: from {file}", capital(slot)));
            report.notes.extend(part.report.notes.iter().map(|note| format!("{}: {note}", capital(slot))));
            report.figures.extend(part.report.figures.iter().cloned());
            report.skipped.extend(part.skipped.iter().cloned());
            let numbers: serde_json::Map<String, Value> =
                part.report.numbers.iter().map(|number| (number.key.clone(), json!(number.value))).collect();
            sources.insert(slot.into(), json!({"file": file, "numbers": numbers, "data": part.report.data}));
        }
        report.notes.extend(self.lost.iter().map(|what| format!("Not imported, {what}")));
        report.data.insert("imports".into(), Value::Object(sources));
        report.data.insert("not_imported".into(), json!(self.lost));
        Ok(report)
    }
}

/// With a capital first letter.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
