//! Where the specimen lies higher or lower: a plane, and a curved surface, fitted to the spectra of all tiles at once.
//!
//! Nothing is fitted tile by tile: the parameters of the surface stand beside mean defocus, astigmatism, background and
//! amplitude in one likelihood of all tiles' cells, so tiles too weak for a fit of their own count for what they hold.

use super::curve::Point;
use super::fit::{Fit, Fitted, ctf_at, factors_at, phases};
use super::likelihood::{Datum, Likelihood, MOST_TERMS, Maximum, State, Terms, argument};
use super::rings::Cells;
use super::spectrum::TileSpectra;
use num_complex::Complex64;
use rayon::prelude::*;
use std::collections::HashMap;
use std::f64::consts::TAU;
use vitreous_compute::spectrum_cells::SECTORS;
use vitreous_model::ctf::{CtfParams, DefocusSurface};
use vitreous_model::exposure::OpticsGroup;

/// Sectors of a tile's spectrum: 9° each.
const TILE_SECTORS: usize = 20;
/// Fewer tiles than this in all show no surface.
const LEAST_TILES: usize = 9;
/// χ² that slopes (2 degrees) and curvatures (3 degrees) must reach: one flat micrograph in 10,000 does.
const LEAST_OF_PLANE: f64 = 18.4;
const LEAST_OF_CURVATURE: f64 = 21.1;
/// Half the width of the average that takes a tile's own background off, 1/Å.
const TILE_BACKGROUND: f64 = 0.04;
/// Largest tilt searched (tangent), and directions tried.
const STEEPEST: f64 = 1.8;
const DIRECTIONS: usize = 24;
/// Step of the table of a tile's defocus, Å.
const TABLE_STEP_A: f64 = 60.0;
/// Expected size of what curvature changes between middle and edge, Å.
const EXPECTED_CURVATURE_A: f64 = 1000.0;

/// A surface that the data demand.
pub(super) struct Surface {
    pub surface: DefocusSurface,
    /// The CTF in the micrograph's middle.
    pub ctf: CtfParams,
    /// Standard errors as in [`super::fit::Fitted`].
    pub defocus_error_a: f64,
    pub astigmatism_error_a: f64,
    /// Standard error of either slope, Å per Å.
    pub slope_error: f64,
    /// The contrast of all tiles' cells.
    pub points: Vec<Point>,
}

impl Surface {
    /// The flat fit with what is better known now.
    pub fn of(&self, flat: &Fitted) -> Fitted {
        Fitted {
            ctf: self.ctf,
            defocus_error_a: self.defocus_error_a,
            astigmatism_error_a: self.astigmatism_error_a,
            score: flat.score,
        }
    }
}

/// Fits a plane, and curvatures if there is one or if they alone are demanded; `None` if the micrograph is flat.
pub(super) fn fit_surface(
    spectra: &TileSpectra,
    cells: &Cells,
    flat: &Fit,
    optics: &OpticsGroup,
) -> Option<Surface> {
    if spectra.tiles.len() < LEAST_TILES {
        return None;
    }
    let reach_a = reach_of(spectra);
    let data = tile_data(spectra, cells, flat, optics, reach_a);
    let first = flat.terms.len;
    let [plane, curved] = [first + 2, first + 5].map(|len| with_surface(&flat.terms, len));
    let start = |terms: &Terms| {
        let mut state = flat.maximum.state.clone();
        state.geometry.resize(terms.len, 0.0);
        state
    };
    let likelihood = Likelihood::new(data, cells.edge_a);
    let (slopes, bends) = (
        likelihood.score_test(&plane, &start(&plane), first),
        likelihood.score_test(&curved, &start(&curved), first + 2),
    );
    if slopes < LEAST_OF_PLANE && bends < LEAST_OF_CURVATURE {
        return None;
    }
    let mut begin = start(&plane);
    let steepest = search_plane(&likelihood, flat, reach_a);
    begin.geometry[first..].copy_from_slice(&steepest);
    let candidates = [begin, start(&plane)].map(|state| likelihood.maximise(&plane, &state));
    let [searched, unsearched] = candidates;
    let mut best = if searched.log_posterior > unsearched.log_posterior { searched } else { unsearched };
    let mut terms = plane;
    let mut begin = best.state.clone();
    begin.geometry.resize(curved.len, 0.0);
    if likelihood.score_test(&curved, &begin, first + 2) >= LEAST_OF_CURVATURE {
        let with_curvature = likelihood.maximise(&curved, &begin);
        if wald(&with_curvature, first + 2, 3) >= LEAST_OF_CURVATURE {
            (best, terms) = (with_curvature, curved);
        }
    }
    let significant = terms.len > first + 2 || wald(&best, first, 2) >= LEAST_OF_PLANE;
    significant.then(|| found(&likelihood, &best, &terms, first, optics, reach_a))
}

