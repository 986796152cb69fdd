//! Rows of frames: packed into half bytes and unpacked, multiplied and added.
#![allow(unsafe_code)]

use crate::vectorised::vectorised;

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
}
