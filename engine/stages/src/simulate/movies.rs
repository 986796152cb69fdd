//! Movies: one item of work each, then the tables of movies and of their truth.

use super::camera::Camera;
use super::exposure::{Exposed, Scene, Setup, disc_rms};
use super::motion::{Amount, Motion};
use super::potential::Potential;
use super::run::Microscope;
use super::specimen::Specimen;
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use vitreous_compute::fourier::next_5_smooth;
use vitreous_formats::FormatError;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::samples::SampleType;
use vitreous_formats::table::{self, ColumnDef, Table, TableError, TableWriter};
use vitreous_formats::tiff::{TiffSpec, TiffWriter};
use vitreous_jobs::simulate::{MovieFormat, Simulate};
use vitreous_model::dose::voltage_factor;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, GainFlip, MovieSource};
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;

const MOVIES: &str = "movies.h5";
const TRUTH: &str = "truth.h5";
const TRUE_EXPOSURES: &str = "truth_exposures.h5";
const TRUE_MOTION: &str = "truth_motion.h5";
const GAIN: &str = "gain.mrc";
/// Points along each axis at which the true motion is written.
const MOTION_GRID: usize = 5;
/// Room around a particle in its patch, pixels: the band limit makes edges ring.
const PATCH_MARGIN_PX: f64 = 16.0;

/// What is known of a finished movie.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MovieRecord {
    /// What was put in.
    pub scene: Scene,
    /// Mean counts of a pixel and frame.
    pub mean_counts: f64,
    /// Counts that did not fit the file's samples and were cut off.
    pub clipped: u64,
}

pub(super) fn simulate(
    ctx: &Ctx<'_>,
    params: &Simulate,
    microscope: &Microscope,
    specimen: &Specimen,
) -> Result<(Report, Vec<Output>), StageError> {
    let pixel_a = microscope.pixel_a;
    let size = [params.width as usize, params.height as usize];
    let camera = Camera::random(params.seed, size[0], size[1], params.gain_spread, params.defects as usize);
    let diameter_px = 2.0 * specimen.radius_a / pixel_a;
    let patch = next_5_smooth((diameter_px + 2.0 * PATCH_MARGIN_PX).ceil() as usize);
    let patch_px = patch + patch % 2;
    let potential = Potential::new(specimen, patch_px, pixel_a);
    let projection = potential.projection(Rotation::IDENTITY, [0.0; 2]).into_box();
    let damage_factor = voltage_factor(microscope.optics.voltage)
        .map_err(|e| BadParam::new("voltage", microscope.optics.voltage.0, e.to_string()))?;
    let setup = Setup {
        potential: &potential,
        patch_px,
        diameter_px,
        margin_px: 0.5 * f64::from(params.box_size) * microscope.truth_pixel_a / pixel_a,
        particles: params.particles_per_movie as usize,
        pixel_a,
        ice_rms: params.ice * disc_rms(&projection, 0.5 * diameter_px),
        amount: Amount {
            drift_px: params.drift / pixel_a,
            local_px: params.local_motion / pixel_a,
            fine_px: params.fine_motion / pixel_a,
            frames: params.frames as usize,
            dose_per_frame: params.dose_per_frame,
            size,
        },
        defocus_a: [params.min_defocus, params.max_defocus, params.max_astigmatism],
        optics: microscope.optics,
        damage_factor,
        camera: &camera,
        seed: params.seed,
    };
    let gain = camera.gain();
    if let Some(gain) = gain.as_ref().filter(|_| ctx.is_root()) {
        ctx.create_at_path(GAIN, |path| write_images(path, std::iter::once(gain), pixel_a))?;
    }
    let fingerprint = ctx.params.to_string();
    let name = |i: usize| Item { name: format!("movie_{:04}", i + 1), fingerprint: fingerprint.clone() };
    let items: Vec<Item> = (0..params.movies as usize).map(name).collect();
    let outcomes = for_each_item(ctx, "movies", &items, 0.0, |i| {
        let scene = Scene::random(&setup, i as u64);
        write_movie(ctx, &setup, scene, i as u64, &file_name(&items[i].name, params.format), params.format)
    })?;
    if !ctx.is_root() {
        return Ok((Report::new("Simulated movies"), Vec::new()));
    }
    let movies: Vec<(String, MovieRecord)> = items
        .into_iter()
        .zip(outcomes)
        .filter_map(|(item, outcome)| match outcome {
            Outcome::Done(record) => Some((item.name, record)),
            Outcome::Skipped(_) => None,
        })
        .collect();
    let outputs = write_tables(ctx, params, microscope, &movies, gain.is_some())?;
    let example = Exposed::new(&setup, &movies[0].1.scene, 0);
    let report = super::report::movies(params, microscope, &movies, &example, potential.radial_error());
    Ok((report, outputs))
}

