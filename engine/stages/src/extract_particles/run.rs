//! Micrograph by micrograph: boxes round picks or particles → one image stack each → table of particles.

use super::background::Background;
use super::report;
use super::wanted::{LeftOut, Sources, Target, Wanted};
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vitreous_compute::fourier::resample_box;
use vitreous_formats::image::check_finite;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_formats::table::{exposures, particles, picks};
use vitreous_jobs::extract_particles::ExtractParticles;
use vitreous_model::conventions::centre;
use vitreous_model::exposure::{Exposure, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::report::Report;

/// Name of the table in the job's folder, and of the folder of stacks.
const TABLE: &str = "particles.h5";
const STACKS: &str = "particles";
/// Diameter of the circle outside which there is background, in box edges, if none is given.
const BACKGROUND_DIAMETER: f64 = 0.75;
/// Pixel sizes that differ by less belong into one set.
const PIXEL_TOLERANCE: f64 = 1e-3;
/// Images that are cut and transformed before they are written: what is held in memory at once.
const IMAGES_AT_ONCE: usize = 128;

/// What came of a micrograph: the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Which of its boxes became images, in the order of the stack.
    kept: Vec<u32>,
    /// Boxes that reach over the border.
    at_border: u32,
    /// Boxes on a region without any structure.
    flat: u32,
}

/// What is the same for all micrographs.
struct Plan {
    /// Edge of the box that is cut, pixels of the micrograph.
    box_px: usize,
    /// Edge of the image that is written.
    output_px: usize,
    /// Pixel size of micrographs, Å.
    pixel_size_a: f64,
    sample: SampleType,
    /// -1 inverts the contrast.
    sign: f64,
    background: Background,
}

