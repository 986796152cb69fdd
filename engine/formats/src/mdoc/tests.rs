use super::*;
use crate::gain::orient;
use ndarray::Array2;
use proptest::prelude::*;
use std::path::Path;
use vitreous_model::acquisition::{Acquisition, ShiftUnit};
use vitreous_model::exposure::GainFlip;

fn convert(text: &str) -> Result<Acquisition, MdocError> {
    acquisition(&Mdoc::parse(Path::new("m.tif.mdoc"), text)?)
}

fn real(name: &str) -> Option<Mdoc> {
    #[allow(clippy::disallowed_methods)] // tests may read the environment
    let Ok(data) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return None;
    };
    Some(Mdoc::read(&Path::new(&data).join("meta").join(name)).unwrap())
}

#[test]
fn a_real_movie_says_how_it_was_recorded() {
    let Some(mdoc) = real("mdoc/frame_set_single.mdoc") else { return };
    let found = acquisition(&mdoc).unwrap();
    assert_eq!(found.voltage_kv, Some(300.0));
    assert_eq!((found.pixel_size_a, found.magnification), (Some(1.2827), Some(33000.0)));
    assert_eq!(
        (found.frames, found.dose_per_frame, found.total_dose),
        (Some(12), Some(0.63824), Some(7.65892))
    );
    let shift = found.beam_shift.unwrap();
    assert_eq!((shift.xy, shift.unit), ([2.69654, -0.304661], ShiftUnit::Micrometre));
    assert_eq!(found.gain_name.as_deref(), Some("SuperRef_s_mmm_00000_-15.0_Oct08_01.59.24.dm4"));
    assert_eq!((found.gain_orientation, found.defects_name), (None, None));
}

#[test]
fn real_files_of_other_kinds_are_read_and_refused_as_movies() {
    let Some(several) = real("mdoc/frame_set_multiple.mdoc") else { return };
    assert_eq!(acquisition(&several).unwrap().frames, Some(243));
    assert!(several.sections.len() > 2);
    for (name, sections, refusal) in [
        ("mdoc/tilt_series.mdoc", 41, "sections [ZValue = …]"),
        ("mdoc/montage_section.mdoc", 63, "no section [FrameSet = 0]"),
        ("tomo_preprocessing/mdoc_TS_01.mrc.mdoc", 41, "sections [ZValue = …]"),
    ] {
        let mdoc = real(name).unwrap();
        assert_eq!(mdoc.sections.len(), sections, "{name}");
        let error = acquisition(&mdoc).unwrap_err().to_string();
        assert!(error.contains(refusal), "{error}");
    }
}

#[test]
fn zero_means_that_the_microscope_does_not_know() {
    let found = convert("[FrameSet = 0]\nExposureDose = 0\nFrameDosesAndNumber = 0 7  0 3\n").unwrap();
    assert_eq!((found.total_dose, found.dose_per_frame), (None, None));
    let found = convert("[FrameSet = 0]\nFrameDosesAndNumber = 0.5 7  1.5 3\n").unwrap();
    assert_eq!((found.total_dose, found.dose_per_frame), (Some(8.0), None), "frames differ");
}

#[test]
fn names_of_files_come_without_the_folders_of_the_camera_computer() {
    let found =
        convert("[FrameSet = 0]\nGainReference = X:\\a b\\gain.mrc\nDefectFile = /d/defects.txt").unwrap();
    assert_eq!(found.gain_name.as_deref(), Some("gain.mrc"));
    assert_eq!(found.defects_name.as_deref(), Some("defects.txt"));
}

#[test]
fn rotation_and_flip_is_a_mirror_before_turns() {
    let image = Array2::from_shape_fn((3, 2), |(y, x)| (10 * y + x) as f32);
    for code in 0..8u32 {
        let text = format!("[FrameSet = 0]\nRotationAndFlip = {code}");
        let (turns, flip) = convert(&text).unwrap().gain_orientation.unwrap();
        let first = if code >= 4 { GainFlip::X } else { GainFlip::None };
        let expected = orient(orient(image.clone(), 0, first), code % 4, GainFlip::None);
        assert_eq!(orient(image.clone(), turns, flip), expected, "{code}");
    }
}

#[test]
fn errors_name_line_key_and_value() {
    for (text, expected) in [
        ("T = title\n[FrameSet = 0\n", "m.tif.mdoc line 2: found `[FrameSet = 0`, expected a section head"),
        ("Voltage 300", "m.tif.mdoc line 1: found `Voltage 300`, expected key = value"),
        (
            "[FrameSet = 0]\nPixelSpacing = wide",
            "m.tif.mdoc line 2: PixelSpacing is `wide`, expected a number",
        ),
        ("[FrameSet = 0]\nPixelSpacing = -1", "line 2: PixelSpacing is `-1`"),
        ("[FrameSet = 0]\nVoltage = NaN", "line 2: Voltage is `NaN`"),
        ("[FrameSet = 0]\n\nImageShift = 1", "line 3: ImageShift is `1`, expected two numbers"),
        ("[FrameSet = 0]\nFrameDosesAndNumber = 1 2 3", "expected pairs of a dose and a number of frames"),
        (
            "[FrameSet = 0]\nFrameDosesAndNumber = 1 7 1 -3",
            "FrameDosesAndNumber is `1 7 1 -3`, expected pairs",
        ),
        ("[FrameSet = 0]\nFrameDosesAndNumber = 1e200 1e200", "expected pairs of a dose"),
        ("[FrameSet = 0]\nRotationAndFlip = 8", "RotationAndFlip is `8`, expected 0 to 7"),
        ("Voltage = 300", "it has no sections and no section [FrameSet = 0]"),
    ] {
        let error = convert(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.mdoc");
    std::fs::File::create(&path).unwrap().set_len(reader::LIMIT + 1).unwrap();
    assert!(Mdoc::read(&path).unwrap_err().to_string().contains("expected at most 4194304"));
    assert!(Mdoc::read(&dir.path().join("none.mdoc")).unwrap_err().to_string().contains("cannot read"));
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in "(\\[?(FrameSet|ImageShift|T|NumSubFrames)? ?=? ?[-0-9.e ]{0,9}\\]?\n?){0,12}\\PC{0,20}") {
        let _ = convert(&text);
    }
}
