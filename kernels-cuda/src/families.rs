//! The list of kernel families.

use crate::{
    align, ceilings, decimate, insert, motion_correlation, project, template_correlation, tile_spectra,
    transform, warp,
};

/// A family's kernels.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Name of its files.
    pub name: &'static str,
    /// Its PTX.
    pub ptx: &'static str,
    /// `extern "C"` names of its kernels.
    pub kernels: &'static [&'static str],
}

/// All families.
pub const FAMILIES: &[Family] = &[
    align::FAMILY,
    ceilings::FAMILY,
    decimate::FAMILY,
    insert::FAMILY,
    motion_correlation::FAMILY,
    project::FAMILY,
    template_correlation::FAMILY,
    tile_spectra::FAMILY,
    transform::FAMILY,
    warp::FAMILY,
];
