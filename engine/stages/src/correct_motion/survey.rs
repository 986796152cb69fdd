//! The first pass over a movie: the sum of all frames, the detector's defects, and small copies of the frames from which
//! the motion is found.
//!
//! Memory: the frames being read ([`BUDGET_FRAMES`](super::movie::BUDGET_FRAMES)), one sum, and the small copies. The
//! latter are low-passed ([`vitreous_compute::ops::decimate`]), and added up over successive frames as soon as there would be more than
//! [`MAX_GROUPS`] of them, so that they are bounded whatever the number of frames.

use super::hot_pixels;
use super::movie::{Movie, MovieError, ReadBuffers};
use ndarray::Array2;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use vitreous_compute::movie::detector::{Defect, Defects};
use vitreous_compute::movie::frame::RawFrame;
use vitreous_compute::movie::rows;
use vitreous_compute::ops::decimate::{Decimate, DecimationFilter};

/// Pixel size that the small copies should have about, Å: fine enough for the frequencies that carry motion (to about
/// 8 Å), and 1/16 of the memory at 1 Å per pixel.
const SMALL_PIXEL_A: f64 = 3.6;

/// Small frames that are kept; with more frames in the movie, successive ones are added up.
pub const MAX_GROUPS: usize = 64;

/// Frames read before the sum is touched, at least.
const LEAST_BATCH: usize = 8;

/// Rows of the sum that a thread adds to at a time.
const ROWS: usize = 64;

/// Smallest edge of a small frame, pixels.
const SMALLEST_EDGE: usize = 64;

/// What the first pass finds.
pub struct Survey {
    /// Sum of all frames, gain applied, defects not replaced; `[height, width]`.
    pub sum: Vec<f32>,
    /// Bad pixels.
    pub defects: Arc<Defects>,
    /// Pixels of the movie per pixel of a small frame, along either axis.
    pub binning: usize,
    /// Frames of the movie per small frame (the last may have fewer).
    pub group: usize,
    /// Small frames, low-passed, defects taken out.
    pub small: Vec<Array2<f32>>,
    /// The frames themselves, if all of them fit into the budget.
    pub kept: Option<Vec<RawFrame>>,
}

/// Pixels that are averaged along either axis for a movie of `width × height` pixels of `pixel_size_a`.
pub fn binning_for(pixel_size_a: f64, width: usize, height: usize) -> usize {
    let wanted = (SMALL_PIXEL_A / pixel_size_a).round().max(1.0) as usize;
    wanted.min(width.min(height) / SMALLEST_EDGE).max(1)
}

/// Goes through the movie once.
///
/// # Errors
/// A frame that cannot be read.
pub fn survey<D: Decimate>(
    device: &D,
    movie: &Movie,
    pixel_size_a: f64,
    hot_pixel_sd: f64,
) -> Result<Survey, MovieError> {
    let (width, height) = (movie.width(), movie.height());
    let binning = binning_for(pixel_size_a, width, height);
    let group = movie.frames.div_ceil(MAX_GROUPS).max(1);
    let (decimator, filter) = (device.decimator(&movie.detector(), binning), DecimationFilter::new(binning));
    let mut small = vec![Array2::<f32>::zeros(filter.shape(width, height)); movie.frames.div_ceil(group)];
    let mut sum = vec![0.0f32; width * height];
    let step = (2 * rayon::current_num_threads()).max(LEAST_BATCH);
    let mut kept: Option<Vec<RawFrame>> = Some(Vec::new());
    let mut start = 0;
    while start < movie.frames {
        let end = (start + step).min(movie.frames);
        let batch = read_and_bin(device, &decimator, movie, start..end)?;
        add_up(&batch.iter().map(|(raw, _)| raw).collect::<Vec<_>>(), width, &mut sum);
        for (offset, (raw, binned)) in batch.into_iter().enumerate() {
            small[(start + offset) / group] += &binned;
            let fits = movie.batch(raw.bytes()) >= movie.frames;
            kept = kept.filter(|_| fits).map(|mut kept| {
                kept.push(raw);
                kept
            });
        }
        start = end;
    }
    if let Some(gain) = &movie.gain {
        rows::multiply(&mut sum, gain);
    }
    let defects = Arc::new(hot_pixels::find(&sum, movie.gain.as_deref(), width, hot_pixel_sd));
    let excess = excess(&sum, &defects, width, movie.frames);
    small.par_iter_mut().enumerate().for_each(|(index, small)| {
        let frames = group.min(movie.frames - index * group);
        subtract_defects(small, &filter, &excess, frames);
    });
    Ok(Survey { sum, defects, binning, group, small, kept })
}

