//! One movie, from its frames to its micrographs: the order of the steps.

use super::compose::{Micrographs, compose, sum_size};
use super::dose_weights::DoseWeights;
use super::global::{self, Search};
use super::local::{self, Frames, Motion};
use super::motion_field::{MODES, MotionField};
use super::movie::{Movie, MovieError};
use super::patches::{self, PatchGrid};
use super::record::Spectrum;
use super::spectrum::radial_power;
use super::survey::{Survey, survey};
use super::warp::warp;
use ndarray::{Array2, ArrayView2};
use vitreous_compute::movie::band::Band;
use vitreous_compute::ops::decimate::{Decimate, USABLE};
use vitreous_compute::ops::motion_correlation::{MotionCorrelation, Pair};
use vitreous_compute::ops::warp::Warp;

/// The finest detail used to align whole frames for a start, Å.
const COARSE_DETAIL_A: f64 = 10.0;

/// The finest detail used in the end, Å.
const FINE_DETAIL_A: f64 = 6.0;

/// Largest displacement of a frame from the mean that is looked for, Å.
const MAX_SHIFT_A: f64 = 80.0;

/// B-factor that keeps the search and the first rounds to frequencies at which the specimen outweighs any fixed pattern
/// of the detector, Å² (RELION's, at 1 Å per pixel).
const SAFE_B_FACTOR_A2: f64 = 150.0;

/// Dose whose correlation has a clear peak in any movie, e/Å².
const SEARCH_DOSE: f64 = 4.0;

/// How a movie is to be corrected.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Pixel size of the movie, Å.
    pub pixel_size_a: f64,
    /// Dose per frame, e/Å²; 0: not known.
    pub dose_per_frame: f64,
    /// Dose before the first frame of the file, e/Å².
    pub pre_exposure: f64,
    /// Factor on the critical dose ([`vitreous_model::dose::voltage_factor`]); `None`: no dose weighting.
    pub voltage_factor: Option<f64>,
    /// Patches along x and y.
    pub patches: [usize; 2],
    /// B-factor of the alignment, square pixels of the movie.
    pub b_factor_px2: f64,
    /// Fourier cropping of the output.
    pub binning: f64,
    /// Threshold for bad pixels, standard deviations.
    pub hot_pixel_sd: f64,
    /// Whether the sum of the odd frames is wanted by itself.
    pub odd_even: bool,
}

impl Settings {
    /// Dose (or number of frames, if the dose is not known) at the middle of a frame.
    fn time(&self, frame: f64) -> f64 {
        (frame + 0.5) * if self.dose_per_frame > 0.0 { self.dose_per_frame } else { 1.0 }
    }
}

/// What one patch by itself would say, for figures.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchTrack {
    /// Centre, pixels of the movie.
    pub centre: Pair,
    /// Displacement in each group of frames relative to the first, pixels of the movie.
    pub points: Vec<Pair>,
}

/// A corrected movie.
pub struct Corrected {
    /// The sums.
    pub micrographs: Micrographs,
    /// Power of the sum without any correction but the gain's.
    pub uncorrected_power: Spectrum,
    /// The motion.
    pub field: MotionField,
    /// Patches by themselves.
    pub patch_tracks: Vec<PatchTrack>,
    /// By how much the local field predicts left-out patches better than none (log likelihood); 0: none was used.
    pub local_gain: f64,
    /// Bad pixels, and how many of them the gain reference marks.
    pub bad_pixels: [usize; 2],
    /// Sums that were accumulated.
    pub terms: usize,
}

/// Corrects a movie.
///
/// # Errors
/// A frame that cannot be read, or holds values that are not finite.
pub fn correct<D: Decimate + MotionCorrelation + Warp>(
    device: &D,
    movie: &Movie,
    settings: &Settings,
) -> Result<Corrected, MovieError> {
    let mut survey = survey(device, movie, settings.pixel_size_a, settings.hot_pixel_sd)?;
    let small = std::mem::take(&mut survey.small);
    // the sum has told what it had to: the bad pixels, and what there is without a correction
    let sum = ArrayView2::from_shape((movie.height(), movie.width()), &survey.sum)
        .expect("the sum should be of the frame's size");
    let uncorrected_power = radial_power(sum, settings.pixel_size_a);
    survey.sum = Vec::new();
    let (motion, grid) = find_motion(device, movie, settings, &survey, small);
    let field = field_of(movie, settings, &survey, &motion);
    let weights = match settings.voltage_factor {
        Some(factor) => {
            let end =
                |f: usize| settings.pre_exposure + (movie.first + f + 1) as f64 * settings.dose_per_frame;
            let doses: Vec<f64> = (0..movie.frames).map(end).collect();
            DoseWeights::new(&doses, settings.pixel_size_a, factor)
        }
        None => DoseWeights::plain(movie.frames),
    };
    let mut by_frame = weights.by_frame.clone();
    if settings.odd_even {
        // frames count from 1
        by_frame.push(
            (0..movie.frames).map(|f| f64::from(u8::from((movie.first + f).is_multiple_of(2)))).collect(),
        );
    }
    let size = sum_size(movie.width(), movie.height(), settings.binning);
    let kept = survey.kept.take();
    let sums = warp(device, movie, kept.as_deref(), &survey.defects, &field, &by_frame, size)?;
    drop(kept);
    let micrographs = compose(sums, &weights, settings.pixel_size_a, settings.binning);
    Ok(Corrected {
        micrographs,
        uncorrected_power,
        patch_tracks: patch_tracks(&motion, &grid, survey.binning as f64),
        local_gain: motion.gain,
        bad_pixels: [survey.defects.pixels.len(), survey.defects.in_gain],
        terms: weights.terms(),
        field,
    })
}

