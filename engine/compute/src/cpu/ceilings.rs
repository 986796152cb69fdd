//! CPU twin of [`crate::ops::ceilings`].
#![allow(unsafe_code)]

use crate::cpu::pose_search::simd::Simd;
use crate::device::Cpu;
use crate::ops::ceilings::{CHAINS, Ceilings, CeilingsError, STEP, Timed, start};
use rayon::prelude::*;
use std::time::Instant;

/// Values copied by one task: beyond the first caches of a core.
const COPIED: usize = 1 << 18;

/// Lanes that one task works on: 64 values, eight registers of eight, as many as two units of latency four keep busy.
const LANES: usize = 8;

fn copied(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(COPIED).zip(from.par_chunks(COPIED)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// Runs `work` once, then `times` times, and says how long the latter took.
fn timed(times: u32, mut work: impl FnMut()) -> f64 {
    work();
    let begun = Instant::now();
    (0..times).for_each(|_| work());
    begun.elapsed().as_secs_f64()
}

/// The sums of the chains of the first `out.len()` of [`LANES`] lanes from `first` on.
#[inline(always)]
fn chains<const FMA: bool>(first: usize, steps: u32, out: &mut [f32]) {
    let mut x: [f32; LANES * CHAINS] = std::array::from_fn(|i| start(first + i / CHAINS, i % CHAINS));
    for _ in 0..steps {
        for value in &mut x {
            *value = if FMA { value.mul_add(STEP[0], STEP[1]) } else { *value * STEP[0] + STEP[1] };
        }
    }
    for (sum, lane) in out.iter_mut().zip(x.as_chunks::<CHAINS>().0) {
        *sum = lane.iter().sum();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(first: usize, steps: u32, out: &mut [f32]) {
    chains::<true>(first, steps, out);
}

fn lanes_of(simd: Simd, first: usize, steps: u32, out: &mut [f32]) {
    match simd {
        // SAFETY: `detect` makes these only after the processor was asked.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 | Simd::Avx2 => unsafe { chains_avx2(first, steps, out) },
        _ => chains::<false>(first, steps, out),
    }
}

impl Ceilings for Cpu {
    fn copy(&self, values: &[f32], times: u32) -> Result<Timed, CeilingsError> {
        let mut to = vec![0.0; values.len()];
        let seconds = timed(times, || copied(values, &mut to));
        Ok(Timed { work: 8.0 * values.len() as f64 * f64::from(times), seconds, values: to })
    }

    fn multiply_add(&self, lanes: usize, steps: u32, times: u32) -> Result<Timed, CeilingsError> {
        let simd = Simd::detect();
        let mut values = vec![0f32; lanes];
        let seconds = timed(times, || {
            values.par_chunks_mut(LANES).enumerate().for_each(|(block, out)| {
                lanes_of(simd, block * LANES, steps, out);
            });
        });
        let work = 2.0 * (lanes * CHAINS) as f64 * f64::from(steps) * f64::from(times);
        Ok(Timed { work, seconds, values })
    }

    fn transfer(&self, values: &[f32], times: u32) -> Result<[Timed; 2], CeilingsError> {
        let (mut there, mut back) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let work = 4.0 * values.len() as f64 * f64::from(times);
        let to = timed(times, || copied(values, &mut there));
        let from = timed(times, || copied(&there, &mut back));
        Ok([Timed { work, seconds: to, values: there }, Timed { work, seconds: from, values: back }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::ceilings::run(&Cpu));
    }
}
