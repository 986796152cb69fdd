//! Particles, movies and a map in, polished particles out: motion of every movie, weights over all, images of every movie.

use super::frames::Frames;
use super::motion::{Moved, Setting, Subject, follow};
use super::reference::Reference;
use super::report;
use super::stacks::{self, Plan};
use super::track_file;
use super::tracks::Prior;
use super::weights::{FrameWeights, Shown};
use crate::correct_motion::source::{MovieSources, parts_of};
use crate::extract_particles::background::Background;
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError, node_copies};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::star::convert::{KnownMotion, read_motion};
use vitreous_formats::table::{exposures, particles};
use vitreous_jobs::polish::Polish;
use vitreous_model::conventions::centre;
use vitreous_model::dose::voltage_factor;
use vitreous_model::exposure::{Exposure, ExposureSet, MovieSource};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::Pose;
use vitreous_model::report::Report;

const TABLE: &str = "particles.h5";
/// Diameter of the circle outside which there is background, in box edges, if none is given.
const BACKGROUND_DIAMETER: f64 = 0.75;
/// By how much the box cut out of a movie may differ in size from the map's, as a fraction.
const BOX_TOLERANCE: f64 = 1e-3;

/// A movie and the particles on it, by their places in the set.
pub(super) struct Target<'a> {
    pub index: usize,
    pub exposure: &'a Exposure,
    pub particles: Vec<usize>,
}

/// Particles that cannot be polished, and why.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeftOut {
    /// Without a pose or a half-set.
    pub unrefined: usize,
    /// Without a place, or on micrographs that were not given.
    pub elsewhere: usize,
}

/// What came of a movie's images: the record of its item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Extracted {
    /// Which of the movie's particles became images, in the order of the stack, and where they lie, pixels of the movie.
    pub kept: Vec<(u32, [f64; 2])>,
    pub at_border: u32,
    pub flat: u32,
}

/// Which movies go on to the second pass, and the weights of each kind: what rank 0 tells the others.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Decided {
    /// By movie: frames and first frame of those that were followed.
    frames: Vec<Option<(usize, usize)>>,
    weights: BTreeMap<String, FrameWeights>,
}

/// What every part of the job needs.
struct Job<'a> {
    ctx: &'a Ctx<'a>,
    params: Polish,
    micrographs: &'a ExposureSet,
    set: &'a ParticleSet,
    reference: Reference,
    sources: MovieSources,
}

/// An opened movie with what is known of it.
struct Opened<'a> {
    frames: Frames,
    first: usize,
    source: &'a MovieSource,
    known: KnownMotion,
    doses: Vec<f64>,
    voltage_factor: Option<f64>,
    box_px: usize,
    subjects: Vec<Subject<'a>>,
}

/// Does the job on this rank.
///
/// # Errors
/// Inputs that do not belong together, too many unreadable movies, nothing polished.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: Polish = ctx.params()?;
    let set = particles::read(&ctx.input("particles")?.path)?;
    let micrographs = exposures::read(&ctx.input("micrographs")?.path)?;
    let (targets, left_out) = targets(&micrographs, &set)?;
    let reference = Reference::read(ctx, &params)?;
    let sources = MovieSources::new(ctx, &micrographs.exposures);
    let background = background(&params, &reference)?;
    let job = Job { ctx, params, micrographs: &micrographs, set: &set, reference, sources };
    let items: Vec<Item> = targets.iter().map(|target| job.item(target)).collect();
    let moved =
        for_each_item(ctx, "movies", &items, job.params.max_bad_fraction, |i| job.follow(&targets[i]))?;
    let decided = job.decide(&targets, &moved);
    let going: Vec<usize> = (0..targets.len()).filter(|&i| decided.frames[i].is_some()).collect();
    let again: Vec<Item> = going
        .iter()
        .map(|&i| {
            let weights = &decided.weights[&job.kind(&targets[i])];
            Item { fingerprint: format!("{} {weights:?}", items[i].fingerprint), ..items[i].clone() }
        })
        .collect();
    let extracted = for_each_item(ctx, "stacks", &again, job.params.max_bad_fraction, |i| {
        job.extract(&targets[going[i]], &decided, &background)
    })?;
    node_copies::tell(ctx);
    if !ctx.is_root() {
        return Ok(Report::new("Polished particles"));
    }
    let polished = job.polished(&targets, going.iter().copied().zip(&extracted));
    if polished.particles.is_empty() {
        return Err(StageError::input(
            format!("none of {} particles could be polished", set.particles.len()),
            "give the micrographs they were extracted from, as correct-motion made them",
        ));
    }
    ctx.create_at_path(TABLE, |path| particles::write(path, &polished))?;
    ctx.output(Output {
        pixel_size_a: Some(polished.pixel_size_a),
        box_px: Some(polished.box_px),
        ..Output::new("particles", Kind::Particles, TABLE, polished.particles.len() as u64)
    });
    let movies = job.movies(&targets, &moved, &decided, &going, &extracted);
    report::make(ctx, &polished, &job.reference, &movies, left_out)
}

