//! The templates of a job: a particle seen from all sides, turned in the plane, transformed once for all micrographs.

use ndarray::{Array2, Array3};
use num_complex::Complex32;
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};
use vitreous_compute::cpu::project::Projector;
use vitreous_compute::fourier::{HalfImage, next_5_smooth, resample_image};
use vitreous_compute::ops::template_correlation::Templates;
use vitreous_compute::regrid::regridded;
use vitreous_model::conventions::centre;
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// A template's box in particle diameters: room for the particle and its soft edge.
const BOX_DIAMETERS: f64 = 1.3;
/// Width of the soft edge of the circle that cuts a template out, diameters.
const EDGE_DIAMETERS: f64 = 0.1;
/// Smallest box, pixels.
const LEAST_BOX_PX: usize = 16;
/// A tile has at least so many boxes along an edge: the part that is lost where a template reaches over it stays small.
const TILE_BOXES: usize = 6;
/// Smallest tile, pixels.
const LEAST_TILE_PX: usize = 128;
/// Padding of the map before slices are taken.
const PADDING: f64 = 2.0;
/// Class averages are brought to at most this part of the working pixel before they are turned by linear interpolation.
const FINE: f64 = 0.5;

/// One view turned by one angle.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Number of the view.
    pub view: u32,
    /// Turned so far, degrees.
    pub angle_deg: f64,
}

/// All templates at one working pixel size, but for their transforms.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    /// Edge of a tile, pixels.
    pub tile_px: usize,
    /// Edge of a template, pixels.
    pub box_px: usize,
    /// Every view as it is, `[box, box]`.
    pub views: Vec<Array2<f32>>,
    /// Every view in every direction.
    pub entries: Vec<Entry>,
    /// Of every view, `|T|²` on a tile, summed over all directions of a frequency, by radius in pixels of the tile.
    pub power: Vec<Vec<f64>>,
}

/// What all views share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// Working pixel size, Å.
    pub pixel_size_a: f64,
    /// Diameter of the particle, Å.
    pub diameter_a: f64,
    /// Step of the turns in the plane, degrees.
    pub angle_step_deg: f64,
}

impl Geometry {
    fn box_px(&self) -> usize {
        let edge = (BOX_DIAMETERS * self.diameter_a / self.pixel_size_a).ceil() as usize;
        2 * edge.div_ceil(2).max(LEAST_BOX_PX / 2)
    }

    fn tile_px(&self) -> usize {
        2 * next_5_smooth((TILE_BOXES * self.box_px()).max(LEAST_TILE_PX) / 2)
    }

    /// Turns in the plane, degrees.
    fn angles_deg(&self) -> Vec<f64> {
        let count = (360.0 / self.angle_step_deg).ceil().max(1.0);
        (0..count as usize).map(|i| 360.0 * i as f64 / count).collect()
    }

    /// Cuts a template out by a circle with a soft edge; around it is 0.
    fn cut_out(&self, image: &mut Array2<f32>) {
        let n = image.nrows();
        let radius = 0.5 * self.diameter_a / self.pixel_size_a;
        let edge = EDGE_DIAMETERS * self.diameter_a / self.pixel_size_a;
        for ((y, x), value) in image.indexed_iter_mut() {
            let r = (y as f64 - centre(n) as f64).hypot(x as f64 - centre(n) as f64);
            let t = ((r - radius) / edge).clamp(0.0, 1.0);
            *value *= (0.5 * (1.0 + (PI * t).cos())) as f32;
        }
    }
}

impl Bank {
    /// Projections of a map `[n, n, n]` of voxel edges `voxel_xyz_a` (Å, along x, y, z) in directions `view_step_deg`
    /// apart over that part of the sphere that `group` leaves. Their transforms beside them: one for each entry, on a tile, the
    /// template's centre pixel in the corner.
    pub fn of_map(
        map: &Array3<f32>,
        voxel_xyz_a: [f64; 3],
        group: PointGroup,
        view_step_deg: f64,
        geometry: Geometry,
    ) -> (Self, Templates) {
        let n = geometry.box_px();
        let map = regridded(map.view(), voxel_xyz_a, n, geometry.pixel_size_a, 0.0);
        let projector = Projector::new(map.view(), PADDING).expect("a regridded map should be a cube");
        let draw = |rot_deg: f64, tilt_deg: f64, psi_deg: f64| {
            let mut slice = HalfImage::zeros_box(n);
            let rotation = Rotation::from_euler_zyz_deg(rot_deg, tilt_deg, psi_deg);
            projector
                .slice(rotation, 0.5 * n as f64 - 1.0, &mut slice)
                .expect("a slice should have the size of its map");
            slice.into_box()
        };
        let views = directions(group, view_step_deg);
        Self::of(views.len(), geometry, |view, angle_deg| {
            let (rot_deg, tilt_deg) = views[view];
            draw(rot_deg, tilt_deg, angle_deg)
        })
    }

