//! Counts of directions on the sphere in Mollweide's equal-area projection.

use super::canvas::{Anchor, Canvas, coordinate};
use crate::ReportError;
use crate::number::grouped;
use crate::raster::{Pixels, data_uri, encode};
use std::f64::consts::PI;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 262.0;
/// Half the axes of the ellipse.
const A: f64 = 212.0;
const B: f64 = 106.0;
const CENTRE: [f64; 2] = [240.0, 116.0];
/// Pixels of the raster per user unit.
const FINENESS: f64 = 1.5;

/// Colours from few to many; the viridis scale of matplotlib (public domain) at nine points.
const SCALE: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

/// Draws the map: north up, rot 0° in the middle, a colour bar below.
pub(super) fn draw(id: &str, counts: &[Vec<f64>]) -> Result<Canvas, ReportError> {
    let columns = counts.first().map_or(0, Vec::len);
    if columns == 0 || counts.iter().any(|row| row.len() != columns) {
        return Err(ReportError::figure(
            id,
            "directions need rows of counts that are equally long and not empty",
        ));
    }
    let most = counts.iter().flatten().copied().fold(0.0, f64::max);
    let (width, height) = ((2.0 * A * FINENESS) as u32, (2.0 * B * FINENESS) as u32);
    let png = encode(id, width, height, Pixels::Rgba(&project(counts, most, width, height)))?;
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    let [x, y, w, h] = [CENTRE[0] - A, CENTRE[1] - B, 2.0 * A, 2.0 * B].map(coordinate);
    canvas.raw(&format!(r#"<image x="{x}" y="{y}" width="{w}" height="{h}" href="{}"/>"#, data_uri(&png)));
    draw_graticule(&mut canvas);
    draw_colour_bar(&mut canvas, most);
    Ok(canvas)
}

fn colour(part: f64) -> [u8; 3] {
    let at = part.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let low = (at as usize).min(SCALE.len() - 2);
    let f = at - low as f64;
    std::array::from_fn(|c| {
        (f64::from(SCALE[low][c]) * (1.0 - f) + f64::from(SCALE[low + 1][c]) * f).round() as u8
    })
}

/// RGBA pixels of the ellipse, the top row first; transparent outside, the rim smoothed over a pixel.
fn project(counts: &[Vec<f64>], most: f64, width: u32, height: u32) -> Vec<u8> {
    let scale = if most > 0.0 { 1.0 / most } else { 0.0 };
    let mut out = Vec::with_capacity(width as usize * height as usize * 4);
    for row in 0..height {
        let y = 1.0 - 2.0 * (f64::from(row) + 0.5) / f64::from(height);
        for column in 0..width {
            let x = 2.0 * (f64::from(column) + 0.5) / f64::from(width) - 1.0;
            let beyond = (x.hypot(y) - 1.0) * 0.5 * f64::from(height);
            let opacity = ((0.5 - beyond).clamp(0.0, 1.0) * 255.0) as u8;
            let [red, green, blue] = colour(count_at(counts, x, y) * scale);
            out.extend([red, green, blue, opacity]);
        }
    }
    out
}

/// The count at a place of the unit disc (the ellipse with its axes divided out): Mollweide's inverse.
fn count_at(counts: &[Vec<f64>], x: f64, y: f64) -> f64 {
    let theta = y.clamp(-1.0, 1.0).asin();
    let cos_tilt = ((2.0 * theta + (2.0 * theta).sin()) / PI).clamp(-1.0, 1.0);
    let longitude = (x / theta.cos().max(1e-9)).clamp(-1.0, 1.0);
    let index = |part: f64, length: usize| ((part * length as f64) as usize).min(length - 1);
    let row = &counts[index(0.5 * (1.0 - cos_tilt), counts.len())];
    row[index(0.5 * (longitude + 1.0), row.len())]
}

/// Meridians every 60° and parallels every 30°, and the rim.
fn draw_graticule(canvas: &mut Canvas) {
    let [cx, cy] = CENTRE.map(coordinate);
    for longitude in [-120.0, -60.0, 0.0, 60.0, 120.0_f64] {
        let rx = coordinate(A * longitude.abs() / 180.0);
        let sweep = u8::from(longitude > 0.0);
        let (top, bottom) = (coordinate(CENTRE[1] - B), coordinate(CENTRE[1] + B));
        let d = format!("M{cx} {top}A{rx} {} 0 0 {sweep} {cx} {bottom}", coordinate(B));
        let line = format!("M{cx} {top}L{cx} {bottom}");
        canvas.path(r#"class="graticule""#, if longitude == 0.0 { &line } else { &d });
    }
    for tilt_deg in [30.0, 60.0, 90.0, 120.0, 150.0_f64] {
        let theta = mollweide_theta(tilt_deg.to_radians().cos());
        let (half, y) = (A * theta.cos(), CENTRE[1] - B * theta.sin());
        canvas.line("graticule", [CENTRE[0] - half, y], [CENTRE[0] + half, y]);
        let at = [CENTRE[0] - half - 8.0, y + 4.0];
        canvas.text(r#"class="small""#, Anchor::End, at, &format!("{tilt_deg:.0}°"));
    }
    canvas.raw(&format!(
        r#"<ellipse class="rim" cx="{cx}" cy="{cy}" rx="{}" ry="{}"/>"#,
        coordinate(A),
        coordinate(B)
    ));
}

/// Mollweide's auxiliary angle for the sine of a latitude (the cosine of a tilt), by bisection.
fn mollweide_theta(sine: f64) -> f64 {
    let (mut low, mut high) = (-0.5 * PI, 0.5 * PI);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if 2.0 * middle + (2.0 * middle).sin() < PI * sine { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// From zero to the largest count, with what the axes are.
fn draw_colour_bar(canvas: &mut Canvas, most: f64) {
    const PARTS: usize = 64;
    let (left, width, y) = (120.0, 240.0, 233.0);
    for part in 0..PARTS {
        let [red, green, blue] = colour((part as f64 + 0.5) / PARTS as f64);
        let step = width / PARTS as f64;
        let fill = format!(r#"fill="rgb({red},{green},{blue})""#);
        canvas.rect(&fill, [left + part as f64 * step, y], [step + 0.3, 9.0]);
    }
    canvas.text("", Anchor::End, [left - 8.0, y + 9.0], "0");
    canvas.text("", Anchor::Start, [left + width + 8.0, y + 9.0], &grouped(most));
    let words = "particles per cell; across: rot −180° to 180°, down: tilt";
    canvas.text(r#"class="small""#, Anchor::Middle, [CENTRE[0], y + 23.0], words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_finds_the_cell_of_a_direction() {
        let counts: Vec<Vec<f64>> = (0..4).map(|r| (0..8).map(|c| f64::from(r * 8 + c)).collect()).collect();
        for (tilt_deg, rot_deg, expected) in
            [(10.0, 5.0, 4.0), (80.0, -170.0, 8.0), (100.0, 170.0, 23.0), (170.0, 100.0, 30.0)]
        {
            let theta = mollweide_theta(f64::to_radians(tilt_deg).cos());
            let (x, y) = (rot_deg / 180.0 * theta.cos(), theta.sin());
            assert_eq!(count_at(&counts, x, y), expected, "tilt {tilt_deg} rot {rot_deg}");
        }
    }

    #[test]
    fn the_projection_keeps_areas() {
        // one row of four has a quarter of the sphere, so a quarter of the disc
        let counts = [1.0, 0.0, 0.0, 0.0].map(|v| vec![v; 4]).to_vec();
        let (mut inside, mut on) = (0, 0);
        for i in 0..400 {
            for j in 0..400 {
                let (x, y) = (f64::from(i) / 200.0 - 0.9975, f64::from(j) / 200.0 - 0.9975);
                if x.hypot(y) < 1.0 {
                    inside += 1;
                    on += i32::from(count_at(&counts, x, y) > 0.0);
                }
            }
        }
        let part = f64::from(on) / f64::from(inside);
        assert!((part - 0.25).abs() < 0.003, "{part}");
    }

    #[test]
    fn ragged_counts_are_an_error() {
        assert!(draw("d", &[vec![1.0, 2.0], vec![1.0]]).is_err());
        assert!(draw("d", &[]).is_err());
        assert!(draw("d", &[vec![]]).is_err());
    }
}
