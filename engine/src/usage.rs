//! What this process used: `usage-RANK.json`, merged by the submission script into the exit record.

use vitreous_project::Usage;

/// The kernel counts CPU time in 1/100 s for user programs on every Linux architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Of this process up to now; zeros where there is no `/proc`.
pub fn of_this_process() -> Usage {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    Usage {
        cpu_seconds: cpu_seconds(&read("stat")).unwrap_or_default(),
        max_rss_mib: max_rss_mib(&read("status")).unwrap_or_default(),
    }
}

/// `utime` + `stime` of `/proc/PID/stat`, seconds. The program's name may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// `VmHWM` of `/proc/PID/status`, MiB.
fn max_rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_files_are_read() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 1 0 99 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(max_rss_mib("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(max_rss_mib("VmHWM: lots"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(of_this_process().max_rss_mib > 0.5);
    }
}
