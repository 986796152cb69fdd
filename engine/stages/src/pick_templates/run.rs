//! Templates and micrographs in, positions out.

use super::bank::{Bank, Geometry};
use super::correlate::{Band, correlate};
use super::report;
use crate::items::{Item, for_each_item};
use crate::picking::binned::Binned;
use crate::picking::contamination::Terrain;
use crate::picking::figures::SHOWN_EDGE;
use crate::picking::given_mask::{self, GivenMask};
use crate::picking::peaks::{Peak, Rules, find};
use crate::picking::{Unfit, choose, file_fingerprint, read, with_picks};
use crate::{Ctx, StageError, micrograph, thumbnail};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::path::Path;
use vitreous_compute::ops::template_correlation::{TemplateCorrelation, Templates};
use vitreous_formats::mrc::read_volume;
use vitreous_formats::{open_image, table};
use vitreous_jobs::pick_templates::PickTemplates;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::exposure::{Exposure, ExposureSet};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::particle::{Pick, PickSet, Surroundings, TemplateMatch};
use vitreous_model::report::Report;

/// Working pixels per finest detail: a little finer than Nyquist asks, for places between pixels.
const PIXELS_PER_DETAIL: f64 = 2.5;
/// Coarsest detail where none is given, in diameters.
const HIGH_PASS_DIAMETERS: f64 = 3.0;
/// Smallest distance of two particles where none is given, in diameters.
const DISTANCE_DIAMETERS: f64 = 0.7;
/// Smallest distance from the edge where none is given, in diameters.
const BORDER_DIAMETERS: f64 = 0.5;
/// Micrographs that the report shows.
const SHOWN: usize = 3;
/// Pixel sizes of micrographs that differ by less share their templates.
const PIXEL_TOLERANCE: f64 = 1e-3;

/// A particle on a micrograph: pixels of the micrograph, score in standard deviations of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    pub x_px: f64,
    pub y_px: f64,
    pub score: f64,
    /// The template that fits best.
    pub template: u32,
    /// How far it is turned, degrees.
    pub angle_deg: f64,
    /// Its neighbourhood.
    pub around: Surroundings,
}

/// What was found on one micrograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Picked {
    pub found: Vec<Found>,
    /// Whether the contrast transfer was known.
    pub has_ctf: bool,
    /// Part of the micrograph that looks like contamination.
    pub masked_fraction: f64,
}

/// What is the same for all micrographs.
pub(super) struct Plan<'d, D: TemplateCorrelation> {
    pub device: &'d D,
    pub params: PickTemplates,
    pub diameter_a: f64,
    pub band: Band,
    /// Pixel size of micrographs, Å, and how many are averaged along an edge.
    pub micrograph_pixel_a: f64,
    pub bin: usize,
    pub bank: Bank,
    /// The bank's templates on the device.
    pub templates: D::Bank,
}

impl<'d, D: TemplateCorrelation> Plan<'d, D> {
    /// For micrographs of one pixel size; `templates` makes the bank.
    pub fn new(
        device: &'d D,
        params: &PickTemplates,
        diameter_a: f64,
        micrograph_pixel_a: f64,
        templates: impl FnOnce(Geometry) -> Result<(Bank, Templates), StageError>,
    ) -> Result<Self, StageError> {
        let bin = ((params.low_pass / PIXELS_PER_DETAIL / micrograph_pixel_a) as usize).max(1);
        let geometry = Geometry {
            pixel_size_a: micrograph_pixel_a * bin as f64,
            diameter_a,
            angle_step_deg: params.angle_step,
        };
        let high_pass_a = params.high_pass.unwrap_or(HIGH_PASS_DIAMETERS * diameter_a);
        let band = Band { high_pass_a, low_pass_a: params.low_pass };
        let (bank, templates) = templates(geometry)?;
        let templates = device.bank(templates);
        Ok(Self {
            device,
            params: params.clone(),
            diameter_a,
            band,
            micrograph_pixel_a,
            bin,
            bank,
            templates,
        })
    }

    pub fn working_pixel_a(&self) -> f64 {
        self.micrograph_pixel_a * self.bin as f64
    }

