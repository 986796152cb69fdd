//! File formats of the field, one folder each.
//!
//! Every reader checks what a header promises against the length of the file before it allocates, and answers bad input
//! with an error that names file, place, found and expected. Foreign conventions are converted in each folder's
//! `convert.rs` and nowhere else.

pub mod atomic_model;
pub mod box_file;
pub mod bzip2;
pub mod cbox;
pub mod cryosparc;
pub mod defects;
pub mod eer;
pub mod epu_xml;
pub mod error;
pub mod frealign;
pub mod fsc_xml;
pub mod gain;
pub mod image;
pub mod mdoc;
pub mod mrc;
pub mod samples;
pub mod star;
pub mod table;
pub mod tiff;

pub use error::FormatError;
pub use image::{
    EerOptions, FORMATS, FrameSource, ImageFormat, ImageHeader, MovieOptions, open_image, open_movie,
};
