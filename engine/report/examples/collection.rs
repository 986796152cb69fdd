//! Draws the page of a made-up collection, to be looked at: `cargo run --release --example collection -- FILE.html`
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "an example")]

use vitreous_model::report::{Figure, Mark, Raster, Skipped};
use vitreous_report::collection::{Collection, Exposure, Job, Rejected, Shown, render_html};

const START: f64 = 1_795_953_600.0;
const MOVIES: u32 = 900;

/// Reproducible and spread over 0 to 1.
fn noise(index: u32, salt: u32) -> f64 {
    let mixed = (index.wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
    f64::from(mixed ^ (mixed >> 15)) / f64::from(u32::MAX)
}

fn exposure(i: u32) -> Exposure {
    let n = |salt| noise(i, salt);
    let pause = if i > 500 { 2700.0 } else { 0.0 };
    let mut exposure = Exposure {
        name: format!("sq{:02}_hole{:03}_Nov29_{i:04}", i / 60, i % 60),
        recorded_unix_s: Some(START + 16.0 * f64::from(i) + 6.0 * n(1) + pause),
        movie_bytes: 420_000_000 + (2e7 * n(2)) as u64,
        ..Exposure::default()
    };
    if i < 870 {
        let early = 4.0 + 8.0 * n(3) * n(4);
        exposure.motion_early_a = Some(early);
        exposure.motion_total_a = Some(early + 6.0 + 25.0 * n(5).powi(3));
    }
    if i < 850 {
        exposure.defocus_a = Some(8000.0 + 3000.0 * f64::from(i % 5) + 1500.0 * n(6));
        exposure.astigmatism_a = Some(60.0 + 250.0 * n(7).powi(2));
        exposure.fit_resolution_a =
            Some(3.0 + 1.2 * n(8).powi(3) + if n(9) > 0.95 { 4.0 * n(10) } else { 0.0 });
    }
    if exposure.fit_resolution_a.is_some_and(|fit| fit > 5.0) {
        let reason =
            format!("its fit resolution is {:.2} Å, the most is 5 Å", exposure.fit_resolution_a.unwrap());
        exposure.rejected = Some(Rejected { by: "J4 curate-exposures".into(), reason });
    } else if i < 840 {
        exposure.picks = Some((140.0 + 120.0 * n(11)) as u64);
        exposure.particles = exposure.picks.map(|picks| picks - picks / 12);
    }
    exposure
}

fn picture(index: u32, marks: bool) -> Figure {
    let (width, height) = (384usize, 272usize);
    let value = |i: usize| noise(i as u32, index) as f32 + 0.3 * ((i % width) as f32 / 40.0).sin();
    let values: Vec<f32> = (0..width * height).map(value).collect();
    let circle =
        |k: u32| Mark::Circle { x: 384.0 * noise(k, index + 1), y: 272.0 * noise(k, index + 2), radius: 9.0 };
    Figure::Image {
        id: "picture".into(),
        title: "made up".into(),
        raster: Raster::from_quantiles(&values, width, 0.01, 0.99),
        marks: if marks { (0..60).map(circle).collect() } else { Vec::new() },
        pixel_size_a: marks.then_some(12.4),
    }
}

fn job(number: u32, job_type: &str, state: &str, done: u64, delay_s: f64) -> Job {
    let finished =
        (0..done as u32).map(|i| (exposure(i).recorded_unix_s.unwrap() + delay_s + 20.0 * noise(i, 12), 1));
    Job {
        job: format!("J{number}"),
        job_type: job_type.into(),
        state: state.into(),
        note: if state == "running" {
            "movies 12/30, 4.1 s each, 1 min 13 s left".into()
        } else {
            String::new()
        },
        attempt: 31,
        done,
        bytes: (done * 190_000_000 / u64::from(number), done > 500),
        page: format!("../J{number:04}-{job_type}/report.html"),
        finished: finished.collect(),
        ..Job::default()
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("give a file to write");
    let exposures: Vec<Exposure> = (0..MOVIES).map(exposure).collect();
    let shown =
        |k: u32| Shown { index: 839 - k as usize, pictures: vec![picture(k, true), picture(k + 50, false)] };
    let collection = Collection {
        project: "T20S".into(),
        import: "J1".into(),
        source: "/krios/2026-11-29_T20S/*_fractions.tiff".into(),
        is_watched: true,
        now_unix_s: START + 16.0 * 900.0 + 2700.0 + 40.0,
        zone: "UTC".into(),
        jobs: vec![
            job(1, "import-movies", "done", u64::from(MOVIES), 60.0),
            job(2, "correct-motion", "running", 870, 300.0),
            job(3, "estimate-ctf", "done", 850, 420.0),
            job(4, "curate-exposures", "done", 840, 480.0),
            job(5, "pick-blobs", "done", 840, 500.0),
            job(6, "extract-particles", "waiting", 800, 700.0),
        ],
        exposures,
        waiting: 3,
        still_written: 1,
        left_out: vec![Skipped {
            item: "/krios/a.tiff".into(),
            reason: "/krios/a.tiff: it is cut off".into(),
        }],
        free_bytes: Some(14_200_000_000_000),
        newest: (0..8).map(shown).collect(),
        ..Collection::default()
    };
    std::fs::write(path, render_html(&collection).unwrap()).unwrap();
}
