//! The inner loops of the decimation.
#![allow(unsafe_code)]

use crate::ops::decimate::LANES;
use crate::vectorised::vectorised;

vectorised! {
    /// `out[x] = Σ_j taps[j] values[starts[j] + x]`.
    pub fn combine_rows(values: &[f32], starts: &[usize], taps: &[f32], out: &mut [f32]) {
        const BLOCK: usize = 64;
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        let rest_at = blocks.len() * BLOCK;
        for (index, out) in blocks.iter_mut().enumerate() {
            let mut sum = [0.0f32; BLOCK];
            for (start, tap) in starts.iter().zip(taps) {
                let row = &values[start + index * BLOCK..][..BLOCK];
                for x in 0..BLOCK {
                    sum[x] += tap * row[x];
                }
            }
            *out = sum;
        }
        rest.fill(0.0);
        for (start, tap) in starts.iter().zip(taps) {
            let row = &values[start + rest_at..][..rest.len()];
            for x in 0..rest.len() {
                rest[x] += tap * row[x];
            }
        }
    }
}

vectorised! {
    /// `out[i] = Σ_j taps[j] row[i · step + j]`; `row` reaches as far as the last of them.
    pub fn decimate_row(row: &[f32], taps: &[f32], step: usize, out: &mut [f32]) {
        for (i, out) in out.iter_mut().enumerate() {
            let source = &row[i * step..i * step + taps.len()];
            let (blocks, rest) = source.as_chunks::<LANES>();
            let (tap_blocks, tap_rest) = taps.as_chunks::<LANES>();
            let mut lanes = [0.0f32; LANES];
            for (values, taps) in blocks.iter().zip(tap_blocks) {
                for lane in 0..LANES {
                    lanes[lane] += values[lane] * taps[lane];
                }
            }
            let tail: f32 = rest.iter().zip(tap_rest).map(|(v, t)| v * t).sum();
            *out = lanes.iter().sum::<f32>() + tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_combined() {
        let rows: Vec<Vec<f32>> =
            (0..3).map(|k| (0..150).map(|x| ((x * (k + 3)) % 11) as f32).collect()).collect();
        let mut out = vec![f32::NAN; 150];
        combine_rows(&rows.concat(), &[0, 300, 150], &[0.5, -1.0, 2.0], &mut out);
        for x in 0..150 {
            assert_eq!(out[x], 0.5 * rows[0][x] - rows[2][x] + 2.0 * rows[1][x]);
        }
    }

    #[test]
    fn decimation_is_a_strided_scalar_product() {
        let row: Vec<f32> = (0..60).map(|x| ((x * x) % 17) as f32).collect();
        let taps: Vec<f32> = (0..19).map(|j| 0.1 * j as f32 - 0.5).collect();
        let mut out = [0.0; 11];
        decimate_row(&row, &taps, 4, &mut out);
        for (i, got) in out.iter().enumerate() {
            let want: f32 = (0..19).map(|j| taps[j] * row[4 * i + j]).sum();
            assert!((got - want).abs() < 1e-4 * want.abs().max(1.0));
        }
    }
}
