//! Checks on microscope parameters that several job types share.

use vitreous_model::params::BadParam;

/// Refuses pixel sizes, voltages, aberrations and contrasts that no microscope has.
pub(crate) fn check(
    pixel_size: Option<f64>,
    voltage: Option<f64>,
    cs: Option<f64>,
    amplitude_contrast: Option<f64>,
) -> Result<(), BadParam> {
    for (key, value, low, high, unit) in [
        ("pixel_size", pixel_size, 0.05, 100.0, "Å"),
        ("voltage", voltage, 20.0, 3000.0, "kV"),
        ("cs", cs, 0.0, 20.0, "mm"),
        ("amplitude_contrast", amplitude_contrast, 0.0, 0.99, "as a fraction"),
    ] {
        if let Some(value) = value {
            let fits = (low..=high).contains(&value);
            BadParam::unless(fits, key, value, &format!("must lie between {low} and {high} {unit}"))?;
        }
    }
    Ok(())
}

/// Refuses a fraction outside 0 to 1.
pub(crate) fn check_fraction(key: &str, value: f64) -> Result<(), BadParam> {
    BadParam::unless((0.0..=1.0).contains(&value), key, value, "must lie between 0 and 1")
}

/// Refuses a value that is not above zero.
pub(crate) fn check_positive(key: &str, value: f64) -> Result<(), BadParam> {
    BadParam::unless(value > 0.0, key, value, "must be greater than 0")
}
