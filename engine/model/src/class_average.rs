//! Class averages: what a 2-D classification makes besides the particles' classes.

use serde::{Deserialize, Serialize};

/// One class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassAverage {
    /// Its number, from 1.
    pub number: u32,
    /// Its image in the stack, from 0.
    pub stack_index: u32,
    /// Particles of which it is the most probable class.
    pub particles: u64,
    /// Mean over them of its posterior probability; NaN if there are none.
    pub probability: f64,
    /// Resolution at which the averages of two halves of its particles correlate to 0.5, Å; the halves were aligned to
    /// the same references, so that it is optimistic. Infinite if they never do.
    pub resolution_a: f64,
    /// How much detail its particles show: what the average's detail, finer than a quarter of the diameter, adds to the
    /// log-likelihood of a particle, in the mean over its particles, less what a particle's own noise in the average
    /// adds; nats. Junk shows little, whatever its contrast.
    pub detail: f64,
}

/// The content of a table of class averages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassAverages {
    /// Stack of the averages, one image a class; relative to the project directory or absolute.
    pub stack_path: String,
    /// Box edge, pixels.
    pub box_px: u32,
    /// Pixel size, Å.
    pub pixel_size_a: f64,
    /// Diameter of the circle they are masked with, Å.
    pub diameter_a: f64,
    /// The classes, by number; those that were not selected may be missing.
    pub classes: Vec<ClassAverage>,
}
