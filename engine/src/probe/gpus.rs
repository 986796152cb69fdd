//! GPUs: what the scheduler says it granted, and what the driver opens.

use crate::granted_gpus::GrantedGpus;
use serde_json::{Value, json};
use vitreous_compute::device::Device;
use vitreous_kernels_cuda::{CudaDevice, CudaError};

/// More devices than any host has: the end of the search for devices.
const MOST_DEVICES: usize = 64;

/// `granted` (names or numbers as the scheduler gave them), `decided_by`, all `variables` that are set, the `devices`
/// that the driver opens, and why there are none or not all (`driver_says`).
pub fn observe(variable: &dyn Fn(&str) -> Option<String>) -> Value {
    let (devices, driver_says) = open_all(&|ordinal| {
        CudaDevice::open(ordinal)
            .map(|device| json!({"ordinal": ordinal, "name": device.name(), "free_mib": device.free_bytes() >> 20}))
    });
    let granted = GrantedGpus::read(variable, &|path| std::fs::read_to_string(path).ok());
    json!({
        "granted": granted.names,
        "decided_by": granted.decided_by,
        "variables": granted.variables,
        "devices": devices,
        "driver_says": driver_says.map(|error| error.to_string()),
    })
}

/// Opens one device after the other until there are no more.
fn open_all(open: &dyn Fn(usize) -> Result<Value, CudaError>) -> (Vec<Value>, Option<CudaError>) {
    let mut devices = Vec::new();
    for ordinal in 0..MOST_DEVICES {
        match open(ordinal) {
            Ok(device) => devices.push(device),
            Err(CudaError::NoSuchDevice { .. }) => break,
            Err(error) => return (devices, Some(error)),
        }
    }
    (devices, None)
}

/// What does not fit together in [`observe`]'s answer.
pub fn problem(gpus: &Value) -> Option<String> {
    let count = |key: &str| gpus[key].as_array().map_or(0, Vec::len);
    let (granted, opened) = (count("granted"), count("devices"));
    let by = gpus["decided_by"].as_str().unwrap_or_default();
    (granted > 0 && opened < granted).then(|| {
        let why = gpus["driver_says"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{granted} GPU(s) were granted ({by}={}), and {opened} could be opened{why}", gpus["granted"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_opened_to_the_last_and_what_is_missing_is_a_problem() {
        let two = |ordinal: usize| match ordinal {
            0 | 1 => Ok(json!({"ordinal": ordinal})),
            wanted => Err(CudaError::NoSuchDevice { wanted, visible: 2 }),
        };
        let (devices, error) = open_all(&two);
        assert_eq!((devices.len(), error), (2, None));
        let fits = json!({"granted": ["0", "1"], "devices": devices});
        assert_eq!(problem(&fits), None);
        let (devices, error) = open_all(&|_| Err(CudaError::NoDriver));
        let lacks = json!({
            "granted": ["0"], "decided_by": "SLURM_JOB_GPUS", "devices": devices,
            "driver_says": error.map(|e| e.to_string()),
        });
        let text = problem(&lacks).expect("should be one");
        assert!(
            text.contains("1 GPU(s) were granted (SLURM_JOB_GPUS=") && text.contains("libcuda"),
            "{text}"
        );
        assert_eq!(problem(&json!({"granted": [], "devices": []})), None);
    }
}
