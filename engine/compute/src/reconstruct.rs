//! From sums of slices to a map: symmetry, the Wiener filter and its prior, correction for the interpolation.
//!
//! With `Num = Σ X_t c / σ²` and `W = Σ c² / σ²` on the padded grid, the map's transform is
//! `V(k) = Num / (W + 1/τ²)`: the most probable map if its coefficients have the variance τ² and the noise of
//! `Num / W` has `1/W` (Scheres 2012, J. Mol. Biol. 415:406). W and τ² belong to the same grid: both carry the same
//! factor of the padding.

use crate::fourier::{HalfVolume, shells};
use crate::ops::grid::PaddedGrid;
use crate::ops::insert::SliceSums;
use ndarray::{Array3, Axis, Zip};
use num_complex::Complex32;
use rayon::prelude::*;
use vitreous_model::conventions::{shell_of, signed_frequency};
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

/// Grid points whose weight is under this fraction of their shell's mean are divided by that fraction instead, so
/// that a hardly measured point is not blown up (RELION's limit).
const LEAST_WEIGHT: f64 = 1e-3;

/// FSC values are clipped to this range before a signal-to-noise ratio is made of them.
const FSC_RANGE: (f64, f64) = (0.001, 0.999);

/// Two rotations nearer than this are one.
const SAME_ROTATION_RAD: f64 = 1e-4;

/// A rotation that takes a cubic grid to itself: coordinate i of the result is coordinate `axis[i]` times `sign[i]`.
struct GridRotation {
    axis: [usize; 3],
    sign: [i32; 3],
}

impl GridRotation {
    /// `None` if `rotation` is not one.
    fn of(rotation: Rotation) -> Option<Self> {
        let (mut axis, mut sign) = ([0; 3], [0; 3]);
        for (i, row) in rotation.matrix().iter().enumerate() {
            axis[i] = row.iter().position(|v| v.abs() > 1.0 - SAME_ROTATION_RAD)?;
            sign[i] = if row[axis[i]] > 0.0 { 1 } else { -1 };
        }
        Some(Self { axis, sign })
    }

    #[inline]
    fn apply(&self, k: [i32; 3]) -> [i32; 3] {
        [0, 1, 2].map(|i| self.sign[i] * k[self.axis[i]])
    }
}

