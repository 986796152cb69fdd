//! Chemical elements.

use std::fmt;

/// A chemical element by its atomic number, 1 to 118.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element(u8);

/// Symbols by atomic number.
const SYMBOLS: [&str; 118] = [
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K",
    "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr",
    "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe",
    "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu",
    "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra",
    "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db",
    "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og",
];

impl Element {
    /// Carbon.
    pub const CARBON: Self = Self(6);

    /// The element of a symbol, in any case; deuterium is hydrogen.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        let symbol = symbol.trim();
        if symbol.eq_ignore_ascii_case("D") {
            return Some(Self(1));
        }
        let index = SYMBOLS.iter().position(|known| known.eq_ignore_ascii_case(symbol))?;
        Some(Self(index as u8 + 1))
    }

    /// The element of an atomic number.
    pub fn from_number(number: u8) -> Option<Self> {
        (1..=SYMBOLS.len()).contains(&usize::from(number)).then_some(Self(number))
    }

    /// Atomic number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Symbol.
    pub fn symbol(self) -> &'static str {
        SYMBOLS[usize::from(self.0) - 1]
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.symbol())
    }
}
