//! Orientation and position of a particle in its image. The conventions are in [`crate::conventions`].

use serde::{Deserialize, Serialize};

/// A 3×3 matrix, row by row: `m[row][column]`.
pub type Matrix3 = [[f64; 3]; 3];

/// A rotation as a unit quaternion `(w, x, y, z)`, active: it turns the image frame into the volume frame,
/// so a point `q` of the image's slice lies at `k = R q` of the volume's transform.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// Scalar part.
    pub w: f64,
    /// Vector part, x.
    pub x: f64,
    /// Vector part, y.
    pub y: f64,
    /// Vector part, z.
    pub z: f64,
}

impl Default for Rotation {
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl Rotation {
    /// No rotation.
    pub const IDENTITY: Self = Self { w: 1.0, x: 0.0, y: 0.0, z: 0.0 };

    /// The unit quaternion nearest to `(w, x, y, z)`; the zero quaternion becomes the identity.
    pub fn new(w: f64, x: f64, y: f64, z: f64) -> Self {
        let norm = (w * w + x * x + y * y + z * z).sqrt();
        if norm > 0.0 { Self { w: w / norm, x: x / norm, y: y / norm, z: z / norm } } else { Self::IDENTITY }
    }

    /// Rotation by `|v|` radians about the axis `v` (the exponential map, standard Rodrigues formula).
    pub fn from_rotation_vector(v: [f64; 3]) -> Self {
        let angle = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
        // sin(a/2)/a, by its series where the quotient would lose digits
        let s = if angle < 1e-6 { 0.5 - angle * angle / 48.0 } else { (0.5 * angle).sin() / angle };
        Self::new((0.5 * angle).cos(), v[0] * s, v[1] * s, v[2] * s)
    }

    /// The rotation vector (axis times angle, radians, angle in `[0, π]`) of this rotation.
    pub fn to_rotation_vector(self) -> [f64; 3] {
        let q = if self.w < 0.0 { self.conjugated_sign() } else { self };
        let s = (q.x * q.x + q.y * q.y + q.z * q.z).sqrt();
        let scale = if s < 1e-12 { 2.0 } else { 2.0 * s.atan2(q.w) / s };
        [q.x * scale, q.y * scale, q.z * scale]
    }

    fn conjugated_sign(self) -> Self {
        Self { w: -self.w, x: -self.x, y: -self.y, z: -self.z }
    }

    /// `Rz(rot) · Ry(tilt) · Rz(psi)`, angles in degrees, active: RELION's three angles in our sense.
    pub fn from_euler_zyz_deg(rot_deg: f64, tilt_deg: f64, psi_deg: f64) -> Self {
        let (a, b, g) = (rot_deg.to_radians(), tilt_deg.to_radians(), psi_deg.to_radians());
        let (sb, cb) = (0.5 * b).sin_cos();
        let (ss, cs) = (0.5 * (a + g)).sin_cos();
        let (sd, cd) = (0.5 * (g - a)).sin_cos();
        Self::new(cb * cs, sb * sd, sb * cd, cb * ss)
    }

    /// The angles `(rot, tilt, psi)` in degrees with tilt in `[0, 180]`; at the poles rot is 0.
    pub fn to_euler_zyz_deg(self) -> (f64, f64, f64) {
        let m = self.matrix();
        let sin_tilt = (m[0][2] * m[0][2] + m[1][2] * m[1][2]).sqrt();
        if sin_tilt > 1e-9 {
            let rot = m[1][2].atan2(m[0][2]);
            let psi = m[2][1].atan2(-m[2][0]);
            (rot.to_degrees(), sin_tilt.atan2(m[2][2]).to_degrees(), psi.to_degrees())
        } else if m[2][2] > 0.0 {
            (0.0, 0.0, m[1][0].atan2(m[0][0]).to_degrees())
        } else {
            (0.0, 180.0, m[1][0].atan2(-m[0][0]).to_degrees())
        }
    }

    /// The rotation as a matrix; columns are the images of x, y and z.
    pub fn matrix(self) -> Matrix3 {
        let Self { w, x, y, z } = self;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    }

    /// The rotation of an orthonormal matrix with determinant +1 (Shepperd's method: the largest component first).
    pub fn from_matrix(m: &Matrix3) -> Self {
        let trace = m[0][0] + m[1][1] + m[2][2];
        if trace > 0.0 {
            let s = (trace + 1.0).sqrt() * 2.0;
            return Self::new(
                0.25 * s,
                (m[2][1] - m[1][2]) / s,
                (m[0][2] - m[2][0]) / s,
                (m[1][0] - m[0][1]) / s,
            );
        }
        if m[0][0] > m[1][1] && m[0][0] > m[2][2] {
            let s = (1.0 + m[0][0] - m[1][1] - m[2][2]).sqrt() * 2.0;
            Self::new((m[2][1] - m[1][2]) / s, 0.25 * s, (m[0][1] + m[1][0]) / s, (m[0][2] + m[2][0]) / s)
        } else if m[1][1] > m[2][2] {
            let s = (1.0 + m[1][1] - m[0][0] - m[2][2]).sqrt() * 2.0;
            Self::new((m[0][2] - m[2][0]) / s, (m[0][1] + m[1][0]) / s, 0.25 * s, (m[1][2] + m[2][1]) / s)
        } else {
            let s = (1.0 + m[2][2] - m[0][0] - m[1][1]).sqrt() * 2.0;
            Self::new((m[1][0] - m[0][1]) / s, (m[0][2] + m[2][0]) / s, (m[1][2] + m[2][1]) / s, 0.25 * s)
        }
    }

    /// `self · other`: other first.
    pub fn then_after(self, other: Self) -> Self {
        let (a, b) = (self, other);
        Self::new(
            a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z,
            a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
            a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
            a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w,
        )
    }

    /// The opposite rotation.
    pub fn inverse(self) -> Self {
        Self { w: self.w, x: -self.x, y: -self.y, z: -self.z }
    }

    /// The pose of the same image with the mirror image of its map, x to -x: `M_x R M_z`.
    ///
    /// With `V'(v) = V(M_x v)`, a point of the image at depth z reads `V'(M_x R M_z p) = V(R M_z p)`: the old map at depth
    /// -z, so the projections are the same.
    /// ```
    /// use vitreous_model::pose::Rotation;
    /// let r = Rotation::from_euler_zyz_deg(30.0, 50.0, -70.0);
    /// let [x, y, z] = r.apply([1.0, 2.0, 3.0]);
    /// let mirrored = r.of_mirrored_map().apply([1.0, 2.0, -3.0]);
    /// assert!(mirrored.iter().zip([-x, y, z]).all(|(a, b)| (a - b).abs() < 1e-12));
    /// assert!(r.of_mirrored_map().of_mirrored_map().angle_to_rad(r) < 1e-12);
    /// ```
    pub fn of_mirrored_map(self) -> Self {
        // M_x R M_x, then M_x M_z, which is half a turn about y
        Self { w: self.w, x: self.x, y: -self.y, z: -self.z } * Self::new(0.0, 0.0, 1.0, 0.0)
    }

    /// The image of the point `p`.
    pub fn apply(self, p: [f64; 3]) -> [f64; 3] {
        let m = self.matrix();
        [0, 1, 2].map(|i| m[i][0] * p[0] + m[i][1] * p[1] + m[i][2] * p[2])
    }

    /// The angle in radians, in `[0, π]`, of the rotation that takes `self` to `other`.
    pub fn angle_to_rad(self, other: Self) -> f64 {
        let relative = self.inverse().then_after(other);
        let s = (relative.x * relative.x + relative.y * relative.y + relative.z * relative.z).sqrt();
        2.0 * s.atan2(relative.w.abs())
    }
}

impl std::ops::Mul for Rotation {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.then_after(other)
    }
}

