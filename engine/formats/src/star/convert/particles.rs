//! Particles: RELION's `data_particles`, in and out.

use super::optics::{self, GroupIn};
use super::*;
use crate::star::reader::StarFile;
use crate::star::writer::{BlockOut, TableOut, number};
use std::collections::HashMap;
use std::path::Path;
use vitreous_model::aberrations::Aberrations;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{ExposureSet, OpticsGroup};
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::{ClassAssignment, Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::Degrees;

const FOR_IMAGES: &str = "finding the particle images";
const FOR_CTF: &str = "the CTF";

/// Reads particles of RELION ≥ 3.1 or ≤ 3.0. `resolve` turns a path of the file into one of ours (RELION's are
/// relative to its own project directory), `fallback` gives optics that the file lacks. Ids are row numbers from 0.
/// `box_px` is 0 when the file does not say (RELION ≤ 3.0): take it from the first stack.
///
/// # Errors
/// A file that is no STAR file, lacks a needed column, or whose optics groups differ in pixel size or box.
pub fn read_particles(
    path: &Path,
    resolve: &dyn Fn(&str) -> String,
    fallback: &Fallback,
) -> Result<Imported<ParticleSet>, StarError> {
    let file = StarFile::read(path)?;
    let groups = optics::read(&file, fallback)?;
    let modern = !groups.is_empty();
    let names: &[&str] = if modern { &["particles"] } else { &["particles", "images", ""] };
    let table = names.iter().find_map(|name| file.table(name)).ok_or_else(|| StarError::MissingBlock {
        path: path.into(),
        block: "particles".into(),
        found: file.block_names(),
        needed_for: "the list of particles",
    })?;
    let mut ignored = ignored_columns(&table);
    let mut notes = Vec::new();
    if let Some(optics) = file.table("optics") {
        ignored.extend(ignored_columns(&optics));
    } else {
        notes.push("no data_optics block (RELION 3.0 or older): optics were taken from the rows".to_string());
    }
    let mut reader = ParticleReader::new(&table, groups, resolve, fallback)?;
    let mut particles = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let id = particles.len() as u64;
        particles.push(reader.particle(&row, id)?);
    }
    let (pixel_size_a, box_px) = reader.common_geometry(path)?;
    let micrographs = reader.exposures.into_iter().map(|(path, name)| (name, path)).collect();
    let optics = reader.groups.into_iter().map(|g| g.group).collect();
    let mut value = ParticleSet { optics, box_px, pixel_size_a, particles };
    value.share_even_aberrations();
    Ok(Imported { notes, micrographs, ..Imported::new(value, ignored) })
}

/// The columns of ≤ 3.0 that describe the optics in every row.
struct OldOptics {
    lens: optics::Lens,
    pixel: OldPixel,
}

/// How ≤ 3.0 gives the pixel size.
enum OldPixel {
    /// Detector pixel and magnification.
    Columns(Cell, Cell),
    /// It does not; this is what to take.
    Given(f64),
}

impl OldPixel {
    fn new(table: &TableView<'_>, given: Option<f64>) -> Result<Self, StarError> {
        const NEEDED_FOR: &str = "the pixel size (there is no data_optics block)";
        match (Cell::find(table, DETECTOR_PIXEL), Cell::find(table, MAGNIFICATION), given) {
            (Some(detector), Some(magnification), _) => Ok(Self::Columns(detector, magnification)),
            (_, _, Some(pixel)) => Ok(Self::Given(pixel)),
            _ => {
                let detector = Cell::need(table, DETECTOR_PIXEL, NEEDED_FOR)?;
                Ok(Self::Columns(detector, Cell::need(table, MAGNIFICATION, NEEDED_FOR)?))
            }
        }
    }

    fn value(&self, row: &Row<'_, '_>) -> Result<f64, StarError> {
        match self {
            Self::Columns(detector, magnification) => {
                Ok(optics::positive(row, *detector)? / optics::positive(row, *magnification)?)
            }
            Self::Given(pixel) => Ok(*pixel),
        }
    }
}

