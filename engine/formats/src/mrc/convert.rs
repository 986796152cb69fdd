//! Other programs' ideas of pixel size, origin and axis order → ours ([`vitreous_model::conventions`]).
//!
//! | their field | ours | source |
//! |---|---|---|
//! | CELLA/M of an axis | voxel along that axis, Å | MRC2014; M, not N |
//! | CELLA 0 or absurd on y or z | the voxel along x | micrographs of EPU have CELLA.Z = 0 |
//! | mode 0 with IMOD's stamp and flag 16 | two pixels a byte, the first low; NX counts bytes | SerialEM, IMOD |
//! | FEI1, FEI2 extended header: pixel size in m at byte 156, file's byte order | pixel size, Å, if CELLA says nothing | FEI "MRC2014 extended header" |
//! | ORIGIN, or NSTART · voxel if ORIGIN is 0 | origin, Å | MRC2014 |
//! | MAPC, MAPR, MAPS | data are put in the order x fastest, y, z slowest | CCP4 maps |

use super::header::MrcHeader;
use crate::samples::ByteOrder;

/// Pixel sizes outside are not believed, Å.
const PIXEL_RANGE_A: std::ops::RangeInclusive<f64> = 0.01..=1000.0;
/// Where FEI extended headers hold the pixel size along x, bytes from their start.
const FEI_PIXEL_SIZE: usize = 156;
/// Å per metre.
const ANGSTROM_PER_METRE: f64 = 1e10;

/// A pixel size in Å, if it can be one.
pub fn plausible_pixel_size(value_a: f64) -> Option<f64> {
    PIXEL_RANGE_A.contains(&value_a).then_some(value_a)
}

/// Size along `axis` (0 x, 1 y, 2 z), whatever of columns, rows, sections runs along it.
pub fn size_along(header: &MrcHeader, axis: usize) -> usize {
    let place = header.axes.iter().position(|&a| a == axis).expect("axes should be a permutation");
    header.size[place]
}

/// Voxel along `axis` in Å as the main header says.
fn stated_voxel(header: &MrcHeader, axis: usize) -> Option<f64> {
    let intervals = match header.intervals[axis] {
        m if m > 0 => m as f64,
        _ => size_along(header, axis) as f64,
    };
    plausible_pixel_size(f64::from(header.cell_a[axis]) / intervals)
}

/// Voxel edges along x, y, z in Å: those that are not stated are taken from x; `None` if nothing is.
pub fn voxel_a(header: &MrcHeader) -> Option<[f64; 3]> {
    let x = stated_voxel(header, 0).or_else(|| stated_voxel(header, 1))?;
    Some([x, stated_voxel(header, 1).unwrap_or(x), stated_voxel(header, 2).unwrap_or(x)])
}

/// How many bytes of an extended header hold what we read of it.
pub const EXTENDED_HEAD_BYTES: usize = FEI_PIXEL_SIZE + 8;

/// Pixel size in Å from the start of an FEI extended header.
pub fn fei_pixel_size(header: &MrcHeader, extended: &[u8]) -> Option<f64> {
    if !matches!(&header.extended_type, b"FEI1" | b"FEI2") {
        return None;
    }
    let mut bytes = *extended.get(FEI_PIXEL_SIZE..)?.first_chunk::<8>()?;
    if header.order == ByteOrder::Big {
        bytes.reverse();
    }
    plausible_pixel_size(f64::from_le_bytes(bytes) * ANGSTROM_PER_METRE)
}

/// Where the first voxel lies along x, y, z, Å.
pub fn origin_a(header: &MrcHeader, voxel_a: [f64; 3]) -> [f64; 3] {
    if header.origin_a.iter().any(|&o| o != 0.0) && header.origin_a.iter().all(|o| o.is_finite()) {
        return header.origin_a.map(f64::from);
    }
    let mut origin = [0.0; 3];
    for (place, &axis) in header.axes.iter().enumerate() {
        origin[axis] = f64::from(header.start[place]) * voxel_a[axis];
    }
    origin
}
