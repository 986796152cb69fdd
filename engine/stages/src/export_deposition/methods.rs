//! The methods text: a sentence for each job behind the map, in the order they were done. What a record does not tell is
//! marked as `[… not recorded]`.

use super::history::{ENGINE, History, param, short};
use super::run::Found;
use vitreous_model::lineage::Ancestor;

/// The text, Markdown.
pub(super) fn text(history: &History, found: &Found) -> String {
    let mut sentences: Vec<String> = history.jobs.iter().map(sentence).collect();
    sentences.push(format!(
        "The resolution, {} Å, is where the Fourier shell correlation of the two independently refined half maps within {}, \
         corrected for the mask by phase randomisation, falls under 0.143.",
        short(found.resolution_a),
        if found.own_mask { "an automatic mask" } else { "the mask" },
    ));
    let versions = match history.engines().as_slice() {
        [] => "[versions not recorded]".to_string(),
        versions => versions.join(", "),
    };
    let title = if found.name.is_empty() {
        "Image processing".into()
    } else {
        format!("Image processing: {}", found.name)
    };
    format!(
        "# {title}\n\nAll steps were done with Vitreous ({versions}). {}\n\n\
         Numbers are those of the jobs' records; `[… not recorded]` marks what these do not tell. Recording conditions that no \
         record holds (microscope, camera, grids, vitrification) are left to the author.\n",
        sentences.join(" ")
    )
}

/// What a job did, ending with its name.
fn sentence(job: &Ancestor) -> String {
    let said = match job.job_type.as_str() {
        "import-movies" => movies(job),
        "import-micrographs" => micrographs(job),
        "import-particles" => {
            format!("{} particles were imported", figure(job, "particles", "number of particles"))
        }
        "import-volume" => "A map was imported".into(),
        "simulate" => "Data were simulated".into(),
        "correct-motion" => motion(job),
        "estimate-ctf" => ctf(job),
        "curate-exposures" => {
            let [passed, all] = ["passed", "exposures"].map(|key| figure(job, key, "number of micrographs"));
            format!("{passed} of {all} micrographs were kept")
        }
        "pick-blobs" | "pick-templates" => picks(job),
        "inspect-picks" => {
            let [kept, all] = ["kept", "picks"].map(|key| figure(job, key, "number of picks"));
            format!("{kept} of {all} picks were kept by their score and surroundings")
        }
        "extract-particles" => extraction(job),
        "classify-2d" => format!(
            "{} particles were classified in two dimensions into {} classes",
            figure(job, "particles", "number of particles"),
            figure(job, "classes", "number of classes")
        ),
        "select-2d" => format!(
            "{} particles of {} two-dimensional classes were kept",
            figure(job, "kept", "number of particles"),
            figure(job, "classes_kept", "number of classes")
        ),
        "ab-initio" => format!("From the particles {} made ab initio{}", starting_maps(job), symmetry(job)),
        "refine-heterogeneous" => format!(
            "{} particles were classified in three dimensions into {} classes{}",
            figure(job, "particles", "number of particles"),
            classes_of(job),
            symmetry(job)
        ),
        name if name.starts_with("refine-") && job.number("resolution_fsc0143_A").is_some() => {
            refinement(job)
        }
        "reconstruct" => format!(
            "A map was reconstructed from {} particles{}",
            figure(job, "particles", "number of particles"),
            symmetry(job)
        ),
        "sharpen" => format!(
            "The map was sharpened with a B-factor of {} Å² and filtered to {} Å",
            figure(job, "bfactor_A2", "B-factor"),
            figure(job, "resolution_fsc0143_A", "resolution")
        ),
        _ => other(job),
    };
    let gaps = if job.missing.is_empty() { String::new() } else { "; its records are not whole".to_string() };
    let engine = job.versions.get(ENGINE).map_or(String::new(), |version| format!(", version {version}"));
    format!("{said} (`{}`, {}{engine}{gaps}).", job.job_type, job.job)
}

fn movies(job: &Ancestor) -> String {
    format!(
        "{} movies of {} frames of {} × {} pixels ({} Å) were recorded at {} kV (spherical aberration {} mm) with a dose of {} \
         e/Å² ({} e/Å² a frame)",
        figure(job, "movies", "number of movies"),
        figure(job, "frames", "frames"),
        figure(job, "width_px", "width"),
        figure(job, "height_px", "height"),
        figure(job, "pixel_size_A", "pixel size"),
        figure(job, "voltage_kV", "voltage"),
        figure(job, "cs_mm", "spherical aberration"),
        figure(job, "total_dose_eA2", "total dose"),
        figure(job, "dose_per_frame_eA2", "dose per frame"),
    )
}

