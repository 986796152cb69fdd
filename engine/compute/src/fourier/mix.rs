//! Several images of one size, transformed, mixed coefficient by coefficient, and transformed back, in the memory they
//! lie in: no transform is held beside its image, and every coefficient passes through the cache once.

use super::lanes::{self, GAP, LANES};
use super::{plans, resample};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut3, Axis, s};
use num_complex::Complex32;
use rayon::prelude::*;
use rustfft::{Fft, FftDirection};
use std::sync::Arc;

/// Rows are padded to whole numbers of this many floats.
pub const ROW_MULTIPLE: usize = 2 * LANES;

/// Images of `ny × nx` pixels, row by row beside each other.
#[derive(Debug, Clone)]
pub struct ImageStack {
    nx: usize,
    /// `[ny, images, stride / 2]`: pairs of pixels, or coefficients. The padding has room for a transform in place.
    values: Array3<Complex32>,
}

impl ImageStack {
    /// All zero.
    pub fn zeros(ny: usize, nx: usize, images: usize) -> Self {
        let stride = (2 * (nx / 2 + 1)).next_multiple_of(ROW_MULTIPLE);
        Self { nx, values: Array3::zeros((ny, images, stride / 2)) }
    }

    /// Rows.
    pub fn ny(&self) -> usize {
        self.values.dim().0
    }

    /// Columns.
    pub fn nx(&self) -> usize {
        self.nx
    }

    /// Images.
    pub fn images(&self) -> usize {
        self.values.dim().1
    }

    /// Floats from one row of an image to the same row of the next image, a multiple of [`ROW_MULTIPLE`].
    pub fn stride(&self) -> usize {
        2 * self.values.dim().2
    }

    /// One image, `[ny, nx]`.
    pub fn image(&self, index: usize) -> ArrayView2<'_, f32> {
        let shape = (self.ny(), self.images(), self.stride());
        let values = bytemuck::cast_slice(self.values.as_slice().expect("a new array should be contiguous"));
        let pixels = ArrayView3::from_shape(shape, values).expect("a pair should be two pixels");
        pixels.slice_move(s![.., index, ..self.nx])
    }

    /// All pixels, `[ny, images, stride]`; what is beyond `nx` in a row does not matter.
    pub fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.values.as_slice_mut().expect("a new array should be contiguous"))
    }

    /// `outputs` images of `[out_ny, out_nx]` pixels (no more than the images and their size; resized by Fourier cropping
    /// as [`super::HalfImage::resized`] does) whose transforms are mixed from those of the stack.
    ///
    /// `mix(x, from, to)` is given column `x` (`0 ..= nx/2`) of every image's transform, rows in corner layout
    /// (`qy = 0, 1, …, -1`), unnormalised, phases counted from pixel (0, 0), and fills the same column of every output.
    ///
    /// # Panics
    /// If there are more outputs than images, or outputs larger than the images.
    pub fn mixed(
        mut self,
        outputs: usize,
        (out_ny, out_nx): (usize, usize),
        mix: impl Fn(usize, &[&[Complex32]], &mut [Vec<Complex32>]) + Sync,
    ) -> Vec<Array2<f32>> {
        let (ny, nx) = (self.ny(), self.nx);
        assert!(
            outputs <= self.images() && out_ny <= ny && out_nx <= nx,
            "outputs should fit into the stack"
        );
        let mut out = vec![Array2::zeros((out_ny, out_nx)); outputs];
        if out_ny == 0 || out_nx == 0 {
            return out;
        }
        self.transform_rows();
        let columns = Columns::new(self.images(), outputs, (ny, nx), (out_ny, out_nx));
        let wanted = (out_nx / 2 + 1).next_multiple_of(LANES);
        self.values
            .slice_mut(s![.., .., ..wanted])
            .axis_chunks_iter_mut(Axis(2), LANES)
            .into_par_iter()
            .enumerate()
            .for_each_init(
                || columns.scratch(),
                |scratch, (block, chunk)| {
                    columns.mix(block * LANES, chunk, scratch, &mix);
                },
            );
        let scale = 1.0 / (ny as f64 * nx as f64) as f32;
        for (index, image) in out.iter_mut().enumerate() {
            self.rows_back(index, scale, image);
        }
        out
    }

    /// Replaces every row of pixels by the half of its transform, real and imaginary parts in turn.
    fn transform_rows(&mut self) {
        let nx = self.nx;
        let fft = plans::forward_rows(nx);
        let buffers = || (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        self.values.axis_iter_mut(Axis(0)).into_par_iter().for_each_init(
            buffers,
            |(row, half, work), mut images| {
                for mut values in images.axis_iter_mut(Axis(0)) {
                    let values = values.as_slice_mut().expect("rows should be contiguous");
                    row.copy_from_slice(&bytemuck::cast_slice(values)[..nx]);
                    fft.process_with_scratch(row, half, work)
                        .expect("buffers made by the plan should fit it");
                    values[..half.len()].copy_from_slice(half);
                }
            },
        );
    }

    /// Pixels of the output that lies in the rows of image `index`.
    fn rows_back(&self, index: usize, scale: f32, out: &mut Array2<f32>) {
        let out_nx = out.ncols();
        let fft = plans::inverse_rows(out_nx);
        let buffers = || (fft.make_input_vec(), fft.make_scratch_vec());
        out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each_init(
            buffers,
            |(half, work), (y, mut row)| {
                let values = self.values.slice(s![y, index, ..]);
                let values = values.as_slice().expect("rows should be contiguous");
                half.iter_mut().zip(values).for_each(|(to, from)| *to = from * scale);
                // a real row has no imaginary part at zero and at the Nyquist frequency of an even length
                half[0].im = 0.0;
                if out_nx.is_multiple_of(2) {
                    half[out_nx / 2].im = 0.0;
                }
                let row = row.as_slice_mut().expect("rows should be contiguous");
                fft.process_with_scratch(half, row, work).expect("buffers made by the plan should fit it");
            },
        );
    }
}

