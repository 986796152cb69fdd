//! Tables of particles: kind `particles`, groups `particles` and `optics`, attributes `box_px` and `pixel_size_a`.

use super::{ColumnDef, GroupReader, Table, TableError, TableReader, TableWriter, ctf, optics, picks};
use std::path::Path;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::Kind;
use vitreous_model::particle::{ClassAssignment, Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};

const GROUP: &str = "particles";
const BOX: &str = "box_px";
const PIXEL: &str = "pixel_size_a";
const ID: ColumnDef = ColumnDef::new("id", "", "Number unique in the set, kept by later jobs");
const STACK: ColumnDef = ColumnDef::new("stack_path", "", "Image stack");
const INDEX: ColumnDef = ColumnDef::new("stack_index", "", "Image in the stack, from 0");
const OPTICS: ColumnDef = ColumnDef::new("optics_group", "", "Number of the optics group, from 1");
const ROTATION: [ColumnDef; 4] = [
    ColumnDef::new(
        "rotation_w",
        "",
        "Unit quaternion, image frame to volume frame, scalar part; NaN: no pose",
    ),
    ColumnDef::new("rotation_x", "", "Unit quaternion, x"),
    ColumnDef::new("rotation_y", "", "Unit quaternion, y"),
    ColumnDef::new("rotation_z", "", "Unit quaternion, z"),
];
const SHIFT: [ColumnDef; 2] = [
    ColumnDef::new("shift_x_a", "Å", "Where the particle's centre lies relative to the centre of its box, x"),
    ColumnDef::new("shift_y_a", "Å", "The same, y"),
];
const HALF: ColumnDef = ColumnDef::new("half_set", "", "Half of a gold-standard refinement, 1 or 2; 0: none");
const CLASS: ColumnDef = ColumnDef::new("class", "", "Most probable class, from 1; 0: none");
const CLASS_PROBABILITY: ColumnDef =
    ColumnDef::new("class_probability", "", "Posterior probability of that class; NaN: unknown");
const LIKELIHOOD: ColumnDef =
    ColumnDef::new("log_likelihood", "nat", "Log-likelihood of the best pose; NaN: none");

/// Writes particles.
///
/// # Errors
/// The library's refusal.
pub fn write(path: &Path, set: &ParticleSet) -> Result<(), TableError> {
    let mut writer = TableWriter::create(path, Kind::Particles.name())?;
    writer.attribute(BOX, set.box_px)?;
    writer.attribute(PIXEL, set.pixel_size_a)?;
    writer.write(&particle_table(&set.particles))?;
    writer.write(&optics::table(&set.optics))?;
    writer.finish()
}

/// Reads particles.
///
/// # Errors
/// A file that is absent, broken, of another kind, or lacks a column; a half-set other than 0, 1, 2.
pub fn read(path: &Path) -> Result<ParticleSet, TableError> {
    let file = TableReader::open_kind(path, &[Kind::Particles.name()])?;
    let group = file.group(GROUP)?;
    let (id, index, optics_group) = (group.u64(ID)?, group.u32(INDEX)?, group.u32(OPTICS)?);
    let (half, likelihood) = (group.u8(HALF)?, group.f64(LIKELIHOOD)?);
    let poses = read_poses(&group)?;
    let classes = read_classes(&group)?;
    let parts = group.text(STACK)?.into_iter().zip(picks::read_columns(&group)?).zip(ctf::read(&group)?);
    let row = |(i, ((stack_path, pick), ctf))| {
        if half[i] > 2 {
            return Err(group.bad(HALF, i, half[i], "1, 2 or 0 for none"));
        }
        Ok(Particle {
            id: id[i],
            stack_path,
            stack_index: index[i],
            optics_group: optics_group[i],
            pick,
            ctf,
            pose: poses[i],
            half: HalfSet::from_number(half[i].into()),
            class: classes[i],
            log_likelihood: likelihood[i],
        })
    };
    let particles = parts.enumerate().map(row).collect::<Result<_, _>>()?;
    let mut set = ParticleSet {
        optics: optics::read(&file)?,
        box_px: file.attribute(BOX)?,
        pixel_size_a: file.attribute(PIXEL)?,
        particles,
    };
    set.share_even_aberrations();
    Ok(set)
}

fn particle_table(particles: &[Particle]) -> Table {
    let mut table = Table::new(GROUP);
    let rows = || particles.iter();
    table.u64(ID, rows().map(|p| p.id));
    table.text(STACK, rows().map(|p| p.stack_path.as_str()));
    table.u32(INDEX, rows().map(|p| p.stack_index));
    table.u32(OPTICS, rows().map(|p| p.optics_group));
    picks::push(&mut table, rows().map(|p| p.pick.as_ref()));
    ctf::push(&mut table, rows().map(|p| p.ctf.as_ref()));
    let quaternion: [fn(&Rotation) -> f64; 4] = [|r| r.w, |r| r.x, |r| r.y, |r| r.z];
    for (def, value) in ROTATION.into_iter().zip(quaternion) {
        table.f64(def, rows().map(|p| p.pose.as_ref().map_or(f64::NAN, |pose| value(&pose.rotation))));
    }
    for (axis, def) in SHIFT.into_iter().enumerate() {
        table.f64(def, rows().map(|p| p.pose.as_ref().map_or(f64::NAN, |pose| pose.shift_a[axis])));
    }
    table.u8(HALF, rows().map(|p| p.half.map_or(0, HalfSet::number)));
    table.u32(CLASS, rows().map(|p| p.class.map_or(0, |class| class.number)));
    table.f64(CLASS_PROBABILITY, rows().map(|p| p.class.map_or(f64::NAN, |class| class.probability)));
    table.f64(LIKELIHOOD, rows().map(|p| p.log_likelihood));
    table
}

/// Classes; none in tables written before there were any.
fn read_classes(group: &GroupReader<'_>) -> Result<Vec<Option<ClassAssignment>>, TableError> {
    if !group.has(CLASS.name) {
        return Ok(vec![None; group.rows()]);
    }
    let (numbers, probabilities) = (group.u32(CLASS)?, group.f64(CLASS_PROBABILITY)?);
    let class = |(number, probability)| (number > 0).then_some(ClassAssignment { number, probability });
    Ok(numbers.into_iter().zip(probabilities).map(class).collect())
}

fn read_poses(group: &GroupReader<'_>) -> Result<Vec<Option<Pose>>, TableError> {
    let [w, x, y, z] = ROTATION.map(|def| group.f64(def));
    let (w, x, y, z) = (w?, x?, y?, z?);
    let [shift_x, shift_y] = SHIFT.map(|def| group.f64(def));
    let (shift_x, shift_y) = (shift_x?, shift_y?);
    // taken as they stand, not normalised again, so that a pose survives any number of files unchanged
    let row = |i: usize| {
        let rotation = Rotation { w: w[i], x: x[i], y: y[i], z: z[i] };
        (!w[i].is_nan()).then(|| Pose { rotation, shift_a: [shift_x[i], shift_y[i]] })
    };
    Ok((0..group.rows()).map(row).collect())
}
