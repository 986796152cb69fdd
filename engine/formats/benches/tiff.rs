//! Decoding of LZW and deflate movie frames: MB/s of unpacked bytes, simulated Poisson counts of one electron a pixel,
//! as counting cameras write them. `cargo bench -p vitreous-formats --bench tiff`

use divan::counter::BytesCount;
use rand::SeedableRng;
use rand_distr::{Distribution, Poisson};
use std::path::Path;
use vitreous_formats::samples::SampleType;
use vitreous_formats::tiff::{Compression, TiffSpec, TiffWriter};
use vitreous_formats::{FrameSource, open_image};

const WIDTH: usize = 2048;
const HEIGHT: usize = 2048;
const COMPRESSIONS: [Compression; 3] = [Compression::Lzw, Compression::Deflate, Compression::None];

fn main() {
    divan::main();
}

fn movie(compression: Compression) -> (tempfile::NamedTempFile, Box<dyn FrameSource>) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let counts = Poisson::new(1.0f32).expect("one should be a rate");
    let frame: Vec<f32> = (0..WIDTH * HEIGHT).map(|_| counts.sample(&mut rng)).collect();
    let file = tempfile::Builder::new().suffix(".tif").tempfile().expect("a temporary file should be had");
    let spec = TiffSpec::movie(WIDTH, HEIGHT, 1, SampleType::Uint8, 1.0).compression(compression);
    write(file.path(), spec, &frame);
    let source = open_image(file.path()).expect("our own file should open");
    (file, source)
}

fn write(path: &Path, spec: TiffSpec, frame: &[f32]) {
    let mut writer = TiffWriter::create(path, spec).expect("a temporary file should be writable");
    writer.append(frame).expect("counts should fit");
    writer.finish().expect("a temporary file should be writable");
}

#[divan::bench(args = COMPRESSIONS, sample_count = 10, sample_size = 1)]
fn decode_one_thread(bencher: divan::Bencher, compression: Compression) {
    let (_file, source) = movie(compression);
    let mut out = vec![0.0; WIDTH * HEIGHT];
    bencher
        .counter(BytesCount::new(WIDTH * HEIGHT))
        .bench_local(|| source.read_frame_at(0, &mut out).expect("our own file should decode"));
}

#[divan::bench(args = COMPRESSIONS, sample_count = 10, sample_size = 1)]
fn decode_in_pool(bencher: divan::Bencher, compression: Compression) {
    let (_file, source) = movie(compression);
    let mut out = vec![0.0; WIDTH * HEIGHT];
    bencher
        .counter(BytesCount::new(WIDTH * HEIGHT))
        .bench_local(|| source.read_frame_in_pool(0, &mut out).expect("our own file should decode"));
}

#[divan::bench(args = COMPRESSIONS, sample_count = 10, sample_size = 1)]
fn write_in_pool(bencher: divan::Bencher, compression: Compression) {
    let (file, source) = movie(compression);
    let mut frame = vec![0.0; WIDTH * HEIGHT];
    source.read_frame_in_pool(0, &mut frame).expect("our own file should decode");
    let spec = TiffSpec::movie(WIDTH, HEIGHT, 1, SampleType::Uint8, 1.0).compression(compression);
    bencher.counter(BytesCount::new(WIDTH * HEIGHT)).bench_local(|| write(file.path(), spec, &frame));
}
