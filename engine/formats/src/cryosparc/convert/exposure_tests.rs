//! Exposures and maps, by numbers that CryoSPARC's side gives, and the way there and back.

use super::*;
use crate::cryosparc::{FieldOut, Values, write_dataset};
use crate::star::convert::{Fallback, Imported};
use std::path::Path;
use vitreous_model::ctf::{CtfParams, DefocusSurface};
use vitreous_model::exposure::{CtfFit, Exposure, ExposureSet, MicrographSource, MotionSummary, OpticsGroup};
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

fn dataset(fields: &[FieldOut]) -> Dataset {
    let mut bytes = Vec::new();
    write_dataset(&mut bytes, Path::new("a.cs"), fields).unwrap();
    Dataset::parse(Path::new("a.cs"), bytes).unwrap()
}

fn import(dataset: &Dataset, fallback: Fallback) -> Result<Imported<ExposureSet>, CsError> {
    let resolve = |path: CsPath<'_>| format!("{}{}", if path.is_beside { "beside/" } else { "" }, path.path);
    exposures_of(dataset, &ImportOptions { resolve: &resolve, fallback, mirrored: None })
}

fn f32s(name: &'static str, values: &[f32]) -> FieldOut {
    FieldOut { name, values: Values::F32(1, values.to_vec()) }
}

fn u32s(name: &'static str, count: usize, values: &[u32]) -> FieldOut {
    FieldOut { name, values: Values::U32(count, values.to_vec()) }
}

fn texts(name: &'static str, values: &[&str]) -> FieldOut {
    FieldOut { name, values: Values::Text(values.iter().map(|v| (*v).to_string()).collect()) }
}

/// Two exposures as CryoSPARC has them after Patch CTF; the second without a fit.
fn theirs() -> Vec<FieldOut> {
    vec![
        FieldOut { name: "uid", values: Values::U64(vec![3, 4]) },
        texts("micrograph_blob/path", &[">J2/a_doc.mrc", "J2/b_doc.mrc"]),
        u32s("micrograph_blob/shape", 2, &[100, 200, 100, 200]),
        f32s("micrograph_blob/psize_A", &[1.3, 1.3]),
        texts("micrograph_blob_non_dw/path", &["J2/a_rigid.mrc", "J2/b_rigid.mrc"]),
        u32s("micrograph_blob_non_dw/shape", 2, &[100, 200, 100, 200]),
        f32s("mscope_params/accel_kv", &[300.0, 200.0]),
        f32s("mscope_params/cs_mm", &[2.7, 1.4]),
        f32s("mscope_params/total_dose_e_per_A2", &[50.0, 50.0]),
        u32s("mscope_params/exp_group_id", 1, &[4, 0]),
        u32s("mscope_params/neg_stain", 1, &[0, 1]),
        texts("movie_blob/path", &["J1/a.tif", "J1/b.tif"]),
        f32s("movie_blob/psize_A", &[0.65, 0.65]),
        f32s("ctf/amp_contrast", &[0.07, 0.1]),
        f32s("ctf/df1_A", &[12000.0, 0.0]),
        f32s("ctf/df2_A", &[11000.0, 0.0]),
        f32s("ctf/df_angle_rad", &[0.5, 0.0]),
        f32s("ctf/phase_shift_rad", &[1.0, 0.0]),
        f32s("ctf/ctf_fit_to_A", &[3.5, 0.0]),
        f32s("ctf/cross_corr_ctffind4", &[0.25, 0.0]),
        texts("rigid_motion/path", &["J2/a.npy", "J2/b.npy"]),
    ]
}

