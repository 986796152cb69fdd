//! The motion of the frame as a whole, to a fraction of a pixel: the start for everything finer.

use super::band::{Band, Spectrum};
use super::correlation::{Pair, RingPower, Workspace};
use super::simd::Row;
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_compute::fourier::{HalfImage, next_5_smooth};

/// Rounds of searching the whole correlation image; a round after which no frame moved by more than [`CONVERGED`] is
/// the last.
const ROUNDS: usize = 6;

/// Pixels of the binned frame.
const CONVERGED: f64 = 0.2;

/// Rings of the power spectrum from zero to Nyquist.
pub const RINGS: usize = 64;

/// How [`track`] searches.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Weight `exp(-2 B s²)` at frequency s: B in square pixels of the binned frame.
    pub b_factor: f64,
    /// Largest displacement from the sum that is looked for, pixels of the binned frame.
    pub max_shift: f64,
    /// Frames on either side whose correlation images are added to a frame's own in the first round, so that the
    /// dose searched with is enough for a peak; halved from round to round.
    pub reach: usize,
}

/// Displacement of every frame of a stack relative to their common mean, in pixels of the band's images.
///
/// Every frame is correlated with the sum of the *others*; the highest peak within `max_shift` moves it. Displacements
/// after the first round are limited to half of what they were before, so a lone wrong peak cannot run away.
pub fn track(band: &Band, stack: &[Spectrum], search: Search) -> Vec<Pair> {
    let mut displacements = vec![[0.0; 2]; stack.len()];
    if stack.len() < 2 {
        return displacements;
    }
    let mut workspace = Workspace::default();
    let ring = band.rings(RINGS);
    let (mut reach, mut limit) = (search.reach, search.max_shift);
    for round in 0..ROUNDS {
        workspace.align(band, stack, &displacements);
        let mut power = RingPower::new(RINGS, stack.len());
        power.add_stack(&workspace, &ring);
        let envelope = |s: f64| (-2.0 * search.b_factor * s * s).exp();
        let weights = ring_weights(band, &power.whitening(), envelope);
        let steps = peaks(band, &workspace, &weights, reach, limit);
        let largest = steps.iter().map(|step| step[0].hypot(step[1])).fold(0.0, f64::max);
        displacements.iter_mut().zip(&steps).for_each(|(d, step)| *d = [d[0] + step[0], d[1] + step[1]]);
        if largest < CONVERGED && reach == 0 && round > 0 {
            break;
        }
        (reach, limit) = (reach / 2, (0.5 * limit).max(2.0));
    }
    subtract_mean(&mut displacements);
    displacements
}

/// Weights of a band from a table by ring times a smooth envelope (of the frequency in cycles per pixel).
pub fn ring_weights(band: &Band, by_ring: &[f64], envelope: impl Fn(f64) -> f64) -> Vec<f32> {
    let last = by_ring.len().saturating_sub(1);
    band.weights(|s| {
        let ring = (s * 2.0 * last as f64).round() as usize;
        by_ring.get(ring).copied().unwrap_or(0.0) * envelope(s)
    })
}

/// Takes the mean off, which no correlation can see.
pub fn subtract_mean(track: &mut [Pair]) {
    let n = track.len().max(1) as f64;
    for axis in 0..2 {
        let mean = track.iter().map(|d| d[axis]).sum::<f64>() / n;
        track.iter_mut().for_each(|d| d[axis] -= mean);
    }
}

/// Position of the highest peak of every frame's correlation image, after adding those of `reach` neighbours on either
/// side, within `limit` pixels of the origin.
fn peaks(band: &Band, workspace: &Workspace, weights: &[f32], reach: usize, limit: f64) -> Vec<Pair> {
    let images: Vec<CorrelationImage> = (0..workspace.aligned().0.len())
        .into_par_iter()
        .map(|frame| CorrelationImage::new(band, workspace, weights, frame, limit))
        .collect();
    (0..images.len())
        .into_par_iter()
        .map(|frame| {
            let mut total = images[frame].clone();
            for other in frame.saturating_sub(reach)..(frame + reach + 1).min(images.len()) {
                if other != frame {
                    total.values.iter_mut().zip(&images[other].values).for_each(|(a, b)| *a += b);
                }
            }
            total.peak()
        })
        .collect()
}

