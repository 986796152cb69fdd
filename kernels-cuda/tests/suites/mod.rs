//! The parity suite of every family, on whatever runs kernels.

use vitreous_compute::device::Cpu;
use vitreous_compute::parity::{self, Outcome};
use vitreous_kernels_cuda::gpu::Gpu;
use vitreous_kernels_cuda::runtime::Runtime;

/// All outcomes of a family.
pub fn of_family<R: Runtime>(family: &str, gpu: &Gpu<R>) -> Vec<Outcome> {
    let outcomes = match family {
        "insert" => {
            let bits_differ = parity::insert::checksum(gpu) != parity::insert::checksum(&Cpu);
            let same = Outcome {
                case: "the bits of the CPU twin".into(),
                measure: "sums that differ",
                error: f64::from(bits_differ),
                bound: 0.0,
            };
            parity::insert::run(gpu).into_iter().chain([same]).collect()
        }
        "warp" => {
            let same = parity::warp::checksum(gpu) == parity::warp::checksum(&Cpu);
            parity::warp::run(gpu).into_iter().chain([cpu_bits(same)]).collect()
        }
        "decimate" => {
            let same = parity::decimate::checksum(gpu) == parity::decimate::checksum(&Cpu);
            parity::decimate::run(gpu).into_iter().chain([cpu_bits(same)]).collect()
        }
        "motion_correlation" => {
            let same =
                parity::motion_correlation::checksum(gpu) == parity::motion_correlation::checksum(&Cpu);
            parity::motion_correlation::run(gpu).into_iter().chain([cpu_bits(same)]).collect()
        }
        other => panic!("the family {other} has no parity suite here"),
    };
    assert!(!gpu.fell_back(), "the kernels of {family} should have done all of it");
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
