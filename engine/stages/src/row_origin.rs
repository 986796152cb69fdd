//! Which way the rows of micrographs run, told by particles that have both an image and a place: their images are held
//! against boxes cut from the micrographs.
//!
//! Programs disagree on which stored row of a sum is the first (CONVENTIONS: CryoSPARC's sums are mirrored against those of
//! RELION and MotionCor). A place can therefore count from the first or the last row, and an image can be mirrored against
//! the micrograph at hand or not: four ways, of which the noise that image and micrograph share picks one.

use crate::Ctx;
use crate::particle_images::ParticleImages;
use ndarray::{Array2, s};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use vitreous_formats::open_image;
use vitreous_model::particle::ParticleSet;

/// Micrographs that are read.
const MICROGRAPHS: usize = 3;
/// Particles of each.
const PARTICLES: usize = 4;
/// Images are brought to at most so many pixels along an edge.
const WORKING_BOX: usize = 96;
/// Boxes are compared with shifts of up to so many working pixels: places are rounded, to whole pixels by some programs.
const SHIFTS: isize = 2;
/// Edge of the square whose mean is taken off, working pixels: slow changes of grey are alike everywhere.
const LEVEL_PX: usize = 9;
/// An image cut from a micrograph and normalised correlates with it nearly perfectly; of other noise, at a box of 96 px and
/// the best of 25 shifts, by some 0.05.
const LEAST: f64 = 0.2;
/// By how much the best way must surpass the next.
const CLEAR: f64 = 2.0;

/// One way in which places and images may relate to the micrographs at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Places count rows from the other end than they were taken to.
    pub other_end: bool,
    /// Rows of the images run the other way than those of the micrographs.
    pub mirrored: bool,
}

/// All ways.
pub(crate) const WAYS: [Way; 4] = [
    Way { other_end: false, mirrored: false },
    Way { other_end: false, mirrored: true },
    Way { other_end: true, mirrored: false },
    Way { other_end: true, mirrored: true },
];

/// What the comparison found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// Particles compared.
    pub compared: usize,
    /// Mean of the particles' largest absolute correlations, in the order of [`WAYS`].
    pub correlation: [f64; 4],
    /// Particles whose image has the contrast of the micrograph, of those that fit best; the others are inverted.
    pub same_contrast: usize,
}

impl Verdict {
    /// The way that fits clearly; `None`: none does.
    pub fn way(&self) -> Option<Way> {
        let best = (0..WAYS.len()).max_by(|a, b| self.correlation[*a].total_cmp(&self.correlation[*b]))?;
        let others = (0..WAYS.len()).filter(|other| *other != best);
        let next = others.map(|other| self.correlation[other]).fold(0.0, f64::max);
        let is_clear = self.correlation[best] >= LEAST && self.correlation[best] >= CLEAR * next;
        is_clear.then_some(WAYS[best])
    }

    /// The correlation of a way.
    pub fn of(&self, way: Way) -> f64 {
        WAYS.iter().position(|other| *other == way).map_or(f64::NAN, |index| self.correlation[index])
    }
}

/// A micrograph that can be looked at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sight {
    /// Its file, absolute.
    pub path: PathBuf,
    /// Its pixel size, Å; `None`: that of its header, or else the movie's of the particles' optics group.
    pub pixel_size_a: Option<f64>,
}

