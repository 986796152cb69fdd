//! Family `tile_spectra`: the launches of `tile_spectra.cu`, with transforms between. Contract:
//! [`vitreous_compute::ops::tile_spectra`].
//!
//! A micrograph stands in the device's memory once, tiles in as many runs as are needed. Edges that
//! [`ImageTransform`] cannot transform are left to the CPU twin; those that stages choose have small factors.

use crate::families::Family;
use crate::gpu::Gpu;
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, MOST_ROWS, Runtime};
use crate::transform::ImageTransform;
use bytemuck::{Pod, Zeroable};
use ndarray::ArrayView2;
use std::ops::Range;
use vitreous_compute::cpu::tile_spectra::spectrum_of;
use vitreous_compute::ops::tile_spectra::{FLAT_VARIANCE, TileSpectra, TileSpectraError, Tiling};
use vitreous_compute::spectrum_cells::SpectrumCells;
use vitreous_model::conventions::signed_frequency;

const ROW_SUMS: &str = "tile_row_sums";
const LEVELS: &str = "tile_levels";
const FADED: &str = "tile_faded";
const CELL_POWER: &str = "tile_cell_power";

/// The family.
pub const FAMILY: Family = Family {
    name: "tile_spectra",
    ptx: include_str!("../ptx/tile_spectra.ptx"),
    kernels: &[ROW_SUMS, LEVELS, FADED, CELL_POWER],
};

/// `TILE_ROWS` and threads of a block of `tile_row_sums`.
const TILE_ROWS: usize = 8;
const ROW_SUM_THREADS: u32 = 128;

/// `LEVEL_THREADS`.
const LEVEL_THREADS: u32 = 128;

/// Scalars of the kernels; the same struct stands in `tile_spectra.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct TileShape {
    width: i32,
    cut: i32,
    columns: i32,
    cells: i32,
    flat: f64,
}

/// What all tiles of a micrograph share, in the device's memory.
struct Shared<R: Runtime> {
    shape: TileShape,
    transform: ImageTransform<R>,
    pixels: Buffer<f32, R>,
    window: Buffer<f32, R>,
    first_member: Buffer<i32, R>,
    members: Buffer<i32, R>,
}

impl<R: Runtime> Shared<R> {
    /// `None` where the kernels cannot transform tiles of this edge.
    fn new(
        runtime: &R,
        pixels: &[f32],
        width: usize,
        tiling: &Tiling,
        cells: &SpectrumCells,
    ) -> Result<Option<Self>, KernelError> {
        let cut = tiling.cut();
        let Some(transform) = ImageTransform::new(runtime, cut, cut)? else { return Ok(None) };
        let (first_member, members) = members_of(cells, cut);
        let shape = TileShape {
            width: width as i32,
            cut: cut as i32,
            columns: (cut / 2 + 1) as i32,
            cells: cells.len() as i32,
            flat: FLAT_VARIANCE,
        };
        Ok(Some(Self {
            shape,
            transform,
            pixels: Buffer::upload(runtime, pixels)?,
            window: Buffer::upload(runtime, tiling.window())?,
            first_member: Buffer::upload(runtime, &first_member)?,
            members: Buffer::upload(runtime, &members)?,
        }))
    }

    /// Mean and scale of each tile.
    fn levels(
        &self,
        runtime: &R,
        corners: &Buffer<i32, R>,
        tiles: usize,
    ) -> Result<Buffer<Float2, R>, KernelError> {
        let cut = self.shape.cut as usize;
        let mut sums = Buffer::<f64, R>::zeros(runtime, 2 * tiles * cut)?;
        let launch = Launch {
            kernel: ROW_SUMS,
            grid: [cut.div_ceil(TILE_ROWS) as u32, tiles as u32, 1],
            block: [ROW_SUM_THREADS, 1, 1],
            shared_bytes: 0,
        };
        let mut arguments =
            [sums.write(), self.pixels.read(), corners.read(), Argument::scalars(&self.shape)];
        // SAFETY: the arguments are those of the kernel in number, order and size; every tile lies within the micrograph
        // (`Tiling::check`), and `sums` has two numbers for each of its rows.
        unsafe { runtime.launch(&launch, &mut arguments)? };
        let mut levels = Buffer::zeros(runtime, tiles)?;
        let launch = Launch {
            kernel: LEVELS,
            grid: [tiles as u32, 1, 1],
            block: [LEVEL_THREADS, 1, 1],
            shared_bytes: 0,
        };
        let mut arguments =
            [levels.write(), sums.read(), self.pixels.read(), corners.read(), Argument::scalars(&self.shape)];
        // SAFETY: as above; there is a level for each tile.
        unsafe { runtime.launch(&launch, &mut arguments)? };
        Ok(levels)
    }

