//! Pictures of maps that several job types show: slices, projections, FSC curves, viewing directions.

use ndarray::{Array2, ArrayView3, Axis as Dimension};
use vitreous_model::pose::Rotation;
use vitreous_model::report::{Axis, Figure, Raster, Series};

/// Pixels between panels.
pub const GAP: usize = 2;
/// Small maps are enlarged until a panel has about this many pixels.
const PANEL_PX: usize = 192;

/// The central slices of a map `[n, n, n]` (`z, y, x`) across z, y and x, side by side.
pub fn slices(id: &str, title: &str, map: ArrayView3<'_, f32>, voxel_a: f64) -> Figure {
    let centre = map.dim().0 / 2;
    let panels = [0, 1, 2].map(|axis| map.index_axis(Dimension(axis), centre).to_owned());
    row_of(id, title, &panels, voxel_a)
}

/// The projections of a map along z, y and x, side by side.
pub fn projections(id: &str, title: &str, map: ArrayView3<'_, f32>, voxel_a: f64) -> Figure {
    let panels = [0, 1, 2].map(|axis| map.sum_axis(Dimension(axis)));
    row_of(id, title, &panels, voxel_a)
}

/// Images of one size in rows of `columns`, from the top left, each scaled to its own 1st and 99th percentile.
pub fn montage(id: &str, title: &str, images: &[Array2<f32>], columns: usize, pixel_size_a: f64) -> Figure {
    let columns = columns.clamp(1, images.len().max(1));
    let (height, width) = images.first().map_or((1, 1), |image| image.dim());
    let rows = images.len().div_ceil(columns).max(1);
    let total = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP);
    let mut sheet = Array2::<f32>::from_elem(total, f32::NAN);
    for (index, image) in images.iter().enumerate() {
        let grey =
            Raster::from_quantiles(image.as_standard_layout().as_slice().unwrap_or(&[]), width, 0.01, 0.99);
        let (row, column) = (index / columns, index % columns);
        // rasters begin at the top, sheets at the bottom
        let (top, left) = (row * (height + GAP), column * (width + GAP));
        for (i, &pixel) in grey.pixels.iter().enumerate() {
            let y = total.0 - 1 - (top + i / width);
            sheet[[y, left + i % width]] = f32::from(pixel);
        }
    }
    image_of(id, title, &sheet, 0.0, 255.0, pixel_size_a)
}

/// FSC curves by shell of a box of `n` pixels of `pixel_size_a`, over spatial frequency, with the usual thresholds.
pub fn fsc(id: &str, title: &str, curves: &[(&str, &[f64])], n: usize, pixel_size_a: f64) -> Figure {
    let series = curves
        .iter()
        .map(|(label, curve)| {
            let x = (0..curve.len()).map(|shell| shell as f64 / (n as f64 * pixel_size_a)).collect();
            Series::line(label, x, curve.iter().copied())
        })
        .collect();
    Figure::Plot {
        id: id.into(),
        title: title.into(),
        x: Axis::new("resolution", "Å"),
        y: Axis { range: Some([-0.1, 1.02]), ..Axis::new("Fourier shell correlation", "") },
        series,
        levels: vec![0.143, 0.5],
        x_is_resolution: true,
        equal_axes: false,
    }
}

/// Counts of viewing directions in bands of equal area.
pub fn directions(id: &str, title: &str, rotations: impl Iterator<Item = Rotation>) -> Figure {
    const BANDS: usize = 24;
    const SECTORS: usize = 48;
    let mut counts = vec![vec![0.0; SECTORS]; BANDS];
    for rotation in rotations {
        let [x, y, z] = rotation.apply([0.0, 0.0, 1.0]);
        let band = ((1.0 - z) / 2.0 * BANDS as f64) as usize;
        let turn = y.atan2(x) / std::f64::consts::TAU;
        let sector = ((turn - turn.floor()) * SECTORS as f64) as usize;
        counts[band.min(BANDS - 1)][sector.min(SECTORS - 1)] += 1.0;
    }
    Figure::Directions { id: id.into(), title: title.into(), counts }
}

/// Panels of one size in a row on one grey scale.
fn row_of(id: &str, title: &str, panels: &[Array2<f32>], pixel_size_a: f64) -> Figure {
    let (height, width) = panels.first().map_or((1, 1), |panel| panel.dim());
    let factor = (PANEL_PX / width.max(1)).max(1);
    let total = (height * factor, panels.len() * (width * factor + GAP) - GAP);
    let mut sheet = Array2::<f32>::from_elem(total, f32::NAN);
    for (index, panel) in panels.iter().enumerate() {
        let left = index * (width * factor + GAP);
        for y in 0..height * factor {
            for x in 0..width * factor {
                sheet[[y, left + x]] = panel[[y / factor, x / factor]];
            }
        }
    }
    let mut values: Vec<f32> =
        panels.iter().flat_map(|panel| panel.iter().copied()).filter(|v| v.is_finite()).collect();
    values.sort_by(f32::total_cmp);
    let at = |q: f64| values.get(((values.len().max(1) - 1) as f64 * q) as usize).copied().unwrap_or(0.0);
    image_of(id, title, &sheet, at(0.01), at(0.999), pixel_size_a / factor as f64)
}

fn image_of(id: &str, title: &str, sheet: &Array2<f32>, low: f32, high: f32, pixel_size_a: f64) -> Figure {
    let raster = Raster::from_values(sheet.as_slice().unwrap_or(&[]), sheet.dim().1, low, high);
    Figure::Image {
        id: id.into(),
        title: title.into(),
        raster,
        marks: Vec::new(),
        pixel_size_a: Some(pixel_size_a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn panels_stand_side_by_side_with_row_zero_at_the_bottom() {
        let mut map = Array3::<f32>::zeros((8, 8, 8));
        map.slice_mut(ndarray::s![4, ..2, ..2]).fill(1.0);
        let Figure::Image { raster, pixel_size_a, .. } = slices("s", "slices", map.view(), 2.0) else {
            panic!("slices should be an image");
        };
        assert_eq!((raster.width, raster.height), (3 * 192 + 2 * 2, 192));
        assert_eq!(pixel_size_a, Some(2.0 / 24.0));
        // the first panel's pixel (0, 0) is drawn at the bottom left
        assert_eq!(raster.pixels[191 * raster.width as usize], 255);
        assert_eq!(raster.pixels[0], 0);
    }

    #[test]
    fn directions_are_counted_once_each() {
        let rotations =
            (0..100).map(|i| Rotation::from_euler_zyz_deg(f64::from(i) * 37.0, f64::from(i) * 1.8, 0.0));
        let Figure::Directions { counts, .. } = directions("d", "directions", rotations) else {
            panic!("directions should be directions");
        };
        assert_eq!(counts.iter().flatten().sum::<f64>(), 100.0);
    }

    #[test]
    fn montages_keep_their_order() {
        let images: Vec<_> = (0..5).map(|_| Array2::from_shape_fn((4, 4), |(y, _)| y as f32)).collect();
        let Figure::Image { raster, .. } = montage("m", "montage", &images, 3, 1.0) else {
            panic!("a montage should be an image");
        };
        assert_eq!((raster.width, raster.height), (16, 10));
        assert_eq!((raster.pixels[0], raster.pixels[3 * 16]), (255, 0));
    }
}
