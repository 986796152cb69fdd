//! The parity suites with kernels run on the host, one fiber per CUDA thread, in three orders of threads: what the kernels
//! compute, and how they are called, without a GPU. And kernels with planted faults, which the suites must find.
#![allow(unsafe_code)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says why it skips, and may fail")]

mod host;
mod suites;

use host::{HostRuntime, ORDERS};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use vitreous_compute::parity;
use vitreous_kernels_cuda::AnyDevice;
use vitreous_kernels_cuda::families::FAMILIES;
use vitreous_kernels_cuda::gpu::Gpu;

/// A fault to be planted in a kernel, from `host/<family>.mutants.json`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// What is wrong with it.
    what: String,
    /// `parity`: this suite; `address` or `thread`: a sanitizer, under which ci/kernels runs it.
    caught_by: String,
    /// A file of `src/`.
    file: String,
    /// Text that stands once in it …
    text: String,
    /// … and what it becomes.
    becomes: String,
}

/// Runs a family's suite with the kernels of a library in every order of threads.
fn suite_holds(family: &str, library: &Path) {
    for order in ORDERS {
        let device = AnyDevice::Gpu(Gpu::new(HostRuntime::new(library, order)));
        parity::assert_all(&suites::of_family(family, &device));
    }
}

fn parity_of(family: &str) {
    if let Some(library) = host::compiled(family, &host::sources(), family) {
        suite_holds(family, &library);
    }
}

/// A copy of the kernels' sources with a fault.
fn planted(family: &str, index: usize, mutant: &Mutant) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutant-{family}-{index}"));
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(host::sources()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cu" || extension == "cuh") {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = folder.join(&mutant.file);
    let source = std::fs::read_to_string(&path).unwrap();
    assert_eq!(source.matches(&mutant.text).count(), 1, "{family}: `{}` should stand once", mutant.text);
    #[expect(clippy::disallowed_methods, reason = "a scratch file of this test")]
    std::fs::write(&path, source.replace(&mutant.text, &mutant.becomes)).unwrap();
    folder
}

/// Names the family and library to [`one_planted_fault`].
const PLANTED: [&str; 2] = ["VITREOUS_PLANTED_FAMILY", "VITREOUS_PLANTED_LIBRARY"];

/// The suite of one library, in a process of its own: a planted fault may end it.
#[test]
#[ignore = "a part of `planted_faults_are_caught`, which starts it"]
fn one_planted_fault() {
    #[expect(clippy::disallowed_methods, reason = "the process that this test is was told so")]
    let [Ok(family), Ok(library)] = PLANTED.map(std::env::var) else { return };
    suite_holds(&family, Path::new(&library));
}

/// The suite fails with each fault in at least one order of threads.
fn mutants_of(family: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("host/{family}.mutants.json"));
    let mutants: Vec<Mutant> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(mutants.len() >= 3, "{family} should have some mutants");
    for (index, mutant) in mutants.iter().enumerate().filter(|(_, mutant)| mutant.caught_by == "parity") {
        let sources = planted(family, index, mutant);
        let name = format!("{family}-mutant-{index}");
        let Some(library) = host::compiled(family, &sources, &name) else { return };
        #[expect(clippy::disallowed_methods, reason = "a planted fault may end its process")]
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_planted_fault", "--ignored"])
            .envs(PLANTED.into_iter().zip([OsStr::new(family), library.as_os_str()]))
            .output()
            .unwrap();
        assert!(!ran.status.success(), "{family}: the suite does not see that {}", mutant.what);
        println!("{family}: caught: {}", mutant.what);
    }
}

#[test]
fn every_family_has_its_ptx() {
    for family in FAMILIES {
        assert!(family.ptx.contains(".version 8.0") && family.ptx.contains(".target sm_70"), "{family:?}");
        for kernel in family.kernels {
            assert!(family.ptx.contains(&format!(".visible .entry {kernel}(")), "{kernel}");
        }
        let entries = family.ptx.matches(".visible .entry ").count();
        assert_eq!(entries, family.kernels.len(), "{} should list all its kernels", family.name);
    }
}

/// One test for each family, so that they run side by side.
macro_rules! families {
    ($($family:ident),*) => {
        $(mod $family {
            #[test]
            fn parity_in_every_order_of_threads() {
                super::parity_of(stringify!($family));
            }

            #[test]
            fn planted_faults_are_caught() {
                super::mutants_of(stringify!($family));
            }
        })*

        #[test]
        fn every_family_is_tested() {
            let listed: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
            assert_eq!(listed, [$(stringify!($family)),*]);
        }
    };
}

families!(
    align,
    ceilings,
    decimate,
    insert,
    motion_correlation,
    project,
    template_correlation,
    tile_spectra,
    transform,
    warp
);