/// Compares some particles with their micrographs, by the name of the exposure; `None` if no particle can be compared:
/// no micrograph is readable, none has a particle wholly inside, or images are constant.
pub(crate) fn compare(
    ctx: &Ctx<'_>,
    set: &ParticleSet,
    images: &ParticleImages,
    micrographs: &BTreeMap<String, Sight>,
) -> Option<Verdict> {
    let mut of_exposure: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, particle) in set.particles.iter().enumerate() {
        if let Some(pick) = particle.pick.as_ref().filter(|_| images.has(index)) {
            of_exposure.entry(&pick.exposure).or_default().push(index);
        }
    }
    let mut sum = [0.0; WAYS.len()];
    let (mut compared, mut same_contrast, mut read) = (0, 0, 0);
    for (name, sight) in micrographs {
        let Some(indices) = of_exposure.get(name.as_str()).filter(|_| read < MICROGRAPHS) else { continue };
        if ctx.check_stop().is_err() {
            return None;
        }
        let Some(micrograph) = Micrograph::read(sight, set, indices[0]) else { continue };
        read += 1;
        let mut of_this = 0;
        for &index in indices {
            let Some(found) = one(set, images, &micrograph, index) else { continue };
            let size = found.map(f64::abs);
            (0..WAYS.len()).for_each(|way| sum[way] += size[way]);
            let best = (0..WAYS.len()).max_by(|a, b| size[*a].total_cmp(&size[*b])).unwrap_or(0);
            same_contrast += usize::from(found[best] > 0.0);
            compared += 1;
            of_this += 1;
            if of_this == PARTICLES {
                break;
            }
        }
    }
    (compared > 0).then(|| Verdict {
        compared,
        correlation: sum.map(|sum| sum / compared as f64),
        same_contrast,
    })
}

/// A micrograph in memory.
struct Micrograph {
    pixels: Array2<f32>,
    pixel_size_a: f64,
}

impl Micrograph {
    fn read(sight: &Sight, set: &ParticleSet, particle: usize) -> Option<Self> {
        let source = open_image(&sight.path).ok()?;
        let header = source.header();
        if header.frames != 1 {
            return None;
        }
        // programs write 1 Å when they do not know
        let stated = sight.pixel_size_a.or(header.pixel_size_a.filter(|pixel| *pixel != 1.0));
        let group = set.particles[particle].optics_group;
        let of_movie = set.optics.iter().find(|g| g.number == group).map(|g| g.movie_pixel_size_a);
        let pixel_size_a = stated.or(of_movie).filter(|pixel| pixel.is_finite() && *pixel > 0.0)?;
        let mut pixels = vec![0.0; header.frame_len()];
        source.read_frame_in_pool(0, &mut pixels).ok()?;
        let pixels = Array2::from_shape_vec((header.height, header.width), pixels).ok()?;
        Some(Self { pixels, pixel_size_a })
    }

    /// The mean of a square of `step` pixels round a place, by bilinear samples; `None` outside.
    fn mean_around(&self, [x, y]: [f64; 2], step: f64) -> Option<f32> {
        let samples = (step.round() as usize).clamp(1, 8);
        let offset = |i: usize| ((i as f64 + 0.5) / samples as f64 - 0.5) * step;
        let mut sum = 0.0;
        for j in 0..samples {
            for i in 0..samples {
                sum += self.at(x + offset(i), y + offset(j))?;
            }
        }
        Some(sum / (samples * samples) as f32)
    }

    fn at(&self, x: f64, y: f64) -> Option<f32> {
        let (height, width) = self.pixels.dim();
        let inside = x >= 0.0 && y >= 0.0 && x < (width - 1) as f64 && y < (height - 1) as f64;
        if !inside {
            return None;
        }
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = ((x - x0 as f64) as f32, (y - y0 as f64) as f32);
        let row = |y: usize| self.pixels[[y, x0]] * (1.0 - fx) + self.pixels[[y, x0 + 1]] * fx;
        Some(row(y0) * (1.0 - fy) + row(y0 + 1) * fy)
    }

    /// A box of `n` pixels whose centre pixel (`n / 2`) lies on a place; `step` is its pixel in those of the micrograph.
    fn cut(&self, [x, y]: [f64; 2], n: usize, step: f64) -> Option<Array2<f32>> {
        let mut cut = Array2::zeros((n, n));
        let offset = |i: usize| (i as f64 - (n / 2) as f64) * step;
        for ((j, i), value) in cut.indexed_iter_mut() {
            *value = self.mean_around([x + offset(i), y + offset(j)], step)?;
        }
        Some(cut)
    }
}

