//! Who is who: a process is host + boot id + pid + start time, so that a reused pid is never taken for it.

use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Name of this host.
pub fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Identity of this host's current boot; empty where the system has none.
pub fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
    })
}

/// The user this process works for.
pub fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// A user's name, for messages; of one whom this host's own list does not know, the number.
pub fn user_name(uid: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_it = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    let name = list.lines().find(is_it).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("user {uid}"), String::from)
}

/// A process of some host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Host name.
    pub host: String,
    /// Boot of that host.
    pub boot_id: String,
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`); 0 if not known.
    pub start_ticks: u64,
}

/// What can be said about a process from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It has ended, or its host has rebooted.
    Dead,
    /// It belongs to another host: nothing can be said.
    Unknown,
}

impl ProcessId {
    /// The calling process.
    pub fn current() -> Self {
        let pid = std::process::id();
        let start_ticks = stat(pid).map_or(0, |stat| stat.start_ticks);
        Self { host: host().into(), boot_id: boot_id().into(), pid, start_ticks }
    }

    /// Whether it still runs.
    pub fn liveness(&self) -> Liveness {
        if self.host != host() {
            return Liveness::Unknown;
        }
        if self.boot_id != boot_id() {
            return Liveness::Dead;
        }
        match stat(self.pid) {
            Some(stat) if stat.ended => Liveness::Dead,
            Some(stat) if self.start_ticks == 0 || stat.start_ticks == self.start_ticks => Liveness::Alive,
            _ => Liveness::Dead,
        }
    }
}

/// The part of `/proc/PID/stat` that is needed here.
struct Stat {
    start_ticks: u64,
    /// A zombie or dead.
    ended: bool,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the command name in field 2 may hold blanks and brackets: count from the last bracket
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat { start_ticks: fields.get(19)?.parse().ok()?, ended: matches!(*fields.first()?, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_namesakes_do_not() {
        let me = ProcessId::current();
        assert_eq!(me.liveness(), Liveness::Alive);
        assert_eq!(ProcessId { start_ticks: me.start_ticks + 1, ..me.clone() }.liveness(), Liveness::Dead);
        assert_eq!(ProcessId { boot_id: "another boot".into(), ..me.clone() }.liveness(), Liveness::Dead);
        assert_eq!(ProcessId { host: "elsewhere".into(), ..me.clone() }.liveness(), Liveness::Unknown);
        assert_eq!(ProcessId { pid: u32::MAX - 1, ..me }.liveness(), Liveness::Dead);
    }
}
