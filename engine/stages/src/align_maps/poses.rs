//! Poses of images when their map is laid elsewhere.

use vitreous_compute::map_alignment::Alignment;
use vitreous_model::pose::Pose;

/// The pose with which a moved map gives the image that the map gave with `pose`; `voxel_a` (Å) is the unit of the
/// alignment's shift.
///
/// The moved map is `W(x) = V(R x + t)`, so `V(P p) = W(R⁻¹ P (p - P⁻¹ t))`: W has the pose `R⁻¹ P`, and its image lies
/// `P⁻¹ t` farther along x and y. (Along z it is a defocus, of a few Å.) Where V had to be mirrored first, P is the pose of
/// its mirror image.
pub(super) fn moved(pose: Pose, alignment: &Alignment, voxel_a: f64) -> Pose {
    let rotation = if alignment.mirrored { pose.rotation.of_mirrored_map() } else { pose.rotation };
    let placement = alignment.placement;
    let [x, y, _] = rotation.inverse().apply(placement.shift_px.map(|t| t * voxel_a));
    Pose {
        rotation: placement.rotation.inverse() * rotation,
        shift_a: [pose.shift_a[0] + x, pose.shift_a[1] + y],
    }
}
