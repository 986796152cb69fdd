#![allow(clippy::disallowed_methods)] // temporary files of tests, and where their data are

use super::*;
use crate::star::StarFile;
use crate::star::writer::{BlockOut, write};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::*;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::*;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const OPTICS: &str = "data_optics\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographOriginalPixelSize\n\
    _rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n\
    og1 1 0.5 300 2.7 0.07 1.5 128\n";

fn with_file<T>(text: &str, read: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.star");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

fn same(path: &str) -> String {
    path.to_string()
}

fn particles(text: &str) -> Result<Imported<ParticleSet>, StarError> {
    with_file(text, |path| read_particles(path, &same, &Fallback::default()))
}

/// One particle with the given labels and cells beside the image.
fn one(labels: &[(&str, &str)]) -> Particle {
    let names: String = labels.iter().map(|(label, _)| format!("_{label}\n")).collect();
    let cells: Vec<&str> = labels.iter().map(|(_, cell)| *cell).collect();
    let text = format!(
        "{OPTICS}data_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n{names}7@a/s.mrcs 1 {}\n",
        cells.join(" ")
    );
    particles(&text).unwrap().value.particles.remove(0)
}

#[test]
fn each_particle_column_lands_in_its_field() {
    let p = one(&[]);
    assert_eq!((p.stack_path.as_str(), p.stack_index, p.optics_group), ("a/s.mrcs", 6, 1));
    assert!(p.pick.is_none() && p.ctf.is_none() && p.pose.is_none() && p.half.is_none());
    let pick = one(&[
        ("rlnMicrographName", "MotionCorr/job002/m_1.v2.mrc"),
        ("rlnCoordinateX", "10.5"),
        ("rlnCoordinateY", "20"),
        ("rlnAutopickFigureOfMerit", "0.25"),
    ])
    .pick
    .unwrap();
    assert_eq!(pick, Pick { exposure: "m_1.v2".into(), x_px: 10.5, y_px: 20.0, score: 0.25 });
    let ctf = [
        ("rlnDefocusU", "21000"),
        ("rlnDefocusV", "18000"),
        ("rlnDefocusAngle", "35"),
        ("rlnPhaseShift", "90"),
    ];
    let expected = CtfParams {
        defocus_u_a: 21000.0,
        defocus_v_a: 18000.0,
        astigmatism_angle: Degrees(35.0),
        phase_shift: Degrees(90.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.07,
        even: Default::default(),
    };
    assert_eq!(one(&ctf).ctf.unwrap(), expected);
    let angles = [("rlnAngleRot", "30"), ("rlnAngleTilt", "50"), ("rlnAnglePsi", "70")];
    let golden = Rotation::from_euler_zyz_deg(30.0, 50.0, 70.0);
    let pose = one(&angles).pose.unwrap();
    assert!(pose.rotation.angle_to_rad(golden) < 1e-9 && pose.shift_a == [0.0, 0.0]);
    let shifted = [&angles[..], &[("rlnOriginXAngst", "3"), ("rlnOriginYAngst", "-4.5")]].concat();
    assert_eq!(one(&shifted).pose.unwrap().shift_a, [-3.0, 4.5]);
    let pixels = [&angles[..], &[("rlnOriginX", "2"), ("rlnOriginY", "-4")]].concat();
    assert_eq!(one(&pixels).pose.unwrap().shift_a, [-3.0, 6.0]);
    for (cell, half) in [("1", Some(HalfSet::One)), ("2", Some(HalfSet::Two)), ("0", None)] {
        assert_eq!(one(&[("rlnRandomSubset", cell)]).half, half);
    }
    for (cell, class) in [("12", Some(12)), ("0", None), ("-1", None)] {
        assert_eq!(one(&[("rlnClassNumber", cell)]).class.map(|class| class.number), class);
    }
    assert_eq!(one(&[("rlnLogLikeliContribution", "-12.5")]).log_likelihood, -12.5);
}

#[test]
fn optics_columns_and_unknown_columns_are_reported() {
    let text = format!(
        "{OPTICS}data_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n_rlnBeamTiltX\n_rlnGroupNumber\n1@s.mrcs 1 0.1 1\n"
    );
    let read = particles(&text).unwrap();
    assert_eq!(read.ignored, ["data_particles/_rlnBeamTiltX"]);
    let set = read.value;
    assert_eq!((set.pixel_size_a, set.box_px), (1.5, 128));
    let group = &set.optics[0];
    assert_eq!((group.name.as_str(), group.number, group.movie_pixel_size_a), ("og1", 1, 0.5));
    assert_eq!((group.voltage, group.cs, group.amplitude_contrast), (Kilovolt(300.0), Millimetre(2.7), 0.07));
}

#[test]
fn old_files_give_optics_by_row() {
    let text = "data_\nloop_\n_rlnImageName\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n\
        _rlnDetectorPixelSize\n_rlnMagnification\n_rlnOriginX\n_rlnOriginY\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n\
        1@s.mrcs 300 2.7 0.1 7 50000 2 1 0 0 0\n2@s.mrcs 200 2.7 0.1 7 50000 0 0 0 0 0\n3@s.mrcs 300 2.7 0.1 7 50000 0 0 0 0 0\n";
    let read = particles(text).unwrap();
    let set = read.value;
    assert!((set.pixel_size_a - 1.4).abs() < 1e-12);
    assert_eq!(set.optics.iter().map(|g| g.voltage.0).collect::<Vec<_>>(), [300.0, 200.0]);
    assert_eq!(set.particles.iter().map(|p| p.optics_group).collect::<Vec<_>>(), [1, 2, 1]);
    let shift = set.particles[0].pose.unwrap().shift_a;
    assert!((shift[0] + 2.8).abs() < 1e-12 && (shift[1] + 1.4).abs() < 1e-12);
    assert!(read.notes[0].contains("RELION 3.0 or older"));
}

#[test]
fn optics_that_a_file_lacks_can_be_given() {
    let text =
        "data_\nloop_\n_rlnImageName\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n1@s.mrcs 9000 8000 10\n";
    let given = Fallback {
        pixel_size_a: Some(1.25),
        voltage_kv: Some(200.0),
        cs_mm: Some(2.0),
        amplitude_contrast: Some(0.08),
    };
    let read = with_file(text, |path| read_particles(path, &same, &given)).unwrap().value;
    let ctf = read.particles[0].ctf.unwrap();
    assert_eq!(
        (read.pixel_size_a, ctf.voltage.0, ctf.cs.0, ctf.amplitude_contrast),
        (1.25, 200.0, 2.0, 0.08)
    );
    // what the file says wins
    let read = with_file(
        &format!("{OPTICS}data_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n1@s.mrcs 1\n"),
        |path| read_particles(path, &same, &given),
    );
    let read = read.unwrap().value;
    assert_eq!((read.pixel_size_a, read.optics[0].voltage.0), (1.5, 300.0));
}

#[test]
fn missing_and_bad_things_are_named() {
    let particle =
        |rows: &str| format!("{OPTICS}data_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n{rows}");
    for (text, message) in [
        (OPTICS.to_string(), "block data_particles is missing (there: data_optics)"),
        (
            format!("{OPTICS}data_particles\nloop_\n_rlnOpticsGroup\n1\n"),
            "column _rlnImageName is missing in block data_particles; it is needed for finding the particle images",
        ),
        (particle("0@s.mrcs 1\n"), "line 16: column _rlnImageName holds `0@s.mrcs`, expected `NUMBER@STACK`"),
        (
            particle("1@s.mrcs 2\n"),
            "line 16: column _rlnOpticsGroup holds `2`, expected the number of a group",
        ),
        (
            OPTICS.replace("300", "-300") + &particle("1@s 1\n"),
            "column _rlnVoltage holds `-300`, expected a number above 0",
        ),
        (
            OPTICS.replace("0.07", "7") + &particle("1@s 1\n"),
            "column _rlnAmplitudeContrast holds `7`, expected a fraction",
        ),
        (
            "data_\nloop_\n_rlnImageName\n1@s\n".into(),
            "column _rlnVoltage is missing in block data_; it is needed for the CTF",
        ),
        (
            format!(
                "{OPTICS}og2 2 0.5 300 2.7 0.07 1.7 128\ndata_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n1@s 1\n"
            ),
            "optics groups 1 and 2 differ: 1.5 Å and 128 px, 1.7 Å and 128 px",
        ),
    ] {
        let error = particles(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

fn blocks_as_text(blocks: &[BlockOut]) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, Path::new("out.star"), blocks).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn optics() -> OpticsGroup {
    OpticsGroup {
        number: 1,
        name: "og 1".into(),
        voltage: Kilovolt(200.0),
        cs: Millimetre(1.4),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 0.75,
        aberrations: Default::default(),
    }
}

fn ctf(u: f64, v: f64, angle: f64, phase: f64) -> CtfParams {
    CtfParams {
        defocus_u_a: u,
        defocus_v_a: v,
        astigmatism_angle: Degrees(angle),
        phase_shift: Degrees(phase),
        voltage: Kilovolt(200.0),
        cs: Millimetre(1.4),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

fn set_of(particles: Vec<Particle>) -> ParticleSet {
    ParticleSet { optics: vec![optics()], box_px: 64, pixel_size_a: 1.5, particles }
}

proptest! {
    #[test]
    fn particles_round_trip(
        rows in prop::collection::vec(
            (0u32..999, prop::array::uniform3(-170.0..170.0f64), prop::array::uniform2(-9.0..9.0f64), 5e3..3e4f64, any::<bool>()),
            1..20,
        ),
        phase in prop::sample::select(vec![0.0, 90.0]),
    ) {
        let particle = |(id, (index, angles, shift_a, u, first)): (usize, (u32, [f64; 3], [f64; 2], f64, bool))| Particle {
            id: id as u64,
            stack_path: "J5/stacks/m 1.mrcs".into(),
            stack_index: index,
            optics_group: 1,
            pick: Some(Pick { exposure: "m1".into(), x_px: u / 10.0, y_px: u / 20.0, score: 0.5 }),
            ctf: Some(ctf(u, u - 100.0, angles[0], phase)),
            pose: Some(Pose { rotation: Rotation::from_euler_zyz_deg(angles[0], angles[1].abs(), angles[2]), shift_a }),
            half: Some(if first { HalfSet::One } else { HalfSet::Two }),
            class: first.then_some(ClassAssignment { number: 3, probability: f64::NAN }),
            log_likelihood: -u,
        };
        let set = set_of(rows.into_iter().enumerate().map(particle).collect());
        let text = blocks_as_text(&particle_blocks(Path::new("out.star"), &set, None, &same).unwrap());
        let read = particles(&text).unwrap();
        prop_assert!(read.ignored.is_empty(), "{:?}", read.ignored);
        let back = read.value;
        prop_assert_eq!((&back.optics, back.box_px, back.pixel_size_a), (&set.optics, 64, 1.5));
        for (a, b) in back.particles.iter().zip(&set.particles) {
            prop_assert_eq!((a.id, &a.stack_path, a.stack_index, a.half), (b.id, &b.stack_path, b.stack_index, b.half));
            prop_assert_eq!(a.class.map(|class| class.number), b.class.map(|class| class.number));
            let (p, q) = (a.pose.unwrap(), b.pose.unwrap());
            // six decimals of a degree, of an Å
            prop_assert!(p.rotation.angle_to_rad(q.rotation) < 1e-7);
            prop_assert!((p.shift_a[0] - q.shift_a[0]).abs() < 1e-6 && (p.shift_a[1] - q.shift_a[1]).abs() < 1e-6);
            prop_assert!((a.ctf.unwrap().defocus_u_a - b.ctf.unwrap().defocus_u_a).abs() < 1e-6);
            prop_assert_eq!(a.ctf.unwrap().phase_shift.0, phase);
            prop_assert!((a.pick.as_ref().unwrap().x_px - b.pick.as_ref().unwrap().x_px).abs() < 1e-6);
        }
    }
}

#[test]
fn what_only_some_particles_have_is_refused() {
    let mut with = one(&[]);
    with.ctf = Some(ctf(1e4, 1e4, 0.0, 0.0));
    let set = set_of(vec![with, one(&[])]);
    let error = particle_blocks(Path::new("o.star"), &set, None, &same).unwrap_err().to_string();
    assert!(error.contains("only 1 of 2 particles have a CTF"), "{error}");
}

fn exposure(name: &str) -> Exposure {
    Exposure {
        name: name.into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: format!("J2/{name}.mrc"),
            width: 0,
            height: 0,
            pixel_size_a: 1.5,
            unweighted_path: String::new(),
            motion_star_path: format!("J2/{name}.star"),
        }),
        motion: Some(MotionSummary { total_a: 7.0, early_a: 4.0, late_a: 3.0 }),
        ctf: Some(CtfFit::new(ctf(1.2e4, 1.1e4, -40.0, 0.0), 4.5, 0.25)),
    }
}

#[test]
fn micrographs_round_trip() {
    let set = ExposureSet { optics: vec![optics()], exposures: vec![exposure("m1"), exposure("m2")] };
    let blocks = micrograph_blocks(Path::new("o.star"), &set, &|p| format!("../{p}")).unwrap();
    let text = blocks_as_text(&blocks);
    assert!(text.contains("_rlnMicrographMetadata #3\n_rlnAccumMotionTotal #4\n"), "{text}");
    let read = with_file(&text, |path| read_micrographs(path, &|p| p.trim_start_matches("../").to_string()))
        .unwrap();
    assert_eq!((read.value, read.ignored), (set.clone(), Vec::new()));
    let mut mixed = set;
    mixed.exposures[1].micrograph.as_mut().unwrap().pixel_size_a = 2.0;
    let error = micrograph_blocks(Path::new("o.star"), &mixed, &same).unwrap_err().to_string();
    assert!(error.contains("optics group 1 has micrographs of 1.5 and 2 Å"), "{error}");
}

#[test]
fn coordinates_round_trip() {
    let picks = [
        Pick { exposure: "m1".into(), x_px: 10.25, y_px: 7.0, score: 0.5 },
        Pick { exposure: "m1".into(), x_px: 0.0, y_px: 900.5, score: f64::NAN },
    ];
    let text = blocks_as_text(&coordinate_blocks(picks.iter()));
    let read = with_file(&text, |path| read_coordinates(path, Some("m1"))).unwrap().value;
    assert_eq!(read[0], picks[0]);
    assert_eq!((read[1].y_px, read[1].score), (900.5, 0.0));
    let error = with_file(&text, |path| read_coordinates(path, None)).unwrap_err().to_string();
    assert!(error.contains("column _rlnMicrographName is missing"), "{error}");
}

#[test]
fn how_a_movie_was_recorded_is_read_from_its_motion() {
    let motion = MovieMotion {
        gain_path: "gain.mrc".into(),
        dose_per_frame: 1.25,
        pre_exposure: 0.5,
        global_a: vec![[0.0, 0.0], [3.0, 0.0], [3.0, 4.5]],
        ..movie()
    };
    let text = blocks_as_text(&motion_blocks(&motion));
    let record = with_file(&text, read_movie_record).unwrap();
    assert_eq!((record.movie_path.as_str(), record.gain_path.as_str()), ("movies/m1.tif", "gain.mrc"));
    assert_eq!((record.dose_per_frame, record.pre_exposure, record.pixel_size_a), (1.25, 0.5, 1.5));
    // 3 Å and 4.5 Å of 1.5 Å
    assert!((record.path_px() - 5.0).abs() < 1e-6, "{record:?}");
    assert_eq!(record.eer, None);
    let error = with_file("data_\n_a b\n", read_movie_record).unwrap_err().to_string();
    assert!(error.contains("block data_general is missing"), "{error}");
}

fn movie() -> MovieMotion {
    MovieMotion {
        movie_path: "movies/m1.tif".into(),
        frame_px: [512, 400],
        pixel_size_a: 1.5,
        binning: 1.0,
        dose_per_frame: 1.2,
        voltage_kv: 300.0,
        // content moves by +1 px along x, +0.5 px along y each frame
        global_a: (0..8).map(|f| [1.5 * f64::from(f), 0.75 * f64::from(f)]).collect(),
        ..MovieMotion::default()
    }
}

#[test]
fn frames_are_shifted_back_in_pixels() {
    let text = blocks_as_text(&motion_blocks(&movie()));
    let file = StarFile::parse(Path::new("m.star"), text).unwrap();
    let general = file.block("general").unwrap();
    assert_eq!(
        (general.pair("rlnImageSizeZ"), general.pair("rlnMotionModelVersion")),
        (Some("8"), Some("0"))
    );
    let mut rows = file.table("global_shift").unwrap().rows();
    rows.next();
    let second = rows.next().unwrap();
    assert_eq!([0, 1, 2].map(|i| second.f64(i).unwrap()), [2.0, -1.0, -0.5]);
    assert!(file.table("local_motion_model").is_none());
}

#[test]
fn relions_polynomial_is_fitted_to_patches() {
    let mut motion = movie();
    let shift = |centre: [f64; 2], frame: usize| {
        let (x, y, t) = (centre[0] / 512.0 - 0.5, centre[1] / 400.0 - 0.5, frame as f64 + 0.5);
        [(0.1 + 0.3 * x - 0.2 * x * y) * t - 0.004 * y * y * t * t, 0.02 * t * t * t * x]
    };
    for x in [80.0, 250.0, 430.0] {
        for y in [70.0, 200.0, 330.0] {
            let displacement_a = (0..8).map(|f| shift([x, y], f).map(|s| -1.5 * s)).collect();
            motion.local.push(LocalTrack { centre_px: [x, y], displacement_a });
        }
    }
    let text = blocks_as_text(&motion_blocks(&motion));
    let file = StarFile::parse(Path::new("m.star"), text).unwrap();
    assert_eq!(file.block("general").unwrap().pair("rlnMotionModelVersion"), Some("1"));
    let mut expected = [0.0; 36];
    for (index, value) in [(0, 0.1), (3, 0.3), (15, -0.2), (13, -0.004), (18 + 5, 0.02)] {
        expected[index] = value;
    }
    let mut rows = file.table("local_motion_model").unwrap().rows();
    let mut count = 0;
    while let Some(row) = rows.next() {
        let (index, value) = (row.integer::<usize>(0).unwrap(), row.f64(1).unwrap());
        assert!((value - expected[index]).abs() < 1e-7, "{index}: {value}");
        count += 1;
    }
    assert_eq!(count, 36);
    // and back
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.star");
    let mut file = std::fs::File::create(&path).unwrap();
    write(&mut file, &path, &motion_blocks(&motion)).unwrap();
    let read = read_motion(&path).unwrap();
    assert_eq!((read.frame_px, read.pixel_size_a, read.pre_exposure), ([512, 400], 1.5, Some(0.0)));
    for (at, frame) in [([80.0, 70.0], 0), ([300.0, 111.0], 4), ([430.0, 330.0], 7)] {
        let [x, y] = read.displacement_a(frame, at);
        let local = shift(at, frame).map(|s| -1.5 * s);
        let want = [motion.global_a[frame][0] + local[0], motion.global_a[frame][1] + local[1]];
        assert!((x - want[0]).abs() < 1e-4 && (y - want[1]).abs() < 1e-4, "{x} {y} {want:?}");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    for (cut, told) in [
        (text.replace("data_global_shift", "data_other"), "block data_global_shift is missing"),
        (text.replace("_rlnMicrographOriginalPixelSize", "_rlnOther"), "rlnMicrographOriginalPixelSize"),
        (
            // the last coefficient
            text.lines().filter(|line| !line.trim_start().starts_with("35 ")).collect::<Vec<_>>().join("\n"),
            "has 35 coefficients",
        ),
    ] {
        std::fs::write(&path, cut).unwrap();
        let error = read_motion(&path).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("m.star"), "{error}");
    }
}

#[test]
fn rules_have_one_entry_each_and_signs_as_documented() {
    for (i, rule) in RULES.iter().enumerate() {
        assert!(RULES[..i].iter().all(|other| other.label != rule.label), "{}", rule.label);
        assert!((rule.theirs(rule.ours(2.5)) - 2.5).abs() < 1e-12);
    }
    let negative: Vec<&str> = RULES.iter().filter(|rule| rule.factor < 0.0).map(|rule| rule.label).collect();
    assert_eq!(
        negative,
        [
            "rlnOriginXAngst",
            "rlnOriginYAngst",
            "rlnOriginX",
            "rlnOriginY",
            "rlnMicrographShiftX",
            "rlnMicrographShiftY"
        ]
    );
}

#[test]
fn real_files_of_relion_are_imported() {
    let Ok(root) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let folder = PathBuf::from(root);
    let path = folder.join("meta/tomo_preprocessing/ctffind_relion_ctf_estimation_output.star");
    let read = read_micrographs(&path, &same).unwrap();
    let first = &read.value.exposures[0];
    assert_eq!(first.name, "TS_01_000_0_0");
    let fit = first.ctf.as_ref().unwrap();
    assert_eq!((fit.ctf.defocus_u_a, fit.ctf.defocus_v_a), (39224.277344, 39029.843750));
    let path = folder.join("micrographs/Ucsf_stack_1142_DW_autopick.star");
    let picks = read_coordinates(&path, Some("Ucsf_stack_1142_DW")).unwrap();
    assert_eq!(picks.value.len(), 45);
    assert!(!picks.ignored.is_empty());
}

const MOVIES: &str = "# version 30001\ndata_optics\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n\
    _rlnMtfFileName #3\n_rlnMicrographOriginalPixelSize #4\n_rlnVoltage #5\n_rlnSphericalAberration #6\n\
    _rlnAmplitudeContrast #7\nhole1 1 k3.star 0.834 300 2.7 0.1\nhole2 4 k3.star 0.84 200 1.4 0.07\n\n\
    data_movies\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\n_rlnMicrographPreExposure #3\n\
    Movies/a_1.tif 4 1.5\nMovies/b.v2.tif 1 0\n";

#[test]
fn movies_keep_all_their_optics_groups() {
    let read = |text: &str| with_file(text, |path| read_movies(path, &same, &Fallback::default()));
    let Imported { value, ignored, .. } = read(MOVIES).unwrap();
    assert_eq!(ignored, ["data_optics/_rlnMtfFileName"]);
    assert_eq!(
        value.optics.iter().map(|g| (g.number, g.name.as_str())).collect::<Vec<_>>(),
        [(1, "hole1"), (4, "hole2")]
    );
    let second = value.optics_of(4).unwrap();
    assert_eq!((second.voltage.0, second.cs.0, second.amplitude_contrast), (200.0, 1.4, 0.07));
    let [a, b] = [0, 1].map(|row| (&value.exposures[row], value.exposures[row].movie.as_ref().unwrap()));
    assert_eq!((a.0.name.as_str(), a.0.optics_group, a.1.path.as_str()), ("a_1", 4, "Movies/a_1.tif"));
    assert_eq!((a.1.pixel_size_a, a.1.pre_exposure), (0.84, 1.5));
    assert_eq!((b.0.name.as_str(), b.0.optics_group, b.1.pixel_size_a), ("b.v2", 1, 0.834));
    let error = read(&MOVIES.replace("a_1.tif 4", "a_1.tif 3")).unwrap_err().to_string();
    assert!(error.contains("the number of a group in data_optics"), "{error}");
    let error = read(&MOVIES.replace("data_movies", "data_micrographs")).unwrap_err().to_string();
    assert!(error.contains("block data_movies is missing"), "{error}");
}

#[test]
fn aberrations_go_out_and_come_back() {
    let mut group = optics();
    let own = &mut group.aberrations;
    own.beam_tilt_mrad = [0.5, -0.25];
    own.odd[2] = 12.5;
    own.odd[5] = -3.25;
    own.even.zernike = [0.0, 1.0, 2.0, 3.0, 40.0, 50.0, 60.0, 70.0, 80.0];
    own.magnification = [[1.01, 0.002], [0.001, 0.99]];
    let mut plain = optics();
    plain.number = 2;
    let pose = |shift_a| Some(Pose { rotation: Rotation::IDENTITY, shift_a });
    let particle = |id, optics_group| Particle {
        optics_group,
        ctf: Some(ctf(9000.0, 8000.0, 20.0, 0.0)),
        pose: pose([10.0, -20.0]),
        ..Particle::of_image(id, "s.mrcs", 0)
    };
    let mut set = ParticleSet { optics: vec![group, plain], ..set_of(vec![particle(0, 1), particle(1, 2)]) };
    set.share_even_aberrations();
    let text = blocks_as_text(&particle_blocks(Path::new("out.star"), &set, None, &same).unwrap());
    // the origin is that of the image as it was taken: -Mᵀ t
    assert!(text.contains(" -10.08") && text.contains(" 19.78"), "{text}");
    let back = particles(&text).unwrap();
    assert!(back.ignored.is_empty(), "{:?}", back.ignored);
    assert_eq!(back.value.optics, set.optics);
    assert_eq!(back.value.particles[0].ctf, set.particles[0].ctf);
    assert!(back.value.particles[1].ctf.unwrap().even.is_none());
    let shift = back.value.particles[0].pose.unwrap().shift_a;
    assert!((shift[0] - 10.0).abs() < 1e-5 && (shift[1] + 20.0).abs() < 1e-5, "{shift:?}");
    // a tilt takes the place of third-order coma, as in RELION, and lists may be short
    let coma = text.replace("[0.000000,0.000000,12.500000,0.000000", "[0.0,0.0,12.5,7.0");
    assert_ne!(coma, text);
    assert_eq!(particles(&coma).unwrap().value.optics[0].aberrations.odd[3], 0.0);
    for (from, to, message) in [
        ("[0.000000,0.000000,12.5", "[0.000000,none,12.5", "_rlnOddZernike"),
        ("1.010000", "7.0", "determinant near 1"),
    ] {
        let error = particles(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
