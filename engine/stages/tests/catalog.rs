//! Every job type that can be asked for can be done, and its page says what the code says.
//!
//! `VITREOUS_WRITE_DOCS=1 cargo test --release -p vitreous-stages --test catalog` writes the parameter tables anew.

use std::path::PathBuf;
use vitreous_jobs::{CATALOG, JobType, page};
use vitreous_stages::STAGES;

/// Comments between which a page may keep its table; without them the table itself is found by its head.
const MARKS: [&str; 2] = ["<!-- parameters -->\n", "<!-- /parameters -->"];

#[test]
fn the_lists_of_job_types_and_stages_are_the_same() {
    let asked: Vec<&str> = CATALOG.iter().map(|job| job.name()).collect();
    let done: Vec<&str> = STAGES.iter().map(|stage| stage.name()).collect();
    assert_eq!(done, asked, "STAGES (left) and CATALOG (right)");
}

#[test]
fn every_page_has_its_title_and_the_table_of_parameters() {
    let mut stale = Vec::new();
    for job in CATALOG {
        let path = page_path(*job);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.starts_with(&format!("# {}\n", job.name())), "{} begins with its title", path.display());
        let table = page::parameter_table(*job);
        if text.contains(&table) {
            continue;
        }
        if is_writing() {
            write(&path, &with_table(&text, &table));
        } else {
            stale.push(job.name());
        }
    }
    assert!(
        stale.is_empty(),
        "stale parameter tables: {stale:?}\n\
         hint: VITREOUS_WRITE_DOCS=1 cargo test --release -p vitreous-stages --test catalog"
    );
}

fn page_path(job: &dyn JobType) -> PathBuf {
    let folder = job.name().replace('-', "_");
    [env!("CARGO_MANIFEST_DIR"), "src", &folder, "README.md"].iter().collect()
}

#[expect(clippy::disallowed_methods, reason = "a test may be told to write")]
fn is_writing() -> bool {
    std::env::var("VITREOUS_WRITE_DOCS").is_ok()
}

#[expect(clippy::disallowed_methods, reason = "a page in the source tree, written on request")]
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The page with its table replaced, or with one under its heading `Parameters`.
fn with_table(text: &str, table: &str) -> String {
    if let (Some(start), Some(end)) = (text.find(MARKS[0]), text.find(MARKS[1])) {
        return format!("{}{table}{}", &text[..start + MARKS[0].len()], &text[end..]);
    }
    let is_row = |line: &str| line.starts_with('|');
    let head = text.lines().position(|line| line.starts_with("| parameter |"));
    let heading = text.lines().position(|line| line == "## Parameters").map(|line| line + 1);
    let lines: Vec<&str> = text.lines().collect();
    let start = head.or(heading).unwrap_or(lines.len());
    let rows = lines[start..].iter().take_while(|line| is_row(line)).count();
    let (before, after) = (lines[..start].join("\n"), lines[start + rows..].join("\n"));
    format!("{before}\n{table}{after}\n")
}

#[test]
fn tables_are_put_where_they_belong() {
    let table = "| parameter | x |\n|---|---|\n| `a` | 1 |\n";
    let marked = "# t\n<!-- parameters -->\nold\n<!-- /parameters -->\nend\n";
    assert_eq!(
        with_table(marked, table),
        format!("# t\n<!-- parameters -->\n{table}<!-- /parameters -->\nend\n")
    );
    let stale = "# t\n## Parameters\n| parameter | y |\n|---|---|\n| `b` | 2 |\n\n## Limits\nnone\n";
    assert_eq!(with_table(stale, table), format!("# t\n## Parameters\n{table}\n## Limits\nnone\n"));
    let empty = "# t\n## Parameters\n\n## Limits\n";
    assert_eq!(with_table(empty, table), format!("# t\n## Parameters\n{table}\n## Limits\n"));
}
