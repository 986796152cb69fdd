//! What this engine is.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use vitreous_model::SCHEMA;

/// Versions of the programs and libraries that shape results.
pub fn versions() -> BTreeMap<String, String> {
    let mut versions =
        BTreeMap::from([("vitreous-engine".to_string(), env!("CARGO_PKG_VERSION").to_string())]);
    if let Some(library) = mpi_library() {
        versions.insert("mpi".into(), library);
    }
    versions
}

/// Name and version of the MPI library this engine was built with.
fn mpi_library() -> Option<String> {
    #[cfg(feature = "mpi")]
    return Some(crate::comm_mpi::library());
    #[cfg(not(feature = "mpi"))]
    None
}

/// Version, features and job types, for `vitreous doctor`.
pub fn json() -> Value {
    json!({
        "name": "vitreous-engine",
        "version": env!("CARGO_PKG_VERSION"),
        "schema": SCHEMA,
        "features": if cfg!(feature = "mpi") { vec!["mpi"] } else { Vec::new() },
        "mpi": mpi_library(),
        "devices": ["cpu"],
        "job_types": vitreous_stages::STAGES.iter().map(|stage| stage.name()).collect::<Vec<_>>(),
    })
}

/// The same for people.
pub fn text() -> String {
    let mpi = mpi_library().unwrap_or_else(|| "none (built without the feature `mpi`)".into());
    format!("vitreous-engine {}\nMPI: {mpi}\ndevices: CPU", env!("CARGO_PKG_VERSION"))
}