#[test]
fn every_field_of_an_exposure_means_what_the_rules_say() {
    let Imported { value: set, ignored, notes, .. } =
        import(&dataset(&theirs()), Fallback::default()).unwrap();
    let [first, second] = set.exposures.as_slice() else { panic!("{set:?}") };
    let micrograph = first.micrograph.as_ref().unwrap();
    assert_eq!((first.name.as_str(), micrograph.path.as_str()), ("a_doc", "beside/J2/a_doc.mrc"));
    assert_eq!((micrograph.width, micrograph.height, micrograph.pixel_size_a), (200, 100, 1.3));
    assert_eq!(micrograph.unweighted_path, "J2/a_rigid.mrc");
    let numbers: Vec<_> =
        set.optics.iter().map(|g| (g.number, g.voltage.0, g.cs.0, g.movie_pixel_size_a)).collect();
    assert_eq!(numbers, [(1, 200.0, 1.4, 0.65), (5, 300.0, 2.7, 0.65)]);
    let fit = first.ctf.as_ref().unwrap();
    assert_eq!(
        (fit.ctf.defocus_u_a, fit.ctf.defocus_v_a, fit.fit_resolution_a, fit.score),
        (12e3, 11e3, 3.5, 0.25)
    );
    assert!(
        (fit.ctf.astigmatism_angle.0 - 28.647889).abs() < 1e-6
            && (fit.ctf.phase_shift.0 - 57.295780).abs() < 1e-6
    );
    assert_eq!((fit.ctf.voltage.0, fit.ctf.amplitude_contrast), (300.0, 0.07));
    assert_eq!((&second.ctf, second.optics_group), (&None, 1));
    assert_eq!(ignored, ["mscope_params/total_dose_e_per_A2", "movie_blob/path", "rigid_motion/path"]);
    for expected in [
        "movies (movie_blob)",
        "whole-frame motion (rigid_motion)",
        "1 of 2 exposures are negatively stained",
    ] {
        assert!(notes.iter().any(|note| note.contains(expected)), "{expected}: {notes:?}");
    }
}

#[test]
fn exposures_that_cannot_be_imported_say_why() {
    let without = |part: &str| theirs().into_iter().filter(|f| !f.name.starts_with(part)).collect::<Vec<_>>();
    let with = |field: FieldOut| {
        let mut fields = without(field.name);
        fields.push(field);
        fields
    };
    for (fields, expected) in [
        (
            without("micrograph_blob"),
            "no field `micrograph_blob/path`, which is needed for finding the micrographs",
        ),
        (without("micrograph_blob/shape"), "no field `micrograph_blob/shape`"),
        (without("mscope_params/accel_kv"), "no field `mscope_params/accel_kv`"),
        (with(f32s("micrograph_blob/psize_A", &[1.3, 0.0])), "`micrograph_blob/psize_A` of record 1 is 0"),
        (with(u32s("mscope_params/exp_group_id", 1, &[0, 0])), "record 1 of exposure group 0 has"),
        (with(f32s("ctf/df1_A", &[f32::NAN, 0.0])), "`ctf/df1_A` of record 0 is NaN"),
        (with(f32s("ctf/amp_contrast", &[0.1, 1.0])), "record 1 has 200 kV and an amplitude contrast of 1"),
    ] {
        let error = import(&dataset(&fields), Fallback::default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("a.cs: ") && error.contains(expected), "{expected}: {error}");
    }
    // what the user gives stands in
    let given = Fallback { voltage_kv: Some(120.0), amplitude_contrast: Some(0.2), ..Fallback::default() };
    let mut fields = without("mscope_params/accel_kv");
    fields.retain(|field| field.name != "ctf/amp_contrast");
    let set = import(&dataset(&fields), given).unwrap().value;
    assert_eq!((set.optics[0].voltage.0, set.optics[0].amplitude_contrast), (120.0, 0.2));
    // sums without dose weights serve where there are no others
    let set = import(&dataset(&without("micrograph_blob/")), Fallback { pixel_size_a: Some(1.3), ..given })
        .unwrap();
    let micrograph = set.value.exposures[0].micrograph.clone().unwrap();
    assert_eq!((micrograph.path.as_str(), micrograph.unweighted_path.as_str()), ("J2/a_rigid.mrc", ""));
}

fn ours() -> ExposureSet {
    let optics = [(1, 300.0), (3, 200.0)].map(|(number, voltage)| OpticsGroup {
        number,
        name: format!("opticsGroup{number}"),
        voltage: Kilovolt(voltage),
        cs: Millimetre(2.7),
        amplitude_contrast: 0.07,
        movie_pixel_size_a: 1.06,
        aberrations: Default::default(),
    });
    let exposure = |index: usize| {
        let group = &optics[index % 2];
        let ctf = CtfParams {
            defocus_u_a: 12000.5 + index as f64,
            defocus_v_a: 11000.25,
            astigmatism_angle: Degrees(-30.0),
            phase_shift: Degrees(20.0),
            voltage: group.voltage,
            cs: group.cs,
            amplitude_contrast: group.amplitude_contrast,
            even: Default::default(),
        };
        Exposure {
            name: format!("m{index}"),
            optics_group: group.number,
            movie: None,
            micrograph: Some(MicrographSource {
                path: format!("J2/m{index}.mrc"),
                width: 4096,
                height: 5760,
                pixel_size_a: 1.06,
                unweighted_path: format!("J2/m{index}_all.mrc"),
                motion_star_path: String::new(),
            }),
            motion: None,
            ctf: Some(CtfFit::new(ctf, 3.25, 0.5)),
        }
    };
    ExposureSet { exposures: (0..3).map(exposure).collect(), optics: optics.to_vec() }
}