struct ParticleReader<'f> {
    resolve: &'f dyn Fn(&str) -> String,
    groups: Vec<GroupIn>,
    old: Option<OldOptics>,
    group: Option<Cell>,
    image: Cell,
    micrograph: Option<Cell>,
    position: Option<[Cell; 2]>,
    score: Option<Cell>,
    ctf: Option<[Cell; 3]>,
    phase: Option<Cell>,
    angles: [Option<Cell>; 3],
    origin_a: Option<[Cell; 2]>,
    origin_px: Option<[Cell; 2]>,
    half: Option<Cell>,
    class: Option<Cell>,
    likelihood: Option<Cell>,
    stacks: HashMap<String, String>,
    /// Names of exposures by the path of their micrograph.
    exposures: HashMap<String, String>,
}

impl<'f> ParticleReader<'f> {
    fn new(
        table: &TableView<'_>,
        groups: Vec<GroupIn>,
        resolve: &'f dyn Fn(&str) -> String,
        fallback: &Fallback,
    ) -> Result<Self, StarError> {
        let find = |rule| Cell::find(table, rule);
        let pair = |a, b| Some([find(a)?, find(b)?]);
        let old = if groups.is_empty() {
            Some(OldOptics {
                lens: optics::Lens::new(table, fallback)?,
                pixel: OldPixel::new(table, fallback.pixel_size_a)?,
            })
        } else {
            None
        };
        let ctf = match find(DEFOCUS_U) {
            Some(u) => {
                let v = Cell::need(table, DEFOCUS_V, FOR_CTF)?;
                Some([u, v, Cell::need(table, DEFOCUS_ANGLE, FOR_CTF)?])
            }
            None => None,
        };
        // one optics group needs no link
        let group = match (groups.len(), find(OPTICS_NUMBER)) {
            (2.., None) => Some(Cell::need(table, OPTICS_NUMBER, "the link from rows to optics groups")?),
            (_, found) => found,
        };
        Ok(Self {
            resolve,
            groups,
            old,
            group,
            image: Cell::need(table, IMAGE_NAME, FOR_IMAGES)?,
            micrograph: find(MICROGRAPH_NAME),
            position: pair(COORDINATE_X, COORDINATE_Y),
            score: find(PICK_SCORE),
            ctf,
            phase: find(PHASE_SHIFT),
            angles: [find(ANGLE_ROT), find(ANGLE_TILT), find(ANGLE_PSI)],
            origin_a: pair(ORIGIN_X_A, ORIGIN_Y_A),
            origin_px: pair(ORIGIN_X_PX, ORIGIN_Y_PX),
            half: find(SUBSET),
            class: find(CLASS),
            likelihood: find(LIKELIHOOD),
            stacks: HashMap::new(),
            exposures: HashMap::new(),
        })
    }

    fn particle(&mut self, row: &Row<'_, '_>, id: u64) -> Result<Particle, StarError> {
        let group = self.group_index(row)?;
        let (stack_index, stack) = split_image_name(row, self.image)?;
        if !self.stacks.contains_key(stack) {
            self.stacks.insert(stack.into(), (self.resolve)(stack));
        }
        let half = self.half.map(|cell| row.integer(cell.column)).transpose()?;
        let class = self.class.map(|cell| row.integer(cell.column)).transpose()?;
        let pick = self.pick(row)?;
        let group_in = &self.groups[group];
        Ok(Particle {
            id,
            stack_path: self.stacks[stack].clone(),
            stack_index,
            optics_group: group_in.group.number,
            pick,
            ctf: self.ctf(row, &group_in.group)?,
            pose: self.pose(row, group_in)?,
            half: half.and_then(HalfSet::from_number),
            class: class.and_then(class_of),
            log_likelihood: self.likelihood.map_or(Ok(f64::NAN), |cell| cell.value(row))?,
        })
    }

