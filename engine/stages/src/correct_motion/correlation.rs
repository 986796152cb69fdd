//! How well the frames of a stack agree, and how their agreement changes when they are moved.
//!
//! The model of a frame is `A_f(x) = S(x - u_f) + noise`. With spectra moved back by the present estimate of `u_f`, the
//! correlation of frame `f` with the sum `R` of all *other* frames is `C_f(δ) = Σ w Re[conj(R) A_f exp(+i ω·δ)]`; its
//! slope and curvature at δ = 0 say by how much, and how surely, frame `f` has to move further.

use super::band::{Band, Spectrum};
use super::simd::{Row, correlate_row, shift_row};

/// A displacement or a pair of numbers by axis: x, y.
pub type Pair = [f64; 2];

/// Slope and curvature of a frame's correlation with the others, per axis.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measure {
    /// The correlation itself, in units of the weights times power.
    pub value: f64,
    /// Slope `∂C/∂δ`, per pixel.
    pub slope: Pair,
    /// Curvature `-∂²C/∂δ²`, per square pixel; positive at a peak.
    pub curvature: Pair,
    /// Variance of the slope from noise, per square pixel: `½ Σ w² ω² |R|² |A|²`.
    pub slope_variance: Pair,
}

/// Working memory for [`measure`]: the moved spectra of one stack and their sum.
#[derive(Debug, Default)]
pub struct Workspace {
    moved: Vec<Spectrum>,
    sum: Option<Spectrum>,
    column_re: Vec<f32>,
    column_im: Vec<f32>,
}

impl Workspace {
    /// Moves every spectrum back by its displacement (pixels of the band's images) and adds them up; the result stays
    /// in the workspace.
    pub fn align(&mut self, band: &Band, stack: &[Spectrum], displacements: &[Pair]) {
        let empty = || Spectrum { re: vec![0.0; band.len()], im: vec![0.0; band.len()] };
        self.moved.resize_with(stack.len(), empty);
        self.moved.iter_mut().filter(|s| s.re.len() != band.len()).for_each(|s| *s = empty());
        let sum = self.sum.insert(empty());
        for ((spectrum, moved), displacement) in stack.iter().zip(&mut self.moved).zip(displacements) {
            self.column_re.clear();
            self.column_im.clear();
            let first = band.omega_x.get(1).map_or(0.0, |omega| f64::from(*omega));
            for (cos, sin) in turns(0.0, first * displacement[0]).take(band.omega_x.len()) {
                self.column_re.push(cos as f32);
                self.column_im.push(sin as f32);
            }
            let column = Row { re: &self.column_re, im: &self.column_im };
            let middle = f64::from(band.omega_y[band.ky_max]) * displacement[1];
            let step = f64::from(band.omega_y[band.ky_max + 1]) * displacement[1] - middle;
            let along_y = turns(-(band.ky_max as f64) * step, step);
            for (row, (cos, sin)) in along_y.take(band.rows()).enumerate() {
                let range = row * band.stride..(row + 1) * band.stride;
                shift_row(
                    Row { re: &spectrum.re[range.clone()], im: &spectrum.im[range.clone()] },
                    [cos as f32, sin as f32],
                    column,
                    &mut moved.re[range.clone()],
                    &mut moved.im[range.clone()],
                    &mut sum.re[range.clone()],
                    &mut sum.im[range],
                );
            }
        }
    }

    /// The aligned spectra and their sum, as [`Workspace::align`] left them.
    pub fn aligned(&self) -> (&[Spectrum], &Spectrum) {
        (&self.moved, self.sum.as_ref().expect("align should have been called first"))
    }

    /// [`Measure`] of every aligned frame at its present displacement.
    pub fn measure(&self, band: &Band, weights: &[f32]) -> Vec<Measure> {
        let (moved, sum) = self.aligned();
        moved.iter().map(|spectrum| measure_one(band, weights, sum, spectrum)).collect()
    }
}

fn measure_one(band: &Band, weights: &[f32], sum: &Spectrum, spectrum: &Spectrum) -> Measure {
    let mut out = Measure::default();
    for (row, &omega_y) in band.omega_y.iter().enumerate() {
        let range = row * band.stride..(row + 1) * band.stride;
        let part = correlate_row(
            Row { re: &sum.re[range.clone()], im: &sum.im[range.clone()] },
            Row { re: &spectrum.re[range.clone()], im: &spectrum.im[range.clone()] },
            &band.omega_x,
            &weights[range],
        );
        let omega_y = f64::from(omega_y);
        out.value += part.re;
        out.slope[0] -= part.x_im;
        out.slope[1] -= omega_y * part.im;
        out.curvature[0] += part.xx_re;
        out.curvature[1] += omega_y * omega_y * part.re;
        out.slope_variance[0] += 0.5 * part.xx_power;
        out.slope_variance[1] += 0.5 * omega_y * omega_y * part.power;
    }
    out
}

