//! Masks: soft spheres and circles, and the automatic mask around a particle.

use crate::fourier::{HalfVolume, low_pass_weight};
use ndarray::{Array2, Array3, ArrayView3, Axis};
use rayon::prelude::*;
use std::f64::consts::PI;
use vitreous_model::conventions::centre;

/// Usual share for [`Level::OfHigh`].
pub const USUAL_LEVEL: f64 = 0.25;
/// Usual [`AutoMask::least_part`].
pub const USUAL_LEAST_PART: f64 = 0.1;
/// The quantile of the low-passed map's voxels that stands for its high density.
const HIGH_DENSITY: f64 = 0.999;

/// Raised-cosine edge: 1 up to `radius`, 0 from `radius + edge`.
fn edge_weight(r: f64, radius: f64, edge: f64) -> f32 {
    if r <= radius {
        1.0
    } else if r >= radius + edge {
        0.0
    } else {
        (0.5 * (1.0 + (PI * (r - radius) / edge).cos())) as f32
    }
}

/// A soft sphere about the centre voxel of a box of `n`: 1 within `radius_px`, falling to 0 over `edge_px`.
pub fn sphere(n: usize, radius_px: f64, edge_px: f64) -> Array3<f32> {
    let c = centre(n) as f64;
    let square = |i: usize| (i as f64 - c).powi(2);
    let mut mask = Array3::zeros((n, n, n));
    ndarray::par_azip!((index (z, y, x), value in &mut mask) {
        *value = edge_weight((square(z) + square(y) + square(x)).sqrt(), radius_px, edge_px);
    });
    mask
}

/// A soft disc about the centre pixel of a box of `n`: 1 within `radius_px`, falling to 0 over `edge_px`.
pub fn disc(n: usize, radius_px: f64, edge_px: f64) -> Array2<f32> {
    let c = centre(n) as f64;
    Array2::from_shape_fn((n, n), |(y, x)| {
        edge_weight((y as f64 - c).hypot(x as f64 - c), radius_px, edge_px)
    })
}

/// Density from which on a voxel belongs to the particle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Level {
    /// A share of the 99.9th percentile of the low-passed map; usually [`USUAL_LEVEL`].
    OfHigh(f64),
    /// A density of the low-passed map.
    Density(f64),
}

/// How an automatic mask is made; lengths in voxels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AutoMask {
    /// Radius in Fourier pixels to which the map is low-passed first.
    pub low_pass_radius: f64,
    /// Density from which on a voxel belongs to the particle.
    pub level: Level,
    /// Connected parts smaller than this share of the largest are dropped as noise; 1 keeps the largest alone. Usually
    /// [`USUAL_LEAST_PART`].
    pub least_part: f64,
    /// The mask's 1 reaches this far beyond the particle.
    pub extend_px: f64,
    /// Width of the cosine edge after that.
    pub edge_px: f64,
}

/// An automatic mask.
#[derive(Debug, Clone)]
pub struct Masked {
    /// 1 inside, 0 outside, between them at the edge.
    pub mask: Array3<f32>,
    /// Density of the low-passed map from which on a voxel counted as particle.
    pub threshold: f64,
    /// Voxels of each connected part above it, the largest first.
    pub parts: Vec<usize>,
    /// How many parts, from the first, the mask covers.
    pub kept: usize,
}

/// Why there is no automatic mask.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MaskError {
    /// Nothing is above the threshold.
    #[error(
        "no voxel of the low-passed map is above {threshold:e} (its largest is {largest:e}); lower the threshold"
    )]
    Empty {
        /// The threshold.
        threshold: f64,
        /// The largest density.
        largest: f64,
    },
    /// The map has values that are not numbers.
    #[error("the map holds values that are not finite; it cannot be masked")]
    NotFinite,
}

