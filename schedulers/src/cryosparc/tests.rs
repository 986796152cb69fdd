use super::*;
use crate::cryosparc::values::JOB_ID_WORD;
use crate::render::RenderError;
use crate::scheduler::{EndReason, Ended};
use crate::{Lane, LaneContext, ScriptContext};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vitreous_model::resources::Resources;

fn context() -> ScriptContext {
    let mut context = ScriptContext::example(LaneContext::new("cs", &Lane::default()));
    context.set_resources(&Resources {
        ranks: 2,
        threads: 4,
        gpus: 1,
        mem_mib: 24_576,
        ..Resources::default()
    });
    context
}

fn rendered(text: &str, vars: &[(&str, Value)]) -> Result<String, RenderError> {
    let vars = vars.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect();
    render("t.sh.jinja", text, &context(), &vars)
}

#[test]
fn our_values_stand_in_their_words() {
    let text = "{{ project_uid }} {{ job_uid }} {{ num_cpu }} {{ num_gpu }} {{ (ram_gb*1000)|int }}M {{ ram_gb|int }}G\n\
                {{ run_cmd }}\n{{ worker_bin_path }} run {{ run_args }} > {{ job_log_path_abs }}\n";
    let attempt = "/em/T20S/J0002-correct-motion/attempt-01";
    assert_eq!(
        rendered(text, &[]).unwrap(),
        format!(
            "T20S J2 8 1 25000M 25G\nsh {attempt}/run.sh\n{attempt}/run.sh run --project T20S --job J2 > {attempt}/job.log\n"
        )
    );
    let odd = ScriptContext { attempt_dir: "/em/it's/a".into(), ..context() };
    assert_eq!(
        render("t", "{{ run_cmd }}", &odd, &BTreeMap::new()).unwrap(),
        format!("sh {}", crate::quote::sh("/em/it's/a/run.sh"))
    );
}

#[test]
fn every_name_has_a_line_in_the_mapping_and_a_value() {
    let values = values::of_script(&context());
    let names: Vec<&str> = values::MAPPING.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted());
    for name in names {
        assert!(values.contains_key(name), "{name}");
    }
    let readme = include_str!("README.md");
    for (name, _) in values::MAPPING {
        assert!(readme.contains(&format!("| `{name}`")), "README.md has no row for {name}");
    }
}

#[test]
fn custom_variables_are_listed_with_their_lines_even_in_conditions() {
    let text = "#!/bin/bash\n#SBATCH -p {{ partition }}\n{% if long_job %}#SBATCH -t 9{% endif %}\n\
                #SBATCH --qos={{ qos | default('normal') }}\n{% if email is defined %}#SBATCH --mail-user={{ email }}{% endif %}\n\
                {{ (ram_gb * factor)|int }} {{ partition | upper }} 'x'\n{% for n in nodes %}{{ n }}{% endfor %}\n\
                {% raw %}${#a[@]} {{ no }}{% endraw %}{# {{ neither }} #}{{ 'in_text' }} {{ num_cpu }}\n{{ run_cmd }}\n";
    let found = variables("t", text).unwrap();
    let shown: Vec<String> =
        found.iter().map(|v| format!("{}{}", v.with_lines(), if v.is_optional { "?" } else { "" })).collect();
    assert_eq!(
        shown,
        [
            "partition (lines 2, 6)",
            "long_job (line 3)",
            "qos (line 4)?",
            "email (line 5)?",
            "factor (line 6)",
            "nodes (line 7)"
        ]
    );
    let Err(RenderError::UnknownNames { unknown, .. }) =
        rendered(text, &[("factor", json!(2)), ("nodes", Value::Null)])
    else {
        panic!("null is no value")
    };
    assert_eq!(unknown, ["partition (lines 2, 6)", "long_job (line 3)", "nodes (line 7)"]);
    let vars = [
        ("partition", json!("gpu")),
        ("long_job", json!(false)),
        ("factor", json!(2)),
        ("nodes", json!(["a", "b"])),
        ("num_cpu", json!(3)),
    ];
    let script = rendered(text, &vars).unwrap();
    assert!(
        script.contains("--qos=normal") && script.contains("50 GPU 'x'\nab\n${#a[@]} {{ no }}in_text 3\n"),
        "{script}"
    );
    assert!(!script.contains("mail-user"));
}

