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
        "template_correlation" => parity::template_correlation::run(gpu),
        "tile_spectra" => parity::tile_spectra::run(gpu),
        "transform" => parity::transform::run(gpu),
        other => panic!("the family {other} has no parity suite here"),
    };
    assert!(!gpu.fell_back(), "the kernels of {family} should have done all of it");
    outcomes
}
