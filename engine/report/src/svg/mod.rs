//! SVG figures. One style sheet of classes serves the files and the page; it follows the reader's dark mode.

mod canvas;
mod directions;
mod image;
mod plot;
#[cfg(test)]
mod tests;

use crate::ReportError;
use vitreous_model::report::Figure;

/// Where an SVG will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// In a file of its own: with style sheet, background and title.
    File,
    /// Inside a page that brings `STYLE` and the caption.
    Page,
}

/// Style of figures, by class, below the class `vf` of their root element.
pub(crate) const STYLE: &str = include_str!("figure.css");

/// A figure as SVG text. Every text in it is escaped, and it refers to nothing outside itself (rasters are inside).
///
/// # Errors
/// [`ReportError::Figure`] for a raster whose number of pixels is not width × height, or counts in rows of unequal
/// length.
pub fn figure_svg(figure: &Figure, setting: Setting) -> Result<String, ReportError> {
    let canvas = match figure {
        Figure::Plot { id, x, y, series, levels, x_is_resolution, equal_axes, .. } => {
            plot::draw(&plot::Plot {
                id,
                x,
                y,
                series,
                levels,
                x_is_resolution: *x_is_resolution,
                equal_axes: *equal_axes,
            })
        }
        Figure::Image { id, raster, marks, pixel_size_a, .. } => {
            image::draw(id, raster, marks, *pixel_size_a)?
        }
        Figure::Directions { id, counts, .. } => directions::draw(id, counts)?,
    };
    let title = match figure {
        Figure::Plot { title, .. } | Figure::Image { title, .. } | Figure::Directions { title, .. } => title,
    };
    Ok(canvas.finish(title, setting))
}
