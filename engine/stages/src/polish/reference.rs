//! What a particle should look like: the projection of its half's map at its pose, with its CTF, as far as the halves
//! agree.

use crate::half_maps::Halves;
use crate::{Ctx, StageError};
use ndarray::s;
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::{HalfImage, radius_of};
use vitreous_compute::fsc::corrected_fsc;
use vitreous_compute::likelihood::{LatticeCtf, spectrum_at};
use vitreous_jobs::polish::Polish;
use vitreous_model::conventions::{resolution_at, signed_frequency};
use vitreous_model::half_set::HalfSet;
use vitreous_model::params::BadParam;
use vitreous_model::particle::Particle;

/// How far the automatic mask reaches beyond the structure, and its soft edge, Å.
const MASK_EXTEND_A: f64 = 6.0;
const MASK_EDGE_A: f64 = 8.0;
/// FSC up to which the map is used.
const LEAST_FSC: f64 = 0.143;
/// Padding of the maps for interpolation: with 2 the tracks are the same, for a third more memory (BENCHMARKS.md).
const PAD: f64 = 1.5;
/// Fewer shells tell no motion.
const FEWEST_SHELLS: f64 = 4.0;

/// The half maps, ready for projection.
pub struct Reference {
    slicers: [Projector; 2],
    /// Box edge, pixels, and pixel size.
    pub n: usize,
    pub pixel_a: f64,
    /// FSC of the halves by shell, freed of the mask.
    pub fsc: Vec<f64>,
    /// Up to this radius the maps are used, Fourier pixels.
    pub rmax: f64,
    /// Edge of transforms cropped to it: everything that is compared with a projection is of this size.
    pub small: usize,
    /// How many coefficients of each row of a cropped transform lie within `rmax`.
    pub ends: Vec<usize>,
}

impl Reference {
    /// Reads the halves of the slot `volume`, multiplies them with the mask and compares them.
    ///
    /// # Errors
    /// No halves, an unfit mask, or halves that agree nowhere.
    pub fn read(ctx: &Ctx<'_>, params: &Polish) -> Result<Self, StageError> {
        let halves = Halves::read(ctx.input("volume")?)?;
        let (n, pixel_a) = (halves.n(), halves.pixel_a);
        if n % 2 == 1 || n < 8 {
            return Err(StageError::input(
                format!("the map has a box of {n} voxels, expected an even number of at least 8"),
                "refine with an even box",
            ));
        }
        let given = ctx.optional_input("mask");
        let mask = match given.map(|input| &input.path).or(ctx.input("volume")?.parts.get("mask")) {
            Some(path) => halves.mask(path)?,
            None => halves.automatic_mask(None, MASK_EXTEND_A, MASK_EDGE_A)?,
        };
        let [one, two] = &halves.maps;
        let fsc = corrected_fsc(one.view(), two.view(), mask.view(), params.seed).corrected;
        let (resolution_a, _) = resolution_at(&fsc, LEAST_FSC, n, pixel_a);
        let detail_a = params.max_resolution.unwrap_or(0.0).max(resolution_a);
        let rmax = (n as f64 * pixel_a / detail_a).min(n as f64 / 2.0 - 1.0);
        if rmax < FEWEST_SHELLS {
            return Err(BadParam::new(
                "max_resolution",
                detail_a,
                format!(
                    "leaves {rmax:.1} shells of the map, whose halves agree to {resolution_a:.1} Å; expected at least \
                     {FEWEST_SHELLS}"
                ),
            )
            .hint("polish particles of a map of better resolution")
            .into());
        }
        let small = (2 * (rmax as usize + 2)).min(n);
        let slicer = |map: &ndarray::Array3<f32>| {
            Projector::with_radius((map * &mask).view(), PAD, rmax)
                .map_err(|error| StageError::input(error.to_string(), ""))
        };
        let ends = (0..small).map(|y| row_end(y, small, rmax)).collect();
        Ok(Self { slicers: [slicer(one)?, slicer(two)?], n, pixel_a, fsc, rmax, small, ends })
    }

    /// Edge of the box, Å.
    pub fn edge_a(&self) -> f64 {
        self.n as f64 * self.pixel_a
    }

    /// Finest detail that is used, Å.
    pub fn detail_a(&self) -> f64 {
        self.edge_a() / self.rmax
    }

    /// What is expected of a particle, cropped, phases from the centre of the box: CTF times projection times the part of a
    /// half map that is signal (its FSC with the other).
    pub fn expected(&self, particle: &Particle, half: HalfSet) -> Option<HalfImage> {
        let pose = particle.pose?;
        let mut whole = HalfImage::zeros_box(self.n);
        self.slicers[half.index()].slice(pose.rotation, self.rmax, &mut whole).ok()?;
        let ctf = LatticeCtf::new(particle.ctf.as_ref(), self.n, self.pixel_a);
        let mut out = HalfImage::zeros_box(self.small);
        for (y, &end) in self.ends.iter().enumerate() {
            let qy = signed_frequency(y, self.small);
            let source = if qy < 0 { self.n - qy.unsigned_abs() } else { qy as usize };
            let mut row = out.data_mut();
            let mut row = row.slice_mut(s![y, ..end]);
            for (x, value) in row.iter_mut().enumerate() {
                let radius = radius_of(y, x, self.small, self.small);
                let share = if radius < 1.0 { 0.0 } else { spectrum_at(&self.fsc, radius).clamp(0.0, 1.0) };
                *value = whole.data()[[source, x]] * ctf.value(x as f64, qy as f64) * share as f32;
            }
        }
        Some(out)
    }
}

/// How many coefficients of row `y` of a half image of `n` pixels lie within `rmax`, that of Nyquist's frequency not counted.
fn row_end(y: usize, n: usize, rmax: f64) -> usize {
    let qy = signed_frequency(y, n) as f64;
    let rest = rmax * rmax - qy * qy;
    if rest < 0.0 || 2 * y == n { 0 } else { (rest.sqrt() as usize + 1).min(n / 2) }
}