fn micrographs(job: &Ancestor) -> String {
    format!(
        "{} micrographs of {} × {} pixels ({} Å), recorded at {} kV (spherical aberration {} mm), were imported",
        figure(job, "micrographs", "number of micrographs"),
        figure(job, "width_px", "width"),
        figure(job, "height_px", "height"),
        figure(job, "pixel_size_A", "pixel size"),
        figure(job, "voltage_kV", "voltage"),
        figure(job, "cs_mm", "spherical aberration"),
    )
}

fn motion(job: &Ancestor) -> String {
    let is_global = ["patches_x", "patches_y"].iter().all(|key| param(job, key).as_deref() == Some("1"));
    let how = if is_global { "of whole frames" } else { "of whole frames and locally" };
    let dose = match param(job, "dose_weighting").as_deref() {
        Some("true") => ", frames weighted by dose",
        Some("false") => ", without dose weights",
        _ => ", [dose weighting not recorded]",
    };
    let pixel = job.output("micrographs").and_then(|output| output.pixel_size_a);
    format!(
        "Motion was corrected {how}{dose}, which gave {} micrographs of {} Å per pixel",
        made(job, "micrographs", "number of micrographs"),
        pixel.map_or("[pixel size not recorded]".into(), short)
    )
}

fn ctf(job: &Ancestor) -> String {
    let median = match job.number("defocus_median_A") {
        Some(defocus_a) => format!(" (median defocus {} µm)", short((defocus_a / 10.0).round() / 1000.0)),
        None => String::new(),
    };
    format!(
        "Contrast transfer functions were estimated for {} micrographs{median}",
        made(job, "micrographs", "number")
    )
}

fn picks(job: &Ancestor) -> String {
    let how = if job.job_type == "pick-blobs" { "as blobs" } else { "with templates" };
    format!("{} particles were picked {how}", made(job, "picks", "number of picks"))
}

fn extraction(job: &Ancestor) -> String {
    let small = match param(job, "output_box") {
        Some(size) => format!(", downsampled to {size}"),
        None => String::new(),
    };
    format!(
        "{} particles were extracted in boxes of {} pixels{small} ({} Å per pixel)",
        figure(job, "particles", "number of particles"),
        setting(job, "box_size"),
        figure(job, "pixel_size_A", "pixel size")
    )
}

fn refinement(job: &Ancestor) -> String {
    format!(
        "Poses and map of {} particles were refined in two independent halves{}, to {} Å",
        figure(job, "particles", "number of particles"),
        symmetry(job),
        figure(job, "resolution_fsc0143_A", "resolution")
    )
}

/// A job type without a sentence of its own: what it made.
fn other(job: &Ancestor) -> String {
    let made: Vec<String> = job
        .outputs
        .iter()
        .map(|output| format!("{} {}", short(output.count as f64), output.kind.name().replace('-', " ")))
        .collect();
    let name = job.job_type.replace('-', " ");
    let name = if name.is_empty() { "[job type not recorded]".to_string() } else { name };
    if made.is_empty() {
        return format!("Step: {name}, [outputs not recorded]");
    }
    format!("Step: {name}, which gave {}", made.join(" and "))
}

/// A key figure, or that it is not recorded.
fn figure(job: &Ancestor, key: &str, what: &str) -> String {
    job.number(key).map_or_else(|| format!("[{what} not recorded]"), short)
}

/// The count of an output, or that it is not recorded.
fn made(job: &Ancestor, slot: &str, what: &str) -> String {
    job.output(slot).map_or_else(|| format!("[{what} not recorded]"), |output| short(output.count as f64))
}

/// A parameter, or that it is not recorded.
fn setting(job: &Ancestor, key: &str) -> String {
    param(job, key).unwrap_or_else(|| format!("[{} not recorded]", key.replace('_', " ")))
}

fn symmetry(job: &Ancestor) -> String {
    param(job, "symmetry").map_or_else(String::new, |group| format!(", symmetry {group}"))
}

/// Number of classes of a three-dimensional classification: its volumes.
fn classes_of(job: &Ancestor) -> String {
    let volumes =
        job.outputs.iter().filter(|output| output.kind == vitreous_model::outputs::Kind::Volume).count();
    if volumes > 0 { volumes.to_string() } else { "[number of classes not recorded]".into() }
}

fn starting_maps(job: &Ancestor) -> String {
    match setting(job, "classes").as_str() {
        "1" => "a starting map was".into(),
        count => format!("{count} starting maps were"),
    }
}
