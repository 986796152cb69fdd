//! What a lane says of the node-local cache below its scratch folder.

use serde::{Deserialize, Serialize};

/// How jobs of a lane use copies of particle stacks and movies on the nodes' scratch disks. In a lane file it is `cache`; the
/// script hands it to the engine as JSON in [`CacheSettings::VARIABLE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Jobs that read images again and again copy them to the node first.
    pub enabled: bool,
    /// Size of all copies of a user on a node together, GiB; absent: what the disk takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_gib: Option<f64>,
    /// Part of the disk that stays free for others, GiB.
    pub reserve_gib: f64,
    /// Movies are copied, too: worth it where a file server is slow in answering for parts of files, or where `polish` follows.
    pub movies: bool,
    /// Copies stay for the next job; else they are removed when the last job that uses them ends.
    pub keep: bool,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { enabled: true, quota_gib: None, reserve_gib: 10.0, movies: false, keep: true }
    }
}

impl CacheSettings {
    /// The environment variable by which the engine is told.
    pub const VARIABLE: &str = "VITREOUS_CACHE";

    /// Checks the sizes.
    ///
    /// # Errors
    /// One that is no size, in words.
    pub fn validate(&self) -> Result<(), String> {
        let sizes = [("quota_gib", self.quota_gib.unwrap_or(0.0)), ("reserve_gib", self.reserve_gib)];
        match sizes.iter().find(|(_, gib)| !gib.is_finite() || *gib < 0.0 || *gib > 1e9) {
            Some((key, gib)) => Err(format!("`{key}: {gib}` in `cache` is no size in GiB")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_has_its_default_and_sizes_are_sizes() {
        let read = |text: &str| serde_json::from_str::<CacheSettings>(text);
        assert_eq!(read("{}").expect("should read"), CacheSettings::default());
        let some = read(r#"{"quota_gib": 500, "movies": true}"#).expect("should read");
        assert_eq!((some.quota_gib, some.reserve_gib, some.movies), (Some(500.0), 10.0, true));
        assert!(some.validate().is_ok());
        assert!(read(r#"{"quota": 500}"#).is_err(), "a slip of the pen");
        let negative = CacheSettings { reserve_gib: -1.0, ..CacheSettings::default() };
        assert!(negative.validate().expect_err("should be refused").contains("reserve_gib: -1"));
    }
}
