//! Tables → datasets and groups. It takes seconds, so rank 0 does it alone.

use super::paths::named;
use crate::{Ctx, Input, StageError};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use vitreous_formats::cryosparc::convert::{
    ExportOptions, Exported, VolumeOut, VolumeSlot, exposure_fields, particle_fields, volume_fields,
};
use vitreous_formats::cryosparc::{
    CsError, EXPOSURE, FieldOut, GroupOut, PARTICLE, ResultOut, VOLUME, write_dataset, write_group,
};
use vitreous_formats::samples::SampleType;
use vitreous_formats::{open_image, table};
use vitreous_jobs::export_cryosparc::ExportCryosparc;
use vitreous_jobs::import_picks::YOrigin;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::Report;

const PARTICLES: &str = "particles.cs";
/// Fields that later jobs of CryoSPARC hand on without looking at them stand in a file of their own, as in its own jobs.
const PASSTHROUGH: &str = "passthrough_particles.cs";
const MICROGRAPHS: &str = "micrographs.cs";
const MAPS: &str = "volume.cs";
/// The results whose fields go to [`PASSTHROUGH`].
const PASSED: [&str; 2] = ["location", "pick_stats"];
/// What a map is to CryoSPARC, whichever of a group's maps it is.
const BLOB: &str = "blob";

/// Does the job.
///
/// # Errors
/// No input, a broken table, or a set that CryoSPARC's datasets cannot hold.
pub fn run(ctx: &Ctx<'_>) -> Result<Report, StageError> {
    let params: ExportCryosparc = ctx.params()?;
    let mut report = Report::new("Export for CryoSPARC");
    if !ctx.is_root() {
        return Ok(report);
    }
    let particles =
        ctx.optional_input("particles").map(|input| table::particles::read(&input.path)).transpose()?;
    let exposures =
        ctx.optional_input("micrographs").map(|input| table::exposures::read(&input.path)).transpose()?;
    let volume = ctx.optional_input("volume");
    if particles.is_none() && exposures.is_none() && volume.is_none() {
        return Err(StageError::input(
            "there is nothing to export: neither particles nor micrographs nor a map were given",
            "name a job that makes them: --particles J9, --micrographs J3, --volume J9",
        ));
    }
    let paths = |path: &str| named(ctx, path, params.relative_paths);
    let mirrored = params.y_origin == YOrigin::LastRow;
    let options = ExportOptions { exposures: exposures.as_ref(), paths: &paths, mirrored };
    let mut writer = Writer { ctx, files: Vec::new() };
    let mut left = Vec::new();
    if let Some(set) = &particles {
        let exported = particle_fields(&ctx.job_dir.join(PARTICLES), set, &options).map_err(unfit)?;
        left.extend(exported.left.iter().map(|what| format!("particles: {what}")));
        writer.particles(exported)?;
        report.number("particles", "Particles", set.particles.len() as f64, "");
        let posed = set.particles.iter().filter(|p| p.pose.is_some()).count();
        report.number("with_pose", "With a pose", posed as f64, "");
        report.notes.extend(half_precision(ctx, set));
    }
    if let Some(set) = &exposures {
        let exported = exposure_fields(&ctx.job_dir.join(MICROGRAPHS), set, &options).map_err(unfit)?;
        let count = writer.alone(MICROGRAPHS, "micrographs", EXPOSURE, &exported)?;
        report.number("micrographs", "Micrographs", count as f64, "");
        left.extend(exported.left.into_iter().map(|what| format!("micrographs: {what}")));
    }
    if let Some(input) = volume {
        let maps = writer.maps(input, &paths)?;
        report.number("maps", "Maps", maps.len() as f64, "");
        let known = |role: &str| role == "half1" || role == "half2";
        let others: Vec<&str> = input.parts.keys().map(String::as_str).filter(|role| !known(role)).collect();
        if !others.is_empty() {
            left.push(format!("map: its {} (import such files one by one)", others.join(", ")));
        }
    }
    if mirrored && particles.is_some() {
        report.notes.push(
            "Positions are those of micrographs whose rows run the other way than those here; poses are those of these \
             images. Do not extract the particles anew in CryoSPARC and keep their poses."
                .into(),
        );
    }
    report.notes.extend(left.iter().map(|what| format!("Not carried, {what}.")));
    report.data.insert("not_carried".into(), json!(left));
    finish(ctx, &mut report, &writer.files);
    Ok(report)
}

fn finish(ctx: &Ctx<'_>, report: &mut Report, files: &[String]) {
    report.number("files", "Files", files.len() as f64, "");
    let parts: BTreeMap<String, String> =
        files.iter().map(|file| (file.replace('.', "-"), file.clone())).collect();
    ctx.output(Output { parts, ..Output::new("files", Kind::Files, &files[0], files.len() as u64) });
}

/// A set that CryoSPARC's datasets cannot hold.
fn unfit(error: CsError) -> StageError {
    StageError::input(error.to_string(), "")
}

/// Writes files and remembers their names.
struct Writer<'a> {
    ctx: &'a Ctx<'a>,
    files: Vec<String>,
}

