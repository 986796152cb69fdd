//! Numerics: every operation family stands three times under one name: its contract in [`ops`], its CPU twin in
//! [`cpu`], its seeded cases with an f64 oracle in [`parity`]. This crate never opens a file.

pub mod aberrations;
pub mod comm;
pub mod cpu;
pub mod device;
pub mod directions;
pub mod fourier;
pub mod fsc;
pub mod levenberg;
pub mod likelihood;
pub mod map_alignment;
pub mod mask;
pub mod movie;
pub mod nonuniform;
pub mod ops;
pub mod orientations;
pub mod parity;
pub mod polar;
pub mod reconstruct;
pub mod regrid;
pub mod sharpen;
pub mod slices;
pub mod spectra;
pub mod spectrum_cells;
mod vectorised;