    /// Finds the particles of a micrograph `[height, width]` without hot pixels, none where `mask` says so.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn pick(
        &self,
        pixels: &Array2<f32>,
        ctf: Option<&CtfParams>,
        mask: Option<&GivenMask>,
    ) -> Result<Picked, Unfit> {
        let Self { params, diameter_a, .. } = self;
        let working_a = self.working_pixel_a();
        // half a pixel up, so that the quotient does not fall below the bin
        let target_a = working_a + 0.5 * self.micrograph_pixel_a;
        let binned = Binned::of(
            pixels.view(),
            self.micrograph_pixel_a,
            target_a,
            *diameter_a,
            params.white_particles,
        )?;
        let ctf = ctf.filter(|_| params.ctf);
        let best = correlate(
            self.device,
            &binned,
            &self.bank,
            &self.templates,
            ctf,
            self.band,
            diameter_a / working_a,
        );
        let terrain = Terrain::of(&binned.image, (diameter_a / working_a).round() as usize);
        let (height, width) = pixels.dim();
        let masked = |peak: &Peak| {
            let (x, y) = (binned.unbinned(peak.x), binned.unbinned(peak.y));
            mask.is_some_and(|mask| mask.covers(x, y, width, height))
        };
        let rules = Rules {
            threshold: params.threshold,
            max_score_sd: params.max_score,
            min_distance: params.min_distance.unwrap_or(DISTANCE_DIAMETERS * diameter_a) / working_a,
            border: params.border.unwrap_or(BORDER_DIAMETERS * diameter_a) / working_a,
            most: params.max_picks.map_or(usize::MAX, |most| most as usize),
        };
        let keep = |peaks: Vec<Peak>| {
            let mut peaks = terrain.keep_particles(peaks);
            peaks.retain(|peak| !masked(peak));
            peaks
        };
        let found = find(&best.score, &rules, keep).into_iter().map(|peak| {
            let entry = best.entry[[peak.y.round() as usize, peak.x.round() as usize]];
            let entry = &self.bank.entries[entry as usize];
            Found {
                x_px: binned.unbinned(peak.x),
                y_px: binned.unbinned(peak.y),
                score: peak.score,
                template: entry.view,
                angle_deg: entry.angle_deg,
                around: terrain.around(peak.x, peak.y),
            }
        });
        Ok(Picked {
            found: found.collect(),
            has_ctf: ctf.is_some(),
            masked_fraction: terrain.suspect_fraction(),
        })
    }
}

/// The stage.
pub(super) fn run<D: TemplateCorrelation>(ctx: &Ctx<'_>, device: &D) -> Result<Report, StageError> {
    let params: PickTemplates = ctx.params()?;
    params.validate()?;
    let diameter_a =
        params.diameter.ok_or_else(|| StageError::input("diameter is missing", "give --diameter"))?;
    let set = micrograph::read_set(ctx)?;
    let pixel_size_a =
        set.exposures.iter().find_map(|e| e.micrograph.as_ref()).map_or(1.0, |m| m.pixel_size_a);
    let plan =
        Plan::new(device, &params, diameter_a, pixel_size_a, |geometry| templates(ctx, &params, geometry))?;
    let items: Vec<Item> = set.exposures.iter().map(|exposure| item(ctx, &params, exposure)).collect();
    let outcomes = for_each_item(ctx, "micrographs", &items, params.max_bad_fraction, |index| {
        pick_one(ctx, &plan, &set, &set.exposures[index])
    })?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let done = with_picks(&set.exposures, outcomes);
    write_picks(ctx, &done, diameter_a)?;
    let counts: Vec<usize> = done.iter().map(|(_, picked)| picked.found.len()).collect();
    let mut images = Vec::new();
    for index in choose(&counts, SHOWN) {
        ctx.check_stop()?;
        let (exposure, picked) = &done[index];
        let (pixels, _) = read(ctx, &set, exposure)?;
        images.push(report::image_of(images.len(), &pixels, &plan, exposure, picked, SHOWN_EDGE));
    }
    let report = report::make(&done, images, &plan, ctx.skipped());
    micrograph::write_set(ctx, &set)?;
    Ok(report)
}

