//! Frames of a movie in memory, as small as they can be held.

use super::rows;

/// A frame in which one pixel of so many, or more, counts [`rows::MOST`] or more is held in bytes.
const RARE: usize = 64;

/// A frame in memory, gain not applied.
#[derive(Debug, Clone)]
pub enum RawFrame {
    /// Small whole numbers.
    Counts(Counts),
    /// Whole numbers from 0 to 255.
    Bytes(Vec<u8>),
    /// Anything else.
    Floats(Vec<f32>),
}

/// A frame in half bytes.
#[derive(Debug, Clone)]
pub struct Counts {
    width: usize,
    /// Every row packed by [`rows::pack`].
    packed: Vec<u8>,
    /// Index in the frame and value of every pixel of [`rows::MOST`] or more, by rising index.
    large: Vec<(u32, u8)>,
}

impl Counts {
    /// Packs a frame, unless too many of its pixels are large.
    fn new(bytes: &[u8], width: usize) -> Option<Self> {
        let half = width.div_ceil(2);
        if width == 0 || u32::try_from(bytes.len()).is_err() {
            return None;
        }
        let mut packed = vec![0; bytes.len() / width * half];
        let mut large = Vec::new();
        for (row, (bytes, out)) in bytes.chunks_exact(width).zip(packed.chunks_exact_mut(half)).enumerate() {
            if rows::pack(bytes, out) {
                let of_row = bytes.iter().enumerate().filter(|(_, value)| **value >= rows::MOST);
                large.extend(of_row.map(|(x, value)| ((row * width + x) as u32, *value)));
            }
        }
        (large.len() * RARE <= bytes.len()).then_some(Self { width, packed, large })
    }

    /// All rows as [`rows::pack`] packs them, each of half a width, rounded up.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Index in the frame and value of every pixel of [`rows::MOST`] or more, by rising index.
    pub fn large(&self) -> &[(u32, u8)] {
        &self.large
    }

    /// One row, packed.
    pub fn row(&self, row: usize) -> &[u8] {
        let half = self.width.div_ceil(2);
        &self.packed[row * half..(row + 1) * half]
    }

    /// Column and value of the row's large counts.
    pub fn large_of(&self, row: usize) -> impl Iterator<Item = (usize, u8)> {
        let (first, last) = (row * self.width, (row + 1) * self.width);
        let start = self.large.partition_point(|(index, _)| (*index as usize) < first);
        let of_row = self.large[start..].iter().take_while(move |(index, _)| (*index as usize) < last);
        of_row.map(move |(index, value)| (*index as usize - first, *value))
    }

    fn value(&self, index: usize) -> u8 {
        let half = self.width.div_ceil(2);
        let (row, x) = (index / self.width, index % self.width);
        let at = row * half;
        let value = if x < half { self.packed[at + x] & rows::MOST } else { self.packed[at + x - half] >> 4 };
        if value < rows::MOST {
            return value;
        }
        let found = self.large.binary_search_by_key(&index, |(at, _)| *at as usize);
        found.map_or(value, |at| self.large[at].1)
    }
}

impl RawFrame {
    /// The smallest form that holds the whole numbers `bytes`.
    pub fn of_bytes(bytes: &[u8], width: usize) -> Self {
        Counts::new(bytes, width).map_or_else(|| Self::Bytes(bytes.to_vec()), Self::Counts)
    }

    /// Takes the values out of `floats` unless less can hold them; `bytes` is room for that.
    ///
    /// # Errors
    /// The index of the first value that is not finite.
    pub fn of_floats(floats: &mut Vec<f32>, bytes: &mut Vec<u8>, width: usize) -> Result<Self, usize> {
        bytes.resize(floats.len(), 0);
        if rows::narrow(floats, bytes) {
            return Ok(Self::of_bytes(bytes, width));
        }
        match floats.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(at),
            None => Ok(Self::Floats(std::mem::take(floats))),
        }
    }

    /// Number of pixels of a frame of `width` columns.
    pub fn pixels(&self, width: usize) -> usize {
        match self {
            Self::Counts(counts) => counts.packed.len() / width.div_ceil(2).max(1) * width,
            Self::Bytes(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Counts(counts) => counts.packed.len() + 8 * counts.large.len(),
            Self::Bytes(values) => values.len(),
            Self::Floats(values) => 4 * values.len(),
        }
    }

    /// The value of one pixel.
    pub fn value(&self, index: usize) -> f32 {
        match self {
            Self::Counts(counts) => f32::from(counts.value(index)),
            Self::Bytes(values) => f32::from(values[index]),
            Self::Floats(values) => values[index],
        }
    }

    /// Adds a row of `width` pixels to `sum`; whole numbers to `counts` instead, which the caller adds to the sum (at
    /// least every 257 frames, for 255 is the largest).
    pub fn add_row(&self, row: usize, width: usize, sum: &mut [f32], counts: &mut [u16]) {
        match self {
            Self::Counts(frame) => {
                rows::add_packed(counts, frame.row(row));
                frame.large_of(row).for_each(|(x, value)| counts[x] += u16::from(value - rows::MOST));
            }
            Self::Bytes(values) => rows::add_bytes(counts, &values[row * width..(row + 1) * width]),
            Self::Floats(values) => rows::add(sum, &values[row * width..(row + 1) * width]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::detector::Detector;
    use super::*;

    #[test]
    fn a_frame_in_half_bytes_is_the_frame() {
        let (width, height) = (37, 20);
        let mut bytes: Vec<u8> = (0..width * height).map(|i| (i * 7919 % 15) as u8).collect();
        for (i, large) in [15, 255, 16, 200].into_iter().enumerate() {
            bytes[i * 180 + 36] = large;
        }
        let frame = RawFrame::of_bytes(&bytes, width);
        assert!(matches!(frame, RawFrame::Counts(_)) && frame.bytes() < bytes.len());
        assert_eq!(frame.pixels(width), bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            assert_eq!(frame.value(index), f32::from(*byte));
        }
        let gain: Vec<f32> = (0..width * height).map(|i| 0.5 + (i % 3) as f32).collect();
        let detector = Detector { width, height, gain: Some(gain.clone().into()) };
        let mut out = vec![0.0; width];
        for row in 0..height {
            let of_row = row * width..(row + 1) * width;
            let (mut sum, mut counts) = (vec![0.0; width], vec![0; width]);
            frame.add_row(row, width, &mut sum, &mut counts);
            assert_eq!(counts, bytes[of_row.clone()].iter().map(|b| u16::from(*b)).collect::<Vec<_>>());
            assert_eq!(sum, vec![0.0; width]);
            detector.gain_corrected_row(&frame, row, &mut out);
            for (x, value) in out.iter().enumerate() {
                assert_eq!(*value, f32::from(bytes[row * width + x]) * gain[row * width + x]);
            }
        }
    }

    #[test]
    fn a_frame_of_large_counts_is_held_in_bytes() {
        let frame = RawFrame::of_bytes(&[20; 100], 10);
        assert!(matches!(frame, RawFrame::Bytes(_)));
        assert_eq!(frame.value(55), 20.0);
    }
}
