//! The real engine, four MPI ranks over two nodes with GPUs granted, beside a node-local cache; and what befalls such jobs.
//!
//! Every refinement here is the same one: whatever happens on the way, it ends with the same numbers.

use crate::cluster::variable;
use crate::scene::{AT_ONCE, Form, LONG, Scene, Use, skip};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const REFINE: [&str; 15] = [
    "run",
    "refine-homogeneous",
    "--lane",
    "here",
    "--particles",
    "J1",
    "--volume",
    "J1.volume",
    "--diameter",
    "190",
    "--initial-lowpass",
    "25",
    "--max-iterations",
    "6",
    "--threads=1",
];

/// A project with particles and one refinement without faults, J2, on a lane with a scratch disk.
struct Refined {
    scene: Scene,
    numbers: Value,
}

fn refined(usage: Use) -> Option<Refined> {
    let scene = Scene::begin(usage, Form::Full, AT_ONCE)?;
    let run = variable("VITREOUS_CLUSTER_RUN");
    let engine = Path::new(&run).join("bin/vitreous-engine");
    if !engine.exists() {
        skip("no engine with MPI was built for this scheduler");
        return None;
    }
    if scene.cluster.name != "slurm" {
        skip("no two nodes with GPUs");
        return None;
    }
    std::fs::create_dir(scene.path("disk")).unwrap();
    write_lane(&scene, &scene.path("disk"), "quota_gib: 1, reserve_gib: 0");
    std::fs::copy(Path::new(&run).join("quickstart/1MNF.atoms.gz"), scene.root().join("1MNF.atoms.gz"))
        .unwrap();
    let particles = "run simulate --lane here --product particles --model 1MNF.atoms.gz --symmetry D7 --box-size 60 \
                     --pixel-size 4 --particles 400 --snr 0.1 --mem-gib 1 --threads 1";
    scene.ok(&particles.split_whitespace().collect::<Vec<_>>());
    scene.wait_at_most(LONG, 1, "done");
    refine(&scene);
    scene.wait_at_most(LONG, 2, "done");
    let numbers = read_numbers(&scene, 2);
    Some(Refined { scene, numbers })
}

fn write_lane(scene: &Scene, scratch: &Path, cache: &str) {
    let engine = Path::new(&variable("VITREOUS_CLUSTER_RUN")).join("bin/vitreous-engine");
    scene.write_lane(&format!(
        "engine: {}\nlauncher: mpirun --oversubscribe --bind-to none\nlimits: {{nodes: 2, ranks: 4, threads: 4, gpus: 4}}\nscratch: {}\ncache: {{{cache}}}\n",
        engine.display(),
        scratch.display()
    ));
}

/// Submits the refinement: four ranks, two nodes, a GPU on each.
fn refine(scene: &Scene) {
    refine_on(scene, "--gpus=2");
}

fn refine_on(scene: &Scene, gpus: &str) {
    scene.ok(&[&REFINE[..], &["--ranks=4", "--nodes=2", gpus, "--mem-gib=1", "--retry=0"]].concat());
}

/// The granted GPUs that the ranks of a job took for theirs, and why none computes on it: there are none here.
fn gpus_of_ranks(scene: &Scene, number: u32) -> Vec<String> {
    let text = std::fs::read_to_string(scene.job(number).join("effective.json")).unwrap();
    let effective: Value = serde_json::from_str(&text).unwrap();
    let devices = effective["devices"].as_array().unwrap().clone();
    for device in &devices {
        let why = device["not_used"].as_str().unwrap_or_default();
        assert!(why.contains("CUDA driver") || why.contains("GPU"), "{device}");
        assert!(device["device"].as_str().unwrap().contains("CPU"), "{device}");
    }
    devices.iter().map(|device| device["gpu"].as_str().unwrap_or("none").to_string()).collect()
}

fn read_numbers(scene: &Scene, number: u32) -> Value {
    let text = std::fs::read_to_string(scene.job(number).join("report.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["numbers"].clone()
}

/// What the ranks of an attempt had of the cache, one after the other.
fn cache_use(scene: &Scene, number: u32, attempt: u32, key: &str) -> Vec<u64> {
    let of_rank = |rank| {
        let text =
            std::fs::read_to_string(scene.attempt(number, attempt, &format!("node-cache-{rank}.json")))
                .unwrap();
        serde_json::from_str::<Value>(&text).unwrap()[key].as_u64().unwrap()
    };
    (0..4).map(of_rank).collect()
}

/// Waits until the refinement has come to its second iteration.
fn wait_until_it_iterates(scene: &Scene, number: u32) {
    let events = || std::fs::read_to_string(scene.attempt(number, 1, "events.jsonl")).unwrap_or_default();
    scene.eventually(LONG, "iteration 2", || events().contains("iteration 2"));
}

/// Process of a rank of a job's engine, by what its launcher told it.
fn process_of_rank(scene: &Scene, number: u32, rank: u32) -> Option<u32> {
    let folder = scene.job(number).to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (command, environment) = (read("cmdline"), read("environ"));
        let is_engine =
            command.split(|byte| *byte == 0).next().is_some_and(|word| word.ends_with(b"vitreous-engine"));
        let of_rank = format!("OMPI_COMM_WORLD_RANK={rank}");
        is_engine
            && String::from_utf8_lossy(&command).contains(&folder)
            && environment.split(|byte| *byte == 0).any(|variable| variable == of_rank.as_bytes())
    })
}

