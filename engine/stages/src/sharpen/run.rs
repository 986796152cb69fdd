//! The sequence: read the halves, mask, compare, fit the fall-off, sharpen, write.

use super::report;
use crate::half_maps::Halves;
use crate::{Ctx, StageError};
use ndarray::Array3;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::{CorrectedFsc, corrected_fsc};
use vitreous_compute::sharpen::{Guinier, Sharpening, guinier_fit, sharpened};
use vitreous_formats::mrc;
use vitreous_jobs::sharpen::Sharpen;
use vitreous_model::conventions::resolution_at;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

/// What came out.
pub struct Sharpened {
    /// The sharpened map.
    pub map: Array3<f32>,
    /// The mask.
    pub mask: Array3<f32>,
    /// The curves.
    pub fsc: CorrectedFsc,
    /// Resolution at FSC 0.143 in Å, and whether the curve fell under it.
    pub resolution: (f64, bool),
    /// The Guinier fit, if there could be one.
    pub guinier: Option<Guinier>,
    /// The B-factor applied, Å².
    pub b_factor_a2: f64,
    /// Remarks.
    pub notes: Vec<String>,
}

/// Does the job; rank 0 does all of it.
///
/// # Errors
/// Half maps or a mask that are missing, broken or do not fit; files that cannot be written.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: Sharpen = ctx.params()?;
    if !ctx.is_root() {
        return Ok(Report::new("Sharpening"));
    }
    let halves = Halves::read(ctx.input("volume")?)?;
    ctx.say(EventKind::Phase { name: "sharpen".into(), total: 0 });
    let mask = mask_of(ctx, &params, &halves)?;
    let result = sharpen(&params, &halves, mask);
    write(ctx, &result, &halves)?;
    Ok(report::report(&result, &halves))
}

/// Measures, sharpens and filters.
fn sharpen(params: &Sharpen, halves: &Halves, mask: Array3<f32>) -> Sharpened {
    let [one, two] = &halves.maps;
    let (n, pixel_a) = (one.dim().0, halves.pixel_a);
    let fsc = corrected_fsc(one.view(), two.view(), mask.view(), params.seed);
    let resolution = resolution_at(&fsc.corrected, 0.143, n, pixel_a);
    let mean = halves.mean();
    let masked = HalfVolume::of_box((&mean * &mask).view());
    let fit = guinier_fit(&masked, &fsc.corrected, pixel_a, params.guinier_from, resolution.0);
    let mut notes = Vec::new();
    let b_factor_a2 = match (params.bfactor, &fit) {
        (Some(given), _) => given,
        (None, Ok(fit)) => fit.b_factor_a2,
        (None, Err(error)) => {
            notes.push(format!("The map was filtered but not sharpened: {error}."));
            0.0
        }
    };
    if b_factor_a2 > 0.0 && params.bfactor.is_none() {
        notes.push(
            "The fitted B-factor is positive: amplitudes rise towards high resolution, as noise does.".into(),
        );
    }
    let how = Sharpening { b_factor_a2, fsc: fsc.corrected.clone(), low_pass_a: resolution.0 };
    let map = sharpened(HalfVolume::of_box(mean.view()), &how, pixel_a);
    Sharpened { map, mask, fsc, resolution, guinier: fit.ok(), b_factor_a2, notes }
}

/// The mask given, or one made from the mean of the halves.
fn mask_of(ctx: &Ctx<'_>, params: &Sharpen, halves: &Halves) -> Result<Array3<f32>, StageError> {
    match ctx.optional_input("mask") {
        Some(input) => halves.mask(&input.path),
        None => halves.automatic_mask(params.mask_level, params.mask_extend, params.mask_edge),
    }
}

fn write(ctx: &Ctx<'_>, result: &Sharpened, halves: &Halves) -> Result<(), StageError> {
    let pixel_a = halves.pixel_a;
    let n = result.map.dim().0 as u32;
    let described = |slot: &str, kind, file: &str| {
        let mut output = Output::new(slot, kind, file, 1);
        output.pixel_size_a = Some(pixel_a);
        output.box_px = Some(n);
        output
    };
    ctx.create_at_path("map.mrc", |path| mrc::write_volume(path, &result.map, pixel_a))?;
    ctx.create_at_path("map_masked.mrc", |path| {
        mrc::write_volume(path, &(&result.map * &result.mask), pixel_a)
    })?;
    ctx.create_at_path("mask.mrc", |path| mrc::write_volume(path, &result.mask, pixel_a))?;
    let mut volume = described("volume", Kind::Volume, "map.mrc");
    volume.parts.insert("masked".into(), "map_masked.mrc".into());
    for (role, half) in ["half1", "half2"].into_iter().zip(&halves.maps) {
        let file = format!("{role}.mrc");
        ctx.create_at_path(&file, |path| mrc::write_volume(path, half, pixel_a))?;
        volume.parts.insert(role.into(), file);
    }
    ctx.output(volume);
    ctx.output(described("mask", Kind::Mask, "mask.mrc"));
    Ok(())
}
