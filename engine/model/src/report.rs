//! What a job reports: numbers, curves and rasters. Stages fill it, the report crate draws it.
//!
//! Everything a figure shows is in here, with units; nobody draws from anything else.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Folder in a job's folder with a picture of each item that is done: `NAME.png`, its figure in a text chunk.
pub const PICTURES: &str = "pictures";

/// `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the layout, [`crate::SCHEMA`].
    pub schema: u32,
    /// Headline.
    pub title: String,
    /// Key figures, the most important first.
    pub numbers: Vec<Number>,
    /// Remarks and warnings in plain sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Tables for people, shown before the pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// Pictures in reading order.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Items left out, with the reason.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// Records for programs, by name, e.g. `exposures`: a list of one object per exposure.
    #[serde(flatten)]
    pub data: BTreeMap<String, serde_json::Value>,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            schema: crate::SCHEMA,
            title: title.into(),
            numbers: Vec::new(),
            notes: Vec::new(),
            tables: Vec::new(),
            figures: Vec::new(),
            skipped: Vec::new(),
            data: BTreeMap::new(),
        }
    }

    /// Adds a key figure.
    pub fn number(&mut self, key: &str, label: &str, value: f64, unit: &str) {
        self.numbers.push(Number {
            key: key.into(),
            label: label.into(),
            value: Some(value),
            unit: unit.into(),
        });
    }

    /// The value of a key figure.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.numbers.iter().find(|number| number.key == key).and_then(|number| number.value)
    }
}

/// A key figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// Name for programs: snake_case with the unit as suffix, e.g. `resolution_fsc0143_A`.
    pub key: String,
    /// Name for people.
    pub label: String,
    /// The value; `null` if it could not be had (JSON has no NaN).
    pub value: Option<f64>,
    /// Unit, empty for a pure number or count.
    pub unit: String,
}

/// A table for people. Records for programs are [`Report::data`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Caption.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<Column>,
    /// Rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows; columns are given as label and unit.
    pub fn new(title: &str, columns: &[(&str, &str)]) -> Self {
        let column = |(label, unit): &(&str, &str)| Column { label: (*label).into(), unit: (*unit).into() };
        Self { title: title.into(), columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }
}

/// The head of a table's column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// What stands in it.
    pub label: String,
    /// Unit of its numbers, empty for text, counts and pure numbers.
    pub unit: String,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number, in its column's unit.
    Number(f64),
    /// Words.
    Text(String),
    /// There is no value (JSON has no NaN).
    Absent,
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        if value.is_finite() { Self::Number(value) } else { Self::Absent }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// An item that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which: file or name.
    pub item: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// An axis of a plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What it shows.
    pub label: String,
    /// Unit, empty for none.
    pub unit: String,
    /// Fixed range; else from the data.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
    /// Values are seconds since 1970 on the wall clock that is shown (the zone's offset is added already): ticks are
    /// times of day and dates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_time: bool,
}

impl Axis {
    /// An axis scaled by its data.
    pub fn new(label: &str, unit: &str) -> Self {
        Self { label: label.into(), unit: unit.into(), range: None, is_time: false }
    }

    /// An axis of times of day; `zone` is named beside its label.
    pub fn time(label: &str, zone: &str) -> Self {
        Self { is_time: true, ..Self::new(label, zone) }
    }
}

/// A curve or cloud of points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// Points; those that are not finite are gaps.
    pub x: Vec<f64>,
    /// As long as `x`.
    pub y: Vec<Option<f64>>,
    /// How it is drawn.
    pub style: SeriesStyle,
}

impl Series {
    /// A line.
    pub fn line(label: &str, x: Vec<f64>, y: impl IntoIterator<Item = f64>) -> Self {
        let y = y.into_iter().map(|v| v.is_finite().then_some(v)).collect();
        Self { label: label.into(), x, y, style: SeriesStyle::Line }
    }