impl SliceSums {
    /// Adds sums on the same grid, e.g. those of the other half.
    ///
    /// # Panics
    /// When the grids differ.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.grid, other.grid, "sums to be added should be on one grid");
        Zip::from(&mut self.numerator).and(&other.numerator).par_for_each(|a, b| *a += b);
        Zip::from(&mut self.weight).and(&other.weight).par_for_each(|a, b| *a += b);
    }

    /// The sums over all rotations g of the group: `Num(k) ← Σ_g Num(g k)` by linear interpolation, W likewise: as if
    /// every image had been inserted in all its equivalent orientations.
    ///
    /// Rotations that take the grid to itself need no interpolation. They form a subgroup H; with the group as the union
    /// of cosets `c H` the sum is first taken over the representatives c, then over H: for O that is no interpolation
    /// at all, for I it is 5 in place of 60.
    pub fn symmetrised(self, group: PointGroup) -> Self {
        if group.order() == 1 {
            return self;
        }
        let rotations = group.rotations();
        let grid_rotations: Vec<(Rotation, GridRotation)> =
            rotations.iter().filter_map(|&g| Some((g, GridRotation::of(g)?))).collect();
        let mut representatives: Vec<Rotation> = Vec::new();
        for &g in &rotations {
            let is_known = |c: &Rotation| {
                grid_rotations.iter().any(|(h, _)| (*c * *h).angle_to_rad(g) < SAME_ROTATION_RAD)
            };
            if !representatives.iter().any(is_known) {
                representatives.push(g);
            }
        }
        let matrices: Vec<[[f32; 3]; 3]> =
            representatives.iter().map(|c| c.matrix().map(|row| row.map(|v| v as f32))).collect();
        let over_cosets = if matrices.len() == 1 {
            self
        } else {
            self.summed(|sums, k| {
                let k = k.map(|v| v as f32);
                let point = |m: &[[f32; 3]; 3]| {
                    sums.at([0, 1, 2].map(|i| m[i][0] * k[0] + m[i][1] * k[1] + m[i][2] * k[2]))
                };
                matrices.iter().map(point).fold((Complex32::ZERO, 0.0), |s, v| (s.0 + v.0, s.1 + v.1))
            })
        };
        if grid_rotations.len() == 1 {
            return over_cosets;
        }
        // the sum is the same at all equivalents of a point: it is made at the largest of them, then read from there
        let at_largest = over_cosets.summed(|sums, k| {
            let equivalents = || grid_rotations.iter().map(|(_, h)| h.apply(k));
            if equivalents().any(|other| other > k) {
                return (Complex32::ZERO, 0.0);
            }
            equivalents().fold((Complex32::ZERO, 0.0), |s, other| {
                let v = sums.on_grid(other);
                (s.0 + v.0, s.1 + v.1)
            })
        });
        at_largest
            .summed(|sums, k| sums.on_grid(grid_rotations.iter().map(|(_, h)| h.apply(k)).max().unwrap_or(k)))
    }

    /// New sums, each grid point (x, y, z) within reach from the old ones by `value`.
    fn summed(self, value: impl Fn(&Self, [i32; 3]) -> (Complex32, f32) + Sync) -> Self {
        let (edge, _, width) = self.grid.dim();
        let mut numerator = Array3::zeros((edge, edge, width));
        let mut weight = Array3::zeros((edge, edge, width));
        let reach = self.grid.reach() as i32;
        let planes = numerator.outer_iter_mut().into_par_iter().zip(weight.outer_iter_mut());
        planes.enumerate().for_each(|(z, (mut numerator, mut weight))| {
            for y in 0..edge {
                for x in 0..width {
                    let k = [x as i32, y as i32 - reach, z as i32 - reach];
                    // strictly inside, so that rounding of a rotated point does not leave the grid
                    if k.iter().map(|c| c * c).sum::<i32>() < reach * reach {
                        (numerator[[y, x]], weight[[y, x]]) = value(&self, k);
                    }
                }
            }
        });
        Self { grid: self.grid, numerator, weight }
    }

    /// The values at a grid point (x, y, z) within reach.
    #[inline]
    fn on_grid(&self, k: [i32; 3]) -> (Complex32, f32) {
        let reach = self.grid.reach() as i32;
        let flip = k[0] < 0;
        let sign = if flip { -1 } else { 1 };
        let index = [sign * k[2] + reach, sign * k[1] + reach, sign * k[0]].map(|i| i as usize);
        let value = self.numerator[index];
        (if flip { value.conj() } else { value }, self.weight[index])
    }

    /// Linear interpolation at a point (x, y, z) in grid steps, inside the reach.
    fn at(&self, k: [f32; 3]) -> (Complex32, f32) {
        let flip = k[0] < 0.0;
        let k = if flip { k.map(|c| -c) } else { k };
        let reach = self.grid.reach() as f32;
        // all positive, so that cutting off the fraction rounds down
        let [kx, ky, kz] = [k[0], k[1] + reach, k[2] + reach];
        let [x, y, z] = [kx, ky, kz].map(|c| c as usize);
        let t = [kx - x as f32, ky - y as f32, kz - z as f32];
        let mut sum = (Complex32::ZERO, 0.0);
        for (dz, wz) in [1.0 - t[2], t[2]].into_iter().enumerate() {
            for (dy, wy) in [1.0 - t[1], t[1]].into_iter().enumerate() {
                for (dx, wx) in [1.0 - t[0], t[0]].into_iter().enumerate() {
                    let w = wz * wy * wx;
                    if w > 0.0 {
                        let index = [z + dz, y + dy, x + dx];
                        sum.0 += self.numerator[index] * w;
                        sum.1 += self.weight[index] * w;
                    }
                }
            }
        }
        if flip { (sum.0.conj(), sum.1) } else { sum }
    }

    /// Mean W by shell of the box (`round(|k| / scale)`, 0 to `n/2`), over the grid points of the shell.
    pub fn shell_weight(&self) -> Vec<f64> {
        self.shell_means(|_, weight| f64::from(weight))
    }

    /// Mean `|Num / W|²` by shell, over the grid points with any weight: the power of the unregularised map on the
    /// padded grid, noise included.
    pub fn shell_power(&self) -> Vec<f64> {
        let floor: Vec<f64> = self.shell_weight().iter().map(|w| w * LEAST_WEIGHT).collect();
        let least = floor.iter().copied().fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
        self.shell_means(|numerator, weight| {
            let weight = f64::from(weight);
            if weight > least { f64::from(numerator.norm_sqr()) / (weight * weight) } else { 0.0 }
        })
    }

    fn shell_means(&self, value: impl Fn(Complex32, f32) -> f64 + Sync) -> Vec<f64> {
        let count = shells(self.grid.n());
        let inverse_scale = 1.0 / self.grid.scale();
        let reach = self.grid.reach() as f64;
        let planes: Vec<Vec<[f64; 2]>> = self
            .weight
            .axis_iter(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(z, plane)| {
                let mut sums = vec![[0.0; 2]; count];
                let qz = z as f64 - reach;
                for ((y, x), &weight) in plane.indexed_iter() {
                    let qy = y as f64 - reach;
                    let r = (qz * qz + qy * qy + (x * x) as f64).sqrt();
                    if let Some(shell) = sums.get_mut(shell_of(r * inverse_scale)) {
                        // the plane kx = 0 holds both of its mates, the others one of two
                        let times = if x == 0 { 1.0 } else { 2.0 };
                        shell[0] += times * value(self.numerator[[z, y, x]], weight);
                        shell[1] += times;
                    }
                }
                sums
            })
            .collect();
        (0..count)
            .map(|shell| {
                let (sum, points) = planes
                    .iter()
                    .fold((0.0, 0.0), |(s, c), plane| (s + plane[shell][0], c + plane[shell][1]));
                if points > 0.0 { sum / points } else { 0.0 }
            })
            .collect()
    }

    /// The transform of the map on the padded grid, phases from the centre: `Num / (W + 1/τ²)` with `tau2` by shell of the
    /// box (zero where a shell has none or `τ² = 0`); without `tau2` the unregularised `Num / W`. Zero beyond `rmax` Fourier
    /// pixels of the box, beyond its last FSC shell, and on the planes of the padded grid's own Nyquist frequency, whose
    /// values would be those of two frequencies.
    pub fn filtered(&self, tau2: Option<&[f64]>, rmax: f64) -> HalfVolume {
        let grid = &self.grid;
        let m = grid.padded_n();
        let (scale, reach) = (grid.scale(), grid.reach() as isize);
        let radius = grid.radius(rmax).min(PaddedGrid::last_shell_end(grid.n())) * scale;
        let nyquist = (m / 2) as isize;
        let floors: Vec<f64> = self.shell_weight().iter().map(|w| w * LEAST_WEIGHT).collect();
        let mut out = HalfVolume::zeros(m);
        let mut data = out.data_mut();
        data.outer_iter_mut().into_par_iter().enumerate().for_each(|(z, mut plane)| {
            let qz = signed_frequency(z, m);
            for y in 0..m {
                let qy = signed_frequency(y, m);
                let rest = radius * radius - (qz * qz + qy * qy) as f64;
                if rest < 0.0 || qz == -nyquist || qy == -nyquist {
                    continue;
                }
                for x in 0..=(rest.sqrt() as usize).min(m / 2 - 1) {
                    let r = ((qz * qz + qy * qy) as f64 + (x * x) as f64).sqrt();
                    let shell = shell_of(r / scale).min(floors.len() - 1);
                    let prior = match tau2 {
                        None => 0.0,
                        Some(tau2) => match tau2.get(shell) {
                            Some(&t) if t > 0.0 => 1.0 / t,
                            _ => continue,
                        },
                    };
                    let index = [(qz + reach) as usize, (qy + reach) as usize, x];
                    let weight = f64::from(self.weight[index]).max(floors[shell]) + prior;
                    if weight > 0.0 {
                        plane[[y, x]] = self.numerator[index] * (1.0 / weight) as f32;
                    }
                }
            }
        });
        out
    }

    /// The map `[n, n, n]` in the unit of the images: [`SliceSums::filtered`], transformed back, cropped to the box and
    /// divided by the window of linear interpolation.
    pub fn map(&self, tau2: Option<&[f64]>, rmax: f64) -> Array3<f32> {
        box_of(self.filtered(tau2, rmax), &self.grid)
    }
}