#[test]
fn output_that_names_a_folder_goes_into_a_file_there() {
    let attempt = "/em/T20S/J0002-correct-motion/attempt-01";
    for (line, expected) in [
        ("#SBATCH -o {{ job_dir_abs }}", format!("#SBATCH -o {attempt}/slurm-%j.out")),
        ("#SBATCH --error={{ job_dir_abs }}/  \n", format!("#SBATCH --error={attempt}/slurm-%j.err  \n")),
        ("#SBATCH -o {{ job_dir_abs }}/x.out", format!("#SBATCH -o {attempt}/x.out")),
        ("#SBATCH -D {{ job_dir_abs }}", format!("#SBATCH -D {attempt}")),
        ("#$ -o {{ job_dir_abs }}", format!("#$ -o {attempt}")),
    ] {
        assert_eq!(rendered(line, &[]).unwrap(), expected);
    }
}

#[test]
fn a_jobs_own_values_win_over_the_lanes() {
    let lane = Lane { vars: [("queue".to_string(), json!("short"))].into(), ..Lane::default() };
    let context = ScriptContext { lane: LaneContext::new("cs", &lane), ..context() };
    let own = BTreeMap::from([("queue".to_string(), json!("long"))]);
    assert_eq!(render("t", "{{ queue }}", &context, &BTreeMap::new()).unwrap(), "short");
    assert_eq!(render("t", "{{ queue }}", &context, &own).unwrap(), "long");
}

#[test]
fn bash_that_looks_like_a_comment_is_named_with_its_line() {
    let error =
        rendered("#!/bin/bash\na=(1 2)\necho ${#a[@]}\n{{ run_cmd }}\n", &[]).unwrap_err().to_string();
    assert!(error.contains("line 3: `${#a[@]}`: `{#` begins a comment"), "{error}");
    assert!(error.contains("write `{% raw %}${#a[@]}{% endraw %}`"), "{error}");
    assert!(rendered("{% raw %}\necho ${#a}\n{% endraw %}", &[]).is_ok());
    let error = rendered("a\n{% if x %}\n", &[]).unwrap_err().to_string();
    assert!(error.contains("template `t.sh.jinja`: line"), "{error}");
    assert_eq!(rendered("a\r\n{{ num_cpu }}\r\n", &[]).unwrap(), "a\n8\n");
}

fn answer(code: i32, stdout: &str, stderr: &str) -> Answer {
    Answer { code, stdout: stdout.into(), stderr: stderr.into() }
}

#[test]
fn ids_are_found_in_what_submissions_print() {
    for (stdout, id) in [
        ("Submitted batch job 123\n", "123"),
        ("Submitted batch job 123 on cluster big\n", "123"),
        ("123\n", "123"),
        ("123;big\n", "123"),
        ("Your job 2 (\"plain\") has been submitted\n", "2"),
        ("Your job-array 5.1-4:1 (\"a\") has been submitted\n", "5"),
        ("5.1-4:1\n", "5"),
        ("0.pbs1\n", "0.pbs1"),
        ("3[].pbs1\n", "3[].pbs1"),
        ("Job <77> is submitted to queue <normal>.\n", "77"),
        ("Welcome to login 3\nquota: 7 of 9\nSubmitted batch job 8\nSee you\n", "8"),
        ("Last login: Mon 10:11\n4711\n", "4711"),
        ("job id is 99\n", "99"),
    ] {
        assert_eq!(CryoSparc.parse_submit(&answer(0, stdout, "")), Ok(JobId(id.into())), "{stdout}");
    }
}

#[test]
fn submissions_without_an_id_are_told_apart() {
    let error =
        |code, stdout: &str, stderr: &str| CryoSparc.parse_submit(&answer(code, stdout, stderr)).unwrap_err();
    let refusal = "sbatch: error: invalid partition specified: nope";
    assert!(matches!(error(1, "", refusal), SchedulerError::Refused { stderr, .. } if stderr == refusal));
    // the exit code is that of `| cut`
    assert!(matches!(error(0, "", refusal), SchedulerError::Refused { code: 0, .. }));
    let down =
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)";
    assert!(matches!(error(1, "", down), SchedulerError::Unreachable { .. }));
    let lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation";
    assert!(matches!(error(1, "", lost), SchedulerError::Unexpected { .. }));
    assert!(matches!(error(255, "", "kex_exchange_identification"), SchedulerError::Unexpected { .. }));
    assert!(matches!(error(0, "", ""), SchedulerError::Unexpected { .. }));
    assert!(matches!(error(0, "thank you\n", ""), SchedulerError::Unexpected { .. }));
}