impl Plan {
    fn new(params: &ExtractParticles, targets: &[Target<'_>]) -> Result<Self, StageError> {
        let box_size = params.box_size.ok_or_else(|| BadParam::new("box_size", "", "is required"))?;
        let largest = targets.iter().map(|t| t.micrograph.width.min(t.micrograph.height)).max().unwrap_or(0);
        if box_size > largest {
            let why = format!("is larger than every micrograph (the shorter edge has up to {largest} px)");
            return Err(BadParam::new("box_size", box_size, why)
                .hint("about twice the diameter, in pixels")
                .into());
        }
        let output_size = params.output_box.unwrap_or(box_size);
        let (box_px, output_px) = (box_size as usize, output_size as usize);
        let pixel_size_a = targets.first().map_or(1.0, |target| target.micrograph.pixel_size_a);
        let edge_a = f64::from(box_size) * pixel_size_a;
        let diameter_a = params.background_diameter.unwrap_or(BACKGROUND_DIAMETER * edge_a);
        let radius_px = 0.5 * diameter_a / edge_a * output_px as f64;
        let background = Background::outside(output_px, radius_px).filter(|_| diameter_a < edge_a);
        let background = background.ok_or_else(|| {
            BadParam::new(
                "background_diameter",
                diameter_a,
                format!("must be smaller than the box ({edge_a:.1} Å)"),
            )
            .hint("make the box larger: the background round the particle is needed")
        })?;
        Ok(Self {
            box_px,
            output_px,
            pixel_size_a,
            sample: if params.float16 { SampleType::Float16 } else { SampleType::Float32 },
            sign: if params.invert { -1.0 } else { 1.0 },
            background,
        })
    }

    fn output_pixel_a(&self) -> f64 {
        self.pixel_size_a * self.box_px as f64 / self.output_px as f64
    }
}

/// Does the job.
///
/// # Errors
/// Inputs that do not belong together, a box that does not fit, too many unreadable micrographs, nothing extracted.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ExtractParticles = ctx.params()?;
    let micrographs = exposures::read(&ctx.input("micrographs")?.path)?;
    let sources = read_sources(ctx)?;
    let (targets, left_out) = sources.targets(&micrographs, &params)?;
    let optics = match &sources {
        Sources::Picks(_) => micrographs.optics.clone(),
        Sources::Particles(set) => set.optics.clone(),
    };
    if targets.is_empty() {
        return nothing_yet(ctx, &params, optics, (&sources, left_out));
    }
    let plan = Plan::new(&params, &targets)?;
    let settings = serde_json::to_string(&params).expect("parameters should have a JSON form");
    let items: Vec<Item> = targets
        .iter()
        .map(|target| Item {
            name: target.exposure.name.clone(),
            fingerprint: fingerprint(&settings, target),
        })
        .collect();
    let outcomes = for_each_item(ctx, "micrographs", &items, params.max_bad_fraction, |index| {
        extract(ctx, &plan, &targets[index])
    })?;
    if !ctx.is_root() {
        return Ok(Report::new("Particles"));
    }
    let done: Vec<(&Target<'_>, &Extracted)> = targets
        .iter()
        .zip(&outcomes)
        .filter_map(|(target, outcome)| match outcome {
            Outcome::Done(extracted) => Some((target, extracted)),
            Outcome::Skipped(_) => None,
        })
        .collect();
    let set = particle_set(ctx, &plan, optics, &done);
    if set.particles.is_empty() {
        return Err(StageError::input(
            format!(
                "none of {} {} has a box of {} px within its micrograph",
                sources.len(),
                sources.name(),
                plan.box_px
            ),
            "take a smaller box",
        ));
    }
    write_table(ctx, &set)?;
    let counts: Vec<report::Counts> = done
        .iter()
        .map(|(target, extracted)| report::Counts {
            name: &target.exposure.name,
            picked: target.boxes.len(),
            extracted: extracted.kept.len(),
            at_border: extracted.at_border as usize,
            flat: extracted.flat as usize,
        })
        .collect();
    let moved: Vec<f64> = done
        .iter()
        .flat_map(|(target, extracted)| {
            extracted.kept.iter().map(|&kept| target.boxes[kept as usize].moved_a)
        })
        .collect();
    report::make(ctx, &set, &report::Whole { sources: &sources, left_out, moved: &moved }, &counts)
}

/// The picks or the particles.
fn read_sources(ctx: &Ctx<'_>) -> Result<Sources, StageError> {
    match (ctx.optional_input("picks"), ctx.optional_input("particles")) {
        (Some(input), None) => Ok(Sources::Picks(picks::read(&input.path)?)),
        (None, Some(input)) => Ok(Sources::Particles(particles::read(&input.path)?)),
        (given, _) => {
            let what = match given {
                Some(_) => "inputs `picks` and `particles` are both there",
                None => "inputs `picks` and `particles` are both missing",
            };
            Err(StageError::input(
                what,
                "name one job that makes one of the two: --picks J1, or --particles J1",
            ))
        }
    }
}

/// Writes the table and declares the output.
fn write_table(ctx: &Ctx<'_>, set: &ParticleSet) -> Result<(), StageError> {
    ctx.create_at_path(TABLE, |path| particles::write(path, set))?;
    ctx.output(Output {
        pixel_size_a: Some(set.pixel_size_a).filter(|pixel_size_a| pixel_size_a.is_finite()),
        box_px: Some(set.box_px),
        ..Output::new("particles", Kind::Particles, TABLE, set.particles.len() as u64)
    });
    Ok(())
}

/// The job where a microscope is followed that has not delivered yet: no micrographs, or no picks on them.
fn nothing_yet(
    ctx: &Ctx<'_>,
    params: &ExtractParticles,
    optics: Vec<OpticsGroup>,
    (sources, left_out): (&Sources, LeftOut),
) -> Result<Report, StageError> {
    let box_size = params.box_size.ok_or_else(|| BadParam::new("box_size", "", "is required"))?;
    let output_size = params.output_box.unwrap_or(box_size);
    // where a slice ends
    for_each_item::<Extracted>(ctx, "micrographs", &[], params.max_bad_fraction, |_| {
        Err(StageError::input("there are no micrographs with picks", ""))
    })?;
    if !ctx.is_root() {
        return Ok(Report::new("Particles"));
    }
    let pixel_size_a = ctx.input("micrographs")?.output.pixel_size_a.unwrap_or(f64::NAN);
    let set = ParticleSet {
        optics,
        box_px: output_size,
        pixel_size_a: pixel_size_a * f64::from(box_size) / f64::from(output_size),
        particles: Vec::new(),
    };
    write_table(ctx, &set)?;
    let whole = report::Whole { sources, left_out, moved: &[] };
    let mut report = report::make(ctx, &set, &whole, &[])?;
    report.notes.push(format!("There are no micrographs with {} yet: the set is empty.", sources.name()));
    Ok(report)
}

/// Changes when the micrograph has to be done again: parameters, file, motion, boxes.
fn fingerprint(settings: &str, target: &Target<'_>) -> String {
    // FNV-1a of the coordinates' bits
    let hash = target
        .boxes
        .iter()
        .flat_map(|wanted| wanted.centre_px)
        .flat_map(f64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let MicrographSource { path, pixel_size_a, .. } = target.micrograph;
    // a movie that was corrected again leaves a file of the same name, but not the same motion
    format!(
        "{settings} {path} {pixel_size_a} {:?} {} {hash:016x}",
        target.exposure.motion,
        target.boxes.len()
    )
}

/// Name of a micrograph's stack in the job's folder.
fn stack_name(exposure: &Exposure) -> String {
    format!("{STACKS}/{}.mrcs", exposure.name)
}

/// Reads one micrograph and writes the stack of its particles.
fn extract(ctx: &Ctx<'_>, plan: &Plan, target: &Target<'_>) -> Result<Extracted, StageError> {
    let image = read_micrograph(ctx, plan, target.micrograph)?;
    let mut extracted = Extracted { kept: Vec::new(), at_border: 0, flat: 0 };
    let mut inside = Vec::with_capacity(target.boxes.len());
    for (index, wanted) in target.boxes.iter().enumerate() {
        match cut(image.view(), wanted.centre_px, plan.box_px) {
            Some(pixels) => inside.push((index as u32, pixels)),
            None => extracted.at_border += 1,
        }
    }
    if inside.is_empty() {
        return Ok(extracted);
    }
    let spec = MrcSpec::images(plan.output_px, plan.output_px, plan.output_pixel_a()).sample(plan.sample);
    let result = ctx.create(&stack_name(target.exposure), |out| -> Result<(), StageError> {
        let path = ctx.job_dir.join(stack_name(target.exposure));
        let mut writer = MrcWriter::new(out, &path, spec).map_err(StageError::writing)?;
        for some in inside.chunks(IMAGES_AT_ONCE) {
            let images: Vec<Option<Array2<f32>>> =
                some.par_iter().map(|(_, pixels)| particle_image(plan, *pixels)).collect();
            for ((index, _), image) in some.iter().zip(images) {
                let Some(image) = image else {
                    extracted.flat += 1;
                    continue;
                };
                let values = image.as_slice().expect("a particle image should be contiguous");
                writer.append(values).map_err(StageError::writing)?;
                extracted.kept.push(*index);
            }
        }
        if extracted.kept.is_empty() {
            return Err(StageError::input("all its boxes lie on regions without structure", ""));
        }
        writer.finish().map_err(StageError::writing)?;
        Ok(())
    });
    result.map(|_| extracted)
}

/// The pixels `[height, width]` of a micrograph, finite and of the size the table says.
fn read_micrograph(
    ctx: &Ctx<'_>,
    plan: &Plan,
    micrograph: &MicrographSource,
) -> Result<Array2<f32>, StageError> {
    let path = ctx.resolve(&micrograph.path);
    let source = open_image(&path)?;
    let header = source.header();
    let expected = (micrograph.width as usize, micrograph.height as usize);
    if (header.width, header.height) != expected {
        return Err(StageError::input(
            format!(
                "{}: it is {} × {} px, the table says {} × {}",
                path.display(),
                header.width,
                header.height,
                expected.0,
                expected.1
            ),
            "the file was replaced: import it again",
        ));
    }
    if (micrograph.pixel_size_a / plan.pixel_size_a - 1.0).abs() > PIXEL_TOLERANCE {
        return Err(StageError::input(
            format!(
                "its pixel size is {} Å, that of the others {} Å",
                micrograph.pixel_size_a, plan.pixel_size_a
            ),
            "extract micrographs of another pixel size in a job of their own",
        ));
    }
    let mut image = Array2::zeros((header.height, header.width));
    let pixels = image.as_slice_mut().expect("a new image should be contiguous");
    source.read_frame_in_pool(0, pixels)?;
    check_finite(&path, pixels, header.width, header.height)?;
    Ok(image)
}

/// The box `[n, n]` whose centre pixel is that of column x and row y; `None` if it reaches over the border.
fn cut(image: ArrayView2<'_, f32>, [x_px, y_px]: [f64; 2], n: usize) -> Option<ArrayView2<'_, f32>> {
    let first = |centre_px: f64, length: usize| -> Option<usize> {
        let start = centre_px - centre(n) as f64;
        (start >= 0.0 && start + n as f64 <= length as f64).then_some(start as usize)
    };
    let (height, width) = image.dim();
    let (left, bottom) = (first(x_px, width)?, first(y_px, height)?);
    Some(image.slice_move(s![bottom..bottom + n, left..left + n]))
}

/// Downsampled and normalised; `None` if the background is flat.
fn particle_image(plan: &Plan, pixels: ArrayView2<'_, f32>) -> Option<Array2<f32>> {
    let mut image = if plan.output_px == plan.box_px {
        pixels.as_standard_layout().into_owned()
    } else {
        resample_box(pixels, plan.output_px)
    };
    plan.background.normalise(&mut image, plan.sign).then_some(image)
}

fn particle_set(
    ctx: &Ctx<'_>,
    plan: &Plan,
    optics: Vec<OpticsGroup>,
    done: &[(&Target<'_>, &Extracted)],
) -> ParticleSet {
    let mut particles = Vec::new();
    for (target, extracted) in done {
        let stack_path = ctx.table_path(&stack_name(target.exposure));
        for (image, &kept) in extracted.kept.iter().enumerate() {
            let image = (stack_path.as_str(), image as u32);
            let number = particles.len() as u64;
            particles.push(particle(target.exposure, &target.boxes[kept as usize], image, number));
        }
    }
    ParticleSet { optics, box_px: plan.output_px as u32, pixel_size_a: plan.output_pixel_a(), particles }
}

/// The particle of a box: a new one with `number`, or the one that it was cut for, with all that is known of it. `image`
/// is its stack and its index there.
fn particle(exposure: &Exposure, wanted: &Wanted<'_>, image: (&str, u32), number: u64) -> Particle {
    let [x_px, y_px] = wanted.centre_px;
    let pick = Some(Pick { exposure: exposure.name.clone(), x_px, y_px, score: wanted.score });
    let (stack_path, stack_index) = (image.0.to_string(), image.1);
    let ctf = exposure.ctf_at(x_px, y_px);
    match wanted.particle {
        Some((old, pose)) => {
            Particle { stack_path, stack_index, pick, pose, ctf: old.ctf.or(ctf), ..old.clone() }
        }
        None => Particle {
            id: number,
            stack_path,
            stack_index,
            optics_group: exposure.optics_group,
            pick,
            ctf,
            pose: None,
            half: None,
            class: None,
            log_likelihood: f64::NAN,
        },
    }
}