/// Displacements from the small frames, which are given up.
fn find_motion<D: MotionCorrelation>(
    device: &D,
    movie: &Movie,
    settings: &Settings,
    survey: &Survey,
    small: Vec<Array2<f32>>,
) -> (Motion, PatchGrid) {
    let (ny, nx) = small[0].dim();
    let pixel_a = settings.pixel_size_a * survey.binning as f64;
    let b_factor = settings.b_factor_px2 / (survey.binning * survey.binning) as f64;
    let safe_b_factor = SAFE_B_FACTOR_A2 / (pixel_a * pixel_a);
    let group_dose = settings.time(survey.group as f64) - settings.time(0.0);
    let band = Band::new(nx / 2 * 2, ny / 2 * 2, (pixel_a / COARSE_DETAIL_A).min(USABLE));
    let search = Search {
        b_factor: b_factor.max(safe_b_factor),
        max_shift: (MAX_SHIFT_A / pixel_a).min(nx.min(ny) as f64 / 4.0),
        reach: ((0.5 * SEARCH_DOSE / group_dose).round() as usize).min(small.len() / 6),
    };
    let displacements = global::track(device, &band, patches::whole(&band, &small), search);
    let times: Vec<f64> =
        (0..displacements.len()).map(|g| group_time(movie, settings, survey.group, g)).collect();
    let track_on = |patches: [usize; 2]| {
        let grid = PatchGrid::new(nx, ny, patches[0], patches[1]);
        let band = Band::new(grid.width, grid.height, (pixel_a / FINE_DETAIL_A).min(USABLE));
        let stacks = patches::cut(&grid, &band, &small, &displacements);
        let frames = Frames {
            times: &times,
            size: [movie.width(), movie.height()].map(|n| n as f64 / survey.binning as f64),
            displacements: &displacements,
            b_factor,
            safe_b_factor,
            local: grid.shape != [1, 1],
        };
        (local::track(device, &grid, &band, stacks, &frames), grid)
    };
    let (mut motion, grid) = track_on(settings.patches);
    if grid.shape != [1, 1] && motion.gain == 0.0 {
        // without local motion one window over the whole frame knows more than many small ones, which fade at their edges
        motion.whole = track_on([1, 1]).0.whole;
    }
    (motion, grid)
}

/// Time in the middle of a group of frames.
fn group_time(movie: &Movie, settings: &Settings, group: usize, index: usize) -> f64 {
    let (first, last) = (index * group, ((index + 1) * group).min(movie.frames) - 1);
    settings.time(0.5 * (first + last) as f64)
}

/// The motion of every frame, from that of groups of frames.
fn field_of(movie: &Movie, settings: &Settings, survey: &Survey, motion: &Motion) -> MotionField {
    let times: Vec<f64> =
        (0..motion.whole.len()).map(|g| group_time(movie, settings, survey.group, g)).collect();
    let scale = survey.binning as f64;
    let coefficients = (0..movie.frames)
        .map(|frame| {
            let t = settings.time(frame as f64);
            let mut coefficients: [[f64; MODES]; 2] = motion.local_at(t);
            for axis in 0..2 {
                coefficients[axis][0] += interpolate(&times, t, |g| motion.whole[g][axis]);
                coefficients[axis].iter_mut().for_each(|c| *c *= scale);
            }
            coefficients
        })
        .collect();
    MotionField::new(movie.width(), movie.height(), coefficients)
}

/// Linear interpolation at `t` between values at rising `times`, continued beyond their ends.
fn interpolate(times: &[f64], t: f64, value: impl Fn(usize) -> f64) -> f64 {
    if times.len() < 2 {
        return value(0);
    }
    let right = times.partition_point(|at| *at <= t).clamp(1, times.len() - 1);
    let part = (t - times[right - 1]) / (times[right] - times[right - 1]);
    value(right - 1) * (1.0 - part) + value(right) * part
}

fn patch_tracks(motion: &Motion, grid: &PatchGrid, binning: f64) -> Vec<PatchTrack> {
    let tracks = grid.centres.iter().zip(&motion.patch_tracks);
    tracks
        .map(|(centre, points)| {
            let first = points.first().copied().unwrap_or_default();
            let relative = |p: &Pair| [(p[0] - first[0]) * binning, (p[1] - first[1]) * binning];
            // small pixel i covers the pixels from i · binning on; centres count from the middle of pixel 0
            PatchTrack {
                centre: centre.map(|c| c * binning - 0.5),
                points: points.iter().map(relative).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::interpolate;

    #[test]
    fn groups_are_interpolated_and_continued() {
        let times = [1.0, 3.0, 7.0];
        let values = [10.0, 20.0, 0.0];
        for (t, want) in [(1.0, 10.0), (2.0, 15.0), (5.0, 10.0), (0.0, 5.0), (9.0, -10.0)] {
            assert_eq!(interpolate(&times, t, |g| values[g]), want);
        }
        assert_eq!(interpolate(&[4.0], 9.0, |_| 3.0), 3.0);
    }
}
