//! Family `align`: the launches of `align.cu`. Contract: [`vitreous_compute::ops::align`].
//!
//! Images go to the device once for all bands and poses. All climbs of a batch go in step: in each round one launch finds
//! the normal equations wherever [`vitreous_compute::levenberg`] wants them, and only these sums come back.

mod resident;

use crate::families::Family;
use crate::gpu::Gpu;
use crate::project::GpuSlicer;
use crate::runtime::{Argument, Buffer, KernelError, Launch, Runtime};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use resident::{Held, Resident, ResidentShells, SAMPLES};
use vitreous_compute::cpu::align::lattice::{Band, Lattice};
use vitreous_compute::device::Cpu;
use vitreous_compute::levenberg::Ascent;
use vitreous_compute::ops::align::{
    Align, AlignImage, AlignLevel, Alignment, NormalEquations, PARAMETERS, PixelPose, ShellSums,
};
use vitreous_compute::ops::grid::PaddedGrid;

/// logL and its derivatives at poses.
const NORMAL: &str = "align_normal_equations";

/// Sums by shell at poses.
const SHELLS: &str = "align_shell_sums";

/// The family.
pub const FAMILY: Family =
    Family { name: "align", ptx: include_str!("../../ptx/align.ptx"), kernels: &[SAMPLES, NORMAL, SHELLS] };

/// Threads of the blocks that sum: `SUMMING_THREADS` of `block_sums.cuh`.
const SUMMING_THREADS: u32 = 128;

/// Points of a band that one block sums over, as in `align.cu`.
const POINTS_OF_PART: usize = 4096;

/// logL, gradient, upper triangle of the Hessian.
const NORMAL_SUMS: usize = 1 + PARAMETERS + PARAMETERS * (PARAMETERS + 1) / 2;

/// Residual, cross, model.
const SHELL_SUMS: usize = 3;

/// A pose of an image of the batch; the struct of `align.cu`, as are the following.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct PosedImage {
    /// Rotation, row by row.
    matrix: [f32; 9],
    /// Shift in boxes.
    turns: [f32; 2],
    /// Place of the image in the batch.
    image: i32,
}

