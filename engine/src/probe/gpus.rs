//! GPUs: what the scheduler says it granted, and what the driver opens.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use vitreous_compute::device::Device;
use vitreous_kernels_cuda::{CudaDevice, CudaError};

/// Variables that name the GPUs of a job, in the order of trust. The first is what the driver itself obeys.
const NAMING: [&str; 7] = [
    "CUDA_VISIBLE_DEVICES",
    "SLURM_STEP_GPUS",
    "SLURM_JOB_GPUS",
    "GPU_DEVICE_ORDINAL",
    "SGE_HGR_gpu",
    "SGE_HGR_cuda",
    "PBS_GPUFILE",
];

/// More devices than any host has: the end of the search for devices.
const MOST_DEVICES: usize = 64;

/// `granted` (names or numbers as the scheduler gave them), `decided_by`, all `variables` that are set, the `devices`
/// that the driver opens, and why there are none or not all (`driver_says`).
pub fn observe(variable: &dyn Fn(&str) -> Option<String>) -> Value {
    let (devices, driver_says) = open_all(&|ordinal| {
        CudaDevice::open(ordinal)
            .map(|device| json!({"ordinal": ordinal, "name": device.name(), "free_mib": device.free_bytes() >> 20}))
    });
    let mut found = granted(variable, &|path| std::fs::read_to_string(path).ok());
    found["devices"] = devices.into();
    found["driver_says"] = driver_says.map(|error| error.to_string()).into();
    found
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

/// What the variables say. PBS names a file with one line for each GPU.
fn granted(variable: &dyn Fn(&str) -> Option<String>, read: &dyn Fn(&str) -> Option<String>) -> Value {
    let set: BTreeMap<&str, String> =
        NAMING.iter().filter_map(|name| variable(name).map(|value| (*name, value))).collect();
    let listed = |name: &str, value: &str| -> Vec<String> {
        let text = if name == "PBS_GPUFILE" { read(value).unwrap_or_default() } else { value.to_string() };
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).map(str::trim);
        words.filter(|word| !word.is_empty() && *word != "-1").map(Into::into).collect()
    };
    let first = NAMING.iter().find_map(|name| set.get(name).map(|value| (*name, listed(name, value))));
    let (decided_by, granted) = first.unzip();
    json!({"granted": granted.unwrap_or_default(), "decided_by": decided_by, "variables": set})
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
    fn the_variable_that_the_driver_obeys_counts_first() {
        let none = |_: &str| None;
        let slurm = |name: &str| match name {
            "CUDA_VISIBLE_DEVICES" => Some("0,1".to_string()),
            "SLURM_JOB_GPUS" => Some("2,3".to_string()),
            _ => None,
        };
        let found = granted(&slurm, &none);
        assert_eq!(found["granted"], json!(["0", "1"]));
        assert_eq!(found["decided_by"], "CUDA_VISIBLE_DEVICES");
        assert_eq!(found["variables"]["SLURM_JOB_GPUS"], "2,3");
        let nothing = |name: &str| (name == "CUDA_VISIBLE_DEVICES").then(|| "-1".to_string());
        assert_eq!(granted(&nothing, &none)["granted"], json!([]), "explicitly none");
        let pbs = |name: &str| (name == "PBS_GPUFILE").then(|| "/aux/7.gpu".to_string());
        let file = |path: &str| (path == "/aux/7.gpu").then(|| "n1-gpu0\nn1-gpu3\n".to_string());
        assert_eq!(granted(&pbs, &file)["granted"], json!(["n1-gpu0", "n1-gpu3"]));
        assert_eq!(granted(&|_| None, &none)["decided_by"], Value::Null);
    }

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
