//! Family `align`: the launches of `align.cu`. Contract: [`vitreous_compute::ops::align`].
//!
//! Images are read at the points of their band by the host, as the CPU twin reads them, and sent once; the control of
//! Levenberg–Marquardt is the CPU's ([`vitreous_compute::pose_climb`]), in lock step for all starts of all images of a batch:
//! one launch a round gives logL and its derivatives at all poses that are still climbing.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::project::GpuSlicer;
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, MOST_ROWS, Runtime};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use vitreous_compute::cpu::align::lattice::{Lattice, LatticeImage};
use vitreous_compute::device::Cpu;
use vitreous_compute::ops::align::{
    Align, AlignImage, AlignLevel, Alignment, NormalEquations, PARAMETERS, PixelPose, ShellSums,
};
use vitreous_compute::pose_climb::{Band, Climb, best_distinct};

/// Names of the kernels.
const KERNELS: [&str; 2] = ["normal_equations", "shell_sums"];

/// The family.
pub const FAMILY: Family = Family { name: "align", ptx: include_str!("../ptx/align.ptx"), kernels: &KERNELS };

/// Threads of a block, as in `align.cu`.
const THREADS: u32 = 128;

/// Sums of a pose: logL, gradient, upper triangle of the Hessian.
const SUMS: usize = 1 + PARAMETERS + PARAMETERS * (PARAMETERS + 1) / 2;

/// Images of one batch.
const MOST_IMAGES: usize = 4096;

/// Scalars of the kernels; the same struct stands in `align.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct AlignShape {
    poses: i32,
    points: i32,
    stride: i32,
    /// Grid steps from the origin to the last point.
    reach: i32,
    /// Grid steps per Fourier pixel.
    scale: f32,
    /// 2π over the box edge.
    per_px: f32,
}

/// An image at a point of the lattice; the same struct stands in `align.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    re: f32,
    im: f32,
    /// CTF times amplitude.
    transfer: f32,
    over_noise: f32,
}

/// A pose; the same struct stands in `align.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Pose {
    rotation: [f32; 9],
    /// Shift over the box edge.
    turns: [f32; 2],
}

impl Pose {
    fn new(pose: &PixelPose, box_px: usize) -> Self {
        let m = pose.rotation.matrix();
        Self {
            rotation: std::array::from_fn(|i| m[i / 3][i % 3] as f32),
            turns: pose.shift_px.map(|t| t as f32 / box_px as f32),
        }
    }
}

/// Images of a batch on the device, at the points of a lattice.
struct Sent<R: Runtime> {
    q: Buffer<Float2, R>,
    images: Buffer<Point, R>,
    stride: usize,
}

/// Poses of images of a batch.
struct PosesOf {
    image_of: Vec<i32>,
    poses: Vec<Pose>,
}

impl PosesOf {
    fn new<'a>(poses: impl Iterator<Item = (usize, &'a PixelPose)>, box_px: usize) -> Self {
        let (image_of, poses) = poses.map(|(image, pose)| (image as i32, Pose::new(pose, box_px))).unzip();
        Self { image_of, poses }
    }
}

