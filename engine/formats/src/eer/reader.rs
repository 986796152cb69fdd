//! Reads frames of an EER movie, each on its own, from any number of threads.

use super::convert::{COMPRESSION, Compression, RUN_BITS, Words, X_BITS, Y_BITS};
use super::electrons::{BadFrame, Decoder, Electron, MAX_PIXELS, MAX_RUN_BITS, MAX_SYMBOL_BITS};
use crate::error::FormatError;
use crate::image::{EerOptions, FrameSource, ImageHeader, check_request};
use crate::samples::SampleType;
use crate::tiff::directory::{Container, Directory};
use rayon::prelude::*;
use std::path::Path;

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const STRIP_OFFSETS: u16 = 273;
const STRIP_BYTES: u16 = 279;
/// Edges of the sensors there are, pixels.
const SENSORS: [u64; 2] = [2048, 4096];
/// Rows of the sensor that a thread sums at a time: 256 KiB of floats of a Falcon frame that is not upsampled.
const BAND_ROWS: usize = 16;
/// Raw frames whose packed bytes or electrons are held at a time.
const FRAMES_AT_A_TIME: usize = 32;

/// Whether the file at `path` is a TIFF whose first page is a raw frame of EER.
pub fn begins_with_raw_frame(path: &Path) -> bool {
    let Ok(file) = Container::open(path) else { return false };
    let first = file.directories().next().and_then(Result::ok);
    first.is_some_and(|first| matches!(compression(&file, &first), Ok(Some(_))))
}

/// The compression of a page if it is a raw frame.
fn compression(file: &Container, directory: &Directory) -> Result<Option<Compression>, FormatError> {
    Ok(file.integer(directory, COMPRESSION)?.and_then(Compression::from_code))
}

/// A page that holds a raw frame.
#[derive(Debug, Clone)]
struct RawFrame {
    /// Where its directory starts.
    directory: u64,
    /// Number of the page in the file, from 0.
    page: usize,
    /// How its bits are read.
    words: Words,
}

/// The data of a raw frame.
struct Packed {
    bytes: Vec<u8>,
    /// Where they lie: offset and length of each strip, bytes.
    extents: Vec<(u64, u64)>,
}

/// An open EER movie.
#[derive(Debug)]
pub struct EerReader {
    file: Container,
    image: ImageHeader,
    options: EerOptions,
    /// Edge of the sensor, pixels.
    edge: usize,
    raw: Vec<RawFrame>,
}

impl EerReader {
    /// Opens a movie and goes through its directories. The data of the first and last raw frame are held against the
    /// length of the file; those in between when they are read.
    ///
    /// # Errors
    /// A file that cannot be read or is cut off, raw frames of several sizes, an upsampling other than 1, 2 or 4 or finer
    /// than the file, fractions of no frames or of more than there are.
    pub fn open(path: &Path, options: EerOptions) -> Result<Self, FormatError> {
        let file = Container::open(path)?;
        let (mut raw, mut edge) = (Vec::new(), None);
        for (page, directory) in file.directories().enumerate() {
            let directory = directory?;
            let Some(compression) = compression(&file, &directory)? else { continue };
            let tags = Tags { file: &file, directory: &directory, page };
            let found = tags.edge(edge)?;
            edge = Some(found);
            raw.push(RawFrame { directory: directory.offset, page, words: tags.words(compression)? });
        }
        let Some(edge) = edge else {
            return Err(FormatError::field(
                path,
                "pages",
                4,
                "no raw frame",
                "at least one of compression 65000 to 65002",
            ));
        };
        check_options(path, options, &raw)?;
        let pixels = edge as usize * options.upsampling as usize;
        let image = ImageHeader {
            width: pixels,
            height: pixels,
            frames: raw.len() / options.frames_per_fraction,
            sample: SampleType::Uint16,
            pixel_size_a: None,
        };
        let reader = Self { file, image, options, edge: edge as usize, raw };
        reader.extents(&reader.raw[0])?;
        reader.extents(&reader.raw[reader.raw.len() - 1])?;
        if reader.dropped_raw_frames() > 0 {
            log::info!(
                "{}: {} raw frames in fractions of {} leave {} at the end unused",
                path.display(),
                reader.raw.len(),
                options.frames_per_fraction,
                reader.dropped_raw_frames()
            );
        }
        Ok(reader)
    }

