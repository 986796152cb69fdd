//! The inner loops of motion correction, each compiled for the baseline, for AVX2 and for AVX-512.
//!
//! The loops are plain Rust over fixed-size arrays that the compiler turns into vector code; no fused multiply-add is
//! used, so all versions give the same bits.
#![allow(unsafe_code)]

use super::band::LANES;

/// Defines a function that runs `$body` compiled for AVX-512 or AVX2 where the processor has it.
macro_rules! vectorised {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn with_avx2($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn with_avx512($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor was just found to have all that `with_avx512` needs beyond `body`.
                    return unsafe { with_avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just found to have AVX2, the only thing `with_avx2` needs beyond `body`.
                    return unsafe { with_avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

/// A row of coefficients in two planes.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Real parts.
    pub re: &'a [f32],
    /// Imaginary parts.
    pub im: &'a [f32],
}

vectorised! {
    /// Multiplies a row of coefficients by `turn · column[x]` (unit complex numbers: the phases of a shift), writes the
    /// result to `out_re`, `out_im` and adds it to `sum_re`, `sum_im`. All slices have the same length, a multiple of
    /// [`LANES`].
    pub fn shift_row(
        row: Row<'_>,
        turn: [f32; 2],
        column: Row<'_>,
        out_re: &mut [f32],
        out_im: &mut [f32],
        sum_re: &mut [f32],
        sum_im: &mut [f32],
    ) {
        let n = row.re.len();
        let (re, im) = (&row.re[..n], &row.im[..n]);
        let (col_re, col_im) = (&column.re[..n], &column.im[..n]);
        let (out_re, out_im) = (&mut out_re[..n], &mut out_im[..n]);
        let (sum_re, sum_im) = (&mut sum_re[..n], &mut sum_im[..n]);
        for x in 0..n {
            let c = turn[0] * col_re[x] - turn[1] * col_im[x];
            let s = turn[0] * col_im[x] + turn[1] * col_re[x];
            let a = re[x] * c - im[x] * s;
            let b = re[x] * s + im[x] * c;
            out_re[x] = a;
            out_im[x] = b;
            sum_re[x] += a;
            sum_im[x] += b;
        }
    }
}

/// What a row adds to the correlation of a frame with the sum of the others, per column weights included:
/// `Σ w Re`, `Σ w ωx Im`, `Σ w Im`, `Σ w ωx² Re`, `Σ w ωx Re`, `Σ w² ωx² P`, `Σ w² P`, with
/// `G = conj(R - A) A = Re + i Im`, `P = |R - A|² |A|²`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowSums {
    /// `Σ w Re G`.
    pub re: f64,
    /// `Σ w ωx Im G`.
    pub x_im: f64,
    /// `Σ w Im G`.
    pub im: f64,
    /// `Σ w ωx² Re G`.
    pub xx_re: f64,
    /// `Σ w² ωx² P`.
    pub xx_power: f64,
    /// `Σ w² P`.
    pub power: f64,
}

vectorised! {
    /// Correlates one row of a shifted frame `a` with the sum of all frames minus this one. All slices have the same
    /// length, a multiple of [`LANES`]; `omega` is 2π kx/nx, `weight` the weight of every coefficient.
    pub fn correlate_row(sum: Row<'_>, a: Row<'_>, omega: &[f32], weight: &[f32]) -> RowSums {
        let n = omega.len();
        let (sum_re, sum_im) = (&sum.re[..n], &sum.im[..n]);
        let (a_re, a_im, weight) = (&a.re[..n], &a.im[..n], &weight[..n]);
        let mut lanes = [[0.0f32; LANES]; 6];
        for start in (0..n / LANES * LANES).step_by(LANES) {
            for lane in 0..LANES {
                let x = start + lane;
                let (p, q) = (a_re[x], a_im[x]);
                let (u, v) = (sum_re[x] - p, sum_im[x] - q);
                let (w, o) = (weight[x], omega[x]);
                let re = w * (u * p + v * q);
                let im = w * (u * q - v * p);
                let power = (w * (u * u + v * v)) * (w * (p * p + q * q));
                lanes[0][lane] += re;
                lanes[1][lane] += o * im;
                lanes[2][lane] += im;
                lanes[3][lane] += o * o * re;
                lanes[4][lane] += o * o * power;
                lanes[5][lane] += power;
            }
        }
        let total = |of: usize| lanes[of].iter().map(|v| f64::from(*v)).sum::<f64>();
        RowSums {
            re: total(0),
            x_im: total(1),
            im: total(2),
            xx_re: total(3),
            xx_power: total(4),
            power: total(5),
        }
    }
}

/// Taps of the interpolation kernel, see [`super::kernel`].
pub const TAPS: usize = 6;

/// Pixels of a row that share one displacement.
pub const SEGMENT: usize = 16;

/// Where a segment of [`SEGMENT`] pixels takes its values from.
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
        for (segment, out) in segments.iter().zip(out.as_chunks_mut::<SEGMENT>().0) {
            let mut value = [0.0f32; SEGMENT];
            for j in 0..TAPS {
                let start = segment.start + j * stride;
                let row = &rows[start..start + SEGMENT];
                for x in 0..SEGMENT {
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
        for (segment, out) in segments.iter().zip(out.as_chunks_mut::<SEGMENT>().0) {
            let source = &row[segment.start..segment.start + SEGMENT + TAPS - 1];
            let mut value = [0.0f32; SEGMENT];
            for j in 0..TAPS {
                for x in 0..SEGMENT {
                    value[x] += segment.taps[j] * source[x + j];
                }
            }
            *out = value;
        }
    }
}

/// Frames that are added to the sums at a time, so that the sums pass the cache once for all of them.
pub const GROUP: usize = 4;

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
    /// `accumulator[x] += row[x]`.
    pub fn add(accumulator: &mut [f32], row: &[f32]) {
        let n = accumulator.len();
        let row = &row[..n];
        for x in 0..n {
            accumulator[x] += row[x];
        }
    }
}

vectorised! {
    /// `accumulator[x] += counts[x]`.
    pub fn add_counts(accumulator: &mut [f32], counts: &[u16]) {
        let n = accumulator.len();
        let counts = &counts[..n];
        for x in 0..n {
            accumulator[x] += f32::from(counts[x]);
        }
    }
}

vectorised! {
    /// `accumulator[x] += bytes[x]`.
    pub fn add_bytes(accumulator: &mut [u16], bytes: &[u8]) {
        let n = accumulator.len();
        let bytes = &bytes[..n];
        for x in 0..n {
            accumulator[x] += u16::from(bytes[x]);
        }
    }
}

/// The largest count a half byte holds; it also stands for every larger one.
pub const MOST: u8 = 15;

vectorised! {
    /// Packs a row of counts into half bytes: byte i holds pixel i (low) and pixel i + n (high), n being the length of
    /// `out`, half that of `row`, rounded up. Says whether a count is [`MOST`] or larger.
    pub fn pack(row: &[u8], out: &mut [u8]) -> bool {
        let n = out.len();
        let (low, high) = row.split_at(n);
        let mut largest = 0;
        for x in 0..high.len() {
            largest = largest.max(low[x]).max(high[x]);
            out[x] = low[x].min(MOST) | (high[x].min(MOST) << 4);
        }
        for x in high.len()..n {
            largest = largest.max(low[x]);
            out[x] = low[x].min(MOST);
        }
        largest >= MOST
    }
}

vectorised! {
    /// Adds what [`pack`] packed to a row of counts.
    pub fn add_packed(accumulator: &mut [u16], packed: &[u8]) {
        let (low, high) = accumulator.split_at_mut(packed.len());
        for x in 0..low.len() {
            low[x] += u16::from(packed[x] & MOST);
        }
        let packed = &packed[..high.len()];
        for x in 0..packed.len() {
            high[x] += u16::from(packed[x] >> 4);
        }
    }
}

vectorised! {
    /// Unpacks what [`pack`] packed.
    pub fn unpack(packed: &[u8], out: &mut [f32]) {
        let (low, high) = out.split_at_mut(packed.len());
        for x in 0..low.len() {
            low[x] = f32::from(packed[x] & MOST);
        }
        let packed = &packed[..high.len()];
        for x in 0..packed.len() {
            high[x] = f32::from(packed[x] >> 4);
        }
    }
}

vectorised! {
    /// Unpacks what [`pack`] packed, times a gain.
    pub fn unpack_product(packed: &[u8], gain: &[f32], out: &mut [f32]) {
        let gain = &gain[..out.len()];
        let (low, high) = out.split_at_mut(packed.len());
        let (gain_low, gain_high) = gain.split_at(packed.len());
        for x in 0..low.len() {
            low[x] = f32::from(packed[x] & MOST) * gain_low[x];
        }
        let packed = &packed[..high.len()];
        for x in 0..packed.len() {
            high[x] = f32::from(packed[x] >> 4) * gain_high[x];
        }
    }
}

vectorised! {
    /// `values[x] *= factors[x]`.
    pub fn multiply(values: &mut [f32], factors: &[f32]) {
        let n = values.len();
        let factors = &factors[..n];
        for x in 0..n {
            values[x] *= factors[x];
        }
    }
}

vectorised! {
    /// `out[x] = bytes[x]`.
    pub fn widen(bytes: &[u8], out: &mut [f32]) {
        let n = out.len();
        let bytes = &bytes[..n];
        for x in 0..n {
            out[x] = f32::from(bytes[x]);
        }
    }
}

vectorised! {
    /// `out[x] = bytes[x] · gain[x]`.
    pub fn widen_product(bytes: &[u8], gain: &[f32], out: &mut [f32]) {
        let n = out.len();
        let (bytes, gain) = (&bytes[..n], &gain[..n]);
        for x in 0..n {
            out[x] = f32::from(bytes[x]) * gain[x];
        }
    }
}

vectorised! {
    /// `out[x] = values[x]` as bytes, and whether that lost nothing (every value is an integer from 0 to 255).
    pub fn narrow(values: &[f32], out: &mut [u8]) -> bool {
        let n = out.len();
        let values = &values[..n];
        // adding 2^23 leaves an integer of up to 23 bits in the mantissa
        const SHIFT: f32 = 8_388_608.0;
        let mut lost = 0u32;
        for x in 0..n {
            let shifted = values[x] + SHIFT;
            let bits = shifted.to_bits();
            // NaN differs from itself and so counts as lost
            lost |= u32::from(shifted - SHIFT != values[x]) | ((bits ^ SHIFT.to_bits()) & !255);
            out[x] = bits as u8;
        }
        lost == 0
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
    fn bytes_hold_what_are_bytes_and_nothing_else() {
        let bytes: Vec<f32> = (0..=255u8).map(f32::from).collect();
        let mut out = vec![0; 256];
        assert!(narrow(&bytes, &mut out));
        assert_eq!(out, (0..=255).collect::<Vec<u8>>());
        for odd in
            [256.0, -1.0, 0.5, 1e9, -1e9, 8_388_609.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-30]
        {
            assert!(!narrow(&[7.0, odd, 9.0], &mut [0; 3]), "{odd}");
        }
    }

    #[test]
    fn counts_are_packed_and_unpacked() {
        for width in [1usize, 2, 7, 64, 131] {
            let row: Vec<u8> = (0..width).map(|x| (x * 7 % 15) as u8).collect();
            let mut packed = vec![0; width.div_ceil(2)];
            assert!(!pack(&row, &mut packed));
            let (mut out, mut sum) = (vec![0.0; width], vec![1u16; width]);
            unpack(&packed, &mut out);
            add_packed(&mut sum, &packed);
            let gain = vec![0.5; width];
            let mut halves = vec![0.0; width];
            unpack_product(&packed, &gain, &mut halves);
            for x in 0..width {
                assert_eq!((out[x], sum[x]), (f32::from(row[x]), u16::from(row[x]) + 1), "{x} of {width}");
                assert_eq!(halves[x], 0.5 * out[x]);
            }
            let mut large = row.clone();
            large[width - 1] = 200;
            assert!(pack(&large, &mut packed));
            unpack(&packed, &mut out);
            assert_eq!(out[width - 1], f32::from(MOST));
        }
    }

    #[test]
    fn rows_are_combined_and_added() {
        let rows: Vec<Vec<f32>> =
            (0..4).map(|k| (0..150).map(|x| ((x * (k + 3)) % 11) as f32).collect()).collect();
        let flat = rows.concat();
        let taps = [0.5, -1.0, 2.0];
        let mut out = vec![f32::NAN; 150];
        combine_rows(&flat, &[0, 300, 150], &taps, &mut out);
        let weights = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, -1.0, 0.0]];
        let mut sums = vec![1.0; 2 * 160];
        add_weighted(&mut sums, 160, [&rows[0], &rows[1], &rows[2], &rows[3]], &weights);
        for x in 0..150 {
            assert_eq!(out[x], 0.5 * rows[0][x] - rows[2][x] + 2.0 * rows[1][x]);
            let all: f32 = (0..4).map(|k| (k + 1) as f32 * rows[k][x]).sum();
            assert_eq!((sums[x], sums[160 + x]), (1.0 + all, 1.0 - rows[2][x]));
        }
        assert_eq!((sums[150], sums[319]), (1.0, 1.0));
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
