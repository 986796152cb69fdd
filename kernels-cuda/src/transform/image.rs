//! Transforms of images that lie in the memory of a device.

use super::plan::{Block, LineShape, Parts, RowShape, roots};
use super::{
    JOIN_ROWS, LINES, LINES_IN_PLACE, PACK_ROWS, PART_ROWS, ROWS_FORWARD, ROWS_INVERSE, UNPACK_ROWS,
};
use crate::runtime::{Argument, Buffer, Float2, KernelError, Launch, MOST_ROWS, Runtime};

/// Transforms of images of one size, any number of them at a time up to [`MOST_ROWS`].
#[derive(Debug)]
pub struct ImageTransform<R: Runtime> {
    ny: usize,
    nx: usize,
    rows: Parts,
    columns: Parts,
    row_roots: Buffer<Float2, R>,
    column_roots: Buffer<Float2, R>,
}

/// Forward or inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Inverse,
}

impl<R: Runtime> ImageTransform<R> {
    /// Whether kernels transform images of `ny × nx` pixels: there are some, no prime factor of either number is beyond
    /// [`super::plan::LARGEST_RADIX`], and a number that does not fit into a block is a product of two that do.
    pub fn is_possible(ny: usize, nx: usize) -> bool {
        Self::parts(ny, nx).is_some()
    }

    fn parts(ny: usize, nx: usize) -> Option<(Parts, Parts)> {
        // offsets within an image are 32-bit integers
        let fits =
            ny > 0 && nx > 0 && ny.checked_mul(nx + 2).is_some_and(|points| points <= i32::MAX as usize);
        // pairs of rows are rows of a grid where they are long
        let fits = fits && ny.div_ceil(2) <= MOST_ROWS;
        if fits { Parts::contiguous(nx).zip(Parts::strided(ny)) } else { None }
    }

    /// For images of `ny × nx` pixels; `None` where [`ImageTransform::is_possible`] is not so.
    ///
    /// # Errors
    /// The device failed.
    pub fn new(runtime: &R, ny: usize, nx: usize) -> Result<Option<Self>, KernelError> {
        let Some((rows, columns)) = Self::parts(ny, nx) else { return Ok(None) };
        let row_roots = Buffer::upload(runtime, &roots(nx))?;
        let column_roots = Buffer::upload(runtime, &roots(ny))?;
        Ok(Some(Self { ny, nx, rows, columns, row_roots, column_roots }))
    }