/// The terms with as many more as make `len`, for slopes and curvatures.
fn with_surface(terms: &Terms, len: usize) -> Terms {
    let mut prior = terms.prior;
    prior[terms.len + 2..].fill(EXPECTED_CURVATURE_A.powi(-2));
    Terms { len, prior, ..terms.clone() }
}

/// The largest distance of a tile's middle from the micrograph's along an axis, Å: the unit of length of the fit.
fn reach_of(spectra: &TileSpectra) -> f64 {
    spectra.tiles.iter().flat_map(|tile| tile.centre_a).fold(1.0, |most, at| f64::max(most, at.abs()))
}

/// χ² of so many parameters from the first on.
fn wald(maximum: &Maximum, first: usize, len: usize) -> f64 {
    let values = nalgebra::DVector::from_column_slice(&maximum.state.geometry[first..first + len]);
    let covariance = maximum.covariance.view((first, first), (len, len)).into_owned();
    covariance.try_inverse().map_or(0.0, |inverse| values.dot(&(inverse * &values)))
}

/// Cells of all tiles, three sectors in one, sorted by ring; powers over the mean background and over what is the
/// tile's own.
fn tile_data(
    spectra: &TileSpectra,
    cells: &Cells,
    flat: &Fit,
    optics: &OpticsGroup,
    reach_a: f64,
) -> Vec<Datum> {
    let grid = &spectra.grid;
    let (first, last) = (*flat.rings.start(), *flat.rings.end());
    let rings = last + 1 - first;
    let merged = Merged::new(spectra, flat, optics);
    let by_tile: Vec<Vec<f64>> = spectra
        .tiles
        .par_iter()
        .map(|tile| {
            let mut power = merged.power_of(&tile.power, &cells.background);
            let (mut ratio, mut weight) = (vec![0.0; rings], vec![0.0; rings]);
            for (i, cell) in merged.cells.iter().enumerate() {
                ratio[cell.ring - first] += cell.pixels * power[i] / cell.expected;
                weight[cell.ring - first] += cell.pixels;
            }
            let own = smoothed(&ratio, &weight, (TILE_BACKGROUND * grid.edge_a) as usize);
            power.iter_mut().zip(&merged.cells).for_each(|(p, cell)| *p /= own[cell.ring - first]);
            power
        })
        .collect();
    let mut data = Vec::with_capacity(merged.cells.len() * spectra.tiles.len());
    let mut begin = 0;
    while begin < merged.cells.len() {
        let ring = merged.cells[begin].ring;
        let end = begin + merged.cells[begin..].iter().take_while(|cell| cell.ring == ring).count();
        for (tile, powers) in spectra.tiles.iter().zip(&by_tile) {
            let [x, y] = tile.centre_a.map(|at| at / reach_a);
            for (cell, power) in merged.cells[begin..end].iter().zip(&powers[begin..end]) {
                let mut factors = cell.factors;
                let surface = [x, y, x * x, x * y, y * y];
                factors[flat.terms.len..].iter_mut().zip(surface).for_each(|(to, from)| *to = from);
                data.push(Datum {
                    ring,
                    k: cell.k,
                    base: cell.base,
                    slope: cell.slope,
                    factors,
                    power: *power,
                    samples: cell.pixels * spectra.samples,
                });
            }
        }
        begin = end;
    }
    data
}

