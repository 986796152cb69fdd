//! What can be asked for: one file per job type, with its parameters, its input and output slots and its resource
//! formula. How a job is done stands in the folder of the same name in `vitreous-stages`.
//!
//! To add a job type: one file here, one folder there, and one line in each list ([`CATALOG`] here, `STAGES` there).

pub mod ab_initio;
pub mod align_maps;
pub mod benchmark;
pub mod check_gain;
pub mod classify_2d;
pub mod combine_particles;
pub mod command;
pub mod correct_motion;
pub mod curate_exposures;
pub mod diagnose_orientations;
pub mod downsample_particles;
pub mod estimate;
pub mod estimate_ctf;
pub mod estimate_local_resolution;
pub mod ewald;
pub mod expand_symmetry;
pub mod export_cryosparc;
pub mod export_deposition;
pub mod export_relion;
pub mod extract_particles;
pub mod filter_locally;
pub mod flip_hand;
pub mod import_micrographs;
pub mod import_movies;
pub mod import_particles;
pub mod import_picks;
pub mod import_relion_project;
pub mod import_volume;
pub mod inspect_picks;
pub mod intersect_particles;
pub mod job_type;
pub mod make_mask;
pub mod microscope;
pub mod page;
pub mod pick_blobs;
pub mod pick_templates;
pub mod polish;
pub mod reconstruct;
pub mod refine_ctf;
pub mod refine_heterogeneous;
pub mod refine_homogeneous;
pub mod refine_local;
pub mod refine_nonuniform;
pub mod refinement;
pub mod remove_duplicates;
pub mod resample_volume;
pub mod restack_particles;
pub mod select_2d;
pub mod selftest;
pub mod sharpen;
pub mod simulate;
pub mod split_particles;
pub mod subtract_signal;

pub use estimate::Estimate;
pub use job_type::{JobType, Slot, Typed};

/// Every job type, in the order of help: the order of a day's work.
pub static CATALOG: &[&dyn JobType] = &[
    &import_movies::JOB,
    &import_micrographs::JOB,
    &import_picks::JOB,
    &import_particles::JOB,
    &import_volume::JOB,
    &import_relion_project::JOB,
    &check_gain::JOB,
    &correct_motion::JOB,
    &estimate_ctf::JOB,
    &curate_exposures::JOB,
    &pick_blobs::JOB,
    &pick_templates::JOB,
    &inspect_picks::JOB,
    &extract_particles::JOB,
    &remove_duplicates::JOB,
    &classify_2d::JOB,
    &select_2d::JOB,
    &combine_particles::JOB,
    &split_particles::JOB,
    &intersect_particles::JOB,
    &downsample_particles::JOB,
    &restack_particles::JOB,
    &expand_symmetry::JOB,
    &subtract_signal::JOB,
    &ab_initio::JOB,
    &refine_homogeneous::JOB,
    &refine_nonuniform::JOB,
    &refine_local::JOB,
    &refine_heterogeneous::JOB,
    &refine_ctf::JOB,
    &reconstruct::JOB,
    &polish::JOB,
    &make_mask::JOB,
    &sharpen::JOB,
    &estimate_local_resolution::JOB,
    &filter_locally::JOB,
    &diagnose_orientations::JOB,
    &flip_hand::JOB,
    &align_maps::JOB,
    &resample_volume::JOB,
    &export_relion::JOB,
    &export_cryosparc::JOB,
    &export_deposition::JOB,
    &simulate::JOB,
    &selftest::JOB,
    &benchmark::JOB,
];

/// The job type of a name.
pub fn find(name: &str) -> Option<&'static dyn JobType> {
    CATALOG.iter().copied().find(|job| job.name() == name)
}

#[cfg(test)]
mod tests;