/// The movies with particles to polish.
fn targets<'a>(
    micrographs: &'a ExposureSet,
    set: &ParticleSet,
) -> Result<(Vec<Target<'a>>, LeftOut), StageError> {
    let exposures = micrographs.exposures.iter().enumerate();
    let mut targets: Vec<Target<'a>> =
        exposures.map(|(index, exposure)| Target { index, exposure, particles: Vec::new() }).collect();
    let named: HashMap<&str, usize> =
        micrographs.exposures.iter().enumerate().map(|(i, e)| (e.name.as_str(), i)).collect();
    let mut left_out = LeftOut::default();
    for (i, particle) in set.particles.iter().enumerate() {
        if particle.pose.is_none() || particle.half.is_none() {
            left_out.unrefined += 1;
            continue;
        }
        match particle.pick.as_ref().and_then(|pick| named.get(pick.exposure.as_str())) {
            Some(&exposure) => targets[exposure].particles.push(i),
            None => left_out.elsewhere += 1,
        }
    }
    targets.retain(|target| !target.particles.is_empty());
    if !targets.is_empty() {
        return Ok((targets, left_out));
    }
    let LeftOut { unrefined, elsewhere } = left_out;
    Err(StageError::input(
        format!(
            "none of {} particles can be polished: {unrefined} have no pose or half-set, {elsewhere} lie on none of the {} \
             micrographs",
            set.particles.len(),
            micrographs.exposures.len()
        ),
        "give refined particles, and the micrographs of correct-motion that they were extracted from",
    ))
}

fn output_px(params: &Polish, reference: &Reference) -> usize {
    params.output_box.map_or(reference.n, |n| n as usize)
}

fn background(params: &Polish, reference: &Reference) -> Result<Background, StageError> {
    let (n, edge_a) = (output_px(params, reference), reference.edge_a());
    let diameter_a = params.background_diameter.unwrap_or(BACKGROUND_DIAMETER * edge_a);
    let background =
        Background::outside(n, 0.5 * diameter_a / edge_a * n as f64).filter(|_| diameter_a < edge_a);
    background.ok_or_else(|| {
        let why = format!("must be smaller than the box ({edge_a:.1} Å)");
        BadParam::new("background_diameter", diameter_a, why)
            .hint("the background round the particle is needed")
            .into()
    })
}