    /// Raw frames in the file.
    pub fn raw_frames(&self) -> usize {
        self.raw.len()
    }

    /// Where the data of a raw frame lie: offset and length of each strip, bytes.
    fn extents(&self, raw: &RawFrame) -> Result<Vec<(u64, u64)>, FormatError> {
        let directory = self.file.directory(raw.directory)?;
        let tags = Tags { file: &self.file, directory: &directory, page: raw.page };
        let (offsets, bytes) =
            (tags.table(STRIP_OFFSETS, "offsets")?, tags.table(STRIP_BYTES, "byte counts")?);
        if offsets.len() != bytes.len() || offsets.is_empty() {
            let expected = format!("{} values, as there are offsets", offsets.len().max(1));
            return Err(tags.error(
                STRIP_BYTES,
                "byte counts of strips",
                format!("{} values", bytes.len()),
                &expected,
            ));
        }
        let extents: Vec<(u64, u64)> = offsets.into_iter().zip(bytes).collect();
        let mut total = 0u64;
        for &(offset, length) in &extents {
            self.file.check_extent(offset, length, || format!("raw frame of page {}", raw.page))?;
            total = total.saturating_add(length);
        }
        // strips may overlap in a file made to harm: a frame is never longer than the file
        self.file.check_extent(0, total, || format!("raw frame of page {} (all its strips)", raw.page))?;
        Ok(extents)
    }

    /// The packed bytes of a raw frame.
    fn packed(&self, raw: &RawFrame) -> Result<Packed, FormatError> {
        let extents = self.extents(raw)?;
        let mut bytes = vec![0; extents.iter().map(|(_, length)| *length as usize).sum()];
        let mut rest = &mut bytes[..];
        for &(offset, length) in &extents {
            let (strip, after) = rest.split_at_mut(length as usize);
            self.file.read(offset, strip, || format!("raw frame of page {}", raw.page))?;
            rest = after;
        }
        Ok(Packed { bytes, extents })
    }

    /// All electrons of a raw frame.
    fn electrons(&self, raw: &RawFrame) -> Result<Vec<Electron>, FormatError> {
        let packed = self.packed(raw)?;
        let pixels = self.edge * self.edge;
        let mut electrons = Vec::new();
        Decoder::new(raw.words, &packed.bytes, pixels)
            .until(pixels, |pixel, symbol| electrons.push(Electron::new(pixel, symbol)))
            .map_err(|bad| self.corrupt(raw, &packed.extents, bad))?;
        Ok(electrons)
    }

    fn corrupt(&self, raw: &RawFrame, extents: &[(u64, u64)], bad: BadFrame) -> FormatError {
        let mut byte = bad.byte as u64;
        let mut place = (0, extents[0].0);
        for (chunk, &(offset, length)) in extents.iter().enumerate() {
            place = (chunk, offset + byte.min(length));
            if byte <= length {
                break;
            }
            byte -= length;
        }
        let (path, page) = (self.file.path().into(), raw.page);
        let why = format!("{} (a raw frame of {} × {} pixels)", bad.why, self.edge, self.edge);
        FormatError::Corrupt { path, page, chunk: place.0, offset: place.1, why }
    }

    /// The raw frames of a frame.
    fn group(&self, frame: usize) -> &[RawFrame] {
        let length = self.options.frames_per_fraction;
        &self.raw[frame * length..(frame + 1) * length]
    }

    /// Where electrons of a raw frame belong in whole rows of a frame, of which the first belongs to the first pixel of
    /// row `first_row` of the sensor.
    fn places(&self, words: Words, first_row: usize) -> impl Fn(usize, u32) -> usize {
        let upsampling = self.options.upsampling as usize;
        let (edge, first, width) = (self.edge, first_row * self.edge, self.image.width);
        move |pixel, symbol| {
            let pixel = pixel - first;
            if upsampling == 1 {
                return pixel;
            }
            let (x, y) = words.place(symbol, upsampling as u32);
            (pixel / edge * upsampling + y) * width + pixel % edge * upsampling + x
        }
    }

    /// Values of [`BAND_ROWS`] rows of the sensor.
    fn band_len(&self) -> usize {
        BAND_ROWS * self.options.upsampling as usize * self.image.width
    }

