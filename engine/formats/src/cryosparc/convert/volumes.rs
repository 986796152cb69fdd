//! Datasets of maps, in and out: which file is which map.

use super::particles::{short, unfit};
use crate::cryosparc::{CsError, Dataset, FieldOut, Values};

/// A map that a dataset may name: CryoSPARC's word for it and its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeSlot {
    /// The result's name.
    pub name: &'static str,
    path: &'static str,
    shape: &'static str,
    pixel: &'static str,
}

macro_rules! slots {
    ($($constant:ident = $name:literal, $what:literal;)+) => {
        impl VolumeSlot {
            $(#[doc = $what]
            pub const $constant: Self = Self {
                name: $name,
                path: concat!($name, "/path"),
                shape: concat!($name, "/shape"),
                pixel: concat!($name, "/psize_A"),
            };)+
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$constant),+];
        }
    };
}

slots! {
    MAP = "map", "The map, not sharpened.";
    SHARP = "map_sharp", "The sharpened map.";
    HALF_A = "map_half_A", "The map of the first half-set.";
    HALF_B = "map_half_B", "The map of the second half-set.";
}

/// A map to be named.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeOut {
    /// As what.
    pub slot: VolumeSlot,
    /// Its file, as it is to stand in the dataset.
    pub path: String,
    /// Edge of its box, voxels.
    pub box_px: u32,
    /// Edge of a voxel, Å.
    pub pixel_size_a: f64,
}

/// The fields of a dataset of one record that names maps.
pub fn volume_fields(maps: &[VolumeOut]) -> Vec<FieldOut> {
    let mut fields = vec![FieldOut { name: "uid", values: Values::U64(vec![1]) }];
    for map in maps {
        let put = |name, values| FieldOut { name, values };
        fields.push(put(map.slot.path, Values::Text(vec![map.path.clone()])));
        fields.push(put(map.slot.shape, Values::U32(3, vec![map.box_px; 3])));
        fields.push(put(map.slot.pixel, Values::F32(1, vec![map.pixel_size_a as f32])));
    }
    fields
}

/// File and pixel size (Å, if it is there) of a map that a dataset names.
///
/// # Errors
/// A dataset without that map, or one of more than one record.
pub fn volume_of(dataset: &Dataset, slot: VolumeSlot) -> Result<(String, Option<f64>), CsError> {
    if !dataset.has(slot.path) {
        let has = |slot: &&VolumeSlot| dataset.has(slot.path);
        let names: Vec<&str> = VolumeSlot::ALL.iter().filter(has).map(|slot| slot.name).collect();
        let found = if names.is_empty() { "no map".to_string() } else { names.join(", ") };
        let why = format!("it does not name a map `{}`; it has {found}", slot.name);
        return Err(unfit(dataset, why, "name the file of the map, or another of the group's maps"));
    }
    let paths = dataset.texts(slot.path, "finding the map")?;
    let [path] = paths.as_slice() else {
        let why = format!("it names {} maps, expected one", paths.len());
        return Err(unfit(dataset, why, "name the file of the one that is meant"));
    };
    let pixel = match dataset.has(slot.pixel) {
        true => dataset.numbers(slot.pixel, 0, "the pixel size")?.first().copied(),
        false => None,
    };
    Ok((path.clone(), pixel.filter(|pixel| *pixel > 0.0).map(short)))
}
