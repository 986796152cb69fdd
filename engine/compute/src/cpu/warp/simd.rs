//! The inner loops of the warp.
#![allow(unsafe_code)]

use crate::movie::kernel::TAPS;
use crate::ops::warp::{GROUP, TILE};
use crate::vectorised::vectorised;

/// Where a segment of [`TILE`] pixels takes its values from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Segment {
    /// Index of the value under the first tap of the first pixel.
    pub start: usize,
    /// Weights of [`TAPS`] successive values.
    pub taps: [f32; TAPS],
}

vectorised! {
    /// Interpolates along columns: pixel `x` of segment `s` is `Σ_j taps[j] rows[start + j · stride + x]`, `start` being
    /// the index in `rows` of the segment's first pixel in the first row used. `out` holds whole segments.
    pub fn interpolate_columns(rows: &[f32], stride: usize, segments: &[Segment], out: &mut [f32]) {
        for (segment, out) in segments.iter().zip(out.as_chunks_mut::<TILE>().0) {
            let mut value = [0.0f32; TILE];
            for j in 0..TAPS {
                let start = segment.start + j * stride;
                let row = &rows[start..start + TILE];
                for x in 0..TILE {
                    value[x] += segment.taps[j] * row[x];
                }
            }
            *out = value;
        }
    }
}

vectorised! {
    /// Interpolates along a row: pixel `x` of segment `s` is `Σ_j taps[j] row[start + j + x]`. `out` holds whole
    /// segments.
    pub fn interpolate_row(row: &[f32], segments: &[Segment], out: &mut [f32]) {
        for (segment, out) in segments.iter().zip(out.as_chunks_mut::<TILE>().0) {
            let source = &row[segment.start..segment.start + TILE + TAPS - 1];
            let mut value = [0.0f32; TILE];
            for j in 0..TAPS {
                for x in 0..TILE {
                    value[x] += segment.taps[j] * source[x + j];
                }
            }
            *out = value;
        }
    }
}

vectorised! {
    /// Adds [`GROUP`] rows of equal length to every sum with the sum's weights: `sums[t · stride + x] +=
    /// Σ_k weights[t][k] rows[k][x]`.
    pub fn add_weighted(sums: &mut [f32], stride: usize, rows: [&[f32]; GROUP], weights: &[[f32; GROUP]]) {
        let n = rows[0].len();
        let [a, b, c, d] = rows.map(|row| &row[..n]);
        for (sum, weights) in sums.chunks_mut(stride).zip(weights) {
            let sum = &mut sum[..n];
            for x in 0..n {
                sum[x] += (weights[0] * a[x] + weights[1] * b[x]) + (weights[2] * c[x] + weights[3] * d[x]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_to_every_sum() {
        let rows: Vec<Vec<f32>> =
            (0..4).map(|k| (0..150).map(|x| ((x * (k + 3)) % 11) as f32).collect()).collect();
        let weights = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, -1.0, 0.0]];
        let mut sums = vec![1.0; 2 * 160];
        add_weighted(&mut sums, 160, [&rows[0], &rows[1], &rows[2], &rows[3]], &weights);
        for x in 0..150 {
            let all: f32 = (0..4).map(|k| (k + 1) as f32 * rows[k][x]).sum();
            assert_eq!((sums[x], sums[160 + x]), (1.0 + all, 1.0 - rows[2][x]));
        }
        assert_eq!((sums[150], sums[319]), (1.0, 1.0));
    }
}
