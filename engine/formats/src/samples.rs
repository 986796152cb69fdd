//! Sample types of image files, and their conversion to and from `f32`.

use half::f16;

/// Order of the bytes of a number on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// How one pixel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleType {
    /// Two pixels a byte, the first in the low half; every row starts at a byte.
    Uint4,
    /// Signed byte.
    Int8,
    /// Unsigned byte.
    Uint8,
    /// Signed 16-bit integer.
    Int16,
    /// Unsigned 16-bit integer.
    Uint16,
    /// IEEE half precision.
    Float16,
    /// IEEE single precision.
    Float32,
}

impl SampleType {
    /// The word used in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uint4 => "uint4",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Int16 => "int16",
            Self::Uint16 => "uint16",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
        }
    }

    /// Bits of one pixel.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Uint4 => 4,
            Self::Int8 | Self::Uint8 => 8,
            Self::Int16 | Self::Uint16 | Self::Float16 => 16,
            Self::Float32 => 32,
        }
    }

    /// Bytes of a row of `width` pixels.
    pub const fn row_bytes(self, width: usize) -> usize {
        (width * self.bits() as usize).div_ceil(8)
    }

    /// Smallest and largest value that can be stored.
    pub const fn range(self) -> (f32, f32) {
        match self {
            Self::Uint4 => (0.0, 15.0),
            Self::Int8 => (-128.0, 127.0),
            Self::Uint8 => (0.0, 255.0),
            Self::Int16 => (-32768.0, 32767.0),
            Self::Uint16 => (0.0, 65535.0),
            Self::Float16 => (-65504.0, 65504.0),
            Self::Float32 => (f32::MIN, f32::MAX),
        }
    }

    /// Whether values are rounded to whole numbers when stored.
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::Float16 | Self::Float32)
    }
}

/// Converts stored samples to `f32`.
///
/// `raw` holds `out.len()` samples (of one row, for [`SampleType::Uint4`], whose rows are padded to a byte); surplus of
/// the longer slice is ignored.
pub fn decode(sample: SampleType, order: ByteOrder, raw: &[u8], out: &mut [f32]) {
    match sample {
        SampleType::Uint4 => {
            for (pair, byte) in out.chunks_mut(2).zip(raw) {
                pair[0] = f32::from(byte & 15);
                if let Some(second) = pair.get_mut(1) {
                    *second = f32::from(byte >> 4);
                }
            }
        }
        SampleType::Int8 => each(raw, out, |[b]: [u8; 1]| f32::from(b as i8)),
        SampleType::Uint8 => each(raw, out, |[b]: [u8; 1]| f32::from(b)),
        SampleType::Int16 => each_ordered(order, raw, out, |b| f32::from(i16::from_le_bytes(b))),
        SampleType::Uint16 => each_ordered(order, raw, out, |b| f32::from(u16::from_le_bytes(b))),
        SampleType::Float16 => each_ordered(order, raw, out, |b| f16::from_le_bytes(b).to_f32()),
        SampleType::Float32 => each_ordered(order, raw, out, f32::from_le_bytes),
    }
}

/// Copies stored samples of at most eight bits to bytes, laid out as for [`decode`]; `false`, with `out` partly written,
/// if one is negative, or for wider types.
pub fn decode_bytes(sample: SampleType, raw: &[u8], out: &mut [u8]) -> bool {
    match sample {
        SampleType::Uint4 => {
            for (pair, byte) in out.chunks_mut(2).zip(raw) {
                pair[0] = byte & 15;
                if let Some(second) = pair.get_mut(1) {
                    *second = byte >> 4;
                }
            }
            true
        }
        SampleType::Int8 | SampleType::Uint8 => {
            let length = out.len().min(raw.len());
            out[..length].copy_from_slice(&raw[..length]);
            sample == SampleType::Uint8 || out[..length].iter().fold(0, |all, byte| all | byte) < 0x80
        }
        SampleType::Int16 | SampleType::Uint16 | SampleType::Float16 | SampleType::Float32 => false,
    }
}

fn each<const N: usize>(raw: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (samples, _) = raw.as_chunks::<N>();
    for (value, bytes) in out.iter_mut().zip(samples) {
        *value = convert(*bytes);
    }
}

/// `convert` sees the bytes in little-endian order.
fn each_ordered<const N: usize>(
    order: ByteOrder,
    raw: &[u8],
    out: &mut [f32],
    convert: impl Fn([u8; N]) -> f32,
) {
    match order {
        ByteOrder::Little => each(raw, out, convert),
        ByteOrder::Big => each(raw, out, |mut bytes: [u8; N]| {
            bytes.reverse();
            convert(bytes)
        }),
    }
}

