//! Complex FFTs of many sequences at once, one per lane: Stockham's autosort algorithm with radices 4, 2, 3 and 5.
//!
//! The sign is +: `out[j] = Σ_m in[m] e^{+2πi m j/n}`, not scaled. Element e of a buffer is its real parts
//! `buffer[2 e]` and its imaginary parts `buffer[2 e + 1]`, each an array of lanes.

use std::f64::consts::TAU;

/// One pass of the transform.
#[derive(Debug, Clone)]
struct Pass {
    radix: usize,
    /// Number of butterflies along the shortened sequence.
    length: usize,
    /// Distance between elements that belong to one sub-sequence.
    stride: usize,
    /// `e^{2πi p t / (radix · length)}` as (re, im), t = 1 .. radix fastest.
    twiddles: Vec<[f32; 2]>,
}

/// The passes for one length.
#[derive(Debug, Clone)]
pub struct LaneFft {
    n: usize,
    passes: Vec<Pass>,
}

impl LaneFft {
    /// The smallest length from `n` on that is a multiple of 4 with no prime factor above 5.
    pub fn good_length(n: usize) -> usize {
        let quarter = crate::fourier::next_5_smooth(n.div_ceil(4).max(1));
        4 * quarter
    }

    /// A plan for `n` points; `None` if `n` has a prime factor above 5.
    pub fn new(n: usize) -> Option<Self> {
        let mut passes = Vec::new();
        let mut rest = n;
        let mut stride = 1;
        for radix in [4, 2, 3, 5] {
            while rest > 1 && rest.is_multiple_of(radix) {
                let length = rest / radix;
                let twiddles = (0..length)
                    .flat_map(|p| (1..radix).map(move |t| TAU * (p * t) as f64 / rest as f64))
                    .map(|angle| [angle.cos() as f32, angle.sin() as f32])
                    .collect();
                passes.push(Pass { radix, length, stride, twiddles });
                stride *= radix;
                rest = length;
            }
        }
        (rest == 1 && n > 0).then_some(Self { n, passes })
    }

    /// Number of points.
    pub fn points(&self) -> usize {
        self.n
    }

    /// Transforms `a`; both buffers hold `2 n` arrays. Whether the result is in `b` is returned (else it is in `a`).
    #[inline(always)]
    pub fn transform<const L: usize, const FMA: bool>(&self, a: &mut [[f32; L]], b: &mut [[f32; L]]) -> bool {
        let mut in_b = false;
        for pass in &self.passes {
            let (from, to): (&[[f32; L]], &mut [[f32; L]]) = if in_b { (b, a) } else { (a, b) };
            let (from, to) = (&from[..2 * self.n], &mut to[..2 * self.n]);
            match pass.radix {
                4 => pass.run::<L, FMA, 4>(from, to, radix_4),
                2 => pass.run::<L, FMA, 2>(from, to, radix_2),
                3 => pass.run::<L, FMA, 3>(from, to, radix_3::<L, FMA>),
                _ => pass.run::<L, FMA, 5>(from, to, radix_5::<L, FMA>),
            }
            in_b = !in_b;
        }
        in_b
    }
}

/// Lanes of complex numbers.
type Lanes<const L: usize> = [[f32; L]; 2];

impl Pass {
    #[inline(always)]
    fn run<const L: usize, const FMA: bool, const R: usize>(
        &self,
        from: &[[f32; L]],
        to: &mut [[f32; L]],
        butterfly: impl Fn([Lanes<L>; R]) -> [Lanes<L>; R],
    ) {
        let (s, length) = (self.stride, self.length);
        let leap = 2 * s * length;
        for (p, (out, twiddles)) in
            to.chunks_exact_mut(2 * s * R).zip(self.twiddles.chunks_exact(R - 1)).enumerate()
        {
            for q in 0..s {
                let at = 2 * (q + s * p);
                let mut x = [[[0f32; L]; 2]; R];
                for t in 0..R {
                    let i = at + t * leap;
                    x[t] = [from[i], from[i + 1]];
                }
                let y = butterfly(x);
                out[2 * q] = y[0][0];
                out[2 * q + 1] = y[0][1];
                for t in 1..R {
                    let [re, im] = turned::<L, FMA>(y[t], twiddles[t - 1]);
                    out[2 * (q + s * t)] = re;
                    out[2 * (q + s * t) + 1] = im;
                }
            }
        }
    }
}

/// `a · b + c`, fused where the processor does so.
#[inline(always)]
pub fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn turned<const L: usize, const FMA: bool>([re, im]: Lanes<L>, [c, s]: [f32; 2]) -> Lanes<L> {
    let mut out = [[0f32; L]; 2];
    for l in 0..L {
        out[0][l] = multiply_add::<FMA>(-s, im[l], c * re[l]);
        out[1][l] = multiply_add::<FMA>(s, re[l], c * im[l]);
    }
    out
}

#[inline(always)]
fn sum<const L: usize>(a: Lanes<L>, b: Lanes<L>) -> Lanes<L> {
    let mut out = [[0f32; L]; 2];
    for l in 0..L {
        out[0][l] = a[0][l] + b[0][l];
        out[1][l] = a[1][l] + b[1][l];
    }
    out
}

