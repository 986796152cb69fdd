//! Where images lie after recentring, and how they are cut.

use ndarray::{Array2, ArrayView2};
use vitreous_model::conventions::centre;
use vitreous_model::pose::Pose;

/// How boxes move so that a point of the volume, the centre of the kept part, lies in their middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placing {
    /// The point (x, y, z) relative to the centre of the volume's box, Å; zero leaves poses as they are but for whole pixels
    /// of their shift.
    pub centre_a: [f64; 3],
    /// Pixel size of the images, Å.
    pub pixel_size_a: f64,
}

/// Where a box goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    /// Whole pixels (x, y) by which the box moves on its image.
    pub moved_px: [i64; 2],
    /// The pose in the new box, whose shift is that of the point.
    pub pose: Pose,
}

impl Placing {
    /// The new box of a particle of this pose. A point `c` of the volume is seen at `t + (R⁻¹ c)` (x and y of it).
    pub fn of(&self, pose: Pose) -> Placed {
        let seen = pose.rotation.inverse().apply(self.centre_a);
        let at_a = [pose.shift_a[0] + seen[0], pose.shift_a[1] + seen[1]];
        let moved_px = at_a.map(|a| (a / self.pixel_size_a).round() as i64);
        let left = |axis: usize| at_a[axis] - moved_px[axis] as f64 * self.pixel_size_a;
        Placed { moved_px, pose: Pose { shift_a: [left(0), left(1)], ..pose } }
    }
}

/// The `m × m` pixels round the one that lies `moved_px` (x, y) off the centre of an image `[n, n]`. What lies outside is
/// the image's reflection at its border: it has the spectrum of the noise there.
pub(super) fn cut(image: ArrayView2<'_, f32>, m: usize, moved_px: [i64; 2]) -> Array2<f32> {
    let n = image.nrows();
    let first = centre(n) as i64 - centre(m) as i64;
    let [columns, rows] = moved_px.map(|moved| -> Vec<usize> {
        (0..m).map(|index| reflected(index as i64 + first + moved, n)).collect()
    });
    Array2::from_shape_fn((m, m), |(y, x)| image[[rows[y], columns[x]]])
}

/// Whether the box of [`cut`] reaches beyond the image.
pub(super) fn reaches_out(n: usize, m: usize, moved_px: [i64; 2]) -> bool {
    let first = centre(n) as i64 - centre(m) as i64;
    moved_px.iter().any(|moved| first + moved < 0 || first + moved + m as i64 > n as i64)
}

/// An index of a line of `n` points that is reflected at its first and last point.
fn reflected(index: i64, n: usize) -> usize {
    let period = 2 * (n as i64 - 1).max(1);
    let folded = index.rem_euclid(period);
    folded.min(period - folded) as usize
}
