//! From scores to shares, and what an image gives to its classes.

use super::{CpuClasses, Workspace};
use crate::cpu::pose_search::kernel::NORM_ORDERS;
use crate::cpu::pose_search::rows::{ModesJob, ROW_PADDING};
use crate::likelihood::spectrum_at;
use crate::ops::classify2d::{Assignment, Contribution};
use crate::ops::pose_search::SearchImage;
use std::f32::consts::TAU;

/// Poses further under the best, in nats at temperature 1, are left out: shares under 1e-3 of the largest, as RELION's
/// adaptive fraction of 0.999.
const CUT_NATS: f32 = 7.0;

/// One pose with its share.
#[derive(Debug, Clone, Copy)]
struct Pose {
    /// Place among the candidates.
    candidate: usize,
    /// Shift, from 0.
    shift: usize,
    /// In-plane angle, from 0.
    psi: usize,
    /// Probability.
    share: f32,
    /// Score.
    score: f32,
}

/// The poses that hold the posterior of an image.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Classes of the candidates.
    classes: Vec<usize>,
    poses: Vec<Pose>,
    best: Pose,
    log_evidence: f64,
    effective_poses: f64,
}

impl Posterior {
    /// Of candidates `(class, ln of its prior, scores [chunk][psi][8])`.
    pub fn new(candidates: &[(usize, f32, Vec<f32>)], angles: usize, temperature: f32) -> Self {
        let prior_and_top = |(_, prior, scores): &(usize, f32, Vec<f32>)| {
            prior + scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        };
        let top = candidates.iter().map(prior_and_top).fold(f32::NEG_INFINITY, f32::max);
        let floor = top - CUT_NATS * temperature;
        let mut poses = Vec::new();
        for (candidate, (_, prior, scores)) in candidates.iter().enumerate() {
            for (index, lanes) in scores.as_chunks::<ROW_PADDING>().0.iter().enumerate() {
                if lanes.iter().all(|score| score + prior < floor) {
                    continue;
                }
                let (chunk, psi) = (index / angles, index % angles);
                for (lane, &score) in lanes.iter().enumerate().filter(|(_, score)| *score + prior >= floor) {
                    let (score, shift) = (score + prior, chunk * ROW_PADDING + lane);
                    let share = ((score - top) / temperature).exp();
                    poses.push(Pose { candidate, shift, psi, share, score });
                }
            }
        }
        let sum: f32 = poses.iter().map(|pose| pose.share).sum();
        poses.iter_mut().for_each(|pose| pose.share /= sum);
        let plain: f64 = poses.iter().map(|pose| f64::from(pose.score - top).exp()).sum();
        let squares: f64 = poses.iter().map(|pose| f64::from(pose.share).powi(2)).sum();
        // the first of equal ones
        let none = Pose { candidate: 0, shift: 0, psi: 0, share: 0.0, score: f32::NEG_INFINITY };
        let better = |best: Pose, pose: &Pose| if pose.score > best.score { *pose } else { best };
        Self {
            best: poses.iter().fold(none, better),
            classes: candidates.iter().map(|(class, _, _)| *class).collect(),
            poses,
            log_evidence: f64::from(top) + plain.ln(),
            effective_poses: 1.0 / squares,
        }
    }

    /// Share of each candidate.
    fn shares(&self) -> Vec<f32> {
        let mut shares = vec![0.0; self.classes.len()];
        self.poses.iter().for_each(|pose| shares[pose.candidate] += pose.share);
        shares
    }
}

impl CpuClasses {
    /// Calls `add` with what the image gives to each class, and says what was found.
    pub(super) fn contribute(
        &self,
        image: &SearchImage<'_>,
        posterior: &Posterior,
        work: &mut Workspace,
        mut add: impl FnMut(usize, &Contribution),
    ) -> Assignment {
        let (ring_weights, noise) = self.weigh_for_sums(image, work);
        let mut parts = vec![Contribution::default(); posterior.classes.len()];
        for part in &mut parts {
            part.modes.resize(self.summed.modes(), [0.0; 2]);
            part.weights.resize(self.summed.rings.len(), [0.0; 5]);
        }
        for chunk in 0..work.rows.padded / ROW_PADDING {
            self.add_chunk(chunk, posterior, &ring_weights, work, &mut parts);
        }
        let mut explained = vec![0.0; self.search.rings.len()];
        for (&class, part) in posterior.classes.iter().zip(&parts).filter(|(_, part)| part.share > 0.0) {
            self.explain(class, part, &noise, &mut explained);
            add(class, part);
        }
        let shares = posterior.shares();
        let largest = (0..shares.len()).fold(0, |a, b| if shares[b] > shares[a] { b } else { a });
        // the best pose of the most probable class
        let best = posterior
            .poses
            .iter()
            .filter(|pose| pose.candidate == largest)
            .fold(None, |best: Option<&Pose>, pose| match best {
                Some(best) if best.score >= pose.score => Some(best),
                _ => Some(pose),
            })
            .unwrap_or(&posterior.best);
        let shift = self.shifts.list[best.shift.min(self.shifts.list.len() - 1)];
        Assignment {
            class: posterior.classes.get(largest).copied().unwrap_or(0),
            probability: f64::from(shares.get(largest).copied().unwrap_or(0.0)),
            psi_rad: std::f64::consts::TAU * best.psi as f64 / self.fft.points() as f64,
            shift_px: [image.centre_px[0] + shift[0], image.centre_px[1] + shift[1]],
            log_evidence: posterior.log_evidence,
            best: f64::from(posterior.best.score),
            effective_poses: posterior.effective_poses,
            explained,
        }
    }

