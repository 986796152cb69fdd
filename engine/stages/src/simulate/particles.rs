//! Particle images: stacks of up to a thousand, one item of work each, then the tables.

use super::micelle::Micelle;
use super::movies::write_images;
use super::potential::Potential;
use super::run::Microscope;
use super::specimen::Specimen;
use super::stacks::{ImageSetup, ImageTruth};
use crate::items::{Item, Outcome, for_each_item};
use crate::{Ctx, StageError};
use ndarray::Array2;
use rayon::prelude::*;
use vitreous_formats::table;
use vitreous_jobs::simulate::Simulate;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::report::Report;

const PARTICLES: &str = "particles.h5";
const TRUTH: &str = "truth.h5";
const TRUTH_MOVING: &str = "truth_moving.h5";
/// Images of a stack.
const STACK: usize = 1000;
/// Edge of the box in which images with aberrations or curvature are made, in boxes.
const ROOM: usize = 2;
/// Images in the report.
pub(super) const SHOWN: usize = 12;

pub(super) fn simulate(
    ctx: &Ctx<'_>,
    params: &Simulate,
    microscope: &Microscope,
    specimen: &Specimen,
) -> Result<(Report, Vec<Output>), StageError> {
    let box_px = params.box_size as usize;
    // with these what the CTF spreads beyond the box is cut off, as by extraction, and does not come back on the other side
    let room = if microscope.aberrations.is_none() && !params.ewald { 1 } else { ROOM };
    let potential = Potential::new(specimen, room * box_px, microscope.pixel_a);
    let micelle = Micelle::new(specimen, params.detergent);
    check_micelle(params, microscope, micelle.as_ref())?;
    let hinge_a = specimen.moving.map(|part| part.hinge_a);
    let setup = ImageSetup {
        box_px,
        potential: &potential,
        pixel_a: microscope.pixel_a,
        defocus_a: [params.min_defocus, params.max_defocus, params.max_astigmatism],
        optics: microscope.optics,
        aberrations: microscope.aberrations,
        layers: params.ewald,
        shift_a: params.shift,
        moving_rad: params.moving_angle.to_radians(),
        hinge_a,
        micelle: micelle.as_ref(),
        seed: params.seed,
    };
    let count = params.particles as usize;
    let scale = (params.snr / setup.signal_variance(count as u64)).sqrt();
    let fingerprint = ctx.params.to_string();
    let stack = |i: usize| Item { name: format!("stack_{:04}", i + 1), fingerprint: fingerprint.clone() };
    let items: Vec<Item> = (0..count.div_ceil(STACK)).map(stack).collect();
    let file = |item: &Item| format!("stacks/{}.mrcs", item.name);
    let outcomes = for_each_item(ctx, "stacks", &items, 0.0, |i| {
        let range = i * STACK..((i + 1) * STACK).min(count);
        let make = |index: usize| {
            let truth = setup.truth(index as u64);
            (truth, setup.image(index as u64, &truth, scale))
        };
        let made: Vec<(ImageTruth, Array2<f32>)> = range.into_par_iter().map(make).collect();
        let images = made.iter().map(|(_, image)| image);
        ctx.create_at_path(&file(&items[i]), |path| write_images(path, images, microscope.pixel_a))?;
        Ok(made.iter().map(|(truth, _)| *truth).collect::<Vec<ImageTruth>>())
    })?;
    if !ctx.is_root() {
        return Ok((Report::new("Simulated particles"), Vec::new()));
    }
    let mut particles = Vec::with_capacity(count);
    let mut moving = Vec::new();
    for (item, outcome) in items.iter().zip(outcomes) {
        let Outcome::Done(truths) = outcome else { continue };
        let stack_path = ctx.table_path(&file(item));
        particles.extend(truths.iter().enumerate().map(|(i, truth)| Particle {
            ctf: Some(truth.ctf),
            pose: Some(truth.pose),
            ..Particle::of_image(0, &stack_path, i as u32)
        }));
        moving.extend(hinge_a.iter().flat_map(|&hinge| truths.iter().map(move |t| t.moving_pose(hinge))));
    }
    particles.iter_mut().enumerate().for_each(|(i, particle)| particle.id = i as u64);
    let truth = ParticleSet {
        optics: vec![microscope.optics_group()],
        box_px: params.box_size,
        pixel_size_a: microscope.pixel_a,
        particles,
    };
    let mut outputs = write_tables(ctx, params, &setup, &truth)?;
    if hinge_a.is_some() {
        let mut of_part = truth.clone();
        of_part.particles.iter_mut().zip(moving).for_each(|(particle, pose)| particle.pose = Some(pose));
        ctx.create_at_path(TRUTH_MOVING, |path| table::particles::write(path, &of_part))?;
        outputs.push(table_output(&of_part, "truth_moving", TRUTH_MOVING));
    }
    let shown: Vec<ImageTruth> = (0..SHOWN.min(count)).map(|i| setup.truth(i as u64)).collect();
    let noisy = shown.iter().enumerate().map(|(i, truth)| setup.image(i as u64, truth, scale)).collect();
    let clean = shown.iter().enumerate().map(|(i, truth)| setup.signal(i as u64, truth)).collect();
    let report = super::report::particles(params, &truth, noisy, clean, potential.radial_error());
    Ok((report, outputs))
}

