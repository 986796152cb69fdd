//! File → map in the wanted box, of the wanted hand and resolution. Rank 0 does it all; it takes seconds.

use super::{group, report};
use crate::{Ctx, StageError};
use ndarray::{Array3, ArrayView3};
use std::path::Path;
use vitreous_compute::fourier::{HalfVolume, low_pass_weight};
use vitreous_compute::map_alignment::rigid::mirrored;
use vitreous_compute::regrid::regridded;
use vitreous_formats::mrc::{self, Volume};
use vitreous_formats::table::particles;
use vitreous_jobs::import_volume::ImportVolume;
use vitreous_model::conventions::centre;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::params::BadParam;
use vitreous_model::report::Report;

/// Name of the map in the job's folder.
const MAP: &str = "map.mrc";
/// Fewer voxels along an axis are no map.
const LEAST_EDGE: usize = 8;
/// Larger boxes are refused ([`ImportVolume::validate`](vitreous_model::params::Validate) says the same of the parameter).
const LARGEST_BOX: usize = 4096;
/// Boxes with edges of a larger ratio are taken for stacks of images and not padded to a cube.
const LARGEST_EDGE_RATIO: usize = 4;
/// Width of the low-pass filter's cosine edge, Fourier pixels.
const LOW_PASS_EDGE: f64 = 2.0;

/// The wanted grid: a cube of `box_px` voxels of `pixel_size_a` (Å).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    pub box_px: usize,
    pub pixel_size_a: f64,
}

/// What was found in the file and done to it, for the report.
#[derive(Debug)]
pub struct Done {
    /// Voxels along x, y, z of the file.
    pub file_px: [usize; 3],
    /// Their edges along x, y, z, Å, after the correction by `pixel_size`.
    pub file_voxel_a: [f64; 3],
    /// The file says 1 Å, which programs write when they do not know it.
    pub is_pixel_size_doubtful: bool,
    /// Mean of the voxels on the six faces: what stands for the outside.
    pub border: f32,
    /// Fraction of the variance about `border` that lies outside the new box.
    pub cut_off: f64,
    /// The wanted grid.
    pub grid: Grid,
}

/// Does the job.
///
/// # Errors
/// A file that is no map, is cut off or holds NaN; a box that is far from a cube or too large.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ImportVolume = ctx.params()?;
    if !ctx.is_root() {
        return Ok(Report::new("Map"));
    }
    let given = params.volume.as_ref().ok_or_else(|| BadParam::new("volume", "", "is required"))?;
    let given = ctx.resolve(&given.to_string_lossy());
    let (path, said_a) =
        if group::is_dataset(&given) { group::map_of(ctx, &params, &given)? } else { (given, None) };
    let volume = mrc::read_volume(&path)?;
    let (nz, ny, nx) = volume.data.dim();
    let file_px = [nx, ny, nz];
    check_is_map(&path, file_px)?;
    // what a dataset says stands in for a header that does not know
    let pixel_size_a = params.pixel_size.or(said_a.filter(|_| volume.voxel_a == 1.0));
    let file_voxel_a = match pixel_size_a {
        Some(pixel) => [pixel; 3],
        // differences within the precision of headers are none
        None if volume.has_cubic_voxels() => [volume.voxel_a; 3],
        None => volume.voxel_xyz_a,
    };
    let grid = wanted_grid(ctx, &params, &path, file_px, file_voxel_a)?;
    let border = border_mean(volume.data.view());
    let done = Done {
        file_px,
        file_voxel_a,
        is_pixel_size_doubtful: pixel_size_a.is_none() && volume.voxel_a == 1.0,
        border,
        cut_off: cut_off(volume.data.view(), file_voxel_a, border, grid),
        grid,
    };
    let map = transformed(volume, &done, &params);
    ctx.check_stop()?;
    ctx.create_at_path(MAP, |path| {
        mrc::write_volume(path, &map, grid.pixel_size_a).map_err(StageError::writing)
    })?;
    ctx.output(Output {
        pixel_size_a: Some(grid.pixel_size_a),
        box_px: Some(grid.box_px as u32),
        ..Output::new("volume", Kind::Volume, MAP, 1)
    });
    Ok(report::make(&params, &done, &map))
}

fn check_is_map(path: &Path, file_px: [usize; 3]) -> Result<(), StageError> {
    if file_px.iter().all(|&n| n >= LEAST_EDGE) {
        return Ok(());
    }
    let [nx, ny, nz] = file_px;
    Err(StageError::input(
        format!(
            "{}: it has {nx} × {ny} × {nz} voxels, expected a map of at least {LEAST_EDGE} along every axis",
            path.display()
        ),
        "images are registered with `vitreous run import-micrographs` or `vitreous run import-particles`",
    ))
}

