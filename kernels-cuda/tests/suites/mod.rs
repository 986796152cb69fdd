//! The parity suite of every family, on whatever runs kernels, asked as stages ask it: through the device chosen at run time.

use vitreous_compute::device::Cpu;
use vitreous_compute::parity::{self, Outcome};
use vitreous_kernels_cuda::AnyDevice;
use vitreous_kernels_cuda::runtime::Runtime;

/// All outcomes of a family.
pub fn of_family<R: Runtime>(family: &str, device: &AnyDevice<R>) -> Vec<Outcome> {
    let outcomes = match family {
        "insert" => {
            let bits_differ = parity::insert::checksum(device) != parity::insert::checksum(&Cpu);
            let same = Outcome {
                case: "the bits of the CPU twin".into(),
                measure: "sums that differ",
                error: f64::from(bits_differ),
                bound: 0.0,
            };
            parity::insert::run(device).into_iter().chain([same]).collect()
        }
        "align" => parity::align::run_small(device),
        "ceilings" => parity::ceilings::run(device),
        "project" => parity::project::run(device),
        "warp" => {
            let same = parity::warp::checksum(device) == parity::warp::checksum(&Cpu);
            parity::warp::run(device).into_iter().chain([cpu_bits(same)]).collect()
        }
        "decimate" => {
            let same = parity::decimate::checksum(device) == parity::decimate::checksum(&Cpu);
            parity::decimate::run(device).into_iter().chain([cpu_bits(same)]).collect()
        }
        "motion_correlation" => {
            let same =
                parity::motion_correlation::checksum(device) == parity::motion_correlation::checksum(&Cpu);
            parity::motion_correlation::run(device).into_iter().chain([cpu_bits(same)]).collect()
        }
        "template_correlation" => parity::template_correlation::run(device),
        "tile_spectra" => parity::tile_spectra::run(device),
        "transform" => parity::transform::run(device),
        other => panic!("the family {other} has no parity suite here"),
    };
    assert!(
        device.gpu().is_some_and(|gpu| !gpu.fell_back()),
        "the kernels of {family} should have done all of it"
    );
    outcomes
}

/// Whether a checksum is that of the CPU twin, as an outcome.
fn cpu_bits(same: bool) -> Outcome {
    Outcome {
        case: "the bits of the CPU twin".into(),
        measure: "results that differ",
        error: f64::from(!same),
        bound: 0.0,
    }
}
