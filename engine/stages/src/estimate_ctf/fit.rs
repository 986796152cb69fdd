//! The parameters of the CTF that fit a spectrum best.
//!
//! Where the background is 1, a spectrum's contrast follows `CTF² = (1 - cos 2χ) / 2`. Three steps: the correlation of
//! every sector with every defocus, as a table; the exhaustive search over mean defocus, astigmatism and angle, which
//! reads only the table; and the refinement of the best starts on all cells.

use super::Unfit;
use super::curve::{Curve, judge};
use super::rings::{Cells, SECTORS};
use super::simplex::minimise;
use num_complex::Complex64;
use std::f64::consts::PI;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::units::Degrees;

/// Sectors of the exhaustive search, 10° each.
const COARSE_SECTORS: usize = 18;
/// Step of the exhaustive search in defocus and astigmatism, Å; less where `χ` would step by more than
/// [`COARSE_STEP_RAD`].
const COARSE_STEP_A: f64 = 100.0;
const COARSE_STEP_RAD: f64 = 0.4;
/// The exhaustive search goes up to so many times the expected astigmatism.
const LARGEST_ASTIGMATISM: f64 = 4.0;
/// Starts that are refined, and their smallest difference in mean defocus, Å.
const STARTS: usize = 3;
const START_DISTANCE_A: f64 = 300.0;
/// First step of the refinement in phase shift, radians.
const PHASE_STEP_RAD: f64 = 0.2;
/// A ring without signal keeps this part of the largest weight, so that the fit can still find it.
const LEAST_WEIGHT: f64 = 0.02;
/// Fewer rings than this cannot carry a fit.
const LEAST_RINGS: usize = 16;
/// The refinement ends when the correlation changes by less.
const TOLERANCE: f64 = 1e-7;
const MOST_EVALUATIONS: usize = 400;

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

/// The best parameters, and the correlation coefficient of contrast and CTF² over the cells in range, weighted by
/// their pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fitted {
    pub ctf: CtfParams,
    pub score: f64,
}

/// Fits defocus, astigmatism and, if asked for, the phase shift (in `[0°, 180°)`: a power spectrum knows no more).
///
/// # Errors
/// [`Unfit::FewRings`].
pub(super) fn fit(cells: &Cells, optics: &OpticsGroup, search: &Search) -> Result<Fitted, Unfit> {
    let mut target = Target::new(cells, optics, search)?;
    let refined = target.starts().into_iter().map(|start| target.refine(&start));
    let best = refined.max_by(|a, b| a.correlation.total_cmp(&b.correlation));
    let mut best = best.expect("the exhaustive search should give at least one start");
    // rings that show little decide little: the best weight of a ring is the amplitude of its signal
    target.weigh_by_signal(&judge(cells, &target.ctf(&best), search.min_resolution_a));
    best = target.refine(&best);
    let score = Target::new(cells, optics, search)?.correlation(&best.parameters());
    Ok(Fitted { ctf: target.ctf(&best), score })
}

/// A point of the search: its correlation, mean defocus, half the astigmatism towards 0° and towards 45° (all in Å),
/// phase shift in radians.
#[derive(Debug, Clone, Copy)]
struct Point {
    correlation: f64,
    mean_a: f64,
    along_a: f64,
    across_a: f64,
    phase: f64,
}

impl Point {
    /// As the simplex method has it: `[mean, along, across, phase]`.
    fn parameters(&self) -> Vec<f64> {
        vec![self.mean_a, self.along_a, self.across_a, self.phase]
    }
}

/// One cell in range: `χ = base + slope · defocus(azimuth)`.
#[derive(Debug, Clone, Copy)]
struct Cell {
    ring: usize,
    base: f64,
    slope: f64,
    cos_2_azimuth: f64,
    sin_2_azimuth: f64,
    contrast: f64,
    weight: f64,
}

struct Target<'a> {
    cells: Vec<Cell>,
    /// The same averaged over rings in [`COARSE_SECTORS`].
    coarse: Vec<Vec<Cell>>,
    optics: &'a OpticsGroup,
    search: &'a Search,
    /// Step of the exhaustive search, Å.
    step_a: f64,
}

fn ctf_of(optics: &OpticsGroup, defocus_a: f64) -> CtfParams {
    CtfParams {
        defocus_u_a: defocus_a,
        defocus_v_a: defocus_a,
        astigmatism_angle: Degrees(0.0),
        phase_shift: Degrees(0.0),
        voltage: optics.voltage,
        cs: optics.cs,
        amplitude_contrast: optics.amplitude_contrast,
    }
}