impl<R: Runtime> Gpu<R> {
    /// Sends images at the first `count` points of a lattice, in the given order of them.
    fn send_images(
        &self,
        lattice: &Lattice,
        images: &[AlignImage<'_>],
        order: &[usize],
    ) -> Result<Sent<R>, KernelError> {
        let stride = order.len();
        let count = order.iter().max().map_or(0, |last| last + 1);
        let q: Vec<Float2> = order.iter().map(|&i| Float2 { x: lattice.qx[i], y: lattice.qy[i] }).collect();
        let read = |work: &mut LatticeImage, (image, to): (&AlignImage<'_>, &mut [Point])| {
            work.read(lattice, &image.model, count, count);
            for (point, &i) in to.iter_mut().zip(order) {
                *point = Point {
                    re: work.re[i],
                    im: work.im[i],
                    transfer: work.transfer[i],
                    over_noise: work.over_noise[i],
                };
            }
        };
        let mut points = vec![Point::zeroed(); stride * images.len()];
        if stride > 0 {
            images
                .par_iter()
                .zip(points.par_chunks_mut(stride))
                .for_each_init(LatticeImage::default, |work, pair| read(work, pair));
        }
        let runtime = self.runtime();
        Ok(Sent { q: Buffer::upload(runtime, &q)?, images: Buffer::upload(runtime, &points)?, stride })
    }

    fn shape(slicer: &GpuSlicer<R>, poses: usize, points: usize, stride: usize) -> AlignShape {
        let grid = slicer.grid();
        AlignShape {
            poses: poses as i32,
            points: points as i32,
            stride: stride as i32,
            reach: grid.reach() as i32,
            scale: grid.scale() as f32,
            per_px: (std::f64::consts::TAU / grid.n().max(1) as f64) as f32,
        }
    }

    /// logL and its derivatives, without priors, at poses of images that were sent.
    fn evaluate(
        &self,
        slicer: &GpuSlicer<R>,
        sent: &Sent<R>,
        window: &Buffer<f32, R>,
        at: &PosesOf,
    ) -> Result<Vec<NormalEquations>, KernelError> {
        let runtime = self.runtime();
        let count = at.poses.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut out = Buffer::<f64, R>::zeros(runtime, count * SUMS)?;
        let image_of = Buffer::upload(runtime, &at.image_of)?;
        let poses = Buffer::upload(runtime, &at.poses)?;
        let shape = Self::shape(slicer, count, window.len(), sent.stride);
        let launch = Launch {
            kernel: KERNELS[0],
            grid: [count as u32, 1, 1],
            block: [THREADS, 1, 1],
            shared_bytes: 0,
        };
        let mut arguments = [
            out.write(),
            slicer.data().read(),
            sent.q.read(),
            window.read(),
            sent.images.read(),
            image_of.read(),
            poses.read(),
            Argument::scalars(&shape),
        ];
        // SAFETY: the arguments are those of `normal_equations` in number, order and size; the band has at most as many points
        // as an image, and `Band::new` keeps them within the reach of the slicer's grid.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        let sums = out.download(runtime)?;
        Ok(sums.as_chunks::<SUMS>().0.iter().map(equations).collect())
    }

    fn align_run(
        &self,
        slicer: &GpuSlicer<R>,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Result<Vec<Vec<Alignment>>, KernelError> {
        let grid = slicer.grid();
        let lattice = Lattice::new(grid.n());
        let bands: Vec<Band> = levels.iter().map(|level| Band::new(&lattice, grid, level)).collect();
        let largest = bands.iter().map(|band| band.window.len()).max().unwrap_or(0);
        let mut kept: Vec<Vec<Alignment>> = vec![Vec::new(); images.len()];
        if largest == 0 {
            return Ok(kept);
        }
        let order: Vec<usize> = (0..largest).collect();
        let sent = self.send_images(&lattice, images, &order)?;
        let mut starts: Vec<Vec<(PixelPose, u32)>> =
            images.iter().map(|image| image.starts.iter().map(|&pose| (pose, 0)).collect()).collect();
        for band in &bands {
            let window = Buffer::upload(self.runtime(), &band.window)?;
            let mut climbs: Vec<(usize, u32, Climb)> = starts
                .iter()
                .enumerate()
                .flat_map(|(image, starts)| {
                    starts.iter().map(move |&(pose, spent)| (image, spent, Climb::new(pose)))
                })
                .collect();
            self.climb_all(slicer, &sent, &window, band, images, &mut climbs)?;
            let mut found: Vec<Vec<Alignment>> = vec![Vec::new(); images.len()];
            for (image, spent, climb) in climbs {
                let mut end = climb.end();
                end.evaluations += spent;
                found[image].push(end);
            }
            kept = found.into_iter().map(|ends| best_distinct(ends, band.keep, &band.extent)).collect();
            starts = kept
                .iter()
                .map(|ends| ends.iter().map(|end| (end.pose, end.evaluations)).collect())
                .collect();
        }
        Ok(kept)
    }

    /// Takes all climbs of a band to their ends.
    fn climb_all(
        &self,
        slicer: &GpuSlicer<R>,
        sent: &Sent<R>,
        window: &Buffer<f32, R>,
        band: &Band,
        images: &[AlignImage<'_>],
        climbs: &mut [(usize, u32, Climb)],
    ) -> Result<(), KernelError> {
        loop {
            let (wanting, poses): (Vec<usize>, Vec<PixelPose>) = climbs
                .iter()
                .enumerate()
                .filter_map(|(index, (_, _, climb))| Some((index, climb.next_pose()?)))
                .unzip();
            if wanting.is_empty() {
                return Ok(());
            }
            let image_of = wanting.iter().map(|&index| climbs[index].0);
            let at = PosesOf::new(image_of.zip(&poses), slicer.grid().n());
            let found = self.evaluate(slicer, sent, window, &at)?;
            for ((index, pose), mut found) in wanting.into_iter().zip(&poses).zip(found) {
                let (image, _, climb) = &mut climbs[index];
                images[*image].prior.add_to(pose, &mut found);
                climb.tell(found, &band.extent);
            }
        }
    }

    fn equations_run(
        &self,
        slicer: &GpuSlicer<R>,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Result<Vec<NormalEquations>, KernelError> {
        let grid = slicer.grid();
        let lattice = Lattice::new(grid.n());
        let band = Band::new(&lattice, grid, &AlignLevel { rmax, keep: 1 });
        let order: Vec<usize> = (0..band.window.len()).collect();
        let mut all = vec![NormalEquations::default(); images.len()];
        if order.is_empty() {
            return Ok(all);
        }
        let sent = self.send_images(&lattice, images, &order)?;
        let window = Buffer::upload(self.runtime(), &band.window)?;
        let first = || images.iter().enumerate().filter_map(|(i, image)| Some((i, image.starts.first()?)));
        let at = PosesOf::new(first(), grid.n());
        for ((image, pose), mut found) in first().zip(self.evaluate(slicer, &sent, &window, &at)?) {
            images[image].prior.add_to(pose, &mut found);
            all[image] = found;
        }
        Ok(all)
    }

    fn shell_sums_run(
        &self,
        slicer: &GpuSlicer<R>,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Result<Vec<ShellSums>, KernelError> {
        let (grid, runtime) = (slicer.grid(), self.runtime());
        let lattice = Lattice::new(grid.n());
        let shells = grid.n() / 2 + 1;
        let by_shell = Shells::new(&lattice, shells);
        let nothing = ShellSums {
            residual: vec![0.0; shells],
            cross: vec![0.0; shells],
            model: vec![0.0; shells],
            points: vec![0.0; shells],
        };
        let mut all = vec![nothing; images.len()];
        let first = || images.iter().enumerate().filter_map(|(i, image)| Some((i, image.starts.first()?)));
        let at = PosesOf::new(first(), grid.n());
        if at.poses.is_empty() || by_shell.order.is_empty() {
            return Ok(all);
        }
        let sent = self.send_images(&lattice, images, &by_shell.order)?;
        let starts = Buffer::upload(runtime, &by_shell.starts)?;
        let image_of = Buffer::upload(runtime, &at.image_of)?;
        let poses = Buffer::upload(runtime, &at.poses)?;
        let mut out = Buffer::<f64, R>::zeros(runtime, at.poses.len() * shells * 3)?;
        let modelled = grid.radius(rmax) as f32;
        let shape = Self::shape(slicer, at.poses.len(), by_shell.order.len(), sent.stride);
        let launch = Launch {
            kernel: KERNELS[1],
            grid: [shells as u32, at.poses.len() as u32, 1],
            block: [THREADS, 1, 1],
            shared_bytes: 0,
        };
        let mut arguments = [
            out.write(),
            slicer.data().read(),
            sent.q.read(),
            starts.read(),
            sent.images.read(),
            image_of.read(),
            poses.read(),
            Argument::scalars(&modelled),
            Argument::scalars(&shape),
        ];
        // SAFETY: the arguments are those of `shell_sums` in number, order and size; the grid is read at radii that it holds.
        unsafe { runtime.launch(&launch, &mut arguments) }?;
        let sums = out.download(runtime)?;
        for ((image, _), sums) in first().zip(sums.chunks_exact(shells * 3)) {
            let amplitude = images[image].model.amplitude;
            let over = if amplitude == 0.0 { 0.0 } else { 1.0 / amplitude };
            for (shell, &[residual, cross, model]) in sums.as_chunks::<3>().0.iter().enumerate() {
                let points = by_shell.starts[shell + 1] - by_shell.starts[shell];
                all[image].residual[shell] = residual;
                all[image].cross[shell] = cross * over;
                all[image].model[shell] = model * over * over;
                all[image].points[shell] = f64::from(points);
            }
        }
        Ok(all)
    }

    /// Images of a batch that is read at so many points.
    fn aligned_at_once(&self, points: usize) -> usize {
        self.batch(points * size_of::<Point>(), 0, MOST_IMAGES.min(MOST_ROWS))
    }
}

/// The points of a lattice, shell by shell.
struct Shells {
    order: Vec<usize>,
    starts: Vec<i32>,
}

impl Shells {
    fn new(lattice: &Lattice, shells: usize) -> Self {
        let shell_of = |i: usize| (lattice.shell[i] as usize).min(shells - 1);
        let mut order: Vec<usize> = (0..lattice.points()).collect();
        order.sort_by_key(|&i| shell_of(i));
        let starts = (0..=shells).map(|s| order.partition_point(|&i| shell_of(i) < s) as i32).collect();
        Self { order, starts }
    }
}

/// From the sums of a pose as the kernel lists them.
fn equations(sums: &[f64; SUMS]) -> NormalEquations {
    let mut found = NormalEquations { log_likelihood: sums[0], ..NormalEquations::default() };
    found.gradient.copy_from_slice(&sums[1..=PARAMETERS]);
    let mut pairs = sums[1 + PARAMETERS..].iter();
    for a in 0..PARAMETERS {
        for b in a..PARAMETERS {
            let sum = pairs.next().copied().unwrap_or_default();
            found.hessian[a][b] = sum;
            found.hessian[b][a] = sum;
        }
    }
    found
}

impl<R: Runtime> Align for Gpu<R> {
    fn align(
        &self,
        slicer: &GpuSlicer<R>,
        levels: &[AlignLevel],
        images: &[AlignImage<'_>],
    ) -> Vec<Vec<Alignment>> {
        let n = slicer.grid().n();
        self.in_batches(
            images.len(),
            self.aligned_at_once(n * n / 2),
            &|run| self.align_run(slicer, levels, &images[run]),
            &|run| Cpu.align(slicer.host(), levels, &images[run]),
        )
    }

    fn normal_equations(
        &self,
        slicer: &GpuSlicer<R>,
        rmax: f64,
        images: &[AlignImage<'_>],
    ) -> Vec<NormalEquations> {
        let n = slicer.grid().n();
        self.in_batches(
            images.len(),
            self.aligned_at_once(n * n / 2),
            &|run| self.equations_run(slicer, rmax, &images[run]),
            &|run| Cpu.normal_equations(slicer.host(), rmax, &images[run]),
        )
    }

    fn shell_sums(&self, slicer: &GpuSlicer<R>, rmax: f64, images: &[AlignImage<'_>]) -> Vec<ShellSums> {
        let n = slicer.grid().n();
        self.in_batches(
            images.len(),
            self.aligned_at_once(n * n / 2),
            &|run| self.shell_sums_run(slicer, rmax, &images[run]),
            &|run| Cpu.shell_sums(slicer.host(), rmax, &images[run]),
        )
    }
}
