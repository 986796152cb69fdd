//! Contracts of the operation families: shapes, units, layout, determinism and allowed error.

pub mod align;
pub mod ceilings;
pub mod classify2d;
pub mod decimate;
pub mod grid;
pub mod insert;
pub mod motion_correlation;
pub mod pose_search;
pub mod project;
pub mod template_correlation;
pub mod tile_spectra;
pub mod transform;
pub mod warp;

/// A device that has every family. A stage asks for the families it needs; the engine gives it a device that has all.
/// Until the last family of a device is there, it is outside this trait, and stages run on one that is inside.
pub trait AllOps:
    align::Align
    + ceilings::Ceilings
    + classify2d::Classify2d
    + decimate::Decimate
    + insert::Insert
    + motion_correlation::MotionCorrelation
    + pose_search::PoseSearch
    + project::Project
    + template_correlation::TemplateCorrelation
    + tile_spectra::TileSpectra
    + transform::Transform
    + warp::Warp
{
}

impl<D> AllOps for D where
    D: align::Align
        + ceilings::Ceilings
        + classify2d::Classify2d
        + decimate::Decimate
        + insert::Insert
        + motion_correlation::MotionCorrelation
        + pose_search::PoseSearch
        + project::Project
        + template_correlation::TemplateCorrelation
        + tile_spectra::TileSpectra
        + transform::Transform
        + warp::Warp
{
}
