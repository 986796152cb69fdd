//! Optics groups from beam shifts: which exposures were taken with the beam at one place.
//!
//! Shifts form clusters around the places of the pattern that the microscope goes through. Two shifts are of one group
//! if a chain of shifts joins them whose links are all shorter than a distance: single linkage, found by cutting the
//! longest edges of the minimum spanning tree. It needs no number of groups, no start and no random numbers, and the
//! result does not depend on the order of the shifts. The distance is given, or lies in the widest gap between
//! the lengths of the tree's edges ([`gap`]).

/// A gap is between edges of which the longer has at least this many times the length of the shorter.
const LEAST_RATIO: f64 = 2.0;
/// Places of a pattern lie apart by at least this part of its extent: patterns have at most some dozens of places a side.
const LEAST_SPACING: f64 = 0.01;
/// Edges shorter than this part of the extent count as so long: how near shifts of one place happen to come to each
/// other says nothing.
const LEAST_EDGE: f64 = 1e-4;

/// The groups of a set of shifts.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// Group of each shift, from 0 in the order in which groups first appear.
    pub of: Vec<usize>,
    /// Number of groups; 0 if there are no shifts.
    pub count: usize,
    /// The distance that was used; `None`: there is no clear gap, and all shifts are one group.
    pub distance: Option<f64>,
}

/// Groups finite shifts (x, y) by single linkage; `distance` is given or found. Takes time with the square of their
/// number (some 2 s for 50 000).
pub fn group(shifts: &[[f64; 2]], distance: Option<f64>) -> Groups {
    let tree = spanning_tree(shifts);
    let distance = distance.or_else(|| gap(&tree, extent(shifts)));
    let Some(cut) = distance else {
        return Groups { of: vec![0; shifts.len()], count: shifts.len().min(1), distance };
    };
    // the tree comes in the order in which it grew, so a parent's group is known before its child's
    let mut label = vec![0; shifts.len()];
    let mut labels = 1;
    for &Edge { from, to, length } in &tree {
        label[to] = if length < cut { label[from] } else { labels };
        labels += usize::from(length >= cut);
    }
    let mut number = vec![None; labels];
    let mut count = 0;
    let of = label.iter().map(|&label| {
        *number[label].get_or_insert_with(|| {
            count += 1;
            count - 1
        })
    });
    let of = of.collect();
    Groups { of, count, distance }
}

/// An edge of the tree.
struct Edge {
    from: usize,
    to: usize,
    length: f64,
}

/// The minimum spanning tree by Prim's method from the first shift; of equally near shifts the first comes first.
fn spanning_tree(shifts: &[[f64; 2]]) -> Vec<Edge> {
    let squared = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    let mut outside: Vec<usize> = (1..shifts.len()).collect();
    let mut nearest: Vec<(f64, usize)> =
        outside.iter().map(|&i| (squared(shifts[0], shifts[i]), 0)).collect();
    let mut tree = Vec::with_capacity(outside.len());
    while !outside.is_empty() {
        let mut best = 0;
        for slot in 1..outside.len() {
            if (nearest[slot].0, outside[slot]) < (nearest[best].0, outside[best]) {
                best = slot;
            }
        }
        let (to, (length, from)) = (outside.swap_remove(best), nearest.swap_remove(best));
        tree.push(Edge { from, to, length: length.sqrt() });
        for (slot, &other) in outside.iter().enumerate() {
            let length = squared(shifts[to], shifts[other]);
            if length < nearest[slot].0 {
                nearest[slot] = (length, to);
            }
        }
    }
    tree
}

/// The longer edge of the smallest upright rectangle that holds all shifts.
fn extent(shifts: &[[f64; 2]]) -> f64 {
    let along = |axis: usize| {
        let values = shifts.iter().map(|shift| shift[axis]);
        values.clone().fold(f64::NEG_INFINITY, f64::max) - values.fold(f64::INFINITY, f64::min)
    };
    along(0).max(along(1))
}

/// The distance that tells steps within a place from steps between places: the geometric mean of the two consecutive
/// edge lengths of largest ratio. `None` without a clear gap: a ratio below [`LEAST_RATIO`], places nearer than
/// [`LEAST_SPACING`], or more than half of the edges beyond the gap, so that most groups would have a single member.
fn gap(tree: &[Edge], extent: f64) -> Option<f64> {
    let mut lengths: Vec<f64> = tree.iter().map(|edge| edge.length).collect();
    lengths.sort_by(f64::total_cmp);
    let floor = extent.max(f64::MIN_POSITIVE) * LEAST_EDGE;
    let gaps = lengths.windows(2).enumerate().filter(|(_, pair)| pair[1] >= LEAST_SPACING * extent);
    let gaps = gaps.map(|(index, pair)| (pair[1] / pair[0].max(floor), index));
    let (ratio, index) = gaps.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
    let beyond = lengths.len() - 1 - index;
    let is_clear = ratio >= LEAST_RATIO && 2 * beyond <= lengths.len();
    is_clear.then(|| (lengths[index].max(floor) * lengths[index + 1]).sqrt())
}