/// The box of a transform on a padded grid, divided by the window of linear interpolation.
pub fn box_of(padded: HalfVolume, grid: &PaddedGrid) -> Array3<f32> {
    let mut map = padded.into_box_cropped(grid.n());
    let inverse: Vec<f32> = grid.window().iter().map(|w| (1.0 / w) as f32).collect();
    ndarray::par_azip!((index (z, y, x), value in &mut map) *value *= inverse[z] * inverse[y] * inverse[x]);
    map
}

/// τ² by shell from the FSC of two half maps: `T · FSC/(1 - FSC) / W̄`, where `W̄` is the mean weight of *one* half on
/// the padded grid ([`SliceSums::shell_weight`]). T belongs in here and nowhere else.
///
/// With T = 1, the shell mean of `W / (W + 1/τ²)` is the FSC:
/// ```
/// use vitreous_compute::reconstruct::tau2_from_fsc;
/// let (fsc, weight) = ([0.99, 0.5, 0.143], [300.0, 7.0, 0.2]);
/// let tau2 = tau2_from_fsc(&fsc, &weight, 1.0);
/// for shell in 0..3 {
///     let filter = weight[shell] / (weight[shell] + 1.0 / tau2[shell]);
///     assert!((filter - fsc[shell]).abs() < 1e-12);
/// }
/// ```
pub fn tau2_from_fsc(fsc: &[f64], shell_weight: &[f64], t: f64) -> Vec<f64> {
    fsc.iter()
        .zip(shell_weight)
        .map(|(&fsc, &weight)| {
            let fsc = if fsc.is_nan() { FSC_RANGE.0 } else { fsc.clamp(FSC_RANGE.0, FSC_RANGE.1) };
            if weight > 0.0 { t * fsc / (1.0 - fsc) / weight } else { 0.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests;
