//! What a program that follows a job may read of its records (`records/*.jsonl`) before there is a report: the figures of
//! exposures that are done. A record holds much more, which is the job's own affair and is skipped here.

use crate::ctf::CtfParams;
use crate::exposure::MotionSummary;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// One line of a log of items.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ItemRecord {
    /// Name of the exposure.
    pub item: String,
    /// What became of it.
    pub outcome: ItemOutcome,
}

/// What became of an item.
#[expect(clippy::large_enum_variant, reason = "one at a time is made, written and dropped")]
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemOutcome {
    /// Done.
    Done(ItemFigures),
    /// Left out, with the reason.
    Skipped(String),
}

/// The figures of one exposure: those that its job type finds.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ItemFigures {
    /// `correct-motion`: path lengths.
    pub motion: Option<MotionSummary>,
    /// `estimate-ctf`: the parameters.
    pub ctf: Option<CtfParams>,
    /// `estimate-ctf`: resolution to which the fit holds, Å.
    pub fit_resolution_a: Option<f64>,
    /// `curate-exposures`: key and text of each reason to reject it; empty: it passes.
    pub reasons: Option<Vec<(String, String)>>,
    /// `pick-blobs`, `pick-templates`: the picks.
    pub found: Option<Counted>,
    /// `extract-particles`: the picks that became images.
    pub kept: Option<Counted>,
}

/// A list of which only the length matters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Counted(Vec<IgnoredAny>);

impl Counted {
    /// Its length.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The records in a log; lines that a kill has torn, and those of other items, are left out.
///
/// ```
/// use vitreous_model::item_record::{ItemOutcome, parse};
/// let log = br#"
/// {"item":"m1","fingerprint":"..","outcome":{"done":{"found":[{"x_px":1.0},{"x_px":2.0}],"masked_fraction":0.1}}}
/// {"item":"m2","fingerprint":"..","outcome":{"skipped":"it is cut off"}}
/// {"item":"m3","finger"#;
/// let records = parse(log);
/// assert_eq!(records.len(), 2);
/// let ItemOutcome::Done(figures) = &records[0].outcome else { panic!("m1 is done") };
/// assert_eq!(figures.found.as_ref().map(|found| found.count()), Some(2));
/// assert_eq!(records[1].outcome, ItemOutcome::Skipped("it is cut off".into()));
/// ```
pub fn parse(log: &[u8]) -> Vec<ItemRecord> {
    log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
