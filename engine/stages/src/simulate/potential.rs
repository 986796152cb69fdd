//! The specimen's Coulomb potential above that of ice: projections in any direction, and the map itself, band-limited to
//! the pixels they are sampled on.
//!
//! Nothing is interpolated in Fourier space: the atoms themselves are spread on a grid half as fine again as the pixels,
//! with the "exponential of semicircle" kernel of width 6 (Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput.
//! 41, C479), transformed, and divided by the kernel's transform: a type-1 non-uniform FFT of accuracy 1e-4 or better.
//! So a projection is independent of, and more accurate than, every slice that reconstruction takes of a volume.
//!
//! Classes of atoms scatter alike but for a function of |k|. Those functions are written as sums of four common ones,
//! the leading singular vectors over the classes, and each atom is spread with four weights: four transforms serve all.

use super::scattering::{VOLT_A2, excess};
use super::specimen::{MovingPart, Specimen};
use nalgebra::DMatrix;
use ndarray::{Array2, Array3};
use num_complex::Complex32;
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};
use vitreous_compute::fourier::{HalfImage, HalfVolume, next_5_smooth};
use vitreous_formats::atomic_model::Element;
use vitreous_model::aberrations::IDENTITY;
use vitreous_model::conventions::{centre, signed_frequency};
use vitreous_model::pose::Rotation;

/// Radial functions shared by all classes.
const CHANNELS: usize = 4;
/// Grid points a kernel covers along an axis.
const WIDTH: usize = 6;
/// Grid points per pixel.
const OVERSAMPLING: f64 = 1.5;
/// Samples of a radial function, even in k².
const SAMPLES: usize = 1024;

/// Makes projections and maps of a specimen in a box of `n` pixels of `pixel_a` Å.
pub struct Potential<'a> {
    specimen: &'a Specimen,
    n: usize,
    pixel_a: f64,
    grid: usize,
    kernel: Kernel,
    radial: Radial,
    /// Weights of each atom, occupancy included.
    weights: Vec<[f32; CHANNELS]>,
    /// Weights of a carbon atom of the commonest class, the substance of detergents.
    carbon: [f32; CHANNELS],
}

/// How one particle differs from the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conformation {
    /// By how much the moving part has turned about its hinge, in the volume's frame.
    pub turn: Rotation,
    /// Where it has further carbon atoms, Å from the centre.
    pub carbons_a: Vec<[f64; 3]>,
}

impl Conformation {
    /// The place of atom `index` of the model at `p`.
    fn place(&self, moving: Option<MovingPart>, index: usize, p: [f64; 3]) -> [f64; 3] {
        match moving {
            Some(part) if index >= part.first => {
                let h = part.hinge_a;
                let turned = self.turn.apply([0, 1, 2].map(|axis| p[axis] - h[axis]));
                [0, 1, 2].map(|axis| turned[axis] + h[axis])
            }
            _ => p,
        }
    }
}

impl<'a> Potential<'a> {
    /// Prepares a box; `n` even.
    pub fn new(specimen: &'a Specimen, n: usize, pixel_a: f64) -> Self {
        let smooth = next_5_smooth((OVERSAMPLING * n as f64).ceil() as usize);
        let grid = if smooth.is_multiple_of(2) { smooth } else { next_5_smooth(2 * smooth.div_ceil(2) + 2) };
        let kernel = Kernel::new(n, grid);
        let (radial, class_weights) = Radial::new(specimen, pixel_a);
        let weights = specimen
            .class_of
            .iter()
            .zip(&specimen.occupancies)
            .map(|(&class, &occupancy)| class_weights[usize::from(class)].map(|w| (w * occupancy) as f32))
            .collect();
        let carbon = commonest_carbon(specimen).map_or([0.0; CHANNELS], |class| class_weights[class]);
        let carbon = carbon.map(|w| w as f32);
        Self { specimen, n, pixel_a, grid, kernel, radial, weights, carbon }
    }

    /// Part of the scattering, as rms over atoms and k, that the shared radial functions leave out.
    pub fn radial_error(&self) -> f64 {
        self.radial.error
    }

    /// The transform of the projection `P(x, y) = ∫ V(R (x, y, z)) dz` in V·Å, its content moved by `shift_px` pixels
    /// from the centre of the box, phases counted from the centre; `|q| < n/2` along each axis.
    pub fn projection(&self, rotation: Rotation, shift_px: [f64; 2]) -> HalfImage {
        self.projection_of(&Conformation::default(), rotation, shift_px, IDENTITY)
    }