/// The first value that cannot be stored: its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit(pub usize);

/// Appends `values` to `raw` as little-endian samples; integers are rounded to the nearest, ties away from zero.
///
/// # Errors
/// The first value that is not finite or out of the range of `sample`; `raw` is then as before.
pub fn encode(sample: SampleType, values: &[f32], raw: &mut Vec<u8>) -> Result<(), Misfit> {
    let (low, high) = sample.range();
    let fits = |v: f32| {
        let stored = if sample.is_integer() { v.round() } else { v };
        (low..=high).contains(&stored)
    };
    if let Some(index) = values.iter().position(|&v| !fits(v)) {
        return Err(Misfit(index));
    }
    match sample {
        SampleType::Uint4 => raw.extend(values.chunks(2).map(|pair| {
            let second = pair.get(1).map_or(0, |v| v.round() as u8);
            pair[0].round() as u8 | second << 4
        })),
        SampleType::Int8 => raw.extend(values.iter().map(|v| v.round() as i8 as u8)),
        SampleType::Uint8 => raw.extend(values.iter().map(|v| v.round() as u8)),
        SampleType::Int16 => raw.extend(values.iter().flat_map(|v| (v.round() as i16).to_le_bytes())),
        SampleType::Uint16 => raw.extend(values.iter().flat_map(|v| (v.round() as u16).to_le_bytes())),
        SampleType::Float16 => raw.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        SampleType::Float32 => raw.extend(values.iter().flat_map(|v| v.to_le_bytes())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTEGERS: [SampleType; 5] =
        [SampleType::Uint4, SampleType::Int8, SampleType::Uint8, SampleType::Int16, SampleType::Uint16];

    proptest! {
        #[test]
        fn integers_round_trip(which in 0..5usize, seeds in proptest::collection::vec(0.0..1.0f32, 0..33)) {
            let sample = INTEGERS[which];
            let (low, high) = sample.range();
            let values: Vec<f32> = seeds.iter().map(|s| (low + s * (high - low)).round()).collect();
            let mut raw = Vec::new();
            encode(sample, &values, &mut raw).unwrap();
            prop_assert_eq!(raw.len(), sample.row_bytes(values.len()));
            let mut back = vec![-1.0; values.len()];
            decode(sample, ByteOrder::Little, &raw, &mut back);
            prop_assert_eq!(back, values);
        }
    }

    #[test]
    fn bytes_are_the_floats_or_refused() {
        let raw = [0x21, 0x43, 0x7f];
        for sample in INTEGERS {
            let count = (8 * raw.len() / sample.bits() as usize).min(5);
            let (mut floats, mut bytes) = (vec![-1.0; count], vec![9; count]);
            decode(sample, ByteOrder::Little, &raw, &mut floats);
            let fits = sample.bits() <= 8;
            assert_eq!(decode_bytes(sample, &raw, &mut bytes), fits, "{}", sample.name());
            assert!(
                !fits || floats.iter().zip(&bytes).all(|(a, b)| *a == f32::from(*b)),
                "{}",
                sample.name()
            );
        }
        assert!(!decode_bytes(SampleType::Int8, &[1, 0x80], &mut [0; 2]));
        assert!(decode_bytes(SampleType::Uint8, &[1, 0x80], &mut [0; 2]));
    }

    #[test]
    fn big_endian_is_little_endian_reversed() {
        let mut out = [0.0; 2];
        decode(SampleType::Int16, ByteOrder::Big, &[0xff, 0xfe, 0x01, 0x00], &mut out);
        assert_eq!(out, [-2.0, 256.0]);
        decode(SampleType::Float32, ByteOrder::Big, &[0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0], &mut out);
        assert_eq!(out, [1.5, -2.0]);
    }

    #[test]
    fn misfits_are_named_and_leave_nothing_behind() {
        let mut raw = vec![7];
        for (sample, values) in [
            (SampleType::Uint8, [1.0, 255.6]),
            (SampleType::Int8, [1.0, f32::NAN]),
            (SampleType::Float16, [1.0, 70000.0]),
            (SampleType::Float32, [1.0, f32::INFINITY]),
        ] {
            assert_eq!(encode(sample, &values, &mut raw), Err(Misfit(1)));
            assert_eq!(raw, [7]);
        }
    }
}
