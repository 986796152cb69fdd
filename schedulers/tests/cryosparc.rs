//! Every cluster script of real sites imports, renders, and is shell.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test starts what it tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use vitreous_model::resources::Resources;
use vitreous_schedulers::cryosparc::{complaints, import, render};
use vitreous_schedulers::{Lane, LaneContext, ScriptContext};

/// Scripts with the `cluster_info.json` of the same name beside them, if there is one.
fn sites(folder: &Path) -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut sites = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sites.extend(self::sites(&path));
        } else if let Some(stem) = path.to_string_lossy().strip_suffix("cluster_script.sh") {
            let info = PathBuf::from(format!("{stem}cluster_info.json"));
            sites.push((path.clone(), info.is_file().then_some(info)));
        }
    }
    sites.sort();
    sites
}

#[test]
#[allow(clippy::print_stderr, reason = "says why it did nothing")]
fn scripts_of_real_sites_render() {
    let Some(data) = std::env::var_os("VITREOUS_TESTDATA") else {
        eprintln!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let sites = sites(&Path::new(&data).join("cluster"));
    assert!(sites.len() >= 6, "{sites:?}");
    for (script, info) in sites {
        let name = script.display().to_string();
        let text = std::fs::read_to_string(&script).unwrap();
        let info = info.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        let made = import(
            "site",
            "site.sh.jinja",
            info.as_ref().map(|(path, text)| (path.as_str(), text.as_str())),
            (&name, &text),
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let lane =
            Lane::parse("site", &made.lane).unwrap_or_else(|error| panic!("{name}: {error}\n{}", made.lane));
        assert_eq!(complaints(lane.commands.as_ref().unwrap()), Vec::<String>::new(), "{name}");

        let mut context = ScriptContext::example(LaneContext::new("site", &lane));
        context.set_resources(&Resources { threads: 6, gpus: 2, mem_mib: 50_000, ..Resources::default() });
        let vars: BTreeMap<String, serde_json::Value> =
            made.variables.iter().map(|variable| (variable.name.clone(), "v1".into())).collect();
        if !vars.is_empty() {
            let error = render("site.sh.jinja", &text, &context, &BTreeMap::new()).unwrap_err().to_string();
            assert!(vars.keys().all(|name| error.contains(name.as_str())), "{name}: {error}");
        }
        let rendered =
            render("site.sh.jinja", &text, &context, &vars).unwrap_or_else(|error| panic!("{error}"));
        assert!(!rendered.contains("{{"), "{name}: {rendered}");
        let runs = rendered
            .lines()
            .filter(|line| line.trim() == "sh /em/T20S/J0002-correct-motion/attempt-01/run.sh");
        assert_eq!(runs.count(), 1, "{name}: {rendered}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("submit.sh");
        std::fs::write(&file, &rendered).unwrap();
        let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}
