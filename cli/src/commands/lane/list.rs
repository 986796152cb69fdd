//! `lane list`: all lanes of the project, the user and the site.

use crate::context::Context;
use crate::failure::Outcome;
use crate::lanes;
use serde_json::json;
use vitreous_model::exit;
use vitreous_project::Project;

pub fn run(context: &mut Context<'_>, project: Option<&Project>) -> Outcome<i32> {
    let lanes: Vec<_> = lanes::list(context, project)
        .into_iter()
        .map(|(name, path)| {
            let read = lanes::find(context, project, &name);
            let scheduler = read.as_ref().map(|lane| lane.lane.scheduler.clone()).ok();
            let error = read.err().map(|failure| format!("{:#}", failure.error));
            json!({"lane": name, "file": path, "scheduler": scheduler, "error": error})
        })
        .collect();
    context.screen.result(&json!({"lanes": lanes}), || {
        let mut text = String::new();
        for lane in &lanes {
            let word = |key: &str, absent: &str| lane[key].as_str().unwrap_or(absent).to_string();
            let what = lane["error"]
                .as_str()
                .map_or_else(|| word("scheduler", ""), |error| format!("broken: {error}"));
            text += &format!("{:<16} {:<8} {}\n", word("lane", ""), what, word("file", "built in"));
        }
        text
    })?;
    Ok(exit::OK)
}