/// The grid that parameters or particles ask for; else the map's own, as a cube.
fn wanted_grid(
    ctx: &Ctx<'_>,
    params: &ImportVolume,
    path: &Path,
    file_px: [usize; 3],
    file_voxel_a: [f64; 3],
) -> Result<Grid, StageError> {
    let particles = particle_grid(ctx)?;
    let pixel_size_a =
        params.target_pixel_size.or(particles.map(|grid| grid.pixel_size_a)).unwrap_or(file_voxel_a[0]);
    let asked = params.target_box.map(|n| n as usize).or(particles.map(|grid| grid.box_px));
    if let Some(box_px) = asked {
        return Ok(Grid { box_px, pixel_size_a });
    }
    let [nx, ny, nz] = file_px;
    let (shortest, longest) = (nx.min(ny).min(nz), nx.max(ny).max(nz));
    if longest > LARGEST_EDGE_RATIO * shortest {
        return Err(StageError::input(
            format!(
                "{}: it has {nx} × {ny} × {nz} voxels; a box whose edges differ more than {LARGEST_EDGE_RATIO} times is not \
                 padded to a cube",
                path.display()
            ),
            "if it is a map and no stack of images, say which box to take: --target-box 256",
        ));
    }
    let box_px = own_box(file_px, file_voxel_a, pixel_size_a);
    if !(LEAST_EDGE..=LARGEST_BOX).contains(&box_px) {
        return Err(StageError::input(
            format!(
                "{}: the whole map in voxels of {pixel_size_a} Å needs a box of {box_px} px, expected {LEAST_EDGE} to {LARGEST_BOX}",
                path.display()
            ),
            "choose another --target-pixel-size, or give --target-box",
        ));
    }
    Ok(Grid { box_px, pixel_size_a })
}

/// Box and pixel size of the `particles` input, if it is filled.
fn particle_grid(ctx: &Ctx<'_>) -> Result<Option<Grid>, StageError> {
    let Some(input) = ctx.optional_input("particles") else { return Ok(None) };
    if let (Some(box_px), Some(pixel_size_a)) = (input.output.box_px, input.output.pixel_size_a) {
        return Ok(Some(Grid { box_px: box_px as usize, pixel_size_a }));
    }
    let set = particles::read(&input.path)?;
    Ok(Some(Grid { box_px: set.box_px as usize, pixel_size_a: set.pixel_size_a }))
}

/// Edge of the smallest cube of `pixel_size_a` voxels that holds the whole file; even if the pixel size changes.
fn own_box(file_px: [usize; 3], file_voxel_a: [f64; 3], pixel_size_a: f64) -> usize {
    let edges = file_px.iter().zip(file_voxel_a).map(|(&n, voxel)| n as f64 * voxel / pixel_size_a);
    let edge = edges.fold(0.0, f64::max);
    let is_own = file_voxel_a.iter().all(|voxel| (voxel / pixel_size_a - 1.0).abs() < 1e-6);
    // a hundredth of a voxel is rounding of the header
    if is_own { edge.round() as usize } else { 2 * ((edge - 0.01) / 2.0).ceil() as usize }
}

/// Mean over the voxels on the six faces of the box.
fn border_mean(map: ArrayView3<'_, f32>) -> f32 {
    let (nz, ny, nx) = map.dim();
    let at_end = |i: usize, n: usize| i == 0 || i == n - 1;
    let (mut sum, mut count) = (0.0, 0.0);
    for ((z, y, x), &value) in map.indexed_iter() {
        if at_end(z, nz) || at_end(y, ny) || at_end(x, nx) {
            sum += f64::from(value);
            count += 1.0;
        }
    }
    (sum / count) as f32
}

/// Fraction of the variance about `border` that the new box does not hold.
fn cut_off(map: ArrayView3<'_, f32>, voxel_a: [f64; 3], border: f32, grid: Grid) -> f64 {
    let (nz, ny, nx) = map.dim();
    let half_edge_a = 0.5 * grid.box_px as f64 * grid.pixel_size_a;
    let is_inside = |i: usize, n: usize, voxel: f64| {
        (i as f64 - centre(n) as f64).abs() * voxel <= half_edge_a + 0.5 * grid.pixel_size_a
    };
    let (mut all, mut outside) = (0.0, 0.0);
    for ((z, y, x), &value) in map.indexed_iter() {
        let square = f64::from(value - border).powi(2);
        all += square;
        if !(is_inside(z, nz, voxel_a[2]) && is_inside(y, ny, voxel_a[1]) && is_inside(x, nx, voxel_a[0])) {
            outside += square;
        }
    }
    if all > 0.0 { outside / all } else { 0.0 }
}

/// The map on the wanted grid, mirrored and low-passed as asked.
fn transformed(volume: Volume, done: &Done, params: &ImportVolume) -> Array3<f32> {
    let Grid { box_px, pixel_size_a } = done.grid;
    let mut map = regridded(volume.data.view(), done.file_voxel_a, box_px, pixel_size_a, done.border);
    drop(volume);
    if params.flip_hand {
        map = mirrored(map.view());
    }
    let Some(low_pass_a) = params.low_pass else { return map };
    let mut half = HalfVolume::of_box(map.view());
    drop(map);
    let radius = box_px as f64 * pixel_size_a / low_pass_a;
    half.weigh(|r| low_pass_weight(r, radius, LOW_PASS_EDGE));
    half.into_box()
}
