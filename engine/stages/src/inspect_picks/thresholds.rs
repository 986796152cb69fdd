//! Which picks of a micrograph pass, and why the others do not.

use crate::picking::apart;
use vitreous_jobs::inspect_picks::InspectPicks;
use vitreous_model::particle::{Pick, Surroundings};

/// Why a pick is left out: the first that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its micrograph is not among those given.
    Elsewhere,
    /// Its micrograph cannot be read.
    Unreadable,
    /// Too close to the edge.
    Border,
    MinScore,
    MaxScore,
    MinLocalSd,
    MaxLocalSd,
    MaxLocalMean,
    /// Too close to a better one.
    MinDistance,
    /// Others of its micrograph are better.
    MaxPicks,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::Elsewhere,
        Self::Unreadable,
        Self::Border,
        Self::MinScore,
        Self::MaxScore,
        Self::MinLocalSd,
        Self::MaxLocalSd,
        Self::MaxLocalMean,
        Self::MinDistance,
        Self::MaxPicks,
    ];

    /// Name for programs: that of the parameter, where there is one.
    pub fn key(self) -> &'static str {
        match self {
            Self::Elsewhere => "elsewhere",
            Self::Unreadable => "unreadable",
            Self::Border => "border",
            Self::MinScore => "min_score",
            Self::MaxScore => "max_score",
            Self::MinLocalSd => "min_local_sd",
            Self::MaxLocalSd => "max_local_sd",
            Self::MaxLocalMean => "max_local_mean",
            Self::MinDistance => "min_distance",
            Self::MaxPicks => "max_picks",
        }
    }

    /// Name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Elsewhere => "on micrographs that were not given",
            Self::Unreadable => "on micrographs that cannot be read",
            Self::Border => "too close to the edge",
            Self::MinScore => "score too low",
            Self::MaxScore => "score too high",
            Self::MinLocalSd => "local standard deviation too low",
            Self::MaxLocalSd => "local standard deviation too high",
            Self::MaxLocalMean => "local mean too far off",
            Self::MinDistance => "too close to a better one",
            Self::MaxPicks => "more than the allowed number per micrograph",
        }
    }
}

/// The picks of one micrograph.
pub(super) struct Field<'a> {
    pub picks: Vec<&'a Pick>,
    /// As long.
    pub around: &'a [Surroundings],
    /// Width and height of the micrograph, pixels.
    pub size_px: [f64; 2],
    /// Its pixel size, Å.
    pub pixel_size_a: f64,
}

/// Why each pick of a field is left out; `None`: it passes.
pub(super) fn judge(field: &Field<'_>, params: &InspectPicks) -> Vec<Option<Reason>> {
    let mut verdicts: Vec<Option<Reason>> = field
        .picks
        .iter()
        .zip(field.around)
        .map(|(pick, around)| on_its_own(pick, *around, field, params))
        .collect();
    if let Some(distance_a) = params.min_distance {
        let (left, places, scores) = passing(field, &verdicts);
        let stays = apart::best_of(&places, &scores, distance_a / field.pixel_size_a);
        let close = left.into_iter().zip(stays).filter(|(_, stays)| !stays);
        close.for_each(|(index, _)| verdicts[index] = Some(Reason::MinDistance));
    }
    if let Some(most) = params.max_picks {
        let (left, _, scores) = passing(field, &verdicts);
        let surplus = apart::by_merit(&scores).into_iter().skip(most as usize);
        surplus.for_each(|rank| verdicts[left[rank]] = Some(Reason::MaxPicks));
    }
    verdicts
}

/// Index, place and score of the picks that pass so far.
fn passing(field: &Field<'_>, verdicts: &[Option<Reason>]) -> (Vec<usize>, Vec<[f64; 2]>, Vec<f64>) {
    let left: Vec<usize> = (0..verdicts.len()).filter(|&index| verdicts[index].is_none()).collect();
    let pick = |index: &usize| field.picks[*index];
    let places = left.iter().map(pick).map(|pick| [pick.x_px, pick.y_px]).collect();
    let scores = left.iter().map(pick).map(|pick| pick.score).collect();
    (left, places, scores)
}

