//! How jobs are done: one folder per job type, of the same name as its file in `vitreous-jobs`.
//!
//! Stages never start processes, never touch job state and never print: they see only [`Ctx`], and create files only
//! through it.

pub mod ab_initio;
mod align_maps;
mod benchmark;
mod check_gain;
mod class_figures;
mod classify_2d;
mod combine_particles;
mod correct_motion;
pub mod ctx;
mod cubic_map;
mod curate_exposures;
mod diagnose_orientations;
mod distribution;
mod downsample_particles;
mod estimate_ctf;
mod estimate_local_resolution;
mod expand_symmetry;
mod export_cryosparc;
mod export_deposition;
mod export_relion;
pub mod exposure_files;
pub mod extract_particles;
mod filter_locally;
mod flip_hand;
mod half_maps;
mod image_stacks;
pub mod import_micrographs;
pub mod import_movies;
mod import_particles;
mod import_picks;
mod import_relion_project;
pub mod import_volume;
mod inspect_picks;
mod intersect_particles;
pub mod items;
mod machine;
mod make_mask;
pub mod map_figures;
mod micrograph;
pub mod node_copies;
pub mod particle_images;
mod particle_sets;
mod pick_blobs;
mod pick_templates;
mod picking;
mod polish;
mod ranks;
pub mod reconstruct;
mod refine_ctf;
mod refine_heterogeneous;
mod refine_homogeneous;
mod refine_local;
mod refine_nonuniform;
mod refinement;
mod remove_duplicates;
mod resample_volume;
mod restack_particles;
mod row_origin;
mod select_2d;
mod selftest;
pub mod sharpen;
mod simulate;
#[cfg(test)]
mod simulated_maps;
pub mod slice;
mod split_particles;
pub mod stage;
mod subtract_signal;
mod thumbnail;

pub use ctx::{Ctx, Input};
pub use slice::Slice;
pub use stage::{Stage, StageError};

/// Every stage, in the order of `vitreous_jobs::CATALOG`.
pub static STAGES: &[&dyn Stage] = &[
    &import_movies::ImportMovies,
    &import_micrographs::ImportMicrographs,
    &import_picks::ImportPicks,
    &import_particles::ImportParticles,
    &import_volume::ImportVolume,
    &import_relion_project::ImportRelionProject,
    &check_gain::CheckGain,
    &correct_motion::CorrectMotion,
    &estimate_ctf::EstimateCtf,
    &curate_exposures::CurateExposures,
    &pick_blobs::PickBlobs,
    &pick_templates::PickTemplates,
    &inspect_picks::InspectPicks,
    &extract_particles::ExtractParticles,
    &remove_duplicates::RemoveDuplicates,
    &classify_2d::Classify2d,
    &select_2d::Select2d,
    &combine_particles::CombineParticles,
    &split_particles::SplitParticles,
    &intersect_particles::IntersectParticles,
    &downsample_particles::DownsampleParticles,
    &restack_particles::RestackParticles,
    &expand_symmetry::ExpandSymmetry,
    &subtract_signal::SubtractSignal,
    &ab_initio::AbInitio,
    &refine_homogeneous::RefineHomogeneous,
    &refine_nonuniform::RefineNonuniform,
    &refine_local::RefineLocal,
    &refine_heterogeneous::RefineHeterogeneous,
    &refine_ctf::RefineCtf,
    &reconstruct::Reconstruct,
    &polish::Polish,
    &make_mask::MakeMask,
    &sharpen::Sharpen,
    &estimate_local_resolution::EstimateLocalResolution,
    &filter_locally::FilterLocally,
    &diagnose_orientations::DiagnoseOrientations,
    &flip_hand::FlipHand,
    &align_maps::AlignMaps,
    &resample_volume::ResampleVolume,
    &export_relion::ExportRelion,
    &export_cryosparc::ExportCryosparc,
    &export_deposition::ExportDeposition,
    &simulate::Simulate,
    &selftest::Selftest,
    &benchmark::Benchmark,
];

/// The stage of a job type.
pub fn find(name: &str) -> Option<&'static dyn Stage> {
    STAGES.iter().copied().find(|stage| stage.name() == name)
}

/// The folder of third-party test data, if it is there; a test without it says so and passes.
#[cfg(test)]
fn test_data() -> Option<std::path::PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests may look for their data")]
    let folder = std::env::var("VITREOUS_TESTDATA");
    if folder.is_err() {
        println!("skipped: VITREOUS_TESTDATA not set");
    }
    folder.ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sources(folder: &Path) -> String {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default()).collect()
    }

    #[test]
    fn every_job_type_has_its_stage_in_the_same_order() {
        let jobs: Vec<&str> = vitreous_jobs::CATALOG.iter().map(|job| job.name()).collect();
        assert_eq!(STAGES.iter().map(|stage| stage.name()).collect::<Vec<_>>(), jobs);
    }

    #[test]
    fn job_types_that_say_so_and_no_others_work_item_by_item() {
        for job in vitreous_jobs::CATALOG {
            let folder = format!("{}/src/{}", env!("CARGO_MANIFEST_DIR"), job.name().replace('-', "_"));
            let sources = sources(Path::new(&folder));
            let works_by_items =
                ["for_each_item(ctx", "for_each_item_ahead("].iter().any(|call| sources.contains(call));
            assert_eq!(job.is_per_item(), works_by_items, "{}", job.name());
        }
    }
}
