//! Transforms along one axis of a larger array: rows of pixels and strided complex lanes.

use super::plans;
use ndarray::{ArrayViewMut2, Axis};
use num_complex::Complex32;
use rayon::prelude::*;
use realfft::{ComplexToReal, RealToComplex};
use rustfft::{Fft, FftDirection};
use std::sync::Arc;

/// Lanes gathered into one contiguous buffer at a time: 16 complex numbers fill two cache lines of every row.
const LANES: usize = 16;

/// Arrays of at least this many points are transformed by all threads; smaller ones are left to their caller's
/// parallelism over images.
pub const PARALLEL_POINTS: usize = 1 << 19;

/// Transforms every column of `data` (`[n, columns]`) in place.
pub fn transform_columns(mut data: ArrayViewMut2<'_, Complex32>, direction: FftDirection, parallel: bool) {
    let n = data.nrows();
    if n <= 1 || data.ncols() == 0 {
        return;
    }
    let fft = plans::lanes(n, direction);
    let chunks = data.axis_chunks_iter_mut(Axis(1), LANES);
    if parallel {
        chunks
            .into_par_iter()
            .for_each_init(|| Scratch::new(&fft), |scratch, chunk| scratch.transform(&fft, chunk));
    } else {
        let mut scratch = Scratch::new(&fft);
        chunks.into_iter().for_each(|chunk| scratch.transform(&fft, chunk));
    }
}

struct Scratch {
    gathered: Vec<Complex32>,
    work: Vec<Complex32>,
}

impl Scratch {
    fn new(fft: &Arc<dyn Fft<f32>>) -> Self {
        Self {
            gathered: vec![Complex32::ZERO; LANES * fft.len()],
            work: vec![Complex32::ZERO; fft.get_inplace_scratch_len()],
        }
    }

    fn transform(&mut self, fft: &Arc<dyn Fft<f32>>, mut chunk: ArrayViewMut2<'_, Complex32>) {
        let (n, columns) = chunk.dim();
        let gathered = &mut self.gathered[..n * columns];
        for (y, row) in chunk.rows().into_iter().enumerate() {
            for (x, &value) in row.iter().enumerate() {
                gathered[x * n + y] = value;
            }
        }
        fft.process_with_scratch(gathered, &mut self.work);
        for (y, mut row) in chunk.rows_mut().into_iter().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = gathered[x * n + y];
            }
        }
    }
}

/// Transforms rows of real pixels, with buffers kept between rows.
pub struct RowForward {
    fft: Arc<dyn RealToComplex<f32>>,
    row: Vec<f32>,
    half: Vec<Complex32>,
    work: Vec<Complex32>,
}

impl RowForward {
    /// For rows of `n` pixels.
    pub fn new(n: usize) -> Self {
        let fft = plans::forward_rows(n);
        Self { row: fft.make_input_vec(), half: fft.make_output_vec(), work: fft.make_scratch_vec(), fft }
    }

    /// Transforms what `fill` writes into a zeroed row and stores it in `out` (`n/2 + 1` coefficients).
    pub fn transform(&mut self, fill: impl FnOnce(&mut [f32]), out: &mut [Complex32]) {
        self.row.fill(0.0);
        fill(&mut self.row);
        self.fft
            .process_with_scratch(&mut self.row, &mut self.half, &mut self.work)
            .expect("buffers made by the plan should fit it");
        out.copy_from_slice(&self.half);
    }
}

/// Transforms half rows back to pixels, with buffers kept between rows.
pub struct RowInverse {
    fft: Arc<dyn ComplexToReal<f32>>,
    half: Vec<Complex32>,
    row: Vec<f32>,
    work: Vec<Complex32>,
}

impl RowInverse {
    /// For rows of `n` pixels.
    pub fn new(n: usize) -> Self {
        let fft = plans::inverse_rows(n);
        Self { half: fft.make_input_vec(), row: fft.make_output_vec(), work: fft.make_scratch_vec(), fft }
    }

    /// Pixels of the half row `input` (`n/2 + 1` coefficients), without the factor 1/n.
    ///
    /// The imaginary parts at zero and (even n) at Nyquist, which a real row cannot have, are dropped.
    pub fn transform(&mut self, input: &[Complex32]) -> &[f32] {
        self.half.copy_from_slice(input);
        self.half[0].im = 0.0;
        if self.row.len().is_multiple_of(2)
            && let Some(nyquist) = self.half.last_mut()
        {
            nyquist.im = 0.0;
        }
        self.fft
            .process_with_scratch(&mut self.half, &mut self.row, &mut self.work)
            .expect("buffers made by the plan should fit it");
        &self.row
    }
}
