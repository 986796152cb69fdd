//! `simulate`: movies or particle stacks of a known structure, with the truth beside them.

use crate::microscope;
use crate::{Estimate, Slot, Typed};
use std::path::PathBuf;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Validate};
use vitreous_model::resources::InputSummary;
use vitreous_model::symmetry::PointGroup;
use vitreous_model::{choices, parameters};

choices! {
    /// What to simulate.
    pub enum Product {
        /// Movies as a camera records them.
        #[default] Movies = "movies",
        /// Particle images with white noise.
        Particles = "particles",
    }
}

choices! {
    /// File format of simulated movies.
    pub enum MovieFormat {
        /// 8-bit TIFF with LZW compression.
        #[default] TiffLzw = "tiff-lzw",
        /// MRC stack of 8- or 16-bit integers.
        Mrc = "mrc",
    }
}

parameters! {
    /// Parameters of `simulate`.
    pub struct Simulate {
        /// Atomic model: PDB or mmCIF, plain or .gz, or a compact model; required.
        pub model: Option<PathBuf> = None;
        /// Model of a part that turns as a rigid body against the first one, in the same frame; particle images only.
        pub moving: Option<PathBuf> = None;
        /// How far it turns about each axis, standard deviation; it turns about its atom nearest the middle of the first model.
        pub moving_angle: f64 = 5.0, unit "°";
        /// Detergent molecules of a micelle about the model, in new places in each particle image; 0: none. The membrane's
        /// normal is the model's z axis, and its middle lies at z = 0, as in the OPM database.
        pub detergent: u32 = 0;
        /// Movies or particle images.
        pub product: Product = Product::Movies;
        /// Rotate the model so that the axes of this group lie where the conventions put them.
        pub symmetry: PointGroup = PointGroup::C1;
        /// Biological assembly of the model to build, by its number; left out, the atoms as deposited.
        pub assembly: String = String::new();
        /// B-factor of every atom.
        pub bfactor: f64 = 40.0, unit "Å²";
        /// Add each atom's deposited B-factor.
        pub deposited_bfactors: bool = false;
        /// Movies to make.
        pub movies: u32 = 20;
        /// Particles per movie; they do not overlap, so fewer may fit.
        pub particles_per_movie: u32 = 30;
        /// Particle images to make.
        pub particles: u32 = 600;
        /// Width of a movie frame.
        pub width: u32 = 1024, unit "px";
        /// Height of a movie frame.
        pub height: u32 = 1024, unit "px";
        /// Frames per movie.
        pub frames: u32 = 24;
        /// Pixel size.
        pub pixel_size: Option<f64> = None, unit "Å";
        /// Box edge of particle images, and of the truth map.
        pub box_size: u32 = 96, unit "px";
        /// Pixel size of the truth map; left out, that of the images.
        pub truth_pixel_size: Option<f64> = None, unit "Å";
        /// Dose per frame at the specimen.
        pub dose_per_frame: f64 = 1.5, unit "e/Å²";
        /// Signal-to-noise ratio of particle images: variance of the signal over that of the noise.
        pub snr: f64 = 0.05;
        /// Acceleration voltage.
        pub voltage: Option<f64> = None, unit "kV";
        /// Spherical aberration.
        pub cs: Option<f64> = None, unit "mm";
        /// Amplitude contrast, as a fraction.
        pub amplitude_contrast: Option<f64> = None;
        /// Smallest defocus.
        pub min_defocus: f64 = 8000.0, unit "Å";
        /// Largest defocus.
        pub max_defocus: f64 = 22000.0, unit "Å";
        /// Largest difference of the two defoci.
        pub max_astigmatism: f64 = 400.0, unit "Å";
        /// Whole-frame drift over the exposure.
        pub drift: f64 = 20.0, unit "Å";
        /// Largest local motion on top of the drift.
        pub local_motion: f64 = 5.0, unit "Å";
        /// Motion on top of these that changes over some hundred Å and wanders from frame to frame, so that correction of
        /// whole movies cannot follow it: root mean square by the end.
        pub fine_motion: f64 = 0.0, unit "Å";
        /// Largest displacement of a particle image from its box centre, along x and y.
        pub shift: f64 = 5.0, unit "Å";
        /// Particle images: standard deviation by which the table's defoci miss the true ones.
        pub defocus_error: f64 = 0.0, unit "Å";
        /// Particle images: leave the true poses in the table, and split it into halves.
        pub keep_poses: bool = false;
        /// Particle images: give each layer of the particle the defocus that it has at its height, as the curvature of the
        /// Ewald sphere demands of thick particles; seen from the source, so that `reconstruct` undoes it with `forward`.
        pub ewald: bool = false;
        /// Particle images: beam tilt along x.
        pub beam_tilt_x: f64 = 0.0, unit "mrad";
        /// Particle images: beam tilt along y.
        pub beam_tilt_y: f64 = 0.0, unit "mrad";
        /// Particle images: coefficient of the trefoil x³ - 3xy².
        pub trefoil_x: f64 = 0.0, unit "rad Å³";
        /// Particle images: coefficient of the trefoil 3x²y - y³.
        pub trefoil_y: f64 = 0.0, unit "rad Å³";
        /// Particle images: coefficient of the tetrafoil x⁴ - 6x²y² + y⁴.
        pub tetrafoil_x: f64 = 0.0, unit "rad Å⁴";
        /// Particle images: coefficient of the tetrafoil 4xy(x² - y²).
        pub tetrafoil_y: f64 = 0.0, unit "rad Å⁴";
        /// Particle images: by what part frequencies look larger along one direction than across it.
        pub anisotropy: f64 = 0.0;
        /// Direction of the anisotropy, from the x axis.
        pub anisotropy_angle: f64 = 0.0, unit "°";
        /// Structure of the ice: its projected potential from pixel to pixel, relative to the particle's, both as root
        /// mean square. It gives micrographs their Thon rings.
        pub ice: f64 = 0.3;
        /// Relative spread of the gain from pixel to pixel; 0 writes no gain reference.
        pub gain_spread: f64 = 0.05;
        /// Hot and dead pixels of the camera.
        pub defects: u32 = 20;
        /// File format of the movies.
        pub format: MovieFormat = MovieFormat::TiffLzw;
        /// Seed of everything random.
        pub seed: u64 = 1;
    }
}

