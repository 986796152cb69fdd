//! Tables of exposures: kind `movies` or `micrographs`, groups `exposures` and `optics`.

use super::{ColumnDef, GroupReader, Table, TableError, TableReader, TableWriter, ctf, optics};
use std::path::Path;
use vitreous_model::ctf::DefocusSurface;
use vitreous_model::exposure::{
    CtfFit, EerRendering, Exposure, ExposureSet, GainFlip, MicrographSource, MotionSummary, MovieSource,
};
use vitreous_model::outputs::Kind;

const GROUP: &str = "exposures";
const NAME: ColumnDef = ColumnDef::new("name", "", "Name, unique in the project");
const OPTICS: ColumnDef = ColumnDef::new("optics_group", "", "Number of the optics group, from 1");

const MOVIE: ColumnDef = ColumnDef::new("movie_path", "", "Movie file; empty: no movie");
const FRAMES: ColumnDef = ColumnDef::new("movie_frames", "", "Frames of the movie");
const MOVIE_WIDTH: ColumnDef = ColumnDef::new("movie_width_px", "px", "Columns of a frame");
const MOVIE_HEIGHT: ColumnDef = ColumnDef::new("movie_height_px", "px", "Rows of a frame");
const MOVIE_PIXEL: ColumnDef = ColumnDef::new("movie_pixel_size_a", "Å", "Pixel size of the movie");
const DOSE: ColumnDef = ColumnDef::new("dose_per_frame_e_a2", "e/Å²", "Dose of one frame");
const PRE_EXPOSURE: ColumnDef = ColumnDef::new("pre_exposure_e_a2", "e/Å²", "Dose before the first frame");
const GAIN: ColumnDef = ColumnDef::new("gain_path", "", "Gain reference, multiplied; empty: none needed");
const GAIN_ROTATE: ColumnDef =
    ColumnDef::new("gain_rotate", "", "Quarter turns counter-clockwise that bring the gain onto the movie");
const GAIN_FLIP: ColumnDef =
    ColumnDef::new("gain_flip", "", "Mirror of the gain after its rotation: none, x or y");
const DEFECTS: ColumnDef = ColumnDef::new("defects_path", "", "Defect map of the camera; empty: none");
const EER_UPSAMPLING: ColumnDef =
    ColumnDef::new("eer_upsampling", "", "Pixels of a frame along each edge of a physical one; 0: no EER");
const EER_GROUPING: ColumnDef =
    ColumnDef::new("eer_grouping", "", "Camera frames summed into one frame of the movie; 0: no EER");

const MICROGRAPH: ColumnDef = ColumnDef::new("micrograph_path", "", "Micrograph file; empty: none");
const WIDTH: ColumnDef = ColumnDef::new("micrograph_width_px", "px", "Columns of the micrograph");
const HEIGHT: ColumnDef = ColumnDef::new("micrograph_height_px", "px", "Rows of the micrograph");
const PIXEL: ColumnDef = ColumnDef::new("micrograph_pixel_size_a", "Å", "Pixel size of the micrograph");
const UNWEIGHTED: ColumnDef =
    ColumnDef::new("unweighted_path", "", "Sum without dose weighting; empty: micrograph_path serves");
const MOTION_STAR: ColumnDef =
    ColumnDef::new("motion_star_path", "", "RELION's motion STAR file; empty: none");

const MOTION_TOTAL: ColumnDef =
    ColumnDef::new("motion_total_a", "Å", "Path length of the global track; NaN: not corrected");
const MOTION_EARLY: ColumnDef = ColumnDef::new("motion_early_a", "Å", "Part of the path in the first 4 e/Å²");
const MOTION_LATE: ColumnDef = ColumnDef::new("motion_late_a", "Å", "The rest of the path");
const FIT_RESOLUTION: ColumnDef =
    ColumnDef::new("ctf_fit_resolution_a", "Å", "Resolution to which the CTF fit holds");
const FIT_SCORE: ColumnDef =
    ColumnDef::new("ctf_score", "", "Cross-correlation of the spectrum with the fit");
const DEFOCUS_ERROR: ColumnDef =
    ColumnDef::new("defocus_error_a", "Å", "Standard error of the mean defocus; NaN: not known");
const ICE_RING: ColumnDef = ColumnDef::new(
    "ice_ring",
    "",
    "Excess of the strongest ring of ice over its surroundings, as a fraction; NaN: not known",
);
const DRIFT: ColumnDef =
    ColumnDef::new("drift_a", "Å", "Drift within the exposure seen in the spectrum; NaN: not known");
