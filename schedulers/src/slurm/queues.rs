//! What `sinfo` prints of partitions.

use crate::lane::parse_walltime;
use crate::scheduler::QueueInfo;

/// One line for each kind of node of a partition.
pub const FIELDS: &str = "--Format=Partition:|,Available:|,Time:|,Nodes:|,CPUs:|,Memory:|,Gres:|";

/// Partitions, nodes of all kinds taken together; `None`: something else stands there.
pub fn of_sinfo(text: &str) -> Option<Vec<QueueInfo>> {
    let mut queues: Vec<QueueInfo> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("CLUSTER:")) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, available, time, nodes, cpus, memory, gres, ""] = fields[..] else { return None };
        let plain = name.trim_end_matches('*');
        let found = queues.iter().position(|queue| queue.name == plain).unwrap_or_else(|| {
            queues.push(QueueInfo {
                name: plain.into(),
                is_default: name.ends_with('*'),
                is_open: available == "up",
                walltime_s: limit_s(time),
                ..QueueInfo::default()
            });
            queues.len() - 1
        });
        let queue = &mut queues[found];
        queue.nodes =
            number(nodes).map(|nodes| queue.nodes.unwrap_or(0).saturating_add(nodes)).or(queue.nodes);
        queue.cores = queue.cores.max(number(cpus));
        queue.mem_mib = queue.mem_mib.max(number(memory).map(u64::from));
        if let Some((word, count)) = gpus(gres)
            && queue.gpus.unwrap_or(0) < count
        {
            (queue.gpus, queue.gpu_resource) = (Some(count), Some(word));
        }
    }
    Some(queues)
}

/// `4`, `4+` (of several kinds the least).
fn number(text: &str) -> Option<u32> {
    text.trim_end_matches('+').parse().ok()
}

/// `infinite`, `2-00:00:00`, `12:00:00`, `5:00` (minutes and seconds).
fn limit_s(text: &str) -> Option<u64> {
    match text.matches(':').count() {
        1 => parse_walltime(&format!("00:{text}")).or_else(|| {
            let (minutes, seconds) = text.split_once(':')?;
            Some(minutes.parse::<u64>().ok()?.checked_mul(60)? + seconds.parse::<u64>().ok()?)
        }),
        2 => parse_walltime(text),
        _ => None,
    }
}

/// `gpu:a100:4(S:0-1),gpu:2`: the word to ask by, and how many of that kind.
fn gpus(gres: &str) -> Option<(String, u32)> {
    // commas also stand inside the parentheses that tell of sockets
    let mut depth = 0;
    let kinds = gres.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    let mut most: Option<(String, u32)> = None;
    for kind in kinds {
        let plain = kind.split('(').next().unwrap_or_default();
        let parts: Vec<&str> = plain.split(':').collect();
        let (word, count) = match parts[..] {
            ["gpu", count] => ("gres".to_string(), count.parse().ok()),
            ["gpu", model, count] => (format!("gres:{model}"), count.parse().ok()),
            ["gpu"] => ("gres".into(), Some(1)),
            _ => continue,
        };
        let Some(count) = count else { continue };
        if most.as_ref().is_none_or(|(_, known)| *known < count) {
            most = Some((word, count));
        }
    }
    most
}
