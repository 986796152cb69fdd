//! The Fourier pixels of a box in the order the alignment walks through them, and one image's values there.

use super::simd;
use crate::cpu::pose_search::simd::Simd;
use crate::levenberg::ClimbBand;
use crate::likelihood::{BAND_EDGE_PX, ImageModel, band_window, spectrum_at};
use crate::ops::align::AlignLevel;
use crate::ops::grid::PaddedGrid;
use num_complex::Complex32;
use vitreous_model::conventions::{shell_of, signed_frequency};

/// One of each Friedel pair of lattice points inside Nyquist, without DC, by rings of rising radius and by angle within
/// a ring, so that a band is a prefix and neighbours in the list are neighbours on the grid.
#[derive(Debug, Clone)]
pub struct Lattice {
    /// Column frequencies, Fourier pixels.
    pub qx: Vec<f32>,
    /// Row frequencies.
    pub qy: Vec<f32>,
    /// Radii.
    pub radius: Vec<f32>,
    /// FSC shells.
    pub shell: Vec<u32>,
    /// Row and column in a half image.
    index: Vec<(u32, u32)>,
    /// Points with a radius up to r, for r = 0, 1, …
    within: Vec<usize>,
}

impl Lattice {
    /// For images of `box_px` pixels.
    pub fn new(box_px: usize) -> Self {
        let limit = 0.5 * box_px as f64;
        let mut points: Vec<(usize, f64, usize, usize)> = Vec::new();
        for row in 0..box_px {
            let qy = signed_frequency(row, box_px) as f64;
            for column in 0..box_px / 2 + 1 {
                let qx = column as f64;
                let r = qx.hypot(qy);
                if r > 0.0 && r < limit && (column > 0 || qy > 0.0) {
                    points.push((r.ceil() as usize, qy.atan2(qx), row, column));
                }
            }
        }
        points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let rings = limit.ceil() as usize + 1;
        let within = (0..rings).map(|r| points.partition_point(|p| p.0 <= r)).collect();
        let qx: Vec<f32> = points.iter().map(|p| p.3 as f32).collect();
        let qy: Vec<f32> = points.iter().map(|p| signed_frequency(p.2, box_px) as f32).collect();
        let shell = |(&x, &y): (&f32, &f32)| shell_of(f64::from(x).hypot(y.into())) as u32;
        Self {
            shell: qx.iter().zip(&qy).map(shell).collect(),
            radius: qx.iter().zip(&qy).map(|(x, y)| x.hypot(*y)).collect(),
            index: points.iter().map(|p| (p.2 as u32, p.3 as u32)).collect(),
            qx,
            qy,
            within,
        }
    }

    /// Number of points with a radius up to `r` rounded up.
    pub fn points_within(&self, r: f64) -> usize {
        let ring = r.ceil().max(0.0) as usize;
        self.within.get(ring).or(self.within.last()).copied().unwrap_or(0)
    }

    /// Number of all points.
    pub fn points(&self) -> usize {
        self.qx.len()
    }

    /// Band weights of the points up to the band's end.
    pub fn band(&self, rmax: f64) -> Vec<f32> {
        let count = self.points_within(rmax + 0.5 * BAND_EDGE_PX);
        self.radius[..count].iter().map(|&r| band_window(r.into(), rmax) as f32).collect()
    }
}

/// A band on a lattice.
#[derive(Debug, Clone)]
pub struct Band {
    /// What climbs must know of it.
    pub climb: ClimbBand,
    /// Weights of its points, the first of the lattice's.
    pub window: Vec<f32>,
}

impl Band {
    /// The band of `level`, cut to what a reference on `grid` holds.
    pub fn new(lattice: &Lattice, grid: &PaddedGrid, level: &AlignLevel) -> Self {
        let box_px = grid.n();
        let reach = grid.radius(0.5 * box_px as f64).floor();
        // points come by whole rings, so the ring beyond the edge must be on the grid too
        let rmax = level.rmax.min(reach - 0.5 * BAND_EDGE_PX).max(1.0);
        let mut window = lattice.band(rmax);
        window.truncate(lattice.points_within(reach));
        Self { climb: ClimbBand { rmax, keep: level.keep.max(1), box_px }, window }
    }
}

/// One image's values at the points of a lattice.
#[derive(Debug, Clone, Default)]
pub struct LatticeImage {
    /// Real parts.
    pub re: Vec<f32>,
    /// Imaginary parts.
    pub im: Vec<f32>,
    /// CTF times amplitude.
    pub transfer: Vec<f32>,
    /// 1/s2.
    pub over_noise: Vec<f32>,
    /// The spectrum of which `over_noise` was made: images of a group share it.
    noise: Vec<f64>,
}

impl LatticeImage {
    /// Reads the first `count` points of `model`: its coefficients, and up to the first `modelled` of them what a model
    /// of them needs.
    pub fn read(&mut self, lattice: &Lattice, model: &ImageModel<'_>, count: usize, modelled: usize) {
        self.re.clear();
        self.im.clear();
        let data = model.image.data();
        for &(row, column) in &lattice.index[..count] {
            let Complex32 { re, im } = data[[row as usize, column as usize]];
            self.re.push(re);
            self.im.push(im);
        }
        self.transfer.resize(modelled, 0.0);
        let (qx, qy) = (&lattice.qx[..modelled], &lattice.qy[..modelled]);
        simd::transfer(
            Simd::detect(),
            &model.lattice_ctf(),
            model.amplitude as f32,
            qx,
            qy,
            &mut self.transfer,
        );
        if self.noise != model.noise || self.over_noise.len() != modelled {
            self.noise.clear();
            self.noise.extend_from_slice(model.noise);
            self.over_noise.clear();
            self.over_noise.extend(lattice.radius[..modelled].iter().map(|&r| {
                let variance = spectrum_at(model.noise, r.into());
                (1.0 / variance.max(f64::from(f32::MIN_POSITIVE))) as f32
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_friedel_pair_stands_once() {
        for n in [8, 9, 24] {
            let lattice = Lattice::new(n);
            let limit = 0.5 * n as f64;
            let inside = |x: i32, y: i32| (x, y) != (0, 0) && f64::from(x).hypot(f64::from(y)) < limit;
            let all = (-12..=12)
                .flat_map(|y| (-12..=12).map(move |x| (x, y)))
                .filter(|&(x, y)| inside(x, y))
                .count();
            assert_eq!(2 * lattice.points(), all, "{n}");
            let mut seen: Vec<(i32, i32)> = Vec::new();
            for (&x, &y) in lattice.qx.iter().zip(&lattice.qy) {
                let (x, y) = (x as i32, y as i32);
                assert!(!seen.contains(&(x, y)) && !seen.contains(&(-x, -y)));
                seen.push((x, y));
            }
        }
    }

    #[test]
    fn bands_are_prefixes() {
        let lattice = Lattice::new(32);
        let count = lattice.points_within(7.5);
        assert!(lattice.radius[..count].iter().all(|&r| r <= 8.0));
        assert!(lattice.radius[count..].iter().all(|&r| r > 8.0));
        assert!(lattice.band(6.0).len() >= lattice.radius.iter().filter(|&&r| r < 7.5).count());
        assert_eq!(lattice.points_within(100.0), lattice.points());
    }
}
