//! Particles from a STAR file of RELION through CryoSPARC's datasets and back: nothing that is carried is lost.

use crate::{Ctx, Input, Stage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::mrc::{MrcSpec, MrcWriter};
use vitreous_formats::star::StarFile;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::pose::Rotation;

const PARTICLES: usize = 60;
/// Columns that are numbers and by how much they may change: what 32-bit floats hold of a number of their size, and half a
/// unit of the sixth decimal of either file. Angles are compared as rotations.
const NUMBERS: [(&str, f64); 11] = [
    ("rlnCoordinateX", 1e-3),
    ("rlnCoordinateY", 1e-3),
    ("rlnAutopickFigureOfMerit", 1e-6),
    ("rlnDefocusU", 3e-3),
    ("rlnDefocusV", 3e-3),
    ("rlnDefocusAngle", 1e-5),
    ("rlnPhaseShift", 1e-5),
    ("rlnOriginXAngst", 4e-6),
    ("rlnOriginYAngst", 4e-6),
    ("rlnRandomSubset", 0.0),
    ("rlnClassNumber", 0.0),
];
const TEXTS: [&str; 3] = ["rlnImageName", "rlnMicrographName", "rlnOpticsGroup"];
const ANGLES: [&str; 3] = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"];
/// A pose may turn by this much, degrees.
const POSE_DEG: f64 = 1e-5;

/// A project of RELION in `relion`: two stacks, two micrographs, `run_data.star` and `micrographs.star`.
fn relion_project(folder: &Path) {
    let relion = folder.join("relion");
    std::fs::create_dir_all(relion.join("Extract")).unwrap();
    std::fs::create_dir_all(relion.join("Mics")).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(29);
    for name in ["m1", "m2"] {
        let mut noise = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let mut stack =
            MrcWriter::create(&relion.join(format!("Extract/{name}.mrcs")), MrcSpec::images(16, 16, 2.12))
                .unwrap();
        (0..PARTICLES / 2).for_each(|_| stack.append(&noise(256)).unwrap());
        stack.finish().unwrap();
        let mut micrograph =
            MrcWriter::create(&relion.join(format!("Mics/{name}.mrc")), MrcSpec::images(300, 200, 1.06))
                .unwrap();
        micrograph.append(&noise(60_000)).unwrap();
        micrograph.finish().unwrap();
    }
    write(&relion.join("run_data.star"), &particles_star(&mut rng));
    let optics = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n\
        _rlnMicrographOriginalPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n\
        _rlnMicrographPixelSize\nopticsGroup1 1 1.06 300 2.7 0.1 1.06\nopticsGroup3 3 1.06 200 1.4 0.07 1.06\n";
    let rows =
        "\ndata_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\nMics/m1.mrc 1\nMics/m2.mrc 3\n";
    write(&relion.join("micrographs.star"), &format!("{optics}{rows}"));
}

fn particles_star(rng: &mut ChaCha8Rng) -> String {
    let mut text = String::from(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographOriginalPixelSize\n\
         _rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n\
         opticsGroup1 1 1.06 300 2.7 0.1 2.12 16\nopticsGroup3 3 1.06 200 1.4 0.07 2.12 16\n\ndata_particles\n\nloop_\n",
    );
    let columns = TEXTS.iter().chain(&ANGLES).copied().chain(NUMBERS.iter().map(|(name, _)| *name));
    columns.for_each(|column| writeln!(text, "_{column}").unwrap());
    for index in 0..PARTICLES {
        let (file, number) = (if index % 2 == 0 { "m1" } else { "m2" }, index / 2 + 1);
        let group = if index % 2 == 0 { 1 } else { 3 };
        let mut from = |low: f64, high: f64| rng.random_range(low..high);
        let angles = [from(-180.0, 180.0), from(0.0, 180.0), from(-180.0, 180.0)];
        let place = [from(20.0, 280.0), from(20.0, 180.0), from(-1.0, 9.0)];
        let ctf = [from(5e3, 4e4), from(5e3, 4e4), from(-90.0, 90.0), from(0.0, 180.0)];
        let origin = [from(-20.0, 20.0), from(-20.0, 20.0)];
        write!(text, "{number:06}@Extract/{file}.mrcs Mics/{file}.mrc {group}").unwrap();
        let numbers = angles.iter().chain(&place).chain(&ctf).chain(&origin);
        numbers.for_each(|value| write!(text, " {value:.6}").unwrap());
        writeln!(text, " {} {}", index / 3 % 2 + 1, index % 7 + 1).unwrap();
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "a test makes its own input")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Runs a stage in a job of the project; its outputs become the next one's inputs under their slots' names.
fn run(folder: &Path, job: &str, stage: &dyn Stage, params: Value, inputs: &[&Input]) -> Vec<Input> {
    let job_dir = folder.join(job);
    std::fs::create_dir_all(&job_dir).unwrap();
    let mut ctx = Ctx::new(&job_dir, folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.job = job.into();
    ctx.params = params;
    ctx.inputs = inputs.iter().map(|input| (input.output.slot.clone(), vec![(*input).clone()])).collect();
    stage.run(&ctx).unwrap_or_else(|error| panic!("{job}: {error}; {}", error.hint()));
    let outputs = ctx.declared_outputs().into_iter();
    outputs
        .map(|output| Input {
            job: job.into(),
            path: job_dir.join(&output.path),
            output,
            parts: BTreeMap::new(),
        })
        .collect()
}

#[test]
fn particles_go_through_cryosparcs_files_and_back_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    relion_project(folder);
    let import = crate::import_particles::ImportParticles;
    let micrographs = run(
        folder,
        "J1",
        &crate::import_micrographs::ImportMicrographs,
        json!({"star": "relion/micrographs.star"}),
        &[],
    )
    .remove(0);
    let first = run(folder, "J2", &import, json!({"star": "relion/run_data.star"}), &[]).remove(0);
    run(folder, "J3", &super::ExportCryosparc, json!({}), &[&first, &micrographs]);
    // the group names the passthrough file, and paths lead from it to the stacks
    let params = json!({"dataset": "J3/particles.csg", "y_origin": "first-row"});
    let second = run(folder, "J4", &import, params, &[]).remove(0);
    run(folder, "J5", &crate::export_relion::ExportRelion, json!({}), &[&second, &micrographs]);
    let (before, after) =
        (table(&folder.join("relion/run_data.star")), table(&folder.join("J5/particles.star")));
    assert_eq!(after["rlnAngleRot"].len(), PARTICLES);
    for column in TEXTS {
        // RELION's project lies in a folder of ours
        let ours: Vec<String> = after[column].iter().map(|text| text.replace("relion/", "")).collect();
        assert_eq!(ours, before[column], "{column}");
    }
    for (column, tolerance) in NUMBERS {
        for (found, put) in numbers(&after, column).into_iter().zip(numbers(&before, column)) {
            assert!((found - put).abs() <= tolerance, "{column}: {found} {put}");
        }
    }
    let poses = |table: &BTreeMap<String, Vec<String>>| {
        let [rot, tilt, psi] = ANGLES.map(|column| numbers(table, column));
        (0..PARTICLES).map(|i| Rotation::from_euler_zyz_deg(rot[i], tilt[i], psi[i])).collect::<Vec<_>>()
    };
    let turned = poses(&before).into_iter().zip(poses(&after)).map(|(a, b)| a.angle_to_rad(b).to_degrees());
    let worst = turned.fold(0.0, f64::max);
    assert!(worst <= POSE_DEG, "{worst} degrees");
    // no column of the first file is missing in the last, and optics stay
    assert!(before.keys().all(|column| after.contains_key(column)), "{:?}", after.keys());
    let optics = StarFile::read(&folder.join("J5/particles.star")).unwrap();
    let optics = optics.table("optics").unwrap();
    let names = ["rlnOpticsGroupName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"];
    let columns = names.map(|name| optics.find(name).unwrap());
    let mut rows = optics.rows();
    let mut found = Vec::new();
    while let Some(row) = rows.next() {
        found.push(columns.map(|column| row.cells[column].to_string()).join(" "));
    }
    assert_eq!(
        found,
        ["opticsGroup1 300.000000 2.700000 0.100000", "opticsGroup3 200.000000 1.400000 0.070000"]
    );
}

/// The cells of `data_particles` by column.
fn table(path: &Path) -> BTreeMap<String, Vec<String>> {
    let file = StarFile::read(path).unwrap();
    let table = file.table("particles").unwrap();
    let mut cells: BTreeMap<String, Vec<String>> =
        table.columns().iter().map(|column| (column.clone(), Vec::new())).collect();
    let mut rows = table.rows();
    while let Some(row) = rows.next() {
        for (column, cell) in table.columns().iter().zip(row.cells) {
            cells.get_mut(column).unwrap().push((*cell).into());
        }
    }
    cells
}

fn numbers(table: &BTreeMap<String, Vec<String>>, column: &str) -> Vec<f64> {
    table[column].iter().map(|cell| cell.parse().unwrap()).collect()
}
