//! Exhaustive search over mean defocus, astigmatism and its angle.
//!
//! Where the background is 1, a spectrum's contrast follows `-A/2 cos 2χ`. With an envelope assumed for A, `Σ n A c (-cos 2χ)`
//! over its standard deviation in noise alone is a matched filter, and half its square the gain in ln L. The sums of every
//! sector with every defocus form a table; the search reads only the table, so that strong astigmatism cannot hide the
//! rings. With a phase shift the table is complex, and the phase follows from the sum's argument.

use super::rings::Cells;
use num_complex::Complex64;
use std::f64::consts::PI;
use vitreous_compute::spectrum_cells::SECTORS;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::units::Degrees;

/// Sectors of the search, 10° each.
const COARSE_SECTORS: usize = 18;
/// Step in defocus and astigmatism, Å; less where `χ` would step by more than [`STEP_RAD`].
const STEP_A: f64 = 100.0;
const STEP_RAD: f64 = 0.4;
/// The search goes up to so many times the expected astigmatism.
const LARGEST_ASTIGMATISM: f64 = 4.0;
/// Starts that are given back at most, and their smallest difference in mean defocus, Å.
const STARTS: usize = 3;
const START_DISTANCE_A: f64 = 300.0;
/// Starts whose ln L is less than the best by more than this are not worth refining.
const LEAST_OF_BEST: f64 = 50.0;
/// The envelope assumed falls as `exp(-ENVELOPE_A2 · k²)`.
const ENVELOPE_A2: f64 = 60.0;

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Search {
    /// Lowest and highest resolution of the fit, Å.
    pub min_resolution_a: f64,
    pub max_resolution_a: f64,
    /// Range of the mean defocus, Å.
    pub min_defocus_a: f64,
    pub max_defocus_a: f64,
    /// Standard deviation of the astigmatism expected, Å.
    pub expected_astigmatism_a: f64,
    /// Fit a phase shift.
    pub phase_shift: bool,
}

/// A point of the search: mean defocus, half the astigmatism towards 0° and towards 45° (all in Å), phase shift in
/// radians, and the logarithm of likelihood times prior.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Start {
    pub mean_a: f64,
    pub along_a: f64,
    pub across_a: f64,
    pub phase: f64,
    pub log_posterior: f64,
}

/// The CTF of a defocus without astigmatism.
pub(super) fn ctf_of(optics: &OpticsGroup, defocus_a: f64) -> CtfParams {
    CtfParams {
        defocus_u_a: defocus_a,
        defocus_v_a: defocus_a,
        astigmatism_angle: Degrees(0.0),
        phase_shift: Degrees(0.0),
        voltage: optics.voltage,
        cs: optics.cs,
        amplitude_contrast: optics.amplitude_contrast,
        even: Default::default(),
    }
}

/// The best points, apart in mean defocus, the best first; `rings` are those of the fit.
pub(super) fn starts(
    cells: &Cells,
    rings: std::ops::RangeInclusive<usize>,
    optics: &OpticsGroup,
    search: &Search,
) -> Vec<Start> {
    let table = Table::new(cells, rings, optics, search);
    let mut all = table.best_by_defocus(search);
    all.sort_by(|a, b| b.log_posterior.total_cmp(&a.log_posterior));
    let mut best: Vec<Start> = vec![];
    for start in all {
        let worth = best.first().is_none_or(|b| start.log_posterior > b.log_posterior - LEAST_OF_BEST);
        let apart = best.iter().all(|b| (b.mean_a - start.mean_a).abs() >= START_DISTANCE_A);
        if best.len() < STARTS && worth && apart {
            best.push(start);
        }
    }
    best
}

/// Sums over the rings of each sector, by defocus.
struct Table {
    /// First defocus and step, Å.
    first_a: f64,
    step_a: f64,
    /// `Σ n A c exp(2iχ)` by sector and defocus.
    sums: Vec<Vec<Complex64>>,
    /// By defocus, the variance of the real part of the sum over all sectors where there is only noise.
    variance: Vec<f64>,
}

/// One ring of a sector.
struct Ring {
    base: f64,
    slope: f64,
    /// `n A c`, and `n A²` of all sectors.
    signal: f64,
    noise: f64,
}