impl<'a> Target<'a> {
    fn new(cells: &Cells, optics: &'a OpticsGroup, search: &'a Search) -> Result<Self, Unfit> {
        let (first, last) =
            (cells.ring_of(search.min_resolution_a).max(1), cells.ring_of(search.max_resolution_a));
        let rings = (last + 1).saturating_sub(first);
        if rings < LEAST_RINGS {
            return Err(Unfit::FewRings {
                min_resolution_a: search.min_resolution_a,
                max_resolution_a: search.max_resolution_a,
                rings,
                least: LEAST_RINGS,
            });
        }
        let (none, unit) = (ctf_of(optics, 0.0), ctf_of(optics, 1.0));
        let cell = |ring: usize, k2: f64, azimuth: f64, contrast: f64, weight: f64| {
            let k = k2.sqrt();
            let base = none.phase(k, azimuth);
            let (sin_2_azimuth, cos_2_azimuth) = (2.0 * azimuth).sin_cos();
            Cell {
                ring,
                base,
                slope: unit.phase(k, azimuth) - base,
                cos_2_azimuth,
                sin_2_azimuth,
                contrast,
                weight,
            }
        };
        let fine = (first * SECTORS..(last + 1) * SECTORS)
            .filter(|&i| cells.weight[i] > 0.0)
            .map(|i| cell(i / SECTORS, cells.k2[i], cells.azimuth[i], cells.contrast[i], cells.weight[i]))
            .collect();
        let coarse = (0..COARSE_SECTORS).map(|sector| {
            let fine = sector * SECTORS / COARSE_SECTORS..(sector + 1) * SECTORS / COARSE_SECTORS;
            let merged = (first..=last).map(|ring| {
                let mut sums = [0.0; 4];
                for i in fine.clone().map(|sector| ring * SECTORS + sector) {
                    let w = cells.weight[i];
                    let parts = [w, w * cells.k2[i], w * cells.azimuth[i], w * cells.contrast[i]];
                    sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
                }
                (ring, sums)
            });
            let used = merged.filter(|(_, [w, ..])| *w > 0.0);
            let mean = used
                .map(|(ring, [w, k2, azimuth, contrast])| cell(ring, k2 / w, azimuth / w, contrast / w, w));
            centred(mean.collect())
        });
        let steepest =
            unit.phase(last as f64 / cells.edge_a, 0.0) - none.phase(last as f64 / cells.edge_a, 0.0);
        let step_a = COARSE_STEP_A.min(COARSE_STEP_RAD / steepest);
        Ok(Self { cells: fine, coarse: coarse.collect(), optics, search, step_a })
    }

    /// The best places of the exhaustive search, apart in mean defocus.
    fn starts(&self) -> Vec<Point> {
        let steps = ((self.search.max_defocus_a - self.search.min_defocus_a) / self.step_a).ceil() as usize;
        let defocus = |i: usize| self.search.min_defocus_a + i as f64 * self.step_a;
        let table: Vec<Vec<Complex64>> = self
            .coarse
            .iter()
            .map(|sector| (0..=steps).map(|i| correlation_with_phase(sector, defocus(i))).collect())
            .collect();
        let largest = LARGEST_ASTIGMATISM * self.search.expected_astigmatism_a;
        let amounts = (largest / self.step_a).floor() as usize;
        let mut best: Vec<Point> = vec![];
        let mut at_defocus: Vec<Option<Point>> = vec![None; steps + 1];
        for amount in 0..=amounts {
            let half_a = 0.5 * amount as f64 * self.step_a;
            let angles = if amount == 0 { 1 } else { COARSE_SECTORS };
            for angle in (0..angles).map(|i| (i as f64 + 0.5) * PI / COARSE_SECTORS as f64) {
                let offsets = self.offsets(half_a, angle);
                for (i, slot) in at_defocus.iter_mut().enumerate() {
                    let sum: Complex64 = table
                        .iter()
                        .zip(&offsets)
                        .map(|(row, offset)| row[(i as isize + offset).clamp(0, steps as isize) as usize])
                        .sum();
                    // the contrast follows -cos(2χ + 2·phase), so its product with exp(2iχ) turns with the phase
                    let (correlation, phase) = match self.search.phase_shift {
                        true => (sum.norm(), 0.5 * (PI - sum.arg()).rem_euclid(2.0 * PI)),
                        false => (-sum.re, 0.0),
                    };
                    if slot.is_none_or(|start| correlation > start.correlation) {
                        let (sin, cos) = (2.0 * angle).sin_cos();
                        let (along_a, across_a) = (half_a * cos, half_a * sin);
                        *slot = Some(Point { correlation, mean_a: defocus(i), along_a, across_a, phase });
                    }
                }
            }
        }
        let mut all: Vec<Point> = at_defocus.into_iter().flatten().collect();
        all.sort_by(|a, b| b.correlation.total_cmp(&a.correlation));
        for start in all {
            if best.len() < STARTS && best.iter().all(|b| (b.mean_a - start.mean_a).abs() >= START_DISTANCE_A)
            {
                best.push(start);
            }
        }
        best
    }

