//! Movies with known motion, for tests: bright and dark blobs on a bright ground, each drawn where the motion has carried
//! it, counted electron by electron.

use super::motion_field::{MODES, MotionField};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Poisson};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use vitreous_compute::ops::motion_correlation::Pair;
use vitreous_formats::samples::SampleType;
use vitreous_formats::{FormatError, FrameSource, ImageHeader};

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub width: usize,
    pub height: usize,
    pub frames: usize,
    /// Mean electrons per pixel and frame.
    pub dose: f64,
    /// Contrast of a blob's middle.
    pub contrast: f64,
    /// Local motion at the edge of the frame in the end, pixels.
    pub local: f64,
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { width: 512, height: 480, frames: 20, dose: 1.5, contrast: 0.25, local: 3.0, seed: 1 }
    }
}

/// A movie in memory.
#[derive(Clone)]
pub struct Memory {
    pub header: ImageHeader,
    pub frames: Vec<Vec<f32>>,
}

impl Memory {
    pub fn new(width: usize, height: usize, frames: Vec<Vec<f32>>) -> Self {
        let sample = SampleType::Float32;
        let header = ImageHeader { width, height, frames: frames.len(), sample, pixel_size_a: Some(1.0) };
        Self { header, frames }
    }
}

impl FrameSource for Memory {
    fn header(&self) -> &ImageHeader {
        &self.header
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        let path = PathBuf::from("memory");
        let frames = self.frames.len();
        out.copy_from_slice(self.frames.get(frame).ok_or(FormatError::NoSuchFrame {
            path,
            frame,
            frames,
        })?);
        Ok(())
    }
}

impl Recipe {
    /// The motion: a fast start that slows down, with jerks, and a doming of the frame.
    pub fn truth(&self) -> MotionField {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x7777);
        let jerk = Normal::new(0.0, 0.1).unwrap();
        let mut at = [0.0, 0.0];
        let coefficients = (0..self.frames)
            .map(|f| {
                let t = f as f64;
                let speed = (-t / 4.0).exp();
                at = [
                    at[0] + 1.6 * speed + jerk.sample(&mut rng),
                    at[1] - 0.9 * speed + jerk.sample(&mut rng),
                ];
                let s = self.local * (1.0 - (-t / 5.0).exp());
                let x: [f64; MODES] = [at[0], 0.6 * s, 0.1 * s, -0.2 * s, 0.1 * s, 0.2 * s];
                let y: [f64; MODES] = [at[1], 0.2 * s, -0.5 * s, 0.2 * s, 0.0, 0.1 * s];
                [x, y]
            })
            .collect();
        MotionField::new(self.width, self.height, coefficients)
    }

    /// Expected electrons of a frame.
    pub fn expected(&self, field: &MotionField, frame: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut image = vec![1.0f64; self.width * self.height];
        let blobs = self.width * self.height / 120;
        for _ in 0..blobs {
            let x = rng.random_range(-10.0..self.width as f64 + 10.0);
            let y = rng.random_range(-10.0..self.height as f64 + 10.0);
            let sigma: f64 = rng.random_range(1.2..3.5);
            let height = if rng.random_bool(0.5) { self.contrast } else { -self.contrast };
            let [u, v] = field.at(frame, x, y);
            self.add_blob(&mut image, (x + u, y + v), sigma, height);
        }
        image.into_iter().map(|v| (self.dose * v.max(0.05)) as f32).collect()
    }

    fn add_blob(&self, image: &mut [f64], (x, y): (f64, f64), sigma: f64, height: f64) {
        let reach = 4.0 * sigma;
        let range = |at: f64, n: usize| {
            let low = (at - reach).ceil().clamp(0.0, n as f64) as usize;
            low..((at + reach).floor() + 1.0).clamp(low as f64, n as f64) as usize
        };
        let along = |at: f64, range: std::ops::Range<usize>| -> Vec<(usize, f64)> {
            range.map(|i| (i, (-0.5 * ((i as f64 - at) / sigma).powi(2)).exp())).collect()
        };
        let columns = along(x, range(x, self.width));
        for (row, a) in along(y, range(y, self.height)) {
            for (column, b) in &columns {
                image[row * self.width + column] += height * a * b;
            }
        }
    }

    /// The counted frames.
    pub fn counted(&self) -> Memory {
        let field = self.truth();
        let frames = (0..self.frames)
            .into_par_iter()
            .map(|frame| {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed + 1000 * (frame as u64 + 1));
                let expected = self.expected(&field, frame);
                expected
                    .into_iter()
                    .map(|mean| Poisson::new(mean).unwrap().sample(&mut rng).min(255.0))
                    .collect()
            })
            .collect();
        Memory::new(self.width, self.height, frames)
    }
}

/// Root mean square difference of two motions over frames and an even grid of points, pixels; at every point the mean over
/// frames is taken off, so that the noise of frame 0 does not count in all.
pub fn rms_difference(a: &MotionField, b: &MotionField, points: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for i in 0..points * points {
        let at = |i: usize, n: usize| (i as f64 + 0.5) / points as f64 * n as f64;
        let (x, y) = (at(i % points, a.width), at(i / points, a.height));
        let difference: Vec<Pair> = (0..a.frames())
            .map(|f| {
                let (p, q) = (a.at(f, x, y), b.at(f, x, y));
                [p[0] - q[0], p[1] - q[1]]
            })
            .collect();
        for axis in 0..2 {
            let mean = difference.iter().map(|d| d[axis]).sum::<f64>() / difference.len() as f64;
            sum += difference.iter().map(|d| (d[axis] - mean).powi(2)).sum::<f64>();
        }
        count += difference.len() as f64;
    }
    (sum / count).sqrt()
}

/// The field without its local part.
pub fn global_part(field: &MotionField) -> MotionField {
    let mut only = field.clone();
    only.coefficients.iter_mut().flatten().for_each(|axis| axis[1..].fill(0.0));
    only
}
