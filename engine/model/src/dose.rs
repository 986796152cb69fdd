//! Radiation damage: the critical dose of Grant & Grigorieff (2015), eLife 4:e06980.

use crate::units::Kilovolt;

/// Why no dose weighting is known for a voltage.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "no critical dose is known for {0} (known: 300, 200 and 100 kV); set dose weighting off or the voltage right"
)]
pub struct UnknownVoltage(pub Kilovolt);

/// Factor on the 300 kV critical dose: 1, 0.8 (200 kV) or 0.64 (100 kV, RELION's value; cisTEM uses 0.532).
///
/// # Errors
/// Any other voltage (within 2 kV) is refused: extrapolating damage would be a guess.
pub fn voltage_factor(voltage: Kilovolt) -> Result<f64, UnknownVoltage> {
    [(300.0, 1.0), (200.0, 0.8), (100.0, 0.64)]
        .into_iter()
        .find(|(kv, _)| (kv - voltage.0).abs() < 2.0)
        .map(|(_, factor)| factor)
        .ok_or(UnknownVoltage(voltage))
}

/// Critical dose in e/Å² at spatial frequency `u` (1/Å) and 300 kV: `0.245 u^-1.665 + 2.81`.
///
/// ```
/// use vitreous_model::dose::critical_dose_300kv;
/// for (u, dose) in [(0.05, 38.7337), (0.1, 14.1383), (0.3, 4.6287)] {
///     assert!((critical_dose_300kv(u) - dose).abs() < 1e-4);
/// }
/// ```
pub fn critical_dose_300kv(u: f64) -> f64 {
    0.245 * u.powf(-1.665) + 2.81
}

/// What is left of the signal at frequency `u` (1/Å) after `dose` (e/Å²): `exp(-dose / (2 Ne))`; 1 at `u = 0`.
pub fn attenuation(u: f64, dose: f64, factor: f64) -> f64 {
    if u <= 0.0 { 1.0 } else { (-0.5 * dose / (factor * critical_dose_300kv(u))).exp() }
}
