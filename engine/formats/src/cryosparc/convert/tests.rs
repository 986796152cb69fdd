//! Every rule, by numbers that CryoSPARC's side gives, and the way there and back.

use super::*;
use crate::cryosparc::{FieldOut, Values, write_dataset};
use crate::star::convert::{Fallback, particle_blocks, read_particles};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{Exposure, ExposureSet, MicrographSource, OpticsGroup};
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::{ClassAssignment, Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

fn dataset(fields: &[FieldOut]) -> Dataset {
    let mut bytes = Vec::new();
    write_dataset(&mut bytes, Path::new("a.cs"), fields).unwrap();
    Dataset::parse(Path::new("a.cs"), bytes).unwrap()
}

fn import(
    dataset: &Dataset,
    mirrored: Option<bool>,
) -> Result<crate::star::convert::Imported<ParticleSet>, CsError> {
    let resolve = |path: CsPath<'_>| path.path.to_string();
    particles_of(dataset, &ImportOptions { resolve: &resolve, fallback: Fallback::default(), mirrored })
}

fn f32s(name: &'static str, count: usize, values: &[f32]) -> FieldOut {
    FieldOut { name, values: Values::F32(count, values.to_vec()) }
}

fn u32s(name: &'static str, count: usize, values: &[u32]) -> FieldOut {
    FieldOut { name, values: Values::U32(count, values.to_vec()) }
}

/// One particle as CryoSPARC has it.
fn theirs() -> Vec<FieldOut> {
    vec![
        FieldOut { name: "uid", values: Values::U64(vec![u64::MAX - 1]) },
        FieldOut { name: "blob/path", values: Values::Text(vec![">J1/m_1.mrc".into()]) },
        u32s("blob/idx", 1, &[4]),
        u32s("blob/shape", 2, &[64, 64]),
        f32s("blob/psize_A", 1, &[1.5]),
        f32s("blob/sign", 1, &[-1.0]),
        u32s("ctf/exp_group_id", 1, &[2]),
        f32s("ctf/accel_kv", 1, &[300.0]),
        f32s("ctf/cs_mm", 1, &[2.7]),
        f32s("ctf/amp_contrast", 1, &[0.1]),
        f32s("ctf/df1_A", 1, &[12000.0]),
        f32s("ctf/df2_A", 1, &[11000.0]),
        f32s("ctf/df_angle_rad", 1, &[0.5]),
        f32s("ctf/phase_shift_rad", 1, &[1.0]),
        f32s("ctf/tilt_A", 2, &[0.0, 3.0]),
        f32s("alignments3D/pose", 3, &[0.3, -0.5, 0.8]),
        f32s("alignments3D/shift", 2, &[2.0, -3.0]),
        f32s("alignments3D/psize_A", 1, &[3.0]),
        u32s("alignments3D/split", 1, &[1]),
        u32s("alignments3D/class", 1, &[4]),
        f32s("alignments3D/class_posterior", 1, &[0.75]),
        u32s("alignments2D/class", 1, &[9]),
        FieldOut { name: "location/micrograph_path", values: Values::Text(vec!["J1/m 1_doc.mrc".into()]) },
        u32s("location/micrograph_shape", 2, &[100, 200]),
        f32s("location/center_x_frac", 1, &[0.25]),
        f32s("location/center_y_frac", 1, &[0.125]),
        f32s("pick_stats/power", 1, &[7.0]),
    ]
}

#[test]
fn every_field_means_what_the_rules_say() {
    let imported = import(&dataset(&theirs()), Some(true)).unwrap();
    let set = &imported.value;
    assert_eq!((set.box_px, set.pixel_size_a), (64, 1.5));
    let particle = &set.particles[0];
    assert_eq!(
        (particle.id, particle.stack_path.as_str(), particle.stack_index),
        (u64::MAX - 1, "J1/m_1.mrc", 4)
    );
    let group = &set.optics[0];
    assert_eq!((group.number, group.voltage.0, group.cs.0, group.amplitude_contrast), (3, 300.0, 2.7, 0.1));
    let ctf = particle.ctf.unwrap();
    assert_eq!((ctf.defocus_u_a, ctf.defocus_v_a), (12000.0, 11000.0));
    assert!(
        (ctf.astigmatism_angle.0 - 28.647889).abs() < 1e-6 && (ctf.phase_shift.0 - 57.295780).abs() < 1e-6
    );
    // golden numbers of the standard Rodrigues formula
    let expected =
        [[0.590175, -0.744660, -0.311728], [0.606517, 0.663851, -0.437537], [0.532757, 0.069155, 0.843438]];
    let pose = particle.pose.unwrap();
    let found = pose.rotation.matrix();
    assert!((0..9).all(|i| (found[i / 3][i % 3] - expected[i / 3][i % 3]).abs() < 1e-6), "{found:?}");
    // shift of 2, -3 pixels of 3 Å with RELION's sign
    assert_eq!(pose.shift_a, [-6.0, 9.0]);
    assert_eq!(particle.half, Some(HalfSet::Two));
    assert_eq!(particle.class, Some(ClassAssignment { number: 5, probability: 0.75 }));
    let pick = particle.pick.as_ref().unwrap();
    assert_eq!((pick.exposure.as_str(), pick.x_px, pick.y_px), ("m 1_doc", 50.0, 87.5));
    assert_eq!(imported.ignored, ["ctf/tilt_A", "alignments2D/class", "pick_stats/power"]);
    assert!(imported.notes[0].starts_with("ctf/tilt_A is not 0 for 1 of 1"), "{:?}", imported.notes);
    assert!(imported.notes[1].contains("blob/sign is negative for 1 of 1"), "{:?}", imported.notes);
}

/// pyem's `expmap` and RELION's Euler matrix, written out: the angles they give are those of our pose.
#[test]
fn poses_become_the_angles_that_pyem_gives() {
    let e = [0.3f64, -0.5, 0.8];
    let theta = e.iter().map(|v| v * v).sum::<f64>().sqrt();
    let w = e.map(|v| v / theta);
    let k = [[0.0, w[2], -w[1]], [-w[2], 0.0, w[0]], [w[1], -w[0], 0.0]];
    let mut a = [[0.0; 3]; 3];
    for row in 0..3 {
        for column in 0..3 {
            let square: f64 = (0..3).map(|i| k[row][i] * k[i][column]).sum();
            let one = if row == column { 1.0 } else { 0.0 };
            a[row][column] = one + theta.sin() * k[row][column] + (1.0 - theta.cos()) * square;
        }
    }
    let tilt = a[0][2].hypot(a[1][2]).atan2(a[2][2]);
    let expected = [a[2][1].atan2(a[2][0]), tilt, a[1][2].atan2(-a[0][2])].map(f64::to_degrees);
    let set = import(&dataset(&theirs()), Some(false)).unwrap().value;
    let (rot, tilt, psi) = set.particles[0].pose.unwrap().rotation.to_euler_zyz_deg();
    for (found, expected) in [rot, tilt, psi].into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn poses_in_the_plane_serve_where_there_are_no_others() {
    let mut fields = theirs();
    fields.retain(|field| !field.name.starts_with("alignments"));
    fields.push(f32s("alignments2D/pose", 1, &[0.5]));
    fields.push(f32s("alignments2D/shift", 2, &[1.0, 0.0]));
    fields.push(u32s("alignments2D/class", 1, &[7]));
    let set = import(&dataset(&fields), Some(false)).unwrap().value;
    let pose = set.particles[0].pose.unwrap();
    assert!(pose.rotation.angle_to_rad(Rotation::from_euler_zyz_deg(0.0, 0.0, 0.5f64.to_degrees())) < 1e-7);
    assert_eq!((pose.shift_a, set.particles[0].class.unwrap().number), ([-1.5, 0.0], 8));
}

#[test]
fn what_cannot_be_imported_says_why() {
    let without = |name: &str| theirs().into_iter().filter(|f| f.name != name).collect::<Vec<_>>();
    let with = |field: FieldOut| {
        let mut fields = without(field.name);
        fields.push(field);
        fields
    };
    for (fields, mirrored, expected) in [
        (theirs(), None, "give --y-origin first-row"),
        (without("blob/idx"), Some(true), "no field `blob/idx`"),
        (without("ctf/cs_mm"), Some(true), "no field `ctf/cs_mm`"),
        (with(u32s("blob/shape", 2, &[64, 32])), Some(true), "record 0 is 64 × 32"),
        (with(f32s("blob/psize_A", 1, &[0.0])), Some(true), "`blob/psize_A` is 0"),
        (
            with(f32s("alignments3D/pose", 3, &[f32::NAN; 3])),
            Some(true),
            "`alignments3D/pose` of record 0 is NaN",
        ),
        (with(u32s("alignments3D/split", 1, &[2])), Some(true), "is 2, expected 0 or 1"),
        (with(u32s("ctf/exp_group_id", 1, &[u32::MAX])), Some(true), "`ctf/exp_group_id` of record 0"),
        (with(f32s("ctf/accel_kv", 1, &[-1.0])), Some(true), "record 0 has -1 kV"),
    ] {
        let error = import(&dataset(&fields), mirrored).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("a.cs: ") && error.contains(expected), "{expected}: {error}");
    }
}

/// Particles as a STAR file of RELION holds them: six decimals.
fn random_set(rng: &mut ChaCha8Rng, count: usize) -> ParticleSet {
    let rounded = |value: f64| (value * 1e6).round() / 1e6;
    let optics =
        [(1, 300.0, 2.7, 0.1), (4, 200.0, 1.4, 0.07)].map(|(number, kv, cs, contrast)| OpticsGroup {
            number,
            name: format!("opticsGroup{number}"),
            voltage: Kilovolt(kv),
            cs: Millimetre(cs),
            amplitude_contrast: contrast,
            movie_pixel_size_a: 1.06,
            aberrations: Default::default(),
        });
    let mut particle = |id: u64| {
        let group = &optics[usize::from(rng.random_bool(0.5))];
        let mut angle = |from: f64, to: f64| rounded(rng.random_range(from..to));
        let rotation =
            Rotation::from_euler_zyz_deg(angle(-180.0, 180.0), angle(0.0, 180.0), angle(-180.0, 180.0));
        let shift_a = [angle(-20.0, 20.0), angle(-20.0, 20.0)];
        let ctf = CtfParams {
            defocus_u_a: angle(5e3, 4e4),
            defocus_v_a: angle(5e3, 4e4),
            astigmatism_angle: Degrees(angle(-90.0, 90.0)),
            phase_shift: Degrees(angle(0.0, 180.0)),
            voltage: group.voltage,
            cs: group.cs,
            amplitude_contrast: group.amplitude_contrast,
            even: Default::default(),
        };
        let pick = Pick {
            exposure: "m1".into(),
            x_px: angle(0.0, 4096.0),
            y_px: angle(0.0, 5760.0),
            score: angle(-1.0, 9.0),
        };
        Particle {
            optics_group: group.number,
            pick: Some(pick),
            ctf: Some(ctf),
            pose: Some(Pose { rotation, shift_a }),
            half: HalfSet::from_number(id as i64 % 2 + 1),
            class: Some(ClassAssignment { number: 1 + id as u32 % 7, probability: f64::NAN }),
            ..Particle::of_image(id, "J5/s.mrcs", id as u32)
        }
    };
    let particles = (0..count as u64).map(&mut particle).collect();
    ParticleSet { optics: optics.to_vec(), box_px: 128, pixel_size_a: 1.06, particles }
}

fn micrographs() -> ExposureSet {
    let micrograph = MicrographSource {
        path: "J2/m1.mrc".into(),
        width: 4096,
        height: 5760,
        pixel_size_a: 1.06,
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
    ExposureSet { optics: Vec::new(), exposures: vec![exposure] }
}

#[expect(clippy::disallowed_methods, reason = "a file to read back")]
fn through_star(set: &ParticleSet, exposures: &ExposureSet) -> ParticleSet {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("particles.star");
    let blocks = particle_blocks(&path, set, Some(exposures), &|path| path.to_string()).unwrap();
    let mut text = Vec::new();
    crate::star::writer::write(&mut text, &path, &blocks).unwrap();
    std::fs::write(&path, text).unwrap();
    read_particles(&path, &|path| path.to_string(), &Fallback::default()).unwrap().value
}

/// STAR → ours → .cs → ours → STAR → ours. 32-bit floats hold angles to 1e-7 of their size and positions of 5760 px to 2e-4;
/// STAR files have six decimals.
#[test]
fn nothing_that_is_carried_is_lost_on_the_way_there_and_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let exposures = micrographs();
    let (mut worst_deg, mut worst_shift_a, mut worst_place_px) = (0.0f64, 0.0f64, 0.0f64);
    for mirrored in [false, true] {
        let set = through_star(&random_set(&mut rng, 2000), &exposures);
        let options =
            ExportOptions { exposures: Some(&exposures), paths: &|path| path.to_string(), mirrored };
        let exported = particle_fields(Path::new("a.cs"), &set, &options).unwrap();
        assert_eq!(exported.results, ["blob", "ctf", "alignments3D", "location", "pick_stats"]);
        let imported = import(&dataset(&exported.fields), Some(mirrored)).unwrap();
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
        let back = through_star(&imported.value, &exposures);
        assert_eq!((back.box_px, back.optics), (set.box_px, set.optics));
        assert!((back.pixel_size_a - set.pixel_size_a).abs() < 1e-6);
        assert_eq!(back.particles.len(), set.particles.len());
        for (found, put) in back.particles.iter().zip(&set.particles) {
            let same = |p: &Particle| (p.id, p.stack_path.clone(), p.stack_index, p.optics_group, p.half);
            assert_eq!(same(found), same(put));
            assert_eq!(found.class.unwrap().number, put.class.unwrap().number);
            let (a, b) = (found.pose.unwrap(), put.pose.unwrap());
            worst_deg = worst_deg.max(a.rotation.angle_to_rad(b.rotation).to_degrees());
            let (f, p) = (found.ctf.unwrap(), put.ctf.unwrap());
            assert_eq!((f.voltage, f.cs, f.amplitude_contrast), (p.voltage, p.cs, p.amplitude_contrast));
            assert!(
                (f.defocus_u_a - p.defocus_u_a).abs() < 2.1e-3
                    && (f.defocus_v_a - p.defocus_v_a).abs() < 2.1e-3
            );
            assert!((f.astigmatism_angle.0 - p.astigmatism_angle.0).abs() < 1e-5);
            assert!((f.phase_shift.0 - p.phase_shift.0).abs() < 1e-5);
            let (m, n) = (found.pick.as_ref().unwrap(), put.pick.as_ref().unwrap());
            assert_eq!(m.exposure, n.exposure);
            assert!((m.score - n.score).abs() < 2e-6);
            for axis in 0..2 {
                worst_shift_a = worst_shift_a.max((a.shift_a[axis] - b.shift_a[axis]).abs());
            }
            worst_place_px = worst_place_px.max((m.x_px - n.x_px).abs()).max((m.y_px - n.y_px).abs());
        }
    }
    println!("there and back: {worst_deg:e} degrees, {worst_shift_a:e} Å, {worst_place_px:e} px");
    assert!(worst_deg <= 1e-5, "{worst_deg}");
    assert!(worst_shift_a <= 4e-6, "{worst_shift_a}");
    assert!(worst_place_px <= 1e-3, "{worst_place_px}");
}

#[test]
fn what_is_not_carried_is_said() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut set = random_set(&mut rng, 4);
    set.optics[0].name = "first session".into();
    set.particles[0].log_likelihood = -3.0;
    set.particles[1].half = None;
    set.particles[2].pose = None;
    set.particles[3].class = None;
    let options = ExportOptions { exposures: None, paths: &|path| path.to_string(), mirrored: false };
    let left = particle_fields(Path::new("a.cs"), &set, &options).unwrap().left.join("; ");
    for expected in [
        "1 particles have no pose",
        "half-sets: only 3 of 4",
        "classes: only 3 of 4",
        "micrographs were not given",
        "log-likelihoods of 1",
        "names of optics groups (first session)",
        "pixel size of the movies",
    ] {
        assert!(left.contains(expected), "{expected}: {left}");
    }
    set.particles[1].id = 0;
    let error = particle_fields(Path::new("a.cs"), &set, &options).unwrap_err().to_string();
    assert!(error.contains("two particles have the id 0"), "{error}");
    set.particles[1].id = 1;
    set.particles[1].ctf = None;
    let error = particle_fields(Path::new("a.cs"), &set, &options).unwrap_err().to_string();
    assert!(error.contains("only 3 of 4 particles have a CTF"), "{error}");
}
