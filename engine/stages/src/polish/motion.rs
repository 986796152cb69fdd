//! One movie: from its frames to the tracks of its particles, and what each frame shows of them.

use super::StageError;
use super::frames::{Frame, Frames};
use super::patch::{PatchGrid, PatchWork, Ramp};
use super::reference::Reference;
use super::tracks::{self, Correlations, Prior};
use super::weights::Shown;
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vitreous_compute::fourier::{CroppedForward, HalfImage, radius_of};
use vitreous_compute::likelihood::spectrum_at;
use vitreous_formats::star::convert::KnownMotion;
use vitreous_model::conventions::shell_of;
use vitreous_model::dose::attenuation;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::Particle;

/// Frames from which the spectrum of the noise is measured.
const NOISE_FRAMES: usize = 4;
/// Standard deviations by which a movie's particles must be found in it, or the known motion stays.
const LEAST_SIGNIFICANCE: f64 = 5.0;
/// Memory for transforms that are kept between the two sweeps, bytes; a movie with more is read again.
const KEPT_BYTES: usize = 1 << 30;

/// A particle to be followed.
pub struct Subject<'a> {
    pub particle: &'a Particle,
    pub half: HalfSet,
    /// Its centre in the first frame, pixels of the movie.
    pub place_px: [f64; 2],
}

/// What is known of a movie beforehand.
pub struct Setting<'a> {
    pub known: &'a KnownMotion,
    /// Pixel size of the movie, Å, and edge of the boxes cut out of it, pixels.
    pub pixel_a: f64,
    pub box_px: usize,
    /// Dose at the end of each frame, e/Å²; empty: not known.
    pub doses: &'a [f64],
    /// Factor on the critical dose, if it is known.
    pub voltage_factor: Option<f64>,
    pub prior: Prior,
    /// Farthest from the known motion, Å.
    pub range_a: f64,
    /// -1: particles are dark.
    pub sign: f64,
}

/// What was found in a movie: the record of its item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub particles: usize,
    pub frames: usize,
    /// First frame used, from 0.
    pub first: usize,
    /// By how many standard deviations the particles stand out of the noise along the known motion.
    pub significance: f64,
    /// Whether they do so enough for tracks of their own.
    pub followed: bool,
    /// Root mean square distance of the tracks from the known motion, each track's mean taken off, Å.
    pub deviation_a: f64,
    pub shown: Shown,
}

/// Displacement of each particle in each frame from its place, Å.
pub type Tracks = Vec<Vec<[f64; 2]>>;

/// Follows the particles of a movie.
///
/// # Errors
/// A frame that cannot be read.
pub fn follow(
    reference: &Reference,
    frames: &Frames,
    subjects: &[Subject<'_>],
    setting: &Setting<'_>,
) -> Result<(Moved, Tracks), StageError> {
    let expected: Vec<HalfImage> = subjects
        .par_iter()
        .map(|subject| {
            let expected = reference.expected(subject.particle, subject.half);
            expected.unwrap_or_else(|| HalfImage::zeros_box(reference.small))
        })
        .collect();
    let known: Tracks = subjects
        .iter()
        .map(|s| (0..frames.len()).map(|f| setting.known.displacement_a(f, s.place_px)).collect())
        .collect();
    let mut sweep = Sweep::new(reference, frames, subjects, setting, &expected, &known)?;
    let (patches, before, score) = sweep.first()?;
    let power = sweep.power();
    if score.expected <= 0.0 {
        return Err(StageError::input(
            "nothing is expected of its particles",
            "look at the map and the mask",
        ));
    }
    let followed = score.found * setting.sign > LEAST_SIGNIFICANCE * score.expected.sqrt();
    let mut tracks = known.clone();
    if followed {
        let places_a: Vec<[f64; 2]> =
            subjects.iter().map(|s| s.place_px.map(|px| px * setting.pixel_a)).collect();
        let correlations = Correlations {
            grid: &sweep.grid,
            patches: &patches,
            frames: frames.len(),
            scale: score.found / score.expected,
        };
        let own = tracks::find(&correlations, &places_a, setting.prior);
        for (track, own) in tracks.iter_mut().zip(own) {
            track.iter_mut().zip(own).for_each(|(at, d)| *at = [at[0] + d[0], at[1] + d[1]]);
        }
    }
    drop(patches);
    let found = sweep.second(&tracks)?;
    let moved = Moved {
        particles: subjects.len(),
        frames: frames.len(),
        first: 0,
        significance: rounded(score.found * setting.sign / score.expected.sqrt()),
        followed,
        deviation_a: rounded(deviation(&tracks, &known)),
        shown: Shown { found, found_before: before, expected: power },
    };
    Ok((moved, tracks))
}

/// Root mean square distance of tracks whose means are taken off.
pub fn deviation(tracks: &[Vec<[f64; 2]>], others: &[Vec<[f64; 2]>]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0f64);
    for (track, other) in tracks.iter().zip(others) {
        for axis in 0..2 {
            let n = track.len().max(1) as f64;
            let apart: Vec<f64> = track.iter().zip(other).map(|(a, b)| a[axis] - b[axis]).collect();
            let mean = apart.iter().sum::<f64>() / n;
            sum += apart.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n;
        }
        count += 1.0;
    }
    (sum / count.max(1.0)).sqrt()
}