/// How the defocus changes away from the micrograph's middle.
const SURFACE: [ColumnDef; 5] = [
    ColumnDef::new("defocus_gradient_x", "Å/Å", "Change of defocus along x"),
    ColumnDef::new("defocus_gradient_y", "Å/Å", "Change of defocus along y"),
    ColumnDef::new("defocus_curvature_xx", "Å/Å²", "Change of defocus with x², from the middle"),
    ColumnDef::new("defocus_curvature_xy", "Å/Å²", "Change of defocus with xy, from the middle"),
    ColumnDef::new("defocus_curvature_yy", "Å/Å²", "Change of defocus with y², from the middle"),
];

/// Writes exposures; the kind is `movies` or `micrographs`, whichever the set is offered as.
///
/// # Errors
/// The library's refusal, or an exposure whose movie or micrograph has an empty path.
pub fn write(path: &Path, kind: Kind, set: &ExposureSet) -> Result<(), TableError> {
    check_paths(path, set)?;
    let mut writer = TableWriter::create(path, kind.name())?;
    writer.write(&exposure_table(set))?;
    writer.write(&optics::table(&set.optics))?;
    writer.finish()
}

/// Reads exposures of either kind.
///
/// # Errors
/// A file that is absent, broken, of another kind, or lacks a column.
pub fn read(path: &Path) -> Result<ExposureSet, TableError> {
    let file = TableReader::open_kind(path, &[Kind::Movies.name(), Kind::Micrographs.name()])?;
    let group = file.group(GROUP)?;
    let (names, optics_groups) = (group.text(NAME)?, group.u32(OPTICS)?);
    let parts = read_movies(&group)?.into_iter().zip(read_micrographs(&group)?);
    let results = read_motion(&group)?.into_iter().zip(read_fits(&group)?);
    let exposures = names.into_iter().zip(optics_groups).zip(parts).zip(results);
    let exposures = exposures.map(|(((name, optics_group), (movie, micrograph)), (motion, ctf))| Exposure {
        name,
        optics_group,
        movie,
        micrograph,
        motion,
        ctf,
    });
    Ok(ExposureSet { optics: optics::read(&file)?, exposures: exposures.collect() })
}

/// An empty path stands for "absent" in the file, so a present part must not have one.
fn check_paths(path: &Path, set: &ExposureSet) -> Result<(), TableError> {
    for (row, exposure) in set.exposures.iter().enumerate() {
        let movie = exposure.movie.as_ref().is_some_and(|m| m.path.is_empty());
        let micrograph = exposure.micrograph.as_ref().is_some_and(|m| m.path.is_empty());
        if movie || micrograph {
            return Err(TableError::BadValue {
                path: path.into(),
                group: GROUP.into(),
                column: if movie { MOVIE.name } else { MICROGRAPH.name }.into(),
                row,
                found: format!("an empty path (exposure {})", exposure.name),
                expected: "the path of a file".into(),
            });
        }
    }
    Ok(())
}

fn exposure_table(set: &ExposureSet) -> Table {
    let mut table = Table::new(GROUP);
    let rows = || set.exposures.iter();
    table.text(NAME, rows().map(|e| e.name.as_str()));
    table.u32(OPTICS, rows().map(|e| e.optics_group));
    push_movies(&mut table, rows().map(|e| e.movie.as_ref()));
    push_micrographs(&mut table, rows().map(|e| e.micrograph.as_ref()));
    let motion =
        |value: fn(&MotionSummary) -> f64| rows().map(move |e| e.motion.as_ref().map_or(f64::NAN, value));
    table.f64(MOTION_TOTAL, motion(|m| m.total_a));
    table.f64(MOTION_EARLY, motion(|m| m.early_a));
    table.f64(MOTION_LATE, motion(|m| m.late_a));
    ctf::push(&mut table, rows().map(|e| e.ctf.as_ref().map(|fit| &fit.ctf)));
    let fit = |value: fn(&CtfFit) -> f64| rows().map(move |e| e.ctf.as_ref().map_or(f64::NAN, value));
    table.f64(FIT_RESOLUTION, fit(|f| f.fit_resolution_a));
    table.f64(FIT_SCORE, fit(|f| f.score));
    table.f64(DEFOCUS_ERROR, fit(|f| f.defocus_error_a.unwrap_or(f64::NAN)));
    table.f64(ICE_RING, fit(|f| f.ice_ring.unwrap_or(f64::NAN)));
    table.f64(DRIFT, fit(|f| f.drift_a.unwrap_or(f64::NAN)));
    let surface: [fn(&CtfFit) -> f64; 5] = [
        |f| f.surface.gradient_x,
        |f| f.surface.gradient_y,
        |f| f.surface.curvature_xx_per_a,
        |f| f.surface.curvature_xy_per_a,
        |f| f.surface.curvature_yy_per_a,
    ];
    SURFACE.into_iter().zip(surface).for_each(|(column, value)| table.f64(column, fit(value)));
    table
}

