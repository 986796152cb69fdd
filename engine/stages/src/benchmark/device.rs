//! The device of a rank at the toolkit's own work: the operations that refinement spends its time on.

use super::measured::{Measured, rates};
use crate::{Ctx, StageError};
use vitreous_compute::ops::ceilings::Ceilings;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedPoint, Insert};
use vitreous_compute::ops::pose_search::{PoseSearch, SearchImage, ShiftGrid};
use vitreous_compute::parity::{insert, pose_search};

/// Images of the search on each thread and in each repeat.
const SEARCHED: usize = 2;
/// Images that are inserted in each repeat.
const INSERTED: usize = 64;
/// Box and padding of the grid, and band of the images that are inserted, Fourier pixels.
const INSERT_BOX: usize = 128;
const PADDING: f64 = 2.0;
const INSERT_BAND: f64 = 40.0;

/// Numbers copied and sent: 128 MiB, more than caches hold.
const COPIED: usize = 32 << 20;
/// Chains of multiply-adds side by side, and their steps.
const LANES: usize = 1 << 19;
const STEPS: u32 = 512;
/// Repeats of each limit.
const REPEATS: usize = 3;

/// Figures of the device: what it can do at most, and the toolkit's own work.
///
/// # Errors
/// A device that fails.
pub(super) fn device_figures<D: Ceilings + PoseSearch + Insert>(
    ctx: &Ctx<'_>,
    device: &D,
    seconds: f64,
) -> Result<Vec<Measured>, StageError> {
    let mut figures = limits(ctx, device)?;
    figures.extend([searched(ctx, device, seconds)?, inserted(ctx, device, seconds)?]);
    Ok(figures)
}

/// Copies within the device's memory, from and to the host, and single-precision operations.
fn limits<D: Ceilings>(ctx: &Ctx<'_>, device: &D) -> Result<Vec<Measured>, StageError> {
    const GIGA: f64 = 1e9;
    let values = vec![1f32; COPIED];
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..REPEATS {
        let copied = device.copy(&values, 1).map_err(|error| failed(ctx, error))?;
        let [sent, fetched] = device.transfer(&values, 1).map_err(|error| failed(ctx, error))?;
        let chains = device.multiply_add(LANES, STEPS, 1).map_err(|error| failed(ctx, error))?;
        for (list, timed) in rates.iter_mut().zip([copied, sent, fetched, chains]) {
            list.push(timed.rate() / GIGA);
        }
    }
    let named = [
        ("copying within the device's memory, read and written", "GB/s"),
        ("copying from the host to the device", "GB/s"),
        ("copying from the device to the host", "GB/s"),
        ("multiply-add on the device, single precision", "GFLOP/s"),
    ];
    Ok(named
        .into_iter()
        .zip(rates)
        .map(|((what, unit), values)| Measured::rate(what, unit, values))
        .collect())
}

fn failed(ctx: &Ctx<'_>, error: impl std::fmt::Display) -> StageError {
    StageError::input(format!("{}: the device cannot be measured: {error}", ctx.host), "")
}

/// The search of a refinement: 7.5°, 21 shifts, radius 20 in a box of 96.
fn search() -> pose_search::Case {
    pose_search::Case {
        name: "benchmark",
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

fn searched<D: PoseSearch>(ctx: &Ctx<'_>, device: &D, seconds: f64) -> Result<Measured, StageError> {
    let case = search();
    let setting = case.setting();
    let slicer = device
        .slicer(setting.phantom.volume().view(), PADDING, case.rmax + 2.0)
        .map_err(|error| failed(ctx, error))?;
    let views = device.prepare_views(&slicer, &case.request(&setting)).map_err(|error| failed(ctx, error))?;
    let few = case.search_images(&setting);
    let count = (SEARCHED * ctx.threads).max(few.len());
    let images: Vec<SearchImage<'_>> = few.into_iter().cycle().take(count).collect();
    let values = rates(seconds, || {
        std::hint::black_box(device.score_views(&views, &images));
        device.synchronize();
        images.len() as f64
    });
    Ok(Measured::rate("pose search, box 96, 7.5°, 21 shifts", "images/s", values))
}

fn inserted<D: Insert>(ctx: &Ctx<'_>, device: &D, seconds: f64) -> Result<Measured, StageError> {
    let batch = insert::Batch::noise(INSERT_BOX, INSERT_BAND, INSERTED, 1);
    let grid = PaddedGrid::new(INSERT_BOX, PADDING, INSERT_BAND);
    // as many images as a long measurement may come to
    let scale = FixedPoint::new(4.0, 2.0, 1 << 20);
    let mut sums = device.accumulator(grid, scale).map_err(|error| failed(ctx, error))?;
    let mut failure = None;
    let values = rates(seconds, || {
        if let Err(error) = device.insert(&mut sums, &batch.view()) {
            failure = Some(error);
        }
        device.synchronize();
        INSERTED as f64
    });
    match failure {
        Some(error) => Err(failed(ctx, error)),
        None => Ok(Measured::rate("insertion, box 128, radius 40", "images/s", values)),
    }
}
