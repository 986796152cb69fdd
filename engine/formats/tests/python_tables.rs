//! Tables and STAR files written here are read by h5py and starfile (PyPI), and theirs here.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // runs the other program and says when it cannot

use std::path::Path;
use std::process::Command;
use vitreous_formats::star::convert::{Fallback, particle_blocks, read_particles};
use vitreous_formats::star::{StarFile, writer};
use vitreous_formats::table::{self, ColumnDef, TableReader};
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::OpticsGroup;
use vitreous_model::half_set::HalfSet;
use vitreous_model::particle::{Particle, ParticleSet, Pick};
use vitreous_model::pose::{Pose, Rotation};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

/// Runs a script in `folder`; false, with the reason printed, where Python or a package is missing.
fn python(folder: &Path, packages: &[&str], script: &str) -> bool {
    let imports: String = packages.iter().map(|package| format!("import {package}\n")).collect();
    // a command that the test beside this one starts inherits HDF5's lock on a file that is just being written
    let run = |code: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", code]).current_dir(folder).env("HDF5_USE_FILE_LOCKING", "FALSE").output()
    };
    match run(&imports) {
        Ok(output) if output.status.success() => {}
        Ok(_) => {
            println!("skipped: python3 has no {}", packages.join(", "));
            return false;
        }
        Err(error) => {
            println!("skipped: python3 does not run: {error}");
            return false;
        }
    }
    let output = run(&format!("{imports}{script}")).expect("python3 should run again");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    true
}

fn particles() -> ParticleSet {
    let optics = OpticsGroup {
        number: 1,
        name: "Gruppe µ 1".into(),
        voltage: Kilovolt(300.0),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.1,
        movie_pixel_size_a: 0.75,
        aberrations: Default::default(),
    };
    let particle = |id: u64| Particle {
        pick: Some(Pick { exposure: "m1".into(), x_px: 10.5, y_px: 20.0, score: 1.5 }),
        ctf: Some(CtfParams {
            defocus_u_a: 1.2e4 + id as f64,
            defocus_v_a: 1.1e4,
            astigmatism_angle: Degrees(20.0),
            phase_shift: Degrees(0.0),
            voltage: Kilovolt(300.0),
            cs: Millimetre(2.7),
            amplitude_contrast: 0.1,
            even: Default::default(),
        }),
        pose: Some(Pose {
            rotation: Rotation::from_euler_zyz_deg(10.0 * id as f64, 60.0, 5.0),
            shift_a: [1.5, -2.5],
        }),
        half: Some(HalfSet::Two),
        ..Particle::of_image(id, "J5/stacks/m1.mrcs", id as u32)
    };
    ParticleSet {
        optics: vec![optics],
        box_px: 64,
        pixel_size_a: 3.0,
        particles: (0..5).map(particle).collect(),
    }
}

#[test]
fn h5py_reads_our_tables_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    table::particles::write(&folder.path().join("ours.h5"), &particles()).unwrap();
    // it checks ours, then writes a table of its own: narrower numbers, variable-length and fixed-length text
    let script = r#"
with h5py.File('ours.h5') as f:
    assert f.attrs['format'] == 'vitreous-table' and f.attrs['kind'] == 'particles' and f.attrs['box_px'] == 64
    p = f['particles']
    assert list(p['defocus_u_a'][:]) == [12000.0 + i for i in range(5)]
    assert p['defocus_u_a'].attrs['unit'] == 'Å' and 'underfocus' in p['defocus_u_a'].attrs['description']
    assert list(p['stack_path'].asstr()[:]) == ['J5/stacks/m1.mrcs'] * 5
    assert list(p['half_set'][:]) == [2] * 5 and numpy.isnan(p['log_likelihood'][:]).all()
    assert f['optics/name'].asstr()[0] == 'Gruppe µ 1'
with h5py.File('theirs.h5', 'w') as f:
    f.attrs['format'] = 'vitreous-table'
    f.attrs['schema'] = numpy.uint32(1)
    f.attrs['kind'] = 'things'
    g = f.create_group('things')
    for name, data in [('value', numpy.arange(3, dtype='f4') / 2), ('count', numpy.arange(3, dtype='i2')),
                       ('fixed', numpy.array([b'a', b'bc', b'']))]:
        g.create_dataset(name, data=data).attrs['unit'] = ''
    g.create_dataset('text', data=['é', 'two words', ''], dtype=h5py.string_dtype()).attrs['unit'] = ''
"#;
    if !python(folder.path(), &["h5py", "numpy"], script) {
        return;
    }
    let reader = TableReader::open_kind(&folder.path().join("theirs.h5"), &["things"]).unwrap();
    let group = reader.group("things").unwrap();
    let column = |name| ColumnDef::new(name, "", "");
    assert_eq!(group.f64(column("value")).unwrap(), [0.0, 0.5, 1.0]);
    assert_eq!(group.u32(column("count")).unwrap(), [0, 1, 2]);
    assert_eq!(group.text(column("fixed")).unwrap(), ["a", "bc", ""]);
    assert_eq!(group.text(column("text")).unwrap(), ["é", "two words", ""]);
}

#[test]
fn starfile_reads_our_particles_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.star");
    let blocks = particle_blocks(&path, &particles(), None, &|p| p.to_string()).unwrap();
    writer::write(&mut std::fs::File::create(&path).unwrap(), &path, &blocks).unwrap();
    let script = r#"
d = starfile.read('ours.star')
assert list(d) == ['optics', 'particles'], list(d)
p = d['particles']
assert list(p.rlnImageName) == [f'{i + 1:06d}@J5/stacks/m1.mrcs' for i in range(5)]
assert list(p.rlnDefocusU) == [12000.0 + i for i in range(5)]
assert (p.rlnOriginXAngst == -1.5).all() and (p.rlnOriginYAngst == 2.5).all() and (p.rlnRandomSubset == 2).all()
optics = d['optics']
name = optics.rlnOpticsGroupName
assert (name if isinstance(name, str) else name[0]) == 'Gruppe µ 1'
starfile.write(d, 'theirs.star')
starfile.write(pandas.DataFrame({'_a': [1.5, 2.0], 'b': ['two words', '']}), 'quoted.star')
"#;
    if !python(folder.path(), &["starfile", "pandas"], script) {
        return;
    }
    let back = read_particles(&folder.path().join("theirs.star"), &|p| p.to_string(), &Fallback::default());
    let back = back.unwrap().value;
    assert_eq!((back.optics, back.particles.len()), (particles().optics, 5));
    for (a, b) in back.particles.iter().zip(&particles().particles) {
        assert_eq!((a.ctf, a.half, &a.stack_path), (b.ctf, b.half, &b.stack_path));
        assert!(a.pose.unwrap().rotation.angle_to_rad(b.pose.unwrap().rotation) < 1e-6);
    }
    let quoted = StarFile::read(&folder.path().join("quoted.star")).unwrap();
    let table = quoted.table(quoted.blocks()[0].name()).unwrap();
    let text = table.find("b").unwrap();
    let mut rows = table.rows();
    assert_eq!(rows.next().unwrap().cells[text], "two words");
}
