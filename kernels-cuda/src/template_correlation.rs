//! Family `template_correlation`: the launches of `template_correlation.cu`. Contract:
//! [`vitreous_compute::ops::template_correlation`].
//!
//! Templates stay in the device's memory for all micrographs where they take at most half of what is free; else they are
//! sent anew, a few at a time. Tiles whose columns do not fit into a block ([`Parts::strided`]) or whose edge has a large
//! prime factor are left to the CPU twin; those that stages choose have small factors and a few hundred pixels.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, MOST_ROWS, Runtime, SHARED_BYTES};
use crate::transform::ImageTransform;
use crate::transform::plan::{Block, LinePlan, Parts, roots};
use bytemuck::{Pod, Zeroable};
use ndarray::Array2;
use num_complex::Complex32;
use std::ops::Range;
use vitreous_compute::cpu::template_correlation::best_of_tile;
use vitreous_compute::ops::template_correlation::{
    BestMatch, CorrelationError, CorrelationTile, Search, TemplateCorrelation, Templates,
};

const COLUMNS: &str = "correlation_columns";
const BEST: &str = "correlation_best";

/// The family.
pub const FAMILY: Family = Family {
    name: "template_correlation",
    ptx: include_str!("../ptx/template_correlation.ptx"),
    kernels: &[COLUMNS, BEST],
};

/// Rows between the two kernels, bytes: about as much as stays in the second-level cache of current GPUs.
const MOST_ROW_BYTES: usize = 32 << 20;

/// Complex numbers of a block of `correlation_best`: blocks are small, so that there are many.
const BEST_VALUES: usize = 256;

/// Scalars of the kernels; the same struct stands in `template_correlation.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct CorrelationShape {
    plan: LinePlan,
    n: i32,
    tiles: i32,
    first_y: i32,
    first_x: i32,
    rows: i32,
    columns: i32,
    in_bank: i32,
    template_before: i32,
    templates: i32,
    at_once: i32,
}

/// Templates of a [`Gpu`].
#[derive(Debug)]
pub struct GpuBank<R: Runtime> {
    pub(crate) host: Templates,
    device: Option<DeviceBank<R>>,
}

/// What is in the device's memory for all micrographs.
#[derive(Debug)]
struct DeviceBank<R: Runtime> {
    plan: LinePlan,
    transform: ImageTransform<R>,
    roots: Buffer<Float2, R>,
    /// All templates, where there is room.
    templates: Option<Buffer<Complex32, R>>,
}

impl<R: Runtime> DeviceBank<R> {
    /// `None` where the kernels cannot transform tiles of this edge.
    fn new(gpu: &Gpu<R>, templates: &Templates) -> Result<Option<Self>, KernelError> {
        let (n, runtime) = (templates.tile(), gpu.runtime());
        let Some(transform) = ImageTransform::new(runtime, n, n)? else { return Ok(None) };
        let Some(Parts::Whole(plan)) = Parts::strided(n) else { return Ok(None) };
        let roots = Buffer::upload(runtime, &roots(n))?;
        let bytes = size_of_val(templates.coefficients()) as u64;
        let has_room = bytes <= runtime.free_bytes() / 2;
        let resident = match has_room.then(|| Buffer::upload(runtime, templates.coefficients())) {
            // others were faster to take the memory
            None | Some(Err(KernelError::OutOfMemory { .. })) => None,
            Some(uploaded) => Some(uploaded?),
        };
        Ok(Some(Self { plan, transform, roots, templates: resident }))
    }
}

/// Some tiles on the device, and what was found so far.
struct Searched<'a, R: Runtime> {
    bank: &'a DeviceBank<R>,
    shape: CorrelationShape,
    tiles: Buffer<Float2, R>,
    scales: Buffer<f32, R>,
    score: Buffer<f32, R>,
    which: Buffer<i32, R>,
}

