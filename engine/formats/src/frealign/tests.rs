use super::*;
use std::path::Path;
use vitreous_model::particle::ParticleSet;

const HEAD: &str = "C           PSI   THETA     PHI       SHX       SHY     MAG  INCLUDE   DF1      DF2  ANGAST  PSHIFT     OCC      \
                    LogP      SIGMA   SCORE  CHANGE\n";
/// Three particles of cisTEM, the second left out.
const PAR: &str = "      1   70.00   50.00   30.00      1.50     -2.25       0     1  12000.0  11000.0   35.00    1.57  100.00     \
                   -9999     0.9000   20.00    0.00\n      2    0.00    0.00    0.00      0.00      0.00       0    -1  12000.0  \
                   11000.0   35.00    0.00  100.00     -9999     0.9000   20.00    0.00\n      4    0.00    0.00    0.00      0.00   \
                   0.00       0     1  12000.0  11000.0   35.00    0.00  100.00     -9999     0.9000   20.00    0.00\nC Blank line\n";

fn given() -> Fallback {
    Fallback {
        pixel_size_a: Some(1.5),
        voltage_kv: Some(300.0),
        cs_mm: Some(2.7),
        amplitude_contrast: Some(0.07),
    }
}

fn import(
    text: &str,
    stack: Option<&str>,
    fallback: Fallback,
) -> Result<(ParticleSet, Vec<String>), ParError> {
    let path = Path::new("a.par");
    let parameters = parse(path, text.to_string())?;
    let resolve = |path: &str| format!("root/{path}");
    let imported = particles_of(path, &parameters, &ImportOptions { stack, resolve: &resolve, fallback })?;
    Ok((imported.value, imported.notes))
}

#[test]
fn every_column_means_what_the_table_says() {
    let (set, notes) = import(&format!("{HEAD}{PAR}"), Some("s.mrc"), given()).unwrap();
    assert_eq!((set.pixel_size_a, set.optics.len()), (1.5, 1));
    let images: Vec<_> = set.particles.iter().map(|p| (p.id, p.stack_index, p.stack_path.as_str())).collect();
    assert_eq!(images, [(0, 0, "s.mrc"), (3, 3, "s.mrc")]);
    // golden numbers of rot 30, tilt 50, psi 70 degrees
    let expected =
        [[-0.279454, -0.694109, 0.663414], [0.923721, -0.005813, 0.383022], [-0.262003, 0.719846, 0.642788]];
    let pose = set.particles[0].pose.unwrap();
    let found = pose.rotation.matrix();
    assert!((0..9).all(|i| (found[i / 3][i % 3] - expected[i / 3][i % 3]).abs() < 1e-6), "{found:?}");
    // rlnOriginXAngst would be -1.5, and ours is minus that
    assert_eq!(pose.shift_a, [1.5, -2.25]);
    let ctf = set.particles[0].ctf.unwrap();
    assert_eq!((ctf.defocus_u_a, ctf.defocus_v_a, ctf.astigmatism_angle.0), (12000.0, 11000.0, 35.0));
    assert!((ctf.phase_shift.0 - 1.57f64.to_degrees()).abs() < 1e-9);
    assert!(notes[0].contains("--invert") && notes[1].starts_with("1 particles are marked"), "{notes:?}");
}

#[test]
fn frealign_has_sixteen_columns_and_films() {
    let line = "1 10 20 30 1 2 50000 -3 12000 11000 35 100 -99 0.9 20 0\n";
    let (set, notes) = import(line, Some("s.mrc"), given()).unwrap();
    // a film's number is no mark
    assert_eq!(set.particles[0].ctf.unwrap().phase_shift.0, 0.0);
    assert!(notes.iter().any(|note| note.contains("older files have pixels")), "{notes:?}");
    let degrees = "1 10 20 30 1 2 0 1 12000 11000 35 90 100 -99 0.9 20 0\n";
    let (set, _) = import(degrees, Some("s.mrc"), given()).unwrap();
    assert_eq!(set.particles[0].ctf.unwrap().phase_shift.0, 90.0);
}

const STAR: &str = "# Written by cisTEM\n \ndata_\n \nloop_\n_cisTEMPositionInStack #1\n_cisTEMAnglePsi #2\n_cisTEMAngleTheta #3\n\
    _cisTEMAnglePhi #4\n_cisTEMXShift #5\n_cisTEMYShift #6\n_cisTEMDefocus1 #7\n_cisTEMDefocus2 #8\n_cisTEMDefocusAngle #9\n\
    _cisTEMPhaseShift #10\n_cisTEMImageActivity #11\n_cisTEMPixelSize #12\n_cisTEMMicroscopeVoltagekV #13\n\
    _cisTEMMicroscopeCsMM #14\n_cisTEMAmplitudeContrast #15\n_cisTEMBeamTiltX #16\n_cisTEMBest2DClass #17\n\
    _cisTEMStackFilename #18\n#   POS     PSI ...\n";

#[test]
fn cistems_own_star_file_brings_its_optics_and_stack() {
    let rows = "1 70 50 30 1.5 -2.25 12000 11000 35 0 1 1.06 300 2.7 0.07 0.1 3 'a b.mrc'\n\
                1 70 50 30 1.5 -2.25 12000 11000 35 0 1 1.06 200 1.4 0.10 0.1 0 'c.mrc'\n";
    let (set, _) = import(&format!("{STAR}{rows}"), None, Fallback::default()).unwrap();
    let stacks: Vec<_> =
        set.particles.iter().map(|p| (p.stack_path.as_str(), p.optics_group, p.id)).collect();
    assert_eq!(stacks, [("root/a b.mrc", 1, 0), ("root/c.mrc", 2, 1)]);
    assert_eq!((set.optics[1].voltage.0, set.optics[1].cs.0, set.pixel_size_a), (200.0, 1.4, 1.06));
    assert_eq!(set.particles[0].class.map(|class| class.number), Some(3));
    assert_eq!(set.particles[1].class, None);
    let parameters = parse(Path::new("a.star"), format!("{STAR}{rows}")).unwrap();
    assert_eq!(parameters.ignored, ["_cisTEMBeamTiltX"]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let row = "1 10 20 30 1 2 0 1 12000 11000 35 0 100 -99 0.9 20 0\n";
    for (text, stack, fallback, expected) in [
        (format!("{HEAD}1 2 3\n"), true, given(), "a.par: line 2: 3 values, expected 16 values"),
        (row.replace("12000", "x"), true, given(), "a.par: line 1: `x`, expected a finite number"),
        (row.replace("12000", "inf"), true, given(), "expected a finite number"),
        (row.replacen('1', "0", 1), true, given(), "image 0, expected a whole number from 1"),
        (format!("{row}{row}"), true, given(), "line 2 has image 1 a second time"),
        (row.into(), false, given(), "line 1 names no stack"),
        (row.into(), true, Fallback { voltage_kv: None, ..given() }, "does not say the voltage"),
        (row.into(), true, Fallback { pixel_size_a: None, ..given() }, "does not say the pixel size"),
        (HEAD.into(), true, given(), "it holds no particles"),
        (format!("{HEAD}{}", row.replacen(" 1 12000", " -1 12000", 1)), true, given(), "marked as left out"),
        ("data_\nloop_\n_cisTEMScore\n1\n".into(), true, given(), "no table has _cisTEMPositionInStack"),
        ("data_\nloop_\n_cisTEMPositionInStack\n1\n".into(), true, given(), "_cisTEMAnglePsi is missing"),
    ] {
        let error = import(&text, stack.then_some("s.mrc"), fallback).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("a.par: ") && error.contains(expected), "{expected}: {error}");
    }
}
