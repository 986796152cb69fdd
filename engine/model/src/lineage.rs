//! What the jobs that a result rests on say of themselves.

use crate::outputs::Output;
use crate::report::Number;
use serde_json::Value;
use std::collections::BTreeMap;

/// A job that others rest on, as its records tell. What a record does not tell is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ancestor {
    /// The job, e.g. `J3`.
    pub job: String,
    /// Its type, e.g. `correct-motion`.
    pub job_type: String,
    /// All parameters after defaults; null if not recorded.
    pub params: Value,
    /// Program → version.
    pub versions: BTreeMap<String, String>,
    /// Input slot → job and output slot that filled it.
    pub inputs: BTreeMap<String, Vec<(String, String)>>,
    /// What it made.
    pub outputs: Vec<Output>,
    /// Key figures of its report.
    pub numbers: Vec<Number>,
    /// Why its records are not whole; empty if they are.
    pub missing: String,
}

impl Ancestor {
    /// The value of a key figure.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.numbers.iter().find(|number| number.key == key)?.value
    }

    /// A parameter, if it was set to anything.
    pub fn param(&self, key: &str) -> Option<&Value> {
        self.params.get(key).filter(|value| !value.is_null())
    }

    /// What it made in an output slot.
    pub fn output(&self, slot: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.slot == slot)
    }
}
