//! What the report shows of a simulation.

use super::exposure::Exposed;
use super::movies::MovieRecord;
use super::run::Microscope;
use super::specimen::Specimen;
use crate::map_figures;
use ndarray::{Array2, ArrayView3};
use serde_json::json;
use vitreous_compute::fourier::resample_image;
use vitreous_jobs::simulate::Simulate;
use vitreous_model::particle::ParticleSet;
use vitreous_model::report::{Axis, Figure, Mark, Raster, Report, Series, SeriesStyle};

/// Width of the example picture, pixels.
const PICTURE_PX: usize = 512;
/// Frames summed for it.
const PICTURE_FRAMES: usize = 6;
/// Tracks drawn at most.
const TRACKS: usize = 20;
/// Bars of the defocus histogram.
const BARS: usize = 16;

/// The report on movies.
pub(super) fn movies(
    params: &Simulate,
    microscope: &Microscope,
    movies: &[(String, MovieRecord)],
    example: &Exposed<'_>,
    radial_error: f64,
) -> Report {
    let particles: usize = movies.iter().map(|(_, m)| m.scene.positions_px.len()).sum();
    let mut report = Report::new(format!("{} simulated movies", movies.len()));
    report.number("movies", "Movies", movies.len() as f64, "");
    report.number("particles", "Particles", particles as f64, "");
    report.number("pixel_size_A", "Pixel size", microscope.pixel_a, "Å");
    report.number("total_dose_e_A2", "Dose", params.dose_per_frame * f64::from(params.frames), "e/Å²");
    let mean = movies.iter().map(|(_, m)| m.mean_counts).sum::<f64>() / movies.len().max(1) as f64;
    report.number("mean_counts", "Mean counts of a pixel and frame", mean, "e");
    report.number("radial_error", "Scattering left out by the shared radial functions", radial_error, "");
    let wanted = u64::from(params.movies) * u64::from(params.particles_per_movie);
    if (particles as u64) < wanted {
        report.notes.push(format!("{particles} of {wanted} particles fitted without overlap"));
    }
    let clipped: u64 = movies.iter().map(|(_, m)| m.clipped).sum();
    if clipped > 0 {
        report.notes.push(format!("{clipped} counts were too large for the file's samples and cut off"));
    }
    report.figures.push(picture(params, microscope, &movies[0], example));
    report.figures.push(tracks(microscope, movies));
    let defoci: Vec<f64> =
        movies.iter().map(|(_, m)| 0.5 * (m.scene.ctf.defocus_u_a + m.scene.ctf.defocus_v_a)).collect();
    report.figures.push(histogram(&defoci));
    let rotations = movies.iter().flat_map(|(_, m)| m.scene.rotations.iter().copied());
    report.figures.push(map_figures::directions("directions", "Viewing directions", rotations));
    let row = |(name, m): &(String, MovieRecord)| {
        json!({
            "name": name,
            "defocus_u_A": m.scene.ctf.defocus_u_a,
            "defocus_v_A": m.scene.ctf.defocus_v_a,
            "astigmatism_angle_deg": m.scene.ctf.astigmatism_angle.0,
            "particles": m.scene.positions_px.len(),
        })
    };
    report.data.insert("exposures".into(), movies.iter().map(row).collect());
    report
}

/// The first movie's first frames, summed, with particles marked.
fn picture(
    params: &Simulate,
    microscope: &Microscope,
    (name, record): &(String, MovieRecord),
    example: &Exposed<'_>,
) -> Figure {
    let (width, height) = (params.width as usize, params.height as usize);
    // a few frames suffice for a picture
    let frames = record.scene.motion.frames().min(PICTURE_FRAMES);
    let mut sum = Array2::<f32>::zeros((height, width));
    (0..frames).for_each(|frame| sum += &example.frame(frame));
    let factor = (PICTURE_PX as f64 / width.max(height) as f64).min(1.0);
    let [small_x, small_y] = [width, height].map(|n| ((n as f64 * factor).round() as usize).max(1));
    let small = resample_image(sum.view(), small_y, small_x);
    let small = small.as_standard_layout();
    let values = small.as_slice().expect("standard layout should be contiguous");
    let radius = 0.5 * f64::from(params.box_size) * microscope.truth_pixel_a / microscope.pixel_a * factor;
    let circle = |p: &[f64; 2]| Mark::Circle { x: p[0] * factor, y: p[1] * factor, radius };
    Figure::Image {
        id: "movie".into(),
        title: format!(
            "{name}: sum of the first {frames} frames, not aligned, with particles where they lay first"
        ),
        raster: Raster::from_quantiles(values, small_x, 0.005, 0.995),
        marks: record.scene.positions_px.iter().map(circle).collect(),
        pixel_size_a: Some(microscope.pixel_a / factor),
    }
}