impl Writer<'_> {
    /// Two datasets and their group.
    fn particles(&mut self, exported: Exported) -> Result<(), StageError> {
        let group_of = |field: &FieldOut| field.name.split('/').next().unwrap_or_default();
        let is_passed = |field: &FieldOut| PASSED.contains(&group_of(field));
        let (mut passed, own): (Vec<FieldOut>, Vec<FieldOut>) =
            exported.fields.into_iter().partition(is_passed);
        let rows = self.dataset(PARTICLES, &own)?;
        if !passed.is_empty() {
            passed.splice(0..0, own.into_iter().find(|field| field.name == "uid"));
            self.dataset(PASSTHROUGH, &passed)?;
        }
        let result = |name: &&'static str| ResultOut {
            name,
            kind: name,
            dataset: if PASSED.contains(name) { PASSTHROUGH } else { PARTICLES },
        };
        let results: Vec<ResultOut<'_>> = exported.results.iter().map(result).collect();
        self.group("particles", PARTICLE, &results, rows)
    }

    /// A dataset that holds all results of its group; returns its records.
    fn alone(&mut self, file: &str, name: &str, kind: &str, exported: &Exported) -> Result<u64, StageError> {
        let rows = self.dataset(file, &exported.fields)?;
        // sums without dose weights are of the same kind as those with
        let result = |name: &&'static str| ResultOut {
            name,
            kind: if name.starts_with("micrograph_blob") { "micrograph_blob" } else { name },
            dataset: file,
        };
        let results: Vec<ResultOut<'_>> = exported.results.iter().map(result).collect();
        self.group(name, kind, &results, rows)?;
        Ok(rows)
    }

    /// The map of an input and its half maps.
    fn maps(&mut self, input: &Input, paths: &dyn Fn(&str) -> String) -> Result<Vec<VolumeOut>, StageError> {
        let half = |role: &str| input.parts.get(role).map(|path| path.as_path());
        let files = [
            (VolumeSlot::MAP, Some(input.path.as_path())),
            (VolumeSlot::HALF_A, half("half1")),
            (VolumeSlot::HALF_B, half("half2")),
        ];
        let mut maps = Vec::new();
        for (slot, path) in files.into_iter().filter_map(|(slot, path)| Some((slot, path?))) {
            let (box_px, voxel_a) = cube_of(path)?;
            let pixel_size_a = input.output.pixel_size_a.or(voxel_a).ok_or_else(|| {
                let what = format!("{}: it does not say its voxels' size", path.display());
                StageError::input(what, "bring it in with import-volume and --pixel-size")
            })?;
            maps.push(VolumeOut { slot, path: paths(&path.to_string_lossy()), box_px, pixel_size_a });
        }
        self.dataset(MAPS, &volume_fields(&maps))?;
        let result = |map: &VolumeOut| ResultOut { name: map.slot.name, kind: BLOB, dataset: MAPS };
        let results: Vec<ResultOut<'_>> = maps.iter().map(result).collect();
        self.group("volume", VOLUME, &results, 1)?;
        Ok(maps)
    }

    fn dataset(&mut self, name: &str, fields: &[FieldOut]) -> Result<u64, StageError> {
        self.write(name, |out, path| write_dataset(out, path, fields))?;
        Ok(fields.first().map_or(0, FieldOut::records) as u64)
    }

    fn group(
        &mut self,
        name: &str,
        kind: &str,
        results: &[ResultOut<'_>],
        rows: u64,
    ) -> Result<(), StageError> {
        let description = format!("exported by Vitreous, job {}", self.ctx.job);
        let group = GroupOut { name, kind, description: &description, results, rows };
        self.write(&format!("{name}.csg"), |out, path| write_group(out, path, &group))
    }

    fn write(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut std::io::BufWriter<std::fs::File>, &Path) -> Result<(), CsError>,
    ) -> Result<(), StageError> {
        let path = self.ctx.job_dir.join(name);
        self.ctx.create(name, |out| match fill(out, &path) {
            Err(CsError::Write { source, .. }) => Err(StageError::io(&path, source)),
            other => other.map_err(unfit),
        })?;
        self.files.push(name.into());
        Ok(())
    }
}

/// Edge of a map's box in voxels and, if its file says so, that of a voxel in Å.
fn cube_of(path: &Path) -> Result<(u32, Option<f64>), StageError> {
    let source = open_image(path)?;
    let header = source.header();
    let (nx, ny, nz) = (header.width, header.height, header.frames);
    if nz != ny || ny != nx {
        let what = format!("{}: it has {nx} × {ny} × {nz} voxels, expected a cube", path.display());
        return Err(StageError::input(what, "bring it to a cube with import-volume"));
    }
    Ok((nx as u32, header.pixel_size_a))
}

/// A remark on 16-bit floats, going by the first stack that can be opened: a set is written by one job.
fn half_precision(ctx: &Ctx<'_>, set: &ParticleSet) -> Option<String> {
    let first = set.particles.iter().find_map(|p| open_image(&ctx.resolve(&p.stack_path)).ok())?;
    (first.header().sample == SampleType::Float16).then(|| {
        "Images are 16-bit floats (MRC mode 12), which old versions of CryoSPARC do not read; restack-particles writes \
         32-bit ones."
            .into()
    })
}
