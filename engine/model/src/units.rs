//! Numbers with a unit: one newtype each, transparent in files, printed with its unit.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl $name {
            /// The unit as it is printed.
            pub const SYMBOL: &'static str = $symbol;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)?;
                write!(f, " {}", $symbol)
            }
        }
    };
}

unit!(/// A length in ångström.
    Angstrom, "Å");
unit!(/// An angle in degrees; radians live only inside function bodies.
    Degrees, "°");
unit!(/// An acceleration voltage in kilovolt.
    Kilovolt, "kV");
unit!(/// A length in millimetre (spherical aberration).
    Millimetre, "mm");
unit!(/// An electron dose in electrons per square ångström.
    ElectronsPerA2, "e/Å²");

impl Degrees {
    /// The angle in radians.
    pub fn radians(self) -> f64 {
        self.0.to_radians()
    }
}

impl Kilovolt {
    /// Relativistic electron wavelength in Å: `12.2643247 / sqrt(V (1 + 0.978466e-6 V))`, V in volts
    /// (the constants of RELION's `ctf.cpp`, so that defoci agree to the last digit).
    ///
    /// ```
    /// use vitreous_model::units::Kilovolt;
    /// for (kv, lambda) in [(100.0, 0.0370146), (200.0, 0.0250795), (300.0, 0.0196876)] {
    ///     assert!((Kilovolt(kv).wavelength_a() - lambda).abs() < 1e-7);
    /// }
    /// ```
    pub fn wavelength_a(self) -> f64 {
        let volts = self.0 * 1e3;
        12.264_324_7 / (volts * (1.0 + 0.978_466e-6 * volts)).sqrt()
    }
}
