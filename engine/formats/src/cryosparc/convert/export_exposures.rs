//! Our exposures → the fields of a dataset.

use super::Exported;
use super::export::{ExportOptions, uid_of};
use crate::cryosparc::{CsError, FieldOut, Values};
use std::collections::HashMap;
use std::path::Path;
use vitreous_model::ctf::CtfParams;
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, OpticsGroup};

/// An exposure that is written, with its micrograph and optics.
type Row<'a> = (&'a Exposure, &'a MicrographSource, &'a OpticsGroup);

/// The fields of the exposures that have a micrograph; `path` is for messages. Their `uid` is the one that
/// [`particle_fields`](super::particle_fields) writes as `location/micrograph_uid`.
///
/// # Errors
/// No micrograph, two of one name, or one of an optics group that is not there.
pub fn exposure_fields(
    path: &Path,
    set: &ExposureSet,
    options: &ExportOptions<'_>,
) -> Result<Exported, CsError> {
    let rows = rows(path, set)?;
    let mut out = Builder { rows: &rows, fields: Vec::new(), results: Vec::new(), left: Vec::new() };
    out.micrographs(options);
    out.microscope();
    out.ctf();
    out.what_has_no_field(set.exposures.len());
    Ok(Exported { fields: out.fields, results: out.results, left: out.left })
}

fn rows<'a>(path: &Path, set: &'a ExposureSet) -> Result<Vec<Row<'a>>, CsError> {
    let error = |why: String, hint| CsError::Unfit { path: path.into(), why, hint };
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut names: HashMap<u64, &str> = HashMap::new();
    for exposure in &set.exposures {
        let Some(micrograph) = &exposure.micrograph else { continue };
        let group =
            set.optics_of(exposure.optics_group).filter(|group| group.number > 0).ok_or_else(|| {
                let (name, number) = (&exposure.name, exposure.optics_group);
                error(format!("micrograph {name} is of optics group {number}, which is not there"), "")
            })?;
        if let Some(other) = names.insert(uid_of(&exposure.name), &exposure.name) {
            let why = format!("micrographs {other} and {} would have one uid", exposure.name);
            return Err(error(why, "rename one of them"));
        }
        rows.push((exposure, micrograph, group));
    }
    if rows.is_empty() {
        return Err(error("there are no micrographs".into(), "give a set that has some"));
    }
    Ok(rows)
}

struct Builder<'a> {
    rows: &'a [Row<'a>],
    fields: Vec<FieldOut>,
    results: Vec<&'static str>,
    left: Vec<String>,
}