impl Table {
    fn new(
        cells: &Cells,
        rings: std::ops::RangeInclusive<usize>,
        optics: &OpticsGroup,
        search: &Search,
    ) -> Self {
        let (none, unit) = (ctf_of(optics, 0.0), ctf_of(optics, 1.0));
        let steepest_k = *rings.end() as f64 / cells.edge_a;
        let step_a = STEP_A.min(STEP_RAD / (unit.phase(steepest_k, 0.0) - none.phase(steepest_k, 0.0)));
        let steps = ((search.max_defocus_a - search.min_defocus_a) / step_a).ceil() as usize;
        let sector = |sector: usize| -> Vec<Ring> {
            let fine = sector * SECTORS / COARSE_SECTORS..(sector + 1) * SECTORS / COARSE_SECTORS;
            let of_ring = |ring: usize| {
                let cells_of = fine.clone().map(|s| ring * SECTORS + s);
                let [n, k2, c] = cells_of.fold([0.0; 3], |[n, k2, c], i| {
                    let w = cells.weight[i];
                    [n + w, k2 + w * cells.k2[i], c + w * cells.contrast[i]]
                });
                let k2 = if n > 0.0 { k2 / n } else { return None };
                let envelope = (-ENVELOPE_A2 * k2).exp();
                let base = none.phase(k2.sqrt(), 0.0);
                let slope = unit.phase(k2.sqrt(), 0.0) - base;
                Some(Ring { base, slope, signal: envelope * c, noise: envelope * envelope * n })
            };
            centred(rings.clone().filter_map(of_ring).collect())
        };
        let sectors: Vec<Vec<Ring>> = (0..COARSE_SECTORS).map(sector).collect();
        let sums: Vec<Vec<Complex64>> = sectors
            .iter()
            .map(|rings| sums_by_defocus(rings, |r| r.signal, 1.0, search, step_a, steps))
            .collect();
        // noise of a sum of -cos 2χ: Σ n A² cos² 2χ = Σ n A² (1 + cos 4χ) / 2; phase shifts move cos 4χ about
        let mut variance = vec![0.0; steps + 1];
        for rings in &sectors {
            let total: f64 = rings.iter().map(|ring| ring.noise).sum();
            let waves = match search.phase_shift {
                true => vec![Complex64::default(); steps + 1],
                false => sums_by_defocus(rings, |ring| ring.noise, 2.0, search, step_a, steps),
            };
            variance.iter_mut().zip(waves).for_each(|(sum, wave)| *sum += 0.5 * (total + wave.re));
        }
        Self { first_a: search.min_defocus_a, step_a, sums, variance }
    }

    /// The best astigmatism (and phase) at each mean defocus.
    fn best_by_defocus(&self, search: &Search) -> Vec<Start> {
        let last = self.variance.len() - 1;
        let largest = LARGEST_ASTIGMATISM * search.expected_astigmatism_a;
        let mut best: Vec<Option<Start>> = vec![None; last + 1];
        for amount in 0..=(0.5 * largest / self.step_a).floor() as usize {
            let half_a = amount as f64 * self.step_a;
            let prior = 0.5 * (2.0 * half_a / search.expected_astigmatism_a).powi(2);
            let angles = if amount == 0 { 1 } else { COARSE_SECTORS };
            for angle in (0..angles).map(|i| (i as f64 + 0.5) * PI / COARSE_SECTORS as f64) {
                let offsets = self.offsets(half_a, angle);
                for (i, slot) in best.iter_mut().enumerate() {
                    let at = |offset: &isize| (i as isize + offset).clamp(0, last as isize) as usize;
                    let sum: Complex64 = self.sums.iter().zip(&offsets).map(|(row, o)| row[at(o)]).sum();
                    // the contrast follows -cos(2χ + 2·phase), so its product with exp(2iχ) turns with the phase
                    let (signal, phase) = match search.phase_shift {
                        true => (sum.norm(), 0.5 * (PI - sum.arg()).rem_euclid(2.0 * PI)),
                        false => (-sum.re, 0.0),
                    };
                    let gain = 0.5 * signal.max(0.0).powi(2) / self.variance[i].max(f64::MIN_POSITIVE);
                    let log_posterior = gain - prior;
                    if slot.is_none_or(|start| log_posterior > start.log_posterior) {
                        let (sin, cos) = (2.0 * angle).sin_cos();
                        let mean_a = self.first_a + i as f64 * self.step_a;
                        let (along_a, across_a) = (half_a * cos, half_a * sin);
                        *slot = Some(Start { mean_a, along_a, across_a, phase, log_posterior });
                    }
                }
            }
        }
        best.into_iter().flatten().collect()
    }

    /// By sector, how many defocus steps astigmatism of `half_a` towards `angle` moves it.
    fn offsets(&self, half_a: f64, angle: f64) -> Vec<isize> {
        let middle = |sector: usize| (sector as f64 + 0.5) * PI / COARSE_SECTORS as f64;
        (0..COARSE_SECTORS)
            .map(|sector| (half_a / self.step_a * (2.0 * (middle(sector) - angle)).cos()).round() as isize)
            .collect()
    }
}

/// The rings with the mean of their contrast taken off.
fn centred(mut rings: Vec<Ring>) -> Vec<Ring> {
    let noise: f64 = rings.iter().map(|ring| ring.noise).sum();
    let mean = rings.iter().map(|ring| ring.signal).sum::<f64>() / noise.max(f64::MIN_POSITIVE);
    rings.iter_mut().for_each(|ring| ring.signal -= mean * ring.noise);
    rings
}

/// `Σ weight exp(2i·times·χ)` over rings for every defocus of the search.
fn sums_by_defocus(
    rings: &[Ring],
    weight: fn(&Ring) -> f64,
    times: f64,
    search: &Search,
    step_a: f64,
    steps: usize,
) -> Vec<Complex64> {
    let mut sums = vec![Complex64::default(); steps + 1];
    for ring in rings {
        let mut wave = Complex64::from_polar(
            weight(ring),
            2.0 * times * (ring.base + ring.slope * search.min_defocus_a),
        );
        let turn = Complex64::from_polar(1.0, 2.0 * times * ring.slope * step_a);
        for sum in &mut sums {
            *sum += wave;
            wave *= turn;
        }
    }
    sums
}