/// The truth, and the same particles as a microscope gives them: without poses, unless they are to be kept, with errors
/// of the defocus if wanted, and with aberrations that nobody knows of.
fn write_tables(
    ctx: &Ctx<'_>,
    params: &Simulate,
    setup: &ImageSetup<'_>,
    truth: &ParticleSet,
) -> Result<Vec<Output>, StageError> {
    ctx.create_at_path(TRUTH, |path| table::particles::write(path, truth))?;
    let mut measured = truth.clone();
    measured.optics.iter_mut().for_each(|group| group.aberrations = Aberrations::default());
    for (index, particle) in measured.particles.iter_mut().enumerate() {
        if params.keep_poses {
            particle.half = Some(HalfSet::BOTH[index % 2]);
        } else {
            particle.pose = None;
        }
        if let (Some(ctf), true) = (&mut particle.ctf, setup.aberrations.has_magnification()) {
            // what a fit of the image's spectrum would find
            *ctf = ctf.seen_through(setup.aberrations.magnification);
        }
        if let (Some(pose), true) = (&mut particle.pose, setup.aberrations.has_magnification()) {
            pose.shift_a = setup.aberrations.shift_with(pose.shift_a);
        }
        if let (Some(ctf), true) = (&mut particle.ctf, params.defocus_error > 0.0) {
            let error_a = setup.defocus_error_a(index as u64, params.defocus_error);
            ctf.defocus_u_a += error_a;
            ctf.defocus_v_a += error_a;
        }
    }
    measured.share_even_aberrations();
    ctx.create_at_path(PARTICLES, |path| table::particles::write(path, &measured))?;
    Ok(vec![table_output(truth, "particles", PARTICLES), table_output(truth, "truth", TRUTH)])
}

fn table_output(set: &ParticleSet, slot: &str, path: &str) -> Output {
    Output {
        pixel_size_a: Some(set.pixel_size_a),
        box_px: Some(set.box_px),
        ..Output::new(slot, Kind::Particles, path, set.particles.len() as u64)
    }
}

/// Refuses a micelle that was asked for and has no place: no membrane in the model, or no room in the box.
fn check_micelle(
    params: &Simulate,
    microscope: &Microscope,
    micelle: Option<&Micelle>,
) -> Result<(), BadParam> {
    if params.detergent == 0 {
        return Ok(());
    }
    let Some(micelle) = micelle else {
        let why = "needs a model with atoms about z = 0, where the membrane is";
        return Err(BadParam::new("detergent", params.detergent, why)
            .hint("orient the model: the membrane's normal along z, its middle at z = 0"));
    };
    let (edge, diameter) = (f64::from(params.box_size) * microscope.pixel_a, 2.0 * micelle.reach_a());
    if edge < diameter {
        let why = format!("is {edge:.0} Å, but the micelle is {diameter:.0} Å across");
        let least = (diameter / microscope.pixel_a).ceil();
        return Err(
            BadParam::new("box_size", params.box_size, why).hint(format!("set it to {least} or more"))
        );
    }
    Ok(())
}