/// Orientation and shift of one particle image.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pose {
    /// Image frame to volume frame.
    pub rotation: Rotation,
    /// Where the particle's centre lies relative to the centre of its box, (x, y), in Å.
    pub shift_a: [f64; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn euler_angles_round_trip(rot in -179.0..179.0f64, tilt in 0.5..179.5f64, psi in -179.0..179.0f64) {
            let (r, t, p) = Rotation::from_euler_zyz_deg(rot, tilt, psi).to_euler_zyz_deg();
            prop_assert!((r - rot).abs() < 1e-8 && (t - tilt).abs() < 1e-8 && (p - psi).abs() < 1e-8);
        }

        #[test]
        fn matrices_round_trip(a in -3.0..3.0f64, b in -3.0..3.0f64, c in -3.0..3.0f64) {
            let r = Rotation::from_rotation_vector([a, b, c]);
            prop_assert!(Rotation::from_matrix(&r.matrix()).angle_to_rad(r) < 1e-7);
            prop_assert!(Rotation::from_rotation_vector(r.to_rotation_vector()).angle_to_rad(r) < 1e-7);
            prop_assert!(r.inverse().then_after(r).angle_to_rad(Rotation::IDENTITY) < 1e-7);
        }
    }

    #[test]
    fn poles_keep_the_rotation() {
        for tilt in [0.0, 180.0] {
            let r = Rotation::from_euler_zyz_deg(20.0, tilt, 35.0);
            let (a, b, c) = r.to_euler_zyz_deg();
            assert!(Rotation::from_euler_zyz_deg(a, b, c).angle_to_rad(r) < 1e-7);
        }
    }
}