/// The bad pixels alone, with the frames, if all of them fit into the budget.
///
/// # Errors
/// A frame that cannot be read.
pub(crate) fn bad_pixels(
    movie: &Movie,
    hot_pixel_sd: f64,
) -> Result<(Defects, Option<Vec<RawFrame>>), MovieError> {
    let width = movie.width();
    let mut sum = vec![0.0f32; width * movie.height()];
    let step = (2 * rayon::current_num_threads()).max(LEAST_BATCH);
    let mut kept: Option<Vec<RawFrame>> = Some(Vec::new());
    for start in (0..movie.frames).step_by(step) {
        let batch = movie.read(start, (start + step).min(movie.frames))?;
        add_up(&batch.iter().collect::<Vec<_>>(), width, &mut sum);
        let fits = batch.iter().all(|raw| movie.batch(raw.bytes()) >= movie.frames);
        kept = kept.filter(|_| fits).map(|mut kept| {
            kept.extend(batch);
            kept
        });
    }
    if let Some(gain) = &movie.gain {
        rows::multiply(&mut sum, gain);
    }
    Ok((hot_pixels::find(&sum, movie.gain.as_deref(), width, hot_pixel_sd), kept))
}

fn read_and_bin<D: Decimate>(
    device: &D,
    decimator: &D::Decimator,
    movie: &Movie,
    frames: Range<usize>,
) -> Result<Vec<(RawFrame, Array2<f32>)>, MovieError> {
    let results: Vec<Result<_, MovieError>> = frames
        .into_par_iter()
        .map_init(ReadBuffers::default, |buffers, frame| {
            let raw = movie.read_one(frame, buffers)?;
            let binned = device.decimate(decimator, &raw);
            Ok((raw, binned))
        })
        .collect();
    results.into_iter().collect()
}

/// Adds frames to a sum, `[height, width]`, gain not applied.
fn add_up(batch: &[&RawFrame], width: usize, sum: &mut [f32]) {
    sum.par_chunks_mut((ROWS * width).max(1)).enumerate().for_each_init(
        || vec![0u16; width],
        |counts, (chunk, part)| {
            for (row, sum) in part.chunks_mut(width).enumerate() {
                // 257 frames of bytes fit into 16 bits
                for frames in batch.chunks(usize::from(u16::MAX) / usize::from(u8::MAX)) {
                    counts.fill(0);
                    frames.iter().for_each(|raw| raw.add_row(chunk * ROWS + row, width, sum, counts));
                    rows::add_counts(sum, counts);
                }
            }
        },
    );
}

/// Takes out of a small frame, which sums up `frames` frames, what bad pixels add to it on average: their excess over
/// the good pixels around. It stays where it is while the specimen moves, and would pull every correlation to zero.
fn subtract_defects(
    small: &mut Array2<f32>,
    filter: &DecimationFilter,
    excess: &[((usize, usize), f32)],
    frames: usize,
) {
    for &(at, excess) in excess {
        filter.add_pixel(small, at, -excess * frames as f32);
    }
}

/// Position of every bad pixel and its mean excess in a frame.
fn excess(sum: &[f32], defects: &Defects, width: usize, frames: usize) -> Vec<((usize, usize), f32)> {
    let per_frame = |defect: &Defect| {
        let good: f32 =
            defect.choices.iter().map(|&i| sum[i]).sum::<f32>() / defect.choices.len().max(1) as f32;
        ((defect.index % width, defect.index / width), (sum[defect.index] - good) / frames as f32)
    };
    defects.pixels.iter().map(per_frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_about_four_angstrom_and_never_tiny() {
        assert_eq!(binning_for(0.85, 3838, 3710), 4);
        assert_eq!(binning_for(0.5, 11520, 8184), 7);
        assert_eq!(binning_for(5.0, 512, 512), 1);
        assert_eq!(binning_for(0.5, 200, 130), 2);
        assert_eq!(binning_for(0.5, 20, 20), 1);
    }
}
