//! MRC and TIFF files written here are read by mrcfile and tifffile (PyPI), and theirs here.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // runs the other program and says when it cannot

use std::path::Path;
use std::process::Command;
use vitreous_formats::mrc::{MrcKind, MrcSpec, MrcWriter, read_volume, write_volume};
use vitreous_formats::open_image;
use vitreous_formats::samples::SampleType;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};

const WIDTH: usize = 37;
const HEIGHT: usize = 23;
const FRAMES: usize = 3;

/// The value every file here holds at column x, row y (0 at the bottom), frame f; Python computes the same.
fn value(f: usize, y: usize, x: usize) -> f32 {
    ((f * 31 + y * 7 + x * 3) % 101) as f32
}

fn frame(f: usize) -> Vec<f32> {
    (0..HEIGHT * WIDTH).map(|i| value(f, i / WIDTH, i % WIDTH)).collect()
}

const PRELUDE: &str = "
import sys, os, glob
import numpy as np
def want(frames=3, h=23, w=37):
    f, y, x = np.meshgrid(np.arange(frames), np.arange(h), np.arange(w), indexing='ij')
    return (f * 31 + y * 7 + x * 3) % 101
folder = sys.argv[1]
";

/// Runs a script in `folder`; `None`, with the reason printed, where Python or a package is missing.
fn python(folder: &Path, packages: &[&str], script: &str) -> Option<String> {
    let imports: String = packages.iter().map(|package| format!("import {package}\n")).collect();
    let run = |code: &str| Command::new("python3").args(["-c", code]).arg(folder).output();
    match run(&format!("import numpy\n{imports}")) {
        Ok(output) if output.status.success() => {}
        Ok(_) => {
            println!("skipped: python3 has no numpy or {}", packages.join(", "));
            return None;
        }
        Err(error) => {
            println!("skipped: python3 does not run: {error}");
            return None;
        }
    }
    let output = run(&format!("{PRELUDE}{imports}{script}")).expect("python3 should run again");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    Some(out.into_owned())
}

fn assert_holds_values(path: &Path, frames: usize) {
    let source = open_image(path).unwrap_or_else(|e| panic!("{e}"));
    let header = source.header();
    assert_eq!((header.width, header.height, header.frames), (WIDTH, HEIGHT, frames), "{}", path.display());
    let mut out = vec![0.0; header.frame_len()];
    for f in 0..frames {
        source.read_frame_at(f, &mut out).unwrap_or_else(|e| panic!("{e}"));
        assert!(out == frame(f), "{} frame {f}", path.display());
        source.read_frame_in_pool(f, &mut out).unwrap_or_else(|e| panic!("{e}"));
        assert!(out == frame(f), "{} frame {f}, in the pool", path.display());
    }
}

#[test]
fn mrcfile_validates_and_reads_ours() {
    let folder = tempfile::tempdir().unwrap();
    let samples =
        [SampleType::Int8, SampleType::Int16, SampleType::Uint16, SampleType::Float16, SampleType::Float32];
    for sample in samples {
        for (kind, suffix, frames) in [
            (MrcKind::Images, "stack", FRAMES),
            (MrcKind::Images, "image", 1),
            (MrcKind::Volume, "volume", FRAMES),
        ] {
            let spec = MrcSpec { kind, ..MrcSpec::images(WIDTH, HEIGHT, 1.37).sample(sample) };
            let path = folder.path().join(format!("{suffix}-{}.mrc", sample.name()));
            let mut writer = MrcWriter::create(&path, spec).unwrap();
            (0..frames).for_each(|f| writer.append(&frame(f)).unwrap());
            writer.finish().unwrap();
        }
    }
    let data = ndarray::Array3::from_shape_fn((FRAMES, HEIGHT, WIDTH), |(z, y, x)| value(z, y, x));
    write_volume(&folder.path().join("volume-whole.mrc"), &data, 1.37).unwrap();
    let script = "
names = sorted(glob.glob(folder + '/*.mrc'))
assert len(names) == 16, names
for name in names:
    assert mrcfile.validate(name), name
    with mrcfile.open(name) as m:
        image = 'image-' in name
        expected = want(1)[0] if image else want()
        assert m.data.shape == expected.shape, (name, m.data.shape)
        assert (m.data == expected).all(), name
        assert m.is_volume() == ('volume' in name), name
        assert m.is_image_stack() == ('stack' in name), name
        assert abs(m.voxel_size.x - 1.37) < 1e-6 and abs(m.voxel_size.z - 1.37) < 1e-6, (name, m.voxel_size)
";
    python(folder.path(), &["mrcfile"], script);
}

