//! CPU twin of [`crate::ops::align`]: one image after the other, each climb to its end; [`crate::levenberg`] leads.
//!
//! | file | |
//! |---|---|
//! | `lattice` | the points of a band and an image's values there |
//! | `look_up` | value and gradient of the reference at a block of points |
//! | `normal` | logL and its derivatives |
//! | `simd` | their width, chosen at run time |

pub mod lattice;
pub mod look_up;
pub mod normal;
pub mod simd;

use crate::cpu::pose_search::simd::Simd;
use crate::cpu::project::Projector;
use crate::device::Cpu;
use crate::levenberg::Ascent;
use crate::ops::align::{
    Align, AlignImage, AlignLevel, Alignment, NormalEquations, PixelPose, PosePrior, ShellSums,
};
use lattice::{Band, Lattice, LatticeImage};
use normal::{Compared, NormalJob};
use rayon::prelude::*;

/// Buffers of one thread.
#[derive(Default)]
struct Workspace {
    image: LatticeImage,
    weights: Vec<f32>,
    compared: Compared,
}

impl Workspace {
    fn set_band(&mut self, band: &Band) {
        self.weights.clear();
        self.weights.extend(band.window.iter().zip(&self.image.over_noise).map(|(w, over)| w * over));
    }
}

/// One image and the reference, in one band.
struct Problem<'a> {
    projector: &'a Projector,
    lattice: &'a Lattice,
    image: &'a LatticeImage,
    weights: &'a [f32],
    prior: PosePrior,
    simd: Simd,
}

impl Problem<'_> {
    fn evaluate(&self, pose: PixelPose) -> NormalEquations {
        let mut found = simd::normal_equations(
            self.simd,
            &NormalJob {
                projector: self.projector,
                lattice: self.lattice,
                image: self.image,
                weights: self.weights,
                pose,
            },
        );
        self.prior.add_to(&pose, &mut found);
        found
    }
}

/// Refines the starts of one image through all bands.
fn align_one(
    projector: &Projector,
    lattice: &Lattice,
    bands: &[Band],
    image: &AlignImage<'_>,
    work: &mut Workspace,
) -> Vec<Alignment> {
    let largest = bands.iter().map(|band| band.window.len()).max().unwrap_or(0);
    if largest == 0 || image.starts.is_empty() {
        return Vec::new();
    }
    work.image.read(lattice, &image.model, largest, largest);
    let mut ascent = Ascent::new(image.starts);
    for band in bands {
        work.set_band(band);
        let problem = Problem {
            projector,
            lattice,
            image: &work.image,
            weights: &work.weights,
            prior: image.prior,
            simd: Simd::detect(),
        };
        ascent.begin(band.climb);
        for climb in ascent.climbs_mut() {
            while let Some(pose) = climb.proposal() {
                climb.take(problem.evaluate(pose));
            }
        }
        ascent.finish();
    }
    ascent.into_kept()
}

/// Sums by shell of one image at its first start.
fn sums_of(
    projector: &Projector,
    lattice: &Lattice,
    rmax: f64,
    image: &AlignImage<'_>,
    work: &mut Workspace,
) -> ShellSums {
    let n = projector.grid().n();
    let shells = n / 2 + 1;
    let zeros = || vec![0.0; shells];
    let mut sums = ShellSums { residual: zeros(), cross: zeros(), model: zeros(), points: zeros() };
    let Some(pose) = image.starts.first() else { return sums };
    let reach = projector.grid().radius(rmax);
    let modelled = lattice.points_within(reach);
    work.image.read(lattice, &image.model, lattice.points(), modelled);
    let job = NormalJob { projector, lattice, image: &work.image, weights: &work.weights, pose: *pose };
    simd::compare(Simd::detect(), &job, modelled, reach, &mut work.compared);
    let over = if image.model.amplitude == 0.0 { 0.0 } else { 1.0 / image.model.amplitude };
    for (i, &shell) in lattice.shell.iter().enumerate() {
        let shell = (shell as usize).min(shells - 1);
        sums.points[shell] += 1.0;
        if i < modelled && f64::from(lattice.radius[i]) <= reach {
            sums.residual[shell] += f64::from(work.compared.residual[i]);
            sums.cross[shell] += f64::from(work.compared.cross[i]) * over;
            sums.model[shell] += f64::from(work.compared.model[i]) * over * over;
        } else {
            let (re, im) = (f64::from(work.image.re[i]), f64::from(work.image.im[i]));
            sums.residual[shell] += re * re + im * im;
        }
    }
    sums
}

impl Align for Cpu {
    fn align(
        &self,
        slicer: &Projector,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Vec<Vec<Alignment>> {
        let lattice = Lattice::new(slicer.grid().n());
        let bands: Vec<Band> = levels.iter().map(|level| Band::new(&lattice, slicer.grid(), level)).collect();
        images
            .par_iter()
            .map_init(Workspace::default, |work, image| align_one(slicer, &lattice, &bands, image, work))
            .collect()
    }

    fn normal_equations(
        &self,
        slicer: &Projector,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Vec<NormalEquations> {
        let lattice = Lattice::new(slicer.grid().n());
        let band = Band::new(&lattice, slicer.grid(), &AlignLevel { rmax, keep: 1 });
        let one = |work: &mut Workspace, image: &AlignImage<'_>| {
            work.image.read(&lattice, &image.model, band.window.len(), band.window.len());
            work.set_band(&band);
            let problem = Problem {
                projector: slicer,
                lattice: &lattice,
                image: &work.image,
                weights: &work.weights,
                prior: image.prior,
                simd: Simd::detect(),
            };
            image.starts.first().map_or_else(NormalEquations::default, |&pose| problem.evaluate(pose))
        };
        images.par_iter().map_init(Workspace::default, one).collect()
    }

    fn shell_sums(&self, slicer: &Projector, rmax: f64, images: &[AlignImage<'_>]) -> Vec<ShellSums> {
        let lattice = Lattice::new(slicer.grid().n());
        images
            .par_iter()
            .map_init(Workspace::default, |work, image| sums_of(slicer, &lattice, rmax, image, work))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::align::run(&Cpu));
    }
}