fn tracks(microscope: &Microscope, movies: &[(String, MovieRecord)]) -> Figure {
    let series = movies.iter().take(TRACKS).map(|(name, record)| {
        let track = (0..record.scene.motion.frames())
            .map(|f| record.scene.motion.drift(f).map(|d| d * microscope.pixel_a));
        let (x, y): (Vec<f64>, Vec<f64>) = track.map(|[x, y]| (x, y)).unzip();
        Series::line(name, x, y)
    });
    Figure::Plot {
        id: "tracks".into(),
        title: "Drift of the whole frame".into(),
        x: Axis::new("x", "Å"),
        y: Axis::new("y", "Å"),
        series: series.collect(),
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: true,
    }
}

fn histogram(defoci_a: &[f64]) -> Figure {
    let low = defoci_a.iter().copied().fold(f64::INFINITY, f64::min);
    let high = defoci_a.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = ((high - low) / BARS as f64).max(1.0);
    let mut counts = vec![0.0; BARS];
    for defocus in defoci_a {
        counts[(((defocus - low) / width) as usize).min(BARS - 1)] += 1.0;
    }
    let centres = (0..BARS).map(|i| (low + (i as f64 + 0.5) * width) * 1e-4).collect();
    Figure::Plot {
        id: "defocus".into(),
        title: "Mean defocus".into(),
        x: Axis::new("defocus", "µm"),
        y: Axis::new("count", ""),
        series: vec![Series { style: SeriesStyle::Bars, ..Series::line("defocus", centres, counts) }],
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}

/// The report on particle images.
pub(super) fn particles(
    params: &Simulate,
    truth: &ParticleSet,
    noisy: Vec<Array2<f32>>,
    clean: Vec<Array2<f32>>,
    radial_error: f64,
) -> Report {
    let mut report = Report::new(format!("{} simulated particle images", truth.particles.len()));
    report.number("particles", "Particles", truth.particles.len() as f64, "");
    report.number("pixel_size_A", "Pixel size", truth.pixel_size_a, "Å");
    report.number("box_px", "Box", f64::from(truth.box_px), "px");
    report.number("snr", "Signal-to-noise ratio", params.snr, "");
    report.number("radial_error", "Scattering left out by the shared radial functions", radial_error, "");
    let columns = super::particles::SHOWN / 2;
    report.figures.push(map_figures::montage("images", "Images", &noisy, columns, truth.pixel_size_a));
    report.figures.push(map_figures::montage(
        "signal",
        "The same without noise",
        &clean,
        columns,
        truth.pixel_size_a,
    ));
    let defoci: Vec<f64> =
        truth.particles.iter().filter_map(|p| p.ctf).map(|c| 0.5 * (c.defocus_u_a + c.defocus_v_a)).collect();
    report.figures.push(histogram(&defoci));
    let rotations = truth.particles.iter().filter_map(|p| p.pose).map(|pose| pose.rotation);
    report.figures.push(map_figures::directions("directions", "Viewing directions", rotations));
    report
}

/// Adds what is the same for both.
pub(super) fn add_specimen(report: &mut Report, specimen: &Specimen, map: ArrayView3<'_, f32>, voxel_a: f64) {
    report.number("atoms", "Atoms", specimen.positions_a.len() as f64, "");
    report.number("diameter_A", "Diameter of the molecule", 2.0 * specimen.radius_a, "Å");
    report.notes.extend(specimen.notes.iter().cloned());
    report.figures.push(map_figures::slices("truth_slices", "The true map: central slices", map, voxel_a));
    report.figures.push(map_figures::projections(
        "truth_projections",
        "The true map: projections",
        map,
        voxel_a,
    ));
}
