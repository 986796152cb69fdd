//! `compare-maps`: how well a map agrees with another, wherever it lies and whichever hand it shows.

use crate::args::CompareArgs;
use anyhow::ensure;
use ndarray::Array3;
use serde_json::{Value, json};
use std::path::Path;
use vitreous_compute::fourier::{HalfVolume, friedel_count};
use vitreous_compute::map_alignment::rigid;
use vitreous_compute::regrid::regridded;
use vitreous_formats::mrc::{Volume, read_volume, write_volume};
use vitreous_model::conventions::{centre, signed_frequency};

/// Default diameter of the mask, as a fraction of the reference's box.
const MASK_OF_BOX: f64 = 0.9;

/// Width of the mask's soft edge, as a fraction of its radius.
const MASK_EDGE: f64 = 0.1;

/// Compares, and returns what was found as one JSON object.
///
/// # Errors
/// A map that cannot be read or is not a cube of cubic voxels.
pub fn compare(args: &CompareArgs) -> anyhow::Result<Value> {
    let (map, reference) = (read(&args.map)?, read(&args.reference)?);
    let (n, pixel_a) = (reference.data.dim().2, reference.voxel_a);
    let diameter_a = args.mask_diameter.unwrap_or(MASK_OF_BOX * n as f64 * pixel_a);
    ensure!(diameter_a > 0.0, "--mask-diameter must be greater than 0 Å, got {diameter_a}");
    let moved = regridded(map.data.view(), [map.voxel_a; 3], n, pixel_a, 0.0);
    let (moved, mirrored, correlation) = if args.aligned {
        (moved, None, None)
    } else {
        let found = rigid::align(reference.data.view(), moved.view(), true);
        (found.apply(moved.view()), Some(found.mirrored), Some(found.correlation))
    };
    if let Some(path) = &args.output {
        write_volume(path, &moved, pixel_a)?;
    }
    let limit_a = 2.0 * map.voxel_a.max(pixel_a);
    let given = args.mask.as_deref().map(read).transpose()?;
    if let Some(mask) = &given {
        let (shown, found) = (args.mask.as_deref().unwrap_or(Path::new("")).display(), mask.data.dim());
        ensure!(found == reference.data.dim(), "{shown}: {found:?} voxels; the reference has a box of {n}");
    }
    let mask = |volume: &Array3<f32>| match &given {
        Some(mask) => volume * &mask.data,
        None => masked(volume, diameter_a / pixel_a),
    };
    let fsc = fsc(&mask(&moved), &mask(&reference.data), pixel_a, limit_a);
    let crossing_a = |threshold| first_crossing(&fsc, threshold).map(|k| 1.0 / k);
    Ok(json!({
        "resolution_fsc05_A": crossing_a(0.5).unwrap_or(limit_a),
        "resolution_fsc0143_A": crossing_a(0.143).unwrap_or(limit_a),
        "crosses_fsc05": crossing_a(0.5).is_some(),
        "nyquist_A": limit_a,
        "mask_diameter_A": diameter_a,
        "mirrored": mirrored,
        "correlation": correlation,
        "fsc": fsc.iter().map(|(k, value)| json!({"resolution_A": 1.0 / k, "fsc": value})).collect::<Vec<_>>(),
    }))
}

fn read(path: &Path) -> anyhow::Result<Volume> {
    let volume = read_volume(path)?;
    let (shown, edges) = (path.display(), volume.voxel_xyz_a);
    ensure!(
        volume.has_cubic_voxels(),
        "{shown}: voxel edges are {edges:?} Å; only cubic voxels can be compared"
    );
    let (nz, ny, nx) = volume.data.dim();
    ensure!(nz == ny && ny == nx, "{shown}: {nx}×{ny}×{nz} voxels are not a cube");
    Ok(volume)
}