    /// Sums a frame band by band, all raw frames in each, and says whether all counts could be held. Nothing but packed
    /// bytes is kept, and a band stays in the cache while it is summed.
    fn sum<C: Count>(&self, frame: usize, out: &mut [C]) -> Result<bool, FormatError> {
        let pixels = self.edge * self.edge;
        let mut held = true;
        for (turn, group) in self.group(frame).chunks(FRAMES_AT_A_TIME).enumerate() {
            let packed: Vec<Packed> = group.iter().map(|raw| self.packed(raw)).collect::<Result<_, _>>()?;
            let with_data = group.iter().zip(&packed);
            let mut decoders: Vec<Decoder<'_>> =
                with_data.map(|(raw, packed)| Decoder::new(raw.words, &packed.bytes, pixels)).collect();
            let mut bad = None;
            for (band, rows) in out.chunks_mut(self.band_len()).enumerate() {
                if turn == 0 {
                    rows.fill(C::default());
                }
                let end = (band + 1) * BAND_ROWS * self.edge;
                for (index, decoder) in decoders.iter_mut().enumerate() {
                    let place = self.places(group[index].words, band * BAND_ROWS);
                    let added =
                        decoder.until(end, |pixel, symbol| held &= rows[place(pixel, symbol)].add_one());
                    bad = bad.or(added.err().map(|error| (index, error)));
                }
            }
            if let Some((index, error)) = bad {
                return Err(self.corrupt(&group[index], &packed[index].extents, error));
            }
        }
        Ok(held)
    }

    /// The same with all threads of the pool: raw frames are decoded in parallel, then bands summed in parallel. Counts,
    /// so that any order gives the same sums.
    fn sum_in_pool<C: Count>(&self, frame: usize, out: &mut [C]) -> Result<bool, FormatError> {
        let mut held = true;
        for (turn, group) in self.group(frame).chunks(FRAMES_AT_A_TIME).enumerate() {
            // the first error in the order of the file, whatever was decoded first
            let decoded: Vec<Result<Vec<Electron>, FormatError>> =
                group.par_iter().map(|raw| self.electrons(raw)).collect();
            let decoded: Vec<Vec<Electron>> = decoded.into_iter().collect::<Result<_, _>>()?;
            let bands = out.par_chunks_mut(self.band_len()).enumerate();
            let all_held = bands.map(|(band, rows)| {
                if turn == 0 {
                    rows.fill(C::default());
                }
                let first_row = band * BAND_ROWS;
                let before = |row: usize| move |electron: &Electron| electron.pixel() < row * self.edge;
                let mut held = true;
                for (electrons, raw) in decoded.iter().zip(group) {
                    let place = self.places(raw.words, first_row);
                    let from = electrons.partition_point(before(first_row));
                    let to = electrons.partition_point(before(first_row + BAND_ROWS));
                    for electron in &electrons[from..to] {
                        held &= rows[place(electron.pixel(), electron.symbol())].add_one();
                    }
                }
                held
            });
            held &= all_held.reduce(|| true, |a, b| a && b);
        }
        Ok(held)
    }
}

/// A number of electrons.
trait Count: Copy + Default + Send {
    /// One more, and whether it is still right.
    fn add_one(&mut self) -> bool;
}

impl Count for f32 {
    fn add_one(&mut self) -> bool {
        *self += 1.0;
        true
    }
}

impl Count for u8 {
    fn add_one(&mut self) -> bool {
        *self = self.wrapping_add(1);
        *self != 0
    }
}

