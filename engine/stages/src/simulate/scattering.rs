//! How strongly atoms scatter electrons, and what the ice they displace would have scattered.
//!
//! The transform of an atom's Coulomb potential is `V_SCALE · f(k)` in V·Å³, with f the elastic scattering factor in Å.

use vitreous_formats::atomic_model::Element;

/// `h² / (2π m e)` in V·Å²: turns a scattering factor in Å into the transform of a potential in V·Å³.
pub const VOLT_A2: f64 = 47.877_645;

/// Scattering of vitreous ice per volume, Å/Å³: one water molecule (f(0) = 3.04 Å from the table below) in 32.1 Å³
/// (0.93 g/cm³).
const ICE_PER_A3: f64 = 3.04 / 32.1;

/// Volume a heavy atom and the hydrogens bound to it displace, Å³: 0.73 cm³/g, and 14.1 Da to a heavy atom of protein.
const DISPLACED_A3: f64 = 17.1;

/// Elastic scattering factors of neutral atoms up to 2 Å⁻¹ in `sin θ / λ`: `f(k) = Σ aᵢ exp(-bᵢ k² / 4)`, a in Å, b in Å².
/// L.-M. Peng, G. Ren, S. L. Dudarev, M. J. Whelan (1996), Acta Cryst. A52, 257; the same values are table 4.3.2.2 of the
/// International Tables for Crystallography, volume C. The elements that occur in deposited structures.
const FACTORS: &[(&str, [f64; 5], [f64; 5])] = &[
    ("H", [0.0349, 0.1201, 0.197, 0.0573, 0.1195], [0.5347, 3.5867, 12.3471, 18.9525, 38.6269]),
    ("C", [0.0893, 0.2563, 0.757, 1.0487, 0.3575], [0.2465, 1.71, 6.4094, 18.6113, 50.2523]),
    ("N", [0.1022, 0.3219, 0.7982, 0.8197, 0.1715], [0.2451, 1.7481, 6.1925, 17.3894, 48.1431]),
    ("O", [0.0974, 0.2921, 0.691, 0.699, 0.2039], [0.2067, 1.3815, 4.6943, 12.7105, 32.4726]),
    ("F", [0.1083, 0.3175, 0.6487, 0.5846, 0.1421], [0.2057, 1.3439, 4.2788, 11.3932, 28.7881]),
    ("Na", [0.2142, 0.6853, 0.7692, 1.6589, 1.4482], [0.3334, 2.3446, 10.083, 48.3037, 138.27]),
    ("Mg", [0.2314, 0.6866, 0.9677, 2.1882, 1.1339], [0.3278, 2.272, 10.9241, 39.2898, 101.9748]),
    ("Al", [0.239, 0.6573, 1.2011, 2.5586, 1.2312], [0.3138, 2.1063, 10.4163, 34.4552, 98.5344]),
    ("Si", [0.2519, 0.6372, 1.3795, 2.5082, 1.05], [0.3075, 2.0174, 9.6746, 29.3744, 80.4732]),
    ("P", [0.2548, 0.6106, 1.4541, 2.3204, 0.8477], [0.2908, 1.874, 8.5176, 24.3434, 63.2996]),
    ("S", [0.2497, 0.5628, 1.3899, 2.1865, 0.7715], [0.2681, 1.6711, 7.0267, 19.5377, 50.3888]),
    ("Cl", [0.2443, 0.5397, 1.3919, 2.0197, 0.6621], [0.2468, 1.5242, 6.1537, 16.6687, 42.3086]),
    ("K", [0.4115, 1.4031, 2.2784, 2.6742, 2.2162], [0.3703, 3.3874, 13.1029, 68.9592, 194.4329]),
    ("Ca", [0.4054, 1.388, 2.1602, 3.7532, 2.2063], [0.3499, 3.0991, 11.9608, 53.9353, 142.3892]),
    ("Mn", [0.3796, 1.2094, 1.7815, 2.542, 1.5937], [0.2699, 2.0455, 7.4726, 31.0604, 91.5622]),
    ("Fe", [0.3946, 1.2725, 1.7031, 2.314, 1.4795], [0.2717, 2.0443, 7.6007, 29.9714, 86.2265]),
    ("Co", [0.4118, 1.3161, 1.6493, 2.193, 1.283], [0.2742, 2.0372, 7.7205, 29.968, 84.9383]),
    ("Ni", [0.386, 1.1765, 1.5451, 2.073, 1.3814], [0.2478, 1.766, 6.3107, 25.2204, 74.3146]),
    ("Cu", [0.4314, 1.3208, 1.5236, 1.4671, 0.8562], [0.2694, 1.9223, 7.3474, 28.9892, 90.6246]),
    ("Zn", [0.4288, 1.2646, 1.4472, 1.8294, 1.0934], [0.2593, 1.7998, 6.75, 25.586, 73.5284]),
    ("Se", [0.4477, 1.1678, 1.5843, 2.8087, 1.1956], [0.2405, 1.5442, 6.3231, 19.461, 52.0233]),
    ("Br", [0.4798, 1.1948, 1.8695, 2.6953, 0.8203], [0.2504, 1.5963, 6.9653, 19.8492, 50.3233]),
    ("Sr", [0.6703, 1.4926, 3.3368, 4.46, 3.1501], [0.319, 2.2287, 10.3504, 52.3291, 151.2216]),
    ("Mo", [0.6773, 1.4798, 3.1788, 3.0824, 1.8384], [0.292, 2.0606, 8.1129, 30.5336, 100.0658]),
    ("Cd", [0.6364, 1.4247, 2.7802, 2.5973, 1.7886], [0.2407, 1.6823, 5.6588, 20.7219, 69.1109]),
    ("I", [0.7047, 1.9484, 2.594, 4.1526, 1.5057], [0.2455, 1.8638, 6.7639, 21.8007, 56.4395]),
    ("Ba", [0.9049, 2.6076, 4.8498, 5.1603, 4.7388], [0.3066, 2.4363, 12.1821, 54.6135, 161.9978]),
    ("W", [0.9853, 2.1167, 3.357, 3.7981, 2.2798], [0.2569, 1.6745, 7.0098, 26.9234, 81.391]),
    ("Pt", [0.9148, 1.8096, 3.2134, 3.2953, 1.5754], [0.2263, 1.3813, 5.3243, 17.5987, 60.0171]),
    ("Au", [0.9674, 1.8916, 3.3993, 3.0524, 1.2607], [0.2358, 1.4712, 5.6758, 18.7119, 61.5286]),
    ("Hg", [1.0033, 1.9469, 3.4396, 3.1548, 1.418], [0.2413, 1.5298, 5.8009, 19.452, 60.5753]),
    ("U", [1.3382, 3.2043, 5.4558, 5.4839, 3.6342], [0.2838, 2.2452, 10.2519, 41.7251, 124.9023]),
];

