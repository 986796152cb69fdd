//! Contracts of the operation families: shapes, units, layout, determinism and allowed error.

pub mod align;
pub mod grid;
pub mod insert;
pub mod pose_search;
pub mod project;
