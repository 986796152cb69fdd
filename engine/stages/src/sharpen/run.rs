//! The sequence: read the halves, mask, compare, fit the fall-off, sharpen, write.

use super::report;
use crate::{Ctx, StageError};
use ndarray::Array3;
use std::path::Path;
use vitreous_compute::fourier::HalfVolume;
use vitreous_compute::fsc::{CorrectedFsc, corrected_fsc, fsc_of_maps};
use vitreous_compute::mask::{AutoMask, Level, USUAL_LEAST_PART, USUAL_LEVEL, auto_mask};
use vitreous_compute::sharpen::{Guinier, Sharpening, guinier_fit, sharpened};
use vitreous_formats::mrc;
use vitreous_jobs::sharpen::Sharpen;
use vitreous_model::conventions::resolution_at;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::report::Report;

/// The map is low-passed to this for the mask, or to 1.5 times its resolution if that is coarser.
const MASK_LOW_PASS_A: f64 = 12.0;

/// Two half maps of one box.
pub struct Halves {
    /// The maps.
    pub maps: [Array3<f32>; 2],
    /// Voxel edge, Å.
    pub pixel_a: f64,
}

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
    let halves = read_halves(ctx)?;
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
    let mean = (one + two) * 0.5;
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

fn read_halves(ctx: &Ctx<'_>) -> Result<Halves, StageError> {
    let input = ctx.input("volume")?;
    let part = |role: &str| {
        input.parts.get(role).ok_or_else(|| {
            StageError::input(
                format!("the map of {} has no part `{role}`: there are no half maps to compare", input.job),
                "give a map made by refine-homogeneous or reconstruct",
            )
        })
    };
    let (first, second) = (part("half1")?, part("half2")?);
    let (one, two) = (mrc::read_volume(first)?, mrc::read_volume(second)?);
    let shape = one.data.dim();
    if shape.0 != shape.1 || shape.1 != shape.2 {
        return Err(misfit(first, shape, "a cube"));
    }
    if two.data.dim() != shape {
        return Err(misfit(
            second,
            two.data.dim(),
            &format!("{0} × {0} × {0} as {1}", shape.0, first.display()),
        ));
    }
    let pixel_a = input.output.pixel_size_a.unwrap_or(one.voxel_a);
    Ok(Halves { maps: [one.data, two.data], pixel_a })
}

fn misfit(path: &Path, (z, y, x): (usize, usize, usize), expected: &str) -> StageError {
    StageError::input(
        format!("{}: found {x} × {y} × {z} voxels, expected {expected}", path.display()),
        "both halves and the mask must have the same cubic box",
    )
}

/// The mask given, or one made from the mean of the halves.
fn mask_of(ctx: &Ctx<'_>, params: &Sharpen, halves: &Halves) -> Result<Array3<f32>, StageError> {
    let [one, two] = &halves.maps;
    if let Some(input) = ctx.optional_input("mask") {
        let mask = mrc::read_volume(&input.path)?.data;
        let fits = mask.dim() == one.dim();
        let n = one.dim().0;
        return if fits {
            Ok(mask)
        } else {
            Err(misfit(&input.path, mask.dim(), &format!("{n} × {n} × {n}")))
        };
    }
    let (n, pixel_a) = (one.dim().0, halves.pixel_a);
    let (rough_a, _) = resolution_at(&fsc_of_maps(one.view(), two.view(), None), 0.143, n, pixel_a);
    let low_pass_a = MASK_LOW_PASS_A.max(1.5 * rough_a);
    let how = AutoMask {
        low_pass_radius: n as f64 * pixel_a / low_pass_a,
        level: Level::OfHigh(params.mask_level.unwrap_or(USUAL_LEVEL)),
        least_part: USUAL_LEAST_PART,
        extend_px: params.mask_extend / pixel_a,
        edge_px: params.mask_edge / pixel_a,
    };
    let mean = (one + two) * 0.5;
    auto_mask(mean.view(), &how)
        .map(|masked| masked.mask)
        .map_err(|error| StageError::input(error.to_string(), "give a mask, or another mask_level"))
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