#[test]
fn ranks_of_two_nodes_use_what_was_granted_and_share_one_copy() {
    let Some(Refined { scene, numbers }) = refined(Use::Shared) else { return };
    let script = std::fs::read_to_string(scene.attempt(2, 1, "submit.sh")).unwrap();
    for line in ["#SBATCH --nodes=2", "#SBATCH --ntasks=4", "#SBATCH --gres=gpu:1"] {
        assert!(script.contains(line), "{line}: {script}");
    }
    let effective: Value =
        serde_json::from_str(&std::fs::read_to_string(scene.job(2).join("effective.json")).unwrap()).unwrap();
    assert_eq!((effective["ranks"].as_u64(), effective["threads"].as_u64()), (Some(4), Some(1)));
    // the two nodes of this cluster are one host: its first job made the one copy
    assert_eq!(cache_use(&scene, 2, 1, "copied_files").iter().sum::<u64>(), 1);
    // two more jobs at once make none
    (3..=4).for_each(|_| refine(&scene));
    for job in 3..=4 {
        scene.wait_at_most(LONG, job, "done");
        assert_eq!(
            (read_numbers(&scene, job), cache_use(&scene, job, 1, "copied_files")),
            (numbers.clone(), vec![0; 4])
        );
        assert_eq!(cache_use(&scene, job, 1, "found_files"), [1; 4]);
    }
    // one GPU on each node, which its two ranks share; then two, one for each rank
    assert_eq!(gpus_of_ranks(&scene, 2), ["0"; 4]);
    refine_on(&scene, "--gpus=4");
    scene.wait_at_most(LONG, 5, "done");
    assert_eq!(
        (read_numbers(&scene, 5), gpus_of_ranks(&scene, 5)),
        (numbers, ["0", "1", "0", "1"].map(String::from).to_vec())
    );
    assert!(scene.ok(&["logs", "J5"]).contains("rank 3 on "), "the user is told");
}

#[test]
fn a_rank_that_is_killed_takes_its_job_down_at_once_and_retry_goes_on() {
    let Some(Refined { scene, numbers }) = refined(Use::Shared) else { return };
    refine(&scene);
    wait_until_it_iterates(&scene, 3);
    let rank = process_of_rank(&scene, 3, 2).expect("rank 2 should run");
    let killed = Instant::now();
    kill(rank);
    scene.eventually(LONG, "the end of J3", || scene.state(3).starts_with("failed"));
    let (took, state) = (killed.elapsed(), scene.state(3));
    println!("a killed rank: {state} after {:.1} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(40), "the other ranks were left waiting for {took:?}");
    let why = scene.ok(&["why", "J3"]);
    assert!(
        state.contains("signal 9") || state.contains("137") || why.contains("signal 9"),
        "{state}: {why}"
    );
    scene.ok(&["retry", "J3"]);
    scene.wait_at_most(LONG, 3, "done");
    assert_eq!(read_numbers(&scene, 3), numbers);
    let events = std::fs::read_to_string(scene.attempt(3, 2, "events.jsonl")).unwrap();
    assert!(events.contains("going on after"), "it starts from the checkpoint: {events}");
}

#[test]
fn a_cache_that_is_removed_under_a_job_or_has_no_room_changes_nothing() {
    let Some(Refined { scene, numbers }) = refined(Use::Shared) else { return };
    refine(&scene);
    wait_until_it_iterates(&scene, 3);
    let caches = std::fs::read_dir(scene.path("disk")).unwrap().flatten();
    caches.for_each(|cache| std::fs::remove_dir_all(cache.path()).unwrap());
    scene.wait_at_most(LONG, 3, "done");
    assert_eq!(read_numbers(&scene, 3), numbers);

    write_lane(&scene, &scene.path("disk"), "quota_gib: 0.000001");
    refine(&scene);
    scene.wait_at_most(LONG, 4, "done");
    assert_eq!(
        (read_numbers(&scene, 4), cache_use(&scene, 4, 1, "direct_files")),
        (numbers.clone(), vec![1; 4])
    );
    assert!(scene.ok(&["logs", "J4"]).contains("read where they lie: the cache's quota"));

    // a node without the scratch disk that its lane names
    write_lane(&scene, &PathBuf::from("/no/such/disk"), "quota_gib: 1");
    refine(&scene);
    scene.wait_at_most(LONG, 5, "done");
    assert_eq!(read_numbers(&scene, 5), numbers);
    assert!(scene.ok(&["logs", "J5"]).contains("there is no cache: cannot create `/no/such/disk`"));
}

/// The node of rank 0 is lost with all that runs on it.
#[test]
fn a_job_whose_node_is_lost_ends_with_the_same_numbers() {
    let Some(Refined { scene, numbers }) = refined(Use::Alone) else { return };
    refine(&scene);
    wait_until_it_iterates(&scene, 3);
    scene.cluster.node("down");
    let lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // its processes end with the machine
        let processes: Vec<u32> = (0..4).filter_map(|rank| process_of_rank(&scene, 3, rank)).collect();
        processes.into_iter().for_each(kill);
        scene.eventually(LONG, "what Slurm makes of it", || {
            let state = scene.state(3);
            ["failed", "lost", "queued", "done"].iter().any(|end| state.starts_with(end))
        });
        println!("a lost node: {}", scene.state(3));
    }));
    scene.cluster.node("up");
    if let Err(failure) = lost {
        std::panic::resume_unwind(failure);
    }
    // Slurm puts it back into the queue by itself, or a person asks for it
    let ended = || ["failed", "lost", "done"].iter().any(|end| scene.state(3).starts_with(end));
    scene.eventually(LONG, "the end of the first attempt", ended);
    if scene.state(3) != "done" {
        scene.ok(&["retry", "J3"]);
    }
    scene.wait_at_most(LONG, 3, "done");
    assert_eq!(read_numbers(&scene, 3), numbers);
}

fn kill(process: u32) {
    let killed = std::process::Command::new("kill").args(["-s", "KILL", &process.to_string()]).status();
    // it may have ended with another that was killed
    assert!(killed.is_ok());
}