/// The verdict on a pick whatever the others are.
fn on_its_own(pick: &Pick, around: Surroundings, field: &Field<'_>, params: &InspectPicks) -> Option<Reason> {
    let border_px = params.border.map(|border_a| border_a / field.pixel_size_a);
    let [width, height] = field.size_px;
    let inside = |at: f64, length: f64, border: f64| at >= border && at <= length - 1.0 - border;
    let at_edge = border_px
        .is_some_and(|border| !(inside(pick.x_px, width, border) && inside(pick.y_px, height, border)));
    let below = |value: f64, least: Option<f64>| least.is_some_and(|least| value < least);
    let above = |value: f64, most: Option<f64>| most.is_some_and(|most| value > most);
    [
        (at_edge, Reason::Border),
        (below(pick.score, params.min_score), Reason::MinScore),
        (above(pick.score, params.max_score), Reason::MaxScore),
        (below(around.local_sd, params.min_local_sd), Reason::MinLocalSd),
        (above(around.local_sd, params.max_local_sd), Reason::MaxLocalSd),
        (above(around.local_mean.abs(), params.max_local_mean), Reason::MaxLocalMean),
    ]
    .into_iter()
    .find_map(|(failed, reason)| failed.then_some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks (x, y, score, local standard deviation, local mean) on a micrograph of 1000 × 500 px of 2 Å.
    fn verdicts(rows: &[(f64, f64, f64, f64, f64)], params: InspectPicks) -> Vec<Option<Reason>> {
        let pick =
            |r: &(f64, f64, f64, f64, f64)| Pick { exposure: "m".into(), x_px: r.0, y_px: r.1, score: r.2 };
        let picks: Vec<Pick> = rows.iter().map(pick).collect();
        let around: Vec<Surroundings> =
            rows.iter().map(|r| Surroundings { local_sd: r.3, local_mean: r.4 }).collect();
        let field = Field {
            picks: picks.iter().collect(),
            around: &around,
            size_px: [1000.0, 500.0],
            pixel_size_a: 2.0,
        };
        judge(&field, &params)
    }

    #[test]
    fn every_threshold_has_its_reason_and_equality_passes() {
        let rows = [
            (10.0, 100.0, 5.0, 1.0, 0.0),
            (980.0, 100.0, 5.0, 1.0, 0.0),
            (100.0, 100.0, 2.9, 1.0, 0.0),
            (200.0, 100.0, 9.1, 1.0, 0.0),
            (300.0, 100.0, 5.0, 0.7, 0.0),
            (400.0, 100.0, 5.0, 1.6, 0.0),
            (500.0, 100.0, 5.0, 1.0, -1.1),
            (600.0, 100.0, 3.0, 0.8, 1.0),
            (700.0, 100.0, f64::NAN, 1.5, 0.0),
        ];
        let all = InspectPicks {
            border: Some(40.0),
            min_score: Some(3.0),
            max_score: Some(9.0),
            min_local_sd: Some(0.8),
            max_local_sd: Some(1.5),
            max_local_mean: Some(1.0),
            ..InspectPicks::default()
        };
        let expected = [
            Some(Reason::Border),
            Some(Reason::Border),
            Some(Reason::MinScore),
            Some(Reason::MaxScore),
            Some(Reason::MinLocalSd),
            Some(Reason::MaxLocalSd),
            Some(Reason::MaxLocalMean),
            None,
            None,
        ];
        assert_eq!(verdicts(&rows, all), expected);
        assert!(verdicts(&rows, InspectPicks::default()).iter().all(Option::is_none));
    }

    #[test]
    fn what_fails_by_itself_keeps_nobody_away_and_the_best_stay() {
        let rows = [
            (100.0, 100.0, 4.0, 1.0, 0.0),
            (104.0, 100.0, 8.0, 9.0, 0.0),
            (109.0, 100.0, 5.0, 1.0, 0.0),
            (300.0, 300.0, 3.0, 1.0, 0.0),
            (400.0, 300.0, 6.0, 1.0, 0.0),
        ];
        let params = InspectPicks {
            max_local_sd: Some(2.0),
            min_distance: Some(20.0),
            max_picks: Some(2),
            ..InspectPicks::default()
        };
        let expected =
            [Some(Reason::MinDistance), Some(Reason::MaxLocalSd), None, Some(Reason::MaxPicks), None];
        assert_eq!(verdicts(&rows, params), expected);
    }
}