    /// The optics group of a row; in old files the one with this row's optics, made if there is none yet.
    fn group_index(&mut self, row: &Row<'_, '_>) -> Result<usize, StarError> {
        let Some(old) = &self.old else {
            let Some(cell) = self.group else { return Ok(0) };
            let number: u32 = row.integer(cell.column)?;
            let index = self.groups.iter().position(|g| g.group.number == number);
            return index.ok_or_else(|| row.bad(cell.column, "the number of a group in data_optics"));
        };
        let pixel = old.pixel.value(row)?;
        let (voltage, cs, amplitude_contrast) = old.lens.values(row)?;
        let group = OpticsGroup {
            number: self.groups.len() as u32 + 1,
            name: format!("opticsGroup{}", self.groups.len() + 1),
            voltage,
            cs,
            amplitude_contrast,
            movie_pixel_size_a: pixel,
            aberrations: Default::default(),
        };
        let same = |g: &GroupIn| {
            let g = &g.group;
            (g.voltage, g.cs, g.amplitude_contrast, g.movie_pixel_size_a)
                == (group.voltage, group.cs, group.amplitude_contrast, group.movie_pixel_size_a)
        };
        if let Some(index) = self.groups.iter().position(same) {
            return Ok(index);
        }
        self.groups.push(GroupIn {
            group,
            image_pixel_a: Some(pixel),
            micrograph_pixel_a: None,
            box_px: None,
        });
        Ok(self.groups.len() - 1)
    }

    fn pick(&mut self, row: &Row<'_, '_>) -> Result<Option<Pick>, StarError> {
        let (Some(micrograph), Some([x, y])) = (self.micrograph, self.position) else { return Ok(None) };
        let path = micrograph.text(row);
        if !self.exposures.contains_key(path) {
            self.exposures.insert(path.into(), exposure_name(path));
        }
        Ok(Some(Pick {
            exposure: self.exposures[path].clone(),
            x_px: x.value(row)?,
            y_px: y.value(row)?,
            score: self.score.map_or(Ok(f64::NAN), |cell| cell.value(row))?,
        }))
    }

    fn ctf(&self, row: &Row<'_, '_>, group: &OpticsGroup) -> Result<Option<CtfParams>, StarError> {
        let Some([u, v, angle]) = self.ctf else { return Ok(None) };
        Ok(Some(CtfParams {
            defocus_u_a: u.value(row)?,
            defocus_v_a: v.value(row)?,
            astigmatism_angle: Degrees(angle.value(row)?),
            phase_shift: Degrees(self.phase.map_or(Ok(0.0), |cell| cell.value(row))?),
            voltage: group.voltage,
            cs: group.cs,
            amplitude_contrast: group.amplitude_contrast,
            even: Default::default(),
        }))
    }

    /// The pose, if the file has all three angles; a missing origin is zero.
    fn pose(&self, row: &Row<'_, '_>, group: &GroupIn) -> Result<Option<Pose>, StarError> {
        let [Some(rot), Some(tilt), Some(psi)] = self.angles else { return Ok(None) };
        let rotation = Rotation::from_euler_zyz_deg(rot.value(row)?, tilt.value(row)?, psi.value(row)?);
        let shift_a = match (self.origin_a, self.origin_px) {
            (Some([x, y]), _) => [x.value(row)?, y.value(row)?],
            (None, Some([x, y])) => {
                let pixel = group.image_pixel_a.unwrap_or(group.group.movie_pixel_size_a);
                [x.value(row)? * pixel, y.value(row)? * pixel]
            }
            (None, None) => [0.0; 2],
        };
        Ok(Some(Pose { rotation, shift_a: group.group.aberrations.shift_without(shift_a) }))
    }

    /// Pixel size and box of the images, which must be those of all optics groups.
    fn common_geometry(&self, path: &Path) -> Result<(f64, u32), StarError> {
        let Some(first) = self.groups.first() else {
            return Err(StarError::Unfit {
                path: path.into(),
                found: "there is no particle and no optics group".into(),
                expected: "at least one particle".into(),
            });
        };
        let geometry =
            |g: &GroupIn| (g.image_pixel_a.unwrap_or(g.group.movie_pixel_size_a), g.box_px.unwrap_or(0));
        let (pixel, size) = geometry(first);
        for group in &self.groups {
            let (other, other_size) = geometry(group);
            if (other - pixel).abs() > 1e-4 * pixel || other_size != size {
                return Err(StarError::Unfit {
                    path: path.into(),
                    found: format!(
                        "optics groups {} and {} differ: {pixel} Å and {size} px, {other} Å and {other_size} px",
                        first.group.number, group.group.number
                    ),
                    expected: "one pixel size and box for all; extract again at one size, or import the groups apart".into(),
                });
            }
        }
        Ok((pixel, size))
    }
}