    /// The same of a particle that differs from the model, at `M q` instead of q, shift included: as an anisotropic
    /// magnification shows it.
    pub fn projection_of(
        &self,
        conformation: &Conformation,
        rotation: Rotation,
        shift_px: [f64; 2],
        matrix: [[f64; 2]; 2],
    ) -> HalfImage {
        let atoms = self.seen(conformation, rotation);
        self.transformed(&self.spread(&atoms, shift_px, matrix, |_| 1.0), matrix)
    }

    /// The same in layers across the line of sight, with the z of each in the image frame, Å: an atom counts for the two
    /// layers beside it, `thickness_a` apart, so that what changes smoothly along z is interpolated linearly.
    pub fn layers_of(
        &self,
        conformation: &Conformation,
        rotation: Rotation,
        shift_px: [f64; 2],
        matrix: [[f64; 2]; 2],
        thickness_a: f64,
    ) -> Vec<(f64, HalfImage)> {
        let atoms = self.seen(conformation, rotation);
        let layer = |z: f64| (z / thickness_a).floor() as i64;
        let first = atoms.iter().map(|(p, _)| layer(p[2])).min().unwrap_or(0);
        let last = atoms.iter().map(|(p, _)| layer(p[2])).max().unwrap_or(0);
        let of_layer = |index: i64| {
            let z_a = index as f64 * thickness_a;
            let share = |z: f64| (1.0 - (z - z_a).abs() / thickness_a).max(0.0) as f32;
            (z_a, self.transformed(&self.spread(&atoms, shift_px, matrix, share), matrix))
        };
        (first..=last + 1).map(of_layer).collect()
    }

    /// The transform of atoms on the fine grid, freed of the kernel, with the scattering of each kind.
    fn transformed(&self, spread: &[[f32; CHANNELS]], matrix: [[f64; 2]; 2]) -> HalfImage {
        let mut out = HalfImage::zeros_box(self.n);
        let scale = VOLT_A2 / (self.pixel_a * self.pixel_a);
        for channel in 0..CHANNELS {
            let plane =
                Array2::from_shape_fn((self.grid, self.grid), |(y, x)| spread[y * self.grid + x][channel]);
            let fine = HalfImage::of_box(plane.view());
            let mut data = out.data_mut();
            for y in 0..self.n {
                let Some((fine_y, qy)) = self.place(y) else { continue };
                for x in 0..self.n.div_ceil(2) {
                    let k2 = self.k2_through(matrix, [x as f64, qy as f64]);
                    let weight = scale
                        * self.radial.value(channel, k2)
                        * self.kernel.undo[x]
                        * self.kernel.undo[qy.unsigned_abs()];
                    data[[y, x]] += fine.data()[[fine_y, x]] * weight as f32;
                }
            }
        }
        out
    }

    /// The map `[n, n, n]` in V, its centre in voxel `n/2`; `|q| < n/2` along each axis.
    pub fn volume(&self) -> Array3<f32> {
        let mut sum = HalfVolume::zeros(self.n);
        let scale = VOLT_A2 / self.pixel_a.powi(3);
        for channel in 0..CHANNELS {
            let fine = HalfVolume::of_box(self.spread_volume(channel).view());
            let source = fine.data();
            let mut data = sum.data_mut();
            let planes: Vec<_> = data.outer_iter_mut().enumerate().collect();
            planes.into_par_iter().for_each(|(z, mut plane)| {
                let Some((fine_z, qz)) = self.place(z) else { return };
                for y in 0..self.n {
                    let Some((fine_y, qy)) = self.place(y) else { continue };
                    let undo = self.kernel.undo[qz.unsigned_abs()] * self.kernel.undo[qy.unsigned_abs()];
                    for x in 0..self.n.div_ceil(2) {
                        let k2 = self.k2([x as isize, qy, qz]);
                        let weight = scale * self.radial.value(channel, k2) * undo * self.kernel.undo[x];
                        plane[[y, x]] += source[[fine_z, fine_y, x]] * weight as f32;
                    }
                }
            });
        }
        sum.into_box()
    }

    /// Index on the fine grid and frequency of index `i` of the box; `None` at Nyquist, which is left out.
    fn place(&self, i: usize) -> Option<(usize, isize)> {
        let q = signed_frequency(i, self.n);
        (2 * q.unsigned_abs() < self.n).then(|| (q.rem_euclid(self.grid as isize) as usize, q))
    }

    /// |k|² in 1/Å² of a frequency in Fourier pixels.
    fn k2(&self, q: [isize; 3]) -> f64 {
        let edge = self.n as f64 * self.pixel_a;
        q.iter().map(|q| (*q as f64).powi(2)).sum::<f64>() / (edge * edge)
    }

