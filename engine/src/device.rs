//! The processor a job computes on.

use crate::args::DeviceChoice;
use crate::failure::Failure;
use vitreous_compute::device::Cpu;
use vitreous_model::exit;

/// What was chosen.
pub struct Chosen {
    /// The device.
    pub device: Cpu,
    /// Something the user should know about the choice; may be empty.
    pub remark: String,
}

/// Chooses the device. `granted_gpus` is what the scheduler granted, `CUDA_VISIBLE_DEVICES`.
///
/// # Errors
/// A GPU was insisted on, which no stage of this version computes on.
pub fn choose(choice: DeviceChoice, granted_gpus: Option<&str>) -> Result<Chosen, Failure> {
    if choice == DeviceChoice::Cuda {
        return Err(Failure::new(
            exit::USAGE,
            "`--device cuda`: no job type of this version computes on a GPU yet",
        )
        .hint("use `--device auto` or `--device cpu`; results are the same"));
    }
    let has_gpu = granted_gpus.is_some_and(|list| !list.trim().is_empty() && list.trim() != "-1");
    let remark = if has_gpu && choice == DeviceChoice::Auto {
        "a GPU was granted, but no job type of this version uses one: computing on the CPU".to_string()
    } else {
        String::new()
    };
    Ok(Chosen { device: Cpu, remark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_refused_when_insisted_on_and_mentioned_when_granted() {
        assert_eq!(
            choose(DeviceChoice::Cuda, Some("0")).err().map(|failure| failure.code),
            Some(exit::USAGE)
        );
        let remark = |choice, gpus| choose(choice, gpus).map(|chosen| chosen.remark).unwrap_or_default();
        assert!(remark(DeviceChoice::Auto, Some("0,1")).contains("GPU was granted"));
        assert_eq!(remark(DeviceChoice::Auto, Some("")), "");
        assert_eq!(remark(DeviceChoice::Auto, None), "");
        assert_eq!(remark(DeviceChoice::Cpu, Some("0")), "");
    }
}
