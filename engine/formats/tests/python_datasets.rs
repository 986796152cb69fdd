//! Datasets written here are read by cryosparc-tools (PyPI), and both of its encodings here.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)] // runs the other program

use std::path::Path;
use std::process::Command;
use vitreous_formats::cryosparc::convert::{ExportOptions, ImportOptions, particle_fields, particles_of};
use vitreous_formats::cryosparc::{Dataset, read_joined, write_dataset};
use vitreous_formats::star::convert::Fallback;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::{Particle, ParticleSet};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Kilovolt, Millimetre};

const IMPORT: &str = "from cryosparc.dataset import Dataset, CSDAT_FORMAT";

/// Runs a script in `folder`; false, with the reason printed, where Python or cryosparc-tools is missing.
fn python(folder: &Path, script: &str) -> bool {
    let run = |code: &str| Command::new("python3").args(["-c", code]).current_dir(folder).output();
    match run(IMPORT) {
        Ok(output) if output.status.success() => {}
        Ok(_) => {
            println!("skipped: python3 has no cryosparc-tools");
            return false;
        }
        Err(error) => {
            println!("skipped: python3 does not run: {error}");
            return false;
        }
    }
    let output = run(&format!("{IMPORT}\n{script}")).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

fn particles() -> ParticleSet {
    let optics = OpticsGroup {
        number: 2,
        name: "opticsGroup2".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 1.5,
        aberrations: Default::default(),
    };
    let particle = |id: u64| Particle {
        optics_group: 2,
        pose: Some(Pose {
            rotation: Rotation::from_rotation_vector([0.1 * id as f64, -0.5, 0.25]),
            shift_a: [3.0, -1.5],
        }),
        half: HalfSet::from_number(id as i64 % 2 + 1),
        ..Particle::of_image(u64::MAX - id, "J5/µ b.mrcs", id as u32)
    };
    ParticleSet {
        optics: vec![optics],
        box_px: 64,
        pixel_size_a: 1.5,
        particles: (0..5).map(particle).collect(),
    }
}

#[test]
fn cryosparc_tools_reads_what_is_written_and_its_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.cs");
    let set = particles();
    let options = ExportOptions { exposures: None, paths: &|path| path.to_string(), mirrored: false };
    let exported = particle_fields(&path, &set, &options).unwrap();
    let mut bytes = Vec::new();
    write_dataset(&mut bytes, &path, &exported.fields).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let script = "d = Dataset.load('ours.cs')\n\
        assert [int(u) for u in d['uid']] == [2**64 - 1 - i for i in range(5)], d['uid']\n\
        assert list(d['blob/path']) == ['J5/µ b.mrcs'] * 5 and list(d['blob/idx']) == list(range(5))\n\
        assert d['blob/shape'].tolist() == [[64, 64]] * 5 and d['alignments3D/shift'].tolist() == [[-2, 1]] * 5\n\
        assert list(d['alignments3D/split']) == [0, 1, 0, 1, 0] and list(d['ctf/exp_group_id']) == [1] * 5\n\
        assert abs(d['alignments3D/pose'][3] - [0.3, -0.5, 0.25]).max() < 1e-6\n\
        d.save('numpy.cs')\nd.save('packed.cs', format=CSDAT_FORMAT)\n\
        open('plain.cs', 'wb').write(b''.join(d.stream()))\n\
        r = d.take([4, 2, 0, 1, 3])\n\
        r.drop_fields([f for f in r.fields() if f.startswith('blob/')]).save('passthrough.cs', format=CSDAT_FORMAT)\n\
        d.drop_fields([f for f in d.fields() if not f.startswith('blob/') and f != 'uid']).save('blob.cs')\n";
    if !python(folder.path(), script) {
        return;
    }
    let at = |name: &str| folder.path().join(name);
    let joined = read_joined(&[at("blob.cs"), at("passthrough.cs")]).unwrap().0;
    let alone = ["numpy.cs", "packed.cs", "plain.cs"].map(|name| Dataset::read(&at(name)).unwrap());
    for dataset in alone.iter().chain([&joined]) {
        let resolve = |path: vitreous_formats::cryosparc::CsPath<'_>| path.path.to_string();
        let options = ImportOptions { resolve: &resolve, fallback: Fallback::default(), mirrored: None };
        let found = particles_of(dataset, &options).unwrap().value;
        assert_eq!((found.box_px, found.optics.clone()), (64, set.optics.clone()));
        for (found, put) in found.particles.iter().zip(&set.particles) {
            let same = |p: &Particle| (p.id, p.stack_path.clone(), p.stack_index, p.half, p.optics_group);
            assert_eq!(same(found), same(put));
            let (a, b) = (found.pose.unwrap(), put.pose.unwrap());
            assert!(a.rotation.angle_to_rad(b.rotation) < 1e-6 && a.shift_a == b.shift_a);
        }
    }
}
