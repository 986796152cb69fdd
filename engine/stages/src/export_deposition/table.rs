//! The numbers that a deposition form asks for, each with where it comes from. What no record tells stays empty.

use super::history::{History, param, short};
use super::run::Found;
use serde_json::{Value, json};

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// What is asked for.
    pub item: &'static str,
    /// The answer, if there is one.
    pub value: Option<String>,
    /// Where it comes from; of an empty one, who knows.
    pub source: String,
}

/// The rows, in the order of the form.
pub(super) fn rows(history: &History, found: &Found) -> Vec<Row> {
    let mut rows = map_rows(found);
    rows.extend(reconstruction_rows(history, found));
    rows.extend(imaging_rows(history));
    rows.extend(software_rows(history));
    rows
}

fn row(item: &'static str, value: Option<String>, source: &str) -> Row {
    let source = if value.is_some() { source.to_string() } else { "not in the records".into() };
    Row { item, value, source }
}

fn map_rows(found: &Found) -> Vec<Row> {
    let [x, y, z] = found.origin_a;
    vec![
        row(
            "name of the structure",
            Some(found.name.clone()).filter(|name| !name.is_empty()),
            "parameter name",
        ),
        row("box, voxels", Some(format!("{0} × {0} × {0}", found.n)), "maps"),
        row("voxel size, Å", Some(format!("{:.5}", found.voxel_a)), "maps"),
        row("origin, Å", Some(format!("{x:.3}, {y:.3}, {z:.3}")), "maps"),
        row("recommended contour level", found.contour.map(|level| level.to_string()), "parameter contour"),
        row("resolution, Å", Some(format!("{:.2}", found.resolution_a)), "FSC of the half maps"),
        row("resolution criterion", Some("FSC 0.143 CUT-OFF".into()), "this job"),
        row(
            "mask of the FSC",
            Some(if found.own_mask { "automatic" } else { "given" }.into()),
            "this job; corrected by phase randomisation",
        ),
    ]
}

fn reconstruction_rows(history: &History, found: &Found) -> Vec<Row> {
    let maker = found.maker.as_deref().and_then(|name| history.job(name));
    let of_maker = |key: &str| maker.and_then(|job| param(job, key));
    let source = maker.map_or_else(String::new, |job| format!("{} ({})", job.job, job.job_type));
    let particles = maker.and_then(|job| job.number("particles")).map(short);
    let has_ctf = history.last("estimate-ctf").is_some();
    let ctf = maker.filter(|_| has_ctf).map(|_| "PHASE FLIPPING AND AMPLITUDE CORRECTION".to_string());
    let (algorithm, angles) = match maker.map(|job| job.job_type.as_str()) {
        Some("reconstruct") => (Some("FOURIER SPACE"), None),
        Some(_) => (Some("FOURIER SPACE"), Some("MAXIMUM LIKELIHOOD")),
        None => (None, None),
    };
    let sharpening = found.sharpener.as_deref().and_then(|name| history.job(name));
    let b_factor = sharpening.and_then(|job| job.number("bfactor_A2")).map(short);
    let sharpening = sharpening.map_or_else(String::new, |job| format!("{} (sharpen)", job.job));
    let picked =
        ["pick-blobs", "pick-templates", "import-picks"].map(|name| history.last(name)?.output("picks"));
    let picked = picked.into_iter().flatten().last().map(|output| short(output.count as f64));
    vec![
        row("symmetry", of_maker("symmetry"), &source),
        row("particles in the reconstruction", particles, &source),
        row("particles picked", picked, "the last picking job"),
        row("reconstruction algorithm", algorithm.map(String::from), &source),
        row("final angular assignment", angles.map(String::from), &source),
        row("CTF correction", ctf, "in the refinement: images times CTF, divided by the sum of its squares"),
        row("B-factor of the primary map, Å²", b_factor, &sharpening),
        row("initial map", initial_map(history), "the first job that made or brought a map"),
    ]
}

/// What the first reference was.
fn initial_map(history: &History) -> Option<String> {
    let first =
        history.jobs.iter().find(|job| ["ab-initio", "import-volume"].contains(&job.job_type.as_str()))?;
    Some(if first.job_type == "ab-initio" { "ab initio from the particles" } else { "imported map" }.into())
}

fn imaging_rows(history: &History) -> Vec<Row> {
    let imports = ["import-movies", "import-micrographs"];
    let told = |item: &'static str, key: &str| {
        let found = history.last_number(&imports, key);
        let source = found.map_or_else(String::new, |(job, _)| format!("{} ({})", job.job, job.job_type));
        row(item, found.map(|(_, value)| short(value)), &source)
    };
    let unknown = |item| row(item, None, "");
    vec![
        told("movies recorded", "movies"),
        told("frames of a movie", "frames"),
        told("pixel size of the movies, Å", "pixel_size_A"),
        told("dose of an exposure, e/Å²", "total_dose_eA2"),
        told("acceleration voltage, kV", "voltage_kV"),
        told("spherical aberration, mm", "cs_mm"),
        unknown("microscope"),
        unknown("detector"),
        unknown("energy filter"),
        unknown("nominal magnification"),
        unknown("nominal defocus range"),
        unknown("specimen, grid and vitrification"),
    ]
}

/// Which program did what.
fn software_rows(history: &History) -> Vec<Row> {
    let of = |item: &'static str, is_one: &dyn Fn(&str) -> bool| {
        let jobs: Vec<String> = history
            .jobs
            .iter()
            .filter(|job| is_one(&job.job_type))
            .map(|job| {
                let version =
                    job.versions.get(super::history::ENGINE).map_or("[not recorded]", String::as_str);
                format!("Vitreous {version} {} ({})", job.job_type, job.job)
            })
            .collect();
        row(item, Some(jobs.join(", ")).filter(|text| !text.is_empty()), "effective.json of the jobs")
    };
    vec![
        of("software: motion correction", &|name| ["correct-motion", "polish"].contains(&name)),
        of("software: CTF", &|name| ["estimate-ctf", "refine-ctf"].contains(&name)),
        of("software: particle selection", &|name| name.starts_with("pick-") || name == "inspect-picks"),
        of("software: classification", &|name| ["classify-2d", "refine-heterogeneous"].contains(&name)),
        of("software: initial angles", &|name| name == "ab-initio"),
        of("software: final angles and reconstruction", &|name| {
            name == "reconstruct"
                || (name.starts_with("refine-") && !["refine-ctf", "refine-heterogeneous"].contains(&name))
        }),
        of("software: post-processing", &|name| ["sharpen", "filter-locally"].contains(&name)),
    ]
}

/// As Markdown.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut out = String::from("| item | value | from |\n|---|---|---|\n");
    for Row { item, value, source } in rows {
        let value = value.as_deref().unwrap_or("**unknown**").replace('|', "\\|");
        out += &format!("| {item} | {value} | {source} |\n");
    }
    out
}

/// For programs: a list of objects; what is unknown is null.
pub(super) fn records(rows: &[Row]) -> Value {
    rows.iter().map(|row| json!({"item": row.item, "value": row.value, "from": row.source})).collect()
}
