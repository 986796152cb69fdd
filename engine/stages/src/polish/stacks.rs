//! The polished images of one movie's particles: frames added up along the tracks, weighted frequency by frequency.

use super::StageError;
use super::frames::Frames;
use super::motion::{Subject, Tracks};
use super::patch::Ramp;
use super::weights::FrameWeights;
use crate::extract_particles::background::Background;
use ndarray::Array2;
use rayon::prelude::*;
use vitreous_compute::fourier::{CroppedForward, HalfImage, radius_of};
use vitreous_compute::likelihood::spectrum_at;

/// Corrected frames that are held at once.
const FRAMES_AT_ONCE: usize = 8;
/// Memory for sums, bytes; of a movie with more particles the frames are gone through several times.
const SUMS_BYTES: usize = 1 << 30;

/// What is the same for all images of a movie.
pub struct Plan<'a> {
    /// Edge of the boxes cut out of frames, and of the images, pixels.
    pub box_px: usize,
    pub output_px: usize,
    /// Pixel size of the movie, Å.
    pub pixel_a: f64,
    pub weights: &'a FrameWeights,
    pub background: &'a Background,
    /// -1 inverts the contrast.
    pub sign: f64,
}

/// Calls `take` with the number and the image of each particle, in order; `None` if the image shows nothing.
///
/// # Errors
/// A frame that cannot be read, or what `take` returns.
pub fn images(
    plan: &Plan<'_>,
    frames: &Frames,
    subjects: &[Subject<'_>],
    tracks: &Tracks,
    mut take: impl FnMut(usize, Option<Array2<f32>>) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let n = plan.output_px;
    let weights = frame_weights(plan, frames.len());
    let at_once = (SUMS_BYTES / (n * (n / 2 + 1) * 8)).max(1);
    for start in (0..subjects.len()).step_by(at_once) {
        let mut sums: Vec<(usize, HalfImage)> =
            (start..subjects.len().min(start + at_once)).map(|p| (p, HalfImage::zeros_box(n))).collect();
        let numbers: Vec<usize> = (0..frames.len()).collect();
        for some in numbers.chunks(FRAMES_AT_ONCE) {
            let batch = frames.hold(some)?;
            let room = || (CroppedForward::new(plan.box_px, n), HalfImage::zeros_box(n));
            sums.par_iter_mut().for_each_init(room, |(transform, image), (p, sum)| {
                for held in &batch {
                    let frame = held.frame();
                    let exact =
                        [0, 1].map(|i| subjects[*p].place_px[i] + tracks[*p][frame.number][i] / plan.pixel_a);
                    let pixel = exact.map(f64::round);
                    frame.transform(pixel.map(|v| v as i64), plan.box_px, transform, image);
                    let rest = [0, 1].map(|i| 0.5 + (exact[i] - pixel[i]) / plan.box_px as f64);
                    add(sum, image, &Ramp::back(n, rest), &weights[frame.number]);
                }
            });
        }
        let images: Vec<(usize, Option<Array2<f32>>)> = sums
            .into_par_iter()
            .map(|(p, sum)| {
                let mut image = sum.into_box();
                let shows = plan.background.normalise(&mut image, plan.sign);
                (p, shows.then_some(image))
            })
            .collect();
        images.into_iter().try_for_each(|(p, image)| take(p, image))?;
    }
    Ok(())
}

/// Weight of every coefficient in every frame, `[output_px, output_px/2 + 1]`.
fn frame_weights(plan: &Plan<'_>, frames: usize) -> Vec<Array2<f32>> {
    let n = plan.output_px;
    let edge_a = plan.box_px as f64 * plan.pixel_a;
    // up to the corners
    let by_shell: Vec<Vec<f64>> = (0..n).map(|s| plan.weights.at(frames, s as f64 / edge_a)).collect();
    let one = |f: usize| {
        let of_frame: Vec<f64> = by_shell.iter().map(|weights| weights[f]).collect();
        Array2::from_shape_fn((n, n / 2 + 1), |(y, x)| spectrum_at(&of_frame, radius_of(y, x, n, n)) as f32)
    };
    (0..frames).into_par_iter().map(one).collect()
}

fn add(sum: &mut HalfImage, image: &HalfImage, ramp: &Ramp, weight: &Array2<f32>) {
    let mut data = sum.data_mut();
    let rows = data.rows_mut().into_iter().zip(image.data().rows()).zip(weight.rows());
    for (((mut sum, image), weight), turn) in rows.zip(&ramp.y) {
        let columns = sum.iter_mut().zip(image).zip(weight).zip(&ramp.x);
        for (((sum, value), weight), x) in columns {
            *sum += value * (x * turn) * *weight;
        }
    }
}
