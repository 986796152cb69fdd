//! What the job types that refine poses and maps have in common: choices, padding, memory.

use crate::Estimate;
use vitreous_model::choices;

choices! {
    /// What references are multiplied by, and where halves are compared, when no mask is given.
    pub enum Masking {
        /// A mask made from the map in each iteration.
        #[default] Auto = "auto",
        /// The sphere of the particle's diameter.
        Sphere = "sphere",
        /// Nothing.
        None = "none",
    }
}

choices! {
    /// Where refinement looks for poses.
    pub enum Search {
        /// Everywhere, as long as that moves particles.
        #[default] Global = "global",
        /// Only about the poses that the particles have.
        Local = "local",
    }
}

choices! {
    /// How the maps of an iteration are filtered before they are references.
    pub enum Regularisation {
        /// By the signal-to-noise ratio of each shell.
        #[default] ByShell = "by-shell",
        /// By that of each place and band.
        ByPlace = "by-place",
    }
}

/// Padding of boxes up to [`LARGE_BOX`]. Twice is usual; one and a half gave the same maps and poses in a third of the
/// time at a signal-to-noise ratio of 0.05 (BENCHMARKS.md), since the noise of images is far above the interpolation's error.
const PADDING: f64 = 1.5;
/// Padding of larger boxes: memory grows with the cube of box and padding, and a box of 512 has to stay under 16 GiB.
const PADDING_OF_LARGE: f64 = 1.25;
/// The largest box, pixels, that is padded by [`PADDING`].
const LARGE_BOX: usize = 448;

/// Padding of the grids of a working box of `box_px` pixels: what is `given`, or by the box.
pub fn padding(given: Option<f64>, box_px: usize) -> f64 {
    given.unwrap_or(if box_px <= LARGE_BOX { PADDING } else { PADDING_OF_LARGE })
}

/// Bytes per point of a padded grid when maps are made, the peak: numerator and weight of both halves in 64-bit integers and
/// in floats, and one transform.
const BYTES_PER_POINT: f64 = 2.0 * 24.0 + 2.0 * 12.0 + 8.0;
/// Volumes of the images' box at that time: starting map, sphere, mask, maps. Fitted, with [`IMAGES`] and [`BASE_MIB`], to
/// measured peaks of boxes of 64 to 512 pixels (BENCHMARKS.md).
const VOLUMES: f64 = 3.6;
/// Images on their way, of 128 each: whole transforms of this chunk and the next, cropped ones, slices to insert.
const IMAGES: f64 = 6.0 * 128.0;
/// The program, views of the search, tables, MiB.
const BASE_MIB: f64 = 65.0;

/// Bytes of what is known of a particle: table, spectrum, state before and after, on their way between ranks. Fitted to
/// peaks of 10,000 and 100,000 particles (BENCHMARKS.md).
const BYTES_PER_PARTICLE: f64 = 4000.0;

/// Points of a padded grid of sums: half of a cube that reaches one point beyond the last shell's end, which lies half a
/// Fourier pixel beyond Nyquist.
fn points(box_px: f64, padding: f64) -> f64 {
    let reach = (padding * (0.5 * box_px + 0.5)).ceil() + 1.0;
    (2.0 * reach + 1.0).powi(2) * (reach + 1.0)
}

/// Peak memory, MiB, of one structure in two halves, of `items` images of `edge` pixels, and how it comes about.
pub fn memory(padding: f64, image_cache_gib: f64, edge: u64, items: u64) -> (u64, String) {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let n = edge as f64;
    let grids = mib(BYTES_PER_POINT * points(n, padding));
    let volumes = mib(VOLUMES * 4.0 * n.powi(3));
    let image = mib(4.0 * n * (n + 2.0));
    let all = image * items as f64;
    let cache = all.min(1024.0 * image_cache_gib);
    let particles = mib(BYTES_PER_PARTICLE * items as f64);
    let total = BASE_MIB + grids + volumes + IMAGES * image + cache + particles;
    let why = format!(
        "grids of a box of {edge} padded {padding} times {grids:.0} MiB, volumes {volumes:.0} MiB, images {:.0} MiB, what is \
         known of particles {particles:.0} MiB, program {BASE_MIB} MiB",
        IMAGES * image + cache
    );
    (total.ceil() as u64, why)
}

/// What a job asks for that refines `items` images of `edge` pixels of one structure.
pub fn estimate(padding: f64, image_cache_gib: f64, edge: u64, items: u64) -> Estimate {
    let (expected, why) = memory(padding, image_cache_gib, edge, items);
    Estimate::of_threads(4)
        .mem_mib(with_margin(expected), format!("{why}; 15 % and 256 MiB to spare"))
        .walltime_s(
            3600 + items * edge * edge / 100_000,
            format!("1 h + {items} particles of {edge} x {edge} pixels at 0.1 megapixels a second"),
        )
}

/// Memory, MiB, of sums of slices of one more class in two halves, numerator and weight in 64-bit integers.
pub fn sums_mib(padding: f64, edge: u64) -> u64 {
    const BYTES: f64 = 2.0 * 24.0;
    (BYTES * points(edge as f64, padding) / f64::from(1 << 20)).ceil() as u64
}

/// What is asked for where `expected_mib` are expected.
pub fn with_margin(expected_mib: u64) -> u64 {
    /// Beyond what is expected.
    const MARGIN: f64 = 1.15;
    (MARGIN * expected_mib as f64) as u64 + 256
}
