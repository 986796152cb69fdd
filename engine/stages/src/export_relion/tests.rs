use crate::{Ctx, Input, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::star::StarFile;
use vitreous_formats::star::convert::{Fallback, read_coordinates, read_micrographs, read_particles};
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::*;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::*;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

fn optics() -> Vec<OpticsGroup> {
    vec![OpticsGroup {
        number: 1,
        name: "og".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 0.75,
        aberrations: Default::default(),
    }]
}

fn ctf() -> CtfParams {
    CtfParams {
        defocus_u_a: 1.2e4,
        defocus_v_a: 1.1e4,
        astigmatism_angle: Degrees(20.0),
        phase_shift: Degrees(0.0),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        even: Default::default(),
    }
}

fn particles() -> ParticleSet {
    let particle = |id: u64| Particle {
        pick: Some(Pick {
            exposure: if id < 3 { "m1" } else { "m2" }.into(),
            x_px: 10.0,
            y_px: 20.0,
            score: 1.5,
        }),
        ctf: Some(ctf()),
        pose: (id != 4).then(|| Pose {
            rotation: Rotation::from_euler_zyz_deg(10.0 * id as f64, 60.0, 5.0),
            shift_a: [1.5, -2.5],
        }),
        ..Particle::of_image(id, "J5/stacks/m1.mrcs", id as u32)
    };
    ParticleSet { optics: optics(), box_px: 64, pixel_size_a: 3.0, particles: (0..5).map(particle).collect() }
}

fn micrographs() -> ExposureSet {
    let exposure = |name: &str| Exposure {
        name: name.into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: format!("J2/{name}.mrc"),
            width: 100,
            height: 100,
            pixel_size_a: 1.5,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        }),
        motion: None,
        ctf: Some(CtfFit::new(ctf(), 4.0, 0.3)),
    };
    ExposureSet { optics: optics(), exposures: vec![exposure("m1"), exposure("m2")] }
}

fn input(slot: &str, path: &Path) -> (String, Vec<Input>) {
    let kind = if slot == "particles" { Kind::Particles } else { Kind::Micrographs };
    let output = Output::new(slot, kind, "", 1);
    (slot.into(), vec![Input { job: "J1".into(), output, path: path.into(), parts: Default::default() }])
}

fn run(folder: &Path, slots: &[&str], params: Value) -> Result<(Report, Output), StageError> {
    let job = folder.join("J9");
    std::fs::create_dir_all(&job).unwrap();
    let mut ctx = Ctx::new(&job, folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let (p, m) = (folder.join("p.h5"), folder.join("m.h5"));
    table::particles::write(&p, &particles()).unwrap();
    table::exposures::write(&m, Kind::Micrographs, &micrographs()).unwrap();
    ctx.inputs = [input("particles", &p), input("micrographs", &m)]
        .into_iter()
        .filter(|(slot, _)| slots.contains(&slot.as_str()))
        .collect();
    let report = super::ExportRelion.run(&ctx)?;
    Ok((report, ctx.declared_outputs().remove(0)))
}

#[test]
fn what_is_exported_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (report, output) = run(folder.path(), &["particles", "micrographs"], json!({})).unwrap();
    assert_eq!((output.path.as_str(), output.count), ("particles.star", 4));
    assert_eq!(report.get("particles"), Some(5.0));
    assert!(
        report.notes.iter().any(|note| note.starts_with("1 particles without a pose")),
        "{:?}",
        report.notes
    );
    let job = folder.path().join("J9");
    let same = |path: &str| path.to_string();
    let back = read_particles(&job.join("particles.star"), &same, &Fallback::default()).unwrap().value;
    assert_eq!((back.box_px, back.pixel_size_a, back.particles.len()), (64, 3.0, 5));
    for (found, put) in back.particles.iter().zip(&particles().particles) {
        assert_eq!((&found.stack_path, found.stack_index), (&put.stack_path, put.stack_index));
        let (a, b) = (found.pose.unwrap(), put.pose.unwrap_or_default());
        assert!(a.rotation.angle_to_rad(b.rotation) < 1e-7 && a.shift_a == b.shift_a);
    }
    let file = StarFile::read(&job.join("particles.star")).unwrap();
    let optics = file.table("optics").unwrap();
    let mut rows = optics.rows();
    let row = rows.next().unwrap();
    assert_eq!(row.f64(optics.find("rlnMicrographPixelSize").unwrap()).unwrap(), 1.5);
    let table = file.table("particles").unwrap();
    let mut rows = table.rows();
    assert_eq!(rows.next().unwrap().cells[table.find("rlnMicrographName").unwrap()], "J2/m1.mrc");
    let back = read_micrographs(&job.join("micrographs.star"), &same).unwrap().value;
    assert_eq!(back.exposures[1].ctf, micrographs().exposures[1].ctf);
    let picks = read_coordinates(&job.join("coordinates/m2_picks.star"), Some("m2")).unwrap().value;
    assert_eq!(picks.len(), 2);
}

#[test]
fn paths_can_be_absolute_and_one_input_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let (report, output) = run(folder.path(), &["particles"], json!({"relative_paths": false})).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("micrographs were not given")));
    assert_eq!(output.parts.len(), 3);
    let text = std::fs::read_to_string(folder.path().join("J9/particles.star")).unwrap();
    let stack = folder.path().join("J5/stacks/m1.mrcs");
    assert!(text.contains(&format!("000001@{}", stack.display())), "{text}");
    let (_, output) = run(folder.path(), &["micrographs"], json!({})).unwrap();
    assert_eq!(output.path, "micrographs.star");
    let error = run(folder.path(), &[], json!({})).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("nothing to export") && error.hint().contains("--particles"),
        "{error}"
    );
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("export-relion").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