/// The largest correlation of a particle in each way, with its sign; `None` if it cannot be compared in all of them.
fn one(
    set: &ParticleSet,
    images: &ParticleImages,
    micrograph: &Micrograph,
    index: usize,
) -> Option<[f64; 4]> {
    let pick = set.particles[index].pick.as_ref()?;
    let image = images.read_fit(index).ok()?;
    let middle = (image.nrows() / 2) as f64;
    let bin = image.nrows().div_ceil(WORKING_BOX);
    let image = flat(binned(&image, bin));
    let n = image.nrows();
    let step = set.pixel_size_a * bin as f64 / micrograph.pixel_size_a;
    // the middle of the binned image's centre pixel, from that of the image, in pixels of the micrograph
    let off = ((n / 2) * bin) as f64 + 0.5 * (bin as f64 - 1.0) - middle;
    let shift = off * set.pixel_size_a / micrograph.pixel_size_a;
    let height = micrograph.pixels.nrows() as f64;
    let place =
        |other_end: bool| [pick.x_px + shift, if other_end { height - pick.y_px } else { pick.y_px } + shift];
    let cuts = [false, true].map(|end| micrograph.cut(place(end), n, step).map(flat));
    let [Some(here), Some(there)] = cuts else { return None };
    let flipped = image.slice(s![..;-1, ..]).to_owned();
    let found = WAYS.map(|way| {
        let cut = if way.other_end { &there } else { &here };
        correlation(if way.mirrored { &flipped } else { &image }, cut)
    });
    found.iter().all(|value| value.is_finite()).then_some(found)
}

/// Means over squares of `bin` pixels.
fn binned(image: &Array2<f32>, bin: usize) -> Array2<f32> {
    let n = image.nrows() / bin;
    Array2::from_shape_fn((n, n), |(y, x)| {
        image.slice(s![y * bin..(y + 1) * bin, x * bin..(x + 1) * bin]).mean().unwrap_or(0.0)
    })
}

/// The image without its mean over a square round each pixel.
fn flat(image: Array2<f32>) -> Array2<f32> {
    let n = image.nrows();
    let half = LEVEL_PX / 2;
    // sums over all pixels above and to the left
    let mut sums = Array2::<f64>::zeros((n + 1, n + 1));
    for ((y, x), value) in image.indexed_iter() {
        sums[[y + 1, x + 1]] = f64::from(*value) + sums[[y, x + 1]] + sums[[y + 1, x]] - sums[[y, x]];
    }
    Array2::from_shape_fn((n, n), |(y, x)| {
        let (top, bottom) = (y.saturating_sub(half), (y + half + 1).min(n));
        let (left, right) = (x.saturating_sub(half), (x + half + 1).min(n));
        let sum = sums[[bottom, right]] - sums[[top, right]] - sums[[bottom, left]] + sums[[top, left]];
        image[[y, x]] - (sum / ((bottom - top) * (right - left)) as f64) as f32
    })
}

/// The correlation coefficient of largest size over all small shifts.
fn correlation(image: &Array2<f32>, cut: &Array2<f32>) -> f64 {
    let n = image.nrows() as isize;
    if n < 4 * SHIFTS + 4 {
        return f64::NAN;
    }
    let inner = |y: isize, x: isize| s![y + SHIFTS..n - SHIFTS + y, x + SHIFTS..n - SHIFTS + x];
    let fixed = image.slice(inner(0, 0));
    let mut best = 0.0f64;
    for y in -SHIFTS..=SHIFTS {
        for x in -SHIFTS..=SHIFTS {
            let moved = cut.slice(inner(y, x));
            let (mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (p, q) in fixed.iter().zip(moved) {
                let (p, q) = (f64::from(*p), f64::from(*q));
                (a, b, aa, bb, ab) = (a + p, b + q, aa + p * p, bb + q * q, ab + p * q);
            }
            let count = fixed.len() as f64;
            let spread = ((aa - a * a / count) * (bb - b * b / count)).sqrt();
            let found = if spread > 0.0 { (ab - a * b / count) / spread } else { 0.0 };
            if found.abs() > best.abs() {
                best = found;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests;
