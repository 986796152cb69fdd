//! Any text as a PDB, mmCIF or compact model: an error or atoms at finite places, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use vitreous_formats::atomic_model;

fuzz_target!(|text: &str| {
    let Ok(model) = atomic_model::parse(Path::new("fuzz.pdb"), text) else { return };
    assert!(model.atoms.iter().all(|atom| atom.position_a.iter().all(|p| p.is_finite())));
    for assembly in &model.assemblies {
        let copies: usize = assembly.parts.iter().map(|part| part.motions.len()).sum();
        if copies * model.atoms.len() < 1 << 20 {
            let _ = model.build_assembly(&assembly.id);
        }
    }
});