    /// |k|² in 1/Å² of `M q`, q in Fourier pixels.
    fn k2_through(&self, [[a, b], [c, d]]: [[f64; 2]; 2], [x, y]: [f64; 2]) -> f64 {
        let edge = self.n as f64 * self.pixel_a;
        ((a * x + b * y).powi(2) + (c * x + d * y).powi(2)) / (edge * edge)
    }

    /// Where the atoms lie in the image frame, Å, and their weights.
    fn seen(&self, conformation: &Conformation, rotation: Rotation) -> Vec<([f64; 3], &[f32; CHANNELS])> {
        let moving = self.specimen.moving;
        let of_model = self.specimen.positions_a.iter().enumerate();
        let of_model = of_model.map(|(index, &p)| conformation.place(moving, index, p)).zip(&self.weights);
        let further = conformation.carbons_a.iter().map(|&p| (p, &self.carbon));
        let to_image = rotation.inverse();
        of_model.chain(further).map(|(p, weights)| (to_image.apply(p), weights)).collect()
    }

    /// Atoms in the image frame, each with a share that depends on its z in Å, moved, then brought to `Mᵀ r`, on the fine
    /// grid `[grid, grid]`, four weights a point.
    fn spread(
        &self,
        atoms: &[([f64; 3], &[f32; CHANNELS])],
        shift_px: [f64; 2],
        [[a, b], [c, d]]: [[f64; 2]; 2],
        share: impl Fn(f64) -> f32,
    ) -> Vec<[f32; CHANNELS]> {
        let mut plane = vec![[0.0; CHANNELS]; self.grid * self.grid];
        let per_a = self.grid as f64 / (self.n as f64 * self.pixel_a);
        let per_px = self.grid as f64 / self.n as f64;
        let middle = centre(self.grid) as f64;
        for (p, weights) in atoms {
            let share = share(p[2]);
            if share == 0.0 {
                continue;
            }
            let at = [0, 1].map(|axis: usize| p[axis] * per_a + shift_px[axis] * per_px);
            let (xs, kx) = self.kernel.at(a * at[0] + c * at[1] + middle);
            let (ys, ky) = self.kernel.at(b * at[0] + d * at[1] + middle);
            for (y, ky) in ys.into_iter().zip(ky) {
                let row = &mut plane[y * self.grid..(y + 1) * self.grid];
                for (x, kx) in xs.into_iter().zip(kx) {
                    let cell = &mut row[x];
                    let k = share * kx * ky;
                    (0..CHANNELS).for_each(|channel| cell[channel] += k * weights[channel]);
                }
            }
        }
        plane
    }

    /// The atoms on the fine grid `[grid; 3]` with the weights of one channel.
    fn spread_volume(&self, channel: usize) -> Array3<f32> {
        let g = self.grid;
        let mut volume = Array3::zeros((g, g, g));
        let cells = volume.as_slice_mut().expect("a new array should be contiguous");
        let per_a = g as f64 / (self.n as f64 * self.pixel_a);
        let middle = centre(g) as f64;
        for (p, weights) in self.specimen.positions_a.iter().zip(&self.weights) {
            let [(xs, kx), (ys, ky), (zs, kz)] = p.map(|p| self.kernel.at(p * per_a + middle));
            for (z, kz) in zs.into_iter().zip(kz) {
                for (y, ky) in ys.into_iter().zip(ky) {
                    let k = kz * ky * weights[channel];
                    let row = &mut cells[(z * g + y) * g..][..g];
                    xs.into_iter().zip(kx).for_each(|(x, kx)| row[x] += k * kx);
                }
            }
        }
        volume
    }
}

/// The class of carbon that most atoms are of.
fn commonest_carbon(specimen: &Specimen) -> Option<usize> {
    let mut counts = vec![0usize; specimen.classes.len()];
    specimen.class_of.iter().for_each(|&class| counts[usize::from(class)] += 1);
    let carbon = |class: &usize| specimen.classes[*class].element == Element::CARBON;
    (0..counts.len()).filter(carbon).max_by_key(|&class| counts[class])
}

/// The spreading kernel `exp(β (√(1 - (2u/w)²) - 1))`, u in grid points.
struct Kernel {
    beta: f64,
    grid: usize,
    /// By |q| below n/2: one over the kernel's transform.
    undo: Vec<f64>,
}