#[test]
fn exposures_there_and_back_are_the_same() {
    let set = ours();
    let same = |path: &str| path.to_string();
    let options = ExportOptions { exposures: None, paths: &same, mirrored: false };
    let exported = exposure_fields(Path::new("e.cs"), &set, &options).unwrap();
    assert_eq!(exported.results, ["micrograph_blob", "micrograph_blob_non_dw", "mscope_params", "ctf"]);
    assert_eq!(exported.left, Vec::<String>::new());
    let mut back = import(&dataset(&exported.fields), Fallback::default()).unwrap().value;
    // 32-bit floats of radians hold degrees to 1e-5
    for (found, put) in back.exposures.iter_mut().zip(&set.exposures) {
        let (found, put) = (&mut found.ctf.as_mut().unwrap().ctf, &put.ctf.as_ref().unwrap().ctf);
        assert!((found.astigmatism_angle.0 - put.astigmatism_angle.0).abs() < 1e-5);
        assert!((found.phase_shift.0 - put.phase_shift.0).abs() < 1e-5);
        (found.astigmatism_angle, found.phase_shift) = (put.astigmatism_angle, put.phase_shift);
    }
    assert_eq!(back, set);
}

#[test]
fn what_of_an_exposure_is_not_carried_is_said() {
    let mut set = ours();
    set.exposures[0].ctf.as_mut().unwrap().surface =
        DefocusSurface { gradient_x: 1e-3, ..Default::default() };
    set.exposures[0].motion = Some(MotionSummary { total_a: 3.0, early_a: 1.0, late_a: 2.0 });
    set.exposures[1].micrograph.as_mut().unwrap().unweighted_path.clear();
    set.exposures[2].micrograph = None;
    set.optics[0].name = "session".into();
    set.optics[0].movie_pixel_size_a = 0.53;
    let same = |path: &str| path.to_string();
    let options = ExportOptions { exposures: None, paths: &same, mirrored: false };
    let export = |set: &ExposureSet| exposure_fields(Path::new("e.cs"), set, &options);
    let left = export(&set).unwrap().left.join("; ");
    for expected in [
        "sums without dose weights: only 1 of 2",
        "of 1: exposures without a micrograph",
        "of 1: motion",
        "of 1: changes of defocus",
        "of 1: names of optics groups",
        "of 1: pixel sizes of movies",
    ] {
        assert!(left.contains(expected), "{expected}: {left}");
    }
    set.exposures[0].ctf = None;
    let exported = export(&set).unwrap();
    assert!(exported.left.join("; ").contains("CTFs: only 1 of 2"), "{:?}", exported.left);
    assert!(!exported.results.contains(&"ctf"));
    set.exposures[1].optics_group = 9;
    let error = export(&set).unwrap_err().to_string();
    assert!(error.contains("micrograph m1 is of optics group 9"), "{error}");
    set.exposures.clear();
    assert!(export(&set).unwrap_err().to_string().contains("there are no micrographs"));
}

#[test]
fn maps_are_found_by_their_slot() {
    let out = |slot, path: &str| VolumeOut { slot, path: path.into(), box_px: 64, pixel_size_a: 1.1 };
    let maps = [out(VolumeSlot::MAP, ">map.mrc"), out(VolumeSlot::HALF_B, ">half2.mrc")];
    let dataset = dataset(&volume_fields(&maps));
    assert_eq!(volume_of(&dataset, VolumeSlot::MAP).unwrap(), (">map.mrc".into(), Some(1.1)));
    assert_eq!(volume_of(&dataset, VolumeSlot::HALF_B).unwrap().0, ">half2.mrc");
    let error = volume_of(&dataset, VolumeSlot::SHARP).unwrap_err().to_string();
    assert!(error.contains("does not name a map `map_sharp`; it has map, map_half_B"), "{error}");
}
