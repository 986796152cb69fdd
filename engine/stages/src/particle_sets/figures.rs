//! Some images of sets, and their spectra.

use crate::Ctx;
use crate::map_figures;
use crate::particle_images::ParticleImages;
use ndarray::Array2;
use vitreous_compute::fourier::{HalfImage, resample_box, shell_power};
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Series};

/// Images of a set that are read for pictures: a mean spectrum of so many is good to a tenth in every shell.
const READ: usize = 100;
/// Images of a set that are shown, in one row.
const SHOWN: usize = 8;
/// Pictures are downsampled to about this many pixels.
const PICTURE_PX: usize = 96;

/// Images from all over a set.
pub(crate) struct Sample {
    images: Vec<Array2<f32>>,
    pixel_size_a: f64,
}

impl Sample {
    /// Reads some images at equal distances in the set. One that cannot be read is left out: the job that needs it says why.
    pub fn of(ctx: &Ctx<'_>, set: &ParticleSet) -> Self {
        let step = set.particles.len().div_ceil(READ).max(1);
        let some = set.particles.iter().step_by(step).cloned().collect();
        let some = ParticleSet { particles: some, optics: Vec::new(), ..*set };
        let (stacks, _) = ParticleImages::open(ctx, &some);
        let images = (0..some.particles.len()).filter_map(|index| stacks.read(index).ok()).collect();
        Self { images, pixel_size_a: set.pixel_size_a }
    }

    /// Images that could be read.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// A row of them.
    pub fn row(&self, id: &str, title: &str) -> Option<Figure> {
        let n = self.images.first()?.nrows();
        let small = n.min(PICTURE_PX);
        let step = self.images.len().div_ceil(SHOWN).max(1);
        let shown: Vec<Array2<f32>> =
            self.images.iter().step_by(step).map(|image| resample_box(image.view(), small)).collect();
        let pixel_size_a = self.pixel_size_a * n as f64 / small as f64;
        Some(map_figures::montage(id, title, &shown, SHOWN, pixel_size_a))
    }

    /// Logarithm of the mean power density by shell: `log10(|X|² a²/n²)` with pixel size `a` and box `n`, which neither
    /// cropping in Fourier space nor, for noise, cropping in real space changes.
    fn spectrum(&self, label: &str) -> Option<Series> {
        let n = self.images.first()?.nrows();
        let mut mean = vec![0.0; n / 2 + 1];
        for image in &self.images {
            let power = shell_power(&HalfImage::of_box(image.view()));
            mean.iter_mut().zip(power).for_each(|(sum, power)| *sum += power / self.images.len() as f64);
        }
        let edge_a = n as f64 * self.pixel_size_a;
        let density = |power: f64| (power * (self.pixel_size_a / n as f64).powi(2)).log10();
        // the mean grey value is of no interest, and at Nyquist two frequencies are one
        let shells = 1..n.div_ceil(2);
        let x = shells.clone().map(|shell| shell as f64 / edge_a).collect();
        Some(Series::line(label, x, mean[shells].iter().map(|power| density(*power))))
    }
}

/// Mean spectra of samples by their labels: sets of one kind and one normalisation lie on one curve.
pub(crate) fn spectra(id: &str, title: &str, samples: &[(String, Sample)]) -> Option<Figure> {
    let series: Vec<Series> = samples.iter().filter_map(|(label, sample)| sample.spectrum(label)).collect();
    if series.is_empty() {
        return None;
    }
    Some(Figure::Plot {
        id: id.into(),
        title: title.into(),
        x: Axis::new("resolution", "Å"),
        y: Axis::new("log10 of power density", "Å²"),
        series,
        levels: Vec::new(),
        x_is_resolution: true,
        equal_axes: false,
    })
}
