//! Writes a report with every kind of figure into a folder, to look at: `cargo run --example gallery -- FOLDER`.

use vitreous_model::report::{Axis, Figure, Mark, Raster, Report, Series, SeriesStyle, Skipped};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: gallery FOLDER")?;
    std::fs::create_dir_all(&folder)?;
    let mut report = Report::new("Homogeneous refinement of β-galactosidase (J9)");
    report.number("resolution_fsc0143_A", "Resolution, FSC 0.143", 3.187, "Å");
    report.number("particles", "Particles", 128_456.0, "");
    report.number("bfactor_A2", "B factor", -92.4, "Å²");
    report.number("anisotropy", "Anisotropy of the FSC", 0.0821, "");
    report.number("masked_A", "Resolution in the mask", f64::NAN, "Å");
    report.notes.push("The phase-randomised FSC is over 0.05 at 3.2 Å: the mask may be too tight.".into());
    report.skipped.push(Skipped {
        item: "FoilHole_1159715_Data_31204825_31204826_20190201_1933_Fractions.tiff".into(),
        reason: "frame 17 of 50: strip ends after 1024 of 4096 bytes; copy the file again".into(),
    });
    report.data.insert(
        "exposures".into(),
        (0..5).map(|i| serde_json::json!({"name": format!("m{i}"), "defocus_u_A": 10_000.0 + 523.7 * f64::from(i), "score": 0.21})).collect(),
    );
    report.figures = vec![fsc(), track(), histogram(), cloud(), micrograph(), views()];
    vitreous_report::write(folder.as_ref(), &report)?;
    Ok(())
}

fn plot(id: &str, title: &str, x: Axis, y: Axis, series: Vec<Series>) -> Figure {
    let (id, title) = (id.into(), title.into());
    Figure::Plot { id, title, x, y, series, levels: vec![], x_is_resolution: false, equal_axes: false }
}

fn fsc() -> Figure {
    let x: Vec<f64> = (0..=128).map(|i| f64::from(i) / 128.0 * 0.4).collect();
    let curve =
        |at: f64| x.iter().map(move |k| 1.0 / (1.0 + ((k - at) * 60.0).exp()) + 0.01 * (k * 900.0).sin());
    let series = vec![
        Series::line("Unmasked", x.clone(), curve(0.25)),
        Series::line("Masked", x.clone(), curve(0.29)),
        Series::line("Phase-randomised", x.clone(), curve(0.1)),
        Series::line("Corrected", x.clone(), curve(0.285)),
    ];
    let mut figure = plot(
        "fsc",
        "Fourier shell correlation of the half maps",
        Axis::new("Resolution", "1/Å"),
        Axis::new("FSC", ""),
        series,
    );
    if let Figure::Plot { levels, x_is_resolution, .. } = &mut figure {
        (*levels, *x_is_resolution) = (vec![0.143, 0.5], true);
    }
    figure
}

fn track() -> Figure {
    let t = || (0..50).map(|i| f64::from(i) / 10.0);
    let x: Vec<f64> = t().map(|t| 12.0 * (1.0 - (-t).exp()) + 0.3 * (9.0 * t).sin()).collect();
    let y = t().map(|t| -7.0 * (1.0 - (-2.0 * t).exp()) + 0.4 * (7.0 * t).cos());
    let series = vec![Series::line("Track", x, y), Series::points("First frame", vec![0.0], [0.4])];
    let mut figure = plot("track", "Global motion", Axis::new("x", "Å"), Axis::new("y", "Å"), series);
    if let Figure::Plot { equal_axes, .. } = &mut figure {
        *equal_axes = true;
    }
    figure
}

fn histogram() -> Figure {
    let x: Vec<f64> = (0..30).map(|i| 5000.0 + 800.0 * f64::from(i)).collect();
    let y: Vec<f64> = x.iter().map(|x| (120.0 * (-((x - 15000.0) / 5000.0).powi(2)).exp()).round()).collect();
    let series = vec![Series { style: SeriesStyle::Bars, ..Series::line("", x, y) }];
    plot(
        "defocus",
        "Defocus of the exposures",
        Axis::new("Mean defocus", "Å"),
        Axis::new("Exposures", ""),
        series,
    )
}

fn cloud() -> Figure {
    let x: Vec<f64> = (0..400).map(|i| f64::from(i * 7919 % 1000) / 100.0).collect();
    let y: Vec<f64> =
        x.iter().enumerate().map(|(i, x)| 3.0 + 0.3 * x + (i as f64 * 0.77).sin() * 0.8).collect();
    let series = vec![Series::points("", x, y)];
    plot(
        "thickness",
        "Fit resolution against drift",
        Axis::new("Drift", "Å"),
        Axis::new("Fit resolution", "Å"),
        series,
    )
}

fn micrograph() -> Figure {
    let (width, height) = (960, 720);
    let at = |i: u32| (f64::from(i * 7919 % 960), f64::from(i * 104_729 % 720));
    let mut values: Vec<f32> =
        (0..width * height).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as f32).collect();
    for (i, value) in values.iter_mut().enumerate() {
        let (px, py) = ((i % width as usize) as f64, (i / width as usize) as f64);
        if (1..60).any(|n| (at(n).0 - px).hypot(at(n).1 - py) < 14.0) {
            *value -= 90.0;
        }
    }
    let mut marks: Vec<Mark> =
        (1..60).map(|n| Mark::Circle { x: at(n).0, y: at(n).1, radius: 22.0 }).collect();
    marks.push(Mark::Path { x: vec![300.0, 340.0, 350.0], y: vec![300.0, 310.0, 350.0] });
    marks.push(Mark::Text { x: 20.0, y: 680.0, text: "59 picks".into() });
    let raster = Raster::from_quantiles(&values, width as usize, 0.002, 0.998);
    Figure::Image {
        id: "picks".into(),
        title: "Picks on micrograph 1".into(),
        raster,
        marks,
        pixel_size_a: Some(4.2),
    }
}

fn views() -> Figure {
    let cell = |row: i32, column: i32| {
        let (tilt, rot) = (f64::from(row) / 36.0, f64::from(column) / 72.0);
        (60.0 * (-((tilt - 0.5) / 0.2).powi(2)).exp() * (1.2 + (rot * 12.0).sin())).round()
    };
    let counts = (0..36).map(|row| (0..72).map(|column| cell(row, column)).collect()).collect();
    Figure::Directions { id: "views".into(), title: "Distribution of viewing directions".into(), counts }
}