/// A soft mask around the particle: low-pass, threshold, connected parts, extension and a cosine edge by Euclidean
/// distance.
///
/// # Errors
/// No voxel is above the threshold, or the map is not finite.
pub fn auto_mask(map: ArrayView3<'_, f32>, how: &AutoMask) -> Result<Masked, MaskError> {
    if map.iter().any(|v| !v.is_finite()) {
        return Err(MaskError::NotFinite);
    }
    let mut half = HalfVolume::of_box(map);
    half.weigh(|r| low_pass_weight(r, how.low_pass_radius, 2.0));
    let smooth = half.into_box();
    let threshold = match how.level {
        Level::OfHigh(share) => share * quantile(&smooth, HIGH_DENSITY),
        Level::Density(density) => density,
    };
    let largest = f64::from(smooth.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    // a map without density has threshold 0 and must not give a mask of everything
    let inside = smooth.mapv(|v| f64::from(v) > threshold && v > 0.0);
    let (kept, mut parts) = large_components(&inside, how.least_part);
    parts.sort_unstable_by(|a, b| b.cmp(a));
    let Some(&most) = parts.first() else { return Err(MaskError::Empty { threshold, largest }) };
    let distance2 = squared_distance(&kept);
    Ok(Masked {
        mask: distance2.mapv(|d2| edge_weight(f64::from(d2).sqrt(), how.extend_px, how.edge_px)),
        threshold,
        kept: parts.partition_point(|size| is_large(*size, most, how.least_part)),
        parts,
    })
}

fn is_large(size: usize, most: usize, least_part: f64) -> bool {
    size as f64 >= least_part * most as f64
}

/// The value below which the fraction `q` of all voxels lies.
fn quantile(map: &Array3<f32>, q: f64) -> f64 {
    let mut values: Vec<f32> = map.iter().copied().collect();
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * q) as usize;
    let (_, value, _) = values.select_nth_unstable_by(at, f32::total_cmp);
    f64::from(*value)
}

/// Voxels of the face-connected parts whose size is at least `least_part` of the largest, and the sizes of all parts.
fn large_components(inside: &Array3<bool>, least_part: f64) -> (Array3<bool>, Vec<usize>) {
    let (nz, ny, nx) = inside.dim();
    let mut label = Array3::<u32>::zeros(inside.dim());
    let mut sizes = vec![0usize];
    let mut stack = Vec::new();
    for (start, &is_inside) in inside.indexed_iter() {
        if !is_inside || label[start] != 0 {
            continue;
        }
        let number = sizes.len() as u32;
        sizes.push(0);
        label[start] = number;
        stack.push(start);
        while let Some((z, y, x)) = stack.pop() {
            sizes[number as usize] += 1;
            let mut visit = |z: usize, y: usize, x: usize| {
                let index = (z, y, x);
                if z < nz && y < ny && x < nx && inside[index] && label[index] == 0 {
                    label[index] = number;
                    stack.push(index);
                }
            };
            // below 0 wraps to a large index, which `visit` leaves out
            visit(z.wrapping_sub(1), y, x);
            visit(z + 1, y, x);
            visit(z, y.wrapping_sub(1), x);
            visit(z, y + 1, x);
            visit(z, y, x.wrapping_sub(1));
            visit(z, y, x + 1);
        }
    }
    let most = sizes.iter().copied().max().unwrap_or(0);
    let kept = label.mapv(|number| number != 0 && is_large(sizes[number as usize], most, least_part));
    sizes.remove(0);
    (kept, sizes)
}

/// Squared Euclidean distance of every voxel to the nearest `true` one, in voxels² (0 inside), axis by axis with the
/// lower envelope of parabolas (Felzenszwalb & Huttenlocher 2012, Theory of Computing 8:415).
fn squared_distance(inside: &Array3<bool>) -> Array3<f32> {
    let far = inside.len().max(1) as f32 * 4.0;
    let mut distance = inside.mapv(|v| if v { 0.0 } else { far });
    for axis in [2, 1, 0] {
        // lanes of one axis are independent; planes of another are handed to the threads
        let outer = if axis == 0 { 1 } else { 0 };
        distance.axis_iter_mut(Axis(outer)).into_par_iter().for_each(|mut plane| {
            let lane_axis = if axis == 2 { 1 } else { 0 };
            let mut envelope = Envelope::default();
            for mut lane in plane.lanes_mut(Axis(lane_axis)) {
                envelope.transform(&mut lane);
            }
        });
    }
    distance
}

#[derive(Default)]
struct Envelope {
    values: Vec<f32>,
    /// Columns of the parabolas of the lower envelope, and from where on each is the lowest.
    parabolas: Vec<(usize, f32)>,
}

