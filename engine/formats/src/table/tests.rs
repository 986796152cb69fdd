#![allow(clippy::disallowed_methods)] // temporary files of tests, and where their data are

use super::*;
use proptest::prelude::*;
use std::path::Path;
use vitreous_model::ctf::{CtfParams, DefocusSurface};
use vitreous_model::exposure::*;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::Kind;
use vitreous_model::particle::*;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

fn ctf() -> impl Strategy<Value = CtfParams> {
    (5e3..4e4f64, 5e3..4e4f64, -90.0..90.0f64, 0.0..360.0f64).prop_map(|(u, v, angle, phase)| CtfParams {
        defocus_u_a: u,
        defocus_v_a: v,
        astigmatism_angle: Degrees(angle),
        phase_shift: Degrees(phase),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.07,
        even: Default::default(),
    })
}

fn optics() -> Vec<OpticsGroup> {
    let group = |number| OpticsGroup {
        number,
        name: format!("optics {number} µ"),
        voltage: Kilovolt(300.0),
        cs: Millimetre(0.01),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 0.6575,
        aberrations: Default::default(),
    };
    vec![group(1), group(2)]
}

fn movie() -> impl Strategy<Value = MovieSource> {
    ("[a-zé/]{1,300}", any::<u32>(), 0.1..9.0f64, "[a-z]{0,4}", 0u32..4, 0usize..3).prop_map(
        |(path, frames, number, gain_path, gain_rotate, flip)| MovieSource {
            path,
            frames,
            width: 5760,
            height: 4092,
            pixel_size_a: number,
            dose_per_frame: number / 3.0,
            pre_exposure: 0.0,
            gain_path,
            gain_rotate,
            gain_flip: [GainFlip::None, GainFlip::X, GainFlip::Y][flip],
            defects_path: if flip == 1 { "defects é.txt".into() } else { String::new() },
            eer: (flip == 2).then_some(EerRendering { upsampling: 2, grouping: 1 + gain_rotate }),
        },
    )
}

fn exposure() -> impl Strategy<Value = Exposure> {
    let micrograph = ("[a-z]{1,9}", 0.1..9.0f64).prop_map(|(path, pixel_size_a)| MicrographSource {
        unweighted_path: path.clone() + "_sum",
        motion_star_path: String::new(),
        path,
        width: 7,
        height: 5,
        pixel_size_a,
    });
    let motion =
        (0.0..90.0f64).prop_map(|early_a| MotionSummary { total_a: early_a + 1.0, early_a, late_a: 1.0 });
    let fit = (ctf(), 2.0..9.0f64).prop_map(|(ctf, r)| CtfFit {
        surface: DefocusSurface { gradient_x: 0.1 / r, curvature_xy_per_a: 1e-6 * r, ..Default::default() },
        defocus_error_a: Some(10.0 * r),
        ice_ring: (r > 5.0).then_some(0.1),
        drift_a: Some(0.0),
        ..CtfFit::new(ctf, r, 1.0 / r)
    });
    use proptest::option::of;
    ("[a-z]{1,40}", 1u32..3, of(movie()), of(micrograph), of(motion), of(fit)).prop_map(
        |(name, optics_group, movie, micrograph, motion, ctf)| Exposure {
            name,
            optics_group,
            movie,
            micrograph,
            motion,
            ctf,
        },
    )
}

fn pick() -> impl Strategy<Value = Pick> {
    ("[a-z]{1,20}", 0.0..9e3f64, -5.0..9e3f64, any::<bool>()).prop_map(|(exposure, x_px, y_px, scored)| {
        Pick { exposure, x_px, y_px, score: if scored { x_px - y_px } else { f64::NAN } }
    })
}

fn particle() -> impl Strategy<Value = Particle> {
    use proptest::option::of;
    let pose = (prop::array::uniform3(-3.0..3.0f64), prop::array::uniform2(-20.0..20.0f64))
        .prop_map(|(v, shift_a)| Pose { rotation: Rotation::from_rotation_vector(v), shift_a });
    let half = prop::sample::select(vec![None, Some(HalfSet::One), Some(HalfSet::Two)]);
    (any::<u64>(), "[a-z/]{1,90}", any::<u32>(), of(pick()), of(ctf()), of(pose), half).prop_map(
        |(id, stack_path, stack_index, pick, ctf, pose, half)| Particle {
            id,
            stack_path,
            stack_index,
            optics_group: 1,
            pick,
            ctf,
            pose,
            half,
            class: half.map(|h| ClassAssignment { number: 70 * u32::from(h.number()), probability: 0.25 }),
            log_likelihood: if half.is_some() { -1234.5 } else { f64::NAN },
        },
    )
}

