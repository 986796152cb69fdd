//! The GPUs that a scheduler granted to this process, and which of them is this rank's.

use std::collections::BTreeMap;

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

/// What the variables say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantedGpus {
    /// Names or numbers, as the scheduler gave them.
    pub names: Vec<String>,
    /// The variable that counted; `None`: nobody said anything.
    pub decided_by: Option<&'static str>,
    /// All variables that are set.
    pub variables: BTreeMap<&'static str, String>,
}

impl GrantedGpus {
    /// Reads the variables. PBS names a file with one line for each GPU, which `read` reads.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let variables: BTreeMap<&'static str, String> =
            NAMING.iter().filter_map(|name| variable(name).map(|value| (*name, value))).collect();
        let listed = |name: &str, value: &str| -> Vec<String> {
            let text =
                if name == "PBS_GPUFILE" { read(value).unwrap_or_default() } else { value.to_string() };
            let words = text.split(|c: char| c == ',' || c.is_whitespace()).map(str::trim);
            words.filter(|word| !word.is_empty() && *word != "-1").map(Into::into).collect()
        };
        let first =
            NAMING.iter().find_map(|name| variables.get(name).map(|value| (*name, listed(name, value))));
        let (decided_by, names) = first.unzip();
        Self { names: names.unwrap_or_default(), decided_by, variables }
    }

    /// Which of the granted GPUs is that of the rank `place` among those that were granted the same ones on this host.
    pub fn name_of(&self, place: usize) -> Option<&str> {
        self.names.get(place % self.names.len().max(1)).map(String::as_str)
    }

    /// The driver's number of that GPU, where the driver shows `visible` of them.
    ///
    /// # Errors
    /// Which of the driver's GPUs are the granted ones cannot be told.
    pub fn ordinal_of(&self, place: usize, visible: usize) -> Result<usize, String> {
        let count = self.names.len();
        let index = place % count.max(1);
        // the driver shows what its own variable names; a control group shows what was granted: numbered from 0 either way
        if self.decided_by == Some("CUDA_VISIBLE_DEVICES") || visible == count {
            return Ok(index);
        }
        // `2`, `gpu2`, `n1-gpu2`
        let number = |name: &str| {
            let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            name[name.len() - digits..].parse::<usize>().ok().filter(|number| *number < visible)
        };
        self.names.get(index).and_then(|name| number(name)).ok_or_else(|| {
            format!(
                "{} were granted ({}={}), and the driver shows {visible}: which of them are ours cannot be told; have the \
                 lane's `setup` set CUDA_VISIBLE_DEVICES",
                count,
                self.decided_by.unwrap_or_default(),
                self.names.join(",")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(variables: &[(&'static str, &str)]) -> GrantedGpus {
        let variables: BTreeMap<&str, String> = variables.iter().map(|(n, v)| (*n, v.to_string())).collect();
        let file = |path: &str| (path == "/aux/7.gpu").then(|| "n1-gpu0\nn1-gpu3\n".to_string());
        GrantedGpus::read(&|name| variables.get(name).cloned(), &file)
    }

    #[test]
    fn the_variable_that_the_driver_obeys_counts_first() {
        let slurm = granted(&[("CUDA_VISIBLE_DEVICES", "0,1"), ("SLURM_JOB_GPUS", "2,3")]);
        assert_eq!(
            (slurm.names, slurm.decided_by),
            (vec!["0".into(), "1".into()], Some("CUDA_VISIBLE_DEVICES"))
        );
        assert_eq!(slurm.variables["SLURM_JOB_GPUS"], "2,3");
        let nothing = granted(&[("CUDA_VISIBLE_DEVICES", "-1")]);
        assert!(nothing.names.is_empty() && nothing.decided_by.is_some(), "explicitly none");
        assert_eq!(granted(&[("PBS_GPUFILE", "/aux/7.gpu")]).names, ["n1-gpu0", "n1-gpu3"]);
        assert_eq!(granted(&[]), GrantedGpus::default());
    }

    #[test]
    fn ranks_share_the_granted_gpus_in_turn() {
        let visible = granted(&[("CUDA_VISIBLE_DEVICES", "3,5")]);
        let of = |place| (visible.name_of(place).map(String::from), visible.ordinal_of(place, 2));
        assert_eq!(
            [of(0), of(1), of(2)],
            [("3", 0), ("5", 1), ("3", 0)].map(|(n, o)| (Some(n.into()), Ok(o)))
        );
    }

    #[test]
    fn granted_numbers_are_the_driver_s_unless_it_shows_only_those() {
        let slurm = granted(&[("SLURM_JOB_GPUS", "2,3")]);
        assert_eq!(slurm.ordinal_of(1, 4), Ok(3));
        assert_eq!(slurm.ordinal_of(1, 2), Ok(1), "a control group hides the others");
        assert!(slurm.ordinal_of(0, 1).unwrap_err().contains("cannot be told"), "2 granted, 1 to be seen");
        let pbs = granted(&[("PBS_GPUFILE", "/aux/7.gpu")]);
        assert_eq!((pbs.ordinal_of(1, 4), pbs.ordinal_of(1, 8)), (Ok(3), Ok(3)));
        assert!(granted(&[("SLURM_JOB_GPUS", "2,MIG-x")]).ordinal_of(1, 8).is_err());
    }
}
