//! Power of spectra by ring, and the weights that follow from it.

use super::band::{Band, Spectrum};

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

    /// Adds the power of a frame; `ring` as from [`Band::rings`](super::band::Band::rings).
    pub fn add_frame(&mut self, frame: &Spectrum, ring: &[u16]) {
        accumulate(&mut self.of_frames, frame, ring);
    }

    /// Adds the power of a stack's sum.
    pub fn add_sum(&mut self, sum: &Spectrum, ring: &[u16]) {
        accumulate(&mut self.of_sum, sum, ring);
        self.add_count(ring);
    }

    /// Adds the coefficients of a stack.
    pub fn add_count(&mut self, ring: &[u16]) {
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

/// Weights of a band from a table by ring times a smooth envelope (of the frequency in cycles per pixel).
pub fn ring_weights(band: &Band, by_ring: &[f64], envelope: impl Fn(f64) -> f64) -> Vec<f32> {
    let last = by_ring.len().saturating_sub(1);
    band.weights(|s| {
        let ring = (s * 2.0 * last as f64).round() as usize;
        by_ring.get(ring).copied().unwrap_or(0.0) * envelope(s)
    })
}
