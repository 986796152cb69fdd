//! A grey picture with marks and a scale bar.

use super::canvas::{Anchor, Canvas, coordinate};
use crate::ReportError;
use crate::number::nice_step;
use crate::raster::{Pixels, data_uri, encode};
use vitreous_model::report::{Mark, Raster};

/// The scale bar is at most this part of the width.
const BAR_PART: f64 = 0.24;

/// Draws the raster in its own pixels as units; marks count y from the bottom.
pub(super) fn draw(
    id: &str,
    raster: &Raster,
    marks: &[Mark],
    pixel_size_a: Option<f64>,
) -> Result<Canvas, ReportError> {
    let png = encode(id, raster.width, raster.height, Pixels::Grey(&raster.pixels))?;
    let (width, height) = (f64::from(raster.width), f64::from(raster.height));
    let mut canvas = Canvas::new(width, height);
    canvas.raw(&format!(r#"<image width="{width}" height="{height}" href="{}"/>"#, data_uri(&png)));
    let up = |y: f64| height - y;
    canvas.open_group(r#"class="circles""#);
    for mark in marks {
        if let Mark::Circle { x, y, radius } = mark {
            canvas.circle([*x, up(*y)], *radius);
        }
    }
    canvas.close_group();
    canvas.open_group(r#"class="tracks""#);
    for mark in marks {
        if let Mark::Path { x, y } = mark {
            let at = |(x, y): (&f64, &f64)| format!("{} {}", coordinate(*x), coordinate(up(*y)));
            let points: Vec<String> = x.iter().zip(y).map(at).collect();
            canvas.path("", &format!("M{}", points.join("L")));
        }
    }
    canvas.close_group();
    let font = (width / 36.0).max(3.0);
    let style =
        format!(r#"style="font-size:{}px" stroke-width="{}""#, coordinate(font), coordinate(font * 0.16));
    canvas.open_group(&format!(r#"class="words" {style}"#));
    for mark in marks {
        if let Mark::Text { x, y, text } = mark {
            canvas.text("", Anchor::Start, [*x, up(*y)], text);
        }
    }
    canvas.close_group();
    if let Some(pixel_size_a) = pixel_size_a {
        draw_scale_bar(&mut canvas, width, height, pixel_size_a, &style);
    }
    Ok(canvas)
}

/// A bar of a round length with its length above it, at the bottom left.
fn draw_scale_bar(canvas: &mut Canvas, width: f64, height: f64, pixel_size_a: f64, style: &str) {
    // the largest round length under the limit: half of the next step up, or the step below
    let longest_a = BAR_PART * width * pixel_size_a;
    let length_a = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|part| nice_step(longest_a, part))
        .find(|length| *length <= longest_a)
        .unwrap_or(longest_a);
    let label = if length_a >= 1000.0 { format!("{} nm", length_a / 10.0) } else { format!("{length_a} Å") };
    let unit = width / 100.0;
    let length = length_a / pixel_size_a;
    let bottom = height - 3.0 * unit;
    canvas.open_group(&format!(r#"class="scale" {style}"#));
    let thin = format!(r#"stroke-width="{}""#, coordinate(0.3 * unit));
    canvas.rect(&thin, [3.0 * unit, bottom - 1.1 * unit], [length, 1.1 * unit]);
    canvas.text("", Anchor::Middle, [3.0 * unit + 0.5 * length, bottom - 2.2 * unit], &label);
    canvas.close_group();
}