/// A class by RELION's number; its probability is not in the file.
fn class_of(number: i64) -> Option<ClassAssignment> {
    let number = u32::try_from(number).ok().filter(|&number| number > 0)?;
    Some(ClassAssignment { number, probability: f64::NAN })
}

/// Image number (from 0) and stack of `000001@stack.mrcs`; a name without `@` is a file of one image.
fn split_image_name<'a>(row: &Row<'_, 'a>, cell: Cell) -> Result<(u32, &'a str), StarError> {
    let name = cell.text(row);
    let bad = || row.bad(cell.column, "`NUMBER@STACK` with a number from 1, or the path of one image");
    match name.split_once('@') {
        None if name.is_empty() => Err(bad()),
        None => Ok((0, name)),
        Some((number, stack)) => {
            let number: u32 = number.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?;
            if stack.is_empty() { Err(bad()) } else { Ok((number - 1, stack)) }
        }
    }
}

/// The blocks of a particle file of RELION ≥ 3.1. `exposures` gives the micrographs' paths and pixel size (without it a
/// micrograph is `NAME.mrc`); `paths` turns our paths into the ones to be written.
///
/// Columns that no particle has (pose, CTF, position, half) are left out. A particle without pose among others that
/// have one is written with zeros, as RELION does.
///
/// # Errors
/// A CTF or position that only some particles have: RELION would take zeros for measured values.
pub fn particle_blocks(
    path: &Path,
    set: &ParticleSet,
    exposures: Option<&ExposureSet>,
    paths: &dyn Fn(&str) -> String,
) -> Result<Vec<BlockOut>, StarError> {
    let has = Present::of(path, set)?;
    let micrographs: HashMap<&str, String> = exposures
        .into_iter()
        .flat_map(|set| &set.exposures)
        .filter_map(|e| Some((e.name.as_str(), paths(&e.micrograph.as_ref()?.path))))
        .collect();
    let micrograph_pixel = exposures
        .and_then(|set| set.exposures.iter().find_map(|e| e.micrograph.as_ref()))
        .map_or(set.pixel_size_a, |m| m.pixel_size_a);
    let more = [IMAGE_PIXEL.label, IMAGE_SIZE.label, "rlnImageDimensionality", MICROGRAPH_PIXEL.label];
    let optics = optics::block(&set.optics, &more, |_| {
        let micrograph = number(MICROGRAPH_PIXEL.theirs(micrograph_pixel));
        vec![number(IMAGE_PIXEL.theirs(set.pixel_size_a)), set.box_px.to_string(), "2".into(), micrograph]
    });
    let mut table = TableOut::new("particles", &has.columns());
    let mut stacks: HashMap<&str, String> = HashMap::new();
    for particle in &set.particles {
        let stack = stacks.entry(&particle.stack_path).or_insert_with(|| paths(&particle.stack_path));
        table.cells.push(format!("{:06}@{stack}", particle.stack_index + 1));
        table.cells.push(particle.optics_group.to_string());
        let aberrations = set.optics_of(particle.optics_group).map(|g| g.aberrations).unwrap_or_default();
        has.push_cells(particle, &aberrations, &micrographs, &mut table.cells);
    }
    Ok(vec![BlockOut::Table(optics), BlockOut::Table(table)])
}

/// Which columns a set has.
struct Present {
    pick: bool,
    score: bool,
    ctf: bool,
    phase: bool,
    pose: bool,
    half: bool,
    class: bool,
    likelihood: bool,
}

