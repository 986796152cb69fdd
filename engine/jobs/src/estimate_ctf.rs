//! `estimate-ctf`: defocus, astigmatism and fit resolution of micrographs.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `estimate-ctf`.
    pub struct EstimateCtf {
        /// Edge of the tiles whose power spectra are averaged.
        pub tile: u32 = 512, unit "px";
        /// Lowest resolution used in the fit.
        pub min_resolution: f64 = 30.0, unit "Å";
        /// Highest resolution used in the fit.
        pub max_resolution: f64 = 4.0, unit "Å";
        /// Smallest defocus searched.
        pub min_defocus: f64 = 3000.0, unit "Å";
        /// Largest defocus searched.
        pub max_defocus: f64 = 50000.0, unit "Å";
        /// Astigmatism expected; larger values are penalised.
        pub expected_astigmatism: f64 = 500.0, unit "Å";
        /// Fit the phase shift of a phase plate too.
        pub phase_shift: bool = false;
        /// Fit a tilt or a curvature of the specimen where the spectra of a micrograph's parts show one.
        pub tilt: bool = true;
        /// The largest fraction of micrographs that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for EstimateCtf {
    fn validate(&self) -> Result<(), BadParam> {
        let tile_fits = (128..=4096).contains(&self.tile) && self.tile.is_multiple_of(2);
        BadParam::unless(tile_fits, "tile", self.tile, "must be even and lie between 128 and 4096 px")?;
        microscope::check_positive("max_resolution", self.max_resolution)?;
        let wider = self.min_resolution > self.max_resolution;
        BadParam::unless(
            wider,
            "min_resolution",
            self.min_resolution,
            "must be a larger number than max_resolution",
        )?;
        microscope::check_positive("min_defocus", self.min_defocus)?;
        let range = self.max_defocus > self.min_defocus;
        BadParam::unless(range, "max_defocus", self.max_defocus, "must be larger than min_defocus")?;
        microscope::check_positive("expected_astigmatism", self.expected_astigmatism)?;
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { min_defocus: 5000.0, max_defocus: 30000.0, ..Self::default() }
    }
}

/// Two images of a micrograph in floats for each thread.
fn estimate(_: &EstimateCtf, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let items = inputs.items;
    Estimate::of_threads(4)
        .mem_mib(
            512 + 4 * width * height * 8 / (1 << 20),
            format!("512 MiB + 4 threads x 8 bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(1800 + items * 4, format!("30 min + {items} micrographs x 4 s"))
}

/// The job type.
pub static JOB: Typed<EstimateCtf> = Typed {
    name: "estimate-ctf",
    summary: "fit defocus and astigmatism to the power spectra of micrographs",
    inputs: &[Slot::required("micrographs", Kind::Micrographs, "micrographs")],
    outputs: &[Slot::required("micrographs", Kind::Micrographs, "the same with their CTF")],
    per_item: true,
    on_gpu: true,
    estimate,
};
