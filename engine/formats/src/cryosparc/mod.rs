//! CryoSPARC's datasets (`.cs`) in the encoding of numpy: an array of records in an `.npy` file.
//!
//! Layout: numpy's NEP 1 (magic, version, length of the header, a Python literal with `descr`, `fortran_order`,
//! `shape`, then the records without padding). Strings have a fixed length. The other encoding, which begins with
//! `\x95CSDAT`, is recognised and refused with what to do. What the fields mean stands in `convert.rs`.

mod convert;
mod dataset;
mod error;
mod literal;

#[cfg(test)]
mod tests;

pub use convert::{CsPick, read_picks};
pub use dataset::Dataset;
pub use error::CsError;
