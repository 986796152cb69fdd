//! Contracts of the operation families: shapes, units, layout, determinism and allowed error.

pub mod align;
pub mod classify2d;
pub mod grid;
pub mod insert;
pub mod pose_search;
pub mod project;
pub mod template_correlation;
pub mod tile_spectra;
pub mod transform;

/// A device that has every family. A stage asks for the families it needs; the engine gives it a device that has all.
/// Until the last family of a device is there, it is outside this trait, and stages run on one that is inside.
pub trait AllOps:
    align::Align
    + classify2d::Classify2d
    + insert::Insert
    + pose_search::PoseSearch
    + project::Project
    + template_correlation::TemplateCorrelation
    + tile_spectra::TileSpectra
    + transform::Transform
{
}

impl<D> AllOps for D where
    D: align::Align
        + classify2d::Classify2d
        + insert::Insert
        + pose_search::PoseSearch
        + project::Project
        + template_correlation::TemplateCorrelation
        + tile_spectra::TileSpectra
        + transform::Transform
{
}
