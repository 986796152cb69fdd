//! Slurm's words for why a job waits, and what its daemon writes into a job's standard error.

use crate::cluster::explained;
use crate::scheduler::EndReason;

/// Reasons of waiting jobs, by their beginnings. From Slurm's "Job reason codes".
const PENDING: &[(&str, &str)] = &[
    ("Priority", "jobs of higher priority come first"),
    ("Resources", "it is next, as soon as enough is free"),
    ("DependencyNeverSatisfied", "a job it depends on did not end well"),
    ("Dependency", "it waits for the jobs it depends on"),
    ("BeginTime", "it may start only later: put back into the queue a moment ago, or submitted with --begin"),
    ("JobArrayTaskLimit", "as many tasks of this array run as its own limit allows"),
    ("JobHeldUser", "held by its owner; release it with scontrol release"),
    ("JobHeldAdmin", "held by an administrator"),
    ("ReqNodeNotAvail", "the nodes that it could use are down, drained or reserved, often for maintenance"),
    ("NodeDown", "a node that it needs is down"),
    ("PartitionDown", "the partition is closed"),
    ("PartitionInactive", "the partition is closed"),
    ("PartitionTimeLimit", "it asks for more time than the partition gives: it will never start"),
    ("PartitionNodeLimit", "it asks for more nodes than the partition gives: it will never start"),
    ("PartitionConfig", "it asks for more than the partition has: it will never start"),
    ("BadConstraints", "no node can ever give what it asks for"),
    ("Reservation", "its reservation has not begun"),
    ("Licenses", "all licences of the cluster that it asks for are in use"),
    ("QOSMaxJobsPerUserLimit", "you run as many jobs as your quality of service allows"),
    ("QOSMax", "you use as much as your quality of service allows"),
    ("QOSGrp", "your group uses as much as its quality of service allows"),
    ("QOSMin", "it asks for less than its quality of service demands"),
    ("QOSJobLimit", "you run as many jobs as your quality of service allows"),
    ("QOSResourceLimit", "you use as much as your quality of service allows"),
    ("QOSUsageThreshold", "the usage that your quality of service demands is not reached"),
    ("AssocGrp", "your account uses as much as it may; it goes on when other jobs of the account have ended"),
    ("AssocMax", "you use as much of the account as you may"),
    ("AssociationJobLimit", "your account runs as many jobs as it may"),
    ("AssociationResourceLimit", "your account uses as much as it may"),
    ("MaxGRESPerAccount", "your account uses as many GPUs as it may"),
    ("MaxGRESPerUser", "you use as many GPUs as you may"),
    ("InvalidAccount", "there is no such account, or you are not in it"),
    ("InvalidQOS", "there is no such quality of service, or it is not yours"),
    ("Cleaning", "its last run is being cleaned up"),
    ("Prolog", "the node is being prepared"),
    ("launch failed requeued held", "it could not be started and was held; see scontrol show job"),
    ("FrontEndDown", "no front end is available"),
    ("SystemFailure", "Slurm, its file system or its network failed"),
    ("None", "the scheduler has not looked at it yet"),
];

/// Slurm's word with an explanation.
pub fn explain(word: &str) -> String {
    // AssocMaxWallDurationPerJobLimit, QOSMaxGRESPerJob: waiting does not help
    let first = word.split(',').next().unwrap_or_default();
    if first.contains("PerJob") && (first.starts_with("Assoc") || first.starts_with("QOSM")) {
        return format!("{word} (it asks for more than one job may have: it will never start)");
    }
    explained(word, PENDING)
}

/// Reasons that last until a person acts.
pub fn is_hold(reason: &str) -> bool {
    ["JobHeldUser", "JobHeldAdmin", "launch failed requeued held", "job requeued in held state"]
        .iter()
        .any(|held| reason.starts_with(held))
}

/// `slurmstepd: error: …` at the end of a job's standard error. Two traps: OverMemoryKill shows in no command of Slurm,
/// and a job cancelled, preempted or out of time says `CANCELLED` in each case.
pub fn in_stderr(stderr: &str) -> Option<EndReason> {
    let lines =
        stderr.lines().rev().filter(|line| line.starts_with("slurmstepd") || line.starts_with("srun: error"));
    let mut reason = None;
    for line in lines {
        let found = match line {
            line if line.contains("exceeded memory limit") || line.contains("Exceeded job memory limit") => {
                EndReason::OutOfMemory
            }
            line if line.contains("oom_kill event") || line.contains("oom-kill event") => {
                EndReason::OutOfMemory
            }
            line if line.contains("DUE TO TIME LIMIT") => EndReason::TimeLimit,
            line if line.contains("DUE TO NODE FAILURE") => EndReason::NodeFailed,
            line if line.contains("DUE TO PREEMPTION") => EndReason::Preempted,
            // for memory, too: look further back
            line if line.contains("CANCELLED AT") => EndReason::Cancelled,
            _ => continue,
        };
        if found != EndReason::Cancelled {
            return Some(found);
        }
        reason = Some(found);
    }
    reason
}
