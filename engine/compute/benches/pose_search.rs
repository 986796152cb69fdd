//! Pose search, timed on the cases of its parity suite: one image per iteration, one thread.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use vitreous_compute::cpu::pose_search::CpuViews;
use vitreous_compute::cpu::pose_search::simd::Simd;
use vitreous_compute::device::Cpu;
use vitreous_compute::directions::Directions;
use vitreous_compute::ops::pose_search::{PoseSearch, ShiftGrid, ViewsRequest};
use vitreous_compute::ops::project::Project;
use vitreous_compute::parity::pose_search::{Case, Setting, cases};
use vitreous_model::pose::Rotation;
use vitreous_model::symmetry::PointGroup;

fn main() {
    divan::main();
}

/// The search of a refinement: radius 20, 7.5°, 21 shifts.
fn refinement_case() -> Case {
    Case {
        name: "box 96, rmax 20",
        n: 96,
        rmax: 20.0,
        step_deg: 7.5,
        shifts: ShiftGrid::disc(4.5, 2.0),
        images: 4,
        energy: 1000.0,
        amplitude: 1.0,
        exhaustive: false,
    }
}

fn timed_case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap_or_else(refinement_case)
}

fn prepared(case: &Case, setting: &Setting, simd: Simd) -> CpuViews {
    let slicer = Cpu
        .slicer(setting.phantom.volume().view(), 2.0, case.rmax + 2.0)
        .expect("the phantom should be a cube");
    CpuViews::new(&slicer, &case.request(setting), simd).expect("the case should be valid")
}

fn single_thread() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread should start")
}

#[divan::bench(args = ["box 96, rmax 12", "box 96, rmax 20", "box 96, rmax 24"])]
fn score_one_image(bencher: Bencher<'_, '_>, name: &str) {
    let case = timed_case(name);
    let setting = case.setting();
    let views = prepared(&case, &setting, Simd::detect());
    let images = case.search_images(&setting);
    let pool = single_thread();
    bencher
        .counter(ItemsCount::new(images.len()))
        .bench(|| pool.install(|| black_box(Cpu.score_views(&views, black_box(&images)))));
}

#[divan::bench(args = Simd::available().iter().map(|simd| format!("{simd:?}")).collect::<Vec<_>>())]
fn score_one_image_by_width(bencher: Bencher<'_, '_>, name: &str) {
    let case = refinement_case();
    let setting = case.setting();
    let simd =
        Simd::available().into_iter().find(|simd| format!("{simd:?}") == name).unwrap_or(Simd::Portable);
    let views = prepared(&case, &setting, simd);
    let images = case.search_images(&setting);
    let pool = single_thread();
    bencher
        .counter(ItemsCount::new(images.len()))
        .bench(|| pool.install(|| black_box(Cpu.score_views(&views, black_box(&images)))));
}

/// Octahedral symmetry leaves a 48th of the directions, so that what is left is the cost of preparing the image.
#[divan::bench]
fn score_one_image_octahedral(bencher: Bencher<'_, '_>) {
    let case = refinement_case();
    let setting = case.setting();
    let directions = Directions::new(case.step_deg, PointGroup::Octahedral, Rotation::IDENTITY);
    let slicer = Cpu
        .slicer(setting.phantom.volume().view(), 2.0, case.rmax + 2.0)
        .expect("the phantom should be a cube");
    let request = ViewsRequest { directions: &directions, ..case.request(&setting) };
    let views = Cpu.prepare_views(&slicer, &request).expect("the case should be valid");
    let images = case.search_images(&setting);
    let pool = single_thread();
    bencher
        .counter(ItemsCount::new(images.len()))
        .bench(|| pool.install(|| black_box(Cpu.score_views(&views, black_box(&images)))));
}

#[divan::bench]
fn prepare_views(bencher: Bencher<'_, '_>) {
    let case = refinement_case();
    let setting = case.setting();
    let pool = single_thread();
    bencher.bench(|| pool.install(|| prepared(&case, &setting, Simd::detect())));
}