/// The map inside a soft sphere of `diameter_px` about the centre; the mean of its rim is taken off first.
fn masked(volume: &Array3<f32>, diameter_px: f64) -> Array3<f32> {
    let (c, radius) = (centre(volume.dim().2) as f64, 0.5 * diameter_px);
    let weight = |at: (usize, usize, usize)| {
        let r2: f64 = [at.0, at.1, at.2].iter().map(|i| (*i as f64 - c).powi(2)).sum();
        let t = ((r2.sqrt() - radius) / (MASK_EDGE * radius)).clamp(0.0, 1.0);
        0.5 * (1.0 + (std::f64::consts::PI * t).cos())
    };
    let rim: Vec<f64> = volume
        .indexed_iter()
        .filter(|(at, _)| (0.01..0.99).contains(&weight(*at)))
        .map(|(_, value)| f64::from(*value))
        .collect();
    let background = rim.iter().sum::<f64>() / rim.len().max(1) as f64;
    let mut masked = volume.clone();
    for (at, value) in masked.indexed_iter_mut() {
        *value = ((f64::from(*value) - background) * weight(at)) as f32;
    }
    masked
}

/// Fourier shell correlation up to the resolution `limit_a`: frequency (1/Å) and correlation of each shell.
fn fsc(a: &Array3<f32>, b: &Array3<f32>, pixel_a: f64, limit_a: f64) -> Vec<(f64, f64)> {
    let n = a.dim().2;
    let edge_a = n as f64 * pixel_a;
    let shells = (edge_a / limit_a).floor() as usize;
    let (a, b) = (HalfVolume::of_box(a.view()), HalfVolume::of_box(b.view()));
    let mut sums = vec![[0.0f64; 3]; shells + 1];
    for ((at, a), b) in a.data().indexed_iter().zip(b.data()) {
        let q = [at.2 as f64, signed_frequency(at.1, n) as f64, signed_frequency(at.0, n) as f64];
        let shell = q.iter().map(|c| c * c).sum::<f64>().sqrt().round() as usize;
        let count = friedel_count(at.2, n) as f64;
        if let Some([ab, aa, bb]) = sums.get_mut(shell) {
            *ab += count * f64::from((a * b.conj()).re);
            *aa += count * f64::from(a.norm_sqr());
            *bb += count * f64::from(b.norm_sqr());
        }
    }
    let correlation = |[ab, aa, bb]: [f64; 3]| if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 };
    (1..=shells).map(|shell| (shell as f64 / edge_a, correlation(sums[shell]))).collect()
}

/// The first frequency (1/Å) at which a curve falls below `threshold`, linearly between its points.
fn first_crossing(curve: &[(f64, f64)], threshold: f64) -> Option<f64> {
    let below = curve.iter().position(|(_, value)| *value < threshold)?;
    let (k1, v1) = curve[below];
    let Some((k0, v0)) = below.checked_sub(1).map(|before| curve[before]) else { return Some(k1) };
    Some(k0 + (k1 - k0) * (v0 - threshold) / (v0 - v1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_cross_where_they_fall_below() {
        let halfway = first_crossing(&[(0.1, 1.0), (0.2, 0.0)], 0.5);
        assert!(halfway.is_some_and(|k| (k - 0.15).abs() < 1e-12), "{halfway:?}");
        assert_eq!(first_crossing(&[(0.1, 1.0), (0.2, 0.9)], 0.5), None);
        assert_eq!(first_crossing(&[(0.1, 0.2), (0.2, 0.9)], 0.5), Some(0.1));
    }

    #[test]
    fn a_map_agrees_with_itself_and_not_with_its_negative() {
        let map = Array3::from_shape_fn((16, 16, 16), |(z, y, x)| ((z * 7 + y * 3 + x * x) % 11) as f32);
        assert!(fsc(&map, &map, 2.0, 4.0).iter().all(|(_, value)| (*value - 1.0).abs() < 1e-6));
        assert!(fsc(&map, &map.mapv(|v| -v), 2.0, 4.0).iter().all(|(_, value)| (*value + 1.0).abs() < 1e-6));
        assert_eq!(fsc(&map, &map, 2.0, 4.0).len(), 8);
    }
}
