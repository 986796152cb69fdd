//! CPU twins of the operation families, one file (or folder) per family of [`crate::ops`].

pub mod align;
pub mod ceilings;
pub mod classify2d;
pub mod decimate;
pub mod insert;
pub mod motion_correlation;
pub mod pose_search;
pub mod project;
pub mod template_correlation;
pub mod tile_spectra;
pub mod transform;
pub mod warp;
