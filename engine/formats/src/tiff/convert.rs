//! What TIFF and the programs that write it mean → ours ([`vitreous_model::conventions`]).
//!
//! | theirs | ours | source |
//! |---|---|---|
//! | row 0 is the top | row `height - 1` | IMOD, SerialEM, MotionCor2, RELION flip on read and write |
//! | XResolution per inch or cm | pixel size, Å | TIFF 6.0 |
//! | 8-bit pages of the size of half a K2 or K3 super-resolution frame | two 4-bit pixels a byte, first pixel low | IMOD, SerialEM |

use crate::samples::SampleType;

/// Å per inch and per centimetre.
const ANGSTROM_PER_INCH: f64 = 2.54e8;
const ANGSTROM_PER_CM: f64 = 1e8;
/// Pixel sizes outside are not believed (72 dots per inch are 3.5e6 Å), Å.
const PIXEL_RANGE_A: std::ops::RangeInclusive<f64> = 0.01..=1000.0;
/// Stored edges, in either order, of frames whose bytes hold two pixels: K3 and K2 super-resolution, upright and turned.
const PACKED_SIZES: [[usize; 2]; 4] = [[5760, 8184], [4092, 11520], [3838, 7420], [3710, 7676]];

/// Resolution unit of the tag 296.
pub const UNIT_INCH: u64 = 2;
/// Likewise; the one we write.
pub const UNIT_CM: u64 = 3;

/// Pixel size in Å of `resolution` pixels per `unit`; `None` if there is no unit or it is absurd.
pub fn pixel_size_a(resolution: f64, unit: u64) -> Option<f64> {
    let angstrom = match unit {
        UNIT_INCH => ANGSTROM_PER_INCH,
        UNIT_CM => ANGSTROM_PER_CM,
        _ => return None,
    };
    let size = angstrom / resolution;
    PIXEL_RANGE_A.contains(&size).then_some(size)
}

/// Pixels per cm as numerator and denominator.
pub fn resolution_per_cm(pixel_size_a: f64) -> (u32, u32) {
    let per_cm = (ANGSTROM_PER_CM / pixel_size_a).clamp(1.0, f64::from(u32::MAX));
    let denominator = (f64::from(u32::MAX) / per_cm).floor().max(1.0);
    ((per_cm * denominator).round() as u32, denominator as u32)
}

/// Width and sample type that are meant by a stored width, height and type.
pub fn unpacked(width: usize, height: usize, sample: SampleType) -> (usize, SampleType) {
    let is_packed = PACKED_SIZES.iter().any(|&[a, b]| [width, height] == [a, b] || [width, height] == [b, a]);
    if sample == SampleType::Uint8 && is_packed {
        return (2 * width, SampleType::Uint4);
    }
    (width, sample)
}

/// Pixels along a row of a strip or tile whose stored width is `stored`.
pub fn unpacked_edge(stored: usize, sample: SampleType) -> usize {
    if sample == SampleType::Uint4 { 2 * stored } else { stored }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_are_pixel_sizes() {
        assert_eq!(pixel_size_a(2.54e8, UNIT_INCH), Some(1.0));
        assert_eq!(pixel_size_a(1e8, UNIT_CM), Some(1.0));
        assert_eq!(pixel_size_a(72.0, UNIT_INCH), None);
        assert_eq!(pixel_size_a(1e8, 1), None);
        assert_eq!(pixel_size_a(0.0, UNIT_CM), None);
        for size in [0.1, 0.6575, 1.0, 5.7] {
            let (n, d) = resolution_per_cm(size);
            let back = pixel_size_a(f64::from(n) / f64::from(d), UNIT_CM).unwrap();
            assert!((back / size - 1.0).abs() < 1e-8, "{size} {back}");
        }
    }

    #[test]
    fn packed_frames_are_known_by_their_size() {
        assert_eq!(unpacked(3838, 7420, SampleType::Uint8), (7676, SampleType::Uint4));
        assert_eq!(unpacked(8184, 5760, SampleType::Uint8), (16368, SampleType::Uint4));
        assert_eq!(unpacked(5760, 4092, SampleType::Uint8), (5760, SampleType::Uint8));
        assert_eq!(unpacked(3838, 3710, SampleType::Uint8), (3838, SampleType::Uint8));
        assert_eq!(unpacked(3838, 7420, SampleType::Uint16), (3838, SampleType::Uint16));
    }
}