impl Builder<'_> {
    fn put(&mut self, name: &'static str, values: Values) {
        self.fields.push(FieldOut { name, values });
    }

    fn floats(&mut self, name: &'static str, value: impl Fn(&Row<'_>) -> f64) {
        let values = self.rows.iter().map(|row| value(row) as f32).collect();
        self.put(name, Values::F32(1, values));
    }

    fn integers(&mut self, name: &'static str, value: impl Fn(&Row<'_>) -> u32) {
        let values = self.rows.iter().map(value).collect();
        self.put(name, Values::U32(1, values));
    }

    fn texts(&mut self, name: &'static str, value: impl Fn(&Row<'_>) -> String) {
        let values = self.rows.iter().map(value).collect();
        self.put(name, Values::Text(values));
    }

    fn count(&self, test: impl Fn(&Row<'_>) -> bool) -> usize {
        self.rows.iter().filter(|row| test(row)).count()
    }

    fn micrographs(&mut self, options: &ExportOptions<'_>) {
        let rows = self.rows;
        let shape = || Values::U32(2, rows.iter().flat_map(|(_, m, _)| [m.height, m.width]).collect());
        self.put("uid", Values::U64(rows.iter().map(|(e, _, _)| uid_of(&e.name)).collect()));
        self.results.push("micrograph_blob");
        self.texts("micrograph_blob/path", |(_, m, _)| (options.paths)(&m.path));
        self.integers("micrograph_blob/idx", |_| 0);
        self.put("micrograph_blob/shape", shape());
        self.floats("micrograph_blob/psize_A", |(_, m, _)| m.pixel_size_a);
        self.texts("micrograph_blob/format", |(_, m, _)| format_of(&m.path).into());
        self.integers("micrograph_blob/is_background_subtracted", |_| 0);
        let unweighted = self.count(|(_, m, _)| !m.unweighted_path.is_empty());
        if unweighted == rows.len() {
            self.results.push("micrograph_blob_non_dw");
            self.texts("micrograph_blob_non_dw/path", |(_, m, _)| (options.paths)(&m.unweighted_path));
            self.integers("micrograph_blob_non_dw/idx", |_| 0);
            self.put("micrograph_blob_non_dw/shape", shape());
            self.floats("micrograph_blob_non_dw/psize_A", |(_, m, _)| m.pixel_size_a);
            self.texts("micrograph_blob_non_dw/format", |(_, m, _)| format_of(&m.unweighted_path).into());
            self.integers("micrograph_blob_non_dw/is_background_subtracted", |_| 0);
        } else if unweighted > 0 {
            let all = rows.len();
            self.left
                .push(format!("sums without dose weights: only {unweighted} of {all} micrographs have one"));
        }
    }

    fn microscope(&mut self) {
        self.results.push("mscope_params");
        self.floats("mscope_params/accel_kv", |(_, _, group)| group.voltage.0);
        self.floats("mscope_params/cs_mm", |(_, _, group)| group.cs.0);
        self.floats("mscope_params/total_dose_e_per_A2", |(e, _, _)| {
            e.movie.as_ref().map_or(0.0, |m| m.dose_per_frame * f64::from(m.frames))
        });
        self.integers("mscope_params/phase_plate", |(e, _, _)| {
            u32::from(e.ctf.as_ref().is_some_and(|fit| fit.ctf.phase_shift.0 != 0.0))
        });
        self.integers("mscope_params/neg_stain", |_| 0);
        self.integers("mscope_params/exp_group_id", |(_, _, group)| group.number - 1);
    }

    fn ctf(&mut self) {
        let (all, fitted) = (self.rows.len(), self.count(|(e, _, _)| e.ctf.is_some()));
        if fitted < all {
            let contrast = "amplitude contrasts: they stand beside the CTF".to_string();
            let some = format!("CTFs: only {fitted} of {all} micrographs have one");
            self.left.extend([Some(contrast), (fitted > 0).then_some(some)].into_iter().flatten());
            return;
        }
        self.results.push("ctf");
        self.texts("ctf/type", |_| "imported".into());
        self.integers("ctf/exp_group_id", |(_, _, group)| group.number - 1);
        let of = |row: &Row<'_>, value: fn(&CtfParams) -> f64| {
            row.0.ctf.as_ref().map_or(0.0, |fit| value(&fit.ctf))
        };
        self.floats("ctf/accel_kv", |row| of(row, |ctf| ctf.voltage.0));
        self.floats("ctf/cs_mm", |row| of(row, |ctf| ctf.cs.0));
        self.floats("ctf/amp_contrast", |row| of(row, |ctf| ctf.amplitude_contrast));
        self.floats("ctf/df1_A", |row| of(row, |ctf| ctf.defocus_u_a));
        self.floats("ctf/df2_A", |row| of(row, |ctf| ctf.defocus_v_a));
        self.floats("ctf/df_angle_rad", |row| of(row, |ctf| ctf.astigmatism_angle.radians()));
        self.floats("ctf/phase_shift_rad", |row| of(row, |ctf| ctf.phase_shift.radians()));
        let quality: [(&'static str, &str, fn(&CtfFit) -> f64); 2] = [
            ("ctf/ctf_fit_to_A", "resolutions of the CTF fits", |fit| fit.fit_resolution_a),
            ("ctf/cross_corr_ctffind4", "scores of the CTF fits", |fit| fit.score),
        ];
        for (field, what, value) in quality {
            let known = self.count(|(e, _, _)| e.ctf.as_ref().is_some_and(|fit| value(fit).is_finite()));
            if known == all {
                self.floats(field, |(e, _, _)| e.ctf.as_ref().map_or(0.0, value));
            } else if known > 0 {
                self.left.push(format!("{what}: only {known} of {all} micrographs have one"));
            }
        }
    }

    fn what_has_no_field(&mut self, exposures: usize) {
        let without = exposures - self.rows.len();
        let fit = |test: fn(&CtfFit) -> bool| self.count(|(e, _, _)| e.ctf.as_ref().is_some_and(test));
        let counts = [
            (without, "exposures without a micrograph"),
            (self.count(|(e, _, _)| e.movie.is_some()), "movies: import them in CryoSPARC"),
            (
                self.count(|(e, m, _)| e.motion.is_some() || !m.motion_star_path.is_empty()),
                "motion: CryoSPARC keeps trajectories in files of its own",
            ),
            (
                fit(|fit| fit.surface != Default::default()),
                "changes of defocus over a micrograph: that of its middle was written",
            ),
            (
                fit(|fit| fit.ice_ring.is_some() || fit.drift_a.is_some() || fit.defocus_error_a.is_some()),
                "errors of defocus, ice rings and drifts seen in spectra",
            ),
        ];
        self.left
            .extend(counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("of {n}: {what}")));
        let plain = |group: &OpticsGroup| group.name == format!("opticsGroup{}", group.number);
        let named = self.count(|(_, _, group)| !plain(group));
        if named > 0 {
            self.left.push(format!("of {named}: names of optics groups, which CryoSPARC numbers"));
        }
        let binned = self.count(|(_, m, group)| {
            (group.movie_pixel_size_a / m.pixel_size_a - 1.0).abs() > super::particles::SAME
        });
        if binned > 0 {
            self.left.push(format!("of {binned}: pixel sizes of movies, which differ from the micrographs'"));
        }
    }
}

/// CryoSPARC's word for the format of a file, by its name.
fn format_of(path: &str) -> &'static str {
    let end = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    if end.starts_with("tif") { "TIFF/1" } else { "MRC/1" }
}
