//! Micrographs as stages read them: the table of a slot, the pixels of one, and what is repaired before use.

use crate::{Ctx, StageError};
use ndarray::Array2;
use std::path::Path;
use vitreous_formats::image::check_finite;
use vitreous_formats::{open_image, table};
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::outputs::{Kind, Output};

/// A pixel this many robust standard deviations from the median is no electron image: a hot pixel, an X-ray, a scratch.
pub(crate) const HOT_SD: f32 = 6.0;
/// Pixels that are looked at for the median and the spread; more would not change them.
const SAMPLED: usize = 400_000;
/// Standard deviation of a normal distribution whose median absolute deviation is 1.
pub(crate) const SD_PER_MAD: f32 = 1.4826;

/// The exposures of the slot `micrographs`: none, if a microscope is followed that has not delivered yet.
///
/// # Errors
/// No input, or a broken table.
pub(crate) fn read_set(ctx: &Ctx<'_>) -> Result<ExposureSet, StageError> {
    let input = ctx.input("micrographs")?;
    Ok(table::exposures::read(&input.path)?)
}

/// Writes the exposures of this job as `micrographs.h5` and declares the output; rank 0 only. Sizes are those of the
/// input slot.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write_set(ctx: &Ctx<'_>, set: &ExposureSet) -> Result<(), StageError> {
    const FILE: &str = "micrographs.h5";
    ctx.create_at_path(FILE, |path| table::exposures::write(path, Kind::Micrographs, set))?;
    let given = &ctx.input("micrographs")?.output;
    let fresh = Output::new("micrographs", Kind::Micrographs, FILE, set.exposures.len() as u64);
    ctx.output(Output { pixel_size_a: given.pixel_size_a, frame_px: given.frame_px, ..fresh });
    Ok(())
}

/// The micrograph and the optics of an exposure.
///
/// # Errors
/// The exposure has no micrograph, an absurd pixel size, or an optics group that is not in the table.
pub(crate) fn parts_of<'a>(
    set: &'a ExposureSet,
    exposure: &'a Exposure,
) -> Result<(&'a MicrographSource, &'a OpticsGroup), StageError> {
    let name = &exposure.name;
    let source = exposure.micrograph.as_ref().ok_or_else(|| {
        StageError::input(format!("{name}: has no micrograph"), "run correct-motion, or import micrographs")
    })?;
    let optics = set.optics_of(exposure.optics_group).ok_or_else(|| {
        let what = format!("{name}: optics group {} is not in the table", exposure.optics_group);
        StageError::input(what, "import the exposures again")
    })?;
    if !(source.pixel_size_a.is_finite() && source.pixel_size_a > 0.0) {
        let what = format!("{name}: pixel size is {} Å, expected a positive number", source.pixel_size_a);
        return Err(StageError::input(what, "give --pixel-size on import"));
    }
    Ok((source, optics))
}

/// The pixels of a micrograph, `[height, width]`, row 0 the first row of the file.
///
/// # Errors
/// A file that cannot be read, holds more than one image, has another size than the table says, or values that are not
/// finite.
pub(crate) fn read_pixels(path: &Path, source: &MicrographSource) -> Result<Array2<f32>, StageError> {
    let file = open_image(path)?;
    let header = file.header();
    let (width, height) = (header.width, header.height);
    if (width, height, header.frames) != (source.width as usize, source.height as usize, 1) {
        let what = format!(
            "{}: holds {} image(s) of {width} × {height} px, the table says one of {} × {} px",
            path.display(),
            header.frames,
            source.width,
            source.height
        );
        return Err(StageError::input(what, "the file changed since it was imported: import it again"));
    }
    let mut pixels = vec![0.0; header.frame_len()];
    file.read_frame_in_pool(0, &mut pixels)?;
    check_finite(path, &pixels, width, height)?;
    Ok(Array2::from_shape_vec((height, width), pixels)
        .expect("a frame should have as many pixels as its header says"))
}

/// Median and robust standard deviation (from the median absolute deviation) of grey values. The spread is 0 where more
/// than half of the pixels are equal.
pub(crate) fn level_and_spread(values: &[f32]) -> (f32, f32) {
    let mut sample: Vec<f32> = values.iter().copied().step_by((values.len() / SAMPLED).max(1)).collect();
    let median = median_of(&mut sample);
    sample.iter_mut().for_each(|v| *v = (*v - median).abs());
    (median, SD_PER_MAD * median_of(&mut sample))
}

/// The middle value; 0 for an empty list. The list is reordered.
pub(crate) fn median_of(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Puts the mean of the usable neighbours (up to 2 px away) in place of single pixels more than [`HOT_SD`] robust
/// standard deviations from the median. Where most neighbours are as far off, it is an object (an ice crystal, a grid
/// bar) and stays. Returns how many there were.
pub(crate) fn repair_hot_pixels(pixels: &mut Array2<f32>) -> usize {
    let (median, spread) = level_and_spread(pixels.as_slice().unwrap_or_default());
    if spread == 0.0 {
        return 0;
    }
    let hot = |v: f32| (v - median).abs() > HOT_SD * spread;
    let (height, width) = pixels.dim();
    let mean_around = |(y, x): (usize, usize)| {
        let rows = y.saturating_sub(2)..=(y + 2).min(height - 1);
        let columns = x.saturating_sub(2)..=(x + 2).min(width - 1);
        let around: Vec<f32> =
            rows.flat_map(|j| columns.clone().map(move |i| (j, i))).map(|at| pixels[at]).collect();
        let good: Vec<f32> = around.iter().copied().filter(|v| !hot(*v)).collect();
        (2 * good.len() > around.len()).then(|| good.iter().sum::<f32>() / good.len() as f32)
    };
    let places = pixels.indexed_iter().filter(|(_, v)| hot(**v));
    let repaired: Vec<_> = places.filter_map(|(at, _)| Some((at, mean_around(at)?))).collect();
    for (at, value) in &repaired {
        pixels[*at] = *value;
    }
    repaired.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_pixels_take_the_mean_of_their_neighbours() {
        let mut pixels = Array2::from_shape_fn((40, 40), |(y, x)| 100.0 + ((7 * x + 13 * y) % 11) as f32);
        let clean = pixels.clone();
        pixels[[0, 0]] = 45_000.0;
        pixels[[20, 20]] = -9_000.0;
        pixels[[20, 21]] = 9_000.0;
        assert_eq!(repair_hot_pixels(&mut pixels), 3);
        assert!(pixels.iter().zip(&clean).all(|(a, b)| (a - b).abs() <= 10.0));
        assert_eq!(repair_hot_pixels(&mut Array2::from_elem((8, 8), 3.0)), 0);
    }

    #[test]
    fn an_object_far_off_the_level_is_no_hot_pixel() {
        let mut pixels = Array2::from_shape_fn((60, 60), |(y, x)| 100.0 + ((7 * x + 13 * y) % 11) as f32);
        pixels.slice_mut(ndarray::s![20..35, 20..35]).fill(900.0);
        repair_hot_pixels(&mut pixels);
        // only its corners look like single pixels
        assert!(pixels.iter().filter(|v| **v == 900.0).count() > 200);
    }

    #[test]
    fn level_and_spread_ignore_outliers() {
        let mut values: Vec<f32> = (0..1001).map(|i| i as f32).collect();
        values.extend([1e30; 100]);
        let (median, spread) = level_and_spread(&values);
        assert_eq!(median, 550.0);
        assert!((spread - 275.0 * SD_PER_MAD).abs() < 1.0 * SD_PER_MAD, "{spread}");
    }
}
