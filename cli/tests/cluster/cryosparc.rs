//! CryoSPARC's own cluster files, on a scheduler that knows nothing of them: those of real sites with nothing changed
//! but names of the site (where `VITREOUS_TESTDATA` has them), and ours with what those do not show.

use crate::cluster::variable;
use crate::scene::{Form, LONG, Scene, Use, skip};
use std::path::{Path, PathBuf};

/// Odd jobs are done at once, even ones wait to be cancelled.
const BY_NUMBER: &str = "case $(basename \"$job\") in J???[02468]-*) exec sleep 600 ;; esac";

/// A pair of files.
struct Site {
    label: String,
    info: Option<String>,
    script: String,
    vars: &'static [&'static str],
}

/// What differs here from a site: names of partitions, environments, resources and nodes.
struct Names {
    /// Third-party files below `cluster/` of the test data: prefix of their paths.
    files: &'static [&'static str],
    replaced: &'static [(&'static str, &'static str)],
    vars: &'static [&'static str],
}

const SLURM: Names = Names {
    files: &[
        "sge_shirokane_slurm_prews/slurm__prews__CPU__",
        "sge_shirokane_slurm_prews/slurm__prews__GPU__",
        "slurm_mit_orcd/templates__",
        "slurm_zuckerman/files__slurm_",
    ],
    replaced: &[
        ("#SBATCH -p cpu", "#SBATCH -p normal"),
        ("#SBATCH -p gpu", "#SBATCH -p normal"),
        ("#SBATCH -p mit_normal_gpu", "#SBATCH -p normal"),
    ],
    vars: &["node_list=n1"],
};

const SGE: Names = Names {
    files: &[
        "sge_shirokane_slurm_prews/sge__shirokane__CPU__",
        "sge_shirokane_slurm_prews/sge__shirokane__V100__",
    ],
    replaced: &[("-pe def_slot", "-pe smp"), ("-l s_vmem=", "-l h_vmem="), ("-l v100=", "-l gpu=")],
    vars: &["s_vmem=2G", "h_rt=600"],
};

const SLURM_INFO: &str = r#"{
    "name": "ours", "send_cmd_tpl": "sh -c \"{{ command }}\"",
    "qsub_cmd_tpl": "sbatch --parsable {{ script_path_abs }} | cut -d';' -f1",
    "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
    "qstat_code_cmd_tpl": "squeue -h -t all -j {{ cluster_job_id }} -o %T | head -n 1",
    "qdel_cmd_tpl": "scancel {{ cluster_job_id }}", "qinfo_cmd_tpl": "sinfo",
}"#;
const SLURM_SCRIPT: &str = "#!/usr/bin/env bash\n#SBATCH -J {{ project_uid }}_{{ job_uid }}\n#SBATCH -o {{ job_dir_abs }}\n#SBATCH -e {{ job_dir_abs }}/\n#SBATCH --ntasks={{ num_cpu }}\n#SBATCH --mem={{ (ram_gb*1000)|int }}M\n{% if num_gpu > 0 %}#SBATCH --gres=gpu:{{ num_gpu }}{% endif %}\n{{ worker_bin_path }} run {{ run_args }} > {{ job_log_path_abs }} 2>&1\n";
const SGE_INFO: &str = r#"{
    "name": "ours", "send_cmd_tpl": "{{ command }}",
    "qsub_cmd_tpl": "qsub -terse {{ script_path_abs }} | tail -n 1",
    "qstat_cmd_tpl": "qstat", "qstat_code_cmd_tpl": null,
    "qdel_cmd_tpl": "qdel {{ cluster_job_id }}", "qinfo_cmd_tpl": "qstat -g c",
}"#;
const SGE_SCRIPT: &str = "#!/bin/bash\n#$ -N {{ project_uid }}_{{ job_uid }}\n#$ -o {{ job_dir_abs }}\n#$ -j y\n#$ -pe smp {{ num_cpu }}\n#$ -l h_vmem={{ [ram_gb, 2]|max|int }}G\n{{ run_cmd }}\n";

/// Third-party files, if they are here.
fn third_party(names: &Names) -> Vec<Site> {
    let Some(data) = std::env::var_os("VITREOUS_TESTDATA").map(PathBuf::from) else {
        skip("files of real sites: VITREOUS_TESTDATA not set");
        return Vec::new();
    };
    let read = |path: &str| std::fs::read_to_string(data.join("cluster").join(path)).ok();
    let site = |prefix: &&str| {
        let with_our_names =
            |text: String| names.replaced.iter().fold(text, |text, (from, to)| text.replace(from, to));
        Site {
            label: (*prefix).to_string(),
            info: read(&format!("{prefix}cluster_info.json")),
            script: with_our_names(
                read(&format!("{prefix}cluster_script.sh")).unwrap_or_else(|| panic!("no {prefix}")),
            ),
            vars: names.vars,
        }
    };
    names.files.iter().map(site).collect()
}