fn file_name(movie: &str, format: MovieFormat) -> String {
    let extension = match format {
        MovieFormat::TiffLzw => "tif",
        MovieFormat::Mrc => "mrc",
    };
    format!("movies/{movie}.{extension}")
}

/// Exposes a scene frame by frame into its file.
fn write_movie(
    ctx: &Ctx<'_>,
    setup: &Setup<'_>,
    scene: Scene,
    index: u64,
    name: &str,
    format: MovieFormat,
) -> Result<MovieRecord, StageError> {
    let [width, height] = setup.amount.size;
    let frames = setup.amount.frames;
    let exposed = Exposed::new(setup, &scene, index);
    let (mut sum, mut clipped) = (0.0f64, 0u64);
    let mut next = |frame: usize, largest: f32| {
        let mut counts = exposed.frame(frame);
        for value in &mut counts {
            if *value > largest {
                *value = largest;
                clipped += 1;
            }
            sum += f64::from(*value);
        }
        counts
    };
    let slice = |counts: &Array2<f32>| counts.as_slice().expect("frames should be contiguous").to_vec();
    ctx.create_at_path(name, |path| -> Result<(), FormatError> {
        match format {
            MovieFormat::TiffLzw => {
                let spec = TiffSpec::movie(width, height, frames, SampleType::Uint8, setup.pixel_a);
                let mut writer = TiffWriter::create(path, spec)?;
                (0..frames).try_for_each(|f| writer.append(&slice(&next(f, 255.0))))?;
                writer.finish()?;
            }
            MovieFormat::Mrc => {
                let spec = MrcSpec::images(width, height, setup.pixel_a).sample(SampleType::Uint16);
                let mut writer = MrcWriter::create(path, spec)?;
                (0..frames).try_for_each(|f| writer.append(&slice(&next(f, 65_535.0))))?;
                writer.finish()?;
            }
        }
        Ok(())
    })?;
    let mean_counts = sum / (width * height * frames) as f64;
    Ok(MovieRecord { scene, mean_counts, clipped })
}

/// Writes images of one size as an MRC stack of floats.
pub(super) fn write_images<'i>(
    path: &Path,
    images: impl Iterator<Item = &'i Array2<f32>>,
    pixel_a: f64,
) -> Result<(), FormatError> {
    let mut images = images.peekable();
    let Some((height, width)) = images.peek().map(|image| image.dim()) else { return Ok(()) };
    let mut writer = MrcWriter::create(path, MrcSpec::images(width, height, pixel_a))?;
    images.try_for_each(|image| writer.append(image.as_slice().expect("images should be contiguous")))?;
    writer.finish()?;
    Ok(())
}

fn write_tables(
    ctx: &Ctx<'_>,
    params: &Simulate,
    microscope: &Microscope,
    movies: &[(String, MovieRecord)],
    has_gain: bool,
) -> Result<Vec<Output>, StageError> {
    let mut exposures = ExposureSet { optics: vec![microscope.optics_group()], exposures: Vec::new() };
    for (name, _) in movies {
        let source = MovieSource {
            path: ctx.table_path(&file_name(name, params.format)),
            frames: params.frames,
            width: params.width,
            height: params.height,
            pixel_size_a: microscope.pixel_a,
            dose_per_frame: params.dose_per_frame,
            pre_exposure: 0.0,
            gain_path: if has_gain { ctx.table_path(GAIN) } else { String::new() },
            gain_rotate: 0,
            gain_flip: GainFlip::None,
            defects_path: String::new(),
            eer: None,
        };
        exposures.exposures.push(Exposure {
            name: name.clone(),
            optics_group: 1,
            movie: Some(source),
            micrograph: None,
            motion: None,
            ctf: None,
        });
    }
    ctx.create_at_path(MOVIES, |path| table::exposures::write(path, Kind::Movies, &exposures))?;
    for (exposure, (_, record)) in exposures.exposures.iter_mut().zip(movies) {
        // the truth holds to the last pixel
        let fit_resolution_a = 2.0 * microscope.pixel_a;
        exposure.ctf = Some(CtfFit::new(record.scene.ctf, fit_resolution_a, 1.0));
    }
    ctx.create_at_path(TRUE_EXPOSURES, |path| table::exposures::write(path, Kind::Movies, &exposures))?;
    let particles = true_particles(params, microscope, movies);
    ctx.create_at_path(TRUTH, |path| table::particles::write(path, &particles))?;
    ctx.create_at_path(TRUE_MOTION, |path| write_motion(path, params, microscope.pixel_a, movies))?;
    let parts = [("truth_exposures", TRUE_EXPOSURES), ("truth_motion", TRUE_MOTION)];
    let parts: BTreeMap<String, String> = parts
        .into_iter()
        .chain(has_gain.then_some(("gain", GAIN)))
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    let movies = Output {
        parts,
        pixel_size_a: Some(microscope.pixel_a),
        frame_px: Some([params.width, params.height]),
        frames: Some(params.frames),
        ..Output::new("movies", Kind::Movies, MOVIES, exposures.exposures.len() as u64)
    };
    let truth = Output {
        pixel_size_a: Some(microscope.truth_pixel_a),
        box_px: Some(params.box_size),
        ..Output::new("truth", Kind::Particles, TRUTH, particles.particles.len() as u64)
    };
    Ok(vec![movies, truth])
}