/// Cosine and sine of `first`, `first + step`, …, by rotation (some hundred of them are exact to 1e-13).
fn turns(first: f64, step: f64) -> impl Iterator<Item = (f64, f64)> {
    let ((sin, cos), (sin_step, cos_step)) = (first.sin_cos(), step.sin_cos());
    std::iter::successors(Some((cos, sin)), move |(cos, sin)| {
        Some((cos * cos_step - sin * sin_step, sin * cos_step + cos * sin_step))
    })
}

/// Power by ring of a stack of aligned spectra: what the spectrum of signal and noise is estimated from.
#[derive(Debug, Clone, PartialEq)]
pub struct RingPower {
    /// Frames in the stack.
    pub frames: usize,
    /// `Σ |Σ_f A_f|²` of each ring.
    pub of_sum: Vec<f64>,
    /// `Σ Σ_f |A_f|²` of each ring.
    pub of_frames: Vec<f64>,
    /// Coefficients in each ring, over all stacks added.
    pub count: Vec<f64>,
}

impl RingPower {
    /// Nothing yet, for rings `0 ..= rings`.
    pub fn new(rings: usize, frames: usize) -> Self {
        let zero = vec![0.0; rings + 1];
        Self { frames, of_sum: zero.clone(), of_frames: zero.clone(), count: zero }
    }

    /// Adds a stack; `ring` as from [`Band::rings`].
    pub fn add_stack(&mut self, workspace: &Workspace, ring: &[u16]) {
        self.add_sum(workspace, ring);
        for spectrum in workspace.aligned().0 {
            accumulate(&mut self.of_frames, spectrum, ring);
        }
    }

    /// Adds what depends on how the stack is aligned: all but [`RingPower::of_frames`].
    pub fn add_sum(&mut self, workspace: &Workspace, ring: &[u16]) {
        accumulate(&mut self.of_sum, workspace.aligned().1, ring);
        for ring in ring {
            if let Some(count) = self.count.get_mut(usize::from(*ring)) {
                *count += 1.0;
            }
        }
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.of_sum, &other.of_sum),
            (&mut self.of_frames, &other.of_frames),
            (&mut self.count, &other.count),
        ];
        for (mine, theirs) in pairs {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }

    /// The weight of each ring that gives the shift of a frame with the least variance: with signal power S and noise
    /// power N of a frame, the signal is best predicted from the sum of the n-1 other frames by the Wiener filter
    /// `S/((n-1) S + N)`, and compared with the frame in units of its noise, hence `w = S / (N ((n-1) S + N))`.
    /// S and N are running means over `2 · reach + 1` rings; rings without signal get 0. The largest weight is 1.
    pub fn optimal_weights(&self, reach: usize) -> Vec<f64> {
        let n = self.frames as f64;
        let mean = |values: &[f64], ring: usize| {
            let range = ring.saturating_sub(reach)..(ring + reach + 1).min(values.len());
            values[range.clone()].iter().sum::<f64>() / self.count[range].iter().sum::<f64>().max(1.0)
        };
        let mut weights: Vec<f64> = (0..self.of_sum.len())
            .map(|ring| {
                let (total, frames) = (mean(&self.of_sum, ring), mean(&self.of_frames, ring));
                let signal = (total - frames) / (n * (n - 1.0));
                let noise = frames / n - signal;
                let usable = signal > 0.0 && noise > 0.0;
                if usable { signal / (noise * ((n - 1.0) * signal + noise)) } else { 0.0 }
            })
            .collect();
        let largest = weights.iter().copied().fold(0.0, f64::max);
        if largest > 0.0 {
            weights.iter_mut().for_each(|w| *w /= largest);
        }
        weights
    }

    /// `1 / power` of each ring, largest 1: what is used before the signal is known.
    pub fn whitening(&self) -> Vec<f64> {
        let power = |ring: usize| self.of_frames[ring] / self.count[ring].max(1.0);
        let rings = 0..self.of_frames.len();
        let smallest = rings.clone().map(power).filter(|p| *p > 0.0).fold(f64::INFINITY, f64::min);
        rings.map(power).map(|p| if p > 0.0 { smallest / p } else { 0.0 }).collect()
    }
}

fn accumulate(rings: &mut [f64], spectrum: &Spectrum, ring: &[u16]) {
    for ((re, im), ring) in spectrum.re.iter().zip(&spectrum.im).zip(ring) {
        if let Some(slot) = rings.get_mut(usize::from(*ring)) {
            *slot += f64::from(re * re + im * im);
        }
    }
}
