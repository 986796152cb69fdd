use super::*;
use proptest::prelude::*;
use std::path::Path;

const SMALL: &str = r#"<MicroscopeImage xmlns="a" xmlns:i="i"><SpatialScale><pixelSize><x><numericValue>1E-10</numericValue></x>
</pixelSize></SpatialScale><microscopeData><gun><AccelerationVoltage>200000</AccelerationVoltage></gun>
<optics><BeamShift xmlns:q="q"><q:_x>0.5</q:_x><q:_y>-1.5</q:_y></BeamShift></optics></microscopeData></MicroscopeImage>"#;

fn convert(text: &str) -> Result<vitreous_model::acquisition::Acquisition, EpuError> {
    convert::convert(Path::new("FoilHole_1.xml"), text)
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
}

#[test]
fn real_exposures_say_how_they_were_recorded() {
    #[allow(clippy::disallowed_methods)] // tests may read the environment
    let Ok(data) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let folder = Path::new(&data).join("meta/epu");
    let found =
        acquisition(&folder.join("FoilHole_5330585_Data_5338216_5338218_20200206_170645.xml")).unwrap();
    close(found.voltage_kv, 300.0);
    close(found.pixel_size_a, 0.87076783283901449);
    close(found.total_dose, 30.430622179514924);
    assert_eq!(
        (found.frames, found.image_width_px, found.magnification),
        (Some(22), Some(4096), Some(96000.0))
    );
    assert_eq!(found.beam_shift.unwrap().xy, [0.0079728318378329277, -0.018955374136567116]);
    let mut exposures = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let result = acquisition(&path);
        if path.to_string_lossy().ends_with("_Fractions.xml") {
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains("the root element is `Acquisition`, expected `MicroscopeImage`"),
                "{error}"
            );
        } else {
            assert!(result.unwrap().beam_shift.is_some(), "{}", path.display());
            exposures += 1;
        }
    }
    assert_eq!(exposures, 6);
}

#[test]
fn prefixes_do_not_matter_and_what_is_absent_is_not_known() {
    let found = convert(SMALL).unwrap();
    close(found.voltage_kv, 200.0);
    close(found.pixel_size_a, 1.0);
    assert_eq!(found.beam_shift.unwrap().xy, [0.5, -1.5]);
    assert_eq!((found.total_dose, found.frames, found.magnification), (None, None, None));
    let nil = SMALL.replace(">200000<", "><").replace(">1E-10<", ">0<");
    let found = convert(&format!("\u{feff}{nil}")).unwrap();
    assert_eq!((found.voltage_kv, found.pixel_size_a), (None, None));
}

#[test]
fn errors_name_line_and_element() {
    for (text, expected) in [
        (SMALL.replace("200000", "high"), "line 2: microscopeData/gun/AccelerationVoltage is `high`"),
        (SMALL.replace("200000", "-5"), "expected a number of 0 or more"),
        (SMALL.replace("1E-10", "1E+300"), "numericValue is `1E+300`, expected a number of a sensible size"),
        (SMALL.replace("1E-10", "1E-320"), "expected a number of a sensible size"),
        (SMALL.replace("</optics>", ""), "FoilHole_1.xml line 3: no XML"),
        (format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{SMALL}"), "no XML"),
        (String::new(), "no XML"),
    ] {
        let error = convert(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.xml");
    std::fs::File::create(&path).unwrap().set_len(convert::LIMIT + 1).unwrap();
    assert!(acquisition(&path).unwrap_err().to_string().contains("more than 4194304 bytes"));
}

proptest! {
    #[test]
    fn a_cut_or_changed_file_is_no_panic(at in 0..SMALL.len(), byte in 0u8..128, cut in any::<bool>()) {
        let mut text = SMALL.as_bytes().to_vec();
        if cut { text.truncate(at) } else { text[at] = byte }
        let _ = convert(&String::from_utf8_lossy(&text));
    }
}