/// What the columns have in common.
struct Columns {
    images: usize,
    outputs: usize,
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
    /// Which row of the input goes to which of the output, with its factor.
    places: Vec<(usize, usize, f32)>,
    /// The column whose mates of negative `qx` fold onto it when the rows are cropped.
    folded: Option<usize>,
    /// Columns of the half transforms, in and out.
    halves: (usize, usize),
}

struct Scratch {
    /// `[image][column, ny + GAP]`.
    from: Vec<Vec<Complex32>>,
    /// `[output][ny]`.
    mixed: Vec<Vec<Complex32>>,
    /// `[output][column, out_ny + GAP]`.
    to: Vec<Vec<Complex32>>,
    work: Vec<Complex32>,
}

impl Columns {
    fn new(
        images: usize,
        outputs: usize,
        (ny, nx): (usize, usize),
        (out_ny, out_nx): (usize, usize),
    ) -> Self {
        Self {
            images,
            outputs,
            forward: plans::lanes(ny, FftDirection::Forward),
            inverse: plans::lanes(out_ny, FftDirection::Inverse),
            places: resample::places(ny, out_ny),
            folded: (out_nx < nx && out_nx.is_multiple_of(2)).then_some(out_nx / 2),
            halves: (nx / 2 + 1, out_nx / 2 + 1),
        }
    }

    fn scratch(&self) -> Scratch {
        let (ny, out_ny) = (self.forward.len(), self.inverse.len());
        let work = self.forward.get_inplace_scratch_len().max(self.inverse.get_inplace_scratch_len());
        Scratch {
            from: vec![vec![Complex32::ZERO; LANES * (ny + GAP)]; self.images],
            mixed: vec![vec![Complex32::ZERO; ny]; self.outputs],
            to: vec![vec![Complex32::ZERO; LANES * (out_ny + GAP)]; self.outputs],
            work: vec![Complex32::ZERO; work],
        }
    }

