//! Insertion of slices into the padded grid: box 128, padding 2, by band limit (56 Fourier pixels are about 4900
//! coefficients of the half plane). Run with `cargo bench -p vitreous-compute --bench insert`; items are images.

use divan::counter::ItemsCount;
use vitreous_compute::device::Cpu;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedPoint, Insert};
use vitreous_compute::parity::insert::Batch;

fn main() {
    divan::main();
}

/// Images of one call.
const IMAGES: usize = 64;

#[divan::bench(args = [20.0, 40.0, 56.0], sample_count = 5)]
fn insert(bencher: divan::Bencher<'_, '_>, rmax: f64) {
    let batch = Batch::noise(128, rmax, IMAGES, 1);
    let grid = PaddedGrid::new(128, 2.0, rmax);
    let mut sums = Cpu.accumulator(grid, FixedPoint::new(4.0, 2.0, 1 << 20)).expect("the grid should fit");
    bencher
        .counter(ItemsCount::new(IMAGES))
        .bench_local(|| Cpu.insert(&mut sums, &batch.view()).expect("the batch should be good"));
}
