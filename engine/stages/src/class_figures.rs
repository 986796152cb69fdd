//! Pictures of class averages.

use crate::map_figures;
use ndarray::Array2;
use vitreous_model::class_average::ClassAverage;
use vitreous_model::report::{Figure, Mark};

/// Averages in a row of the montage.
const COLUMNS: usize = 10;

/// Averages are enlarged until they have about this many pixels along an edge, so that their labels fit.
const SHOWN_EDGE_PX: usize = 96;

/// Room between two averages of a montage, pixels.
const GAP: usize = 2;

/// Classes with their images (in the same order), the largest first.
pub fn by_size<'a>(
    classes: &'a [ClassAverage],
    images: &'a [Array2<f32>],
) -> Vec<(&'a ClassAverage, &'a Array2<f32>)> {
    let mut order: Vec<_> = classes.iter().zip(images).collect();
    order.sort_by(|(a, _), (b, _)| b.particles.cmp(&a.particles).then(a.number.cmp(&b.number)));
    order
}

/// A montage of class averages in the given order, with number and particles on each.
pub fn montage(
    id: &str,
    title: &str,
    classes: &[(&ClassAverage, &Array2<f32>)],
    pixel_size_a: f64,
) -> Figure {
    let edge = classes.first().map_or(1, |(_, image)| image.nrows());
    let factor = (SHOWN_EDGE_PX / edge.max(1)).max(1);
    let shown: Vec<Array2<f32>> = classes
        .iter()
        .map(|(_, image)| {
            let (height, width) = image.dim();
            Array2::from_shape_fn((height * factor, width * factor), |(y, x)| image[[y / factor, x / factor]])
        })
        .collect();
    let mut figure = map_figures::montage(id, title, &shown, COLUMNS, pixel_size_a / factor as f64);
    let columns = COLUMNS.min(classes.len().max(1));
    let rows = classes.len().div_ceil(columns);
    let pitch = edge * factor + GAP;
    if let Figure::Image { marks, .. } = &mut figure {
        for (place, (class, _)) in classes.iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            marks.push(Mark::Text {
                x: (column * pitch) as f64 + 3.0,
                y: ((rows - 1 - row) * pitch) as f64 + 3.0,
                text: format!("{}: {}", class.number, class.particles),
            });
        }
    }
    figure
}