/// A cell of [`TILE_SECTORS`] sectors.
struct MergedCell {
    ring: usize,
    sector: usize,
    base: f64,
    slope: f64,
    k: f64,
    factors: [f64; MOST_TERMS],
    pixels: f64,
    /// Power over the mean background that the flat fit expects.
    expected: f64,
}

struct Merged {
    cells: Vec<MergedCell>,
    /// Pixels of the fine cells.
    pixels: Vec<f64>,
}

impl Merged {
    fn new(spectra: &TileSpectra, flat: &Fit, optics: &OpticsGroup) -> Self {
        let grid = &spectra.grid;
        let state = &flat.maximum.state;
        let (amplitudes, backgrounds) =
            (flat.likelihood.amplitudes(state), flat.likelihood.backgrounds(state));
        let first = *flat.rings.start();
        let mut merged = Vec::new();
        for ring in flat.rings.clone() {
            for sector in 0..TILE_SECTORS {
                let fine = fine_cells(ring, sector);
                let [n, k2, azimuth] = fine.fold([0.0; 3], |[n, k2, azimuth], i| {
                    let w = grid.pixels[i];
                    [n + w, k2 + w * grid.k2[i], azimuth + w * grid.azimuth[i]]
                });
                if n == 0.0 {
                    continue;
                }
                let (k2, azimuth) = (k2 / n, azimuth / n);
                let (base, slope) = phases(optics, k2);
                let squared = flat.fitted.ctf.value(k2.sqrt(), azimuth).powi(2);
                let expected = backgrounds[ring - first].exp() * (1.0 + amplitudes[ring - first] * squared);
                let factors = factors_at(azimuth);
                let k = k2.sqrt();
                merged.push(MergedCell { ring, sector, base, slope, k, factors, pixels: n, expected });
            }
        }
        Self { cells: merged, pixels: grid.pixels.clone() }
    }

    /// Mean power over the background of each merged cell.
    fn power_of(&self, power: &[f32], background: &[f64]) -> Vec<f64> {
        let mean = |cell: &MergedCell| {
            let sum: f64 =
                fine_cells(cell.ring, cell.sector).map(|i| self.pixels[i] * f64::from(power[i])).sum();
            sum / (cell.pixels * background[cell.ring])
        };
        self.cells.iter().map(mean).collect()
    }
}

fn fine_cells(ring: usize, sector: usize) -> std::ops::Range<usize> {
    let per = SECTORS / TILE_SECTORS;
    ring * SECTORS + sector * per..ring * SECTORS + (sector + 1) * per
}

/// Sums over rings up to `reach` away, over the weights there.
fn smoothed(sums: &[f64], weights: &[f64], reach: usize) -> Vec<f64> {
    let around = |ring: usize| ring.saturating_sub(reach)..(ring + reach + 1).min(sums.len());
    let mean = |ring: usize| {
        let weight: f64 = weights[around(ring)].iter().sum();
        let mean = sums[around(ring)].iter().sum::<f64>() / weight.max(f64::MIN_POSITIVE);
        mean.max(1e-6)
    };
    (0..sums.len()).map(mean).collect()
}

/// The plane (defocus at the ends of either axis, Å) whose tiles' spectra answer most, over all slopes.
fn search_plane(likelihood: &Likelihood, flat: &Fit, reach_a: f64) -> [f64; 2] {
    let most_a = STEEPEST * reach_a * std::f64::consts::SQRT_2;
    let steps = (most_a / TABLE_STEP_A).ceil() as isize;
    let tables = tables_by_tile(likelihood, &flat.terms, &flat.maximum.state, steps);
    let answer = |slopes: [f64; 2]| -> f64 {
        let at = |(place, table): &([f64; 2], Vec<Complex64>)| {
            let offset = (slopes[0] * place[0] + slopes[1] * place[1]) / TABLE_STEP_A;
            -table[(offset.round() as isize + steps).clamp(0, 2 * steps) as usize].re
        };
        tables.iter().map(at).sum()
    };
    let mut best = ([0.0; 2], answer([0.0; 2]));
    for amount in 1..=(STEEPEST * reach_a / TABLE_STEP_A) as usize {
        for direction in 0..DIRECTIONS {
            let (sin, cos) = (direction as f64 * TAU / DIRECTIONS as f64).sin_cos();
            let slopes = [cos, sin].map(|part| part * amount as f64 * TABLE_STEP_A);
            let value = answer(slopes);
            if value > best.1 {
                best = (slopes, value);
            }
        }
    }
    best.0
}