impl Present {
    fn of(path: &Path, set: &ParticleSet) -> Result<Self, StarError> {
        let count = |test: fn(&Particle) -> bool| set.particles.iter().filter(|p| test(p)).count();
        let all = set.particles.len();
        let all_or_none = |name: &str, test: fn(&Particle) -> bool| match count(test) {
            0 => Ok(false),
            n if n == all => Ok(true),
            n => Err(StarError::Unfit {
                path: path.into(),
                found: format!("only {n} of {all} particles have a {name}"),
                expected: "all or none; export those that have one".into(),
            }),
        };
        Ok(Self {
            pick: all_or_none("position", |p| p.pick.is_some())?,
            ctf: all_or_none("CTF", |p| p.ctf.is_some())?,
            score: all > 0 && count(|p| p.pick.as_ref().is_some_and(|pick| pick.score.is_finite())) == all,
            phase: count(|p| p.ctf.is_some_and(|ctf| ctf.phase_shift.0 != 0.0)) > 0,
            pose: count(|p| p.pose.is_some()) > 0,
            half: all > 0 && count(|p| p.half.is_some()) == all,
            class: count(|p| p.class.is_some()) > 0,
            likelihood: all > 0 && count(|p| p.log_likelihood.is_finite()) == all,
        })
    }

    fn columns(&self) -> Vec<&'static str> {
        let mut rules = vec![IMAGE_NAME, OPTICS_NUMBER];
        let groups: [(bool, &[Rule]); 8] = [
            (self.pick, &[MICROGRAPH_NAME, COORDINATE_X, COORDINATE_Y]),
            (self.score, &[PICK_SCORE]),
            (self.ctf, &[DEFOCUS_U, DEFOCUS_V, DEFOCUS_ANGLE]),
            (self.phase, &[PHASE_SHIFT]),
            (self.pose, &[ANGLE_ROT, ANGLE_TILT, ANGLE_PSI, ORIGIN_X_A, ORIGIN_Y_A]),
            (self.half, &[SUBSET]),
            (self.class, &[CLASS]),
            (self.likelihood, &[LIKELIHOOD]),
        ];
        rules.extend(groups.iter().filter(|(present, _)| *present).flat_map(|(_, rules)| rules.iter()));
        rules.iter().map(|rule| rule.label).collect()
    }

    /// The cells of the columns after image name and optics group, in the order of [`Present::columns`].
    fn push_cells(
        &self,
        particle: &Particle,
        aberrations: &Aberrations,
        micrographs: &HashMap<&str, String>,
        cells: &mut Vec<String>,
    ) {
        if let Some(pick) = particle.pick.as_ref().filter(|_| self.pick) {
            let micrograph = micrographs.get(pick.exposure.as_str());
            cells.push(micrograph.cloned().unwrap_or_else(|| format!("{}.mrc", pick.exposure)));
            cells.push(number(COORDINATE_X.theirs(pick.x_px)));
            cells.push(number(COORDINATE_Y.theirs(pick.y_px)));
            if self.score {
                cells.push(number(PICK_SCORE.theirs(pick.score)));
            }
        }
        if let Some(ctf) = particle.ctf.filter(|_| self.ctf) {
            cells.push(number(DEFOCUS_U.theirs(ctf.defocus_u_a)));
            cells.push(number(DEFOCUS_V.theirs(ctf.defocus_v_a)));
            cells.push(number(DEFOCUS_ANGLE.theirs(ctf.astigmatism_angle.0)));
            if self.phase {
                cells.push(number(PHASE_SHIFT.theirs(ctf.phase_shift.0)));
            }
        }
        if self.pose {
            let pose = particle.pose.unwrap_or_default();
            let (rot, tilt, psi) = pose.rotation.to_euler_zyz_deg();
            cells.push(number(ANGLE_ROT.theirs(rot)));
            cells.push(number(ANGLE_TILT.theirs(tilt)));
            cells.push(number(ANGLE_PSI.theirs(psi)));
            let [x_a, y_a] = aberrations.shift_with(pose.shift_a);
            cells.push(number(ORIGIN_X_A.theirs(x_a)));
            cells.push(number(ORIGIN_Y_A.theirs(y_a)));
        }
        if self.half {
            cells.push(particle.half.map_or(0, HalfSet::number).to_string());
        }
        if self.class {
            cells.push(particle.class.map_or(0, |class| class.number).to_string());
        }
        if self.likelihood {
            cells.push(number(LIKELIHOOD.theirs(particle.log_likelihood)));
        }
    }
}