/// The middle of a correlation image: displacements of up to `half` grid steps along x and y.
#[derive(Debug, Clone)]
struct CorrelationImage {
    /// `[2 half_y + 1, 2 half_x + 1]`, x fastest, zero displacement in the middle.
    values: Vec<f32>,
    half: [usize; 2],
    /// Pixels per grid step, x and y.
    step: Pair,
}

impl CorrelationImage {
    fn new(band: &Band, workspace: &Workspace, weights: &[f32], frame: usize, limit: f64) -> Self {
        let (moved, sum) = workspace.aligned();
        let spectrum = &moved[frame];
        // twice the band, so that the peak spans several grid steps
        let mx = next_5_smooth(4 * band.kx_max.min(band.nx / 4)).max(8).next_multiple_of(2);
        let my = next_5_smooth(4 * band.ky_max.min(band.ny / 4)).max(8).next_multiple_of(2);
        let (kx_max, ky_max) = (band.kx_max.min(mx / 2 - 1), band.ky_max.min(my / 2 - 1));
        let mut half = HalfImage::zeros(my, mx);
        {
            let mut data = half.data_mut();
            for row in band.ky_max - ky_max..=band.ky_max + ky_max {
                let (at, y) = (row * band.stride, (row + my - band.ky_max) % my);
                let total = Row { re: &sum.re[at..], im: &sum.im[at..] };
                let own = Row { re: &spectrum.re[at..], im: &spectrum.im[at..] };
                for x in 0..=kx_max {
                    let others = Complex32::new(total.re[x] - own.re[x], -(total.im[x] - own.im[x]));
                    data[[y, x]] = others * Complex32::new(own.re[x], own.im[x]) * weights[at + x];
                }
            }
            // the weights leave out one half of the column kx = 0; a real image needs both
            for y in 1..=ky_max {
                let value = data[[y, 0]];
                data[[my - y, 0]] = value.conj();
            }
        }
        let step = [band.nx as f64 / mx as f64, band.ny as f64 / my as f64];
        let half_of = |limit: f64, step: f64, m: usize| ((limit / step).ceil() as usize).clamp(1, m / 2 - 1);
        let wanted = [half_of(limit, step[0], mx), half_of(limit, step[1], my)];
        let image = half.into_rows_near_origin(wanted[1], kx_max + 1);
        let mut values = Vec::with_capacity((2 * wanted[0] + 1) * (2 * wanted[1] + 1));
        for row in image.rows() {
            values.extend((0..=2 * wanted[0]).map(|x| row[(x + mx - wanted[0]) % mx]));
        }
        Self { values, half: wanted, step }
    }

    /// The highest value, refined by a parabola along each axis, in pixels; the first of equal ones.
    fn peak(&self) -> Pair {
        let width = 2 * self.half[0] + 1;
        let best = (0..self.values.len())
            .fold(0, |best, i| if self.values[i] > self.values[best] { i } else { best });
        let (x, y) = (best % width, best / width);
        let refine = |at: usize, stride: usize, index: usize, last: usize| {
            if index == 0 || index == last {
                return 0.0;
            }
            let value = |i: usize| f64::from(self.values[i]);
            parabola(value(at - stride), value(at), value(at + stride))
        };
        [
            (x as f64 - self.half[0] as f64 + refine(best, 1, x, 2 * self.half[0])) * self.step[0],
            (y as f64 - self.half[1] as f64 + refine(best, width, y, 2 * self.half[1])) * self.step[1],
        ]
    }
}

/// Offset of the vertex of the parabola through values at -1, 0, 1, of which the middle one is the largest.
fn parabola(left: f64, middle: f64, right: f64) -> f64 {
    let curvature = left - 2.0 * middle + right;
    if curvature < 0.0 { (0.5 * (left - right) / curvature).clamp(-0.5, 0.5) } else { 0.0 }
}