    /// Class averages `[n, n]` of pixel size `pixel_size_a` (Å), and their transforms as in [`Bank::of_map`].
    pub fn of_images(images: &[Array2<f32>], pixel_size_a: f64, geometry: Geometry) -> (Self, Templates) {
        let n = geometry.box_px();
        let finer = (pixel_size_a / (FINE * geometry.pixel_size_a)).ceil().max(1.0) as usize;
        let fine: Vec<Array2<f32>> = images
            .iter()
            .map(|image| resample_image(image.view(), image.nrows() * finer, image.ncols() * finer))
            .collect();
        let step = geometry.pixel_size_a / pixel_size_a * finer as f64;
        Self::of(images.len(), geometry, |view, angle_deg| turned(&fine[view], step, angle_deg, n))
    }

    /// From `draw(view, angle in degrees)`, an image `[box, box]`.
    fn of(
        views: usize,
        geometry: Geometry,
        draw: impl Fn(usize, f64) -> Array2<f32> + Sync,
    ) -> (Self, Templates) {
        let (box_px, tile_px) = (geometry.box_px(), geometry.tile_px());
        let drawn = |view: usize, angle_deg: f64| {
            let mut image = draw(view, angle_deg);
            geometry.cut_out(&mut image);
            image
        };
        let angles = geometry.angles_deg();
        let entries: Vec<Entry> = (0..views as u32)
            .flat_map(|view| angles.iter().map(move |&angle_deg| Entry { view, angle_deg }))
            .collect();
        let each = tile_px * (tile_px / 2 + 1);
        let mut transforms = vec![Complex32::ZERO; entries.len() * each];
        transforms.par_chunks_exact_mut(each).zip(&entries).for_each(|(to, entry)| {
            let transform = on_tile(&drawn(entry.view as usize, entry.angle_deg), tile_px);
            to.iter_mut().zip(transform.data()).for_each(|(to, from)| *to = *from);
        });
        let power = transforms.chunks_exact(each).step_by(angles.len());
        let bank = Self {
            tile_px,
            box_px,
            power: power.map(|transform| power_by_radius(transform, tile_px)).collect(),
            views: (0..views).map(|view| drawn(view, 0.0)).collect(),
            entries,
        };
        let templates = Templates::new(tile_px, bank.entries.len(), transforms)
            .expect("each template should have the size of a tile");
        (bank, templates)
    }
}

/// The transform of a template `[n, n]` on a tile of zeros, its centre pixel at (0, 0).
fn on_tile(template: &Array2<f32>, tile_px: usize) -> HalfImage {
    let (n, at) = (template.nrows(), |i: usize| (i + tile_px - centre(template.nrows())) % tile_px);
    let mut tile = Array2::zeros((tile_px, tile_px));
    for y in 0..n {
        for x in 0..n {
            tile[[at(y), at(x)]] = template[[y, x]];
        }
    }
    HalfImage::of(tile.view())
}

/// `|T|²` of a half transform `[n, n/2 + 1]`, summed over the full transform, by rounded radius.
fn power_by_radius(transform: &[Complex32], n: usize) -> Vec<f64> {
    use vitreous_compute::fourier::{friedel_count, radius_of};
    let row = n / 2 + 1;
    let mut sums = vec![0.0; n];
    for (i, value) in transform.iter().enumerate() {
        let (y, x) = (i / row, i % row);
        sums[radius_of(y, x, n, n).round() as usize] +=
            friedel_count(x, n) as f64 * f64::from(value.norm_sqr());
    }
    sums
}

/// An image of `n` pixels, each `step` pixels of `image`, turned about the centre pixels; linear interpolation, 0 outside.
fn turned(image: &Array2<f32>, step: f64, angle_deg: f64, n: usize) -> Array2<f32> {
    let (sin, cos) = angle_deg.to_radians().sin_cos();
    let (height, width) = image.dim();
    let value = |y: isize, x: isize| {
        let inside = y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width;
        if inside { image[[y as usize, x as usize]] } else { 0.0 }
    };
    Array2::from_shape_fn((n, n), |(y, x)| {
        let (x, y) = (x as f64 - centre(n) as f64, y as f64 - centre(n) as f64);
        let from_x = step * (cos * x + sin * y) + centre(width) as f64;
        let from_y = step * (cos * y - sin * x) + centre(height) as f64;
        let (x0, y0) = (from_x.floor(), from_y.floor());
        let (fx, fy) = ((from_x - x0) as f32, (from_y - y0) as f32);
        let (x0, y0) = (x0 as isize, y0 as isize);
        let lower = value(y0, x0) * (1.0 - fx) + value(y0, x0 + 1) * fx;
        let upper = value(y0 + 1, x0) * (1.0 - fx) + value(y0 + 1, x0 + 1) * fx;
        lower * (1.0 - fy) + upper * fy
    })
}

