use super::*;
use crate::mrc::{MrcSpec, MrcWriter};
use crate::samples::SampleType;
use crate::tiff::{TiffSpec, TiffWriter};
use ndarray::array;

fn mrc(width: usize, height: usize, values: &[f32]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".mrc").tempfile().unwrap();
    let mut writer = MrcWriter::create(file.path(), MrcSpec::images(width, height, 1.0)).unwrap();
    values.chunks(width * height).for_each(|image| writer.append(image).unwrap());
    writer.finish().unwrap();
    file
}

#[test]
fn a_quarter_turn_takes_the_right_end_to_the_top() {
    // seen with row 0 at the bottom: 4 5 6 over 1 2 3; turned counter-clockwise: 6 3 / 5 2 / 4 1 from the top
    let image = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let turned = array![[4.0, 1.0], [5.0, 2.0], [6.0, 3.0]];
    assert_eq!(orient(image.clone(), 1, GainFlip::None), turned);
    assert_eq!(orient(image.clone(), 2, GainFlip::None), array![[6.0, 5.0, 4.0], [3.0, 2.0, 1.0]]);
    assert_eq!(orient(image.clone(), 4, GainFlip::None), image);
    assert_eq!(orient(turned, 3, GainFlip::None), image);
}

#[test]
fn mirrors_come_after_turns() {
    let image = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    assert_eq!(orient(image.clone(), 0, GainFlip::X), array![[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]]);
    assert_eq!(orient(image.clone(), 0, GainFlip::Y), array![[4.0, 5.0, 6.0], [1.0, 2.0, 3.0]]);
    assert_eq!(orient(image, 1, GainFlip::X), array![[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]);
}

#[test]
fn pixels_that_are_not_positive_are_defects() {
    // NaN cannot be written as MRC here: poke it into the file
    let file = mrc(3, 2, &[1.0, 0.0, 1.1, 0.9, -2.0, 1.0]);
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes[1024..1028].copy_from_slice(&f32::NAN.to_le_bytes());
    #[allow(clippy::disallowed_methods)] // a test's own temporary file
    std::fs::write(file.path(), bytes).unwrap();
    let gain = read_gain(file.path(), 0, GainFlip::None, 3, 2).unwrap();
    assert_eq!(gain.defects, [0, 1, 4]);
    assert_eq!(gain.factor, array![[0.0, 0.0, 1.1], [0.9, 0.0, 1.0]]);
}

#[test]
fn tiff_and_mrc_give_the_same_gain() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let file = tempfile::Builder::new().suffix(".tif").tempfile().unwrap();
    let mut writer =
        TiffWriter::create(file.path(), TiffSpec::movie(3, 2, 1, SampleType::Float32, 1.0)).unwrap();
    writer.append(&values).unwrap();
    writer.finish().unwrap();
    let from_mrc = read_gain(mrc(3, 2, &values).path(), 1, GainFlip::Y, 2, 3).unwrap();
    assert_eq!(read_gain(file.path(), 1, GainFlip::Y, 2, 3).unwrap(), from_mrc);
}

#[test]
fn wrong_sizes_name_both_and_say_what_to_do() {
    let file = mrc(3, 2, &[1.0; 6]);
    let message = |turns, width, height| {
        read_gain(file.path(), turns, GainFlip::None, width, height).unwrap_err().to_string()
    };
    assert!(
        message(0, 2, 3)
            .contains("it is 3 × 2 after 0 quarter turn(s), the frames are 2 × 3; turned by a quarter")
    );
    assert!(
        message(1, 3, 2)
            .contains("it is 2 × 3 after 1 quarter turn(s), the frames are 3 × 2; turned by a quarter")
    );
    assert!(message(0, 6, 4).contains("super-resolution"));
    assert!(message(0, 7, 4).contains("of this camera"));
}

#[test]
fn what_is_no_gain_is_refused() {
    let stack = mrc(1, 1, &[1.0, 1.0]);
    let error = read_gain(stack.path(), 0, GainFlip::None, 1, 1).unwrap_err();
    assert!(matches!(error, GainError::NotOneImage { frames: 2, .. }));
    let dark = mrc(2, 1, &[0.0, -1.0]);
    let error = read_gain(dark.path(), 0, GainFlip::None, 2, 1).unwrap_err();
    assert!(matches!(error, GainError::NothingPositive { .. }));
}
