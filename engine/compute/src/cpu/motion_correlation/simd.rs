//! The inner loops of aligning and correlating spectra.
#![allow(unsafe_code)]

use crate::movie::band::LANES;
use crate::vectorised::vectorised;

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
