//! The course of the job: prepare the specimen, write the true map, then movies or particle images.

use super::potential::Potential;
use super::specimen::{self, Preparation, Specimen};
use super::{movies, particles};
use crate::{Ctx, StageError};
use ndarray::Array3;
use vitreous_formats::mrc::write_volume;
use vitreous_jobs::simulate::{Product, Simulate};
use vitreous_model::aberrations::Aberrations;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

/// Name of the true map.
const VOLUME: &str = "truth.mrc";

/// Parameters that a user must give, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Microscope {
    /// Pixel size of movies or images, Å.
    pub pixel_a: f64,
    /// Pixel size of the true map, Å.
    pub truth_pixel_a: f64,
    /// CTF without defocus.
    pub optics: CtfParams,
    /// Further errors of the lenses, of particle images only.
    pub aberrations: Aberrations,
}

impl Microscope {
    fn of(params: &Simulate) -> Result<Self, BadParam> {
        let need = |key: &str, value: Option<f64>| {
            value.ok_or_else(|| {
                BadParam::new(key, "", "is required").hint("give it, or set it for the project at init")
            })
        };
        let pixel_a = need("pixel_size", params.pixel_size)?;
        let aberrations = aberrations_of(params);
        Ok(Self {
            pixel_a,
            truth_pixel_a: params.truth_pixel_size.unwrap_or(pixel_a),
            optics: CtfParams {
                defocus_u_a: 0.0,
                defocus_v_a: 0.0,
                astigmatism_angle: Degrees(0.0),
                phase_shift: Degrees(0.0),
                voltage: Kilovolt(need("voltage", params.voltage)?),
                cs: Millimetre(need("cs", params.cs)?),
                amplitude_contrast: need("amplitude_contrast", params.amplitude_contrast)?,
                even: aberrations.even,
            },
            aberrations,
        })
    }

    /// The one optics group of everything simulated.
    pub fn optics_group(&self) -> OpticsGroup {
        OpticsGroup {
            number: 1,
            name: "simulated".into(),
            voltage: self.optics.voltage,
            cs: self.optics.cs,
            amplitude_contrast: self.optics.amplitude_contrast,
            movie_pixel_size_a: self.pixel_a,
            aberrations: self.aberrations,
        }
    }
}

/// The aberrations that were asked for.
fn aberrations_of(params: &Simulate) -> Aberrations {
    let beam_tilt_mrad = [params.beam_tilt_x, params.beam_tilt_y];
    let mut own = Aberrations { beam_tilt_mrad, ..Aberrations::default() };
    (own.odd[5], own.odd[2]) = (params.trefoil_x, params.trefoil_y);
    (own.even.zernike[8], own.even.zernike[4]) = (params.tetrafoil_x, params.tetrafoil_y);
    if params.anisotropy != 0.0 {
        // longer by half of it along one direction, shorter by half across
        let (sin, cos) = (2.0 * params.anisotropy_angle.to_radians()).sin_cos();
        let half = 0.5 * params.anisotropy;
        own.magnification = [[1.0 + half * cos, half * sin], [half * sin, 1.0 - half * cos]];
    }
    own
}

pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: Simulate = ctx.params()?;
    let microscope = Microscope::of(&params)?;
    let model = params.model.as_ref().map(|path| ctx.resolve(&path.to_string_lossy()));
    let model = model.ok_or_else(|| BadParam::new("model", "", "is required"))?;
    let moving = params.moving.as_ref().map(|path| ctx.resolve(&path.to_string_lossy()));
    let specimen = specimen::load(
        &model,
        Preparation {
            assembly: &params.assembly,
            symmetry: params.symmetry,
            b_a2: params.bfactor,
            use_deposited_b: params.deposited_bfactors,
            moving: moving.as_deref(),
        },
    )?;
    check_box(&params, &microscope, &specimen)?;
    let truth = Potential::new(&specimen, params.box_size as usize, microscope.truth_pixel_a).volume();
    let (mut report, outputs) = match params.product {
        Product::Movies => movies::simulate(ctx, &params, &microscope, &specimen)?,
        Product::Particles => particles::simulate(ctx, &params, &microscope, &specimen)?,
    };
    if ctx.is_root() {
        write_truth(ctx, &truth, microscope.truth_pixel_a)?;
        outputs.into_iter().for_each(|output| ctx.output(output));
        ctx.output(Output {
            pixel_size_a: Some(microscope.truth_pixel_a),
            box_px: Some(params.box_size),
            ..Output::new("volume", Kind::Volume, VOLUME, 1)
        });
        super::report::add_specimen(&mut report, &specimen, truth.view(), microscope.truth_pixel_a);
    }
    report.skipped = ctx.skipped();
    Ok(report)
}

/// Refuses boxes that the molecule does not fit into, and movies that a particle does not fit into.
fn check_box(params: &Simulate, microscope: &Microscope, specimen: &Specimen) -> Result<(), BadParam> {
    let diameter = 2.0 * specimen.radius_a;
    let edge = f64::from(params.box_size) * microscope.truth_pixel_a;
    if edge < diameter {
        let least = (diameter / microscope.truth_pixel_a).ceil();
        let why = format!("is {edge:.0} Å, but {} is {diameter:.0} Å across", specimen.name);
        return Err(
            BadParam::new("box_size", params.box_size, why).hint(format!("set it to {least} or more"))
        );
    }
    let frame = f64::from(params.width.min(params.height)) * microscope.pixel_a;
    if params.product == Product::Movies
        && frame < edge + 2.0 * (params.drift + params.local_motion + 4.0 * params.fine_motion)
    {
        let why = format!("gives frames of {frame:.0} Å, too small for a box of {edge:.0} Å and the motion");
        return Err(BadParam::new("width", params.width, why).hint("make frames larger or the box smaller"));
    }
    Ok(())
}

fn write_truth(ctx: &Ctx<'_>, map: &Array3<f32>, voxel_a: f64) -> Result<(), StageError> {
    ctx.create_at_path(VOLUME, |path| write_volume(path, map, voxel_a))?;
    Ok(())
}
