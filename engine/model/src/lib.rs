//! Types that every crate shares, and the conventions they obey.
//!
//! Nothing here reads a file, starts a process or computes on images: this crate is the vocabulary.
//! [`conventions`] is the convention document of the project, every sentence of it a doctest.

pub mod aberrations;
pub mod acquisition;
pub mod class_average;
pub mod conventions;
pub mod ctf;
pub mod dose;
pub mod event;
pub mod ewald;
pub mod exit;
pub mod exposure;
pub mod half_set;
pub mod item_record;
pub mod lineage;
pub mod node_cache;
pub mod outputs;
pub mod params;
pub mod particle;
pub mod pose;
pub mod report;
pub mod resources;
pub mod symmetry;
pub mod units;

/// The number every file of ours carries as `schema`; an older one is read, a newer one refused with a hint.
pub const SCHEMA: u32 = 1;
