//! Of places too close to each other only the best: peaks of a score map, picks, particles.

use std::collections::HashMap;

/// Which of `places` stay when each that is closer than `distance` to a better one goes; they come the best first. A
/// distance that is not above 0 keeps them all; so does a place that is not finite.
pub(crate) fn best_first(places: impl IntoIterator<Item = [f64; 2]>, distance: f64) -> Vec<bool> {
    let places = places.into_iter();
    if distance.is_nan() || distance <= 0.0 {
        return places.map(|_| true).collect();
    }
    let mut by_cell: HashMap<[i64; 2], Vec<[f64; 2]>> = HashMap::new();
    let is_free = |[x, y]: [f64; 2]| {
        let [cx, cy] = [x, y].map(|at| (at / distance).floor() as i64);
        let around = (cy - 1..=cy + 1).flat_map(|j| (cx - 1..=cx + 1).map(move |i| [i, j]));
        let free = around
            .filter_map(|cell| by_cell.get(&cell))
            .flatten()
            .all(|kept| (kept[0] - x).hypot(kept[1] - y) >= distance);
        if free {
            by_cell.entry([cx, cy]).or_default().push([x, y]);
        }
        free
    };
    places.map(with_finite(is_free)).collect()
}

/// Asks `is_free` only for finite places.
fn with_finite(mut is_free: impl FnMut([f64; 2]) -> bool) -> impl FnMut([f64; 2]) -> bool {
    move |place| place.iter().any(|at| !at.is_finite()) || is_free(place)
}

/// The same for places in any order, each with its `merit`: more is better, NaN the worst; of equal ones the first. The
/// flags are in the order of the places.
pub(crate) fn best_of(places: &[[f64; 2]], merit: &[f64], distance: f64) -> Vec<bool> {
    let order = by_merit(merit);
    let flags = best_first(order.iter().map(|&index| places[index]), distance);
    let mut stays = vec![true; places.len()];
    order.into_iter().zip(flags).for_each(|(index, flag)| stays[index] = flag);
    stays
}

/// Indices, the best first; NaN last.
pub(crate) fn by_merit(merit: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..merit.len()).collect();
    let value = |index: usize| if merit[index].is_nan() { f64::NEG_INFINITY } else { merit[index] };
    order.sort_by(|&a, &b| value(b).total_cmp(&value(a)).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_stays_and_a_loser_keeps_nobody_away() {
        let places = [[0.0, 0.0], [6.0, 0.0], [12.0, 0.0], [-6.0, 0.0]];
        assert_eq!(best_first(places, 10.0), [true, false, true, false]);
        // the middle one is the best: both its neighbours go, the fourth is 12 from it
        assert_eq!(best_of(&places, &[1.0, 5.0, 2.0, f64::NAN], 10.0), [false, true, false, true]);
        assert_eq!(best_of(&places, &[3.0; 4], 10.0), [true, false, true, false], "of equal ones the first");
    }

    #[test]
    fn distances_of_nothing_and_places_nowhere_keep_all() {
        let places = [[0.0, 0.0], [0.0, 0.0], [f64::NAN, 0.0], [f64::NAN, 0.0]];
        assert_eq!(best_first(places, 0.0), [true; 4]);
        assert_eq!(best_first(places, f64::NAN), [true; 4]);
        assert_eq!(best_first(places, 1.0), [true, false, true, true]);
    }

    #[test]
    fn cells_find_what_a_search_over_all_pairs_finds() {
        let places: Vec<[f64; 2]> = (0..300_u32)
            .map(|i| [f64::from(i * 7919 % 1009) - 500.0, f64::from(i * 104_729 % 997) - 400.0])
            .collect();
        let mut kept: Vec<[f64; 2]> = Vec::new();
        let expected: Vec<bool> = places
            .iter()
            .map(|p| {
                let free = kept.iter().all(|k| (k[0] - p[0]).hypot(k[1] - p[1]) >= 47.0);
                kept.extend(free.then_some(*p));
                free
            })
            .collect();
        assert_eq!(best_first(places, 47.0), expected);
        assert!(expected.iter().filter(|stays| !**stays).count() > 20);
    }
}
