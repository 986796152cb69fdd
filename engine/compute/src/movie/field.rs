//! The motion of one frame as a function of the place: a quadratic polynomial along either axis.

/// Monomials of the position: `1, X, Y, X², Y², XY`, with X and Y from -1 to 1 over the frame.
pub const MODES: usize = 6;

/// Coefficients of [`modes`] for the displacement along x and along y, pixels.
pub type FrameMotion = [[f64; MODES]; 2];

/// Values of the monomials at `(x, y)`, each from -1 to 1.
pub fn modes(x: f64, y: f64) -> [f64; MODES] {
    [1.0, x, y, x * x, y * y, x * y]
}

/// Pixel `at` of an axis of `n` pixels as a number from -1 to 1.
pub fn normalised(at: f64, n: usize) -> f64 {
    (2.0 * at - (n as f64 - 1.0)) / n as f64
}

/// Displacement along x and y at pixel `(x, y)` of a frame of `width × height` pixels.
pub fn displacement(motion: &FrameMotion, [width, height]: [usize; 2], x: f64, y: f64) -> [f64; 2] {
    let modes = modes(normalised(x, width), normalised(y, height));
    motion.map(|c| c.iter().zip(modes).map(|(c, m)| c * m).sum())
}
