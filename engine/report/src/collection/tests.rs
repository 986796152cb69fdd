use super::numbers::{in_units, median, rate_per_h};
use super::page::kind_of;
use super::*;
use vitreous_model::report::{Mark, Raster};

/// 2026-11-29 12:00 UTC.
const NOON: f64 = 1_795_953_600.0;

fn job(job: &str, job_type: &str) -> Job {
    Job { job: job.into(), job_type: job_type.into(), state: "done".into(), attempt: 2, ..Job::default() }
}

fn exposure(index: u32) -> Exposure {
    Exposure {
        name: format!("movie_{index:03}"),
        recorded_unix_s: Some(NOON + 30.0 * f64::from(index)),
        movie_bytes: 1_000_000_000,
        motion_total_a: Some(10.0 + f64::from(index)),
        motion_early_a: Some(4.0),
        defocus_a: Some(12_000.0),
        astigmatism_a: Some(100.0),
        fit_resolution_a: Some(4.0),
        picks: Some(100),
        particles: Some(90),
        rejected: None,
    }
}

/// 40 movies, one every 30 s, of which 36 are through; two of these are rejected.
fn collection() -> Collection {
    let mut exposures: Vec<Exposure> = (0..40).map(exposure).collect();
    for late in &mut exposures[36..] {
        let (name, recorded_unix_s) = (late.name.clone(), late.recorded_unix_s);
        *late = Exposure { name, recorded_unix_s, movie_bytes: 1_000_000_000, ..Exposure::default() };
    }
    for index in [3, 7] {
        let reason = format!(
            "its fit resolution is {index}.5 Å, the most is 6 Å; its motion is 80 Å, the most is 60 Å"
        );
        exposures[index].rejected = Some(Rejected { by: "J4 curate-exposures".into(), reason });
    }
    let finished = (0..36).map(|i| (NOON + 60.0 + 30.0 * f64::from(i), 1)).collect();
    Collection {
        project: "T20S <b>".into(),
        import: "J1".into(),
        source: "/data/raw".into(),
        is_watched: true,
        now_unix_s: NOON + 1300.0,
        zone: "UTC".into(),
        jobs: vec![
            Job { state: "running".into(), ..job("J1", "import-movies") },
            Job { done: 36, bytes: (4_200_000_000, true), ..job("J2", "correct-motion") },
            Job { done: 36, finished, page: "../J0003/report.html".into(), ..job("J3", "estimate-ctf") },
            Job { done: 34, ..job("J4", "curate-exposures") },
            job("J5", "pick-blobs"),
            job("J6", "extract-particles"),
        ],
        exposures,
        waiting: 2,
        still_written: 1,
        free_bytes: Some(3_000_000_000_000),
        ..Collection::default()
    }
}

#[test]
fn numbers_count_movies_backlog_and_rates() {
    let report = collection().report();
    let is = |key: &str, wanted: f64| {
        let found = report.get(key).unwrap_or(f64::NAN);
        assert!((found - wanted).abs() < 1e-6 * wanted.abs().max(1.0), "{key}: {found}, not {wanted}");
    };
    is("movies", 43.0);
    is("preprocessed", 36.0);
    is("backlog", 7.0);
    is("acquired_per_h", 120.0);
    is("preprocessed_per_h", 120.0);
    is("rejected", 2.0);
    is("defocus_median_um", 1.2);
    is("picks_median", 100.0);
    is("particles", 3240.0);
    is("movies_bytes", 40.0);
    is("jobs_bytes", 4.2);
    is("free_bytes", 3.0);
    assert_eq!(report.skipped.len(), 2);
    // the median of what was kept: 34 of motions 10 to 45 without 13 and 17
    let motions = (0..36).filter(|i| ![3, 7].contains(i)).map(|i| 10.0 + f64::from(i)).collect();
    is("motion_total_median_A", median(motions).unwrap());
}

#[test]
fn what_a_collection_has_no_job_for_is_not_shown() {
    let mut only_import = collection();
    only_import.jobs.truncate(1);
    only_import
        .exposures
        .iter_mut()
        .for_each(|e| *e = Exposure { name: e.name.clone(), ..Exposure::default() });
    let report = only_import.report();
    assert_eq!(report.get("backlog"), None);
    assert_eq!(report.get("movies"), Some(43.0));
    assert!(report.figures.is_empty(), "no time is known: nothing to draw over time");
    let page = render_html(&only_import).unwrap();
    assert!(page.contains("no movie yet") && page.contains("movie_039"), "{page}");
    let none = Collection { jobs: vec![job("J1", "import-movies")], ..Collection::default() };
    assert!(render_html(&none).unwrap().contains("<h1>"));
}

