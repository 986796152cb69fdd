//! Complex FFTs of many sequences at once, one per lane: Stockham's autosort algorithm with radices 4, 2, 3 and 5.
//!
//! The sign is +: `out[j] = Σ_m in[m] e^{+2πi m j/n}`, not scaled. Element e of a buffer is vector `2 e` (real parts)
//! and vector `2 e + 1` (imaginary parts).

use super::lanes::Lanes;
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

    /// Transforms `a`; both buffers hold `2 n` vectors. Whether the result is in `b` is returned (else it is in `a`).
    #[inline(always)]
    pub fn transform<V: Lanes>(&self, a: &mut [f32], b: &mut [f32]) -> bool {
        let size = 2 * self.n * V::COUNT;
        let (a, b) = (&mut a[..size], &mut b[..size]);
        let mut in_b = false;
        for pass in &self.passes {
            let (from, to): (&[f32], &mut [f32]) = if in_b { (&*b, &mut *a) } else { (&*a, &mut *b) };
            match pass.radix {
                4 => pass.by_four::<V>(from, to),
                2 => pass.by_two::<V>(from, to),
                3 => pass.by_three::<V>(from, to),
                _ => pass.by_five::<V>(from, to),
            }
            in_b = !in_b;
        }
        in_b
    }
}

/// Complex numbers, one per lane: real parts, imaginary parts.
type Complex<V> = [V; 2];

/// Makes the pass of one radix. Not a function that takes the butterfly: what is called through `Fn` is compiled without
/// the instruction set of its caller, and every vector operation in it is then a call of its own (thirteen times slower
/// with AVX2).
macro_rules! pass_of_radix {
    ($name:ident, $radix:literal, $butterfly:ident) => {
        impl Pass {
            #[inline(always)]
            fn $name<V: Lanes>(&self, from: &[f32], to: &mut [f32]) {
                const R: usize = $radix;
                let (s, length) = (self.stride, self.length);
                let leap = 2 * s * length;
                let twiddles = self.twiddles.chunks_exact(R - 1);
                for (p, (out, twiddles)) in
                    to.chunks_exact_mut(2 * s * R * V::COUNT).zip(twiddles).enumerate()
                {
                    for q in 0..s {
                        let at = 2 * (q + s * p);
                        let mut x = [[V::splat(0.0); 2]; R];
                        for t in 0..R {
                            x[t] = [V::at(from, at + t * leap), V::at(from, at + t * leap + 1)];
                        }
                        let y = $butterfly(x);
                        y[0][0].put(out, 2 * q);
                        y[0][1].put(out, 2 * q + 1);
                        for t in 1..R {
                            let [re, im] = turned(y[t], twiddles[t - 1]);
                            re.put(out, 2 * (q + s * t));
                            im.put(out, 2 * (q + s * t) + 1);
                        }
                    }
                }
            }
        }
    };
}

pass_of_radix!(by_four, 4, radix_4);
pass_of_radix!(by_two, 2, radix_2);
pass_of_radix!(by_three, 3, radix_3);
pass_of_radix!(by_five, 5, radix_5);

#[inline(always)]
fn turned<V: Lanes>([re, im]: Complex<V>, [c, s]: [f32; 2]) -> Complex<V> {
    let (c, s) = (V::splat(c), V::splat(s));
    [im.times_from(s, re.times(c)), re.times_plus(s, im.times(c))]
}

#[inline(always)]
fn sum<V: Lanes>(a: Complex<V>, b: Complex<V>) -> Complex<V> {
    [a[0].plus(b[0]), a[1].plus(b[1])]
}

#[inline(always)]
fn difference<V: Lanes>(a: Complex<V>, b: Complex<V>) -> Complex<V> {
    [a[0].minus(b[0]), a[1].minus(b[1])]
}

/// `a + i b` and `a - i b`.
#[inline(always)]
fn plus_minus_i<V: Lanes>(a: Complex<V>, b: Complex<V>) -> (Complex<V>, Complex<V>) {
    ([a[0].minus(b[1]), a[1].plus(b[0])], [a[0].plus(b[1]), a[1].minus(b[0])])
}

/// `a + f b`.
#[inline(always)]
fn plus_scaled<V: Lanes>(a: Complex<V>, b: Complex<V>, f: f32) -> Complex<V> {
    let f = V::splat(f);
    [b[0].times_plus(f, a[0]), b[1].times_plus(f, a[1])]
}

#[inline(always)]
fn scaled<V: Lanes>(a: Complex<V>, f: f32) -> Complex<V> {
    let f = V::splat(f);
    [a[0].times(f), a[1].times(f)]
}

#[inline(always)]
fn radix_2<V: Lanes>([a, b]: [Complex<V>; 2]) -> [Complex<V>; 2] {
    [sum(a, b), difference(a, b)]
}

#[inline(always)]
fn radix_4<V: Lanes>([a, b, c, d]: [Complex<V>; 4]) -> [Complex<V>; 4] {
    let (even, odd) = (sum(a, c), sum(b, d));
    let (one, three) = plus_minus_i(difference(a, c), difference(b, d));
    [sum(even, odd), one, difference(even, odd), three]
}

#[inline(always)]
fn radix_3<V: Lanes>([a, b, c]: [Complex<V>; 3]) -> [Complex<V>; 3] {
    const SIN_60: f32 = 0.866_025_4;
    let both = sum(b, c);
    let (one, two) = plus_minus_i(plus_scaled(a, both, -0.5), scaled(difference(b, c), SIN_60));
    [sum(a, both), one, two]
}

#[inline(always)]
fn radix_5<V: Lanes>([a, b, c, d, e]: [Complex<V>; 5]) -> [Complex<V>; 5] {
    const COS_72: f32 = 0.309_017;
    const COS_144: f32 = -0.809_017;
    const SIN_72: f32 = 0.951_056_5;
    const SIN_144: f32 = 0.587_785_25;
    let (be, cd) = (sum(b, e), sum(c, d));
    let (b_e, c_d) = (difference(b, e), difference(c, d));
    let near = plus_scaled(plus_scaled(a, be, COS_72), cd, COS_144);
    let far = plus_scaled(plus_scaled(a, be, COS_144), cd, COS_72);
    let (one, four) = plus_minus_i(near, plus_scaled(scaled(b_e, SIN_72), c_d, SIN_144));
    let (two, three) = plus_minus_i(far, plus_scaled(scaled(b_e, SIN_144), c_d, -SIN_72));
    [sum(a, sum(be, cd)), one, two, three, four]
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Portable;
    use super::*;

    #[test]
    fn every_radix_agrees_with_the_sum() {
        for n in [1usize, 2, 3, 4, 5, 12, 15, 36, 40, 72, 100, 128] {
            let fft = LaneFft::new(n).unwrap();
            let mut a: Vec<f32> = (0..16 * n).map(|i| ((i / 8 * 13 + i % 8 * 7) % 17) as f32 - 8.0).collect();
            let input = a.clone();
            let mut b = vec![0f32; 16 * n];
            let result = if fft.transform::<Portable>(&mut a, &mut b) { b } else { a };
            let [input, result] = [&input, &result].map(|list| list.as_chunks::<8>().0);
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
