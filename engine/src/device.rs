//! The processor that each rank computes on: a GPU that was granted to it, or the CPU.

use crate::args::DeviceChoice;
use crate::failure::Failure;
use crate::granted_gpus::GrantedGpus;
use std::collections::BTreeMap;
use vitreous_compute::comm::Comm;
use vitreous_compute::device::Device;
use vitreous_kernels_cuda::{AnyDevice, CudaDevice, CudaError};
use vitreous_model::exit;
use vitreous_project::RankDevice;

/// Variables that say that a scheduler, or a lane of our own, decides what a process may use.
const GIVEN_OUT_BY: [&str; 5] = ["SLURM_JOB_ID", "PBS_JOBID", "JOB_ID", "LSB_JOBID", "VITREOUS_ATTEMPT"];

/// What was chosen.
pub struct Chosen {
    /// This rank's device.
    pub device: AnyDevice,
    /// At rank 0: those of all ranks.
    pub ranks: Vec<RankDevice>,
    /// At rank 0: what the user should know about the choice.
    pub remarks: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// `--device`.
    pub choice: DeviceChoice,
    /// The job type.
    pub job_type: &'a str,
    /// Whether a part of it computes on a GPU.
    pub computes_on_gpu: bool,
}

/// The CUDA driver, or what a test has in its place.
pub struct Driver<'a> {
    /// How many devices it shows.
    pub visible: &'a dyn Fn() -> Result<usize, CudaError>,
    /// Opens one of them for one of so many processes.
    pub open: &'a dyn Fn(usize, u32) -> Result<AnyDevice, CudaError>,
}

impl Driver<'_> {
    /// The real one.
    pub const CUDA: Driver<'static> = Driver {
        visible: &CudaDevice::visible,
        open: &|ordinal, sharers| CudaDevice::open_shared(ordinal, sharers).map(AnyDevice::Gpu),
    };
}

/// Chooses the device of each rank. Called by every rank.
///
/// # Errors
/// A GPU was insisted on, and there is none for this rank.
pub fn choose(
    wish: &Wish<'_>,
    comm: &dyn Comm,
    host: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    driver: &Driver<'_>,
) -> Result<Chosen, Failure> {
    let insists = wish.choice == DeviceChoice::Cuda && wish.computes_on_gpu;
    let mut granted = GrantedGpus::read(variable, &|path| std::fs::read_to_string(path).ok());
    let is_given_out = GIVEN_OUT_BY.iter().any(|name| variable(name).is_some());
    if insists && granted.decided_by.is_none() && !is_given_out {
        // started by hand on a machine of one's own: all that the driver shows
        let visible = (driver.visible)().unwrap_or(0);
        granted.names = (0..visible).map(|ordinal| ordinal.to_string()).collect();
    }
    let bound = Bound::new(comm, host, &granted);
    let mut mine = RankDevice {
        rank: comm.rank() as u32,
        host: host.into(),
        device: String::new(),
        gpu: None,
        shared_by: None,
        not_used: None,
    };
    let mut device = AnyDevice::Cpu;
    let wants = wish.computes_on_gpu && wish.choice != DeviceChoice::Cpu;
    if let Some(gpu) = granted.name_of(bound.place).filter(|_| wants) {
        mine.gpu = Some(gpu.into());
        mine.shared_by = Some(bound.sharers);
        match bound.open(&granted, driver) {
            Ok(opened) => device = opened,
            Err(why) => mine.not_used = Some(why),
        }
    }
    mine.device = device.name();
    let ranks = gathered(comm, &mine);
    if insists && device.gpu().is_none() {
        let why = mine.not_used.unwrap_or_else(|| match (driver.visible)() {
            Err(error) if !is_given_out => error.to_string(),
            _ => "no GPU was granted to this job; ask for one with `--gpus 1`".into(),
        });
        return Err(Failure::new(exit::USAGE, format!("`--device cuda`: {why}"))
            .hint("`--device auto` computes on the CPU where there is no GPU; results are the same"));
    }
    let remarks = if wish.choice == DeviceChoice::Cpu { Vec::new() } else { remarks(wish, &granted, &ranks) };
    Ok(Chosen { device, ranks, remarks })
}

/// Where a rank stands among those that were granted the same GPUs.
struct Bound {
    /// Its place among them, from 0.
    place: usize,
    /// How many of them have the same GPU.
    sharers: u32,
}