impl<'a, R: Runtime> Searched<'a, R> {
    fn new(
        runtime: &R,
        bank: &'a DeviceBank<R>,
        tiles: &[CorrelationTile],
        search: Search<'_>,
    ) -> Result<Self, KernelError> {
        let n = tiles[0].pixels.nrows();
        let [rows, columns] = [0, 1].map(|axis| tiles.iter().map(|tile| tile.size[axis]).max().unwrap_or(0));
        // a pair of rows is the same whatever other tiles are there
        let rows = rows.next_multiple_of(2);
        let [first_y, first_x] = search.first.map(|first| first as i32);
        let shape = CorrelationShape {
            plan: bank.plan,
            n: n as i32,
            tiles: tiles.len() as i32,
            first_y,
            first_x,
            rows: rows as i32,
            columns: columns as i32,
            in_bank: 0,
            template_before: 0,
            templates: 0,
            at_once: 1,
        };
        let pixels: Vec<f32> = tiles.iter().flat_map(|tile| tile.pixels.iter().copied()).collect();
        let pixels = Buffer::upload(runtime, &pixels)?;
        Ok(Self {
            bank,
            shape,
            tiles: bank.transform.forward(runtime, &pixels, tiles.len(), [0, 0])?,
            scales: Buffer::upload(runtime, search.scales)?,
            score: Buffer::zeros(runtime, tiles.len() * rows * columns)?,
            which: Buffer::zeros(runtime, tiles.len() * rows * columns)?,
        })
    }

    /// Rows between the kernels for one template, complex numbers.
    fn row_values(&self) -> usize {
        let shape = &self.shape;
        shape.tiles as usize * shape.rows as usize * (shape.n as usize / 2 + 1)
    }

    /// Compares with templates, whose transforms stand in `templates` from `in_bank` on.
    fn compare(
        &mut self,
        runtime: &R,
        templates: &Buffer<Complex32, R>,
        in_bank: usize,
        run: Range<usize>,
        rows: &mut Buffer<Float2, R>,
    ) -> Result<(), KernelError> {
        let n = self.shape.n as usize;
        let shape = CorrelationShape {
            in_bank: in_bank as i32,
            template_before: run.start as i32,
            templates: run.len() as i32,
            ..self.shape
        };
        let block = Block::of(&shape.plan, n / 2 + 1);
        let columns = CorrelationShape { at_once: block.lines as i32, ..shape };
        let launch = Launch {
            kernel: COLUMNS,
            grid: [(n / 2 + 1).div_ceil(block.lines) as u32, shape.tiles as u32, run.len() as u32],
            block: [block.threads, 1, 1],
            shared_bytes: block.shared_bytes,
        };
        let roots = &self.bank.roots;
        let mut arguments =
            [rows.write(), self.tiles.read(), templates.read(), roots.read(), Argument::scalars(&columns)];
        // SAFETY: the arguments are those of the kernel in number, order and size; `rows` has room for all rows of places of
        // the tiles with as many templates, and `templates` holds these from `in_bank` on.
        unsafe { runtime.launch(&launch, &mut arguments)? };
        let pairs = shape.rows as usize / 2;
        let bytes_each =
            2 * n * size_of::<Float2>() + 2 * shape.columns as usize * (size_of::<f32>() + size_of::<i32>());
        let at_once = (BEST_VALUES / n).min(SHARED_BYTES / bytes_each).clamp(1, pairs.max(1));
        let best = CorrelationShape { at_once: at_once as i32, ..shape };
        let launch = Launch {
            kernel: BEST,
            grid: [pairs.div_ceil(at_once) as u32, shape.tiles as u32, 1],
            block: [(at_once * n / 2).next_multiple_of(32).clamp(32, 256) as u32, 1, 1],
            shared_bytes: (at_once * bytes_each) as u32,
        };
        let mut arguments = [
            self.score.write(),
            self.which.write(),
            rows.read(),
            self.scales.read(),
            roots.read(),
            Argument::scalars(&best),
        ];
        // SAFETY: as above; scores have the rows and columns of the shape, and places lie within a tile (`Search::check`).
        unsafe { runtime.launch(&launch, &mut arguments) }
    }