/// By tile's place: `Σ n A c exp(2iχ)` for defoci from `-steps` to `steps` steps beside the mean's.
fn tables_by_tile(
    likelihood: &Likelihood,
    terms: &Terms,
    state: &State,
    steps: isize,
) -> Vec<([f64; 2], Vec<Complex64>)> {
    let mut tables: Vec<([f64; 2], Vec<Complex64>)> = Vec::new();
    let mut number: HashMap<[u64; 2], usize> = HashMap::new();
    for (datum, floor, amplitude) in likelihood.data(state) {
        let place = [datum.factors[terms.len], datum.factors[terms.len + 1]];
        let index = *number.entry(place.map(f64::to_bits)).or_insert_with(|| {
            tables.push((place, vec![Complex64::default(); 2 * steps as usize + 1]));
            tables.len() - 1
        });
        let contrast = datum.power / (floor * (1.0 + 0.5 * amplitude)) - 1.0;
        let turn_by = |defocus_a: f64| Complex64::from_polar(1.0, 2.0 * datum.slope * defocus_a);
        let mut wave =
            Complex64::from_polar(datum.samples * amplitude * contrast, 2.0 * argument(datum, terms, state))
                * turn_by(-(steps as f64) * TABLE_STEP_A);
        let turn = turn_by(TABLE_STEP_A);
        for sum in &mut tables[index].1 {
            *sum += wave;
            wave *= turn;
        }
    }
    tables
}

fn found(
    likelihood: &Likelihood,
    best: &Maximum,
    terms: &Terms,
    first: usize,
    optics: &OpticsGroup,
    reach_a: f64,
) -> Surface {
    let at = |i: usize| best.state.geometry.get(i).copied().unwrap_or(0.0);
    let error = |i: usize| best.covariance[(i, i)].sqrt();
    let surface = DefocusSurface {
        gradient_x: at(first) / reach_a,
        gradient_y: at(first + 1) / reach_a,
        curvature_xx_per_a: at(first + 2) / reach_a.powi(2),
        curvature_xy_per_a: at(first + 3) / reach_a.powi(2),
        curvature_yy_per_a: at(first + 4) / reach_a.powi(2),
    };
    let ctf = ctf_at(&best.state.geometry, terms, optics);
    Surface {
        surface,
        ctf,
        defocus_error_a: error(0),
        astigmatism_error_a: 2.0 * (0.5 * (error(1).powi(2) + error(2).powi(2))).sqrt(),
        slope_error: (0.5 * (error(first).powi(2) + error(first + 1).powi(2))).sqrt() / reach_a,
        points: points(likelihood, terms, &best.state, &ctf),
    }
}

/// The contrast of all tiles' cells, with the phases of `ctf`: its phase shift is folded, the state's is not.
fn points(likelihood: &Likelihood, terms: &Terms, state: &State, ctf: &CtfParams) -> Vec<Point> {
    let fold = terms.phase.map_or(0.0, |i| ctf.phase_shift.radians() - state.geometry[i]);
    let point = |(datum, floor, amplitude): (&Datum, f64, f64)| Point {
        k: datum.k,
        phase: argument(datum, terms, state) + fold,
        contrast: datum.power / (floor * (1.0 + 0.5 * amplitude)) - 1.0,
        weight: datum.samples,
    };
    likelihood.data(state).map(point).collect()
}
