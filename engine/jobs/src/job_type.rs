//! The interface of a job type, and its one implementation over a parameter struct.

use crate::Estimate;
use serde_json::Value;
use vitreous_model::outputs::Kind;
use vitreous_model::params::{BadParam, Field, Params, Validate};
use vitreous_model::resources::{InputSummary, Resources};

/// An input or output of a job type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Name: flag, YAML key and name in `outputs.json`.
    pub name: &'static str,
    /// What it carries.
    pub kind: Kind,
    /// For an input: the job cannot run without it. For an output: it is always there.
    pub required: bool,
    /// For an input: one of the slots that say so must be filled, and no second one.
    pub one_of: bool,
    /// For an input: it takes any number of jobs, and is there to take several; others take one.
    pub several: bool,
    /// One line of help.
    pub help: &'static str,
}

impl Slot {
    /// A slot that must be filled.
    pub const fn required(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: true, one_of: false, several: false, help }
    }

    /// An input slot that must be filled, and takes any number of jobs.
    pub const fn several(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: true, one_of: false, several: true, help }
    }

    /// A slot that may stay empty.
    pub const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: false, one_of: false, several: false, help }
    }

    /// An input slot of several of which exactly one must be filled.
    pub const fn one_of(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: false, one_of: true, several: false, help }
    }

    /// What a user is told of whether it must be filled.
    pub fn need(&self) -> &'static str {
        match (self.required, self.one_of) {
            (true, _) if self.several => "required, several times",
            (true, _) => "required",
            (false, true) => "one of these",
            (false, false) => "optional",
        }
    }
}

/// What can be asked for.
pub trait JobType: Sync {
    /// Name: a kebab-case verb.
    fn name(&self) -> &'static str;
    /// One line of help.
    fn summary(&self) -> &'static str;
    /// What it works on.
    fn inputs(&self) -> &'static [Slot];
    /// What it makes.
    fn outputs(&self) -> &'static [Slot];
    /// Its parameters, in the order of help.
    fn fields(&self) -> &'static [Field];
    /// All defaults as a JSON object; `null` for what has none.
    fn defaults(&self) -> Value;
    /// Parameters as a user would give them (only those that differ from the defaults).
    fn example(&self) -> Value;
    /// Completes given parameters (a JSON object or null) with defaults and checks them.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong form, or one that cannot work.
    fn check(&self, given: &Value) -> Result<Value, BadParam>;
    /// The work is a list of items (movies, micrographs) that do not need each other: it can be done in slices
    /// (`vitreous-engine run --slice E/M`), by the elements of an array job, and collected afterwards.
    fn is_per_item(&self) -> bool;
    /// A part of the work, one that takes much of its time, can be computed on a GPU.
    fn computes_on_gpu(&self) -> bool;
    /// What the job will need, and why. `effective` is what [`JobType::check`] returned.
    fn estimate(&self, effective: &Value, inputs: &InputSummary) -> Estimate;
    /// What the job will need.
    fn resources(&self, effective: &Value, inputs: &InputSummary) -> Resources {
        self.estimate(effective, inputs).resources
    }
}

/// A job type whose parameters are the struct `P`.
pub struct Typed<P> {
    /// See [`JobType::name`].
    pub name: &'static str,
    /// See [`JobType::summary`].
    pub summary: &'static str,
    /// See [`JobType::inputs`].
    pub inputs: &'static [Slot],
    /// See [`JobType::outputs`].
    pub outputs: &'static [Slot],
    /// See [`JobType::is_per_item`].
    pub per_item: bool,
    /// See [`JobType::computes_on_gpu`].
    pub on_gpu: bool,
    /// See [`JobType::estimate`].
    pub estimate: fn(&P, &InputSummary) -> Estimate,
}

/// Reads a parameter struct from a JSON object or null; absent keys get their defaults.
///
/// # Errors
/// The first unknown key or unfit value, by name.
pub fn parse<P: Params>(given: &Value) -> Result<P, BadParam> {
    let object = match given {
        Value::Null => Default::default(),
        Value::Object(object) => object.clone(),
        other => return Err(BadParam::new("params", other, "must be a mapping of keys to values")),
    };
    for key in object.keys() {
        if !P::FIELDS.iter().any(|field| field.key == key) {
            let known = P::FIELDS.iter().map(|field| field.key);
            let mut bad = BadParam::new(key, &object[key], "unknown parameter");
            if let Some(near) = nearest(key, known.clone()) {
                bad = bad.hint(format!("did you mean `{near}`?"));
            } else {
                bad = bad.hint(format!("known: {}", known.collect::<Vec<_>>().join(", ")));
            }
            return Err(bad);
        }
    }
    match serde_json::from_value(Value::Object(object.clone())) {
        Ok(params) => Ok(params),
        Err(error) => Err(blame::<P>(&object, &error)),
    }
}

/// Finds the key that made deserialisation fail by trying each one alone.
fn blame<P: Params>(object: &serde_json::Map<String, Value>, error: &serde_json::Error) -> BadParam {
    for (key, value) in object {
        let alone = Value::Object([(key.clone(), value.clone())].into_iter().collect());
        if let Err(error) = serde_json::from_value::<P>(alone) {
            return BadParam::new(key, value, error.to_string());
        }
    }
    BadParam::new("params", "", error.to_string())
}

/// The known word within two edits of `word`, if one is.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.map(|k| (edit_distance(word, k), k)).min().filter(|(d, _)| *d <= 2).map(|(_, k)| k)
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn to_value<P: Params>(params: &P) -> Value {
    serde_json::to_value(params).expect("a parameter struct should serialise")
}

impl<P: Validate> JobType for Typed<P> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn summary(&self) -> &'static str {
        self.summary
    }
    fn inputs(&self) -> &'static [Slot] {
        self.inputs
    }
    fn outputs(&self) -> &'static [Slot] {
        self.outputs
    }
    fn fields(&self) -> &'static [Field] {
        P::FIELDS
    }
    fn defaults(&self) -> Value {
        to_value(&P::default())
    }
    fn example(&self) -> Value {
        let defaults = self.defaults();
        let mut example = to_value(&P::example());
        if let Value::Object(map) = &mut example {
            map.retain(|key, value| defaults.get(key) != Some(value));
        }
        example
    }
    fn check(&self, given: &Value) -> Result<Value, BadParam> {
        let params: P = parse(given)?;
        params.validate()?;
        Ok(to_value(&params))
    }
    fn is_per_item(&self) -> bool {
        self.per_item
    }
    fn computes_on_gpu(&self) -> bool {
        self.on_gpu
    }
    fn estimate(&self, effective: &Value, inputs: &InputSummary) -> Estimate {
        (self.estimate)(&parse(effective).unwrap_or_default(), inputs)
    }
}
