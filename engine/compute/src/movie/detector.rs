//! What is known of the detector: the gain of its pixels, and which of them are bad.

use super::frame::RawFrame;
use super::rows;
use std::sync::Arc;

/// A bad pixel and the good ones that stand in for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Defect {
    /// Index in the frame, `y · width + x`.
    pub index: usize,
    /// Indices of good pixels nearby; a frame takes one of them in turn, which keeps the noise as it is (a mean would
    /// be smoother than its surroundings and the same in all frames). Empty if there are none.
    pub choices: Vec<usize>,
}

/// Bad pixels of a detector, by rising index. What stands in for one is never bad itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Defects {
    /// In rising order.
    pub pixels: Vec<Defect>,
    /// Of these, how many the gain reference marks with 0.
    pub in_gain: usize,
}

impl Defects {
    /// Which pixel of frame `frame` replaces this one: a fixed choice for every pixel and frame. `None` if all around is
    /// bad.
    pub fn replacement(defect: &Defect, frame: usize) -> Option<usize> {
        let n = defect.choices.len();
        // a multiplicative hash, so that neighbouring pixels and frames do not choose in step
        let hash = (defect.index as u64 ^ ((frame as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        (n > 0).then(|| defect.choices[hash as usize % n])
    }

    /// The defects in rows `first .. last`.
    pub fn in_rows(&self, width: usize, first: usize, last: usize) -> &[Defect] {
        let start = self.pixels.partition_point(|d| d.index < first * width);
        let end = self.pixels.partition_point(|d| d.index < last * width);
        &self.pixels[start..end]
    }
}

/// The pixels of a detector.
#[derive(Debug, Clone)]
pub struct Detector {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Gain reference `[height, width]` to multiply frames with; `None` if they are corrected.
    pub gain: Option<Arc<[f32]>>,
}

impl Detector {
    /// Writes one row of a frame into `out`, gain applied, defects as they are.
    pub fn gain_corrected_row(&self, raw: &RawFrame, row: usize, out: &mut [f32]) {
        let source = row * self.width..(row + 1) * self.width;
        let gain = self.gain.as_ref().map(|gain| &gain[source.clone()]);
        match (raw, gain) {
            (RawFrame::Counts(counts), gain) => {
                match gain {
                    Some(gain) => rows::unpack_product(counts.row(row), gain, out),
                    None => rows::unpack(counts.row(row), out),
                }
                for (x, value) in counts.large_of(row) {
                    out[x] = f32::from(value) * gain.map_or(1.0, |gain| gain[x]);
                }
            }
            (RawFrame::Bytes(bytes), Some(gain)) => rows::widen_product(&bytes[source], gain, out),
            (RawFrame::Bytes(bytes), None) => rows::widen(&bytes[source], out),
            (RawFrame::Floats(values), gain) => {
                out.copy_from_slice(&values[source]);
                if let Some(gain) = gain {
                    rows::multiply(out, gain);
                }
            }
        }
    }

    /// Writes rows `first .. last` of a frame into `out`, gain applied and defects replaced. Row `r` starts at
    /// `(r - first) · stride`; what lies beyond a row's end is left as it is.
    pub fn corrected_rows(
        &self,
        raw: &RawFrame,
        frame: usize,
        defects: &Defects,
        (first, last): (usize, usize),
        stride: usize,
        out: &mut [f32],
    ) {
        let width = self.width;
        for row in first..last {
            self.gain_corrected_row(raw, row, &mut out[(row - first) * stride..][..width]);
        }
        for defect in defects.in_rows(width, first, last) {
            let value = Defects::replacement(defect, frame)
                .map_or(0.0, |index| raw.value(index) * self.gain.as_ref().map_or(1.0, |gain| gain[index]));
            out[(defect.index / width - first) * stride + defect.index % width] = value;
        }
    }
}
