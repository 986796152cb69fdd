//! The frames of one movie with everything known put right: gain, defects, hot pixels, as in motion correction.

use crate::StageError;
use crate::correct_motion::movie::{Movie, MovieError, ReadBuffers};
use crate::correct_motion::survey::bad_pixels;
use rayon::prelude::*;
use vitreous_compute::fourier::{CroppedForward, HalfImage};
use vitreous_compute::movie::detector::Defects;
use vitreous_compute::movie::frame::RawFrame;
use vitreous_model::conventions::centre;

/// A movie whose bad pixels are known.
pub struct Frames {
    movie: Movie,
    defects: Defects,
    /// The frames, if they fit into memory.
    kept: Option<Vec<RawFrame>>,
}

/// A corrected frame in memory.
pub struct HeldFrame {
    number: usize,
    pixels: Vec<f32>,
    size: [usize; 2],
}

impl HeldFrame {
    /// To be used.
    pub fn frame(&self) -> Frame<'_> {
        Frame { number: self.number, pixels: &self.pixels, size: self.size }
    }
}

/// A corrected frame.
pub struct Frame<'a> {
    /// Its number, from 0 of the frames used.
    pub number: usize,
    pixels: &'a [f32],
    size: [usize; 2],
}

impl Frames {
    /// Goes through the movie once to find its bad pixels.
    ///
    /// # Errors
    /// A frame that cannot be read.
    pub fn new(movie: Movie, hot_pixel_sd: f64) -> Result<Self, StageError> {
        let (defects, kept) = bad_pixels(&movie, hot_pixel_sd)?;
        Ok(Self { movie, defects, kept })
    }

    /// Frames used.
    pub fn len(&self) -> usize {
        self.movie.frames
    }

    /// Corrects the given frames and holds all of them.
    ///
    /// # Errors
    /// The first frame, in order, that cannot be read.
    pub fn hold(&self, numbers: &[usize]) -> Result<Vec<HeldFrame>, StageError> {
        self.map(
            numbers,
            || (),
            |(), frame| HeldFrame { number: frame.number, pixels: frame.pixels.to_vec(), size: frame.size },
        )
    }

    /// Calls `work` for the given frames, several at a time, each thread with a state from `init`; results in order.
    ///
    /// # Errors
    /// The first frame, in order, that cannot be read.
    pub fn map<S, T: Send>(
        &self,
        numbers: &[usize],
        init: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, Frame<'_>) -> T + Sync + Send,
    ) -> Result<Vec<T>, StageError> {
        let (width, height) = (self.movie.width(), self.movie.height());
        let detector = self.movie.detector();
        let room = || (ReadBuffers::default(), vec![0.0f32; width * height], init());
        let results: Vec<Result<T, MovieError>> = numbers
            .par_iter()
            .map_init(room, |(buffers, pixels, state), &number| {
                let fresh;
                let raw = match &self.kept {
                    Some(kept) => &kept[number],
                    None => {
                        fresh = self.movie.read_one(number, buffers)?;
                        &fresh
                    }
                };
                detector.corrected_rows(raw, number, &self.defects, (0, height), width, pixels);
                Ok(work(state, Frame { number, pixels, size: [width, height] }))
            })
            .collect();
        Ok(results.into_iter().collect::<Result<Vec<T>, MovieError>>()?)
    }
}

impl Frame<'_> {
    /// The cropped transform of the box of `box_px` pixels round pixel `centre_px` (column and row; phases from the box's
    /// first pixel). What of it lies beyond the frame repeats the frame's edge.
    pub fn transform(
        &self,
        centre_px: [i64; 2],
        box_px: usize,
        transform: &mut CroppedForward,
        out: &mut HalfImage,
    ) {
        let [width, height] = self.size;
        let first = centre_px.map(|c| c - centre(box_px) as i64);
        let inside = first[0] >= 0 && first[0] + box_px as i64 <= width as i64;
        let fill = |y: usize, row: &mut [f32]| {
            let y = (first[1] + y as i64).clamp(0, height as i64 - 1) as usize;
            let source = &self.pixels[y * width..(y + 1) * width];
            if inside {
                row.copy_from_slice(&source[first[0] as usize..first[0] as usize + box_px]);
                return;
            }
            for (x, value) in row.iter_mut().enumerate() {
                *value = source[(first[0] + x as i64).clamp(0, width as i64 - 1) as usize];
            }
        };
        transform.transform(fill, out);
    }
}