impl FrameSource for EerReader {
    fn header(&self) -> &ImageHeader {
        &self.image
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn dropped_raw_frames(&self) -> usize {
        self.raw.len() % self.options.frames_per_fraction
    }

    fn read_frame_at(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        check_request(self.path(), &self.image, frame, out.len())?;
        self.sum(frame, out).map(|_| ())
    }

    fn read_bytes_at(&self, frame: usize, out: &mut [u8]) -> Result<bool, FormatError> {
        check_request(self.path(), &self.image, frame, out.len())?;
        self.sum(frame, out)
    }

    fn read_frame_in_pool(&self, frame: usize, out: &mut [f32]) -> Result<(), FormatError> {
        check_request(self.path(), &self.image, frame, out.len())?;
        let summed = match rayon::current_num_threads() {
            1 => self.sum(frame, out),
            _ => self.sum_in_pool(frame, out),
        };
        summed.map(|_| ())
    }
}

fn check_options(path: &Path, options: EerOptions, raw: &[RawFrame]) -> Result<(), FormatError> {
    let refuse = |option, found: String, expected: String| {
        Err(FormatError::Option { path: path.into(), option, found, expected })
    };
    let finest = raw.iter().map(|raw| raw.words.finest_upsampling()).min().unwrap_or(1);
    if ![1, 2, 4].contains(&options.upsampling) || options.upsampling > finest {
        let expected = match finest {
            1 => "1: the file does not say where in a pixel electrons hit".into(),
            2 => "1 or 2: the file has one bit of place in a pixel along an edge".into(),
            _ => "1, 2 or 4".to_string(),
        };
        return refuse("EER upsampling", options.upsampling.to_string(), expected);
    }
    if !(1..=raw.len()).contains(&options.frames_per_fraction) {
        let expected = format!("1 to {}, the raw frames there are", raw.len());
        return refuse("EER raw frames a fraction", options.frames_per_fraction.to_string(), expected);
    }
    Ok(())
}

/// The tags of one page, with errors that name it.
struct Tags<'a> {
    file: &'a Container,
    directory: &'a Directory,
    page: usize,
}

impl Tags<'_> {
    fn error(&self, tag: u16, name: &str, found: impl std::fmt::Display, expected: &str) -> FormatError {
        let offset = self.directory.entry(tag).map_or(self.directory.offset, |entry| entry.offset);
        let field = format!("page {}, tag {tag} ({name})", self.page);
        FormatError::field(self.file.path(), field, offset, found, expected)
    }

    fn integer(&self, tag: u16, name: &str, expected: &str) -> Result<u64, FormatError> {
        let value = self.file.integer(self.directory, tag)?;
        value.ok_or_else(|| self.error(tag, name, "missing", expected))
    }

    /// The edge of the sensor: both edges are that of `before`, if given, and one that there is.
    fn edge(&self, before: Option<u64>) -> Result<u64, FormatError> {
        const EXPECTED: &str =
            "2048 or 4096, the sensors there are, the same along both edges and in all pages";
        for (tag, name) in [(WIDTH, "ImageWidth"), (HEIGHT, "ImageLength")] {
            let found = self.integer(tag, name, EXPECTED)?;
            let alike = before.is_none_or(|before| before == found);
            if !SENSORS.contains(&found) || !alike {
                return Err(self.error(tag, name, found, EXPECTED));
            }
        }
        let (width, height) =
            (self.integer(WIDTH, "ImageWidth", EXPECTED)?, self.integer(HEIGHT, "ImageLength", EXPECTED)?);
        debug_assert!(width * width <= MAX_PIXELS as u64);
        if width != height {
            return Err(self.error(HEIGHT, "ImageLength", height, EXPECTED));
        }
        Ok(width)
    }

    fn words(&self, compression: Compression) -> Result<Words, FormatError> {
        const MAX_PLACE_BITS: u64 = MAX_SYMBOL_BITS as u64 / 2;
        if let Compression::Fixed(words) = compression {
            return Ok(words);
        }
        let width = |tag, name, low, high| {
            let expected = format!("{low} to {high} bits");
            match self.integer(tag, name, &expected)? {
                bits if (low..=high).contains(&bits) => Ok(bits as u32),
                bits => Err(self.error(tag, name, bits, &expected)),
            }
        };
        Ok(Words {
            run_bits: width(RUN_BITS, "bits of a run", 1, u64::from(MAX_RUN_BITS))?,
            x_bits: width(X_BITS, "bits of the place along x", 0, MAX_PLACE_BITS)?,
            y_bits: width(Y_BITS, "bits of the place along y", 0, MAX_PLACE_BITS)?,
            symbol_after_full_run: false,
        })
    }

    fn table(&self, tag: u16, name: &str) -> Result<Vec<u64>, FormatError> {
        let entry = self.directory.entry(tag);
        let entry = entry.ok_or_else(|| self.error(tag, name, "missing", "at least one value"))?;
        self.file.integers(entry)
    }
}