    /// Mixes the columns from `first` on that `chunk` (`[ny, images, columns]`) holds.
    fn mix(
        &self,
        first: usize,
        mut chunk: ArrayViewMut3<'_, Complex32>,
        scratch: &mut Scratch,
        mix: &impl Fn(usize, &[&[Complex32]], &mut [Vec<Complex32>]),
    ) {
        let (ny, out_ny) = (self.forward.len(), self.inverse.len());
        let columns = LANES.min(self.halves.0.min(self.halves.1).saturating_sub(first));
        let Scratch { from, mixed, to, work } = scratch;
        for (index, gathered) in from.iter_mut().enumerate() {
            lanes::gather(chunk.slice(s![.., index, ..columns]), gathered);
            for column in gathered.chunks_mut(ny + GAP).take(columns) {
                self.forward.process_with_scratch(&mut column[..ny], work);
            }
        }
        for column in 0..columns {
            let at = column * (ny + GAP);
            let views: Vec<&[Complex32]> = from.iter().map(|image| &image[at..at + ny]).collect();
            mix(first + column, &views, mixed);
            for (mixed, to) in mixed.iter().zip(to.iter_mut()) {
                let to = &mut to[column * (out_ny + GAP)..][..out_ny];
                self.crop(mixed, self.folded == Some(first + column), to);
                self.inverse.process_with_scratch(to, work);
            }
        }
        for (index, scattered) in to.iter().enumerate() {
            lanes::scatter(scattered, out_ny, chunk.slice_mut(s![..out_ny, index, ..columns]));
        }
    }

    fn crop(&self, from: &[Complex32], folded: bool, to: &mut [Complex32]) {
        if from.len() == to.len() && !folded {
            to.copy_from_slice(from);
            return;
        }
        to.fill(Complex32::ZERO);
        for &(at, target, factor) in &self.places {
            let mate = if folded { from[(from.len() - at) % from.len()].conj() } else { Complex32::ZERO };
            to[target] += (from[at] + mate) * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::HalfImage;
    use super::*;

    fn image(ny: usize, nx: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((ny, nx), |(y, x)| ((y * 31 + x * 17 + seed * 7919) % 101) as f32 - 50.0)
    }

    /// A factor by coefficient that is real and even, as of a filter.
    fn factor(x: usize, y: usize, ny: usize, image: usize) -> f32 {
        let y = y.min(ny - y);
        1.0 / (1.0 + (image * x + 2 * y) as f32)
    }

    #[test]
    fn mixing_is_what_transforms_one_by_one_give() {
        for ((ny, nx), (out_ny, out_nx)) in [
            ((12, 16), (12, 16)),
            ((15, 9), (15, 9)),
            ((40, 70), (20, 36)),
            ((30, 24), (30, 12)),
            ((64, 50), (64, 50)),
        ] {
            let images = [image(ny, nx, 1), image(ny, nx, 2), image(ny, nx, 3)];
            let mut stack = ImageStack::zeros(ny, nx, 3);
            for (i, image) in images.iter().enumerate() {
                let stride = stack.stride();
                for (y, row) in image.outer_iter().enumerate() {
                    let at = (3 * y + i) * stride;
                    stack.values_mut()[at..at + nx].copy_from_slice(&row.to_vec());
                }
            }
            assert_eq!(stack.image(1), images[1]);
            let got = stack.mixed(2, (out_ny, out_nx), |x, from, to| {
                for y in 0..ny {
                    to[0][y] = from[0][y];
                    to[1][y] = (0..3).map(|i| from[i][y] * factor(x, y, ny, i)).sum();
                }
            });
            let mut mixed = HalfImage::zeros(ny, nx);
            for (i, image) in images.iter().enumerate() {
                let half = HalfImage::of(image.view());
                for ((y, x), value) in mixed.data_mut().indexed_iter_mut() {
                    *value += half.data()[[y, x]] * factor(x, y, ny, i);
                }
            }
            let first = HalfImage::of(images[0].view());
            for (got, want) in got.iter().zip([first, mixed]) {
                let want = want.resized(out_ny, out_nx).into_pixels();
                let largest = (got - &want).iter().fold(0.0f32, |a, v| a.max(v.abs()));
                // single precision at values of up to 50
                assert!(largest <= 1e-3, "{ny} x {nx} to {out_ny} x {out_nx}: {largest}");
            }
        }
    }
}
