//! Cases of [`crate::ops::template_correlation`]: the sums that define a score in f64, equal templates, places that have
//! none, and tiles that do not depend on others.

use super::Outcome;
use super::transform::noise;
use crate::fourier::HalfImage;
use crate::ops::template_correlation::{BestMatch, CorrelationTile, Search, TemplateCorrelation, Templates};
use ndarray::Array2;

/// Edge of a tile, templates, first place, rows and columns of places of each tile: nothing, one pixel, odd, prime, places
/// up to the last row, tiles at the edge of a micrograph, which have fewer, and more rows or templates than a device of
/// 1 MiB holds at a time.
const CASES: [(usize, usize, [usize; 2], &[[usize; 2]]); 11] = [
    (0, 2, [0, 0], &[[0, 0]]),
    (1, 3, [0, 0], &[[1, 1], [0, 1]]),
    (2, 1, [0, 0], &[[2, 2]]),
    (6, 0, [1, 1], &[[3, 3]]),
    (9, 4, [2, 3], &[[7, 6], [3, 2]]),
    (16, 7, [3, 3], &[[10, 10], [5, 10], [10, 1], [5, 3]]),
    (20, 5, [4, 2], &[[13, 14]]),
    (31, 3, [5, 5], &[[21, 21]]),
    (36, 6, [6, 6], &[[24, 24], [7, 24]]),
    (32, 35, [4, 4], &[[24, 2]; 9]),
    (60, 60, [8, 9], &[[2, 3]]),
];

/// A score is the sum of two transforms' products: 3e-7 of the root of all scores' mean square, of which the largest is a
/// few times as much; with room for primes, which are summed directly.
const SCORE_BOUND: f64 = 1e-5;

/// Runs all cases on a device.
pub fn run<D: TemplateCorrelation>(device: &D) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (seed, (n, templates, first, sizes)) in (0..).zip(CASES) {
        definition(device, &Case::noise(n, templates, first, sizes, 10 * seed), &mut outcomes);
    }
    equal(device, &mut outcomes);
    company(device, &mut outcomes);
    refusals(device, &mut outcomes);
    outcomes
}

/// Templates, tiles, and where they are compared.
struct Case {
    n: usize,
    images: Vec<Array2<f32>>,
    tiles: Vec<CorrelationTile>,
    scales: Vec<f32>,
    first: [usize; 2],
}

impl Case {
    /// Seeded noise.
    fn noise(n: usize, templates: usize, first: [usize; 2], sizes: &[[usize; 2]], seed: u64) -> Self {
        let tiles = noise(sizes.len(), n, n, seed + 1);
        Self {
            n,
            images: noise(templates, n, n, seed),
            tiles: tiles
                .into_iter()
                .zip(sizes)
                .map(|(pixels, &size)| CorrelationTile { pixels, size })
                .collect(),
            scales: (0..templates).map(|t| 1.0 + 0.1 * (t % 3) as f32).collect(),
            first,
        }
    }

    fn templates(&self) -> Templates {
        let transforms = self.images.iter().flat_map(|image| HalfImage::of(image.view()).into_data());
        Templates::new(self.n, self.images.len(), transforms.collect())
            .expect("transforms of images of a tile's size should be templates")
    }

    fn search(&self) -> Search<'_> {
        Search { first: self.first, scales: &self.scales }
    }

    fn best<D: TemplateCorrelation>(&self, device: &D) -> Vec<BestMatch> {
        device
            .best_matches(&device.bank(self.templates()), &self.tiles, self.search())
            .expect("tiles of the templates' size should be accepted")
    }

    /// Score of a template at a place of a tile.
    fn score(&self, tile: usize, template: usize, y: usize, x: usize) -> f64 {
        let (n, image, pixels) = (self.n, &self.images[template], &self.tiles[tile].pixels);
        let sum: f64 = pixels
            .indexed_iter()
            .map(|((row, column), value)| {
                let at = [(row + 2 * n - y - self.first[0]) % n, (column + 2 * n - x - self.first[1]) % n];
                f64::from(*value) * f64::from(image[at])
            })
            .sum();
        sum * f64::from(self.scales[template])
    }
}

