//! Parameters of job types: stated once, as one struct, by [`parameters!`](crate::parameters).
//!
//! From that one statement come the serde representation (`job.yaml`, pipelines), the defaults, the command-line
//! flags, the commented YAML template, the documentation table and the messages about unknown keys.

use crate::symmetry::PointGroup;
use serde::{Serialize, de::DeserializeOwned};
use std::path::PathBuf;

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("parameter `{key}`: {why} (got `{got}`)")]
pub struct BadParam {
    /// Key as in YAML.
    pub key: String,
    /// What was given.
    pub got: String,
    /// What is wrong with it and what was expected.
    pub why: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl BadParam {
    /// A complaint about `key`.
    pub fn new(key: &str, got: impl ToString, why: impl Into<String>) -> Self {
        Self { key: key.into(), got: got.to_string(), why: why.into(), hint: String::new() }
    }

    /// The same with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// `Ok` if `holds`, else a complaint: the form of most checks.
    ///
    /// # Errors
    /// The complaint.
    pub fn unless(holds: bool, key: &str, got: impl ToString, why: &str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(key, got, why)) }
    }
}

/// How a parameter is written on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `--flag` or `--flag false`.
    Switch,
    /// A number.
    Number,
    /// A word or text.
    Text,
    /// A path or pattern, made relative to the project when it lies inside.
    Path,
    /// One of a fixed set.
    Choice(&'static [&'static str]),
}

/// What one parameter is, for help, templates and pages.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Key in YAML: snake_case. The flag is the same with dashes.
    pub key: &'static str,
    /// Doc comment lines, joined with spaces: the help.
    pub help: fn() -> String,
    /// Unit, empty for none.
    pub unit: &'static str,
    /// How it is written.
    pub form: Form,
    /// May be left out with no default (`null`).
    pub optional: bool,
}

/// A Rust type that can stand in a parameter struct.
pub trait ParamType {
    /// How it is written.
    const FORM: Form;
    /// Whether absence is a value.
    const OPTIONAL: bool = false;
}
macro_rules! forms { ($($form:expr => $($ty:ty),+;)+) => { $($(impl ParamType for $ty { const FORM: Form = $form; })+)+ } }
forms! {
    Form::Switch => bool;
    Form::Number => f64, u32, u64, usize, i32;
    Form::Text => String, PointGroup;
    Form::Path => PathBuf;
}
impl ParamType for crate::exposure::GainFlip {
    const FORM: Form = Form::Choice(&["none", "x", "y"]);
}
impl<T: ParamType> ParamType for Option<T> {
    const FORM: Form = T::FORM;
    const OPTIONAL: bool = true;
}

/// The parameters of one job type. Implemented by [`parameters!`](crate::parameters) but for `validate` and `example`.
pub trait Params: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static {
    /// Every parameter, in the order of help.
    const FIELDS: &'static [Field];
}

/// What a job type adds to the generated part: which values make sense.
pub trait Validate: Params {
    /// Refuses what cannot work, key by key.
    ///
    /// # Errors
    /// The first bad parameter.
    fn validate(&self) -> Result<(), BadParam>;

    /// Parameters as a user would give them: valid, and shown in help and documentation.
    fn example() -> Self;
}

/// States the parameters of a job type once.
///
/// ```
/// vitreous_model::parameters! {
///     /// How to bake.
///     pub struct Bake {
///         /// Temperature of the oven.
///         pub temperature: f64 = 180.0, unit "°C";
///         /// Who is served; required, so it has no default.
///         pub guests: Option<u32> = None, unit "people";
///     }
/// }
/// use vitreous_model::params::Params;
/// assert_eq!(Bake::default().temperature, 180.0);
/// assert_eq!(Bake::FIELDS[0].unit, "°C");
/// assert_eq!((Bake::FIELDS[1].help)(), "Who is served; required, so it has no default.");
/// let error = serde_json::from_str::<Bake>(r#"{"temprature": 1.0}"#).unwrap_err();
/// assert!(error.to_string().contains("unknown field `temprature`"));
/// ```
#[macro_export]
macro_rules! parameters {
    ($(#[doc = $doc:expr])* pub struct $name:ident {
        $($(#[doc = $help:expr])+ pub $key:ident : $ty:ty = $default:expr $(, unit $unit:literal)? ;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $help])+ pub $key: $ty,)*
        }
        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
        impl $crate::params::Params for $name {
            const FIELDS: &'static [$crate::params::Field] = &[$($crate::params::Field {
                key: stringify!($key),
                help: || [$($help),+].map(|line: &str| line.trim()).join(" "),
                unit: concat!("", $($unit)?),
                form: <$ty as $crate::params::ParamType>::FORM,
                optional: <$ty as $crate::params::ParamType>::OPTIONAL,
            },)*];
        }
    };
}

/// An enum whose values are written in kebab-case in YAML and on the command line.
///
/// ```
/// vitreous_model::choices! {
///     /// How to cook.
///     pub enum Method { /// In the oven.
///         #[default] Bake = "bake", /// In water.
///         SlowBoil = "slow-boil" }
/// }
/// assert_eq!(serde_json::to_string(&Method::SlowBoil).unwrap(), "\"slow-boil\"");
/// ```
#[macro_export]
macro_rules! choices {
    ($(#[doc = $doc:expr])* pub enum $name:ident {
        $($(#[doc = $help:expr])+ $(#[$default:ident])? $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $help])+ $(#[$default])? #[serde(rename = $text)] $variant,)+
        }
        impl $crate::params::ParamType for $name {
            const FORM: $crate::params::Form = $crate::params::Form::Choice(&[$($text),+]);
        }
    };
}