/// Hole and shot of SerialEM's names of movies with several a stage position: `…_X+1Y-1-2…` is hole (1, -1), shot 2.
///
/// Returns the text of the label, such as `X+1Y-1-2`; `None` if the name has none.
pub fn hole_label(name: &str) -> Option<String> {
    let signed = |text: &str| -> Option<usize> {
        let digits = text.strip_prefix(['+', '-'])?;
        let length = digits.chars().take_while(char::is_ascii_digit).count();
        (length > 0).then_some(1 + length)
    };
    name.match_indices("_X").find_map(|(start, _)| {
        let label = &name[start + 1..];
        let x = 1 + signed(&label[1..])?;
        let y = label[x..].strip_prefix('Y')?;
        let mut end = x + 1 + signed(y)?;
        // the shot, if the hole has several; no sign, so not a date
        let shot =
            label[end..].strip_prefix('-').map(|rest| rest.chars().take_while(char::is_ascii_digit).count());
        end += shot.filter(|digits| (1..=2).contains(digits)).map_or(0, |digits| 1 + digits);
        Some(label[..end].to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// A pattern of `side`² places at unit distance, `each` shifts a place within `jitter`, mixed.
    fn pattern(side: usize, each: usize, jitter: f64, seed: u64) -> (Vec<[f64; 2]>, Vec<usize>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut places: Vec<usize> = (0..side * side * each).map(|i| i % (side * side)).collect();
        for i in (1..places.len()).rev() {
            places.swap(i, random.random_range(0..=i));
        }
        let mut near = |centre: usize| centre as f64 + jitter * random.random_range(-1.0..1.0);
        let shifts = places.iter().map(|p| [near(p % side), near(p / side)]).collect();
        (shifts, places)
    }

    fn same_partition(a: &[usize], b: &[usize]) -> bool {
        let joined = |v: &[usize], i: usize, j: usize| v[i] == v[j];
        (0..a.len()).all(|i| (0..i).all(|j| joined(a, i, j) == joined(b, i, j)))
    }

    #[test]
    fn every_place_is_a_group_whatever_the_order() {
        for (side, each, jitter, seed) in [(3, 20, 0.05, 1), (3, 4, 0.1, 2), (9, 6, 0.08, 3), (2, 50, 0.2, 4)]
        {
            let (shifts, places) = pattern(side, each, jitter, seed);
            let groups = group(&shifts, None);
            assert_eq!(groups.count, side * side, "{:?}", groups.distance);
            assert!(same_partition(&groups.of, &places));
            let (back, reversed): (Vec<_>, Vec<_>) =
                (shifts.iter().rev().copied().collect(), places.iter().rev().copied().collect());
            assert!(same_partition(&group(&back, None).of, &reversed));
            // units do not matter
            let scaled: Vec<_> = shifts.iter().map(|s| s.map(|v| v * 1e-3)).collect();
            assert_eq!(group(&scaled, None).of, groups.of);
        }
    }

    #[test]
    fn without_a_clear_gap_there_is_one_group() {
        let (shifts, _) = pattern(1, 200, 1.0, 5);
        assert_eq!(group(&shifts, None).count, 1, "a cloud");
        let (shifts, _) = pattern(5, 1, 0.3, 6);
        assert_eq!(group(&shifts, None).count, 1, "every place once");
        assert_eq!(group(&[[0.5, 0.5]; 9], None).count, 1, "all the same");
        assert_eq!((group(&[], None).count, group(&[[1.0, 2.0]], None).count), (0, 1));
    }

    #[test]
    fn a_given_distance_decides() {
        let shifts = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [5.0, 0.0]];
        assert_eq!(group(&shifts, Some(1.5)).of, [0, 0, 0, 1]);
        assert_eq!(group(&shifts, Some(0.5)).count, 4);
        assert_eq!(group(&shifts, Some(9.0)).count, 1);
    }

    #[test]
    fn labels_of_holes_are_found_in_names() {
        let label = |name: &str| hole_label(name).unwrap_or_default();
        assert_eq!(label("sq1_00012_X+1Y-1-2"), "X+1Y-1-2");
        assert_eq!(label("sq_X-10Y+0_0003"), "X-10Y+0");
        assert_eq!(label("a_Xray_X+0Y-1-1_Oct08.tif"), "X+0Y-1-1");
        assert_eq!(label("m_X+0Y-1-20210101"), "X+0Y-1", "a date is no shot");
        assert_eq!((label("m_X1Y1"), label("m_X+Y-1"), label("X+0Y-1"), label("é_X")), Default::default());
    }
}
