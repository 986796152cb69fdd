//! The list of kernel families.

use crate::insert;
use crate::template_correlation;
use crate::tile_spectra;
use crate::transform;

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
pub const FAMILIES: &[Family] =
    &[insert::FAMILY, template_correlation::FAMILY, tile_spectra::FAMILY, transform::FAMILY];
