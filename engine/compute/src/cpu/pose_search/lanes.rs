//! Several floats that are worked on together: one AVX-512 or AVX2 register, or eight floats in an array.
//!
//! The functions of the register types must be inlined into code compiled with that instruction set; [`super::simd`]
//! sees to that, and to asking the processor first.
#![allow(unsafe_code)]

/// A vector of floats.
pub trait Lanes: Copy {
    /// How many.
    const COUNT: usize;

    /// As many integers.
    type Index: Copy;

    /// All the same.
    fn splat(value: f32) -> Self;

    /// Vector number `element` of a list of vectors.
    ///
    /// # Panics
    /// If the list ends before it.
    fn at(list: &[f32], element: usize) -> Self;

    /// Stores it as vector number `element` of a list of vectors.
    ///
    /// # Panics
    /// If the list ends before it.
    fn put(self, list: &mut [f32], element: usize);

    /// Sum.
    fn plus(self, other: Self) -> Self;

    /// Difference.
    fn minus(self, other: Self) -> Self;

    /// Product.
    fn times(self, other: Self) -> Self;

    /// `self · factor + addend`.
    fn times_plus(self, factor: Self, addend: Self) -> Self;

    /// `addend - self · factor`.
    fn times_from(self, factor: Self, addend: Self) -> Self;

    /// 2 to the power of whole numbers from -126 to 127.
    fn power_of_two(self) -> Self;

    /// All the same integer.
    fn index(value: u32) -> Self::Index;

    /// Where `value` is larger than `best`, takes it and `index` over.
    fn keep_larger(value: Self, index: Self::Index, best: &mut Self, best_index: &mut Self::Index);

    /// The integers.
    fn put_index(index: Self::Index, list: &mut [u32]);
}

/// Eight floats in an array.
#[derive(Debug, Clone, Copy)]
pub struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        for l in 0..8 {
            out[l] = f(self.0[l], other.0[l]);
        }
        Self(out)
    }
}

impl Lanes for Portable {
    const COUNT: usize = 8;
    type Index = [u32; 8];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    fn at(list: &[f32], element: usize) -> Self {
        Self(list.as_chunks::<8>().0[element])
    }
    #[inline(always)]
    fn put(self, list: &mut [f32], element: usize) {
        list.as_chunks_mut::<8>().0[element] = self.0;
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn times_plus(self, factor: Self, addend: Self) -> Self {
        self.times(factor).plus(addend)
    }
    #[inline(always)]
    fn times_from(self, factor: Self, addend: Self) -> Self {
        addend.minus(self.times(factor))
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(self.0.map(|v| f32::from_bits(((v as i32 + 127) as u32) << 23)))
    }
    #[inline(always)]
    fn index(value: u32) -> [u32; 8] {
        [value; 8]
    }
    #[inline(always)]
    fn keep_larger(value: Self, index: [u32; 8], best: &mut Self, best_index: &mut [u32; 8]) {
        for l in 0..8 {
            let larger = value.0[l] > best.0[l];
            best.0[l] = if larger { value.0[l] } else { best.0[l] };
            best_index[l] = if larger { index[l] } else { best_index[l] };
        }
    }
    #[inline(always)]
    fn put_index(index: [u32; 8], list: &mut [u32]) {
        list[..8].copy_from_slice(&index);
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// One register of AVX2.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx2(__m256);

    /// One register of AVX-512.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY (all blocks of both implementations): the instructions exist where these types are used, because
    // `super::super::simd` asked the processor before it entered the code they are inlined into; loads and stores go
    // through slices of the register's length.

    impl Lanes for Avx2 {
        const COUNT: usize = 8;
        type Index = __m256i;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        fn at(list: &[f32], element: usize) -> Self {
            let chunk = &list[element * 8..element * 8 + 8];
            // SAFETY: see above.
            Self(unsafe { _mm256_loadu_ps(chunk.as_ptr()) })
        }
        #[inline(always)]
        fn put(self, list: &mut [f32], element: usize) {
            let chunk = &mut list[element * 8..element * 8 + 8];
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(chunk.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times_plus(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn times_from(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_fnmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn power_of_two(self) -> Self {
            // SAFETY: see above.
            Self(unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            })
        }
        #[inline(always)]
        fn index(value: u32) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_set1_epi32(value.cast_signed()) }
        }
        #[inline(always)]
        fn keep_larger(value: Self, index: __m256i, best: &mut Self, best_index: &mut __m256i) {
            // SAFETY: see above.
            unsafe {
                let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(value.0, best.0);
                best.0 = _mm256_blendv_ps(best.0, value.0, larger);
                *best_index = _mm256_blendv_epi8(*best_index, index, _mm256_castps_si256(larger));
            }
        }
        #[inline(always)]
        fn put_index(index: __m256i, list: &mut [u32]) {
            let chunk = &mut list[..8];
            // SAFETY: see above.
            unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().cast(), index) }
        }
    }

    impl Lanes for Avx512 {
        const COUNT: usize = 16;
        type Index = __m512i;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        fn at(list: &[f32], element: usize) -> Self {
            let chunk = &list[element * 16..element * 16 + 16];
            // SAFETY: see above.
            Self(unsafe { _mm512_loadu_ps(chunk.as_ptr()) })
        }
        #[inline(always)]
        fn put(self, list: &mut [f32], element: usize) {
            let chunk = &mut list[element * 16..element * 16 + 16];
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(chunk.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times_plus(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn times_from(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_fnmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn power_of_two(self) -> Self {
            // SAFETY: see above.
            Self(unsafe {
                let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
            })
        }
        #[inline(always)]
        fn index(value: u32) -> __m512i {
            // SAFETY: see above.
            unsafe { _mm512_set1_epi32(value.cast_signed()) }
        }
        #[inline(always)]
        fn keep_larger(value: Self, index: __m512i, best: &mut Self, best_index: &mut __m512i) {
            // SAFETY: see above.
            unsafe {
                let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value.0, best.0);
                best.0 = _mm512_mask_mov_ps(best.0, larger, value.0);
                *best_index = _mm512_mask_mov_epi32(*best_index, larger, index);
            }
        }
        #[inline(always)]
        fn put_index(index: __m512i, list: &mut [u32]) {
            let chunk = &mut list[..16];
            // SAFETY: see above.
            unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().cast(), index) }
        }
    }
}
