//! CryoSPARC's datasets (`.cs`, read in both encodings and written in that of numpy) and exported groups (`.csg`).
//!
//! numpy: an array of records in an `.npy` file: NEP 1 (magic, version, length of the header, a Python literal with
//! `descr`, `fortran_order`, `shape`, then the records without padding); strings have a fixed length. CSDAT, which begins
//! with `\x95CSDAT`: columns, perhaps packed by LZ4, and a heap of strings (`csdat.rs`). A set may be spread over several
//! files, the passthrough files: their records are joined by `uid` ([`Dataset::join`]). What the fields mean stands in
//! `convert/`.

pub mod convert;
mod csdat;
mod dataset;
mod error;
mod field;
mod group;
mod literal;
mod numpy;
mod writer;

#[cfg(test)]
mod tests;

pub use convert::{CsPick, read_picks};
pub use dataset::Dataset;
pub use error::CsError;
pub use group::{
    CsPath, EXPOSURE, GroupOut, PARTICLE, ResultOut, VOLUME, group_files, group_files_of, read_joined,
    write_group,
};
pub use writer::{FieldOut, Values, write_dataset};