impl Job<'_> {
    /// Changes when the movie has to be followed again: parameters, movie, motion, particles.
    fn item(&self, target: &Target<'_>) -> Item {
        let movie = target.exposure.movie.as_ref();
        let length = movie.and_then(|m| std::fs::metadata(self.ctx.resolve(&m.path)).ok()).map(|m| m.len());
        // FNV-1a of the particles' text
        let hash = target
            .particles
            .iter()
            .flat_map(|&p| format!("{:?}", self.set.particles[p]).into_bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let fingerprint =
            format!("{:?} {movie:?} {length:?} {:?} {hash:016x}", self.params, target.exposure.motion);
        Item { name: target.exposure.name.clone(), fingerprint }
    }

    /// Movies of one kind share their weights.
    fn kind(&self, target: &Target<'_>) -> String {
        let voltage = self.micrographs.optics_of(target.exposure.optics_group).map(|optics| optics.voltage.0);
        let movie = target.exposure.movie.as_ref();
        let dose = |of: fn(&MovieSource) -> f64| movie.map_or(0.0, of);
        format!(
            "{:.3} e/Å² a frame after {:.2} e/Å² at {:.0} kV",
            dose(|m| m.dose_per_frame),
            dose(|m| m.pre_exposure),
            voltage.unwrap_or(0.0)
        )
    }

    fn open<'s>(&'s self, target: &Target<'s>) -> Result<Opened<'s>, StageError> {
        let exposure = target.exposure;
        let (source, optics) = parts_of(self.micrographs, exposure)?;
        let unfit = |what: String, hint: &str| StageError::input(format!("{}: {what}", exposure.name), hint);
        let micrograph =
            exposure.micrograph.as_ref().filter(|m| !m.motion_star_path.is_empty()).ok_or_else(|| {
                unfit("its motion is not known".into(), "give the micrographs as correct-motion made them")
            })?;
        let known = read_motion(&self.ctx.resolve(&micrograph.motion_star_path))
            .map_err(|error| unfit(error.to_string(), "run correct-motion again"))?;
        let frames = known.global_a.len();
        let first = match known.pre_exposure {
            Some(before) if source.dose_per_frame > 0.0 => {
                ((before - source.pre_exposure) / source.dose_per_frame).round().max(0.0) as usize
            }
            _ => 0,
        };
        if known.frame_px != [source.width, source.height]
            || frames == 0
            || first + frames > source.frames as usize
        {
            let what = format!(
                "{} tells of {frames} frames of {} × {} px from frame {} on, the movie has {} of {} × {} px",
                micrograph.motion_star_path,
                known.frame_px[0],
                known.frame_px[1],
                first + 1,
                source.frames,
                source.width,
                source.height
            );
            return Err(unfit(what, "run correct-motion again"));
        }
        let edge_a = self.reference.edge_a();
        let box_px = 2 * (0.5 * edge_a / source.pixel_size_a).round() as usize;
        let misfit = (box_px as f64 * source.pixel_size_a / edge_a - 1.0).abs();
        let output_px = output_px(&self.params, &self.reference);
        if misfit > BOX_TOLERANCE || box_px < output_px.max(self.reference.small) {
            let what = format!(
                "the map's box of {edge_a:.2} Å is {:.2} pixels of the movie ({} Å), expected an even number of at least {}",
                edge_a / source.pixel_size_a,
                source.pixel_size_a,
                output_px.max(self.reference.small)
            );
            return Err(unfit(what, "refine with another box, or set a smaller output_box"));
        }
        let last = Some((first + frames) as u32);
        let movie = self.sources.open(target.index, source, first, last)?;
        let end = |f: usize| source.pre_exposure + (first + f + 1) as f64 * source.dose_per_frame;
        let doses = if source.dose_per_frame > 0.0 { (0..frames).map(end).collect() } else { Vec::new() };
        let binning = micrograph.pixel_size_a / source.pixel_size_a;
        let subjects = target.particles.iter().filter_map(|&p| {
            let particle = &self.set.particles[p];
            let place = particle.place_px(micrograph.pixel_size_a)?;
            Some(Subject { particle, half: particle.half?, place_px: place.map(|px| px * binning) })
        });
        Ok(Opened {
            subjects: subjects.collect(),
            frames: Frames::new(movie, self.params.hot_pixel_sd)?,
            first,
            source,
            known,
            doses,
            voltage_factor: voltage_factor(optics.voltage).ok(),
            box_px,
        })
    }

    /// First pass: the tracks of a movie's particles.
    fn follow(&self, target: &Target<'_>) -> Result<Moved, StageError> {
        let opened = self.open(target)?;
        let params = &self.params;
        let dose = if opened.source.dose_per_frame > 0.0 { opened.source.dose_per_frame } else { 1.0 };
        let setting = Setting {
            known: &opened.known,
            pixel_a: opened.source.pixel_size_a,
            box_px: opened.box_px,
            doses: &opened.doses,
            voltage_factor: opened.voltage_factor,
            prior: Prior {
                velocity_a: params.sigma_velocity * dose,
                divergence_a: params.sigma_divergence,
                relative_acceleration: params.sigma_acceleration / params.sigma_velocity,
            },
            range_a: params.search_range,
            sign: self.sign(),
        };
        let (moved, tracks) = follow(&self.reference, &opened.frames, &opened.subjects, &setting)?;
        let ids: Vec<u64> = opened.subjects.iter().map(|s| s.particle.id).collect();
        track_file::write(self.ctx, &target.exposure.name, &ids, opened.first, &tracks)?;
        Ok(Moved { first: opened.first, ..moved })
    }

    fn sign(&self) -> f64 {
        if self.params.invert { -1.0 } else { 1.0 }
    }

    /// Rank 0 adds up what all movies show, fits the weights and tells the others.
    fn decide(&self, targets: &[Target<'_>], moved: &[Outcome<Moved>]) -> Decided {
        let mut decided = Decided::default();
        if self.ctx.is_root() {
            let mut kinds: BTreeMap<String, (Shown, Vec<f64>, Option<f64>)> = BTreeMap::new();
            for (target, outcome) in targets.iter().zip(moved) {
                let Outcome::Done(moved) = outcome else {
                    decided.frames.push(None);
                    continue;
                };
                decided.frames.push(Some((moved.frames, moved.first)));
                let kind = kinds.entry(self.kind(target)).or_default();
                if moved.followed {
                    kind.0.add(&moved.shown);
                }
                let Ok((source, optics)) = parts_of(self.micrographs, target.exposure) else { continue };
                let end =
                    |f: usize| source.pre_exposure + (moved.first + f + 1) as f64 * source.dose_per_frame;
                if source.dose_per_frame > 0.0 && kind.1.len() < moved.frames {
                    kind.1 = (0..moved.frames).map(end).collect();
                }
                kind.2 = voltage_factor(optics.voltage).ok();
            }
            let wanted = self.params.estimate_weights;
            let fit = |(kind, (shown, doses, factor)): (String, (Shown, Vec<f64>, Option<f64>))| {
                (kind, shown.weights(self.reference.edge_a(), doses, factor, wanted))
            };
            decided.weights = kinds.into_iter().map(fit).collect();
        }
        let mut bytes = serde_json::to_vec(&decided).unwrap_or_default();
        self.ctx.comm.broadcast(0, &mut bytes);
        serde_json::from_slice(&bytes).unwrap_or(decided)
    }

    /// Second pass: the images of a movie's particles.
    fn extract(
        &self,
        target: &Target<'_>,
        decided: &Decided,
        background: &Background,
    ) -> Result<Extracted, StageError> {
        let opened = self.open(target)?;
        let path = self.ctx.job_dir.join(track_file::name(&target.exposure.name));
        let tracks = track_file::read(&path, opened.subjects.len(), opened.frames.len())?;
        let plan = Plan {
            box_px: opened.box_px,
            output_px: output_px(&self.params, &self.reference),
            pixel_a: opened.source.pixel_size_a,
            weights: &decided.weights[&self.kind(target)],
            background,
            sign: self.sign(),
        };
        let mut extracted = Extracted { kept: Vec::new(), at_border: 0, flat: 0 };
        let (mut numbers, mut subjects, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (subject, track)) in opened.subjects.into_iter().zip(tracks).enumerate() {
            if !fits(&subject, opened.box_px, opened.source) {
                extracted.at_border += 1;
                continue;
            }
            numbers.push(i as u32);
            subjects.push(subject);
            inside.push(track);
        }
        if subjects.is_empty() {
            return Ok(extracted);
        }
        let n = plan.output_px;
        let sample = if self.params.float16 { SampleType::Float16 } else { SampleType::Float32 };
        let spec = MrcSpec::images(n, n, self.reference.edge_a() / n as f64).sample(sample);
        let name = stack_name(target.exposure);
        self.ctx.create(&name, |out| -> Result<(), StageError> {
            let path = self.ctx.job_dir.join(&name);
            let mut writer = MrcWriter::new(out, &path, spec).map_err(StageError::writing)?;
            stacks::images(&plan, &opened.frames, &subjects, &inside, |p, image| {
                let Some(image) = image else {
                    extracted.flat += 1;
                    return Ok(());
                };
                let values = image.as_slice().expect("a particle image should be contiguous");
                writer.append(values).map_err(StageError::writing)?;
                let place = place(&subjects[p], &inside[p], &opened.known, plan.pixel_a);
                extracted.kept.push((numbers[p], place));
                Ok(())
            })?;
            if extracted.kept.is_empty() {
                return Err(StageError::input("all its boxes lie on regions without structure", ""));
            }
            writer.finish().map_err(StageError::writing)?;
            Ok(())
        })?;
        Ok(extracted)
    }

    /// The table of what was written.
    fn polished<'o>(
        &self,
        targets: &[Target<'_>],
        extracted: impl Iterator<Item = (usize, &'o Outcome<Extracted>)>,
    ) -> ParticleSet {
        let mut particles = Vec::new();
        for (i, outcome) in extracted {
            let Outcome::Done(extracted) = outcome else { continue };
            let exposure = targets[i].exposure;
            let stack_path = self.ctx.table_path(&stack_name(exposure));
            let binning = match (&exposure.micrograph, &exposure.movie) {
                (Some(micrograph), Some(movie)) => micrograph.pixel_size_a / movie.pixel_size_a,
                _ => 1.0,
            };
            for (image, (number, place_px)) in extracted.kept.iter().enumerate() {
                let old = &self.set.particles[targets[i].particles[*number as usize]];
                let [x_px, y_px] = place_px.map(|px| px / binning);
                particles.push(Particle {
                    stack_path: stack_path.clone(),
                    stack_index: image as u32,
                    pick: old.pick.as_ref().map(|pick| Pick { x_px, y_px, ..pick.clone() }),
                    pose: old.pose.map(|pose| Pose { shift_a: [0.0; 2], ..pose }),
                    ..old.clone()
                });
            }
        }
        let n = output_px(&self.params, &self.reference);
        ParticleSet {
            optics: self.set.optics.clone(),
            box_px: n as u32,
            pixel_size_a: self.reference.edge_a() / n as f64,
            particles,
        }
    }

    /// What the report tells of the movies.
    fn movies<'m>(
        &'m self,
        targets: &'m [Target<'m>],
        moved: &'m [Outcome<Moved>],
        decided: &'m Decided,
        going: &[usize],
        extracted: &'m [Outcome<Extracted>],
    ) -> Vec<report::Movie<'m>> {
        let images: HashMap<usize, &Extracted> = going
            .iter()
            .zip(extracted)
            .filter_map(|(i, outcome)| match outcome {
                Outcome::Done(extracted) => Some((*i, extracted)),
                Outcome::Skipped(_) => None,
            })
            .collect();
        let of = |(i, outcome): (usize, &'m Outcome<Moved>)| {
            let (Outcome::Done(moved), Some(extracted)) = (outcome, images.get(&i)) else { return None };
            let kind = self.kind(&targets[i]);
            let (_, weights) = decided.weights.get_key_value(&kind)?;
            let exposure = targets[i].exposure;
            let places_px = targets[i].particles.iter().filter_map(|&p| self.set.particles[p].pick.as_ref());
            Some(report::Movie {
                name: &exposure.name,
                kind,
                moved,
                weights,
                images: extracted.kept.len(),
                at_border: extracted.at_border as usize,
                flat: extracted.flat as usize,
                places_a: places_px
                    .map(|pick| {
                        [pick.x_px, pick.y_px]
                            .map(|px| px * exposure.micrograph.as_ref().map_or(1.0, |m| m.pixel_size_a))
                    })
                    .collect(),
            })
        };
        moved.iter().enumerate().filter_map(of).collect()
    }
}

fn stack_name(exposure: &Exposure) -> String {
    format!("particles/{}.mrcs", exposure.name)
}

/// Whether the box round a particle lies within the first frame.
fn fits(subject: &Subject<'_>, box_px: usize, source: &MovieSource) -> bool {
    let sizes = [f64::from(source.width), f64::from(source.height)];
    subject.place_px.iter().zip(sizes).all(|(place, size)| {
        let first = place.round() - centre(box_px) as f64;
        first >= 0.0 && first + box_px as f64 <= size
    })
}

/// Where a sum along the known motion would have the particle: its place plus the mean distance of its track from that
/// motion, pixels of the movie.
fn place(subject: &Subject<'_>, track: &[[f64; 2]], known: &KnownMotion, pixel_a: f64) -> [f64; 2] {
    let mut mean_a = [0.0; 2];
    for (frame, at) in track.iter().enumerate() {
        let before = known.displacement_a(frame, subject.place_px);
        (0..2).for_each(|i| mean_a[i] += (at[i] - before[i]) / track.len() as f64);
    }
    [0, 1].map(|i| subject.place_px[i] + mean_a[i] / pixel_a)
}