    /// The spectra of some tiles.
    fn spectra(&self, runtime: &R, corners: &[[usize; 2]]) -> Result<Vec<Option<Vec<f32>>>, KernelError> {
        let tiles = corners.len();
        let flat: Vec<i32> = corners.iter().flatten().map(|&at| at as i32).collect();
        let corners = Buffer::upload(runtime, &flat)?;
        let levels = self.levels(runtime, &corners, tiles)?;
        let mut faded = Buffer::<f32, R>::zeros(runtime, tiles * self.transform.pixels())?;
        let launch = Launch::over(FADED, self.transform.pixels(), tiles);
        let mut arguments = [
            faded.write(),
            self.pixels.read(),
            corners.read(),
            levels.read(),
            self.window.read(),
            Argument::scalars(&self.shape),
        ];
        // SAFETY: as in `levels`; `faded` holds all tiles.
        unsafe { runtime.launch(&launch, &mut arguments)? };
        let half = self.transform.forward(runtime, &faded, tiles, [0, 0])?;
        drop(faded);
        let cells = self.shape.cells as usize;
        let mut power = Buffer::<f32, R>::zeros(runtime, tiles * cells)?;
        if cells > 0 {
            let launch = Launch::over(CELL_POWER, cells, tiles);
            let mut arguments = [
                power.write(),
                half.read(),
                self.first_member.read(),
                self.members.read(),
                Argument::scalars(&self.shape),
            ];
            // SAFETY: as in `levels`; the members are coefficients of a tile's half transform (`members_of`).
            unsafe { runtime.launch(&launch, &mut arguments)? };
        }
        let (power, levels) = (power.download(runtime)?, levels.download(runtime)?);
        let of_tile = |(tile, level): (usize, Float2)| {
            (level.y != 0.0).then(|| power[tile * cells..(tile + 1) * cells].to_vec())
        };
        Ok(levels.into_iter().enumerate().map(of_tile).collect())
    }
}

/// For every cell, where its list begins (and after the last, where it ends), and the lists: indices into the half
/// transform of a tile of `cut` pixels, in the order of its rows.
fn members_of(cells: &SpectrumCells, cut: usize) -> (Vec<i32>, Vec<i32>) {
    let (tile, count) = (cells.tile, cells.len());
    let mut first = vec![0; count + 1];
    let inside = |cell: u32| (cell as usize) < count;
    for &cell in cells.cell_of.iter().filter(|cell| inside(**cell)) {
        first[cell as usize + 1] += 1;
    }
    for cell in 0..count {
        first[cell + 1] += first[cell];
    }
    let mut next = first.clone();
    let mut members = vec![0; first[count] as usize];
    for (y, row) in cells.cell_of.chunks(tile / 2 + 1).enumerate() {
        let source = signed_frequency(y, tile).rem_euclid(cut as isize) as usize;
        for (x, &cell) in row.iter().enumerate().filter(|(_, cell)| inside(**cell)) {
            let at = &mut next[cell as usize];
            members[*at as usize] = (source * (cut / 2 + 1) + x) as i32;
            *at += 1;
        }
    }
    (first, members)
}

impl<R: Runtime> TileSpectra for Gpu<R> {
    fn tile_spectra(
        &self,
        pixels: ArrayView2<'_, f32>,
        tiling: &Tiling,
        cells: &SpectrumCells,
    ) -> Result<Vec<Option<Vec<f32>>>, TileSpectraError> {
        tiling.check(&pixels, cells)?;
        let corners = tiling.corners();
        if corners.is_empty() {
            return Ok(Vec::new());
        }
        let pixels = pixels.as_standard_layout();
        let on_host = |run: Range<usize>| -> Vec<Option<Vec<f32>>> {
            let tiles = corners[run].iter();
            tiles.map(|&corner| spectrum_of(pixels.view(), corner, tiling, cells)).collect()
        };
        let flat = pixels.as_slice().unwrap_or_default();
        let shared = match Shared::new(self.runtime(), flat, pixels.ncols(), tiling, cells) {
            Ok(Some(shared)) => shared,
            Ok(None) => return Ok(on_host(0..corners.len())),
            Err(error) => {
                self.remark(&error);
                return Ok(on_host(0..corners.len()));
            }
        };
        let bytes_each =
            ImageTransform::<R>::bytes_each(tiling.cut(), tiling.cut()) + cells.len() * size_of::<f32>();
        let at_once = self.batch(bytes_each, 0, MOST_ROWS);
        let on_device = |run: Range<usize>| shared.spectra(self.runtime(), &corners[run]);
        Ok(self.in_batches(corners.len(), at_once, &on_device, &on_host))
    }
}
