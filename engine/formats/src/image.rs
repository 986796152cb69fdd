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

    /// Raw frames of the file that no frame here holds: those of an incomplete last group of an EER movie.
    fn dropped_raw_frames(&self) -> usize {
        0
    }

    /// Reads frame `frame` (from 0) into `out`, of shape `[height, width]`, x fastest, row 0 the first row of an MRC
    /// file (formats whose first row is the top are flipped, see [`vitreous_model::conventions`]).
    /// Works on the calling thread only.
    ///
    /// # Errors
    /// No such frame, a buffer that is not of [`ImageHeader::frame_len`], or a file that cannot be read or decoded.
    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError>;

    /// Reads a frame of whole numbers from 0 to 255 as bytes, in the order of [`FrameSource::read_frame_at`], and says
    /// whether it did: `false`, and nothing meant by what `out` then holds, where a pixel is none, or where the format
    /// would not gain by it (wider pixels). Counts of electrons need no floats.
    ///
    /// # Errors
    /// As [`FrameSource::read_frame_at`].
    fn read_bytes_at(&self, _frame: usize, _out: &mut [u8]) -> Result<bool, FormatError> {
        Ok(false)
    }

    /// The same as [`FrameSource::read_frame_at`], decoding the strips of a compressed frame on the current rayon pool where the format can: for callers
    /// that go through frames one by one.
    ///
    /// # Errors
    /// As [`FrameSource::read_frame_at`].
    fn read_frame_in_pool(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        self.read_frame_at(frame, out)
    }
}

/// How an EER movie is turned into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EerOptions {
    /// Pixels of a frame along an edge of a pixel of the sensor: 1, 2 or 4 (4096, 8192 or 16384 pixels an edge).
    pub upsampling: u32,
    /// Raw frames summed into one frame; those of an incomplete last group are dropped.
    pub frames_per_fraction: usize,
}

impl Default for EerOptions {
    /// The raw frames as they are, on the sensor's own grid.
    fn default() -> Self {
        Self { upsampling: 1, frames_per_fraction: 1 }
    }
}

/// What a movie's reader has to be told; formats take what concerns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MovieOptions {
    /// For EER movies.
    pub eer: EerOptions,
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

    /// Opens a movie as `options` say; most formats have no options.
    ///
    /// # Errors
    /// As [`ImageFormat::open`], and options that the file cannot serve.
    fn open_movie(&self, path: &Path, _options: &MovieOptions) -> Result<Box<dyn FrameSource>, FormatError> {
        self.open(path)
    }
}

/// The image formats, in the order in which they are tried.
pub static FORMATS: &[&dyn ImageFormat] =
    &[&crate::eer::Eer, &crate::tiff::Tiff, &crate::bzip2::Bzip2Mrc, &crate::mrc::Mrc];

/// How many bytes of a file a format sees to recognise it: an MRC header.
pub const HEAD_BYTES: usize = 1024;

/// Opens an image file of any format, going by its content; an EER movie as its raw frames on the sensor's grid.
///
/// # Errors
/// A file that cannot be read, is of no known format, or whose header is wrong.
pub fn open_image(path: &Path) -> Result<Box<dyn FrameSource>, FormatError> {
    open_movie(path, &MovieOptions::default())
}

/// Opens a movie of any format, going by its content, as `options` say.
///
/// # Errors
/// A file that cannot be read, is of no known format, whose header is wrong, or that cannot serve the options.
pub fn open_movie(path: &Path, options: &MovieOptions) -> Result<Box<dyn FrameSource>, FormatError> {
    let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(|e| FormatError::io(path, "read", e))?;
    match FORMATS.iter().find(|format| format.sniff(&head, path)) {
        Some(format) => format.open_movie(path, options),
        None => Err(FormatError::UnknownFormat {
            path: path.into(),
            found: hexadecimal(&head[..head.len().min(8)]),
            expected: FORMATS.iter().map(|format| format.name()).collect::<Vec<_>>().join(", "),
            advice: crate::mrc::unpacker(&head).map_or_else(
                || "check the path, or convert the file".into(),
                |program| format!("it is compressed: unpack it first ({program})"),
            ),
        }),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing (it is empty)".into();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// More pixels no frame of a compressed file has: the length of such a file bounds nothing. (The largest there are: EER
/// upsampled four times, 16384².)
const MAX_PACKED_PIXELS: usize = 1 << 30;

/// Refuses a compressed file whose frames would be absurdly large; its header stands at byte `offset`.
pub(crate) fn check_packed_size(path: &Path, header: &ImageHeader, offset: u64) -> Result<(), FormatError> {
    if header.frame_len() <= MAX_PACKED_PIXELS {
        return Ok(());
    }
    let found = format!("{} × {}", header.width, header.height);
    Err(FormatError::field(
        path,
        "size of a frame",
        offset,
        found,
        format!("at most {MAX_PACKED_PIXELS} pixels"),
    ))
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