    /// By coarse sector, how many defocus steps astigmatism of `half_a` towards `angle` moves it.
    fn offsets(&self, half_a: f64, angle: f64) -> Vec<isize> {
        let middle = |sector: usize| (sector as f64 + 0.5) * PI / COARSE_SECTORS as f64;
        (0..COARSE_SECTORS)
            .map(|sector| (half_a / self.step_a * (2.0 * (middle(sector) - angle)).cos()).round() as isize)
            .collect()
    }

    /// The best point near `start`.
    fn refine(&self, start: &Point) -> Point {
        let mut at = start.parameters();
        let mut steps = vec![self.step_a, self.step_a, self.step_a, PHASE_STEP_RAD];
        if !self.search.phase_shift {
            (at, steps) = (at[..3].to_vec(), steps[..3].to_vec());
        }
        let pixels: f64 = self.cells.iter().map(|cell| cell.weight).sum();
        let range = self.search.min_defocus_a..=self.search.max_defocus_a;
        let cost = |x: &[f64]| {
            if !range.contains(&x[0]) {
                return f64::INFINITY;
            }
            let astigmatism = 2.0 * x[1].hypot(x[2]) / self.search.expected_astigmatism_a;
            // the logarithm of a normal prior, on the scale of the correlation of so many independent pixels
            let prior = 0.5 * astigmatism * astigmatism / pixels;
            prior - self.correlation(x)
        };
        let found = minimise(cost, &at, &steps, TOLERANCE, MOST_EVALUATIONS).at;
        let phase = found.get(3).copied().unwrap_or(0.0);
        let correlation = self.correlation(&found);
        Point { correlation, mean_a: found[0], along_a: found[1], across_a: found[2], phase }
    }

    /// Multiplies the weights of cells by the part of a ring's contrast that follows the CTF.
    fn weigh_by_signal(&mut self, curve: &Curve) {
        let signal = |ring: usize| (curve.correlation[ring] * curve.amplitude[ring]).max(0.0);
        let largest = self.cells.iter().map(|cell| signal(cell.ring)).fold(0.0, f64::max);
        if largest > 0.0 {
            self.cells
                .iter_mut()
                .for_each(|cell| cell.weight *= (signal(cell.ring) / largest).max(LEAST_WEIGHT));
        }
    }

    fn ctf(&self, point: &Point) -> CtfParams {
        let half_a = point.along_a.hypot(point.across_a);
        CtfParams {
            defocus_u_a: point.mean_a + half_a,
            defocus_v_a: point.mean_a - half_a,
            astigmatism_angle: Degrees((0.5 * point.across_a.atan2(point.along_a)).to_degrees()),
            phase_shift: Degrees(point.phase.to_degrees().rem_euclid(180.0)),
            ..ctf_of(self.optics, 0.0)
        }
    }

    /// Weighted correlation coefficient of contrast and CTF² at `[mean, along, across, phase]`.
    fn correlation(&self, x: &[f64]) -> f64 {
        let twice_phase = 2.0 * x.get(3).copied().unwrap_or(0.0);
        let (mut w, mut m, mut mm, mut c, mut cc, mut mc) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for cell in &self.cells {
            let defocus = x[0] + x[1] * cell.cos_2_azimuth + x[2] * cell.sin_2_azimuth;
            let model = -(2.0 * (cell.base + cell.slope * defocus) + twice_phase).cos();
            let (weighted, contrast) = (cell.weight * model, cell.contrast);
            w += cell.weight;
            m += weighted;
            mm += weighted * model;
            c += cell.weight * contrast;
            cc += cell.weight * contrast * contrast;
            mc += weighted * contrast;
        }
        let variances = (mm - m * m / w) * (cc - c * c / w);
        if variances > 0.0 { (mc - m * c / w) / variances.sqrt() } else { 0.0 }
    }
}

/// The cells with the weighted mean of their contrast taken off.
fn centred(mut cells: Vec<Cell>) -> Vec<Cell> {
    let weight: f64 = cells.iter().map(|cell| cell.weight).sum();
    let mean = cells.iter().map(|cell| cell.weight * cell.contrast).sum::<f64>() / weight.max(1.0);
    cells.iter_mut().for_each(|cell| cell.contrast -= mean);
    cells
}

/// `Σ w c exp(2iχ)` over cells of mean contrast 0, over the norm of the centred `cos 2χ`.
fn correlation_with_phase(cells: &[Cell], defocus_a: f64) -> Complex64 {
    let (mut sum, mut w, mut m, mut mm) = (Complex64::default(), 0.0, 0.0, 0.0);
    for cell in cells {
        let (sin, cos) = (2.0 * (cell.base + cell.slope * defocus_a)).sin_cos();
        sum += cell.weight * cell.contrast * Complex64::new(cos, sin);
        w += cell.weight;
        m += cell.weight * cos;
        mm += cell.weight * cos * cos;
    }
    let variance = mm - m * m / w.max(1.0);
    if variance > 0.0 { sum / variance.sqrt() } else { Complex64::default() }
}