    /// Turns the samples into `X c √s_0 / s2`. Returns the orders of `c² s_0 / s2` per ring, and s2 there.
    fn weigh_for_sums(
        &self,
        image: &SearchImage<'_>,
        work: &mut Workspace,
    ) -> (Vec<[[f32; 2]; 3]>, Vec<f64>) {
        let mut orders = Vec::with_capacity(self.summed.rings.len());
        let mut noise = Vec::with_capacity(self.summed.rings.len());
        for (index, ring) in self.summed.rings.iter().enumerate() {
            let variance = spectrum_at(image.model.noise, ring.radius).max(f64::from(f32::MIN_POSITIVE));
            let root = self.layout.root_noise(index);
            let range = ring.first..ring.first + ring.count;
            let transfer = &work.transfer[range.clone()];
            let factor = (root / variance) as f32;
            work.samples[range].iter_mut().zip(transfer).for_each(|(sample, c)| *sample *= factor * c);
            let power = (root * root / variance) as f32;
            orders.push(ring.even_orders(transfer.iter().map(|c| c * c * power)));
            noise.push(variance);
        }
        (orders, noise)
    }

    /// Adds the poses of one chunk of shifts.
    fn add_chunk(
        &self,
        chunk: usize,
        posterior: &Posterior,
        ring_weights: &[[[f32; 2]; 3]],
        work: &mut Workspace,
        parts: &mut [Contribution],
    ) {
        let here = |pose: &&Pose| pose.shift / ROW_PADDING == chunk;
        if !posterior.poses.iter().any(|pose| here(&pose)) {
            return;
        }
        let job = ModesJob { grid: &self.summed, phases: &self.phases, samples: &work.samples, chunk };
        self.simd.shifted_modes(&job, &mut work.folded, &mut work.modes);
        for (candidate, part) in parts.iter_mut().enumerate() {
            let poses = posterior.poses.iter().filter(here).filter(|pose| pose.candidate == candidate);
            let turns = self.turns(poses);
            let share: f32 = turns.first().map_or(0.0, |lanes| lanes[0].iter().sum());
            if share <= 0.0 {
                continue;
            }
            part.share += share;
            for ring in &self.summed.rings {
                let range = ring.first_mode..ring.first_mode + ring.m_count();
                let modes = work.modes.as_chunks::<ROW_PADDING>().0[2 * range.start..2 * range.end]
                    .as_chunks::<2>()
                    .0;
                for ((sum, mode), turn) in part.modes[range].iter_mut().zip(modes).zip(&turns) {
                    for lane in 0..ROW_PADDING {
                        sum[0] += turn[0][lane] * mode[0][lane] - turn[1][lane] * mode[1][lane];
                        sum[1] += turn[0][lane] * mode[1][lane] + turn[1][lane] * mode[0][lane];
                    }
                }
            }
            let orders = NORM_ORDERS.map(|q| [0, 1].map(|part| turns[q][part].iter().sum::<f32>()));
            for (sum, weights) in part.weights.iter_mut().zip(ring_weights) {
                sum[0] += orders[0][0] * weights[0][0];
                for order in 1..3 {
                    let ([tr, ti], [wr, wi]) = (orders[order], weights[order]);
                    sum[2 * order - 1] += tr * wr - ti * wi;
                    sum[2 * order] += tr * wi + ti * wr;
                }
            }
        }
    }

    /// `Σ g e^{-i m psi}` by m and lane, as (re, im), over poses of one chunk.
    fn turns<'a>(&self, poses: impl Iterator<Item = &'a Pose>) -> Vec<[[f32; ROW_PADDING]; 2]> {
        let orders = self.summed.m_count().max(NORM_ORDERS[2] + 1);
        let mut turns = vec![[[0.0; ROW_PADDING]; 2]; orders];
        for pose in poses {
            let lane = pose.shift % ROW_PADDING;
            let (sin, cos) = (-TAU * pose.psi as f32 / self.fft.points() as f32).sin_cos();
            let [mut re, mut im] = [pose.share, 0.0];
            for turn in &mut turns {
                turn[0][lane] += re;
                turn[1][lane] += im;
                [re, im] = [re * cos - im * sin, re * sin + im * cos];
            }
        }
        turns
    }

    /// Adds to `explained` what a class explains of an image's power, by ring of the search.
    fn explain(&self, class: usize, part: &Contribution, noise: &[f64], explained: &mut [f64]) {
        let average = &self.averages[class];
        for (index, (ring, out)) in self.search.rings.iter().zip(explained).enumerate() {
            let range = ring.first_mode..ring.first_mode + ring.m_count();
            let product = |(a, b): (&[f32; 2], &[f32; 2])| f64::from(a[0] * b[0] + a[1] * b[1]);
            let mut products = part.modes[range.clone()].iter().zip(&average.modes[range]).map(product);
            let cross = products.next().unwrap_or(0.0) + 2.0 * products.sum::<f64>();
            let weights = &part.weights[index];
            let powers = &average.powers[index * NORM_ORDERS.len()..][..NORM_ORDERS.len()];
            let even =
                |q: usize| f64::from(weights[2 * q - 1] * powers[q][0] + weights[2 * q] * powers[q][1]);
            let norm = f64::from(weights[0] * powers[0][0]) + 2.0 * (even(1) + even(2));
            let root = self.layout.root_noise(index);
            *out += noise[index] * (2.0 * cross / root - norm / (root * root));
        }
    }
}
