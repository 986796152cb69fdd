//! Which optics group each movie is of: one for all, those of a STAR file, or one for each beam shift.

use super::beam_shift;
use super::run::Movie;
use crate::StageError;
use std::collections::BTreeMap;
use vitreous_jobs::import_movies::{GroupBy, ImportMovies};
use vitreous_model::acquisition::ShiftUnit;
use vitreous_model::params::BadParam;
use vitreous_model::report::{Axis, Figure, Series};

/// Groups of fewer movies are too small for aberrations of their own.
const FEW: usize = 5;

/// The groups of an import.
#[derive(Debug, Default)]
pub struct Grouping {
    /// Number of the group of each movie, from 1.
    pub of: Vec<u32>,
    /// What was found, in sentences.
    pub notes: Vec<String>,
    /// Beam shifts, coloured by group.
    pub figure: Option<Figure>,
}

impl Grouping {
    /// Numbers of all groups, rising; group 1 if there are no movies.
    pub fn numbers(&self) -> Vec<u32> {
        let mut numbers = self.of.clone();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() { vec![1] } else { numbers }
    }
}

/// Groups the movies as asked. A movie that an earlier run put into a group stays in it, but where groups were
/// divided or joined by what came since.
///
/// # Errors
/// Groups by beam shift of movies of which no shift is known.
pub fn group(params: &ImportMovies, movies: &[Movie]) -> Result<Grouping, StageError> {
    if params.group_by == GroupBy::None || movies.is_empty() {
        return Ok(Grouping { of: vec![1; movies.len()], ..Grouping::default() });
    }
    let mut found = by_shift(params, movies).or_else(|| by_name(movies)).ok_or_else(|| {
        BadParam::new("group_by", "beam-shift", "no movie has a beam shift")
            .hint("put SerialEM's MDOC or EPU's XML files beside the movies, or leave it out")
    })?;
    found.of = keep_numbers(&found.of, movies);
    for number in found.numbers() {
        let count = found.of.iter().filter(|of| **of == number).count();
        if count < FEW {
            found.notes.push(format!("Optics group {number} has {count} movie(s) only."));
        }
    }
    found.figure = figure(movies, &found.of);
    Ok(found)
}

/// From the shifts in the metadata; `None` if there are none. Movies without one are a group of their own.
fn by_shift(params: &ImportMovies, movies: &[Movie]) -> Option<Grouping> {
    let shifts: Vec<Option<[f64; 2]>> = movies.iter().map(shift_of).collect();
    let known: Vec<[f64; 2]> = shifts.iter().flatten().copied().collect();
    if known.is_empty() {
        return None;
    }
    let groups = beam_shift::group(&known, params.group_distance);
    let unknown = shifts.len() - known.len();
    let mut known = groups.of.iter();
    let of = shifts.iter().map(|shift| shift.and_then(|_| known.next()).map_or(groups.count, |of| *of));
    let of = of.map(|of| of as u32).collect();
    let unit = unit_of(movies).symbol();
    let mut notes = vec![match groups.distance {
        Some(distance) => format!(
            "{} optics group(s) from beam shifts: those nearer than {distance:.3e} {unit} to each other are together.",
            groups.count
        ),
        None => "Beam shifts show no clear gaps: all movies are one optics group; --group-distance sets one."
            .into(),
    }];
    if unknown > 0 {
        notes.push(format!("{unknown} movie(s) without a beam shift are an optics group of their own."));
    }
    Some(Grouping { of, notes, figure: None })
}

/// From holes and shots in SerialEM's names; `None` if there are none.
fn by_name(movies: &[Movie]) -> Option<Grouping> {
    let label = |movie: &Movie| {
        movie
            .path
            .file_name()
            .and_then(|name| beam_shift::hole_label(&name.to_string_lossy()))
            .unwrap_or_default()
    };
    let labels: Vec<String> = movies.iter().map(label).collect();
    if labels.iter().all(String::is_empty) {
        return None;
    }
    let mut known: Vec<&String> = Vec::new();
    let of = labels.iter().map(|label| {
        let index = known.iter().position(|other| *other == label).unwrap_or(known.len());
        if index == known.len() {
            known.push(label);
        }
        index as u32
    });
    let of = of.collect();
    let notes =
        vec![format!("{} optics group(s) from the holes and shots in the movies' names.", known.len())];
    Some(Grouping { of, notes, figure: None })
}

fn shift_of(movie: &Movie) -> Option<[f64; 2]> {
    Some(movie.acquisition.as_ref()?.beam_shift?.xy)
}

fn unit_of(movies: &[Movie]) -> ShiftUnit {
    let mut shifts = movies.iter().filter_map(|movie| movie.acquisition.as_ref()?.beam_shift);
    shifts.next().map_or(ShiftUnit::Own, |shift| shift.unit)
}

/// Numbers from 1 for groups from 0: the number that most of a group's movies had before, where no group with more such
/// movies takes it; else the next that is free, in order of appearance.
fn keep_numbers(of: &[u32], movies: &[Movie]) -> Vec<u32> {
    let mut before: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for (group, movie) in of.iter().zip(movies) {
        if let Some(number) = movie.group {
            *before.entry((*group, number)).or_default() += 1;
        }
    }
    let mut claims: Vec<((u32, u32), usize)> = before.into_iter().collect();
    claims.sort_by_key(|((group, number), count)| (std::cmp::Reverse(*count), *number, *group));
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for ((group, number), _) in &claims {
        if !numbers.contains_key(group) && !numbers.values().any(|taken| taken == number) {
            numbers.insert(*group, *number);
        }
    }
    let mut free = 1 + claims.iter().map(|((_, number), _)| *number).max().unwrap_or(0);
    for group in of {
        numbers.entry(*group).or_insert_with(|| {
            free += 1;
            free - 1
        });
    }
    of.iter().map(|group| numbers[group]).collect()
}

/// Beam shifts, coloured by group; `None` if none is known.
fn figure(movies: &[Movie], of: &[u32]) -> Option<Figure> {
    let mut clouds: BTreeMap<u32, Vec<[f64; 2]>> = BTreeMap::new();
    for (movie, number) in movies.iter().zip(of) {
        if let Some(shift) = shift_of(movie) {
            clouds.entry(*number).or_default().push(shift);
        }
    }
    if clouds.is_empty() {
        return None;
    }
    let series = clouds.into_iter().map(|(number, shifts)| {
        let (x, y): (Vec<f64>, Vec<f64>) = shifts.iter().map(|[x, y]| (*x, *y)).unzip();
        Series::points(&format!("group {number} ({})", x.len()), x, y)
    });
    let unit = unit_of(movies).symbol();
    Some(Figure::Plot {
        id: "beam-shifts".into(),
        title: "Beam shifts by optics group".into(),
        x: Axis::new("beam shift x", unit),
        y: Axis::new("beam shift y", unit),
        series: series.collect(),
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: true,
    })
}
