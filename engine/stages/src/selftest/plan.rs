//! What is run, with what.

use serde_json::{Value, json};
use vitreous_jobs::selftest::Selftest;
use vitreous_model::symmetry::PointGroup;

/// The simulated molecule: GroEL (PDB 1MNF), as a compact model.
pub(super) const MODEL: &[u8] = include_bytes!("../../../../examples/quickstart/1MNF.atoms.gz");
/// Its file in the job's folder.
pub(super) const MODEL_FILE: &str = "model.atoms.gz";
/// Its symmetry.
pub(super) const SYMMETRY: PointGroup = PointGroup::Dihedral(7);
/// Pixel size of the movies, Å.
pub(super) const PIXEL_A: f64 = 2.0;
/// Pixel size of particle images and maps, Å.
pub(super) const MAP_PIXEL_A: f64 = 4.0;
/// Box of particle images and maps, pixels.
pub(super) const BOX: u32 = 60;
/// Width and height of the movies, pixels.
pub(super) const FRAME_PX: u32 = 768;
/// Frames of a movie.
pub(super) const FRAMES: u32 = 12;
/// Dose of a frame, e/Å².
pub(super) const DOSE_PER_FRAME: f64 = 3.0;
/// Particles of a movie.
pub(super) const PARTICLES_PER_MOVIE: u32 = 25;
/// Diameter by which particles are picked, Å: between the molecule's width and its length.
pub(super) const DIAMETER_A: f64 = 160.0;
/// Diameter of the mask about a particle, Å.
pub(super) const MASK_DIAMETER_A: f64 = 190.0;

/// Largest astigmatism, Å: so much that an azimuth that is wrong stands out of the noise of a spectrum of few electrons.
const MAX_ASTIGMATISM_A: f64 = 1500.0;

/// Where an input of a step comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Source {
    /// Slot that it fills.
    pub slot: &'static str,
    /// Folder of the step that made it.
    pub folder: &'static str,
    /// Output slot of that step.
    pub output: &'static str,
}

/// One stage with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// Its folder in the job's folder.
    pub folder: &'static str,
    /// Name of the job type.
    pub job_type: &'static str,
    /// Parameters that differ from the defaults.
    pub params: Value,
    /// Its inputs.
    pub inputs: Vec<Source>,
}

const fn from(slot: &'static str, folder: &'static str, output: &'static str) -> Source {
    Source { slot, folder, output }
}

/// Folders of the steps, by which results are found.
pub(super) mod folder {
    pub const SIMULATED: &str = "simulated";
    pub const MOTION: &str = "motion";
    pub const CTF: &str = "ctf";
    pub const PICKS: &str = "picks";
    pub const PARTICLES: &str = "particles";
    pub const FIRST_MAP: &str = "first-map";
    pub const REFINED: &str = "refined";
    pub const RECONSTRUCTED: &str = "reconstructed";
    pub const SHARPENED: &str = "sharpened";
}

/// All steps in order; `model` is the molecule's file.
pub(super) fn steps(params: &Selftest, model: &str) -> Vec<Step> {
    use folder::{CTF, FIRST_MAP, MOTION, PARTICLES, PICKS, RECONSTRUCTED, REFINED, SHARPENED, SIMULATED};
    let symmetry = SYMMETRY.to_string();
    let step = |folder, job_type, params, inputs: &[Source]| Step {
        folder,
        job_type,
        params,
        inputs: inputs.to_vec(),
    };
    let mut steps = vec![
        step(SIMULATED, "simulate", simulation(params, model), &[]),
        step(
            MOTION,
            "correct-motion",
            json!({"patches_x": 2, "patches_y": 2}),
            &[from("movies", SIMULATED, "movies")],
        ),
        step(
            CTF,
            "estimate-ctf",
            json!({"max_resolution": 5.0, "expected_astigmatism": MAX_ASTIGMATISM_A}),
            &[from("micrographs", MOTION, "micrographs")],
        ),
        step(
            PICKS,
            "pick-blobs",
            json!({"diameter": DIAMETER_A}),
            &[from("micrographs", CTF, "micrographs")],
        ),
        step(
            PARTICLES,
            "extract-particles",
            json!({"box_size": 2 * BOX, "output_box": BOX}),
            &[from("picks", PICKS, "picks"), from("micrographs", CTF, "micrographs")],
        ),
    ];
    if params.ab_initio {
        steps.push(step(
            FIRST_MAP,
            "ab-initio",
            json!({"symmetry": symmetry, "diameter": MASK_DIAMETER_A, "starts": 1, "batches": 40}),
            &[from("particles", PARTICLES, "particles")],
        ));
    }
    steps.extend([
        // from the truth, so that poses can be compared one by one; the map from nothing has a setting of its own
        step(
            REFINED,
            "refine-homogeneous",
            json!({"symmetry": symmetry, "diameter": MASK_DIAMETER_A, "initial_lowpass": 30.0, "max_iterations": 8}),
            &[from("particles", PARTICLES, "particles"), from("volume", SIMULATED, "volume")],
        ),
        step(
            RECONSTRUCTED,
            "reconstruct",
            json!({"symmetry": symmetry, "diameter": MASK_DIAMETER_A}),
            &[from("particles", REFINED, "particles")],
        ),
        step(
            SHARPENED,
            "sharpen",
            json!({}),
            &[from("volume", REFINED, "volume"), from("mask", REFINED, "mask")],
        ),
    ]);
    steps
}

fn simulation(params: &Selftest, model: &str) -> Value {
    json!({
        "model": model,
        "symmetry": SYMMETRY.to_string(),
        "movies": params.movies,
        "particles_per_movie": PARTICLES_PER_MOVIE,
        "width": FRAME_PX,
        "height": FRAME_PX,
        "frames": FRAMES,
        "dose_per_frame": DOSE_PER_FRAME,
        "pixel_size": PIXEL_A,
        "truth_pixel_size": MAP_PIXEL_A,
        "box_size": BOX,
        "voltage": 300.0,
        "cs": 2.7,
        "amplitude_contrast": 0.1,
        "min_defocus": 9000.0,
        "max_defocus": 18000.0,
        "max_astigmatism": MAX_ASTIGMATISM_A,
        "seed": params.seed,
    })
}