impl Bound {
    /// Called by every rank. A launcher may have granted each rank of a host GPUs of its own, or the host's to all of them.
    fn new(comm: &dyn Comm, host: &str, granted: &GrantedGpus) -> Self {
        let key = format!("{host}\n{}", granted.names.join(","));
        let mut all = serde_json::to_vec(&comm.gather(key.as_bytes())).unwrap_or_default();
        comm.broadcast(0, &mut all);
        let keys: Vec<Vec<u8>> = serde_json::from_slice(&all).unwrap_or_default();
        let is_mine = |other: &&Vec<u8>| other.as_slice() == key.as_bytes();
        let place = keys.iter().take(comm.rank()).filter(is_mine).count();
        let (like_me, gpus) = (keys.iter().filter(is_mine).count(), granted.names.len().max(1));
        let sharers = (0..like_me).filter(|other| other % gpus == place % gpus).count();
        Self { place, sharers: sharers.max(1) as u32 }
    }

    fn open(&self, granted: &GrantedGpus, driver: &Driver<'_>) -> Result<AnyDevice, String> {
        let visible = (driver.visible)().map_err(|error| error.to_string())?;
        let ordinal = granted.ordinal_of(self.place, visible)?;
        (driver.open)(ordinal, self.sharers).map_err(|error| error.to_string())
    }
}

/// The devices of all ranks, at rank 0.
fn gathered(comm: &dyn Comm, mine: &RankDevice) -> Vec<RankDevice> {
    let mine = serde_json::to_vec(mine).unwrap_or_default();
    comm.gather(&mine).iter().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect()
}

