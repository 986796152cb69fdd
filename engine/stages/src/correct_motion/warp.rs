//! The second pass over a movie: every frame is read where the motion has carried it, and added to a few weighted sums
//! ([`vitreous_compute::ops::warp`]). The displacement is held constant over tiles of 16 × 16 pixels, which is wrong by at most
//! half a tile times its gradient (0.015 pixel for a strong local motion of 5 pixels over a frame of 2500).
//!
//! Beyond its edges a frame is continued from the opposite edge, as by a shift in Fourier space, so that the division by
//! the interpolation's transfer leaves no ringing; a margin as wide as the motion is therefore not to be used. Sums whose
//! edges have lengths that are bad for transforms (4092 = 4 · 3 · 11 · 31) are made a little larger; on the way from one
//! edge to the opposite one a frame then fades from the one to the other.
//!
//! Memory: the frames of a batch ([`BUDGET_FRAMES`](super::movie::BUDGET_FRAMES)), and the sums with what the device needs
//! beside them.

use super::motion_field::MotionField;
use super::movie::{Movie, MovieError};
use std::sync::Arc;
use vitreous_compute::device::Cpu;
use vitreous_compute::fourier::{ImageStack, next_5_smooth};
use vitreous_compute::movie::detector::Defects;
use vitreous_compute::movie::frame::RawFrame;
use vitreous_compute::ops::warp::{MovedFrame, Warp, WarpError, WarpPlan};

/// Weighted sums of the warped frames, still under the interpolation's transfer function.
pub struct Sums {
    /// Size of the frames; the images may be larger.
    pub width: usize,
    /// Size of the frames; the images may be larger.
    pub height: usize,
    /// One image per set of weights.
    pub stack: ImageStack,
}

/// The shortest good length for transforms from `n` on that is a multiple of `multiple`.
pub fn good_length(n: usize, multiple: usize) -> usize {
    multiple * next_5_smooth(n.div_ceil(multiple))
}

/// Warps all frames and adds them up with the weights `[term][frame]`. `kept` are the frames, if the first pass could
/// keep them; else they are read again. `size` is that of the sums, width and height, no smaller than the frames'.
/// If the device fails, the CPU does it.
///
/// # Errors
/// A frame that cannot be read, or a motion that is no number.
pub fn warp<D: Warp>(
    device: &D,
    movie: &Movie,
    kept: Option<&[RawFrame]>,
    defects: &Arc<Defects>,
    field: &MotionField,
    weights: &[Vec<f64>],
    size: [usize; 2],
) -> Result<Sums, MovieError> {
    let plan =
        WarpPlan { detector: movie.detector(), defects: Arc::clone(defects), size, terms: weights.len() };
    let by_frame: Vec<Vec<f32>> = (0..movie.frames)
        .map(|frame| weights.iter().map(|of_term| of_term[frame] as f32).collect())
        .collect();
    let stack = match sums_on(device, movie, kept, field, &by_frame, plan.clone()) {
        Err(MovieError::Warp(WarpError::Device(error))) => {
            log::warn!("{}: {error}; the frames are added up on the CPU", device.name());
            sums_on(&Cpu, movie, kept, field, &by_frame, plan)?
        }
        other => other?,
    };
    Ok(Sums { width: movie.width(), height: movie.height(), stack })
}

/// The sums with weights `[frame][term]`, by one device.
fn sums_on<D: Warp>(
    device: &D,
    movie: &Movie,
    kept: Option<&[RawFrame]>,
    field: &MotionField,
    weights: &[Vec<f32>],
    plan: WarpPlan,
) -> Result<ImageStack, MovieError> {
    let mut sums = device.warped_sums(plan)?;
    let mut add_batch = |start: usize, batch: &[RawFrame]| {
        let moved = |(number, raw)| MovedFrame {
            raw,
            number,
            motion: &field.coefficients[number],
            weights: &weights[number],
        };
        let frames: Vec<MovedFrame<'_>> = (start..).zip(batch).map(moved).collect();
        device.add_warped(&mut sums, &frames)
    };
    if let Some(frames) = kept {
        add_batch(0, frames)?;
        return Ok(device.collect_warped(sums)?);
    }
    let mut start = 0;
    while start < movie.frames {
        // the first frame of a batch tells how many of its kind fit
        let mut batch = movie.read(start, start + 1)?;
        let end = (start + movie.batch(batch[0].bytes())).min(movie.frames);
        batch.extend(movie.read(start + 1, end)?);
        add_batch(start, &batch)?;
        start = end;
    }
    Ok(device.collect_warped(sums)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lengths_are_made_a_little_larger() {
        let cases = [(4092, 1, 4096), (5760, 1, 5760), (3838, 2, 3840), (8184, 4, 8192), (1, 1, 1)];
        for (n, multiple, want) in cases {
            assert_eq!(good_length(n, multiple), want, "{n}");
        }
    }
}