/// Equality in which NaN equals NaN.
fn same(a: &impl std::fmt::Debug, b: &impl std::fmt::Debug) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn exposures_round_trip(list in prop::collection::vec(exposure(), 0..20)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.h5");
        let set = ExposureSet { optics: optics(), exposures: list };
        exposures::write(&path, Kind::Micrographs, &set).unwrap();
        prop_assert!(same(&exposures::read(&path).unwrap(), &set));
    }

    #[test]
    fn particles_and_picks_round_trip(list in prop::collection::vec(particle(), 0..90)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.h5");
        let picks: Vec<Pick> = list.iter().filter_map(|p| p.pick.clone()).collect();
        let fit = |i: usize| TemplateMatch { template: i as u32, angle_deg: 7.5 * i as f64 };
        let matches = if list.len() % 2 == 0 { Vec::new() } else { (0..picks.len()).map(fit).collect() };
        let around = |i: usize| Surroundings { local_sd: 0.1 * i as f64, local_mean: -2.5 * i as f64 };
        let surroundings = if list.len() % 3 == 0 { Vec::new() } else { (0..picks.len()).map(around).collect() };
        let picks = PickSet { diameter_a: 150.0, picks, matches, surroundings };
        picks::write(&path, &picks).unwrap();
        prop_assert!(same(&picks::read(&path).unwrap(), &picks));
        let set = ParticleSet { optics: optics(), box_px: 128, pixel_size_a: 1.06, particles: list };
        particles::write(&path, &set).unwrap();
        prop_assert!(same(&particles::read(&path).unwrap(), &set));
    }
}

const VALUE: ColumnDef = ColumnDef::new("value_a", "Å", "A length");
const LABEL: ColumnDef = ColumnDef::new("label", "", "A label");

fn small(first: u32, rows: u32, label: &str) -> Table {
    let mut table = Table::new("things");
    table.f64(VALUE, (first..first + rows).map(f64::from));
    table.text(LABEL, (0..rows).map(|_| label));
    table
}

fn write_small(path: &Path) {
    let mut writer = TableWriter::create(path, "things").unwrap();
    writer.attribute("answer", 42u32).unwrap();
    writer.write(&small(0, 3, "one")).unwrap();
    writer.finish().unwrap();
}

#[test]
fn tables_grow_and_refuse_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.h5");
    write_small(&path);
    for step in 1..4 {
        let mut writer = TableWriter::extend(&path).unwrap();
        writer.append(&small(step * 3, 3, "more")).unwrap();
        writer.finish().unwrap();
    }
    let mut writer = TableWriter::extend(&path).unwrap();
    let error = writer.append(&small(0, 2, &"x".repeat(17))).unwrap_err();
    assert!(error.to_string().contains("things/label` row 0 (from 0): found text of 17 bytes"), "{error}");
    let mut narrow = small(0, 2, "x");
    narrow.columns.pop();
    let error = writer.append(&narrow).unwrap_err().to_string();
    assert!(error.contains("column `things/label` is missing (there: value_a)"), "{error}");
    narrow.text(LABEL, ["one"].into_iter());
    let error = writer.append(&narrow).unwrap_err().to_string();
    assert!(error.contains("`things/label` has 1 rows, the group has 2"), "{error}");
    writer.finish().unwrap();

    let reader = TableReader::open_kind(&path, &["things"]).unwrap();
    assert_eq!(reader.attribute::<u32>("answer").unwrap(), 42);
    let group = reader.group("things").unwrap();
    assert_eq!((group.rows(), group.unit("value_a").unwrap().as_str()), (12, "Å"));
    assert_eq!(group.f64(VALUE).unwrap(), (0..12).map(f64::from).collect::<Vec<_>>());
    assert_eq!(group.text(LABEL).unwrap()[2..4], ["one", "more"]);
}