/// Answers for ids 1, 2 … as the generated script prints them.
fn said(all: &[(i32, &str)]) -> Vec<Queue> {
    let ids: Vec<JobId> = (1..=all.len()).map(|id| JobId(id.to_string())).collect();
    let section = |(at, (code, text)): (usize, &(i32, &str))| {
        format!("{} {}\n{text}\n{} {code}\n", answers::BEGIN, at + 1, answers::END)
    };
    let stdout: String = all.iter().enumerate().map(section).collect();
    let standings = CryoSparc.parse_status(&ids, &answer(0, &stdout, "")).unwrap();
    standings.into_iter().map(|standing| standing.queue).collect()
}

fn ended(reason: EndReason, words: &str) -> Queue {
    Queue::Ended(Ended { exit: None, signal: None, reason, host: String::new(), words: words.into() })
}

#[test]
fn states_of_slurm_are_read_from_words_and_tables() {
    let table = "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)\n";
    let row = |id: u32, state: &str, reason: &str| {
        format!("{table}                 {id}       cpu CS_P_J2      R {state}       0:00      1 {reason}\n")
    };
    let (waits, runs, held) =
        (row(4, "PD", "(Resources)"), row(5, "R", "node1"), row(6, "PD", "(JobHeldUser)"));
    let gone = "slurm_load_jobs error: Invalid job id specified";
    let got = said(&[
        (0, "RUNNING"),
        (0, "STATE\nPENDING"),
        (0, "OUT_OF_MEMORY"),
        (0, &waits),
        (0, &runs),
        (0, &held),
        (1, gone),
        // the pipe `| sed -n 2p` of a site ends well
        (0, gone),
        (0, ""),
        (0, table),
        (0, "   11    gpu  name  user  CANCELLED+  0:15"),
        (0, "JobId=12 JobName=x\n   JobState=PENDING Reason=Priority Dependency=(null)"),
        (127, "sh: 1: squeue: not found"),
        (0, "a new wording"),
        (0, "COMPLETED"),
    ]);
    let expected = [
        Queue::Running,
        Queue::Pending("PENDING".into()),
        ended(EndReason::OutOfMemory, "OUT_OF_MEMORY"),
        Queue::Pending("Resources".into()),
        Queue::Running,
        Queue::Held("JobHeldUser".into()),
        Queue::Gone,
        Queue::Gone,
        Queue::Gone,
        Queue::Gone,
        ended(EndReason::Cancelled, "CANCELLED"),
        Queue::Pending("Priority".into()),
        Queue::Unknown("exit code 127: sh: 1: squeue: not found".into()),
        Queue::Unknown("a new wording".into()),
    ];
    assert_eq!(got[..expected.len()], expected);
    assert!(matches!(&got[14], Queue::Ended(ended) if ended.is_well()));
}

