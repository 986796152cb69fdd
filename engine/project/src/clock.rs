//! The one place of this crate where the clock is read.
//!
//! Times in files are for people; no decision compares clocks of two hosts.

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "project is one of the places that may read the clock")]
pub fn unix_s() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