#[test]
fn rates_are_those_of_the_last_hour_or_of_all_there_is() {
    let every_minute = |n: u32| (0..n).map(|i| (60.0 * f64::from(i), 1)).collect::<Vec<_>>();
    assert_eq!(rate_per_h(every_minute(10)), Some(60.0));
    assert_eq!(rate_per_h(every_minute(500)), Some(60.0));
    assert_eq!(rate_per_h(every_minute(1)), None);
    assert_eq!(rate_per_h(Vec::new()), None);
    // a night's break does not count
    let mut broken = every_minute(30);
    broken.extend((0..31).map(|i| (50_000.0 + 10.0 * f64::from(i), 2)));
    assert_eq!(rate_per_h(broken), Some(720.0));
    assert_eq!(rate_per_h(vec![(f64::NAN, 1), (0.0, 1), (3600.0, 5)]), Some(5.0));
}

#[test]
fn figures_stand_over_the_time_of_recording() {
    let figures = collection().report().figures;
    let ids: Vec<&str> = figures.iter().map(Figure::id).collect();
    assert_eq!(ids, ["progress", "rates", "defocus", "astigmatism", "fit_resolution", "motion", "picks"]);
    for figure in &figures {
        let Figure::Plot { x, y, series, .. } = figure else { panic!("all are plots") };
        assert!(x.is_time && x.unit == "UTC" && !y.label.is_empty(), "{}", figure.id());
        let [low, high] = x.range.unwrap();
        for x in series.iter().flat_map(|series| &series.x).filter(|_| figure.id() != "rates") {
            assert!((low..=high).contains(x), "{}: {x} is not in {low} to {high}", figure.id());
        }
    }
    let points = |figure: &Figure, label: &str| match figure {
        Figure::Plot { series, .. } => {
            series.iter().find(|s| s.label == label).map(|s| s.y.iter().flatten().count())
        }
        _ => None,
    };
    assert_eq!(points(&figures[2], "kept"), Some(34));
    assert_eq!(points(&figures[2], "rejected"), Some(2));
    // all movies recorded and all preprocessed, in bars of a minute that the last of which is not whole
    let Figure::Plot { series, .. } = &figures[1] else { panic!("rates are a plot") };
    let full: Vec<f64> = series[0].y.iter().flatten().copied().skip(2).take(10).collect();
    assert_eq!(full, [120.0; 10], "{series:?}");
    let Figure::Plot { series, .. } = &figures[0] else { panic!("progress is a plot") };
    let last: Vec<f64> = series.iter().map(|s| s.y.last().unwrap().unwrap()).collect();
    assert_eq!(last, [40.0, 36.0]);
}

#[test]
fn the_page_names_everything_and_is_escaped() {
    let mut collection = collection();
    let picture = Figure::Image {
        id: "p".into(),
        title: "picks".into(),
        raster: Raster { width: 2, height: 2, pixels: vec![0, 255, 0, 255], file: String::new() },
        marks: vec![Mark::Circle { x: 1.0, y: 1.0, radius: f64::NAN }],
        pixel_size_a: Some(10.0),
    };
    collection.newest.push(Shown { index: 35, pictures: vec![picture.clone(), picture] });
    let page = render_html(&collection).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("http-equiv=\"refresh\""));
    assert!(page.contains("T20S &lt;b&gt;") && !page.contains("T20S <b>"));
    for index in 0..40 {
        assert!(page.contains(&format!("movie_{index:03}")), "{index}");
    }
    assert!(
        page.contains("last movie 29 Nov 12:19:30, 130 s before") || page.contains("2 min before"),
        "{page}"
    );
    assert!(
        page.contains("Rejected: 2 of 43") && page.contains("its fit resolution is … Å, the most is … Å")
    );
    assert!(page.contains("href=\"../J0003/report.html\"") && page.contains("≈ 4.20 GB"));
    assert_eq!(page.matches("data:image/png").count(), 2);
    assert!(!page.contains("<script") && !page.contains("src=\"http"));
    collection.is_watched = false;
    assert!(!render_html(&collection).unwrap().contains("http-equiv"));
}

#[test]
fn somebody_is_told_of_failures_and_of_silence() {
    let mut collection = collection();
    assert_eq!(page::remarks(&collection), Vec::<String>::new());
    collection.now_unix_s += 3600.0;
    collection.jobs[2].is_bad = true;
    collection.jobs[2].state = "failed (exit 3)".into();
    let remarks = page::remarks(&collection);
    assert!(remarks[0].contains("J3 estimate-ctf failed (exit 3)") && remarks[0].contains("vitreous why J3"));
    assert!(
        remarks[1].contains("No movie has come for 62 min") && remarks[1].contains("every 30 s"),
        "{remarks:?}"
    );
    collection.is_watched = false;
    assert_eq!(page::remarks(&collection).len(), 1);
}

#[test]
fn reasons_of_one_kind_are_counted_together() {
    assert_eq!(kind_of("its defocus is 3 Å, the most is 2 Å; its …"), "its defocus is … Å, the most is … Å");
    assert_eq!(kind_of("/raw/a.tif: it is cut off at byte 17"), "it is cut off at byte …");
    assert_eq!(in_units(999), (999.0, "B"));
    assert_eq!(in_units(1_500_000_000), (1.5, "GB"));
}