/// The coefficients of an element: aᵢ in Å, bᵢ in Å²; `None` if it is not in the table.
pub fn coefficients(element: Element) -> Option<(&'static [f64; 5], &'static [f64; 5])> {
    FACTORS.iter().find(|(symbol, ..)| *symbol == element.symbol()).map(|(_, a, b)| (a, b))
}

/// What an atom adds to the transform of the potential above that of ice, in Å, at `k` (1/Å) and B-factor `b_a2`:
/// its own scattering minus that of the ice it displaces, a Gaussian blob of the same volume (Fraser, MacRae & Suzuki
/// 1978, J. Appl. Cryst. 11, 693). Hydrogen displaces nothing of its own.
pub fn excess(element: Element, b_a2: f64, k: f64) -> Option<f64> {
    let (a, b) = coefficients(element)?;
    let quarter = 0.25 * k * k;
    let atom: f64 = a.iter().zip(b).map(|(a, b)| a * (-(b + b_a2) * quarter).exp()).sum();
    let displaced = if element.number() == 1 { 0.0 } else { DISPLACED_A3 };
    let ice = ICE_PER_A3 * displaced * (-std::f64::consts::PI * displaced.powf(2.0 / 3.0) * k * k).exp();
    Some(atom - ice)
}

/// Interaction parameter in rad/(V·Å): the phase an electron gains from one V·Å of projected potential,
/// `2π/(λ V) · (m c² + e V)/(2 m c² + e V)` (Reimer, Transmission Electron Microscopy).
pub fn interaction_parameter(kilovolt: f64, wavelength_a: f64) -> f64 {
    /// Rest energy of the electron, keV.
    const REST_KEV: f64 = 510.998_95;
    std::f64::consts::TAU / (wavelength_a * kilovolt * 1e3) * (REST_KEV + kilovolt)
        / (2.0 * REST_KEV + kilovolt)
}