fn definition<D: TemplateCorrelation>(device: &D, case: &Case, outcomes: &mut Vec<Outcome>) {
    let best = case.best(device);
    let mut largest: f64 = 0.0;
    let (mut score_error, mut template_error): (f64, f64) = (0.0, 0.0);
    let mut wrong = best.len() != case.tiles.len();
    for (index, (tile, found)) in case.tiles.iter().zip(&best).enumerate() {
        let size = (tile.size[0], tile.size[1]);
        wrong |= found.score.dim() != size || found.template.dim() != size;
        for ((y, x), &score) in found.score.indexed_iter() {
            let scores: Vec<f64> =
                (0..case.images.len()).map(|template| case.score(index, template, y, x)).collect();
            largest = scores.iter().fold(largest, |most, score| most.max(score.abs()));
            let want = scores.iter().fold(f64::NEG_INFINITY, |most, score| most.max(*score));
            let template = found.template[[y, x]] as usize;
            match scores.get(template) {
                Some(chosen) => {
                    score_error = score_error.max((f64::from(score) - want).abs());
                    template_error = template_error.max(want - chosen);
                }
                None => wrong |= score != f32::NEG_INFINITY || template != 0 || !scores.is_empty(),
            }
        }
    }
    let name = format!("{} templates on {} tile(s) of {} px", case.images.len(), case.tiles.len(), case.n);
    let mut add = |measure: &'static str, error: f64, bound: f64| {
        outcomes.push(Outcome { case: name.clone(), measure, error, bound });
    };
    add("results of another number or size, or of no template", f64::from(u8::from(wrong)), 0.0);
    add("largest error of a score", score_error / largest.max(f64::MIN_POSITIVE), SCORE_BOUND);
    add("what the template chosen lacks", template_error / largest.max(f64::MIN_POSITIVE), SCORE_BOUND);
}

/// Of equal templates the first is taken; what is not a number is never the best.
fn equal<D: TemplateCorrelation>(device: &D, outcomes: &mut Vec<Outcome>) {
    let mut case = Case::noise(12, 2, [2, 2], &[[8, 8]], 200);
    case.images.extend(case.images.clone());
    case.scales = vec![1.0; 4];
    let again = case.best(device)[0].template.iter().filter(|template| **template > 1).count();
    case.scales = vec![f32::NAN, 1.0, f32::NAN, f32::NAN];
    let first = case.best(device)[0].template.iter().filter(|template| **template != 1).count();
    case.scales = vec![f32::NAN; 4];
    let none = case.best(device)[0] != BestMatch::none([8, 8]);
    outcomes.push(Outcome {
        case: "equal templates, and scores that are no numbers".into(),
        measure: "places with another template",
        error: (again + first + usize::from(none)) as f64,
        bound: 0.0,
    });
}

/// A tile's result is the same alone and beside others that have more places.
fn company<D: TemplateCorrelation>(device: &D, outcomes: &mut Vec<Outcome>) {
    let sizes: Vec<[usize; 2]> = (0..9).map(|i| [9 - i % 4, 3 + i % 6]).collect();
    let mut case = Case::noise(15, 11, [3, 3], &sizes, 300);
    case.tiles[4].pixels.mapv_inplace(|v| 1e6 * v);
    let together = case.best(device);
    let tiles = std::mem::take(&mut case.tiles);
    let different = tiles
        .into_iter()
        .zip(&together)
        .filter(|(tile, found)| {
            let alone = Case {
                tiles: vec![tile.clone()],
                images: case.images.clone(),
                scales: case.scales.clone(),
                ..case
            };
            alone.best(device)[0] != **found
        })
        .count();
    outcomes.push(Outcome {
        case: "tiles alone and among others".into(),
        measure: "results that differ",
        error: different as f64,
        bound: 0.0,
    });
}

/// Tiles and scales that are not the templates' are refused.
fn refusals<D: TemplateCorrelation>(device: &D, outcomes: &mut Vec<Outcome>) {
    let case = Case::noise(8, 2, [2, 2], &[[6, 6]], 400);
    let bank = device.bank(case.templates());
    let refuses =
        |tiles: &[CorrelationTile], search: Search<'_>| device.best_matches(&bank, tiles, search).is_err();
    let beyond = [CorrelationTile { size: [6, 7], ..case.tiles[0].clone() }];
    let small = [CorrelationTile { pixels: Array2::zeros((8, 7)), size: [1, 1] }];
    let refused = refuses(&beyond, case.search())
        && refuses(&small, case.search())
        && refuses(&case.tiles, Search { first: [2, 2], scales: &case.scales[1..] })
        && Templates::new(8, 3, case.templates().coefficients().to_vec()).is_err();
    outcomes.push(Outcome {
        case: "places beyond a tile, another size, too few scales or coefficients".into(),
        measure: "not refused",
        error: f64::from(u8::from(!refused)),
        bound: 0.0,
    });
}
