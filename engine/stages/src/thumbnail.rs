//! Small pictures of single exposures, for pages that follow a running job.

use ndarray::Array2;
use vitreous_model::report::{Figure, Mark, Raster};

/// Longest edge, pixels.
pub(crate) const EDGE: usize = 384;
/// Grey values under and over these quantiles are black and white.
const QUANTILES: (f64, f64) = (0.005, 0.995);

/// A micrograph `[height, width]`, row 0 at the bottom, averaged over squares.
pub(crate) fn of_micrograph(name: &str, pixels: &Array2<f32>, pixel_size_a: f64) -> Figure {
    let bin = bin_for(pixels.dim(), EDGE);
    let small = squares(pixels, bin);
    let values = small.as_slice().unwrap_or_default();
    Figure::Image {
        id: "micrograph".into(),
        title: name.into(),
        raster: Raster::from_quantiles(values, small.ncols(), QUANTILES.0, QUANTILES.1),
        marks: Vec::new(),
        pixel_size_a: Some(pixel_size_a * bin as f64),
    }
}

/// Edge of the squares that make the longer edge of `[height, width]` at most `edge`.
pub(crate) fn bin_for((height, width): (usize, usize), edge: usize) -> usize {
    height.max(width).div_ceil(edge).max(1)
}

/// Sums over squares of `bin` pixels an edge; incomplete ones at the right and the top are left out.
pub(crate) fn squares(pixels: &Array2<f32>, bin: usize) -> Array2<f32> {
    let (height, width) = (pixels.nrows() / bin, pixels.ncols() / bin);
    let mut sums = Array2::<f32>::zeros((height, width));
    for (y, row) in pixels.rows().into_iter().take(height * bin).enumerate() {
        let mut sums = sums.row_mut(y / bin);
        match row.as_slice() {
            Some(row) => {
                let squares = sums.iter_mut().zip(row.chunks_exact(bin));
                squares.for_each(|(sum, square)| *sum += square.iter().sum::<f32>());
            }
            None => row.iter().take(width * bin).enumerate().for_each(|(x, value)| sums[x / bin] += value),
        }
    }
    sums
}

/// The same picture with a longest edge of at most [`EDGE`] pixels: means of squares, marks where they were. Anything but
/// an image stays as it is.
pub(crate) fn shrunk(figure: Figure) -> Figure {
    let Figure::Image { id, title, raster, marks, pixel_size_a } = figure else { return figure };
    let shape = (raster.height as usize, raster.width as usize);
    let bin = bin_for(shape, EDGE);
    let Some(pixels) = Array2::from_shape_vec(shape, raster.pixels.clone()).ok().filter(|_| bin > 1) else {
        return Figure::Image { id, title, raster, marks, pixel_size_a };
    };
    // rasters begin at the top: what is cut off is at the bottom there, and marks count from it
    let cut = (shape.0 % bin) as f64;
    let small = squares(&pixels.mapv(f32::from), bin);
    let area = (bin * bin) as f32;
    let raster = Raster {
        width: small.ncols() as u32,
        height: small.nrows() as u32,
        pixels: small.iter().map(|sum| (sum / area).round() as u8).collect(),
        file: String::new(),
    };
    let scale = 1.0 / bin as f64;
    let marks = marks.into_iter().map(|mark| scaled(mark, scale, cut)).collect();
    Figure::Image { id, title, raster, marks, pixel_size_a: pixel_size_a.map(|size| size * bin as f64) }
}

fn scaled(mark: Mark, scale: f64, cut: f64) -> Mark {
    let up = |y: f64| (y - cut) * scale;
    match mark {
        Mark::Circle { x, y, radius } => Mark::Circle { x: x * scale, y: up(y), radius: radius * scale },
        Mark::Path { x, y } => {
            Mark::Path { x: x.into_iter().map(|x| x * scale).collect(), y: y.into_iter().map(up).collect() }
        }
        Mark::Text { x, y, text } => Mark::Text { x: x * scale, y: up(y), text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_summed_whole() {
        let pixels = Array2::from_shape_fn((5, 7), |(y, x)| (10 * y + x) as f32);
        let sums = squares(&pixels, 2);
        assert_eq!(sums.dim(), (2, 3));
        assert_eq!(sums[[0, 0]], 0.0 + 1.0 + 10.0 + 11.0);
        assert_eq!(sums[[1, 2]], 24.0 + 25.0 + 34.0 + 35.0);
        let turned = pixels.clone().reversed_axes();
        assert_eq!(squares(&turned, 2), sums.reversed_axes());
    }

    #[test]
    fn marks_stay_on_what_they_mark() {
        // a bright square of 4 × 4 pixels whose middle is at (102, 902) from the bottom left of 1001 rows
        let (width, height) = (800usize, 1001usize);
        let mut values = vec![0.0f32; width * height];
        for y in 900..904 {
            values[y * width + 100..y * width + 104].fill(1.0);
        }
        let figure = Figure::Image {
            id: "m".into(),
            title: "m".into(),
            raster: Raster::from_values(&values, width, 0.0, 1.0),
            marks: vec![Mark::Circle { x: 102.0, y: 902.0, radius: 6.0 }],
            pixel_size_a: Some(2.0),
        };
        let Figure::Image { raster, marks, pixel_size_a, .. } = shrunk(figure) else { panic!("an image") };
        assert_eq!((raster.width, raster.height, pixel_size_a), (266, 333, Some(6.0)));
        let Mark::Circle { x, y, radius } = marks[0] else { panic!("a circle") };
        assert_eq!(radius, 2.0);
        let (mut sum, mut at) = (0.0, [0.0; 2]);
        for (i, grey) in raster.pixels.iter().enumerate() {
            let (column, row) = (i % raster.width as usize, i / raster.width as usize);
            let grey = f64::from(*grey);
            sum += grey;
            at[0] += grey * (column as f64 + 0.5);
            at[1] += grey * (f64::from(raster.height) - row as f64 - 0.5);
        }
        assert!((at[0] / sum - x).abs() < 0.2 && (at[1] / sum - y).abs() < 0.2, "{at:?} {sum} {x} {y}");
    }

    #[test]
    fn micrographs_keep_their_scale() {
        let pixels = Array2::from_shape_fn((1000, 1300), |(y, _)| y as f32);
        let Figure::Image { raster, pixel_size_a, .. } = of_micrograph("m", &pixels, 1.5) else {
            panic!("an image")
        };
        assert_eq!((raster.width, raster.height, pixel_size_a), (325, 250, Some(6.0)));
        assert!(raster.pixels[0] > 250 && raster.pixels[249 * 325] < 5, "row 0 is at the bottom");
    }
}