impl Kernel {
    fn new(n: usize, grid: usize) -> Self {
        // the shape parameter of the reference for an oversampling of grid/n, with its safety factor
        let beta = 0.98 * PI * WIDTH as f64 * (1.0 - 0.5 * n as f64 / grid as f64);
        let kernel = Self { beta, grid, undo: Vec::new() };
        // the kernel is smooth and vanishes at its ends, so the midpoint rule is accurate
        const STEPS: usize = 4096;
        let transform = |q: usize| {
            let step = WIDTH as f64 / STEPS as f64;
            let sum = |i: usize| {
                let u = (i as f64 + 0.5) * step - 0.5 * WIDTH as f64;
                kernel.value(u) * (TAU * q as f64 * u / grid as f64).cos()
            };
            step * (0..STEPS).map(sum).sum::<f64>()
        };
        let undo = (0..n.div_ceil(2)).map(|q| 1.0 / transform(q)).collect();
        Self { undo, ..kernel }
    }

    fn value(&self, u: f64) -> f64 {
        let z = 2.0 * u / WIDTH as f64;
        let inside = 1.0 - z * z;
        if inside > 0.0 { (self.beta * (inside.sqrt() - 1.0)).exp() } else { 0.0 }
    }

    /// Grid points (cyclic) around a position and the kernel's values there.
    fn at(&self, position: f64) -> ([usize; WIDTH], [f32; WIDTH]) {
        let first = (position - 0.5 * WIDTH as f64).ceil();
        let points = std::array::from_fn(|i| (first as i64 + i as i64).rem_euclid(self.grid as i64) as usize);
        let values = std::array::from_fn(|i| self.value(first + i as f64 - position) as f32);
        (points, values)
    }
}

/// Radial functions common to all classes of atoms, sampled evenly in k².
struct Radial {
    tables: [Vec<f64>; CHANNELS],
    per_k2: f64,
    error: f64,
}

impl Radial {
    /// The functions for a specimen up to the corner of the pixels' band, and the weights of each class.
    fn new(specimen: &Specimen, pixel_a: f64) -> (Self, Vec<[f64; CHANNELS]>) {
        let largest_k2 = 3.0 * (0.5 / pixel_a).powi(2);
        let classes = specimen.classes.len();
        let mut counts = vec![0.0f64; classes];
        specimen.class_of.iter().for_each(|&class| counts[usize::from(class)] += 1.0);
        let rows = classes.max(CHANNELS);
        // a row per class, weighted so that its share of the error is that of its atoms
        let matrix = DMatrix::from_fn(rows, SAMPLES, |class, sample| {
            let Some(atoms) = specimen.classes.get(class) else { return 0.0 };
            let k = (largest_k2 * sample as f64 / (SAMPLES - 1) as f64).sqrt();
            let value = excess(atoms.element, atoms.b_a2, k).expect("classes should be of known elements");
            value * counts[class].sqrt()
        });
        let svd = matrix.svd(true, true);
        let (Some(u), Some(v_t)) = (svd.u, svd.v_t) else { unreachable!("both factors were asked for") };
        let tables = std::array::from_fn(|channel| v_t.row(channel).iter().copied().collect());
        let weights = (0..classes)
            .map(|class| {
                let norm = counts[class].sqrt().max(1.0);
                std::array::from_fn(|channel| u[(class, channel)] * svd.singular_values[channel] / norm)
            })
            .collect();
        let energy =
            |range: std::ops::Range<usize>| range.map(|i| svd.singular_values[i].powi(2)).sum::<f64>();
        let count = svd.singular_values.len();
        let error = (energy(CHANNELS.min(count)..count) / energy(0..count).max(f64::MIN_POSITIVE)).sqrt();
        (Self { tables, per_k2: (SAMPLES - 1) as f64 / largest_k2, error }, weights)
    }

    fn value(&self, channel: usize, k2: f64) -> f64 {
        let table = &self.tables[channel];
        let at = (k2 * self.per_k2).min((SAMPLES - 1) as f64);
        let below = (at as usize).min(SAMPLES - 2);
        let part = at - below as f64;
        table[below] * (1.0 - part) + table[below + 1] * part
    }
}

/// Multiplies a transform (phases from the centre or not) by a function of the frequency vector in 1/Å: `(kx, ky)`.
pub fn filter(half: &mut HalfImage, pixel_a: f64, weight: impl Fn(f64, f64) -> f64 + Sync) {
    let (ny, nx) = (half.ny(), half.nx());
    let mut data = half.data_mut();
    let rows: Vec<_> = data.outer_iter_mut().enumerate().collect();
    rows.into_par_iter().for_each(|(y, mut row)| {
        let ky = signed_frequency(y, ny) as f64 / (ny as f64 * pixel_a);
        row.iter_mut().enumerate().for_each(|(x, value): (usize, &mut Complex32)| {
            *value *= weight(x as f64 / (nx as f64 * pixel_a), ky) as f32;
        });
    });
}