impl Validate for Simulate {
    fn validate(&self) -> Result<(), BadParam> {
        if self.model.is_none() {
            return Err(
                BadParam::new("model", "", "is required").hint("give an atomic model: --model 1mnf.pdb")
            );
        }
        for (key, value) in [
            ("dose_per_frame", self.dose_per_frame),
            ("snr", self.snr),
            ("truth_pixel_size", self.truth_pixel_size.unwrap_or(1.0)),
        ] {
            microscope::check_positive(key, value)?;
        }
        for (key, value) in [
            ("bfactor", self.bfactor),
            ("max_astigmatism", self.max_astigmatism),
            ("drift", self.drift),
            ("local_motion", self.local_motion),
            ("fine_motion", self.fine_motion),
            ("shift", self.shift),
            ("ice", self.ice),
            ("gain_spread", self.gain_spread),
            ("min_defocus", self.min_defocus),
            ("moving_angle", self.moving_angle),
            ("defocus_error", self.defocus_error),
        ] {
            BadParam::unless(value >= 0.0, key, value, "must not be negative")?;
        }
        for (key, value, most) in [
            ("beam_tilt_x", self.beam_tilt_x, 20.0),
            ("beam_tilt_y", self.beam_tilt_y, 20.0),
            ("trefoil_x", self.trefoil_x, 1e4),
            ("trefoil_y", self.trefoil_y, 1e4),
            ("tetrafoil_x", self.tetrafoil_x, 1e5),
            ("tetrafoil_y", self.tetrafoil_y, 1e5),
            ("anisotropy", self.anisotropy, 0.2),
            ("anisotropy_angle", self.anisotropy_angle, 360.0),
        ] {
            let why = format!("must lie between -{most} and {most}");
            BadParam::unless(value.abs() <= most, key, value, &why)?;
            let used = value == 0.0 || self.product == Product::Particles;
            BadParam::unless(used, key, value, "is for particle images; movies have no aberrations")?;
        }
        let range = self.max_defocus >= self.min_defocus;
        BadParam::unless(range, "max_defocus", self.max_defocus, "must not be smaller than min_defocus")?;
        for (key, value, low, high) in [
            ("movies", self.movies, 1, 1_000_000),
            ("particles_per_movie", self.particles_per_movie, 1, 100_000),
            ("particles", self.particles, 1, 100_000_000),
            ("frames", self.frames, 1, 65_535),
            ("width", self.width, 64, 32_768),
            ("height", self.height, 64, 32_768),
            ("box_size", self.box_size, 16, 2048),
            ("detergent", self.detergent, 0, 10_000),
        ] {
            let fits = (low..=high).contains(&value);
            BadParam::unless(fits, key, value, &format!("must lie between {low} and {high}"))?;
        }
        if self.product == Product::Movies {
            let why = "is for particle images: --product particles";
            BadParam::unless(self.moving.is_none(), "moving", "a model", why)?;
            BadParam::unless(self.detergent == 0, "detergent", self.detergent, why)?;
            BadParam::unless(!self.ewald, "ewald", self.ewald, why)?;
        }
        BadParam::unless(self.box_size.is_multiple_of(2), "box_size", self.box_size, "must be even")?;
        microscope::check(self.pixel_size, self.voltage, self.cs, self.amplitude_contrast)
    }

    fn example() -> Self {
        Self {
            model: Some("1mnf.pdb.gz".into()),
            pixel_size: Some(1.5),
            voltage: Some(300.0),
            cs: Some(2.7),
            amplitude_contrast: Some(0.1),
            ..Self::default()
        }
    }
}

fn estimate(params: &Simulate, _: &InputSummary) -> Estimate {
    let frame_mib = u64::from(params.width) * u64::from(params.height) * 4 / (1 << 20) + 1;
    Estimate::of_threads(4)
        .mem_mib(
            1024 + 24 * frame_mib,
            format!(
                "1 GiB + 24 frames of {} x {} pixels in floats ({frame_mib} MiB each)",
                params.width, params.height
            ),
        )
        .walltime_s(4 * 3600, "4 h")
}

/// The job type.
pub static JOB: Typed<Simulate> = Typed {
    name: "simulate",
    summary: "make movies or particle images of an atomic model, with the truth beside them",
    inputs: &[],
    outputs: &[
        Slot::optional("movies", Kind::Movies, "the movies"),
        Slot::optional("particles", Kind::Particles, "the particle images, as a microscope would give them"),
        Slot::required("truth", Kind::Particles, "particles with their true positions, poses and defoci"),
        Slot::optional("truth_moving", Kind::Particles, "the same with the poses of the part that moves"),
        Slot::required("volume", Kind::Volume, "the true map"),
    ],
    per_item: true,
    on_gpu: false,
    estimate,
};
