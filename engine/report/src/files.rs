//! The files of a report in a job's folder. Each is written beside its name and then renamed, so that a reader never
//! sees half of one.

use crate::raster::{self, Pixels};
use crate::svg::{self, Setting};
use crate::{Report, ReportError, clean, html};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path};
use vitreous_model::report::{Figure, Raster};

/// Folder of the pictures beside `report.json`.
const FIGURES: &str = "figures";
/// Name of the file that holds everything but pixels.
const JSON: &str = "report.json";
/// Name of the page.
const HTML: &str = "report.html";

/// Writes `report.json`, `report.html`, `figures/ID.png` for every raster and `figures/ID.svg` for every figure into
/// `dir`, which must exist. Numbers that are not finite are written as `null` or left out.
///
/// # Errors
/// [`ReportError::Figure`] for an id that is no file name or comes twice, or a raster without its pixels;
/// [`ReportError::Io`] when a file cannot be written. `report.json` is written after the figures it names.
pub fn write(dir: &Path, report: &Report) -> Result<(), ReportError> {
    let mut report = clean::cleaned(report);
    check_ids(&report)?;
    let figures = dir.join(FIGURES);
    if !report.figures.is_empty() {
        fs::create_dir_all(&figures).map_err(ReportError::io("create", &figures))?;
    }
    for figure in &mut report.figures {
        if let Figure::Image { id, raster, .. } = figure {
            let png = raster::encode(id, raster.width, raster.height, Pixels::Grey(&raster.pixels))?;
            write_file(&figures.join(format!("{id}.png")), &png)?;
            raster.file = format!("{FIGURES}/{id}.png");
        }
        let drawing = svg::figure_svg(figure, Setting::File)?;
        write_file(&figures.join(format!("{}.svg", figure.id())), drawing.as_bytes())?;
    }
    let path = dir.join(JSON);
    let mut json = serde_json::to_vec_pretty(&report)
        .map_err(|source| ReportError::Json { path: path.clone(), source })?;
    json.push(b'\n');
    write_file(&path, &json)?;
    write_file(&dir.join(HTML), html::render_html(&report)?.as_bytes())
}

/// Reads back what [`write()`] wrote, the rasters' pixels included.
///
/// # Errors
/// [`ReportError::Io`], [`ReportError::Json`], [`ReportError::Newer`], or [`ReportError::Png`] for a picture that is
/// not what `report.json` says.
pub fn read(dir: &Path) -> Result<Report, ReportError> {
    /// The one field that every version has.
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u32,
    }
    let path = dir.join(JSON);
    let bytes = fs::read(&path).map_err(ReportError::io("read", &path))?;
    let bad = |source| ReportError::Json { path: path.clone(), source };
    let Schema { schema } = serde_json::from_slice(&bytes).map_err(bad)?;
    if schema > vitreous_model::SCHEMA {
        return Err(ReportError::Newer { path, found: schema });
    }
    let mut report: Report = serde_json::from_slice(&bytes).map_err(bad)?;
    for figure in &mut report.figures {
        if let Figure::Image { id, raster, .. } = figure {
            raster.pixels = read_raster(dir, id, raster)?;
        }
    }
    Ok(report)
}

fn read_raster(dir: &Path, id: &str, raster: &Raster) -> Result<Vec<u8>, ReportError> {
    let file = Path::new(&raster.file);
    if file.as_os_str().is_empty() || !file.components().all(|part| matches!(part, Component::Normal(_))) {
        let why =
            format!("its raster names the file `{}`, expected one inside the report's folder", raster.file);
        return Err(ReportError::figure(id, why));
    }
    let path = dir.join(file);
    let bytes = fs::read(&path).map_err(ReportError::io("read", &path))?;
    raster::decode(&path, &bytes, raster)
}

/// Ids become file names and XML ids: letters, digits, `-`, `_` and `.` inside, each id once.
pub(crate) fn check_ids(report: &Report) -> Result<(), ReportError> {
    let mut seen = std::collections::HashSet::new();
    for figure in &report.figures {
        let id = figure.id();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > 100 || id.starts_with('.') || !id.chars().all(fits) {
            return Err(ReportError::figure(
                id,
                "an id has 1 to 100 ASCII letters, digits, `-`, `_` or inner `.`",
            ));
        }
        if !seen.insert(id) {
            return Err(ReportError::figure(id, "two figures have this id"));
        }
    }
    Ok(())
}

/// Temporary file in the same folder, flushed to disk, then renamed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".tmp{}", std::process::id()));
    let temporary = Path::new(&name);
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(temporary, path)).map_err(|source| {
        // the error that matters is the first one; a temporary that stays behind does no harm
        let _ = fs::remove_file(temporary);
        ReportError::Io { action: "write", path: path.to_path_buf(), source }
    })
}
