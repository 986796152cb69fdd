//! Micrographs: RELION's `data_micrographs` with motion and CTF results, in and out.

use super::*;
use crate::star::reader::StarFile;
use crate::star::writer::{BlockOut, TableOut, number};
use std::path::Path;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, MotionSummary};
use vitreous_model::units::Degrees;

/// Reads micrographs of RELION ≥ 3.1. `resolve` turns a path of the file into one of ours. Width and height are 0,
/// since RELION's table lacks them: take them from the images. Names are the files' stems.
///
/// # Errors
/// A file that is no STAR file or lacks a needed block or column.
pub fn read_micrographs(
    path: &Path,
    resolve: &dyn Fn(&str) -> String,
) -> Result<Imported<ExposureSet>, StarError> {
    let file = StarFile::read(path)?;
    let groups = optics::read(&file, &Fallback::default())?;
    let missing = |block: &str, needed_for| StarError::MissingBlock {
        path: path.into(),
        block: block.into(),
        found: file.block_names(),
        needed_for,
    };
    let optics_table = file.table("optics").ok_or_else(|| missing("optics", "voltage, Cs and pixel size"))?;
    let table = file.table("micrographs").ok_or_else(|| missing("micrographs", "the list of micrographs"))?;
    let mut ignored = ignored_columns(&table);
    ignored.extend(ignored_columns(&optics_table));
    let columns = MicrographColumns::new(&table)?;
    let mut exposures = Vec::with_capacity(table.len());
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        let number: u32 = row.integer(columns.group.column)?;
        let group = groups.iter().find(|g| g.group.number == number);
        let group =
            group.ok_or_else(|| row.bad(columns.group.column, "the number of a group in data_optics"))?;
        exposures.push(columns.exposure(&row, group, resolve)?);
    }
    let optics = groups.into_iter().map(|g| g.group).collect();
    Ok(Imported::new(ExposureSet { optics, exposures }, ignored))
}

struct MicrographColumns {
    name: Cell,
    group: Cell,
    unweighted: Option<Cell>,
    metadata: Option<Cell>,
    motion: Option<[Cell; 3]>,
    ctf: Option<[Cell; 3]>,
    phase: Option<Cell>,
    resolution: Option<Cell>,
    score: Option<Cell>,
}

impl MicrographColumns {
    fn new(table: &TableView<'_>) -> Result<Self, StarError> {
        let find = |rule| Cell::find(table, rule);
        let three = |a, b, c| Some([find(a)?, find(b)?, find(c)?]);
        Ok(Self {
            name: Cell::need(table, MICROGRAPH_NAME, "finding the micrographs")?,
            group: Cell::need(table, OPTICS_NUMBER, "the link from rows to optics groups")?,
            unweighted: find(UNWEIGHTED_NAME),
            metadata: find(METADATA),
            motion: three(MOTION_TOTAL, MOTION_EARLY, MOTION_LATE),
            ctf: three(DEFOCUS_U, DEFOCUS_V, DEFOCUS_ANGLE),
            phase: find(PHASE_SHIFT),
            resolution: find(CTF_RESOLUTION),
            score: find(CTF_SCORE),
        })
    }

    fn exposure(
        &self,
        row: &Row<'_, '_>,
        group: &optics::GroupIn,
        resolve: &dyn Fn(&str) -> String,
    ) -> Result<Exposure, StarError> {
        let name = self.name.text(row);
        let or_nan = |cell: Option<Cell>| cell.map_or(Ok(f64::NAN), |cell| cell.value(row));
        let motion = match self.motion {
            Some([total, early, late]) => Some(MotionSummary {
                total_a: total.value(row)?,
                early_a: early.value(row)?,
                late_a: late.value(row)?,
            }),
            None => None,
        };
        let ctf = match self.ctf {
            Some([u, v, angle]) => {
                let ctf = CtfParams {
                    defocus_u_a: u.value(row)?,
                    defocus_v_a: v.value(row)?,
                    astigmatism_angle: Degrees(angle.value(row)?),
                    phase_shift: Degrees(self.phase.map_or(Ok(0.0), |cell| cell.value(row))?),
                    voltage: group.group.voltage,
                    cs: group.group.cs,
                    amplitude_contrast: group.group.amplitude_contrast,
                    even: Default::default(),
                };
                Some(CtfFit::new(ctf, or_nan(self.resolution)?, or_nan(self.score)?))
            }
            None => None,
        };
        let micrograph = MicrographSource {
            path: resolve(name),
            width: 0,
            height: 0,
            pixel_size_a: group.micrograph_pixel_a.unwrap_or(group.group.movie_pixel_size_a),
            unweighted_path: self.unweighted.map(|cell| resolve(cell.text(row))).unwrap_or_default(),
            motion_star_path: self.metadata.map(|cell| resolve(cell.text(row))).unwrap_or_default(),
        };
        Ok(Exposure {
            name: exposure_name(name),
            optics_group: group.group.number,
            movie: None,
            micrograph: Some(micrograph),
            motion,
            ctf,
        })
    }
}