fn pick_one<D: TemplateCorrelation>(
    ctx: &Ctx<'_>,
    plan: &Plan<'_, D>,
    set: &ExposureSet,
    exposure: &Exposure,
) -> Result<Picked, StageError> {
    let (pixels, pixel_size_a) = read(ctx, set, exposure)?;
    if (pixel_size_a / plan.micrograph_pixel_a - 1.0).abs() > PIXEL_TOLERANCE {
        let what = format!(
            "{}: its pixel size is {pixel_size_a} Å, that of the others {} Å",
            exposure.name, plan.micrograph_pixel_a
        );
        return Err(StageError::input(
            what,
            "pick on micrographs of another pixel size in a job of their own",
        ));
    }
    let masks = plan.params.masks.as_deref();
    let mask = given_mask::of(ctx, masks, plan.params.mask_threshold, exposure)?;
    let ctf = exposure.ctf.as_ref().map(|fit| &fit.ctf);
    let picked = plan
        .pick(&pixels, ctf, mask.as_ref())
        .map_err(|unfit| StageError::input(format!("{}: {unfit}", exposure.name), ""))?;
    let picture = report::image_of(0, &pixels, plan, exposure, &picked, thumbnail::EDGE);
    ctx.picture(&exposure.name, &picture)?;
    let value = picked.found.len() as f64;
    ctx.say(EventKind::Figure { name: "picks".into(), value, unit: String::new() });
    Ok(picked)
}

fn item(ctx: &Ctx<'_>, params: &PickTemplates, exposure: &Exposure) -> Item {
    let mask = given_mask::fingerprint(ctx, params.masks.as_deref(), exposure);
    let ctf = exposure.ctf.as_ref().map(|fit| &fit.ctf);
    let file = file_fingerprint(ctx, exposure);
    Item { name: exposure.name.clone(), fingerprint: format!("{params:?} {file} {ctf:?} {mask}") }
}

/// The bank of the job's volume or class averages.
fn templates(
    ctx: &Ctx<'_>,
    params: &PickTemplates,
    geometry: Geometry,
) -> Result<(Bank, Templates), StageError> {
    match (ctx.optional_input("volume"), &params.class_averages) {
        (Some(input), None) => {
            let map = read_volume(&input.path)?;
            Ok(Bank::of_map(&map.data, map.voxel_xyz_a, params.symmetry, params.view_step, geometry))
        }
        (None, Some(path)) => {
            let path = ctx.resolve(&path.to_string_lossy());
            let (images, header_pixel_a) = read_stack(&path)?;
            let pixel_size_a = params.class_pixel_size.or(header_pixel_a).ok_or_else(|| {
                BadParam::new("class_pixel_size", "", "is required: the file does not say")
                    .hint("give the pixel size of the class averages in Å")
            })?;
            Ok(Bank::of_images(&images, pixel_size_a, geometry))
        }
        (Some(_), Some(_)) => Err(BadParam::new("class_averages", "", "is given beside a volume")
            .hint("give one of the two")
            .into()),
        (None, None) => Err(BadParam::new("class_averages", "", "is missing, and there is no volume")
            .hint("give --volume J1.volume, or --class-averages classes.mrcs")
            .into()),
    }
}

/// The images `[n, n]` of a stack and its pixel size in Å, if it says one.
fn read_stack(path: &Path) -> Result<(Vec<Array2<f32>>, Option<f64>), StageError> {
    let file = open_image(path)?;
    let header = file.header();
    let shape = (header.height, header.width);
    let mut images = Vec::with_capacity(header.frames);
    for index in 0..header.frames {
        let mut image = Array2::zeros(shape);
        let pixels = image.as_slice_mut().expect("a new image should be contiguous");
        file.read_frame_at(index, pixels)?;
        vitreous_formats::image::check_finite(path, pixels, shape.1, shape.0)?;
        images.push(image);
    }
    Ok((images, header.pixel_size_a))
}

fn write_picks(ctx: &Ctx<'_>, done: &[(&Exposure, Picked)], diameter_a: f64) -> Result<(), StageError> {
    const FILE: &str = "picks.h5";
    let all = || done.iter().flat_map(|(exposure, picked)| picked.found.iter().map(move |f| (exposure, f)));
    let pick = |(exposure, found): (&&Exposure, &Found)| Pick {
        exposure: exposure.name.clone(),
        x_px: found.x_px,
        y_px: found.y_px,
        score: found.score,
    };
    let set = PickSet {
        diameter_a,
        picks: all().map(pick).collect(),
        matches: all().map(|(_, f)| TemplateMatch { template: f.template, angle_deg: f.angle_deg }).collect(),
        surroundings: all().map(|(_, f)| f.around).collect(),
    };
    ctx.create_at_path(FILE, |path| table::picks::write(path, &set))?;
    ctx.output(Output::new("picks", Kind::Picks, FILE, set.picks.len() as u64));
    Ok(())
}
