use crate::{Ctx, Input, Stage, StageError};
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::comm::Solo;
use vitreous_formats::cryosparc::convert::{VolumeSlot, volume_of};
use vitreous_formats::cryosparc::{Dataset, EXPOSURE, PARTICLE, VOLUME, group_files, read_joined};
use vitreous_formats::mrc::write_volume;
use vitreous_formats::table;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::*;
use vitreous_model::half_set::HalfSet;
use vitreous_model::outputs::{Kind, Output};
use vitreous_model::particle::*;
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::report::Report;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

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

fn optics() -> Vec<OpticsGroup> {
    vec![OpticsGroup {
        number: 1,
        name: "opticsGroup1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 0.75,
        aberrations: Default::default(),
    }]
}

fn particles() -> ParticleSet {
    let particle = |id: u64| Particle {
        pick: Some(Pick { exposure: "m1".into(), x_px: 10.0, y_px: 25.0, score: 1.5 }),
        ctf: Some(ctf()),
        pose: Some(Pose {
            rotation: Rotation::from_rotation_vector([0.1 * id as f64, -0.5, 0.25]),
            shift_a: [3.0, -1.5],
        }),
        half: HalfSet::from_number(id as i64 % 2 + 1),
        ..Particle::of_image(40 + id, "J5/stacks/m1.mrcs", id as u32)
    };
    ParticleSet { optics: optics(), box_px: 64, pixel_size_a: 3.0, particles: (0..5).map(particle).collect() }
}

fn micrographs() -> ExposureSet {
    let exposure = Exposure {
        name: "m1".into(),
        optics_group: 1,
        movie: None,
        micrograph: Some(MicrographSource {
            path: "J2/m1.mrc".into(),
            width: 200,
            height: 100,
            pixel_size_a: 1.5,
            unweighted_path: String::new(),
            motion_star_path: String::new(),
        }),
        motion: Some(MotionSummary { total_a: 5.0, early_a: 2.0, late_a: 3.0 }),
        ctf: Some(CtfFit::new(ctf(), 4.0, 0.3)),
    };
    ExposureSet { optics: optics(), exposures: vec![exposure] }
}

fn input(slot: &str, kind: Kind, path: &Path) -> Input {
    Input {
        job: "J1".into(),
        output: Output::new(slot, kind, "", 1),
        path: path.into(),
        parts: Default::default(),
    }
}

/// Runs the job in `J9` of a project that has all inputs; `slots` says which are given.
fn run(folder: &Path, slots: &[&str], params: Value) -> Result<(Report, Output), StageError> {
    let job = folder.join("J9");
    std::fs::create_dir_all(&job).unwrap();
    let (p, m, v) = (folder.join("p.h5"), folder.join("m.h5"), folder.join("map.mrc"));
    table::particles::write(&p, &particles()).unwrap();
    table::exposures::write(&m, Kind::Micrographs, &micrographs()).unwrap();
    for name in ["map.mrc", "half1.mrc", "half2.mrc"] {
        write_volume(&folder.join(name), &ndarray::Array3::from_elem((8, 8, 8), 1.0), 3.0).unwrap();
    }
    let mut map = input("volume", Kind::Volume, &v);
    map.parts = [("half1", "half1.mrc"), ("half2", "half2.mrc"), ("mask", "map.mrc")]
        .map(|(role, file)| (role.to_string(), folder.join(file)))
        .into();
    let inputs = [input("particles", Kind::Particles, &p), input("micrographs", Kind::Micrographs, &m), map];
    let mut ctx = Ctx::new(&job, folder, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    ctx.params = params;
    let given = inputs.into_iter().filter(|input| slots.contains(&input.output.slot.as_str()));
    ctx.inputs = given.map(|input| (input.output.slot.clone(), vec![input])).collect();
    let report = super::ExportCryosparc.run(&ctx)?;
    Ok((report, ctx.declared_outputs().remove(0)))
}

const ALL: [&str; 3] = ["particles", "micrographs", "volume"];

#[test]
fn the_groups_name_their_datasets_and_these_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let (report, output) = run(folder.path(), &ALL, json!({})).unwrap();
    assert_eq!((output.path.as_str(), output.count), ("particles.cs", 7));
    let job = folder.path().join("J9");
    let files = group_files(&job.join("particles.csg"), PARTICLE).unwrap();
    assert_eq!(files, [job.join("particles.cs"), job.join("passthrough_particles.cs")]);
    let (dataset, twice) = read_joined(&files).unwrap();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(dataset.uids("a test").unwrap(), [40, 41, 42, 43, 44]);
    assert_eq!(dataset.texts("blob/path", "a test").unwrap()[0], ">../J5/stacks/m1.mrcs");
    assert_eq!(dataset.numbers("location/center_y_frac", 0, "a test").unwrap()[0], 0.25);
    let files = group_files(&job.join("micrographs.csg"), EXPOSURE).unwrap();
    let exposures = Dataset::read(&files[0]).unwrap();
    assert_eq!(exposures.texts("micrograph_blob/path", "a test").unwrap(), [">../J2/m1.mrc"]);
    // particles find their micrograph by its uid
    let of_particle = dataset.numbers("location/micrograph_uid", 0, "a test").unwrap()[0];
    assert_eq!(exposures.numbers("uid", 0, "a test").unwrap(), [of_particle]);
    let files = group_files(&job.join("volume.csg"), VOLUME).unwrap();
    let maps = Dataset::read(&files[0]).unwrap();
    assert_eq!(volume_of(&maps, VolumeSlot::HALF_B).unwrap(), (">../half2.mrc".into(), Some(3.0)));
    let left = report.data["not_carried"].to_string();
    for expected in
        ["motion: CryoSPARC keeps", "pixel sizes of movies", "map: its mask", "pixel size of the movies"]
    {
        assert!(left.contains(expected), "{expected}: {left}");
    }
}

#[test]
fn paths_can_be_absolute_and_rows_count_from_the_other_end() {
    let folder = tempfile::tempdir().unwrap();
    let params = json!({"relative_paths": false, "y_origin": "last-row"});
    let (report, _) = run(folder.path(), &["particles", "micrographs"], params).unwrap();
    let job = folder.path().join("J9");
    let dataset = Dataset::read(&job.join("particles.cs")).unwrap();
    let stack = folder.path().join("J5/stacks/m1.mrcs");
    assert_eq!(dataset.texts("blob/path", "a test").unwrap()[0], stack.to_string_lossy());
    let passed = Dataset::read(&job.join("passthrough_particles.cs")).unwrap();
    assert_eq!(passed.numbers("location/center_y_frac", 0, "a test").unwrap()[0], 0.75);
    assert!(report.notes.iter().any(|note| note.contains("rows run the other way")), "{:?}", report.notes);
    // without micrographs there are no positions
    let (report, output) = run(folder.path(), &["particles"], json!({})).unwrap();
    assert_eq!(output.parts.len(), 2, "{output:?}");
    assert!(
        report.notes.iter().any(|note| note.contains("micrographs were not given")),
        "{:?}",
        report.notes
    );
    let error = run(folder.path(), &[], json!({})).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("nothing to export") && error.hint().contains("--volume"), "{error}");
}

#[test]
fn the_page_has_the_parameters() {
    let table = vitreous_jobs::page::parameter_table(vitreous_jobs::find("export-cryosparc").unwrap());
    assert!(include_str!("README.md").contains(&table), "put this into README.md:\n{table}");
}
