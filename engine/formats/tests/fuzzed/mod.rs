//! What the fuzz targets do with any bytes: an error or values, never a panic. The targets in `fuzz/` and the test that
//! replays their corpus (`tests/corpus.rs`) both run this.

#![allow(dead_code, clippy::disallowed_methods)] // each target uses a part; temporary files

use std::path::Path;
use vitreous_formats::cryosparc::convert::{
    ImportOptions, VolumeSlot, exposures_of, particles_of, volume_of,
};
use vitreous_formats::cryosparc::{self, Dataset};
use vitreous_formats::defects::read_defects;
use vitreous_formats::frealign;
use vitreous_formats::gain::{read_eer_gain, read_gain};
use vitreous_formats::star::StarFile;
use vitreous_formats::star::convert::{
    Fallback, read_coordinate_files, read_coordinates, read_micrographs, read_movie_record, read_movies,
    read_particles,
};
use vitreous_formats::{EerOptions, MovieOptions, open_movie};
use vitreous_formats::{atomic_model, box_file, cbox, epu_xml, fsc_xml, mdoc};
use vitreous_model::acquisition::Acquisition;
use vitreous_model::exposure::GainFlip;

/// Larger frames are only opened: a fuzzer has better to do than to fill memory.
const MAX_PIXELS: usize = 1 << 24;

fn with_file(bytes: &[u8], suffix: &str, use_file: impl FnOnce(&Path)) {
    let file = tempfile::Builder::new().suffix(suffix).tempfile().expect("a temporary file should be had");
    std::fs::write(file.path(), bytes).expect("a temporary file should be writable");
    use_file(file.path());
}

fn read_all(path: &Path, options: &MovieOptions) {
    let source = match open_movie(path, options) {
        Ok(source) => source,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let header = source.header();
    if header.frame_len() > MAX_PIXELS {
        return;
    }
    let (mut out, mut bytes) = (vec![0.0; header.frame_len()], vec![0; header.frame_len()]);
    // frames of a few million pixels leave time for few inputs
    let most = if header.frame_len() > 1 << 20 { 2 } else { 4 };
    for frame in 0..header.frames.min(most) {
        let alone = source.read_frame_at(frame, &mut out).map_err(|error| error.to_string());
        match source.read_bytes_at(frame, &mut bytes) {
            Ok(true) => assert!(out.iter().zip(&bytes).all(|(a, b)| *a == f32::from(*b)), "frame {frame}"),
            Ok(false) => {}
            Err(error) => assert_eq!(alone, Err(error.to_string())),
        }
        let pooled = source.read_frame_in_pool(frame, &mut out);
        assert_eq!(alone.is_ok(), pooled.is_ok(), "frame {frame}");
    }
}

/// As an image of any format that its first bytes and `suffix` say.
pub fn image(bytes: &[u8], suffix: &str) {
    with_file(bytes, suffix, |path| read_all(path, &MovieOptions::default()));
}

/// As an EER movie.
pub fn eer(bytes: &[u8]) {
    // the length chooses, so that most runs do not sum frames of four times the pixels
    let eer = match bytes.len() % 4 {
        0 => EerOptions { upsampling: 2, frames_per_fraction: 2 },
        n => EerOptions { upsampling: 1, frames_per_fraction: n },
    };
    with_file(bytes, ".eer", |path| read_all(path, &MovieOptions { eer }));
}

/// As a defect map: text, then an image.
pub fn defects(bytes: &[u8]) {
    for suffix in [".txt", ".mrc"] {
        with_file(bytes, suffix, |path| {
            if let Ok(defects) = read_defects(path, 24, 16) {
                assert!(defects.indices.is_sorted() && defects.indices.iter().all(|&i| i < 24 * 16));
            }
        });
    }
}

/// As a gain reference.
pub fn gain(bytes: &[u8]) {
    for suffix in [".mrc", ".gain"] {
        with_file(bytes, suffix, |path| {
            let gains = [
                read_gain(path, 1, GainFlip::Y, 16, 24),
                read_eer_gain(path, 0, GainFlip::X, 24, 16),
                read_eer_gain(path, 0, GainFlip::None, 48, 32),
            ];
            for gain in gains.into_iter().flatten() {
                assert!(gain.factor.iter().all(|v| v.is_finite() && *v >= 0.0));
            }
        });
    }
}

/// As a STAR file.
pub fn star(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(star) = StarFile::parse(Path::new("fuzz.star"), text.to_string()) else { return };
    for table in star.blocks().iter().filter_map(|block| star.table(block.name())) {
        let mut rows = table.rows();
        let mut count = 0;
        while let Some(row) = rows.next() {
            assert_eq!(row.cells.len(), table.columns().len());
            count += 1;
        }
        assert_eq!(count, table.len());
    }
    with_file(bytes, ".star", |path| {
        let same = |path: &str| path.to_string();
        let _ = read_particles(path, &same, &Fallback::default());
        let _ = read_micrographs(path, &same);
        let _ = read_movies(path, &same, &Fallback::default());
        let _ = read_coordinates(path, Some("m1"));
        let _ = read_coordinate_files(path);
        let _ = read_movie_record(path);
    });
}

/// As a PDB, mmCIF or compact model.
pub fn model(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(model) = atomic_model::parse(Path::new("fuzz.pdb"), text) else { return };
    assert!(model.atoms.iter().all(|atom| atom.position_a.iter().all(|p| p.is_finite())));
    for assembly in &model.assemblies {
        let copies: usize = assembly.parts.iter().map(|part| part.motions.len()).sum();
        if copies * model.atoms.len() < 1 << 20 {
            let _ = model.build_assembly(&assembly.id);
        }
    }
}

/// As an MDOC file of SerialEM.
pub fn mdoc(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(mdoc) = mdoc::Mdoc::parse(Path::new("fuzz.mdoc"), text) else { return };
    if let Ok(found) = mdoc::acquisition(&mdoc) {
        sensible(&found);
    }
}

/// As EPU's XML of an exposure.
pub fn epu_xml(bytes: &[u8]) {
    with_file(bytes, ".xml", |path| {
        if let Ok(found) = epu_xml::acquisition(path) {
            sensible(&found);
        }
    });
}

/// As an FSC curve of the EMDB: what is read is written and read as the same.
pub fn fsc_xml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(curve) = fsc_xml::FscCurve::read(text) {
        assert!(!curve.points.is_empty() && curve.points.iter().all(|(x, y)| x.is_finite() && y.is_finite()));
        let mut out = Vec::new();
        curve.write(&mut out).expect("a vector should take what is written");
    }
}