#[inline(always)]
fn difference<const L: usize>(a: Lanes<L>, b: Lanes<L>) -> Lanes<L> {
    let mut out = [[0f32; L]; 2];
    for l in 0..L {
        out[0][l] = a[0][l] - b[0][l];
        out[1][l] = a[1][l] - b[1][l];
    }
    out
}

/// `a + i b` and `a - i b`.
#[inline(always)]
fn plus_minus_i<const L: usize>(a: Lanes<L>, b: Lanes<L>) -> (Lanes<L>, Lanes<L>) {
    let mut plus = [[0f32; L]; 2];
    let mut minus = [[0f32; L]; 2];
    for l in 0..L {
        plus[0][l] = a[0][l] - b[1][l];
        plus[1][l] = a[1][l] + b[0][l];
        minus[0][l] = a[0][l] + b[1][l];
        minus[1][l] = a[1][l] - b[0][l];
    }
    (plus, minus)
}

/// `a + f b`.
#[inline(always)]
fn plus_scaled<const L: usize, const FMA: bool>(a: Lanes<L>, b: Lanes<L>, f: f32) -> Lanes<L> {
    let mut out = [[0f32; L]; 2];
    for l in 0..L {
        out[0][l] = multiply_add::<FMA>(f, b[0][l], a[0][l]);
        out[1][l] = multiply_add::<FMA>(f, b[1][l], a[1][l]);
    }
    out
}

#[inline(always)]
fn scaled<const L: usize>(a: Lanes<L>, f: f32) -> Lanes<L> {
    let mut out = a;
    for l in 0..L {
        out[0][l] *= f;
        out[1][l] *= f;
    }
    out
}

#[inline(always)]
fn radix_2<const L: usize>([a, b]: [Lanes<L>; 2]) -> [Lanes<L>; 2] {
    [sum(a, b), difference(a, b)]
}

#[inline(always)]
fn radix_4<const L: usize>([a, b, c, d]: [Lanes<L>; 4]) -> [Lanes<L>; 4] {
    let (even, odd) = (sum(a, c), sum(b, d));
    let (one, three) = plus_minus_i(difference(a, c), difference(b, d));
    [sum(even, odd), one, difference(even, odd), three]
}

#[inline(always)]
fn radix_3<const L: usize, const FMA: bool>([a, b, c]: [Lanes<L>; 3]) -> [Lanes<L>; 3] {
    const SIN_60: f32 = 0.866_025_4;
    let both = sum(b, c);
    let (one, two) = plus_minus_i(plus_scaled::<L, FMA>(a, both, -0.5), scaled(difference(b, c), SIN_60));
    [sum(a, both), one, two]
}

#[inline(always)]
fn radix_5<const L: usize, const FMA: bool>([a, b, c, d, e]: [Lanes<L>; 5]) -> [Lanes<L>; 5] {
    const COS_72: f32 = 0.309_017;
    const COS_144: f32 = -0.809_017;
    const SIN_72: f32 = 0.951_056_5;
    const SIN_144: f32 = 0.587_785_25;
    let (be, cd) = (sum(b, e), sum(c, d));
    let (b_e, c_d) = (difference(b, e), difference(c, d));
    let near = plus_scaled::<L, FMA>(plus_scaled::<L, FMA>(a, be, COS_72), cd, COS_144);
    let far = plus_scaled::<L, FMA>(plus_scaled::<L, FMA>(a, be, COS_144), cd, COS_72);
    let (one, four) = plus_minus_i(near, plus_scaled::<L, FMA>(scaled(b_e, SIN_72), c_d, SIN_144));
    let (two, three) = plus_minus_i(far, plus_scaled::<L, FMA>(scaled(b_e, SIN_144), c_d, -SIN_72));
    [sum(a, sum(be, cd)), one, two, three, four]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_radix_agrees_with_the_sum() {
        for n in [1usize, 2, 3, 4, 5, 12, 15, 36, 40, 72, 100, 128] {
            let fft = LaneFft::new(n).unwrap();
            let value = |m: usize, l: usize| ((m * 13 + l * 7) % 17) as f32 - 8.0;
            let mut a: Vec<[f32; 8]> = (0..2 * n).map(|i| std::array::from_fn(|l| value(i, l))).collect();
            let input = a.clone();
            let mut b = vec![[0f32; 8]; 2 * n];
            let result = if fft.transform::<8, false>(&mut a, &mut b) { b } else { a };
            for j in 0..n {
                for l in [0, 5] {
                    let (mut re, mut im) = (0f64, 0f64);
                    for m in 0..n {
                        let (s, c) = (TAU * (m * j % n) as f64 / n as f64).sin_cos();
                        let (x, y) = (f64::from(input[2 * m][l]), f64::from(input[2 * m + 1][l]));
                        re += c * x - s * y;
                        im += s * x + c * y;
                    }
                    let error =
                        (f64::from(result[2 * j][l]) - re).hypot(f64::from(result[2 * j + 1][l]) - im);
                    assert!(error <= 2e-5 * (n as f64).sqrt() * 10.0, "{n} {j}: {error}");
                }
            }
        }
    }

    #[test]
    fn lengths_with_other_primes_are_refused_and_good_ones_found() {
        assert!(LaneFft::new(14).is_none() && LaneFft::new(0).is_none());
        assert_eq!([1, 33, 61, 65, 130].map(LaneFft::good_length), [4, 36, 64, 72, 144]);
    }
}