fn push_movies<'a>(table: &mut Table, rows: impl Iterator<Item = Option<&'a MovieSource>> + Clone) {
    let text = |value: fn(&MovieSource) -> &str| rows.clone().map(move |m| m.map_or("", value));
    let count = |value: fn(&MovieSource) -> u32| rows.clone().map(move |m| m.map_or(0, value));
    let number = |value: fn(&MovieSource) -> f64| rows.clone().map(move |m| m.map_or(f64::NAN, value));
    table.text(MOVIE, text(|m| &m.path));
    table.u32(FRAMES, count(|m| m.frames));
    table.u32(MOVIE_WIDTH, count(|m| m.width));
    table.u32(MOVIE_HEIGHT, count(|m| m.height));
    table.f64(MOVIE_PIXEL, number(|m| m.pixel_size_a));
    table.f64(DOSE, number(|m| m.dose_per_frame));
    table.f64(PRE_EXPOSURE, number(|m| m.pre_exposure));
    table.text(GAIN, text(|m| &m.gain_path));
    table.u32(GAIN_ROTATE, count(|m| m.gain_rotate));
    table.text(GAIN_FLIP, rows.clone().map(|m| m.map_or("none", |m| m.gain_flip.name())));
    table.text(DEFECTS, text(|m| &m.defects_path));
    table.u32(EER_UPSAMPLING, count(|m| m.eer.map_or(0, |eer| eer.upsampling)));
    table.u32(EER_GROUPING, count(|m| m.eer.map_or(0, |eer| eer.grouping)));
}

fn read_movies(group: &GroupReader<'_>) -> Result<Vec<Option<MovieSource>>, TableError> {
    let (paths, gains, flips) = (group.text(MOVIE)?, group.text(GAIN)?, group.text(GAIN_FLIP)?);
    let (frames, width, height) = (group.u32(FRAMES)?, group.u32(MOVIE_WIDTH)?, group.u32(MOVIE_HEIGHT)?);
    let (pixel, dose, before) = (group.f64(MOVIE_PIXEL)?, group.f64(DOSE)?, group.f64(PRE_EXPOSURE)?);
    let rotate = group.u32(GAIN_ROTATE)?;
    let (defects, renderings) = (read_defects(group)?, read_renderings(group)?);
    let row = |(i, (path, gain_path)): (usize, (String, String))| {
        if path.is_empty() {
            return Ok(None);
        }
        let gain_flip = [GainFlip::None, GainFlip::X, GainFlip::Y].into_iter().find(|f| f.name() == flips[i]);
        Ok(Some(MovieSource {
            path,
            frames: frames[i],
            width: width[i],
            height: height[i],
            pixel_size_a: pixel[i],
            dose_per_frame: dose[i],
            pre_exposure: before[i],
            gain_path,
            gain_rotate: rotate[i],
            gain_flip: gain_flip.ok_or_else(|| group.bad(GAIN_FLIP, i, &flips[i], "none, x or y"))?,
            defects_path: defects[i].clone(),
            eer: renderings[i],
        }))
    };
    paths.into_iter().zip(gains).enumerate().map(row).collect()
}

/// Tables of version 0.1.0 have no such column.
fn read_defects(group: &GroupReader<'_>) -> Result<Vec<String>, TableError> {
    if group.has(DEFECTS.name) { group.text(DEFECTS) } else { Ok(vec![String::new(); group.rows()]) }
}

/// Tables of version 0.1.0 have no such columns.
fn read_renderings(group: &GroupReader<'_>) -> Result<Vec<Option<EerRendering>>, TableError> {
    if !group.has(EER_UPSAMPLING.name) {
        return Ok(vec![None; group.rows()]);
    }
    let (upsampling, grouping) = (group.u32(EER_UPSAMPLING)?, group.u32(EER_GROUPING)?);
    let row = |(i, (upsampling, grouping)): (usize, (u32, u32))| match (upsampling, grouping) {
        (0, 0) => Ok(None),
        (1 | 2 | 4, 1..) => Ok(Some(EerRendering { upsampling, grouping })),
        (1 | 2 | 4, _) => Err(group.bad(EER_GROUPING, i, grouping, "at least 1 for an EER movie")),
        _ => Err(group.bad(EER_UPSAMPLING, i, upsampling, "1, 2 or 4 for an EER movie, 0 for others")),
    };
    upsampling.into_iter().zip(grouping).enumerate().map(row).collect()
}

