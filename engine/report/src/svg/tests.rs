//! What figures must hold, by looking into their text.

use super::*;
use vitreous_model::report::{Axis, Mark, Raster, Series, SeriesStyle};

fn plot(series: Vec<Series>) -> Figure {
    Figure::Plot {
        id: "p".into(),
        title: "A <plot> & more".into(),
        x: Axis::new("Time", "s"),
        y: Axis::new("Drift", "Å"),
        series,
        levels: vec![],
        x_is_resolution: false,
        equal_axes: false,
    }
}

/// Tags open and close in order, attributes are quoted: enough of well-formedness for what we write.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("every tag should end");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{svg}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a tag should have a name"));
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert_eq!(open, Vec::<&str>::new());
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

fn drawn(figure: &Figure) -> String {
    let page = figure_svg(figure, Setting::Page).unwrap();
    assert_well_formed(&page);
    let file = figure_svg(figure, Setting::File).unwrap();
    assert_well_formed(&file);
    assert!(file.starts_with("<svg class=\"vf\" xmlns=\"http://www.w3.org/2000/svg\""));
    page
}

fn path_of_curve(svg: &str) -> &str {
    let start = svg.find("<path class=\"curve s0\" d=\"").expect("a curve should be there") + 26;
    &svg[start..start + svg[start..].find('"').unwrap()]
}

#[test]
fn a_gap_parts_a_line_and_a_lone_point_stays_visible() {
    let svg = drawn(&plot(vec![Series::line(
        "",
        vec![0.0, 1.0, 2.0, 3.0, 4.0],
        [0.0, 1.0, f64::NAN, 1.0, f64::NAN],
    )]));
    let d = path_of_curve(&svg);
    assert_eq!(d.matches('M').count(), 2, "{d}");
    assert!(d.ends_with("h0"), "{d}");
}

#[test]
fn axes_carry_label_and_unit_and_text_is_escaped() {
    let svg = drawn(&plot(vec![
        Series::line("a<b", vec![0.0, 10.0], [0.0, 100.0]),
        Series::points("c", vec![5.0], [50.0]),
    ]));
    assert!(svg.contains(">Time (s)</text>") && svg.contains(">Drift (Å)</text>"), "{svg}");
    assert!(
        svg.contains(">a&lt;b</text>") && svg.contains("<title>A &lt;plot&gt; &amp; more</title>"),
        "{svg}"
    );
    for label in ["0", "2", "10", "20", "100"] {
        assert!(svg.contains(&format!(">{label}</text>")), "{label}: {svg}");
    }
}

#[test]
fn resolution_axes_are_labelled_in_angstrom() {
    let mut figure = plot(vec![Series::line(
        "FSC",
        (0..50).map(|i| f64::from(i) * 0.008).collect(),
        (0..50).map(|i| 1.0 - f64::from(i) / 49.0),
    )]);
    if let Figure::Plot { x_is_resolution, levels, x, .. } = &mut figure {
        (*x_is_resolution, *levels, *x) = (true, vec![0.143, 0.5], Axis::new("Resolution", "1/Å"));
    }
    let svg = drawn(&figure);
    assert!(
        svg.contains(">Resolution (Å)</text>") && svg.contains(">5</text>") && svg.contains(">3</text>"),
        "{svg}"
    );
    assert_eq!(svg.matches("class=\"level\"").count(), 2);
    assert!(svg.contains(">0.143</text>") && svg.contains(">0.5</text>"), "{svg}");
}

#[test]
fn equal_axes_have_equal_scales() {
    let mut figure = plot(vec![Series::line("", vec![0.0, 100.0], [0.0, 1.0])]);
    if let Figure::Plot { equal_axes, .. } = &mut figure {
        *equal_axes = true;
    }
    let svg = drawn(&figure);
    let numbers: Vec<f64> = path_of_curve(&svg)
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|n| n.parse().ok())
        .collect();
    let (dx, dy) = (numbers[2] - numbers[0], numbers[1] - numbers[3]);
    assert!((dx / dy - 100.0).abs() < 2.0, "{dx} {dy}");
}

#[test]
fn bars_stand_on_zero_and_show_their_height() {
    let series =
        Series { style: SeriesStyle::Bars, ..Series::line("n", vec![1.0, 2.0, 3.0], [2.0, 4.0, 0.0]) };
    let svg = drawn(&plot(vec![series]));
    let bars = &svg[svg.find("class=\"bars s0\"").unwrap()..];
    let heights: Vec<f64> = bars
        .split("height=\"")
        .skip(1)
        .take(3)
        .map(|rest| rest[..rest.find('"').unwrap()].parse().unwrap())
        .collect();
    assert!((heights[1] / heights[0] - 2.0).abs() < 0.01 && heights[2] == 0.0, "{heights:?}");
}

#[test]
fn plots_of_nothing_and_of_one_value_are_drawn() {
    drawn(&plot(vec![]));
    drawn(&plot(vec![Series::line("", vec![], [])]));
    drawn(&plot(vec![Series::line("", vec![3.0], [3.0])]));
    drawn(&plot(vec![Series::points("", vec![0.0, 1.0], [f64::NAN, f64::NAN])]));
    drawn(&plot(
        (0..20).map(|i| Series::line(&format!("track {i}"), vec![0.0, 1.0], [0.0, f64::from(i)])).collect(),
    ));
}

#[test]
fn marks_count_rows_from_the_bottom() {
    let figure = Figure::Image {
        id: "i".into(),
        title: "Picks".into(),
        raster: Raster::from_values(&[0.5; 100 * 60], 100, 0.0, 1.0),
        marks: vec![
            Mark::Circle { x: 10.0, y: 5.0, radius: 4.0 },
            Mark::Path { x: vec![0.0, 50.0], y: vec![0.0, 60.0] },
            Mark::Text { x: 1.0, y: 2.0, text: "<7>".into() },
        ],
        pixel_size_a: Some(4.0),
    };
    let svg = drawn(&figure);
    assert!(svg.contains("<circle cx=\"10\" cy=\"55\" r=\"4\"/>"), "{svg}");
    assert!(svg.contains("d=\"M0 60L50 0\""), "{svg}");
    assert!(svg.contains("&lt;7&gt;"), "{svg}");
    // a quarter of 400 Å at most
    assert!(svg.contains(">50 Å</text>"), "{svg}");
    assert!(svg.contains("href=\"data:image/png;base64,"));
}

#[test]
fn a_raster_without_its_pixels_is_an_error() {
    let raster = Raster { width: 4, height: 4, ..Default::default() };
    let figure =
        Figure::Image { id: "i".into(), title: String::new(), raster, marks: vec![], pixel_size_a: None };
    let error = figure_svg(&figure, Setting::Page).unwrap_err().to_string();
    assert_eq!(error, "figure `i`: 4×4 pixels need 16 bytes, got 0");
}

#[test]
fn directions_are_one_picture_with_a_scale() {
    let counts = (0..18).map(|r| (0..36).map(|c| f64::from(r * c)).collect()).collect();
    let svg = drawn(&Figure::Directions { id: "d".into(), title: "Views".into(), counts });
    assert!(svg.contains("data:image/png;base64,") && svg.contains(">595</text>"), "{svg}");
}