/// The blocks of a micrograph file of RELION ≥ 3.1, of the exposures that have a micrograph; `paths` turns our paths
/// into the ones to be written. Columns of motion and CTF appear if every one of them has been through that step.
///
/// # Errors
/// Micrographs of different pixel sizes in one optics group.
pub fn micrograph_blocks(
    path: &Path,
    set: &ExposureSet,
    paths: &dyn Fn(&str) -> String,
) -> Result<Vec<BlockOut>, StarError> {
    let rows: Vec<(&Exposure, &MicrographSource)> =
        set.exposures.iter().filter_map(|e| Some((e, e.micrograph.as_ref()?))).collect();
    let mut pixels = Vec::new();
    for group in &set.optics {
        let mut sizes =
            rows.iter().filter(|(e, _)| e.optics_group == group.number).map(|(_, m)| m.pixel_size_a);
        let pixel = sizes.next().unwrap_or(group.movie_pixel_size_a);
        if let Some(other) = sizes.find(|other| (other - pixel).abs() > 1e-4 * pixel) {
            return Err(StarError::Unfit {
                path: path.into(),
                found: format!("optics group {} has micrographs of {pixel} and {other} Å", group.number),
                expected: "one pixel size a group; give them groups of their own".into(),
            });
        }
        pixels.push((group.number, pixel));
    }
    let optics = optics::block(&set.optics, &[MICROGRAPH_PIXEL.label], |group| {
        let pixel = pixels.iter().find(|(n, _)| *n == group.number).map_or(0.0, |(_, pixel)| *pixel);
        vec![number(MICROGRAPH_PIXEL.theirs(pixel))]
    });
    Ok(vec![BlockOut::Table(optics), BlockOut::Table(micrograph_table(&rows, paths))])
}

fn micrograph_table(rows: &[(&Exposure, &MicrographSource)], paths: &dyn Fn(&str) -> String) -> TableOut {
    let has_star = rows.iter().all(|(_, m)| !m.motion_star_path.is_empty());
    let has_unweighted = rows.iter().all(|(_, m)| !m.unweighted_path.is_empty());
    let has_motion = rows.iter().all(|(e, _)| e.motion.is_some());
    let has_ctf = rows.iter().all(|(e, _)| e.ctf.is_some());
    let has_phase = rows.iter().any(|(e, _)| e.ctf.as_ref().is_some_and(|c| c.ctf.phase_shift.0 != 0.0));
    let groups: [(bool, &[Rule]); 6] = [
        (true, &[MICROGRAPH_NAME, OPTICS_NUMBER]),
        (has_unweighted, &[UNWEIGHTED_NAME]),
        (has_star, &[METADATA]),
        (has_motion, &[MOTION_TOTAL, MOTION_EARLY, MOTION_LATE]),
        (has_ctf, &[DEFOCUS_U, DEFOCUS_V, ASTIGMATISM, DEFOCUS_ANGLE, CTF_SCORE, CTF_RESOLUTION]),
        (has_ctf && has_phase, &[PHASE_SHIFT]),
    ];
    let present = groups.iter().filter(|(present, _)| *present).flat_map(|(_, rules)| rules.iter());
    let mut table = TableOut::new("micrographs", &present.map(|rule| rule.label).collect::<Vec<_>>());
    for (exposure, micrograph) in rows {
        table.cells.extend([paths(&micrograph.path), exposure.optics_group.to_string()]);
        if has_unweighted {
            table.cells.push(paths(&micrograph.unweighted_path));
        }
        if has_star {
            table.cells.push(paths(&micrograph.motion_star_path));
        }
        if let Some(motion) = exposure.motion.as_ref().filter(|_| has_motion) {
            table.cells.push(number(MOTION_TOTAL.theirs(motion.total_a)));
            table.cells.push(number(MOTION_EARLY.theirs(motion.early_a)));
            table.cells.push(number(MOTION_LATE.theirs(motion.late_a)));
        }
        if let Some(fit) = exposure.ctf.as_ref().filter(|_| has_ctf) {
            let (u, v) = (fit.ctf.defocus_u_a, fit.ctf.defocus_v_a);
            table.cells.push(number(DEFOCUS_U.theirs(u)));
            table.cells.push(number(DEFOCUS_V.theirs(v)));
            table.cells.push(number(ASTIGMATISM.theirs((u - v).abs())));
            table.cells.push(number(DEFOCUS_ANGLE.theirs(fit.ctf.astigmatism_angle.0)));
            table.cells.push(number(CTF_SCORE.theirs(fit.score)));
            table.cells.push(number(CTF_RESOLUTION.theirs(fit.fit_resolution_a)));
            if has_phase {
                table.cells.push(number(PHASE_SHIFT.theirs(fit.ctf.phase_shift.0)));
            }
        }
    }
    table
}