impl PosedImage {
    fn new(image: usize, pose: &PixelPose, box_px: usize) -> Self {
        let matrix = pose.rotation.matrix();
        Self {
            matrix: std::array::from_fn(|i| matrix[i / 3][i % 3] as f32),
            turns: pose.shift_px.map(|t| t as f32 / box_px as f32),
            image: image as i32,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct SliceShape {
    reach: i32,
    scale: f32,
    per_px: f32,
}

impl SliceShape {
    fn of(grid: &PaddedGrid) -> Self {
        Self {
            reach: grid.reach() as i32,
            scale: grid.scale() as f32,
            per_px: std::f32::consts::TAU / grid.n() as f32,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct NormalShape {
    slice: SliceShape,
    points: i32,
    band: i32,
    parts: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct ShellShape {
    slice: SliceShape,
    points: i32,
    shells: i32,
    /// Radius to which the model reaches, Fourier pixels, rounded as the points' radii are.
    modelled: f32,
}

/// Bytes on the device of a pose of which `sums` sums come back.
fn pose_bytes(sums: usize) -> usize {
    size_of::<PosedImage>() + sums * size_of::<f64>()
}

/// Bytes of a pose whose equations are asked for in a band of all points held.
fn normal_bytes(held: &Held<'_>) -> usize {
    pose_bytes(held.points().div_ceil(POINTS_OF_PART) * NORMAL_SUMS)
}

/// A launch of one block for each pose and each of `rows`.
fn summing(kernel: &'static str, poses: usize, rows: usize) -> Launch {
    Launch { kernel, grid: [poses as u32, rows as u32, 1], block: [SUMMING_THREADS, 1, 1], shared_bytes: 0 }
}

/// The equations of a pose from the sums of the parts of its band.
fn equations(parts: &[f64]) -> NormalEquations {
    let mut sums = [0.0; NORMAL_SUMS];
    for part in parts.chunks_exact(NORMAL_SUMS) {
        sums.iter_mut().zip(part).for_each(|(sum, &value)| *sum += value);
    }
    let mut found = NormalEquations { log_likelihood: sums[0], ..NormalEquations::default() };
    found.gradient.copy_from_slice(&sums[1..=PARAMETERS]);
    let pairs = (0..PARAMETERS).flat_map(|a| (a..PARAMETERS).map(move |b| (a, b)));
    for ((a, b), &sum) in pairs.zip(&sums[1 + PARAMETERS..]) {
        found.hessian[a][b] = sum;
        found.hessian[b][a] = sum;
    }
    found
}

impl<R: Runtime> Gpu<R> {
    /// logL and its derivatives, without priors, of images of a batch at poses, in the band of `window`.
    fn equations_at(
        &self,
        slicer: &GpuSlicer<R>,
        held: &Held<'_>,
        resident: &Resident<R>,
        window: &Buffer<f32, R>,
        asked: &[PosedImage],
    ) -> Result<Vec<NormalEquations>, KernelError> {
        let runtime = self.runtime();
        let parts = window.len().div_ceil(POINTS_OF_PART);
        if asked.is_empty() || parts == 0 {
            return Ok(vec![NormalEquations::default(); asked.len()]);
        }
        let mut out = Buffer::<f64, R>::zeros(runtime, asked.len() * parts * NORMAL_SUMS)?;
        let poses = Buffer::upload(runtime, asked)?;
        let shape = NormalShape {
            slice: SliceShape::of(slicer.grid()),
            points: held.points() as i32,
            band: window.len() as i32,
            parts: parts as i32,
        };
        let mut arguments = [
            out.write(),
            slicer.data().read(),
            resident.samples.read(),
            resident.points.read(),
            window.read(),
            poses.read(),
            Argument::scalars(&shape),
        ];
        // SAFETY: the arguments are those of `align_normal_equations` in number, order and size; the arrays have the
        // lengths that `NormalShape` and the grid state, poses name images of the batch, and a `Band` ends on the grid.
        unsafe { runtime.launch(&summing(NORMAL, asked.len(), parts), &mut arguments) }?;
        Ok(out.download(runtime)?.par_chunks_exact(parts * NORMAL_SUMS).map(equations).collect())
    }

    /// [`Align::align`] for one batch.
    fn climb_in_step(
        &self,
        slicer: &GpuSlicer<R>,
        held: &Held<'_>,
        bands: &[Band],
        images: &[AlignImage<'_>],
    ) -> Result<Vec<Vec<Alignment>>, KernelError> {
        let box_px = slicer.grid().n();
        let resident = Resident::read(self.runtime(), held, images)?;
        let mut ascents: Vec<Ascent> = images.iter().map(|image| Ascent::new(image.starts)).collect();
        for band in bands {
            let window = Buffer::upload(self.runtime(), &band.window)?;
            ascents.iter_mut().for_each(|ascent| ascent.begin(band.climb));
            loop {
                let mut asked: Vec<PosedImage> = Vec::new();
                let mut firsts = Vec::with_capacity(ascents.len());
                for (image, ascent) in ascents.iter().enumerate() {
                    firsts.push(asked.len());
                    let proposals = ascent.climbs().iter().filter_map(|climb| climb.proposal());
                    asked.extend(proposals.map(|pose| PosedImage::new(image, &pose, box_px)));
                }
                if asked.is_empty() {
                    break;
                }
                let found = self.equations_at(slicer, held, &resident, &window, &asked)?;
                ascents.par_iter_mut().zip(images).zip(firsts).for_each(|((ascent, image), first)| {
                    take_found(ascent, image, &found[first..]);
                });
            }
            ascents.par_iter_mut().for_each(Ascent::finish);
        }
        Ok(ascents.into_iter().map(Ascent::into_kept).collect())
    }

    /// [`Align::normal_equations`] for one batch.
    fn equations_of_starts(
        &self,
        slicer: &GpuSlicer<R>,
        held: &Held<'_>,
        band: &Band,
        images: &[AlignImage<'_>],
    ) -> Result<Vec<NormalEquations>, KernelError> {
        let resident = Resident::read(self.runtime(), held, images)?;
        let window = Buffer::upload(self.runtime(), &band.window)?;
        let asked = first_starts(images, slicer.grid().n());
        let found = self.equations_at(slicer, held, &resident, &window, &asked)?;
        let mut all = vec![NormalEquations::default(); images.len()];
        for (posed, mut equations) in asked.iter().zip(found) {
            let image = posed.image as usize;
            if let Some(pose) = images[image].starts.first() {
                images[image].prior.add_to(pose, &mut equations);
            }
            all[image] = equations;
        }
        Ok(all)
    }

    /// [`Align::shell_sums`] for one batch.
    fn shell_sums_of(
        &self,
        slicer: &GpuSlicer<R>,
        held: &Held<'_>,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Result<Vec<ShellSums>, KernelError> {
        let (grid, runtime) = (slicer.grid(), self.runtime());
        let shells = grid.n() / 2 + 1;
        let resident = Resident::read(runtime, held, images)?;
        let by_shell = ResidentShells::new(runtime, held.lattice(), shells)?;
        let asked = first_starts(images, grid.n());
        let mut out = Buffer::<f64, R>::zeros(runtime, asked.len() * shells * SHELL_SUMS)?;
        if !asked.is_empty() {
            let poses = Buffer::upload(runtime, &asked)?;
            let shape = ShellShape {
                slice: SliceShape::of(grid),
                points: held.points() as i32,
                shells: shells as i32,
                modelled: rounded_down(grid.radius(rmax)),
            };
            let mut arguments = [
                out.write(),
                slicer.data().read(),
                resident.samples.read(),
                resident.points.read(),
                by_shell.order.read(),
                by_shell.starts.read(),
                poses.read(),
                Argument::scalars(&shape),
            ];
            // SAFETY: the arguments are those of `align_shell_sums` in number, order and size; the arrays have the lengths
            // that `ShellShape` and the grid state, all points of the lattice are held, poses name images of the batch,
            // and the model is looked up within the grid's radius.
            unsafe { runtime.launch(&summing(SHELLS, asked.len(), shells), &mut arguments) }?;
        }
        let found = out.download(runtime)?;
        let mut found = found.chunks_exact(shells * SHELL_SUMS);
        let sums_of = |image: &AlignImage<'_>| {
            let sums = image.starts.first().and_then(|_| found.next());
            sums.map_or_else(
                || no_sums(shells),
                |sums| shell_sums(sums, &by_shell.points, image.model.amplitude),
            )
        };
        Ok(images.iter().map(sums_of).collect())
    }
}

/// What is said of an image without a start.
fn no_sums(shells: usize) -> ShellSums {
    let zeros = || vec![0.0; shells];
    ShellSums { residual: zeros(), cross: zeros(), model: zeros(), points: zeros() }
}

/// Sums by shell of an image of this amplitude, from those of the kernel.
fn shell_sums(sums: &[f64], points: &[f64], amplitude: f64) -> ShellSums {
    let over = if amplitude == 0.0 { 0.0 } else { 1.0 / amplitude };
    let column =
        |which: usize, factor: f64| sums.chunks_exact(SHELL_SUMS).map(|s| s[which] * factor).collect();
    ShellSums {
        residual: column(0, 1.0),
        cross: column(1, over),
        model: column(2, over * over),
        points: points.to_vec(),
    }
}

/// The largest number of single precision that is not above `value`.
fn rounded_down(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

/// The first start of each image that has one.
fn first_starts(images: &[AlignImage<'_>], box_px: usize) -> Vec<PosedImage> {
    let first = |(place, image): (usize, &AlignImage<'_>)| {
        image.starts.first().map(|pose| PosedImage::new(place, pose, box_px))
    };
    images.iter().enumerate().filter_map(first).collect()
}

/// Gives each climb of an image that goes on the equations at its proposal, from the beginning of `found`.
fn take_found(ascent: &mut Ascent, image: &AlignImage<'_>, found: &[NormalEquations]) {
    let mut found = found.iter();
    for climb in ascent.climbs_mut() {
        let Some(pose) = climb.proposal() else { continue };
        if let Some(mut equations) = found.next().copied() {
            image.prior.add_to(&pose, &mut equations);
            climb.take(equations);
        }
    }
}

impl<R: Runtime> Align for Gpu<R> {
    fn align(
        &self,
        slicer: &GpuSlicer<R>,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Vec<Vec<Alignment>> {
        let grid = slicer.grid();
        let lattice = Lattice::new(grid.n());
        let bands: Vec<Band> = levels.iter().map(|level| Band::new(&lattice, grid, level)).collect();
        let held = Held::new(&lattice, bands.iter().map(|band| band.window.len()).max().unwrap_or(0));
        if held.points() == 0 {
            return vec![Vec::new(); images.len()];
        }
        let poses = images.iter().map(|image| image.starts.len()).max().unwrap_or(0);
        self.in_batches(
            images.len(),
            held.batch(self, poses * normal_bytes(&held)),
            &|run| self.climb_in_step(slicer, &held, &bands, &images[run]),
            &|run| Cpu.align(slicer.host(), levels, &images[run]),
        )
    }

    fn normal_equations(
        &self,
        slicer: &GpuSlicer<R>,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Vec<NormalEquations> {
        let grid = slicer.grid();
        let lattice = Lattice::new(grid.n());
        let band = Band::new(&lattice, grid, &AlignLevel { rmax, keep: 1 });
        let held = Held::new(&lattice, band.window.len());
        if held.points() == 0 {
            // nothing but the prior
            return Cpu.normal_equations(slicer.host(), rmax, images);
        }
        self.in_batches(
            images.len(),
            held.batch(self, normal_bytes(&held)),
            &|run| self.equations_of_starts(slicer, &held, &band, &images[run]),
            &|run| Cpu.normal_equations(slicer.host(), rmax, &images[run]),
        )
    }

    fn shell_sums(&self, slicer: &GpuSlicer<R>, rmax: f64, images: &[AlignImage<'_>]) -> Vec<ShellSums> {
        let lattice = Lattice::new(slicer.grid().n());
        let held = Held::new(&lattice, lattice.points());
        if held.points() == 0 {
            // nothing but zeros
            return Cpu.shell_sums(slicer.host(), rmax, images);
        }
        self.in_batches(
            images.len(),
            held.batch(self, pose_bytes((slicer.grid().n() / 2 + 1) * SHELL_SUMS)),
            &|run| self.shell_sums_of(slicer, &held, rmax, &images[run]),
            &|run| Cpu.shell_sums(slicer.host(), rmax, &images[run]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_are_rounded_down() {
        assert_eq!(rounded_down(50.0), 50.0);
        for value in [0.1, 0.2, 47.3, 1.0 / 3.0] {
            let down = rounded_down(value);
            assert!(f64::from(down) <= value && f64::from(down.next_up()) > value, "{value}");
        }
    }

    #[test]
    fn parts_are_added_up_to_symmetric_equations() {
        let parts: Vec<f64> = (0..2 * NORMAL_SUMS).map(|i| i as f64).collect();
        let found = equations(&parts);
        let sum = |i: usize| (2 * i + NORMAL_SUMS) as f64;
        assert_eq!((found.log_likelihood, found.gradient), (sum(0), [1, 2, 3, 4, 5].map(sum)));
        assert_eq!((found.hessian[0], found.hessian[1][1]), ([6, 7, 8, 9, 10].map(sum), sum(11)));
        assert!((0..PARAMETERS).all(|a| (0..PARAMETERS).all(|b| found.hessian[a][b] == found.hessian[b][a])));
    }
}
