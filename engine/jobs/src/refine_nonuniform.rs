//! `refine-nonuniform`: poses and a map of one rigid structure whose parts differ in order, by gold standard.

use crate::Typed;
use crate::refine_homogeneous::{self, RefineHomogeneous};

/// The job type: the parameters, slots and resources of `refine-homogeneous`.
pub static JOB: Typed<RefineHomogeneous> = Typed {
    name: "refine-nonuniform",
    summary: "refine poses and a map whose parts differ in order, each filtered as it needs",
    ..refine_homogeneous::JOB
};
