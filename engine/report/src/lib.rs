//! Draws reports: `report.json` and its rasters to SVG and PNG figures, one self-contained HTML page, and text for a
//! terminal. Everything is drawn from a [`Report`]; nothing here computes on images, prints, or
//! reaches the network, and the pages hold no script and no reference to anything outside themselves.
//!
//! ```
//! use vitreous_model::report::Report;
//! let mut report = Report::new("Motion of T20S");
//! report.number("drift_A", "Median drift", 12.34, "Å");
//! assert!(vitreous_report::summary_text(&report).contains("Median drift  12.3 Å"));
//! assert!(vitreous_report::render_html(&report).unwrap().starts_with("<!DOCTYPE html>"));
//! ```

mod clean;
pub mod collection;
mod error;
mod escape;
mod files;
mod html;
mod number;
pub mod picture;
mod raster;
mod svg;
mod text;

pub use error::ReportError;
pub use files::{read, write};
pub use html::render_html;
pub use svg::{Setting, figure_svg};
pub use text::summary_text;

use vitreous_model::report::Report;
