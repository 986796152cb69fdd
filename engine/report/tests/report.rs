//! Reports on disk and as pages.

#![expect(clippy::disallowed_methods, reason = "tests damage files on purpose")]

use vitreous_model::report::{Axis, Figure, Mark, Raster, Report, Series, SeriesStyle, Skipped};
use vitreous_report::{read, render_html, summary_text, write};

fn every_kind() -> Report {
    let mut report = Report::new("Job <J3> & co");
    report.number("resolution_A", "Resolution", 3.4178, "Å");
    report.number("missing_A", "Missing", f64::NAN, "Å");
    report.notes.push("<script>alert(1)</script>".into());
    report.skipped.push(Skipped { item: "a&b.mrc".into(), reason: "truncated at byte 17".into() });
    report.data.insert(
        "exposures".into(),
        serde_json::json!([{"name": "<m1>", "defocus_u_A": 10563.2}, {"name": "m2"}]),
    );
    let plot = |id: &str, series: Vec<Series>| Figure::Plot {
        id: id.into(),
        title: format!("Plot {id}"),
        x: Axis::new("x", "1/Å"),
        y: Axis::new("y", ""),
        series,
        levels: vec![0.143, f64::NAN],
        x_is_resolution: id == "fsc",
        equal_axes: id == "track",
    };
    let bars = Series { style: SeriesStyle::Bars, ..Series::line("bars", vec![1.0, 2.0], [3.0, 4.0]) };
    report.figures = vec![
        plot("fsc", vec![Series::line("FSC", vec![0.0, 0.1, f64::NAN, 0.3], [1.0, f64::INFINITY, 0.5, 0.2])]),
        plot("track", vec![Series::points("points", vec![1.0, 2.0], [3.0, 1e300])]),
        plot("bars", vec![bars]),
        Figure::Image {
            id: "image".into(),
            title: "Image".into(),
            raster: Raster::from_values(&(0..48).map(|i| i as f32).collect::<Vec<_>>(), 8, 0.0, 47.0),
            marks: vec![
                Mark::Circle { x: f64::NAN, y: 1.0, radius: 1.0 },
                Mark::Text { x: 1.0, y: 1.0, text: "\"q\"".into() },
            ],
            pixel_size_a: Some(f64::NAN),
        },
        Figure::Directions {
            id: "views".into(),
            title: "Views".into(),
            counts: vec![vec![1.0, f64::NAN]; 2],
        },
    ];
    report
}

#[test]
fn what_is_written_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &every_kind()).unwrap();
    let back = read(dir.path()).unwrap();
    assert_eq!(back.get("resolution_A"), Some(3.4178));
    assert_eq!(back.get("missing_A"), None);
    assert_eq!(back.data["exposures"][0]["defocus_u_A"], 10563.2);
    let Figure::Image { raster, marks, pixel_size_a, .. } = &back.figures[3] else { panic!("an image") };
    assert_eq!((raster.width, raster.height, raster.file.as_str()), (8, 6, "figures/image.png"));
    // the first row of values is the bottom of the picture
    assert_eq!(
        (raster.pixels[0], raster.pixels[47], raster.pixels[40]),
        ((40.0 * 255.0 / 47.0) as u8, 37, 0)
    );
    assert_eq!((marks.len(), *pixel_size_a), (1, None));
    let Figure::Plot { series, levels, .. } = &back.figures[0] else { panic!("a plot") };
    assert_eq!(series[0].y, [Some(1.0), None, None, Some(0.2)]);
    assert_eq!(levels, &[0.143]);

    // written again, it is the same to the byte
    let again = tempfile::tempdir().unwrap();
    write(again.path(), &back).unwrap();
    let mut files = vec!["report.json".to_string(), "report.html".into(), "figures/image.png".into()];
    files.extend(back.figures.iter().map(|figure| format!("figures/{}.svg", figure.id())));
    for file in files {
        let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(&file)).unwrap();
        assert!(!bytes(&dir).is_empty());
        assert_eq!(bytes(&dir), bytes(&again), "{file}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no temporary file stays: {left:?}");
}

#[test]
fn the_page_needs_nothing_from_outside_and_escapes_all_text() {
    let page = render_html(&every_kind()).unwrap();
    for outside in ["<script", "<link", "@import", "http://", "https://", "src=", "<iframe", "<m1>", "<J3>"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let references = page.match_indices("href=\"").map(|(at, _)| &page[at + 6..]);
    assert!(references.clone().count() > 0);
    for reference in references {
        assert!(reference.starts_with("data:image/png;base64,"), "{}", &reference[..60]);
    }
    for address in page.match_indices("url(").map(|(at, _)| &page[at..at + 10]) {
        assert!(address.starts_with("url(#clip-"), "{address}");
    }
    for text in [
        "3.42<i>Å</i>",
        "&lt;script&gt;",
        "a&amp;b.mrc",
        "truncated at byte 17",
        "&lt;m1&gt;",
        "10\u{2009}563",
        "prefers-color-scheme:dark",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("<figure id=").count(), 5);
    assert!(!page.contains("NaN"));
}

#[test]
fn ids_must_be_file_names_and_unique() {
    let dir = tempfile::tempdir().unwrap();
    for id in ["", "../x", "a/b", ".hidden", "a\"b", "ü"] {
        let mut report = Report::new("t");
        report.figures.push(Figure::Directions {
            id: id.into(),
            title: String::new(),
            counts: vec![vec![1.0]],
        });
        assert!(write(dir.path(), &report).is_err(), "{id}");
        assert!(render_html(&report).is_err(), "{id}");
    }
    let mut report = every_kind();
    report.figures.push(report.figures[0].clone());
    let error = write(dir.path(), &report).unwrap_err().to_string();
    assert_eq!(error, "figure `fsc`: two figures have this id");
}

#[test]
fn reading_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let message = || {
        let error = read(dir.path()).unwrap_err();
        let source = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
        format!("{error}{source}")
    };
    assert!(message().contains("report.json"), "{}", message());
    std::fs::write(&json, "{\"schema\": 1, \"title\": 3}").unwrap();
    assert!(message().contains("line 1 column"), "{}", message());
    std::fs::write(&json, "{\"schema\": 99}").unwrap();
    assert!(message().contains("schema 99") && message().contains("newer"), "{}", message());

    write(dir.path(), &every_kind()).unwrap();
    let text = std::fs::read_to_string(&json).unwrap();
    std::fs::write(&json, text.replace("figures/image.png", "../../etc/image.png")).unwrap();
    assert!(message().contains("inside the report's folder"), "{}", message());
    std::fs::write(&json, &text).unwrap();
    std::fs::write(dir.path().join("figures/image.png"), b"no picture").unwrap();
    assert!(message().contains("8×6"), "{}", message());
    std::fs::remove_file(dir.path().join("figures/image.png")).unwrap();
    assert!(message().contains("cannot read"), "{}", message());
}

#[test]
fn text_for_terminals_names_the_essentials() {
    let text = summary_text(&every_kind());
    for part in
        ["Job <J3> & co\n", "Resolution  3.42 Å\n", "Missing     – Å\n", "skipped: 1\n", "a&b.mrc: truncated"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