/// Directions (rot, tilt; degrees) about `step_deg` apart, one for each that `group` takes into each other: of these that
/// which lies nearest to a direction without symmetry.
pub(super) fn directions(group: PointGroup, step_deg: f64) -> Vec<(f64, f64)> {
    // each direction has about the area of a square of the step
    let count = (4.0 * PI / step_deg.to_radians().powi(2)).ceil().max(1.0) as usize;
    let golden = PI * (3.0 - 5f64.sqrt());
    let rotations = group.rotations();
    let towards = [0.613, 0.291, 0.735];
    let along = |p: [f64; 3]| p[0] * towards[0] + p[1] * towards[1] + p[2] * towards[2];
    (0..count)
        .filter_map(|i| {
            let z = 1.0 - (2.0 * i as f64 + 1.0) / count as f64;
            let azimuth = (golden * i as f64).rem_euclid(TAU);
            let across = (1.0 - z * z).sqrt();
            let p = [across * azimuth.cos(), across * azimuth.sin(), z];
            let nearest = rotations.iter().all(|g| along(g.apply(p)) <= along(p) + 1e-9);
            nearest.then(|| (azimuth.to_degrees(), z.acos().to_degrees()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_as_many_as_the_group_leaves_and_no_place_is_far_from_one() {
        let all = directions(PointGroup::C1, 15.0).len() as f64;
        for name in ["C1", "C4", "D2", "D7", "O"] {
            let group: PointGroup = name.parse().unwrap();
            let left = directions(group, 15.0);
            let expected = all / group.order() as f64;
            assert!((left.len() as f64 - expected).abs() <= 0.35 * expected + 2.0, "{name}: {}", left.len());
            let point = |(rot, tilt): (f64, f64)| {
                let (rot, tilt) = (rot.to_radians(), tilt.to_radians());
                [tilt.sin() * rot.cos(), tilt.sin() * rot.sin(), tilt.cos()]
            };
            let mut worst: f64 = 0.0;
            for probe in directions(PointGroup::C1, 25.0).into_iter().map(point) {
                let cosine = |p: [f64; 3], g: &Rotation| {
                    let q = g.apply(probe);
                    p[0] * q[0] + p[1] * q[1] + p[2] * q[2]
                };
                let rotations = group.rotations();
                let best = left
                    .iter()
                    .flat_map(|view| rotations.iter().map(|g| cosine(point(*view), g)))
                    .fold(-1.0, f64::max);
                worst = worst.max(best.clamp(-1.0, 1.0).acos().to_degrees());
            }
            assert!(worst < 16.0, "{name}: {worst}");
        }
    }

    #[test]
    fn class_averages_are_scaled_and_turned() {
        // a bar along x from the centre, 20 px of 2 Å
        let image = Array2::from_shape_fn((64, 64), |(y, x)| {
            if (31..=33).contains(&y) && (32..52).contains(&x) { 1.0 } else { 0.0 }
        });
        let geometry = Geometry { pixel_size_a: 4.0, diameter_a: 100.0, angle_step_deg: 90.0 };
        let (bank, templates) = Bank::of_images(&[image], 2.0, geometry);
        assert_eq!((bank.views.len(), bank.entries.len(), bank.box_px), (1, 4, 34));
        let view = &bank.views[0];
        // 10 px of 4 Å, to the right
        assert!(view[[17, 25]] > 0.4 && view[[17, 30]] < 0.1 && view[[17, 12]] < 0.1, "{view:?}");
        let quarter = bank.entries[1].angle_deg;
        assert_eq!(quarter, 90.0);
        let mut back = HalfImage::zeros(bank.tile_px, bank.tile_px);
        back.data_mut().as_slice_mut().unwrap().copy_from_slice(templates.transform(1));
        let pixels = back.into_pixels();
        // turned from x towards y
        assert!(pixels[[8, 0]] > 0.4 && pixels[[0, 8]] < 0.1, "{} {}", pixels[[8, 0]], pixels[[0, 8]]);
    }
}
