//! File formats of the field, one folder each.
//!
//! Every reader checks what a header promises against the length of the file before it allocates, and answers bad input
//! with an error that names file, place, found and expected. Foreign conventions are converted in each folder's
//! `convert.rs` and nowhere else.

pub mod atomic_model;
pub mod error;
pub mod gain;
pub mod image;
pub mod mrc;
pub mod samples;
pub mod star;
pub mod table;
pub mod tiff;

pub use error::FormatError;
pub use image::{FORMATS, FrameSource, ImageFormat, ImageHeader, open_image};
