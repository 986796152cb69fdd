//! Maps held against the true one.

use super::checks::{Bound, Check};
use super::course::Course;
use super::plan::{MAP_PIXEL_A, folder};
use crate::{Ctx, StageError, map_figures};
use ndarray::Array3;
use std::path::Path;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_compute::map_alignment::rigid;
use vitreous_compute::mask::sphere;
use vitreous_formats::mrc;
use vitreous_model::conventions::resolution_at;
use vitreous_model::event::EventKind;
use vitreous_model::report::Figure;

/// Radius of the mask and width of its edge, as parts of the box: the molecule reaches 0.36 of the box from its centre.
const MASK_OF_BOX: [f64; 2] = [0.4, 0.08];

/// A map beside the truth.
pub(super) struct Compared {
    /// Name of the job type that made it.
    pub job_type: &'static str,
    /// The map, laid on the truth if it had a setting of its own.
    pub map: Array3<f32>,
    /// FSC with the truth by shell.
    pub fsc: Vec<f64>,
}

impl Compared {
    /// Finest resolution at which the FSC with the truth has not yet fallen below 0.5, Å.
    pub fn resolution_a(&self) -> f64 {
        resolution_at(&self.fsc, 0.5, self.map.dim().0, MAP_PIXEL_A).0
    }
}

/// All maps beside the truth.
#[derive(Default)]
pub(super) struct Maps {
    /// The true map.
    pub truth: Option<Array3<f32>>,
    /// That made from nothing.
    pub first: Option<Compared>,
    /// The refined one.
    pub refined: Option<Compared>,
    /// That reconstructed from the refined poses.
    pub reconstructed: Option<Compared>,
    /// The sharpened one.
    pub sharpened: Option<Compared>,
    /// FSC of the refined halves.
    pub halves: Option<Vec<f64>>,
}

impl Maps {
    /// Reads and compares what there is.
    ///
    /// # Errors
    /// Maps that cannot be read.
    pub fn read(ctx: &Ctx<'_>, course: &Course) -> Result<Self, StageError> {
        let Some(truth) = course.file(ctx, folder::SIMULATED, "volume") else { return Ok(Self::default()) };
        let truth = mrc::read_volume(&truth)?.data;
        let compare = |job_type, folder, is_aligned: bool| -> Result<Option<Compared>, StageError> {
            let Some(path) = course.file(ctx, folder, "volume") else { return Ok(None) };
            let map = read(&path, &truth)?;
            let map = if is_aligned {
                ctx.say(EventKind::Phase { name: "laying the first map on the truth".into(), total: 0 });
                rigid::align(truth.view(), map.view(), true).apply(map.view())
            } else {
                map
            };
            let fsc = fsc_with(&truth, &map);
            Ok(Some(Compared { job_type, map, fsc }))
        };
        let part = |role| course.part(ctx, folder::REFINED, "volume", role);
        let halves = match (part("half1"), part("half2")) {
            (Some(one), Some(two)) => Some(fsc_with(&read(&one, &truth)?, &read(&two, &truth)?)),
            _ => None,
        };
        Ok(Self {
            first: compare("ab-initio", folder::FIRST_MAP, true)?,
            refined: compare("refine-homogeneous", folder::REFINED, false)?,
            reconstructed: compare("reconstruct", folder::RECONSTRUCTED, false)?,
            sharpened: compare("sharpen", folder::SHARPENED, false)?,
            halves,
            truth: Some(truth),
        })
    }

    /// Checks of all maps.
    pub fn checks(&self, course: &Course) -> Vec<Check> {
        let nyquist_a = 2.0 * MAP_PIXEL_A;
        let resolution = |map: &Compared, what: &str, most_a: f64| {
            Check::new(map.job_type, what, map.resolution_a(), Bound::Between(nyquist_a, most_a), "Å")
        };
        let truth = "resolution of the map, FSC 0.5 with the truth";
        let mut checks = Vec::new();
        if let Some(map) = &self.first {
            checks.push(resolution(map, "resolution of the map from nothing, FSC 0.5 with the truth", 25.0));
        }
        if let Some(map) = &self.refined {
            checks.push(resolution(map, truth, 10.0));
            if let Some(halves) = &self.halves {
                let by_halves_a = resolution_at(halves, 0.143, map.map.dim().0, MAP_PIXEL_A).0;
                let ratio = by_halves_a / map.resolution_a();
                let what = "resolution by the halves (FSC 0.143) over that by the truth";
                checks.push(Check::new(map.job_type, what, ratio, Bound::Between(0.85, 1.2), ""));
            }
        }
        checks.extend(self.reconstructed.as_ref().map(|map| resolution(map, truth, 10.0)));
        if let Some(map) = &self.sharpened {
            checks.push(resolution(map, truth, 10.0));
            let stated = course.number(folder::SHARPENED, "resolution_fsc0143_A");
            let what = "resolution that it states, FSC 0.143 of the halves";
            checks.push(Check::new(map.job_type, what, stated, Bound::Between(nyquist_a, 10.0), "Å"));
        }
        checks
    }

    /// The FSC curves, and slices of the maps.
    pub fn figures(&self) -> Vec<Figure> {
        let Some(truth) = &self.truth else { return Vec::new() };
        let n = truth.dim().0;
        let named = [
            ("refined map with the truth", self.refined.as_ref().map(|map| map.fsc.as_slice())),
            ("its halves with each other", self.halves.as_deref()),
            ("reconstruction with the truth", self.reconstructed.as_ref().map(|map| map.fsc.as_slice())),
            ("map from nothing with the truth", self.first.as_ref().map(|map| map.fsc.as_slice())),
        ];
        let curves: Vec<(&str, &[f64])> =
            named.into_iter().filter_map(|(name, curve)| Some((name, curve?))).collect();
        let mut figures = Vec::new();
        if !curves.is_empty() {
            figures.push(map_figures::fsc("fsc", "Fourier shell correlation", &curves, n, MAP_PIXEL_A));
        }
        let slices = |id, title, map: &Array3<f32>| map_figures::slices(id, title, map.view(), MAP_PIXEL_A);
        figures.push(slices("truth", "The true map: central slices", truth));
        for (id, title, map) in [
            ("first-map", "Map from nothing, laid on the truth", &self.first),
            ("refined", "Refined map", &self.refined),
            ("sharpened", "Sharpened map", &self.sharpened),
        ] {
            figures.extend(map.as_ref().map(|map| slices(id, title, &map.map)));
        }
        figures
    }
}

fn read(path: &Path, like: &Array3<f32>) -> Result<Array3<f32>, StageError> {
    let map = mrc::read_volume(path)?.data;
    if map.dim() == like.dim() {
        return Ok(map);
    }
    let what = format!("{}: {:?} voxels, expected {:?}", path.display(), map.dim(), like.dim());
    Err(StageError::input(what, ""))
}

/// FSC of two maps within a soft sphere, by shell.
pub(super) fn fsc_with(a: &Array3<f32>, b: &Array3<f32>) -> Vec<f64> {
    let n = a.dim().0;
    let [radius, edge] = MASK_OF_BOX.map(|part| part * n as f64);
    fsc_of_maps(a.view(), b.view(), Some(sphere(n, radius, edge).view()))
}