/// What rank 0 tells of the devices of all ranks.
fn remarks(wish: &Wish<'_>, granted: &GrantedGpus, ranks: &[RankDevice]) -> Vec<String> {
    let by = granted.decided_by.unwrap_or("the driver");
    if !wish.computes_on_gpu {
        let why = if !granted.names.is_empty() {
            format!("a GPU was granted ({by}={})", granted.names.join(","))
        } else if wish.choice == DeviceChoice::Cuda {
            "a GPU was asked for (`--device cuda`)".into()
        } else {
            return Vec::new();
        };
        return vec![format!(
            "{why}, but no part of {} computes on one: computing on the CPU",
            wish.job_type
        )];
    }
    let mut remarks = Vec::new();
    let mut used: BTreeMap<(&str, &str, &str), u32> = BTreeMap::new();
    for rank in ranks {
        match (&rank.gpu, &rank.not_used) {
            (Some(gpu), None) => *used.entry((&rank.host, gpu, &rank.device)).or_default() += 1,
            (Some(gpu), Some(why)) => remarks.push(format!(
                "rank {} on {} computes on the CPU: GPU {gpu} was granted to it ({by}), but {why}",
                rank.rank, rank.host
            )),
            (None, _) => {}
        }
    }
    for ((host, gpu, device), sharers) in &used {
        let shared = if *sharers > 1 { format!(", shared by {sharers} ranks") } else { String::new() };
        remarks.push(format!("GPU {gpu} of {host}: {device}{shared}"));
    }
    let of_this_host = ranks.first().map(|first| used.keys().filter(|key| key.0 == first.host).count());
    let idle = granted.names.len().saturating_sub(of_this_host.unwrap_or(0));
    if !used.is_empty() && idle > 0 {
        remarks.push(format!(
            "{idle} of the {} GPUs granted ({by}={}) stay idle: a rank computes on one; ask for more `--ranks`",
            granted.names.len(),
            granted.names.join(",")
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use vitreous_compute::comm::{Solo, Threads};

    const SOME: Wish<'_> =
        Wish { choice: DeviceChoice::Auto, job_type: "refine-homogeneous", computes_on_gpu: true };

    fn no_driver() -> Driver<'static> {
        Driver { visible: &|| Err(CudaError::NoDriver), open: &|_, _| Err(CudaError::NoDriver) }
    }

    fn slurm(name: &str) -> Option<String> {
        match name {
            "CUDA_VISIBLE_DEVICES" => Some("1,3".into()),
            "SLURM_JOB_ID" => Some("7".into()),
            _ => None,
        }
    }

    #[test]
    fn ranks_take_the_granted_gpus_in_turn() {
        let opened = Mutex::new(Vec::new());
        let records = Threads::run(3, |comm| {
            let driver = Driver {
                visible: &|| Ok(2),
                open: &|ordinal, sharers| {
                    opened.lock().unwrap().push((comm.rank(), ordinal, sharers));
                    Ok(AnyDevice::Cpu)
                },
            };
            choose(&SOME, comm, "n1", &slurm, &driver).map(|chosen| chosen.ranks).ok().unwrap()
        });
        let mut opened = opened.into_inner().unwrap();
        opened.sort_unstable();
        assert_eq!(opened, [(0, 0, 2), (1, 1, 1), (2, 0, 2)]);
        let gpus: Vec<_> = records[0].iter().map(|rank| (rank.gpu.as_deref(), rank.shared_by)).collect();
        assert_eq!(gpus, [(Some("1"), Some(2)), (Some("3"), Some(1)), (Some("1"), Some(2))]);
        assert!(records[1].is_empty(), "rank 0 writes it down");
    }

    #[test]
    fn ranks_that_a_launcher_bound_each_have_their_own() {
        let opened = Mutex::new(Vec::new());
        Threads::run(2, |comm| {
            let own = |name: &str| {
                (name == "CUDA_VISIBLE_DEVICES").then(|| if comm.rank() == 0 { "2" } else { "5" }.to_string())
            };
            let driver = Driver {
                visible: &|| Ok(1),
                open: &|ordinal, sharers| {
                    opened.lock().unwrap().push((ordinal, sharers));
                    Ok(AnyDevice::Cpu)
                },
            };
            choose(&SOME, comm, "n1", &own, &driver).ok().unwrap();
        });
        assert_eq!(opened.into_inner().unwrap(), [(0, 1), (0, 1)]);
    }

    #[test]
    fn without_a_driver_auto_takes_the_cpu_and_says_why() {
        let chosen = choose(&SOME, &Solo, "n1", &slurm, &no_driver()).ok().unwrap();
        assert!(chosen.device.gpu().is_none());
        assert!(chosen.remarks[0].contains("GPU 1 was granted") && chosen.remarks[0].contains("libcuda"));
        assert!(chosen.ranks[0].not_used.as_ref().is_some_and(|why| why.contains("libcuda")));
        let nothing = |_: &str| None;
        let quiet = choose(&SOME, &Solo, "n1", &nothing, &no_driver()).ok().unwrap();
        assert!(quiet.remarks.is_empty() && quiet.ranks[0].gpu.is_none());
        let cpu = Wish { choice: DeviceChoice::Cpu, ..SOME };
        assert!(choose(&cpu, &Solo, "n1", &slurm, &no_driver()).ok().unwrap().remarks.is_empty());
    }

    #[test]
    fn a_gpu_that_is_insisted_on_must_be_there() {
        let cuda = Wish { choice: DeviceChoice::Cuda, ..SOME };
        let why = |variable: &dyn Fn(&str) -> Option<String>| {
            let failure = choose(&cuda, &Solo, "n1", variable, &no_driver()).err().unwrap();
            assert_eq!(failure.code, exit::USAGE);
            failure.message
        };
        assert!(why(&slurm).contains("libcuda"));
        assert!(why(&|_| None).contains("libcuda"));
        let none_granted = |name: &str| (name == "SLURM_JOB_ID").then(|| "7".to_string());
        assert!(why(&none_granted).contains("no GPU was granted"));
        let other = Wish { job_type: "make-mask", computes_on_gpu: false, ..cuda };
        let chosen = choose(&other, &Solo, "n1", &|_| None, &no_driver()).ok().unwrap();
        assert!(
            chosen.remarks[0].contains("asked for") && chosen.remarks[0].contains("no part of make-mask")
        );
    }

    #[test]
    fn gpus_that_nobody_uses_are_mentioned() {
        let used = RankDevice {
            rank: 0,
            host: "n1".into(),
            device: "H200".into(),
            gpu: Some("1".into()),
            shared_by: Some(1),
            not_used: None,
        };
        let granted = GrantedGpus::read(&slurm, &|_| None);
        let said = remarks(&SOME, &granted, &[used]);
        assert_eq!(said[0], "GPU 1 of n1: H200");
        assert!(said[1].starts_with("1 of the 2 GPUs granted (CUDA_VISIBLE_DEVICES=1,3) stay idle"));
        let mask = Wish { job_type: "make-mask", computes_on_gpu: false, ..SOME };
        assert!(remarks(&mask, &granted, &[])[0].contains("no part of make-mask"));
    }
}
