//! The sequence: both maps on one grid, the search, the moved maps, the turned poses. Rank 0 does all of it.

use super::{poses, report};
use crate::particle_sets::{self, PIXEL_TOLERANCE};
use crate::{Ctx, Input, StageError, cubic_map};
use ndarray::Array3;
use std::path::Path;
use vitreous_compute::map_alignment::{Alignment, align};
use vitreous_compute::regrid::regridded;
use vitreous_compute::sharpen::low_passed;
use vitreous_formats::{mrc, table};
use vitreous_jobs::align_maps::AlignMaps;
use vitreous_model::event::EventKind;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::Validate;
use vitreous_model::report::Report;

/// Name of the map in the job's folder.
const MAP: &str = "map.mrc";
/// Width of the low-pass filter's cosine edge, Fourier pixels.
const LOW_PASS_EDGE: f64 = 2.0;

/// A cubic map with its voxel edge.
pub(super) struct Map {
    /// `[n, n, n]`.
    pub data: Array3<f32>,
    /// Å.
    pub voxel_a: f64,
}

impl Map {
    fn read(path: &Path, known_voxel_a: Option<f64>) -> Result<Self, StageError> {
        let volume = cubic_map::read(path)?;
        Ok(Self { data: volume.data, voxel_a: known_voxel_a.unwrap_or(volume.voxel_a) })
    }

    /// The map on the grid of another, 0 outside its own box.
    fn on_grid_of(self, other: &Self) -> Self {
        let n = other.data.dim().0;
        if self.has_grid_of(other) {
            return Self { voxel_a: other.voxel_a, ..self };
        }
        let data = regridded(self.data.view(), [self.voxel_a; 3], n, other.voxel_a, 0.0);
        Self { data, voxel_a: other.voxel_a }
    }

    fn has_grid_of(&self, other: &Self) -> bool {
        self.data.dim() == other.data.dim() && (self.voxel_a / other.voxel_a - 1.0).abs() < PIXEL_TOLERANCE
    }
}

/// What came out.
pub(super) struct Aligned {
    /// Where the map lies.
    pub alignment: Alignment,
    /// The reference.
    pub reference: Map,
    /// The map on the reference's grid, not moved.
    pub before: Array3<f32>,
    /// The moved map.
    pub after: Array3<f32>,
    /// The map's own box edge and voxel edge (Å), where they are not the reference's.
    pub own_grid: Option<(usize, f64)>,
}

/// Does the job.
///
/// # Errors
/// Maps that are missing, broken, no cubes or flat; files that cannot be written.
pub(super) fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: AlignMaps = ctx.params()?;
    params.validate()?;
    if !ctx.is_root() {
        return Ok(Report::new(""));
    }
    let (input, fixed) = (ctx.input("volume")?, ctx.input("reference")?);
    let reference = Map::read(&fixed.path, fixed.output.pixel_size_a)?;
    let given = Map::read(&input.path, input.output.pixel_size_a)?;
    for (map, path) in [(&reference, &fixed.path), (&given, &input.path)] {
        refuse_flat(map, path)?;
    }
    let own_grid = (!given.has_grid_of(&reference)).then_some((given.data.dim().0, given.voxel_a));
    let before = given.on_grid_of(&reference);
    ctx.say(EventKind::Phase { name: "search".into(), total: 0 });
    let alignment = search(&params, &reference, &before);
    ctx.check_stop()?;
    let after = alignment.apply(before.data.view());
    let voxel_a = reference.voxel_a;
    write(ctx, MAP, &after, voxel_a)?;
    let mut output = Output {
        pixel_size_a: Some(voxel_a),
        box_px: Some(after.dim().0 as u32),
        ..Output::new("volume", Kind::Volume, MAP, 1)
    };
    for (role, path) in &input.parts {
        let part = Map::read(path, input.output.pixel_size_a)?.on_grid_of(&reference);
        let file = format!("map_{role}.mrc");
        write(ctx, &file, &alignment.apply(part.data.view()), voxel_a)?;
        output.parts.insert(role.clone(), file);
    }
    ctx.output(output);
    let turned = match ctx.optional_input("particles") {
        Some(particles) => Some(turn(ctx, particles, &alignment, voxel_a)?),
        None => None,
    };
    let aligned = Aligned { alignment, reference, before: before.data, after, own_grid };
    Ok(report::report(&aligned, turned))
}

fn refuse_flat(map: &Map, path: &Path) -> Result<(), StageError> {
    let first = map.data.first().copied().unwrap_or(0.0);
    if map.data.iter().any(|&value| value != first) {
        return Ok(());
    }
    Err(StageError::input(
        format!("{}: every voxel is {first}, expected a map with density", path.display()),
        "look at the map's report; give another",
    ))
}

fn search(params: &AlignMaps, reference: &Map, moving: &Map) -> Alignment {
    if params.low_pass == 0.0 {
        return align(reference.data.view(), moving.data.view(), params.both_hands);
    }
    let [fixed, moving] = [reference, moving]
        .map(|map| low_passed(map.data.view(), map.voxel_a, params.low_pass, LOW_PASS_EDGE));
    align(fixed.view(), moving.view(), params.both_hands)
}

fn write(ctx: &Ctx<'_>, file: &str, map: &Array3<f32>, voxel_a: f64) -> Result<(), StageError> {
    ctx.create_at_path(file, |path| mrc::write_volume(path, map, voxel_a).map_err(StageError::writing))?;
    Ok(())
}

/// Writes the particles with the poses of the moved map; returns how many had one.
fn turn(ctx: &Ctx<'_>, input: &Input, alignment: &Alignment, voxel_a: f64) -> Result<usize, StageError> {
    let mut set = table::particles::read(&input.path)?;
    let mut turned = 0;
    for pose in set.particles.iter_mut().filter_map(|particle| particle.pose.as_mut()) {
        *pose = poses::moved(*pose, alignment, voxel_a);
        turned += 1;
    }
    particle_sets::write(ctx, "particles", &set)?;
    Ok(turned)
}