fn push_micrographs<'a>(table: &mut Table, rows: impl Iterator<Item = Option<&'a MicrographSource>> + Clone) {
    let text = |value: fn(&MicrographSource) -> &str| rows.clone().map(move |m| m.map_or("", value));
    table.text(MICROGRAPH, text(|m| &m.path));
    table.u32(WIDTH, rows.clone().map(|m| m.map_or(0, |m| m.width)));
    table.u32(HEIGHT, rows.clone().map(|m| m.map_or(0, |m| m.height)));
    table.f64(PIXEL, rows.clone().map(|m| m.map_or(f64::NAN, |m| m.pixel_size_a)));
    table.text(UNWEIGHTED, text(|m| &m.unweighted_path));
    table.text(MOTION_STAR, text(|m| &m.motion_star_path));
}

fn read_micrographs(group: &GroupReader<'_>) -> Result<Vec<Option<MicrographSource>>, TableError> {
    let (width, height, pixel) = (group.u32(WIDTH)?, group.u32(HEIGHT)?, group.f64(PIXEL)?);
    let texts =
        group.text(MICROGRAPH)?.into_iter().zip(group.text(UNWEIGHTED)?).zip(group.text(MOTION_STAR)?);
    let row = |(i, ((path, unweighted_path), motion_star_path)): (usize, ((String, String), String))| {
        (!path.is_empty()).then(|| MicrographSource {
            path,
            width: width[i],
            height: height[i],
            pixel_size_a: pixel[i],
            unweighted_path,
            motion_star_path,
        })
    };
    Ok(texts.enumerate().map(row).collect())
}

fn read_motion(group: &GroupReader<'_>) -> Result<Vec<Option<MotionSummary>>, TableError> {
    let (total, early, late) = (group.f64(MOTION_TOTAL)?, group.f64(MOTION_EARLY)?, group.f64(MOTION_LATE)?);
    let row = |i: usize| {
        let summary = MotionSummary { total_a: total[i], early_a: early[i], late_a: late[i] };
        (!summary.total_a.is_nan()).then_some(summary)
    };
    Ok((0..group.rows()).map(row).collect())
}

fn read_fits(group: &GroupReader<'_>) -> Result<Vec<Option<CtfFit>>, TableError> {
    let (resolution, score) = (group.f64(FIT_RESOLUTION)?, group.f64(FIT_SCORE)?);
    let surfaces = read_surfaces(group)?;
    let [error, ice, drift] = [DEFOCUS_ERROR, ICE_RING, DRIFT].map(|column| optional(group, column));
    let (error, ice, drift) = (error?, ice?, drift?);
    let known = |value: f64| Some(value).filter(|value| !value.is_nan());
    let row = |(i, ctf): (usize, Option<_>)| {
        ctf.map(|ctf| CtfFit {
            surface: surfaces[i],
            defocus_error_a: known(error[i]),
            ice_ring: known(ice[i]),
            drift_a: known(drift[i]),
            ..CtfFit::new(ctf, resolution[i], score[i])
        })
    };
    Ok(ctf::read(group)?.into_iter().enumerate().map(row).collect())
}

/// A column that tables of version 0.1.0 do not have: NaN then.
fn optional(group: &GroupReader<'_>, column: ColumnDef) -> Result<Vec<f64>, TableError> {
    if group.has(column.name) { group.f64(column) } else { Ok(vec![f64::NAN; group.rows()]) }
}

/// Flat where tables of version 0.1.0 have no such columns.
fn read_surfaces(group: &GroupReader<'_>) -> Result<Vec<DefocusSurface>, TableError> {
    let columns = SURFACE.map(|column| optional(group, column));
    let [x, y, xx, xy, yy] = columns;
    let (x, y, xx, xy, yy) = (x?, y?, xx?, xy?, yy?);
    let or_flat = |value: f64| if value.is_nan() { 0.0 } else { value };
    let row = |i: usize| DefocusSurface {
        gradient_x: or_flat(x[i]),
        gradient_y: or_flat(y[i]),
        curvature_xx_per_a: or_flat(xx[i]),
        curvature_xy_per_a: or_flat(xy[i]),
        curvature_yy_per_a: or_flat(yy[i]),
    };
    Ok((0..group.rows()).map(row).collect())
}