    /// A cloud of points.
    pub fn points(label: &str, x: Vec<f64>, y: impl IntoIterator<Item = f64>) -> Self {
        Self { style: SeriesStyle::Points, ..Self::line(label, x, y) }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesStyle {
    /// Joined.
    Line,
    /// Not joined.
    Points,
    /// Bars from zero (histograms); x are the centres.
    Bars,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Figure {
    /// Curves on two axes.
    Plot {
        /// File name without extension, unique in the report.
        id: String,
        /// Caption.
        title: String,
        /// Horizontal axis.
        x: Axis,
        /// Vertical axis.
        y: Axis,
        /// Curves.
        series: Vec<Series>,
        /// Horizontal lines to compare with, e.g. 0.143.
        #[serde(default)]
        levels: Vec<f64>,
        /// On the x axis 1/Å is written as resolution in Å.
        #[serde(default)]
        x_is_resolution: bool,
        /// Same scale on both axes (tracks).
        #[serde(default)]
        equal_axes: bool,
    },
    /// A grey picture with marks on it.
    Image {
        /// File name without extension, unique in the report.
        id: String,
        /// Caption.
        title: String,
        /// The picture.
        raster: Raster,
        /// Marks.
        #[serde(default)]
        marks: Vec<Mark>,
        /// Å per raster pixel for a scale bar; none: no bar.
        #[serde(default)]
        pixel_size_a: Option<f64>,
    },
    /// Directions on the sphere as a coloured map (longitude × latitude, equal-area) of counts.
    Directions {
        /// File name without extension, unique in the report.
        id: String,
        /// Caption.
        title: String,
        /// Counts, row 0 is the north pole's band; rows are equal in cos(tilt), columns run from rot -180° to 180°.
        counts: Vec<Vec<f64>>,
    },
}

impl Figure {
    /// The figure's file name without extension.
    pub fn id(&self) -> &str {
        match self {
            Self::Plot { id, .. } | Self::Image { id, .. } | Self::Directions { id, .. } => id,
        }
    }
}

/// A grey image of 8 bits; in report.json only its size and PNG file stand.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Raster {
    /// Columns.
    pub width: u32,
    /// Rows; row 0 is drawn at the top.
    pub height: u32,
    /// Row by row, 0 black.
    #[serde(skip)]
    pub pixels: Vec<u8>,
    /// PNG file relative to the report, set when it is written.
    #[serde(default)]
    pub file: String,
}

impl Raster {
    /// Scales values so that `low` is black and `high` white. The first row of `values` is drawn at the bottom, as
    /// MRC images are shown.
    pub fn from_values(values: &[f32], width: usize, low: f32, high: f32) -> Self {
        let height = values.len().checked_div(width).unwrap_or(0);
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let grey = |v: &f32| if v.is_finite() { ((v - low) * scale).clamp(0.0, 255.0) as u8 } else { 0 };
        let pixels =
            (0..height).rev().flat_map(|y| values[y * width..(y + 1) * width].iter().map(grey)).collect();
        Self { width: width as u32, height: height as u32, pixels, file: String::new() }
    }

    /// The same with black and white at the given quantiles (e.g. 0.005 and 0.995) of the finite values.
    pub fn from_quantiles(values: &[f32], width: usize, low: f64, high: f64) -> Self {
        let stride = (values.len() / 200_000).max(1);
        let mut some: Vec<f32> = values.iter().step_by(stride).copied().filter(|v| v.is_finite()).collect();
        let mut at = |q: f64| match some.len() {
            0 => 0.0,
            n => *some.select_nth_unstable_by(((n - 1) as f64 * q) as usize, f32::total_cmp).1,
        };
        let (black, white) = (at(low), at(high));
        Self::from_values(values, width, black, white)
    }
}

/// A mark on an image, in raster pixels from the bottom left (the orientation of [`Raster::from_values`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "kebab-case")]
pub enum Mark {
    /// A circle.
    Circle {
        /// Centre, column.
        x: f64,
        /// Centre, row from the bottom.
        y: f64,
        /// Radius.
        radius: f64,
    },
    /// A line through points.
    Path {
        /// Columns.
        x: Vec<f64>,
        /// Rows from the bottom.
        y: Vec<f64>,
    },
    /// A label.
    Text {
        /// Left end.
        x: f64,
        /// Row from the bottom.
        y: f64,
        /// The text.
        text: String,
    },
}