/// A scheduler made of the shell of another host, reached as sites reach their submit hosts: jobs are processes there,
/// ids are pids.
fn through_ssh() -> Site {
    let config = variable("VITREOUS_SSH_CONFIG");
    let workers = variable("VITREOUS_SSH_WORKERS");
    let host = workers.split_whitespace().next().unwrap_or("w1");
    let info = serde_json::json!({
        "name": "shell", "send_cmd_tpl": format!("ssh -F {config} {host} '{{{{ command }}}}'"),
        "qsub_cmd_tpl": "setsid bash {{ script_path_abs }} </dev/null >/dev/null 2>&1 & echo Submitted batch job $!",
        "qstat_cmd_tpl": "kill -0 {{ cluster_job_id }} 2>/dev/null && echo RUNNING",
        "qdel_cmd_tpl": "kill -- -{{ cluster_job_id }}", "qinfo_cmd_tpl": "uname -n",
    });
    let script = "#!/bin/bash\n# {{ num_cpu }} cores, {{ ram_gb }} GB\n{{ run_cmd }}\n";
    Site { label: "through ssh".into(), info: Some(info.to_string()), script: script.into(), vars: &[] }
}

fn sites(cluster: &str) -> Option<Vec<Site>> {
    let (names, info, script) = match cluster {
        "ssh" => return Some(vec![through_ssh()]),
        "slurm" => (&SLURM, SLURM_INFO, SLURM_SCRIPT),
        "sge" => (&SGE, SGE_INFO, SGE_SCRIPT),
        _ => return None,
    };
    let ours = Site { label: "ours".into(), info: Some(info.into()), script: script.into(), vars: &[] };
    Some(std::iter::once(ours).chain(third_party(names)).collect())
}

/// Makes the lane `here` of a site's files.
fn import(scene: &Scene, site: &Site, folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("cluster_script.sh"), &site.script).unwrap();
    if let Some(info) = &site.info {
        std::fs::write(folder.join("cluster_info.json"), info).unwrap();
    }
    let folder = folder.to_string_lossy();
    let (code, stdout, stderr) =
        scene.vitreous(&["lane", "import-cryosparc", &folder, "--name", "here", "--force"]);
    if code != if stdout.contains("NEEDS A VALUE") { 2 } else { 0 } {
        scene.fail(&format!("{}: import ended with {code}: {stdout}{stderr}", site.label));
    }
    let path = scene.root().join("lanes/here.yaml");
    let lane = std::fs::read_to_string(&path).unwrap();
    let lane = lane
        .replace("cache_path", "")
        .lines()
        .filter(|line| !line.starts_with("scratch:"))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let more = format!("engine: {}\npoll_s: 0.5\ngrace_s: 8\n", scene.path("engine").display());
    std::fs::write(&path, lane + &more).unwrap();
}

#[test]
fn jobs_are_submitted_followed_and_cancelled_as_cryosparc_does() {
    let Some(scene) = Scene::begin(Use::Shared, Form::Short, BY_NUMBER) else { return };
    let Some(sites) = sites(scene.cluster.name) else {
        skip("cryosparc's files are for Slurm, Grid Engine and ssh here");
        return;
    };
    for (at, site) in sites.iter().enumerate() {
        import(&scene, site, &scene.path(&format!("cryosparc-{at}")));
        let vars: Vec<&str> = site.vars.iter().flat_map(|var| ["--var", var]).collect();
        let (done, cancelled) = (2 * at as u32 + 1, 2 * at as u32 + 2);
        scene.import_ok(&vars);
        scene.import_ok(&vars);
        scene.wait_at_most(LONG, done, "done");
        scene.wait_at_most(LONG, cancelled, "running");
        assert_eq!(scene.runs_of(done).len(), 1, "{}", site.label);
        let (code, stdout, stderr) = scene.vitreous(&["cancel", &format!("J{cancelled}")]);
        if code != 0 {
            scene.fail(&format!("{}: cancel ended with {code}: {stdout}{stderr}", site.label));
        }
        scene.wait_at_most(LONG, cancelled, "cancelled");
    }
    scene.check_starts(2 * sites.len());
}