#[test]
fn errors_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.h5");
    let absent = TableReader::open(&path).err().unwrap().to_string();
    assert!(absent.contains("t.h5: cannot be opened: No such file"), "{absent}");
    write_small(&path);
    let error = exposures::read(&path).unwrap_err().to_string();
    assert!(error.contains("holds `things`, expected `movies` or `micrographs`"), "{error}");
    let reader = TableReader::open(&path).unwrap();
    let message = |error: Option<TableError>| error.unwrap().to_string();
    assert!(message(reader.group("nothing").err()).contains("group `nothing` is missing (there: things)"));
    let group = reader.group("things").unwrap();
    let column = |name| ColumnDef::new(name, "", "");
    assert!(message(group.f64(column("z")).err()).contains("`things/z` is missing (there: label, value_a)"));
    assert!(message(group.f64(LABEL).err()).contains("expected numbers"));
    assert!(message(group.u32(VALUE).err()).contains("expected integers"));
    assert!(message(group.text(VALUE).err()).contains("expected text"));
    assert!(message(reader.attribute::<f64>("nothing").err()).contains("attribute `nothing` is missing"));

    let path = dir.path().join("newer.h5");
    TableWriter::create(&path, "things").unwrap().finish().unwrap();
    let file = hdf5::File::open_rw(&path).unwrap();
    file.attr("schema").unwrap().write_scalar(&(vitreous_model::SCHEMA + 1)).unwrap();
    drop(file);
    let error = message(TableReader::open(&path).err());
    assert!(error.contains("has schema 2, this program knows up to 1"), "{error}");
}

#[test]
fn exposures_without_a_path_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let micrograph = MicrographSource {
        path: String::new(),
        width: 1,
        height: 1,
        pixel_size_a: 1.0,
        unweighted_path: String::new(),
        motion_star_path: String::new(),
    };
    let exposure = Exposure {
        name: "m1".into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(micrograph),
        motion: None,
        ctf: None,
    };
    let set = ExposureSet { optics: optics(), exposures: vec![exposure] };
    let error = exposures::write(&dir.path().join("e.h5"), Kind::Micrographs, &set).unwrap_err().to_string();
    assert!(error.contains("`exposures/micrograph_path` row 0") && error.contains("m1"), "{error}");
}

#[test]
fn aberrations_are_kept_and_old_tables_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, aberrant) = (dir.path().join("plain.h5"), dir.path().join("aberrant.h5"));
    let ctf = CtfParams {
        defocus_u_a: 9000.0,
        defocus_v_a: 8000.0,
        astigmatism_angle: Degrees(10.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    };
    let particle =
        |id, optics_group| Particle { optics_group, ctf: Some(ctf), ..Particle::of_image(id, "s.mrcs", 0) };
    let particles = vec![particle(0, 1), particle(1, 2)];
    let mut set = ParticleSet { optics: optics(), box_px: 8, pixel_size_a: 1.0, particles };
    particles::write(&plain, &set).unwrap();
    let columns = TableReader::open(&plain).unwrap().group("optics").unwrap().columns().join(" ");
    assert!(!columns.contains("zernike") && !columns.contains("magnification"), "{columns}");
    assert_eq!(particles::read(&plain).unwrap().optics, set.optics);
    let own = &mut set.optics[1].aberrations;
    own.beam_tilt_mrad = [0.5, -0.1];
    own.odd[11] = 3.0;
    own.even.zernike[4] = -70.0;
    own.magnification = [[1.01, 0.0], [0.002, 0.995]];
    set.share_even_aberrations();
    particles::write(&aberrant, &set).unwrap();
    let back = particles::read(&aberrant).unwrap();
    assert_eq!(back.optics, set.optics);
    // the even ones belong to the CTF of the group's particles
    assert_eq!(back.particles[0].ctf.unwrap().even.zernike[4], 0.0);
    assert_eq!(back.particles[1].ctf.unwrap().even.zernike[4], -70.0);
}

#[test]
fn the_same_table_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    write_small(&a);
    write_small(&b);
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}

#[test]
fn truncated_files_and_rubbish_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.h5");
    write_small(&path);
    let whole = std::fs::read(&path).unwrap();
    let broken = dir.path().join("broken.h5");
    for length in (0..whole.len()).step_by(64) {
        std::fs::write(&broken, &whole[..length]).unwrap();
        let read = TableReader::open(&broken).and_then(|r| r.group("things").and_then(|g| g.f64(VALUE)));
        assert!(read.is_err(), "cut at {length} of {}", whole.len());
    }
    std::fs::write(&broken, b"no HDF5 at all").unwrap();
    let error = TableReader::open(&broken).err().unwrap().to_string();
    assert!(error.contains("broken.h5: opening: HDF5 says"), "{error}");
}
