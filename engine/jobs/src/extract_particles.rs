//! `extract-particles`: cuts particle images out of micrographs, round picks or round aligned particles.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use vitreous_model::outputs::Kind;
use vitreous_model::parameters;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;

parameters! {
    /// Parameters of `extract-particles`.
    pub struct ExtractParticles {
        /// Box cut out of the micrograph; required. About twice the particle's diameter.
        pub box_size: Option<u32> = None, unit "px of the micrograph";
        /// Box after downsampling by Fourier cropping; left out, no downsampling.
        pub output_box: Option<u32> = None, unit "px";
        /// Diameter of the circle outside which the background is measured; left out, 0.75 of the box.
        pub background_diameter: Option<f64> = None, unit "Å";
        /// Cut boxes of particles round the centres that their alignment found; else round the old ones.
        pub recentre: bool = true;
        /// Of two particles closer than this on a micrograph the one with the better likelihood (without any, the
        /// better score) is kept; left out, all.
        pub min_distance: Option<f64> = None, unit "Å";
        /// Invert the contrast, so that protein is white; micrographs have it dark.
        pub invert: bool = true;
        /// Write 16-bit floats (MRC mode 12), half the disk space.
        pub float16: bool = false;
        /// The largest fraction of micrographs that may fail before the job fails.
        pub max_bad_fraction: f64 = 0.5;
    }
}

impl Validate for ExtractParticles {
    fn validate(&self) -> Result<(), BadParam> {
        let Some(box_size) = self.box_size else {
            return Err(BadParam::new("box_size", "", "is required")
                .hint("give --box-size, about twice the diameter"));
        };
        let even = |n: u32| n.is_multiple_of(2) && (16..=4096).contains(&n);
        BadParam::unless(
            even(box_size),
            "box_size",
            box_size,
            "must be even and lie between 16 and 4096 px",
        )?;
        if let Some(output) = self.output_box {
            let fits = even(output) && output <= box_size;
            BadParam::unless(
                fits,
                "output_box",
                output,
                "must be even, at least 16 and not larger than box_size",
            )?;
        }
        if let Some(diameter) = self.background_diameter {
            microscope::check_positive("background_diameter", diameter)?;
        }
        if let Some(distance) = self.min_distance {
            microscope::check_positive("min_distance", distance)?;
        }
        microscope::check_fraction("max_bad_fraction", self.max_bad_fraction)
    }

    fn example() -> Self {
        Self { box_size: Some(336), output_box: Some(96), ..Self::default() }
    }
}

/// Two images of a micrograph in floats for each thread.
fn estimate(_: &ExtractParticles, inputs: &InputSummary) -> Estimate {
    let [width, height] = inputs.frame_px.unwrap_or([5760, 4092]).map(u64::from);
    let items = inputs.items;
    Estimate::of_threads(4)
        .mem_mib(
            512 + 4 * width * height * 8 / (1 << 20),
            format!("512 MiB + 4 threads x 8 bytes for each of {width} x {height} pixels"),
        )
        .walltime_s(1800 + items, format!("30 min + {items} micrographs x 1 s"))
}

/// The job type.
pub static JOB: Typed<ExtractParticles> = Typed {
    name: "extract-particles",
    summary: "cut particle images out of micrographs, normalised and downsampled",
    inputs: &[
        Slot::one_of("picks", Kind::Picks, "positions of particles"),
        Slot::one_of("particles", Kind::Particles, "particles to be cut out anew where their alignment says"),
        Slot::required("micrographs", Kind::Micrographs, "micrographs they were picked on"),
    ],
    outputs: &[Slot::required("particles", Kind::Particles, "the particles")],
    per_item: true,
    on_gpu: false,
    estimate,
};
