//! The maps: read, held against each other, written with the names and headers that a deposition wants.

use crate::half_maps::Halves;
use crate::{Ctx, Input, StageError};
use ndarray::Array3;
use std::path::Path;
use vitreous_formats::mrc::{Volume, read_volume, write_volume_to};

/// Voxel edges that differ by less, relative, are the same: headers hold them in single precision.
const SAME_VOXEL: f64 = 1e-4;
/// Origins that differ by less are the same, as a share of a voxel.
const SAME_ORIGIN: f64 = 0.01;
/// Extension and edge of the automatic mask, Å: as `sharpen` has them.
const MASK: (f64, f64) = (6.0, 8.0);

/// A map and what it is to the deposition.
pub(super) struct Named {
    /// The end of its file's name, after the prefix.
    pub suffix: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The map.
    pub volume: Volume,
}

/// The maps of a deposition, of one box, voxel size and origin.
pub(super) struct Maps {
    /// Primary map first, then the halves, then the mask, then the unsharpened map if the primary one is sharpened.
    pub named: Vec<Named>,
    /// Voxel edge, Å.
    pub voxel_a: f64,
    /// Position of the first voxel (x, y, z), Å.
    pub origin_a: [f64; 3],
    /// The mask was made here.
    pub own_mask: bool,
}

impl Maps {
    /// Reads them and makes a mask if none was given.
    ///
    /// # Errors
    /// No half maps, broken files, or maps that do not lie on one grid.
    pub fn load(ctx: &Ctx<'_>) -> Result<Self, StageError> {
        let input = ctx.input("volume")?;
        let halves = Halves::read(input)?;
        let refined = read_volume(&input.path)?;
        let (n, voxel_a) = (halves.n(), halves.pixel_a);
        let frame = Frame { n, voxel_a, origin_a: refined.origin_a, of: input.path.display().to_string() };
        frame.check(&input.path, &refined, input)?;
        let mut named = Vec::new();
        let sharpened = ctx.optional_input("sharpened");
        if let Some(input) = sharpened {
            let volume = read_volume(&input.path)?;
            frame.check(&input.path, &volume, input)?;
            named.push(Named { suffix: ".map", what: "primary map (sharpened)", volume });
        }
        let what = if sharpened.is_some() { "additional map (not sharpened)" } else { "primary map" };
        let suffix = if sharpened.is_some() { "_additional_1.map" } else { ".map" };
        let refined = Named { suffix, what, volume: refined };
        let ends = [("half1", "_half_map_1.map", "half map 1"), ("half2", "_half_map_2.map", "half map 2")];
        let mut half_maps = Vec::new();
        for (role, suffix, what) in ends {
            let path = &input.parts[role];
            let volume = read_volume(path)?;
            frame.check(path, &volume, input)?;
            half_maps.push(Named { suffix, what, volume });
        }
        let given = ctx.optional_input("mask");
        let mask = match given {
            Some(input) => {
                let volume = read_volume(&input.path)?;
                frame.check(&input.path, &volume, input)?;
                volume
            }
            None => {
                Volume { data: halves.automatic_mask(None, MASK.0, MASK.1)?, ..half_maps[0].volume.clone() }
            }
        };
        let mask = Named { suffix: "_msk_1.map", what: "mask of the FSC", volume: mask };
        if sharpened.is_some() {
            named.extend(half_maps);
            named.extend([mask, refined]);
        } else {
            named.push(refined);
            named.extend(half_maps);
            named.push(mask);
        }
        Ok(Self { named, voxel_a, origin_a: frame.origin_a, own_mask: given.is_none() })
    }

    /// Edge of the box, voxels.
    pub fn n(&self) -> usize {
        self.named[0].volume.data.dim().0
    }

    /// The map whose name ends so.
    pub fn of(&self, suffix: &str) -> &Array3<f32> {
        let named = self.named.iter().find(|named| named.suffix == suffix);
        &named.expect("a deposition should have this map").volume.data
    }

    /// Writes every map; returns their names.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, ctx: &Ctx<'_>, prefix: &str) -> Result<Vec<String>, StageError> {
        let mut files = Vec::new();
        for named in &self.named {
            let file = format!("{prefix}{}", named.suffix);
            let path = ctx.job_dir.join(&file);
            ctx.create(&file, |out| {
                write_volume_to(out, &path, &named.volume.data, self.voxel_a, self.origin_a)
                    .map_err(StageError::writing)
            })?;
            files.push(file);
        }
        Ok(files)
    }
}

/// The grid that all maps share.
struct Frame {
    n: usize,
    voxel_a: f64,
    origin_a: [f64; 3],
    /// The map it was taken from.
    of: String,
}

impl Frame {
    /// Refuses a map on another grid. What a job says of its pixel size goes before the header.
    fn check(&self, path: &Path, volume: &Volume, input: &Input) -> Result<(), StageError> {
        let refuse = |found: String, expected: String| {
            StageError::input(
                format!("{}: found {found}, expected {expected} as {}", path.display(), self.of),
                "a deposition's maps share one grid: bring them there with resample-volume, or give those of one job",
            )
        };
        let (z, y, x) = volume.data.dim();
        if (z, y, x) != (self.n, self.n, self.n) {
            return Err(refuse(format!("{x} × {y} × {z} voxels"), format!("{0} × {0} × {0}", self.n)));
        }
        let voxel_a = input.output.pixel_size_a.unwrap_or(volume.voxel_a);
        if (voxel_a / self.voxel_a - 1.0).abs() > SAME_VOXEL || !volume.has_cubic_voxels() {
            let [x, y, z] = volume.voxel_xyz_a;
            let found = format!("voxels of {x:.5} × {y:.5} × {z:.5} Å ({voxel_a:.5} Å by its job)");
            return Err(refuse(found, format!("{:.5} Å", self.voxel_a)));
        }
        let apart = |axis: usize| (volume.origin_a[axis] - self.origin_a[axis]).abs();
        if (0..3).any(|axis| apart(axis) > SAME_ORIGIN * self.voxel_a) {
            let text = |[x, y, z]: [f64; 3]| format!("its first voxel at ({x:.3}, {y:.3}, {z:.3}) Å");
            return Err(refuse(text(volume.origin_a), text(self.origin_a)));
        }
        Ok(())
    }
}
