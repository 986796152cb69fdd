//! Transform plans, made once per length and shared by all threads.

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftDirection, FftPlanner};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

struct Planners {
    real: RealFftPlanner<f32>,
    complex: FftPlanner<f32>,
}

static PLANNERS: LazyLock<Mutex<Planners>> =
    LazyLock::new(|| Mutex::new(Planners { real: RealFftPlanner::new(), complex: FftPlanner::new() }));

fn with<T>(make: impl FnOnce(&mut Planners) -> T) -> T {
    // a planner that panicked half-way only lacks an entry, so a poisoned lock is still good
    make(&mut PLANNERS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Rows of real pixels to their half transform.
pub fn forward_rows(n: usize) -> Arc<dyn RealToComplex<f32>> {
    with(|planners| planners.real.plan_fft_forward(n))
}

/// Half transforms of rows to real pixels, without the factor 1/n.
pub fn inverse_rows(n: usize) -> Arc<dyn ComplexToReal<f32>> {
    with(|planners| planners.real.plan_fft_inverse(n))
}

/// Complex lanes, without a factor in either direction.
pub fn lanes(n: usize, direction: FftDirection) -> Arc<dyn Fft<f32>> {
    with(|planners| planners.complex.plan_fft(n, direction))
}