    /// What was found, cut to the places of each tile.
    fn found(&self, runtime: &R, tiles: &[CorrelationTile]) -> Result<Vec<BestMatch>, KernelError> {
        let shape = (self.shape.rows as usize, self.shape.columns as usize);
        let (score, which) = (self.score.download(runtime)?, self.which.download(runtime)?);
        let places = (shape.0 * shape.1).max(1);
        let of_tile = |index: usize, tile: &CorrelationTile| {
            let [height, width] = tile.size;
            let at = |y: usize, x: usize| index * places + y * shape.1 + x;
            BestMatch {
                score: Array2::from_shape_fn((height, width), |(y, x)| score[at(y, x)]),
                template: Array2::from_shape_fn((height, width), |(y, x)| which[at(y, x)] as u32),
            }
        };
        Ok(tiles.iter().enumerate().map(|(index, tile)| of_tile(index, tile)).collect())
    }
}

impl<R: Runtime> Gpu<R> {
    fn matches_of_run(
        &self,
        host: &Templates,
        bank: &DeviceBank<R>,
        tiles: &[CorrelationTile],
        search: Search<'_>,
    ) -> Result<Vec<BestMatch>, KernelError> {
        let runtime = self.runtime();
        let mut searched = Searched::new(runtime, bank, tiles, search)?;
        if host.is_empty() || searched.row_values() == 0 || searched.shape.columns == 0 {
            return Ok(tiles.iter().map(|tile| BestMatch::none(tile.size)).collect());
        }
        let each = host.coefficients_each();
        let row_bytes = searched.row_values() * size_of::<Float2>();
        let sent_bytes = if bank.templates.is_some() { 0 } else { each * size_of::<Complex32>() };
        let most = (MOST_ROW_BYTES / row_bytes).clamp(1, MOST_ROWS.min(host.len()));
        let at_once = self.batch(row_bytes + sent_bytes, 0, most);
        let mut rows = Buffer::zeros(runtime, at_once * searched.row_values())?;
        let mut first = 0;
        while first < host.len() {
            let run = first..(first + at_once).min(host.len());
            first = run.end;
            match &bank.templates {
                Some(all) => searched.compare(runtime, all, run.start, run.clone(), &mut rows)?,
                None => {
                    let part = &host.coefficients()[run.start * each..run.end * each];
                    let part = Buffer::upload(runtime, part)?;
                    searched.compare(runtime, &part, 0, run, &mut rows)?;
                }
            }
        }
        searched.found(runtime, tiles)
    }
}

impl<R: Runtime> TemplateCorrelation for Gpu<R> {
    type Bank = GpuBank<R>;

    fn bank(&self, templates: Templates) -> GpuBank<R> {
        let device = DeviceBank::new(self, &templates).unwrap_or_else(|error| {
            self.remark(&error);
            None
        });
        GpuBank { host: templates, device }
    }

    fn best_matches(
        &self,
        bank: &GpuBank<R>,
        tiles: &[CorrelationTile],
        search: Search<'_>,
    ) -> Result<Vec<BestMatch>, CorrelationError> {
        search.check(&bank.host, tiles)?;
        let on_host = |run: Range<usize>| -> Vec<BestMatch> {
            tiles[run].iter().map(|tile| best_of_tile(tile, &bank.host, search)).collect()
        };
        let Some(device) = &bank.device else { return Ok(on_host(0..tiles.len())) };
        let n = bank.host.tile();
        let template_bytes = bank.host.coefficients_each() * size_of::<Complex32>();
        // a tile, its transform, its scores, and its rows with one template
        let bytes_each = ImageTransform::<R>::bytes_each(n, n) + 3 * template_bytes;
        let most = (MOST_ROW_BYTES / template_bytes.max(1)).clamp(1, MOST_ROWS);
        let at_once = self.batch(bytes_each, template_bytes, most);
        let on_device = |run: Range<usize>| self.matches_of_run(&bank.host, device, &tiles[run], search);
        Ok(self.in_batches(tiles.len(), at_once, &on_device, &on_host))
    }
}
