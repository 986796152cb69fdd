//! One image: the projection of the subtracted part as the image shows it, and the image without it.

use super::maps::Projectors;
use super::placing::{Placing, cut};
use super::scales::{ImageSums, Scales};
use ndarray::{Array2, ArrayView2};
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::HalfImage;
use vitreous_compute::likelihood::LatticeCtf;
use vitreous_model::conventions::signed_frequency;
use vitreous_model::particle::{Particle, ParticleSet};

/// What all images need.
pub(super) struct Subtraction<'a> {
    /// The particles.
    pub set: &'a ParticleSet,
    /// Their maps.
    pub projectors: &'a Projectors,
    /// Their scales; `None`: 1.
    pub scales: Option<Scales>,
    /// How boxes move; `None`: not.
    pub placing: Option<Placing>,
    /// Box edge of the new images, pixels.
    pub output_box: usize,
}

impl Subtraction<'_> {
    /// Sums of the image `[n, n]` of a particle and the projection of its whole structure.
    pub fn sums(&self, index: usize, image: ArrayView2<'_, f32>) -> ImageSums {
        let particle = &self.set.particles[index];
        let pair = self.projectors.of(particle.half);
        let seen = self.seen(&pair.whole, particle);
        ImageSums::new(index, &HalfImage::of_box(image), &seen, self.projectors.band_px)
    }

    /// The image `[n, n]` of a particle without the subtracted part, moved and cut, `[m, m]`.
    pub fn apply(&self, index: usize, image: Array2<f32>) -> Array2<f32> {
        let particle = &self.set.particles[index];
        let scale = match &self.scales {
            Some(scales) => scales.of_particle(&self.sums(index, image.view())),
            None => 1.0,
        };
        let part = self.seen(&self.projectors.of(particle.half).subtracted, particle).into_box();
        let mut rest = image;
        rest.zip_mut_with(&part, |pixel, part| *pixel -= scale as f32 * part);
        let moved_px = match (self.placing, particle.pose) {
            (Some(placing), Some(pose)) => placing.of(pose).moved_px,
            _ => [0, 0],
        };
        if self.output_box == rest.nrows() && moved_px == [0, 0] {
            return rest;
        }
        cut(rest.view(), self.output_box, moved_px)
    }

    /// A map as the image of a particle shows it: projected, times CTF, shifted. Phases from the centre of the box.
    fn seen(&self, map: &Projector, particle: &Particle) -> HalfImage {
        let n = self.set.box_px as usize;
        let mut seen = HalfImage::zeros_box(n);
        let Some(pose) = particle.pose else { return seen };
        map.slice(pose.rotation, self.projectors.band_px, &mut seen)
            .expect("maps should be of the images' box");
        let ctf = LatticeCtf::new(particle.ctf.as_ref(), n, self.set.pixel_size_a);
        for ((y, x), value) in seen.data_mut().indexed_iter_mut() {
            *value *= ctf.value(x as f64, signed_frequency(y, n) as f64);
        }
        let [x_px, y_px] = pose.shift_a.map(|a| a / self.set.pixel_size_a);
        seen.shift(x_px, y_px);
        seen
    }
}