impl Envelope {
    fn transform(&mut self, lane: &mut ndarray::ArrayViewMut1<'_, f32>) {
        self.values.clear();
        self.values.extend(lane.iter());
        self.parabolas.clear();
        for (i, &value) in self.values.iter().enumerate() {
            let from = loop {
                let Some(&(j, from)) = self.parabolas.last() else { break f32::NEG_INFINITY };
                let (a, b) = (i as f32, j as f32);
                let crossing = ((value + a * a) - (self.values[j] + b * b)) / (2.0 * (a - b));
                if crossing > from {
                    break crossing;
                }
                self.parabolas.pop();
            };
            self.parabolas.push((i, from));
        }
        let mut current = 0;
        for (x, out) in lane.iter_mut().enumerate() {
            while current + 1 < self.parabolas.len() && self.parabolas[current + 1].1 < x as f32 {
                current += 1;
            }
            let j = self.parabolas[current].0;
            *out = (x as f32 - j as f32).powi(2) + self.values[j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spheres_are_soft_and_centred() {
        let mask = sphere(9, 2.0, 2.0);
        assert_eq!(mask[[4, 4, 4]], 1.0);
        assert_eq!(mask[[4, 4, 6]], 1.0);
        assert!((mask[[4, 7, 4]] - 0.5).abs() < 1e-6);
        assert_eq!(mask[[0, 4, 4]], 0.0);
        let disc = disc(8, 2.0, 0.0);
        assert_eq!((disc[[4, 6]], disc[[4, 7]]), (1.0, 0.0));
    }

    #[test]
    fn distances_equal_brute_force() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let inside = Array3::from_shape_simple_fn((6, 9, 7), || rng.random_range(0..40) == 0);
        let got = squared_distance(&inside);
        for ((z, y, x), &d2) in got.indexed_iter() {
            let want = inside
                .indexed_iter()
                .filter(|(_, v)| **v)
                .map(|((a, b, c), _)| {
                    let d = |i: usize, j: usize| (i as f32 - j as f32).powi(2);
                    d(a, z) + d(b, y) + d(c, x)
                })
                .fold(f32::INFINITY, f32::min);
            assert_eq!(d2, want);
        }
    }

    #[test]
    fn the_automatic_mask_covers_the_particle_and_drops_specks() {
        let n = 40;
        let mut map = sphere(n, 7.0, 1.0);
        map[[5, 5, 5]] = 3.0;
        let how = AutoMask {
            low_pass_radius: 15.0,
            level: Level::OfHigh(USUAL_LEVEL),
            least_part: USUAL_LEAST_PART,
            extend_px: 3.0,
            edge_px: 4.0,
        };
        let Masked { mask, parts, kept, threshold } = auto_mask(map.view(), &how).unwrap();
        assert_eq!((parts.len(), kept), (2, 1), "{parts:?}");
        let same = AutoMask { level: Level::Density(threshold), ..how };
        assert_eq!(auto_mask(map.view(), &same).unwrap().mask, mask);
        assert_eq!(mask[[20, 20, 20]], 1.0);
        assert_eq!(mask[[20, 20, 29]], 1.0); // 2 voxels outside
        assert!(mask[[20, 20, 32]] > 0.0 && mask[[20, 20, 32]] < 1.0);
        assert_eq!(mask[[20, 20, 36]], 0.0);
        assert_eq!(mask[[5, 5, 5]], 0.0);
    }

    #[test]
    fn maps_that_cannot_be_masked_are_refused() {
        let how = AutoMask {
            low_pass_radius: 4.0,
            level: Level::OfHigh(5.0),
            least_part: USUAL_LEAST_PART,
            extend_px: 1.0,
            edge_px: 1.0,
        };
        let map = sphere(10, 3.0, 1.0);
        assert!(matches!(auto_mask(map.view(), &how), Err(MaskError::Empty { .. })));
        let zero = Array3::zeros((10, 10, 10));
        assert!(matches!(auto_mask(zero.view(), &how), Err(MaskError::Empty { .. })));
        let mut broken = map;
        broken[[1, 1, 1]] = f32::NAN;
        assert!(matches!(auto_mask(broken.view(), &how), Err(MaskError::NotFinite)));
    }
}