#[test]
fn we_read_mrcfile() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
for kind in ['int8', 'int16', 'uint16', 'float16', 'float32']:
    for order in '<>':
        with mrcfile.new(f'{folder}/{kind}-{\"big\" if order == \">\" else \"little\"}.mrc') as m:
            m.set_data(want().astype(np.dtype(kind).newbyteorder(order)))
            m.voxel_size = 2.5
";
    if python(folder.path(), &["mrcfile"], script).is_none() {
        return;
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_holds_values(&path, FRAMES);
        let volume = read_volume(&path).unwrap();
        assert_eq!((volume.voxel_a, volume.data[[2, 11, 29]]), (2.5, value(2, 11, 29)));
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn tifffile_reads_ours() {
    let folder = tempfile::tempdir().unwrap();
    for sample in
        [SampleType::Uint8, SampleType::Int8, SampleType::Uint16, SampleType::Int16, SampleType::Float32]
    {
        for compression in [Compression::None, Compression::Lzw, Compression::Deflate, Compression::Zstd] {
            for (predictor, big) in [(false, false), (true, true)] {
                let predictor = predictor && sample.is_integer();
                let spec = TiffSpec {
                    predictor,
                    big,
                    ..TiffSpec::movie(WIDTH, HEIGHT, FRAMES, sample, 0.6575).compression(compression)
                };
                let path = folder.path().join(format!("{}-{compression:?}-{big}.tif", sample.name()));
                let mut writer = TiffWriter::create(&path, spec).unwrap();
                (0..FRAMES).for_each(|f| writer.append(&frame(f)).unwrap());
                writer.finish().unwrap();
            }
        }
    }
    let script = "
names = sorted(glob.glob(folder + '/*.tif'))
assert len(names) == 40, names
for name in names:
    with tifffile.TiffFile(name) as t:
        data = t.asarray()
        assert (data == want()[:, ::-1]).all(), name
        assert t.is_bigtiff == ('true' in name)
        assert data.dtype.name == os.path.basename(name).split('-')[0], (name, data.dtype)
        n, d = t.pages[0].tags['XResolution'].value
        assert abs(1e8 / (n / d) - 0.6575) < 1e-7 and t.pages[0].tags['ResolutionUnit'].value == 3
";
    python(folder.path(), &["tifffile", "imagecodecs"], script);
}

#[test]
fn we_read_tifffile() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
data = want()[:, ::-1]
def write(name, kind, **options):
    tifffile.imwrite(f'{folder}/{name}.tif', data.astype(kind), photometric='minisblack', **options)
for kind in ['uint8', 'int8', 'uint16', 'int16', 'float16', 'float32']:
    for order in '<>':
        for packing in [None, 'lzw', 'zlib', 'packbits', 'zstd']:
            for rows in [1, 5, 23]:
                write(f'{kind}-{ord(order)}-{packing}-{rows}', kind, byteorder=order, compression=packing, rowsperstrip=rows)
            if packing in ('lzw', 'zlib', 'zstd'):
                write(f'{kind}-{ord(order)}-{packing}-predictor', kind, byteorder=order, compression=packing, predictor=True, rowsperstrip=4)
            write(f'{kind}-{ord(order)}-{packing}-tiles', kind, byteorder=order, compression=packing, tile=(16, 16))
            write(f'{kind}-{ord(order)}-{packing}-big', kind, byteorder=order, compression=packing, bigtiff=True)
write('deflate-old', 'uint8', compression=32946)
";
    if python(folder.path(), &["tifffile", "imagecodecs"], script).is_none() {
        return;
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        assert_holds_values(&entry.unwrap().path(), FRAMES);
        seen += 1;
    }
    assert_eq!(seen, 6 * 2 * (5 * 5 + 3) + 1);
}

#[test]
fn a_real_tiff_has_the_sums_tifffile_finds() {
    let Ok(data) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let path = Path::new(&data).join("micrographs/cylindra_13pf_MT.tif");
    let script = "
for page in tifffile.imread(folder):
    print(int(page.astype(int).sum()), int(page[-1].astype(int).sum()))
";
    let Some(sums) = python(&path, &["tifffile"], script) else { return };
    let source = open_image(&path).unwrap();
    let mut out = vec![0.0; source.header().frame_len()];
    let mut frames = 0;
    for (f, line) in sums.lines().enumerate() {
        source.read_frame_at(f, &mut out).unwrap();
        let total: f64 = out.iter().map(|v| f64::from(*v)).sum();
        let bottom: f64 = out[..source.header().width].iter().map(|v| f64::from(*v)).sum();
        assert_eq!(line, format!("{total} {bottom}"));
        frames += 1;
    }
    assert_eq!(frames, source.header().frames);
}
