//! CPU twin of [`crate::ops::motion_correlation`]: stacks in parallel, each with one thread's working memory; the correlation
//! images of one stack in parallel over frames.

mod simd;

use crate::device::Cpu;
use crate::movie::band::{Band, Spectrum};
use crate::movie::correlation_image::CorrelationImage;
use crate::movie::ring_power::{RingPower, ring_weights};
use crate::ops::motion_correlation::{Measure, MotionCorrelation, Pair, Wanted, column_turns, row_turns};
use num_complex::Complex32;
use rayon::prelude::*;
use simd::{Row, correlate_row, shift_row};

/// Stacks in the host's memory.
#[derive(Debug)]
pub struct CpuStacks {
    band: Band,
    rings: usize,
    /// Ring of every coefficient.
    ring: Vec<u16>,
    /// `[stack][frame]`.
    spectra: Vec<Vec<Spectrum>>,
    /// For correlation images.
    workspace: Workspace,
}

impl CpuStacks {
    /// The band.
    pub fn band(&self) -> &Band {
        &self.band
    }

    /// The last ring.
    pub fn rings(&self) -> usize {
        self.rings
    }

    /// The ring of every coefficient.
    pub fn ring(&self) -> &[u16] {
        &self.ring
    }

    /// The spectra, `[stack][frame]`.
    pub fn spectra(&self) -> &[Vec<Spectrum>] {
        &self.spectra
    }

    /// Frames of a stack.
    pub fn frames(&self) -> usize {
        self.spectra.first().map_or(0, Vec::len)
    }

    /// Measures one stack at the displacements of its frames.
    fn measure(
        &self,
        stack: &[Spectrum],
        displacements: &[Pair],
        wanted: Wanted<'_>,
        workspace: &mut Workspace,
    ) -> (Vec<Measure>, RingPower) {
        workspace.align(&self.band, stack, displacements);
        let mut power = RingPower::new(self.rings, self.frames());
        power.add_sum(&workspace.sum, &self.ring);
        if let Wanted::AllPower = wanted {
            workspace.moved.iter().for_each(|frame| power.add_frame(frame, &self.ring));
        }
        let measures = match wanted {
            Wanted::Measures(weights) => {
                let measure = |frame| measure_one(&self.band, weights, &workspace.sum, frame);
                workspace.moved.iter().map(measure).collect()
            }
            Wanted::AllPower | Wanted::Power => Vec::new(),
        };
        (measures, power)
    }

    /// Measures every stack by itself.
    pub fn measure_each(
        &self,
        stacks: std::ops::Range<usize>,
        displacements: &[Vec<Pair>],
        wanted: Wanted<'_>,
    ) -> Vec<(Vec<Measure>, RingPower)> {
        stacks
            .into_par_iter()
            .map_init(Workspace::default, |workspace, stack| {
                self.measure(&self.spectra[stack], &displacements[stack], wanted, workspace)
            })
            .collect()
    }
}

impl MotionCorrelation for Cpu {
    type Stacks = CpuStacks;

    fn motion_stacks(&self, band: &Band, rings: usize, spectra: Vec<Vec<Spectrum>>) -> CpuStacks {
        let (band, ring) = (band.clone(), band.rings(rings));
        CpuStacks { band, rings, ring, spectra, workspace: Workspace::default() }
    }

    fn measure_stacks(
        &self,
        stacks: &CpuStacks,
        displacements: &[Vec<Pair>],
        wanted: Wanted<'_>,
    ) -> (Vec<Vec<Measure>>, RingPower) {
        let results = stacks.measure_each(0..stacks.spectra.len(), displacements, wanted);
        let mut power = RingPower::new(stacks.rings, stacks.frames());
        results.iter().for_each(|(_, part)| power.merge(part));
        (results.into_iter().map(|(measures, _)| measures).collect(), power)
    }

    fn correlation_images(
        &self,
        stacks: &mut CpuStacks,
        displacements: &[Pair],
        b_factor: f64,
        limit: f64,
    ) -> Vec<CorrelationImage> {
        let frames = stacks.frames();
        let CpuStacks { band, rings, ring, spectra, workspace } = stacks;
        let Some(stack) = spectra.first() else { return Vec::new() };
        workspace.align(band, stack, displacements);
        let Workspace { moved, sum, .. } = workspace;
        let mut power = RingPower::new(*rings, frames);
        power.add_sum(sum, ring);
        moved.iter().for_each(|frame| power.add_frame(frame, ring));
        let weights = search_weights(band, &power, b_factor);
        moved
            .par_iter()
            .map(|frame| {
                CorrelationImage::new(band, limit, |at| {
                    let others = Complex32::new(sum.re[at] - frame.re[at], -(sum.im[at] - frame.im[at]));
                    others * Complex32::new(frame.re[at], frame.im[at]) * weights[at]
                })
            })
            .collect()
    }
}

/// The weights of correlation images.
pub fn search_weights(band: &Band, power: &RingPower, b_factor: f64) -> Vec<f32> {
    ring_weights(band, &power.whitening(), |s| (-2.0 * b_factor * s * s).exp())
}

/// Working memory: the moved spectra of one stack and their sum.
#[derive(Debug)]
struct Workspace {
    moved: Vec<Spectrum>,
    sum: Spectrum,
    column_re: Vec<f32>,
    column_im: Vec<f32>,
}

impl Default for Workspace {
    fn default() -> Self {
        let sum = Spectrum { re: Vec::new(), im: Vec::new() };
        Self { moved: Vec::new(), sum, column_re: Vec::new(), column_im: Vec::new() }
    }
}

impl Workspace {
    /// Moves every spectrum back by its displacement (pixels of the band's images) and adds them up.
    fn align(&mut self, band: &Band, stack: &[Spectrum], displacements: &[Pair]) {
        let empty = || Spectrum { re: vec![0.0; band.len()], im: vec![0.0; band.len()] };
        self.moved.resize_with(stack.len(), empty);
        self.moved.iter_mut().filter(|s| s.re.len() != band.len()).for_each(|s| *s = empty());
        self.sum = empty();
        let sum = &mut self.sum;
        for ((spectrum, moved), &displacement) in stack.iter().zip(&mut self.moved).zip(displacements) {
            self.column_re.clear();
            self.column_im.clear();
            for [cos, sin] in column_turns(band, displacement) {
                self.column_re.push(cos);
                self.column_im.push(sin);
            }
            let column = Row { re: &self.column_re, im: &self.column_im };
            for (row, turn) in row_turns(band, displacement).enumerate() {
                let range = row * band.stride..(row + 1) * band.stride;
                shift_row(
                    Row { re: &spectrum.re[range.clone()], im: &spectrum.im[range.clone()] },
                    turn,
                    column,
                    &mut moved.re[range.clone()],
                    &mut moved.im[range.clone()],
                    &mut sum.re[range.clone()],
                    &mut sum.im[range],
                );
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::motion_correlation::run(&Cpu));
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| parity::motion_correlation::checksum(&Cpu))
        };
        assert_eq!(run(1), run(3));
    }
}
