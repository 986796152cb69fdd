//! Pictures of class averages.

use crate::map_figures;
use ndarray::Array2;
use vitreous_model::class_average::ClassAverage;
use vitreous_model::report::{Figure, Mark};

/// Averages in a row of the montage.
const COLUMNS: usize = 5;

/// Averages are enlarged until they have about this many pixels along an edge, so that their labels fit.
const SHOWN_EDGE_PX: usize = 128;

/// Height of the strip below an average that its label stands in, pixels.
const LABEL_PX: usize = 22;

/// Classes with their images (in the same order), the largest first.
pub fn by_size<'a>(
    classes: &'a [ClassAverage],
    images: &'a [Array2<f32>],
) -> Vec<(&'a ClassAverage, &'a Array2<f32>)> {
    let mut order: Vec<_> = classes.iter().zip(images).collect();
    order.sort_by(|(a, _), (b, _)| b.particles.cmp(&a.particles).then(a.number.cmp(&b.number)));
    order
}

/// A montage of class averages in the given order, each on its own grey scale, with number and particles below it.
pub fn montage(
    id: &str,
    title: &str,
    classes: &[(&ClassAverage, &Array2<f32>)],
    pixel_size_a: f64,
) -> Figure {
    let edge = classes.first().map_or(1, |(_, image)| image.nrows());
    let factor = (SHOWN_EDGE_PX / edge.max(1)).max(1);
    let shown: Vec<Array2<f32>> = classes.iter().map(|(_, image)| over_a_strip(image, factor)).collect();
    let mut figure = map_figures::montage(id, title, &shown, COLUMNS, pixel_size_a / factor as f64);
    let columns = COLUMNS.min(classes.len().max(1));
    let rows = classes.len().div_ceil(columns);
    let (width, height) = (edge * factor + map_figures::GAP, edge * factor + LABEL_PX + map_figures::GAP);
    if let Figure::Image { marks, pixel_size_a, .. } = &mut figure {
        // a scale bar would hide an average
        *pixel_size_a = None;
        for (place, (class, _)) in classes.iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            marks.push(Mark::Text {
                x: (column * width) as f64 + 4.0,
                y: ((rows - 1 - row) * height) as f64 + 5.0,
                text: format!("{}: {}", class.number, class.particles),
            });
        }
    }
    figure
}

/// An image enlarged by a whole factor, with the strip for its label below (rows before the first) as dark as its
/// darkest pixel.
fn over_a_strip(image: &Array2<f32>, factor: usize) -> Array2<f32> {
    let (height, width) = image.dim();
    let dark = image.iter().copied().fold(f32::INFINITY, f32::min);
    Array2::from_shape_fn((height * factor + LABEL_PX, width * factor), |(y, x)| {
        y.checked_sub(LABEL_PX).map_or(dark, |y| image[[y / factor, x / factor]])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_by_size_with_their_labels_below() {
        let class = |number: u32, particles: u64| ClassAverage {
            number,
            stack_index: number - 1,
            particles,
            probability: 1.0,
            resolution_a: 10.0,
            detail: 5.0,
        };
        let classes = [class(1, 5), class(2, 50), class(3, 5)];
        let images: Vec<Array2<f32>> =
            (0..3).map(|_| Array2::from_shape_fn((64, 64), |(y, _)| y as f32)).collect();
        let sorted = by_size(&classes, &images);
        assert_eq!(sorted.iter().map(|(class, _)| class.number).collect::<Vec<_>>(), [2, 1, 3]);
        let Figure::Image { raster, marks, .. } = montage("m", "m", &sorted, 2.0) else {
            panic!("a montage should be an image");
        };
        assert_eq!((raster.width, raster.height), (3 * 128 + 2 * 2, 128 + 22));
        assert_eq!(marks[0], Mark::Text { x: 4.0, y: 5.0, text: "2: 50".into() });
        // bright at the top, dark in the strip at the bottom
        assert!(raster.pixels[0] > 250 && raster.pixels[149 * raster.width as usize] == 0);
    }
}
