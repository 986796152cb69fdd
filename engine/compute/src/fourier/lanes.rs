//! Transforms along one axis of a larger array: rows of pixels and strided complex lanes.

use super::plans;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis};
use num_complex::Complex32;
use rayon::prelude::*;
use realfft::{ComplexToReal, RealToComplex};
use rustfft::{Fft, FftDirection};
use std::sync::Arc;

/// Lanes gathered into one contiguous buffer at a time: 16 complex numbers fill two cache lines of every row.
pub(super) const LANES: usize = 16;

/// Complex numbers between successive gathered columns beyond their length, so that columns whose length is a power of
/// two do not compete for the same lines of the cache.
pub(super) const GAP: usize = 8;

/// Rows gathered together: eight complex numbers of a column fill a cache line.
const BLOCK: usize = 8;

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
    /// The columns, one after the other, each with a gap behind it.
    gathered: Vec<Complex32>,
    work: Vec<Complex32>,
}

impl Scratch {
    fn new(fft: &Arc<dyn Fft<f32>>) -> Self {
        Self {
            gathered: vec![Complex32::ZERO; LANES * (fft.len() + GAP)],
            work: vec![Complex32::ZERO; fft.get_inplace_scratch_len()],
        }
    }

    fn transform(&mut self, fft: &Arc<dyn Fft<f32>>, mut chunk: ArrayViewMut2<'_, Complex32>) {
        let (n, columns) = chunk.dim();
        gather(chunk.view(), &mut self.gathered);
        for column in self.gathered.chunks_exact_mut(n + GAP).take(columns) {
            fft.process_with_scratch(&mut column[..n], &mut self.work);
        }
        scatter(&self.gathered, n, chunk.view_mut());
    }
}

/// Copies the columns of `rows` (`[n, columns]`, rows contiguous) into `columns`, `n + `[`GAP`] apart.
pub(super) fn gather(rows: ArrayView2<'_, Complex32>, columns: &mut [Complex32]) {
    let pitch = rows.nrows() + GAP;
    for (block, rows) in rows.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
        let (at, height) = (block * BLOCK, rows.nrows());
        let lines: [&[Complex32]; BLOCK] =
            std::array::from_fn(|y| if y < height { slice_of(rows.row(y)) } else { &[] });
        for (x, column) in columns.chunks_exact_mut(pitch).take(rows.ncols()).enumerate() {
            for (value, line) in column[at..at + height].iter_mut().zip(lines) {
                *value = line[x];
            }
        }
    }
}

/// Copies columns of `length`, `length + `[`GAP`] apart, into those of `rows` (`[up to length, columns]`, rows contiguous).
pub(super) fn scatter(columns: &[Complex32], length: usize, mut rows: ArrayViewMut2<'_, Complex32>) {
    let pitch = length + GAP;
    for (block, mut rows) in rows.axis_chunks_iter_mut(Axis(0), BLOCK).enumerate() {
        for (y, mut row) in rows.rows_mut().into_iter().enumerate() {
            let at = block * BLOCK + y;
            let row = row.as_slice_mut().expect("pieces of rows should be contiguous");
            for (value, column) in row.iter_mut().zip(columns.chunks_exact(pitch)) {
                *value = column[at];
            }
        }
    }
}

fn slice_of(row: ArrayView1<'_, Complex32>) -> &[Complex32] {
    row.to_slice().expect("pieces of rows should be contiguous")
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

    /// Transforms what `fill` writes into a zeroed row and stores in `out` as many coefficients as it holds (at most
    /// `n/2 + 1`).
    pub fn transform(&mut self, fill: impl FnOnce(&mut [f32]), out: &mut [Complex32]) {
        self.row.fill(0.0);
        fill(&mut self.row);
        self.fft
            .process_with_scratch(&mut self.row, &mut self.half, &mut self.work)
            .expect("buffers made by the plan should fit it");
        out.copy_from_slice(&self.half[..out.len()]);
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
