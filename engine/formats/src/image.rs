//! Images and stacks of images: what every image format offers, and the list of formats.

use crate::error::FormatError;
use crate::samples::SampleType;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What is known of an image file before its pixels are read.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageHeader {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Frames of a movie, images of a stack, sections of a volume; 1 for a single image.
    pub frames: usize,
    /// How a pixel is stored.
    pub sample: SampleType,
    /// Pixel size in Å as the file says; `None` if it does not say or what it says is absurd. Many programs write 1
    /// when they do not know.
    pub pixel_size_a: Option<f64>,
}

impl ImageHeader {
    /// Pixels of a frame.
    pub fn frame_len(&self) -> usize {
        self.width * self.height
    }
}

/// A file of equally sized frames that any number of threads may read at once.
///
/// There is one reading trait, without `&mut self`: every read is a positioned read of its own, so several threads can
/// decode different frames of one movie, and nothing but the caller's buffers (and a strip of bytes per thread) is held.
pub trait FrameSource: Send + Sync {
    /// Size, number of frames, sample type, pixel size.
    fn header(&self) -> &ImageHeader;

    /// The file, for messages.
    fn path(&self) -> &Path;

    /// Reads frame `frame` (from 0) into `out`, of shape `[height, width]`, x fastest, row 0 the first row of an MRC
    /// file (formats whose first row is the top are flipped, see [`vitreous_model::conventions`]).
    /// Works on the calling thread only.
    ///
    /// # Errors
    /// No such frame, a buffer that is not of [`ImageHeader::frame_len`], or a file that cannot be read or decoded.
    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError>;

    /// The same, decoding the strips of a compressed frame on the current rayon pool where the format can: for callers
    /// that go through frames one by one.
    ///
    /// # Errors
    /// As [`FrameSource::read_frame_at`].
    fn read_frame_in_pool(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        self.read_frame_at(frame, out)
    }
}

/// A format that holds images.
pub trait ImageFormat: Sync {
    /// Its name for people.
    fn name(&self) -> &'static str;

    /// Whether a file that begins with `head` (up to [`HEAD_BYTES`]) looks like one of this format.
    fn sniff(&self, head: &[u8], path: &Path) -> bool;

    /// Opens a file and checks its header against its length.
    ///
    /// # Errors
    /// A file that cannot be read, or whose header is wrong.
    fn open(&self, path: &Path) -> Result<Box<dyn FrameSource>, FormatError>;
}

/// The image formats, in the order in which they are tried.
pub static FORMATS: &[&dyn ImageFormat] = &[&crate::tiff::Tiff, &crate::mrc::Mrc];

/// How many bytes of a file a format sees to recognise it: an MRC header.
pub const HEAD_BYTES: usize = 1024;

/// Opens an image file of any format, going by its content.
///
/// # Errors
/// A file that cannot be read, is of no known format, or whose header is wrong.
pub fn open_image(path: &Path) -> Result<Box<dyn FrameSource>, FormatError> {
    let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(|e| FormatError::io(path, "read", e))?;
    match FORMATS.iter().find(|format| format.sniff(&head, path)) {
        Some(format) => format.open(path),
        None => Err(FormatError::UnknownFormat {
            path: path.into(),
            found: hexadecimal(&head[..head.len().min(8)]),
            expected: FORMATS.iter().map(|format| format.name()).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing (it is empty)".into();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Refuses a frame that is not there or a buffer of the wrong length.
pub(crate) fn check_request(
    path: &Path,
    header: &ImageHeader,
    frame: usize,
    buffer: usize,
) -> Result<(), FormatError> {
    if frame >= header.frames {
        return Err(FormatError::NoSuchFrame { path: path.into(), frame, frames: header.frames });
    }
    if buffer != header.frame_len() {
        let expected = header.frame_len();
        return Err(FormatError::WrongLength {
            path: path.into(),
            what: "frame buffer",
            found: buffer,
            expected,
        });
    }
    Ok(())
}

/// Refuses NaN and infinity. `values` has shape `[sections, height, width]`, x fastest; the error names the first bad
/// one and how many there are.
///
/// # Errors
/// A value that is not finite.
pub fn check_finite(path: &Path, values: &[f32], width: usize, height: usize) -> Result<(), FormatError> {
    let Some(first) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let count = values[first..].iter().filter(|v| !v.is_finite()).count();
    let (width, height) = (width.max(1), height.max(1));
    let (row, x) = (first / width, first % width);
    Err(FormatError::NotFinite {
        path: path.into(),
        x,
        y: row % height,
        z: row / height,
        value: values[first],
        count,
    })
}