#[test]
fn states_of_grid_engine_and_pbs_are_read() {
    let sge = "job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID \n\
        -----------------------------------------------------------------------------------------------------------------\n";
    let row = |id: u32, state: &str| {
        format!(
            "{sge}      {id} 0.75000 arr        emlab        {state}     11/22/2026 19:28:16 all.q@vm   1\n"
        )
    };
    let pbs = "Job id            Name             User              Time Use S Queue\n\
        ----------------  ---------------- ----------------  -------- - -----\n";
    let described = |more: &str| {
        format!("=====\njob_number:                 7\nexec_file:                  job_scripts/7\n{more}")
    };
    let got = said(&[
        (0, &row(1, "r")),
        (0, &row(2, "qw")),
        (0, &row(3, "Eqw")),
        (0, &format!("{pbs}4.pbs1            cs_P_J2          em                00:00:00 R workq")),
        (0, &format!("{pbs}5.pbs1            cs_P_J2          em                0        Q workq")),
        (1, "Following jobs do not exist: \n6"),
        (0, &described("usage         1:            cpu=00:00:01, mem=0.1\n")),
        (153, "qstat: Unknown Job Id 8.pbs1"),
        (35, "qstat: 9.pbs1 Job has finished, use -x or -H to obtain historical job information"),
        (0, "Job Id: 10.pbs1\n    job_state = F\n    Exit_status = 271\n"),
        (
            0,
            "Job Id: 11.pbs1\n    job_state = Q\n    comment = Not Running: Insufficient amount of resource: ncpus\n",
        ),
    ]);
    assert_eq!(got[0], Queue::Running);
    assert_eq!(got[1], Queue::Pending("qw".into()));
    assert_eq!(got[2], Queue::Held("Eqw".into()));
    assert_eq!(got[3], Queue::Running);
    assert_eq!(got[4], Queue::Pending("Q".into()));
    assert_eq!(got[5], Queue::Gone);
    assert_eq!(got[6], Queue::Running);
    assert_eq!((&got[7], &got[8]), (&Queue::Gone, &Queue::Gone));
    assert!(matches!(&got[9], Queue::Ended(Ended { reason: EndReason::Cancelled, signal: Some(15), .. })));
    assert_eq!(got[10], Queue::Pending("Not Running: Insufficient amount of resource: ncpus".into()));
    let seven = said(&[
        (0, ""),
        (0, &described("").replace('7', "2")),
        (0, &described("error reason    1:          11/22/2026 can't chdir to /x\n").replace("  7", "  3")),
    ]);
    assert_eq!(seven[1], Queue::Pending(String::new()));
    assert!(matches!(&seven[2], Queue::Held(reason) if reason.contains("can't chdir")), "{seven:?}");
}

#[test]
fn a_scheduler_that_is_down_tells_nothing_about_any_job() {
    let ids = [JobId("1".into()), JobId("2".into())];
    let down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)";
    let stdout = format!("{} 1\n{down}\n{} 1\n", answers::BEGIN, answers::END);
    assert!(matches!(
        CryoSparc.parse_status(&ids, &answer(0, &stdout, "")),
        Err(SchedulerError::Unreachable { .. })
    ));
    assert!(matches!(
        CryoSparc.parse_status(&ids, &answer(255, "", "ssh: connect to host")),
        Err(SchedulerError::Unreachable { .. })
    ));
    assert!(matches!(
        CryoSparc.parse_status(&ids, &answer(0, "rubbish", "")),
        Err(SchedulerError::Unexpected { .. })
    ));
    let cut = format!("{} 1\nRUNNING\n{} 0\n{} 2\nRUN", answers::BEGIN, answers::END, answers::BEGIN);
    let standings = CryoSparc.parse_status(&ids, &answer(0, &cut, "")).unwrap();
    assert_eq!(standings[1].queue, Queue::Unknown("the answer ends before this job".into()));
}

#[test]
fn commands_are_the_sites_own() {
    let commands = CommandTemplates {
        send: "ssh login \"{{ command }}\"".into(),
        submit: "sbatch --parsable {{ script_path_abs }} -A {{ account }} | cut -d';' -f1".into(),
        status: "squeue -j {{ cluster_job_id }}".into(),
        status_code: "squeue -h -j {{ cluster_job_id }} -o %T | sed -n 1p".into(),
        cancel: "scancel {{ cluster_job_id }}".into(),
        info: String::new(),
        vars: [("account".to_string(), json!("em42"))].into(),
    };
    let site = Site { command_templates: Some(commands.clone()), ..Site::default() };
    let script = Script { path: "/em/P 1/submit.sh".into(), folder: "/em/P 1".into(), ..Script::default() };
    let text = &CryoSparc.submit(&site, &script).args[1];
    assert_eq!(
        text,
        "cd '/em/P 1' || exit 1\nssh login \"sbatch --parsable '/em/P 1/submit.sh' -A em42 | cut -d';' -f1\""
    );
    let ids = ["7", "8;rm -rf x"].map(|id| JobId(id.into()));
    let status = CryoSparc.status(&site, &ids);
    let stdin = status.stdin.unwrap();
    assert!(
        stdin.contains("ssh login \"squeue -h -j 7 -o %T | sed -n 1p\"\n") && !stdin.contains("rm"),
        "{stdin}"
    );
    assert!(CryoSparc.cancel(&site, &ids, Stop::Kill).stdin.unwrap().contains("ssh login \"scancel 7\""));
    assert_eq!(complaints(&commands), Vec::<String>::new());
    let broken = CommandTemplates { cancel: "scancel {{ job_id }}".into(), ..commands };
    assert!(
        complaints(&broken)[0].contains("`commands.cancel` uses unknown names: job_id (line 1)"),
        "{:?}",
        complaints(&broken)
    );
    let cmd =
        CryoSparc.cancel(&Site { command_templates: Some(broken), ..Site::default() }, &ids, Stop::Kill);
    assert!(cmd.args[1].contains("exit 64") && cmd.args[3].contains("job_id"), "{cmd:?}");
}

