//! The motion of the frame as a whole, to a fraction of a pixel: the start for everything finer.

use rayon::prelude::*;
use vitreous_compute::movie::band::{Band, Spectrum};
use vitreous_compute::movie::correlation_image::CorrelationImage;
use vitreous_compute::ops::motion_correlation::{MotionCorrelation, Pair};

/// Rounds of searching the whole correlation image; a round after which no frame moved by more than [`CONVERGED`] is
/// the last.
const ROUNDS: usize = 6;

/// Pixels of the binned frame.
const CONVERGED: f64 = 0.2;

/// Rings of the power spectrum from zero to Nyquist.
pub const RINGS: usize = 64;

/// How [`track`] searches.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Weight `exp(-2 B s²)` at frequency s: B in square pixels of the binned frame.
    pub b_factor: f64,
    /// Largest displacement from the sum that is looked for, pixels of the binned frame.
    pub max_shift: f64,
    /// Frames on either side whose correlation images are added to a frame's own in the first round, so that the
    /// dose searched with is enough for a peak; halved from round to round.
    pub reach: usize,
}

/// Displacement of every frame of a stack relative to their common mean, in pixels of the band's images.
///
/// Every frame is correlated with the sum of the *others*; the highest peak within `max_shift` moves it. Displacements
/// after the first round are limited to half of what they were before, so a lone wrong peak cannot run away.
pub fn track<D: MotionCorrelation>(
    device: &D,
    band: &Band,
    stack: Vec<Spectrum>,
    search: Search,
) -> Vec<Pair> {
    let mut displacements = vec![[0.0; 2]; stack.len()];
    if stack.len() < 2 {
        return displacements;
    }
    let mut stack = device.motion_stacks(band, RINGS, vec![stack]);
    let (mut reach, mut limit) = (search.reach, search.max_shift);
    for round in 0..ROUNDS {
        let images = device.correlation_images(&mut stack, &displacements, search.b_factor, limit);
        let steps = peaks(&images, reach);
        let largest = steps.iter().map(|step| step[0].hypot(step[1])).fold(0.0, f64::max);
        displacements.iter_mut().zip(&steps).for_each(|(d, step)| *d = [d[0] + step[0], d[1] + step[1]]);
        if largest < CONVERGED && reach == 0 && round > 0 {
            break;
        }
        (reach, limit) = (reach / 2, (0.5 * limit).max(2.0));
    }
    subtract_mean(&mut displacements);
    displacements
}

/// Takes the mean off, which no correlation can see.
pub fn subtract_mean(track: &mut [Pair]) {
    let n = track.len().max(1) as f64;
    for axis in 0..2 {
        let mean = track.iter().map(|d| d[axis]).sum::<f64>() / n;
        track.iter_mut().for_each(|d| d[axis] -= mean);
    }
}

/// Position of the highest peak of every frame's correlation image, after adding those of `reach` neighbours on either
/// side.
fn peaks(images: &[CorrelationImage], reach: usize) -> Vec<Pair> {
    (0..images.len())
        .into_par_iter()
        .map(|frame| {
            let mut total = images[frame].clone();
            for other in frame.saturating_sub(reach)..(frame + reach + 1).min(images.len()) {
                if other != frame {
                    total.values.iter_mut().zip(&images[other].values).for_each(|(a, b)| *a += b);
                }
            }
            total.peak()
        })
        .collect()
}