/// What is stated is finite, and positive where it must be.
fn sensible(found: &Acquisition) {
    let positive = [
        found.voltage_kv,
        found.pixel_size_a,
        found.total_dose,
        found.dose_per_frame,
        found.pre_exposure,
        found.magnification,
    ];
    assert!(positive.into_iter().flatten().all(|value| value.is_finite() && value > 0.0), "{found:?}");
    assert!(found.beam_shift.is_none_or(|shift| shift.xy.iter().all(|value| value.is_finite())));
}

/// As boxes of EMAN and of crYOLO.
pub fn boxes(bytes: &[u8]) {
    with_file(bytes, ".cbox", |path| {
        let boxes = [box_file::read_boxes(path).ok(), cbox::read_cbox(path).ok()];
        for found in boxes.into_iter().flatten().flatten() {
            assert!(found.centre_px.iter().all(|value| value.is_finite()), "{found:?}");
        }
    });
}

/// As a dataset of CryoSPARC.
pub fn cryosparc(bytes: &[u8]) {
    if let Ok(dataset) = Dataset::parse(Path::new("fuzz.cs"), bytes.to_vec()) {
        let _ = dataset.texts("location/micrograph_path", "fuzzing");
        let _ = dataset.numbers("location/micrograph_shape", 1, "fuzzing");
        let options = ImportOptions {
            resolve: &|path| path.path.to_string(),
            fallback: Fallback::default(),
            mirrored: Some(bytes.len().is_multiple_of(2)),
        };
        if let Ok(imported) = particles_of(&dataset, &options) {
            assert_eq!(imported.value.particles.len(), dataset.len());
        }
        if let Ok(imported) = exposures_of(&dataset, &options) {
            assert_eq!(imported.value.exposures.len(), dataset.len());
        }
        for slot in VolumeSlot::ALL {
            let _ = volume_of(&dataset, *slot);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = cryosparc::group_files_of(Path::new("fuzz.csg"), text, cryosparc::PARTICLE);
    }
    with_file(bytes, ".cs", |path| {
        for pick in cryosparc::read_picks(path).into_iter().flatten() {
            assert!(!pick.micrograph.starts_with('>'));
        }
    });
}

/// As parameters of Frealign or cisTEM.
pub fn parameters(bytes: &[u8]) {
    let path = Path::new("fuzz.par");
    let Ok(parameters) = frealign::parse(path, String::from_utf8_lossy(bytes).into_owned()) else { return };
    let fallback = Fallback {
        pixel_size_a: Some(1.0),
        voltage_kv: Some(300.0),
        cs_mm: Some(2.7),
        amplitude_contrast: Some(0.1),
    };
    for stack in [None, Some("s.mrc")] {
        let options = frealign::ImportOptions { stack, resolve: &|path| path.to_string(), fallback };
        if let Ok(imported) = frealign::particles_of(path, &parameters, &options) {
            let particles = imported.value.particles;
            assert!(
                particles
                    .iter()
                    .all(|p| p.pose.is_some_and(|pose| pose.shift_a.iter().all(|t| t.is_finite())))
            );
        }
    }
}

/// The targets: names of the folders of the corpus, and what is done with a file of it.
pub const TARGETS: [(&str, fn(&[u8])); 14] = [
    ("mrc", |bytes| image(bytes, ".mrc")),
    ("tiff", |bytes| image(bytes, ".tif")),
    ("bz2", |bytes| image(bytes, ".mrc.bz2")),
    ("eer", eer),
    ("defects", defects),
    ("gain", gain),
    ("star", star),
    ("atomic_model", model),
    ("mdoc", mdoc),
    ("epu_xml", epu_xml),
    ("fsc_xml", fsc_xml),
    ("boxes", boxes),
    ("cryosparc", cryosparc),
    ("frealign", parameters),
];