/// Positions are those in the first frame, in pixels of the movie.
fn true_particles(
    params: &Simulate,
    microscope: &Microscope,
    movies: &[(String, MovieRecord)],
) -> ParticleSet {
    let mut particles = Vec::new();
    for (name, MovieRecord { scene, .. }) in movies {
        for ([x_px, y_px], rotation) in scene.positions_px.iter().zip(&scene.rotations) {
            particles.push(Particle {
                pick: Some(Pick { exposure: name.clone(), x_px: *x_px, y_px: *y_px, score: f64::NAN }),
                ctf: Some(scene.ctf),
                pose: Some(Pose { rotation: *rotation, shift_a: [0.0; 2] }),
                ..Particle::of_image(particles.len() as u64, "", 0)
            });
        }
    }
    ParticleSet {
        optics: vec![microscope.optics_group()],
        box_px: params.box_size,
        pixel_size_a: microscope.truth_pixel_a,
        particles,
    }
}

/// The true displacements on a grid of points, every frame of every movie.
fn write_motion(
    path: &Path,
    params: &Simulate,
    pixel_a: f64,
    movies: &[(String, MovieRecord)],
) -> Result<(), TableError> {
    let mut rows: Vec<(&str, u32, [f64; 2], [f64; 2])> = Vec::new();
    let along = |i: usize, n: u32| (i as f64 + 0.5) / MOTION_GRID as f64 * f64::from(n);
    for (name, record) in movies {
        let motion: &Motion = &record.scene.motion;
        for frame in 0..motion.frames() {
            for i in 0..MOTION_GRID * MOTION_GRID {
                let at = [along(i % MOTION_GRID, params.width), along(i / MOTION_GRID, params.height)];
                rows.push((name, frame as u32, at, motion.displacement(frame, at).map(|u| u * pixel_a)));
            }
        }
    }
    let mut table = Table::new("motion");
    let column = ColumnDef::new;
    table.text(column("exposure", "", "Name of the exposure"), rows.iter().map(|row| row.0));
    table.u32(column("frame", "", "Frame, from 0"), rows.iter().map(|row| row.1));
    table.f64(
        column("x_px", "px", "Column of a point of the specimen in the first frame"),
        rows.iter().map(|row| row.2[0]),
    );
    table.f64(column("y_px", "px", "Its row"), rows.iter().map(|row| row.2[1]));
    table.f64(column("dx_a", "Å", "Its displacement in this frame along x"), rows.iter().map(|row| row.3[0]));
    table.f64(column("dy_a", "Å", "The same along y"), rows.iter().map(|row| row.3[1]));
    let mut writer = TableWriter::create(path, "motion-truth")?;
    writer.attribute("grid", MOTION_GRID as u32)?;
    writer.write(&table)?;
    writer.write(&particle_motion(pixel_a, movies))?;
    writer.finish()
}

/// The true displacement of every particle in every frame.
fn particle_motion(pixel_a: f64, movies: &[(String, MovieRecord)]) -> Table {
    let scenes = movies.iter().flat_map(|(_, record)| {
        let scene = &record.scene;
        scene.positions_px.iter().map(|position| (&scene.motion, *position))
    });
    let rows: Vec<(u64, u32, [f64; 2])> = scenes
        .enumerate()
        .flat_map(|(id, (motion, position))| {
            (0..motion.frames()).map(move |frame| {
                (id as u64, frame as u32, motion.displacement(frame, position).map(|u| u * pixel_a))
            })
        })
        .collect();
    let mut table = Table::new("particle_motion");
    let column = ColumnDef::new;
    table.u64(column("particle_id", "", "Number of the particle in the truth"), rows.iter().map(|row| row.0));
    table.u32(column("frame", "", "Frame, from 0"), rows.iter().map(|row| row.1));
    table.f64(
        column("dx_a", "Å", "Its displacement in this frame from the first, along x"),
        rows.iter().map(|row| row.2[0]),
    );
    table.f64(column("dy_a", "Å", "The same along y"), rows.iter().map(|row| row.2[1]));
    table
}
