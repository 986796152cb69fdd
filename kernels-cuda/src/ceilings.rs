//! Family `ceilings`: the launches of `ceilings.cu`. Contract: [`vitreous_compute::ops::ceilings`].

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, KernelError, Launch, Runtime};
use bytemuck::{Pod, Zeroable};
use std::time::Instant;
use vitreous_compute::ops::ceilings::{CHAINS, Ceilings, CeilingsError, STEP, Timed};

/// Names of the kernels.
const KERNELS: [&str; 2] = ["copy_numbers", "multiply_add"];

/// The family.
pub const FAMILY: Family =
    Family { name: "ceilings", ptx: include_str!("../ptx/ceilings.ptx"), kernels: &KERNELS };

/// Numbers that a thread copies.
const TOGETHER: usize = 4;

/// Scalars of `multiply_add`; the same struct stands in `ceilings.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct ChainShape {
    lanes: i32,
    steps: i32,
    multiplier: f32,
    summand: f32,
}

fn device_error(error: KernelError) -> CeilingsError {
    CeilingsError(error.to_string())
}

impl<R: Runtime> Gpu<R> {
    /// Runs `work` once, then `times` times, each to its end, and says how long the latter took.
    fn timed(
        &self,
        times: u32,
        mut work: impl FnMut() -> Result<(), KernelError>,
    ) -> Result<f64, KernelError> {
        work()?;
        self.runtime().synchronize()?;
        let begun = Instant::now();
        (0..times).try_for_each(|_| work())?;
        self.runtime().synchronize()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn copy_timed(&self, values: &[f32], times: u32) -> Result<Timed, KernelError> {
        let runtime = self.runtime();
        let mut padded = values.to_vec();
        padded.resize(values.len().next_multiple_of(TOGETHER), 0.0);
        let from = Buffer::upload(runtime, &padded)?;
        let mut to = Buffer::<f32, R>::zeros(runtime, padded.len())?;
        let count = (padded.len() / TOGETHER) as i64;
        let launch = Launch::over(KERNELS[0], count as usize, 1);
        let seconds = self.timed(times, || {
            let mut arguments = [to.write(), from.read(), Argument::scalars(&count)];
            // SAFETY: the arguments are those of `copy_numbers`; both arrays hold `count` times four numbers.
            unsafe { runtime.launch(&launch, &mut arguments) }
        })?;
        let mut copied = to.download(runtime)?;
        copied.truncate(values.len());
        Ok(Timed { work: 8.0 * values.len() as f64 * f64::from(times), seconds, values: copied })
    }

    fn chains_timed(&self, lanes: usize, steps: u32, times: u32) -> Result<Timed, KernelError> {
        let runtime = self.runtime();
        let mut out = Buffer::<f32, R>::zeros(runtime, lanes)?;
        let shape =
            ChainShape { lanes: lanes as i32, steps: steps as i32, multiplier: STEP[0], summand: STEP[1] };
        let launch = Launch::over(KERNELS[1], lanes, 1);
        let seconds = self.timed(times, || {
            let mut arguments = [out.write(), Argument::scalars(&shape)];
            // SAFETY: the arguments are those of `multiply_add`; the array has a number for each lane.
            unsafe { runtime.launch(&launch, &mut arguments) }
        })?;
        let work = 2.0 * (lanes * CHAINS) as f64 * f64::from(steps) * f64::from(times);
        Ok(Timed { work, seconds, values: out.download(runtime)? })
    }

    fn transfer_timed(&self, values: &[f32], times: u32) -> Result<[Timed; 2], KernelError> {
        let runtime = self.runtime();
        let work = 4.0 * values.len() as f64 * f64::from(times);
        let there = Buffer::upload(runtime, values)?;
        let to = self.timed(times, || Buffer::<f32, R>::upload(runtime, values).map(drop))?;
        let mut back = Vec::new();
        let from = self.timed(times, || there.download(runtime).map(|values| back = values))?;
        Ok([Timed { work, seconds: to, values: back.clone() }, Timed { work, seconds: from, values: back }])
    }
}

impl<R: Runtime> Ceilings for Gpu<R> {
    fn copy(&self, values: &[f32], times: u32) -> Result<Timed, CeilingsError> {
        self.copy_timed(values, times).map_err(device_error)
    }

    fn multiply_add(&self, lanes: usize, steps: u32, times: u32) -> Result<Timed, CeilingsError> {
        self.chains_timed(lanes, steps, times).map_err(device_error)
    }

    fn transfer(&self, values: &[f32], times: u32) -> Result<[Timed; 2], CeilingsError> {
        self.transfer_timed(values, times).map_err(device_error)
    }
}
