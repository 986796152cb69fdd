//! The mean of raw frames, movie by movie.

use crate::{Ctx, StageError};
use ndarray::Array2;
use vitreous_formats::image::{EerOptions, MovieOptions, open_movie};
use vitreous_model::exposure::MovieSource;

/// A sum of frames as they are in the files.
pub(super) struct Average {
    sum: Array2<f32>,
    /// Frames in it.
    pub frames: usize,
    /// Movies in it.
    pub movies: usize,
}

impl Average {
    /// Of no frames yet, of `width` × `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Self { sum: Array2::zeros((height, width)), frames: 0, movies: 0 }
    }

    /// Adds all frames of a movie, as `correct-motion` would read them but without gain; nothing of a movie that cannot be
    /// read to its end.
    ///
    /// # Errors
    /// [`StageError::Format`] for a file that cannot be read, [`StageError::Input`] for one of another size than the table
    /// says, [`StageError::Stopped`].
    pub fn add(&mut self, ctx: &Ctx<'_>, source: &MovieSource) -> Result<(), StageError> {
        let path = ctx.resolve(&source.path);
        let eer = source.eer.map_or_else(EerOptions::default, |eer| EerOptions {
            upsampling: eer.upsampling,
            frames_per_fraction: eer.grouping as usize,
        });
        let movie = open_movie(&path, &MovieOptions { eer })?;
        let header = movie.header();
        let (height, width) = self.sum.dim();
        if (header.width, header.height) != (width, height) {
            let what = format!(
                "{}: its frames have {} × {} px, the table says {width} × {height} px",
                path.display(),
                header.width,
                header.height
            );
            return Err(StageError::input(what, "the file changed since it was imported: import it again"));
        }
        let mut frame = vec![0.0; header.frame_len()];
        let mut sum = Array2::<f32>::zeros((height, width));
        for index in 0..header.frames {
            ctx.check_stop()?;
            movie.read_frame_in_pool(index, &mut frame)?;
            sum.iter_mut().zip(&frame).for_each(|(sum, value)| *sum += value);
        }
        if sum.iter().any(|value| !value.is_finite()) {
            let what = format!("{}: it has pixels that are not numbers", path.display());
            return Err(StageError::input(what, ""));
        }
        self.sum += &sum;
        self.frames += header.frames;
        self.movies += 1;
        Ok(())
    }

    /// The mean frame.
    pub fn mean(&self) -> Array2<f32> {
        &self.sum / self.frames.max(1) as f32
    }
}

/// Errors that are a movie's own fault, so that others can go on without it.
pub(super) fn is_of_movie(error: &StageError) -> bool {
    matches!(error, StageError::Format(_) | StageError::Input { .. })
}