/// A number as it is kept in records: to six digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// What the whole movie shows along the known motion.
#[derive(Default)]
struct Score {
    found: f64,
    expected: f64,
}

/// The transforms of all boxes, gone through twice.
struct Sweep<'a> {
    reference: &'a Reference,
    frames: &'a Frames,
    subjects: &'a [Subject<'a>],
    setting: &'a Setting<'a>,
    expected: &'a [HalfImage],
    known: &'a Tracks,
    grid: PatchGrid,
    /// Noise power by shell of a box's transform.
    noise: Vec<f64>,
    /// Shell of every coefficient in use, `[small, small/2 + 1]`.
    shells: Array2<u16>,
    /// By frame and particle, if there was room.
    kept: Vec<Vec<HalfImage>>,
}

/// Buffers of a thread.
struct Room {
    transform: CroppedForward,
    image: HalfImage,
    patches: PatchWork,
}

/// What one frame gives in the first sweep.
struct FirstLook {
    patches: Vec<Vec<f32>>,
    middle: f64,
    shown: Vec<f64>,
    kept: Vec<HalfImage>,
}

impl<'a> Sweep<'a> {
    fn new(
        reference: &'a Reference,
        frames: &'a Frames,
        subjects: &'a [Subject<'a>],
        setting: &'a Setting<'a>,
        expected: &'a [HalfImage],
        known: &'a Tracks,
    ) -> Result<Self, StageError> {
        let small = reference.small;
        let shell = |(y, x)| shell_of(radius_of(y, x, small, small)) as u16;
        let grid = PatchGrid::new(small, reference.edge_a(), reference.detail_a(), setting.range_a);
        let mut sweep = Self {
            reference,
            frames,
            subjects,
            setting,
            expected,
            known,
            grid,
            noise: Vec::new(),
            shells: Array2::from_shape_fn((small, small / 2 + 1), shell),
            kept: Vec::new(),
        };
        sweep.noise = sweep.measure_noise()?;
        Ok(sweep)
    }

    fn shell_count(&self) -> usize {
        shell_of(self.reference.rmax) + 1
    }

    fn room(&self) -> Room {
        let small = self.reference.small;
        Room {
            transform: CroppedForward::new(self.setting.box_px, small),
            image: HalfImage::zeros_box(small),
            patches: PatchWork::default(),
        }
    }

    /// The pixel of frame `frame` in which particle `p` lies by the known motion, and the rest of a displacement from it
    /// as a part of the box, phases of the box's first pixel taken to its centre.
    fn place(&self, p: usize, frame: usize, displacement_a: [f64; 2]) -> ([i64; 2], [f64; 2]) {
        let at = |displacement: [f64; 2]| {
            [0, 1].map(|i| self.subjects[p].place_px[i] + displacement[i] / self.setting.pixel_a)
        };
        let pixel = at(self.known[p][frame]).map(|v| v.round() as i64);
        let exact = at(displacement_a);
        let rest = [0, 1].map(|i| 0.5 + (exact[i] - pixel[i] as f64) / self.setting.box_px as f64);
        (pixel, rest)
    }

    fn measure_noise(&self) -> Result<Vec<f64>, StageError> {
        let frames = self.frames.len();
        let some = NOISE_FRAMES.min(frames);
        let numbers: Vec<usize> = (0..some).map(|i| i * frames / some).collect();
        let sums = self.frames.map(
            &numbers,
            || self.room(),
            |room, frame| {
                let mut sums = vec![0.0f64; self.shell_count()];
                let mut counts = vec![0.0f64; self.shell_count()];
                for p in 0..self.subjects.len() {
                    let (pixel, _) = self.place(p, frame.number, self.known[p][frame.number]);
                    frame.transform(pixel, self.setting.box_px, &mut room.transform, &mut room.image);
                    self.each_coefficient(|y, x, shell, count| {
                        sums[shell] += count * f64::from(room.image.data()[[y, x]].norm_sqr());
                        counts[shell] += count;
                    });
                }
                (sums, counts)
            },
        )?;
        let total = |s: usize| -> f64 {
            let (sum, count) =
                sums.iter().fold((0.0, 0.0), |(a, b), (sum, count)| (a + sum[s], b + count[s]));
            sum / f64::max(count, 1.0)
        };
        let noise: Vec<f64> = (0..self.shell_count()).map(total).collect();
        let least = noise.iter().copied().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        if !least.is_finite() {
            return Err(StageError::input("its frames show nothing at all", "look at the movie"));
        }
        Ok(noise.into_iter().map(|v| v.max(least)).collect())
    }

    /// Row, column, shell and number of times in the whole plane of every coefficient in use.
    fn each_coefficient(&self, mut visit: impl FnMut(usize, usize, usize, f64)) {
        for (y, &end) in self.reference.ends.iter().enumerate() {
            for x in 0..end {
                visit(y, x, usize::from(self.shells[[y, x]]), if x == 0 { 1.0 } else { 2.0 });
            }
        }
    }

    /// What is left of the signal at a shell in a frame, before anything is known from the data.
    fn left(&self, frame: usize, shell: usize) -> f64 {
        match (self.setting.doses.get(frame), self.setting.voltage_factor) {
            (Some(dose), Some(factor)) => attenuation(shell as f64 / self.reference.edge_a(), *dose, factor),
            _ => 1.0,
        }
    }

    /// Weights of the correlation in a frame.
    fn weight(&self, frame: usize) -> Array2<f32> {
        let small = self.reference.small;
        let by_shell: Vec<f64> =
            (0..self.shell_count()).map(|s| self.left(frame, s) / self.noise[s]).collect();
        let mut weight = Array2::zeros((small, small / 2 + 1));
        self.each_coefficient(|y, x, _, count| {
            weight[[y, x]] = (count * spectrum_at(&by_shell, radius_of(y, x, small, small))) as f32;
        });
        weight
    }

    /// By shell: power of what is expected over the noise, all particles.
    fn power(&self) -> Vec<f64> {
        let mut sums = vec![0.0f64; self.shell_count()];
        for expected in self.expected {
            self.each_coefficient(|y, x, shell, count| {
                sums[shell] += count * f64::from(expected.data()[[y, x]].norm_sqr());
            });
        }
        sums.iter().zip(&self.noise).map(|(sum, noise)| rounded(sum / noise)).collect()
    }

    /// Adds by shell what image `p`, moved by `ramp`, shows of what is expected.
    fn add_shown(&self, p: usize, image: &HalfImage, ramp: &Ramp, sums: &mut [f64]) {
        let expected = &self.expected[p];
        for (y, &end) in self.reference.ends.iter().enumerate() {
            let (g, f, shells) = (expected.data().row(y), image.data().row(y), self.shells.row(y));
            let turn = ramp.y[y];
            for x in 0..end {
                let z = g[x].conj() * f[x] * (ramp.x[x] * turn);
                sums[usize::from(shells[x])] += f64::from(if x == 0 { z.re } else { 2.0 * z.re });
            }
        }
    }

    fn shown(&self, sums: &[f64]) -> Vec<f64> {
        sums.iter().zip(&self.noise).map(|(sum, noise)| rounded(self.setting.sign * sum / noise)).collect()
    }

    /// All frames along the known motion: patches `[particle · frames + frame]`, what is shown by frame and shell, and the
    /// sum of all.
    #[allow(clippy::type_complexity)]
    fn first(&mut self) -> Result<(Vec<Vec<f32>>, Vec<Vec<f64>>, Score), StageError> {
        let (particles, frames, small) = (self.subjects.len(), self.frames.len(), self.reference.small);
        let keep = particles * frames * small * (small / 2 + 1) * 8 <= KEPT_BYTES;
        let numbers: Vec<usize> = (0..frames).collect();
        let looks =
            self.frames.map(&numbers, || self.room(), |room, frame| self.first_look(room, &frame, keep))?;
        let power = self.power();
        let mut score = Score::default();
        let mut patches = vec![Vec::new(); particles * frames];
        let mut before = Vec::with_capacity(frames);
        for (f, look) in looks.into_iter().enumerate() {
            look.patches.into_iter().enumerate().for_each(|(p, patch)| patches[p * frames + f] = patch);
            score.found += look.middle;
            score.expected += power.iter().enumerate().map(|(s, p)| p * self.left(f, s).powi(2)).sum::<f64>();
            before.push(self.shown(&look.shown));
            self.kept.push(look.kept);
        }
        Ok((patches, before, score))
    }

    fn first_look(&self, room: &mut Room, frame: &Frame<'_>, keep: bool) -> FirstLook {
        let weight = self.weight(frame.number);
        let mut look = FirstLook {
            patches: Vec::with_capacity(self.subjects.len()),
            middle: 0.0,
            shown: vec![0.0; self.shell_count()],
            kept: Vec::new(),
        };
        for (p, expected) in self.expected.iter().enumerate() {
            let (pixel, rest) = self.place(p, frame.number, self.known[p][frame.number]);
            frame.transform(pixel, self.setting.box_px, &mut room.transform, &mut room.image);
            let ramp = Ramp::back(self.reference.small, rest);
            let mut patch = vec![0.0; self.grid.len()];
            let pair = (expected, &room.image);
            let ends = &self.reference.ends;
            let middle = self.grid.correlate(pair, &ramp, weight.view(), ends, &mut room.patches, &mut patch);
            look.middle += f64::from(middle);
            look.patches.push(patch);
            self.add_shown(p, &room.image, &ramp, &mut look.shown);
            if keep {
                look.kept.push(room.image.clone());
            }
        }
        look
    }

    /// All frames along `tracks`: what is shown by frame and shell.
    fn second(&self, tracks: &Tracks) -> Result<Vec<Vec<f64>>, StageError> {
        let small = self.reference.small;
        let one =
            |f: usize, mut image_of: Box<dyn FnMut(usize, [i64; 2], &mut dyn FnMut(&HalfImage)) + '_>| {
                let mut sums = vec![0.0; self.shell_count()];
                for (p, track) in tracks.iter().enumerate() {
                    let (pixel, rest) = self.place(p, f, track[f]);
                    let ramp = Ramp::back(small, rest);
                    image_of(p, pixel, &mut |image| self.add_shown(p, image, &ramp, &mut sums));
                }
                self.shown(&sums)
            };
        if self.kept.iter().all(|kept| kept.len() == self.subjects.len()) {
            let of_frame =
                |(f, kept): (usize, &Vec<HalfImage>)| one(f, Box::new(move |p, _, visit| visit(&kept[p])));
            return Ok(self.kept.par_iter().enumerate().map(of_frame).collect());
        }
        let numbers: Vec<usize> = (0..self.frames.len()).collect();
        self.frames.map(
            &numbers,
            || self.room(),
            |room, frame| {
                let (transform, image) = (&mut room.transform, &mut room.image);
                let frame = &frame;
                one(
                    frame.number,
                    Box::new(move |_, pixel, visit| {
                        frame.transform(pixel, self.setting.box_px, transform, image);
                        visit(image);
                    }),
                )
            },
        )
    }
}