    /// Coefficients of a half transform.
    pub fn coefficients(&self) -> usize {
        self.ny * (self.nx / 2 + 1)
    }

    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.ny * self.nx
    }

    /// Device memory for an image, its transform, and what is needed between, bytes.
    pub fn bytes_each(ny: usize, nx: usize) -> usize {
        let half = ny * (nx / 2 + 1) * size_of::<Float2>();
        let between = half.max(ny.div_ceil(2) * nx * size_of::<Float2>());
        ny * nx * size_of::<f32>() + half + 2 * between
    }

    /// Transforms of `images` (`[images, ny, nx]`, at most [`MOST_ROWS`]) with phases counted from the pixel `origin` (row,
    /// column): `[images, ny, nx/2 + 1]`, unnormalised.
    ///
    /// # Errors
    /// The device failed.
    pub fn forward(
        &self,
        runtime: &R,
        pixels: &Buffer<f32, R>,
        images: usize,
        origin: [usize; 2],
    ) -> Result<Buffer<Float2, R>, KernelError> {
        let mut half = Buffer::zeros(runtime, images * self.coefficients())?;
        let shape = self.row_shape(origin, 1.0);
        if let Parts::Whole(plan) = self.rows {
            let (shape, launch) = self.row_blocks(shape, plan, ROWS_FORWARD, images);
            let mut arguments =
                [half.write(), pixels.read(), self.row_roots.read(), Argument::scalars(&shape)];
            // SAFETY: the arguments are those of the kernel in number, order and size; the arrays hold `images` images of
            // the shape's size, the table `nx` roots, and the launch has shared memory for its pairs of rows.
            unsafe { runtime.launch(&launch, &mut arguments)? };
        } else {
            let mut lines = self.lines_of_rows(runtime, images)?;
            let pack = Launch::over(PACK_ROWS, self.pairs() * self.nx, images);
            let mut arguments = [lines.write(), pixels.read(), Argument::scalars(&shape)];
            // SAFETY: as above; `lines` holds a complex line for each pair of rows.
            unsafe { runtime.launch(&pack, &mut arguments)? };
            let lines = self.transform_rows(runtime, lines, images)?;
            let part = Launch::over(PART_ROWS, self.pairs() * (self.nx / 2 + 1), images);
            let mut arguments = [half.write(), lines.read(), Argument::scalars(&shape)];
            // SAFETY: as above.
            unsafe { runtime.launch(&part, &mut arguments)? };
        }
        self.transform_columns(runtime, half, images, Way::Forward)
    }

    /// Images `[images, ny, nx]` of transforms `half` (`[images, ny, nx/2 + 1]`) whose phases count from the pixel `origin`.
    ///
    /// # Errors
    /// The device failed.
    pub fn inverse(
        &self,
        runtime: &R,
        half: Buffer<Float2, R>,
        images: usize,
        origin: [usize; 2],
    ) -> Result<Buffer<f32, R>, KernelError> {
        let half = self.transform_columns(runtime, half, images, Way::Inverse)?;
        let mut pixels = Buffer::zeros(runtime, images * self.pixels())?;
        let shape = self.row_shape(origin, (1.0 / (self.ny as f64 * self.nx as f64)) as f32);
        if let Parts::Whole(plan) = self.rows {
            let (shape, launch) = self.row_blocks(shape, plan, ROWS_INVERSE, images);
            let mut arguments =
                [pixels.write(), half.read(), self.row_roots.read(), Argument::scalars(&shape)];
            // SAFETY: as in `forward`.
            unsafe { runtime.launch(&launch, &mut arguments)? };
        } else {
            let mut lines = self.lines_of_rows(runtime, images)?;
            let join = Launch::over(JOIN_ROWS, self.pairs() * (self.nx / 2 + 1), images);
            let mut arguments = [lines.write(), half.read(), Argument::scalars(&shape)];
            // SAFETY: as in `forward`.
            unsafe { runtime.launch(&join, &mut arguments)? };
            let lines = self.transform_rows(runtime, lines, images)?;
            let unpack = Launch::over(UNPACK_ROWS, self.pairs() * self.nx, images);
            let mut arguments = [pixels.write(), lines.read(), Argument::scalars(&shape)];
            // SAFETY: as in `forward`.
            unsafe { runtime.launch(&unpack, &mut arguments)? };
        }
        Ok(pixels)
    }

    fn pairs(&self) -> usize {
        self.ny.div_ceil(2)
    }

    fn row_shape(&self, [y0, x0]: [usize; 2], scale: f32) -> RowShape {
        let plan = match self.rows {
            Parts::Whole(plan) | Parts::Two(plan, _) => plan,
        };
        let [ny, nx, y0, x0] = [self.ny, self.nx, y0, x0].map(|n| n as i32);
        RowShape { plan, ny, nx, y0, x0, pairs: 1, scale }
    }

    /// Blocks of pairs of rows that fit into shared memory.
    fn row_blocks(
        &self,
        shape: RowShape,
        plan: super::plan::LinePlan,
        kernel: &'static str,
        images: usize,
    ) -> (RowShape, Launch) {
        let block = Block::of(&plan, self.pairs());
        let launch = Launch {
            kernel,
            grid: [self.pairs().div_ceil(block.lines) as u32, images as u32, 1],
            block: [block.threads, 1, 1],
            shared_bytes: block.shared_bytes,
        };
        (RowShape { pairs: block.lines as i32, ..shape }, launch)
    }

    fn lines_of_rows(&self, runtime: &R, images: usize) -> Result<Buffer<Float2, R>, KernelError> {
        Buffer::zeros(runtime, images * self.pairs() * self.nx)
    }

    /// Long rows, packed in pairs.
    fn transform_rows(
        &self,
        runtime: &R,
        lines: Buffer<Float2, R>,
        images: usize,
    ) -> Result<Buffer<Float2, R>, KernelError> {
        transform_lines(runtime, lines, self.rows, 1, &self.row_roots, [self.pairs(), images], Way::Forward)
    }

    fn transform_columns(
        &self,
        runtime: &R,
        half: Buffer<Float2, R>,
        images: usize,
        way: Way,
    ) -> Result<Buffer<Float2, R>, KernelError> {
        let columns = self.nx / 2 + 1;
        transform_lines(runtime, half, self.columns, columns, &self.column_roots, [images, 1], way)
    }
}

/// Transforms `lines` lines side by side in each of `items` (rows and layers of the grid).
fn transform_lines<R: Runtime>(
    runtime: &R,
    mut data: Buffer<Float2, R>,
    parts: Parts,
    lines: usize,
    roots: &Buffer<Float2, R>,
    items: [usize; 2],
    way: Way,
) -> Result<Buffer<Float2, R>, KernelError> {
    let exchange = i32::from(way == Way::Inverse);
    let in_blocks = |kernel: &'static str, shape: LineShape| {
        let block = Block::of(&shape.plan, shape.lines as usize);
        let launch = Launch {
            kernel,
            grid: [(shape.lines as usize).div_ceil(block.lines) as u32, items[0] as u32, items[1] as u32],
            block: [block.threads, 1, 1],
            shared_bytes: block.shared_bytes,
        };
        (launch, LineShape { at_once: block.lines as i32, ..shape })
    };
    let first = match parts {
        Parts::Whole(plan) => LineShape { exchange_to: exchange, ..LineShape::whole(plan, lines) },
        Parts::Two(first, second) => LineShape::parts(first, second, lines)[0],
    };
    let (launch, shape) = in_blocks(LINES_IN_PLACE, LineShape { exchange_from: exchange, ..first });
    let mut arguments = [data.write(), roots.read(), Argument::scalars(&shape)];
    // SAFETY: the arguments are those of the kernel in number, order and size; the items have `lines` lines of the length
    // of the plan each, every block reads all its lines before it writes them, and the table has a root for each element of
    // a line.
    unsafe { runtime.launch(&launch, &mut arguments)? };
    let Parts::Two(first, second) = parts else { return Ok(data) };
    let shape = LineShape { exchange_to: exchange, ..LineShape::parts(first, second, lines)[1] };
    let (launch, shape) = in_blocks(LINES, shape);
    let mut to = Buffer::zeros(runtime, data.len())?;
    let mut arguments = [to.write(), data.read(), roots.read(), Argument::scalars(&shape)];
    // SAFETY: as above, and `to` is as large as `data`.
    unsafe { runtime.launch(&launch, &mut arguments)? };
    Ok(to)
}