#[test]
fn a_lane_is_made_of_both_files() {
    let info = r#"{"name": "GPU", "title": "The GPU nodes", "cache_path": "/ssd/{{ cluster_job_id }}", "send_cmd_tpl": "{{ command }}",
        "qsub_cmd_tpl": "sbatch {{ script_path_abs }}", "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }} -M {{ cluster }}",
        "qdel_cmd_tpl": "scancel {{ cluster_job_id }}", "cache_quota_mb": 500000, "colour": "red"}"#;
    let script = "#!/bin/bash\n#SBATCH --time=1-00:00:00\n#SBATCH -n {{ num_cpu }}\n#SBATCH -p {{ partition }}\n\
        #SBATCH --mem={{ (ram_gb*2)|int }}G\n#SBATCH -o {{ job_dir_abs }}\nnvidia-smi\n{{ run_cmd }}\n";
    let made =
        import("gpu", "gpu.sh.jinja", Some(("cluster_info.json", info)), ("cluster_script.sh", script))
            .unwrap();
    let lane = Lane::parse("gpu", &made.lane).unwrap();
    assert_eq!((lane.template.as_deref(), lane.limits.walltime), (Some("gpu.sh.jinja"), Some(86_400)));
    assert_eq!(lane.scratch, format!("/ssd/{JOB_ID_WORD}"));
    assert_eq!((lane.cache.quota_gib, lane.cache.reserve_gib, lane.cache.keep), (Some(488.3), 10.0, false));
    assert_eq!(lane.commands.unwrap().cancel, "scancel {{ cluster_job_id }}");
    let unset: Vec<&str> = made.unset().map(|variable| variable.name.as_str()).collect();
    assert_eq!(unset, ["partition", "cluster"]);
    // with the values filled in as the comments say, it is still a lane
    let filled = made
        .lane
        .replace("# vars:", "vars:")
        .replace("#   partition:", "  partition: gpu")
        .replace("  #   cluster:", "    cluster: big");
    let lane = Lane::parse("gpu", &filled).unwrap();
    assert_eq!(
        (&lane.vars["partition"], &lane.commands.unwrap().vars["cluster"]),
        (&json!("gpu"), &json!("big"))
    );
    for part in ["multiplies memory by 2", "colour", "nvidia-smi", "line 6 names a folder", "cache_path"] {
        let part = if part == "nvidia-smi" { "line 7 looks for free GPUs" } else { part };
        assert!(made.warnings.iter().any(|warning| warning.contains(part)), "{part}: {:#?}", made.warnings);
    }
    let error = import("x", "x.sh.jinja", None, ("s.sh", "#SBATCH -n 1\n## {{ run_cmd }}\n")).unwrap_err();
    assert!(error.to_string().contains("no line runs the job"), "{error}");
    let error = import("x", "x.sh.jinja", None, ("s.sh", "{{ run_cmd }}\n")).unwrap_err();
    assert!(error.to_string().contains("cannot be guessed"), "{error}");
}

#[test]
fn a_listing_without_the_job_says_that_it_is_gone() {
    let listing = "job-ID  prior   name       user         state submit/start at     queue   slots ja-task-ID\n\
                   -------------------------------------------------------------------------------------------\n     \
                   19 0.50000 P-J1-impor vitreous-tes dr    11/23/2026 10:18:11 all.q@vm     1\n";
    let asked = |id: &str| {
        let text = format!("=== vitreous job {id}\n{listing}=== vitreous end 0\n");
        let answer = Answer { code: 0, stdout: text, stderr: String::new() };
        CryoSparc.parse_status(&[JobId(id.into())], &answer).unwrap().remove(0).queue
    };
    assert_eq!(asked("12"), Queue::Gone);
    assert_eq!(asked("19"), Queue::Running);
}
