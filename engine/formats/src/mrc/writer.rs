//! Writes MRC files section by section; the header, with size and statistics, is put in place at the end.

use super::header::{HEADER_BYTES, MrcHeader};
use super::volume::Moments;
use crate::error::FormatError;
use crate::image::check_finite;
use crate::samples::{ByteOrder, SampleType, decode, encode};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the sections of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MrcKind {
    /// One image or a stack of images: ISPG 0, MZ 1.
    Images,
    /// Slices of a density map: ISPG 1, MZ = NZ.
    Volume,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MrcSpec {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// What the sections are.
    pub kind: MrcKind,
    /// Sample type on disk: Int8, Int16, Uint16, Float16 or Float32.
    pub sample: SampleType,
    /// Pixel (and voxel) edge, Å.
    pub pixel_size_a: f64,
}

impl MrcSpec {
    /// Images of `f32`.
    pub fn images(width: usize, height: usize, pixel_size_a: f64) -> Self {
        Self { width, height, kind: MrcKind::Images, sample: SampleType::Float32, pixel_size_a }
    }

    /// The same with another sample type.
    pub fn sample(self, sample: SampleType) -> Self {
        Self { sample, ..self }
    }
}

/// Writes section after section.
#[derive(Debug)]
pub struct MrcWriter<W: Write + Seek> {
    out: W,
    path: PathBuf,
    spec: MrcSpec,
    sections: usize,
    moments: Moments,
    raw: Vec<u8>,
    stored: Vec<f32>,
}

impl MrcWriter<BufWriter<File>> {
    /// Creates `path`, replacing what is there.
    ///
    /// # Errors
    /// A file that cannot be created, or a sample type MRC cannot hold.
    pub fn create(path: &Path, spec: MrcSpec) -> Result<Self, FormatError> {
        let file = File::create(path).map_err(|e| FormatError::io(path, "create", e))?;
        Self::new(BufWriter::new(file), path, spec)
    }
}

impl<W: Write + Seek> MrcWriter<W> {
    /// Begins a file in `out`, which stands at its start and which `path` names in messages.
    ///
    /// # Errors
    /// A file that cannot be written, or a sample type MRC cannot hold.
    pub fn new(mut out: W, path: &Path, spec: MrcSpec) -> Result<Self, FormatError> {
        // rows of four-bit pixels that end within a byte are stored differently by different programs
        let unclear = spec.sample == SampleType::Uint4 && spec.width % 2 == 1;
        if spec.sample == SampleType::Uint8 || unclear {
            return Err(FormatError::field(
                path,
                "sample type to write",
                4 * 3,
                spec.sample.name(),
                "int8, int16, uint16, float16, float32 or, with an even width, uint4 (unsigned bytes have no mode in \
                 MRC2014: use uint16)",
            ));
        }
        out.write_all(&[0; HEADER_BYTES]).map_err(|e| FormatError::io(path, "write", e))?;
        let (raw, stored) = (Vec::new(), Vec::new());
        Ok(Self { out, path: path.into(), spec, sections: 0, moments: Moments::EMPTY, raw, stored })
    }

    /// Sections written so far.
    pub fn sections(&self) -> usize {
        self.sections
    }

    /// Appends a section of shape `[height, width]`, x fastest. Integers are rounded to the nearest.
    ///
    /// # Errors
    /// A section of another size, values that are not finite or do not fit the sample type, or a full disk.
    pub fn append(&mut self, section: &[f32]) -> Result<(), FormatError> {
        let MrcSpec { width, height, sample, .. } = self.spec;
        if section.len() != width * height {
            let (found, expected) = (section.len(), width * height);
            return Err(FormatError::WrongLength {
                path: self.path.clone(),
                what: "section",
                found,
                expected,
            });
        }
        check_finite(&self.path, section, width, height)?;
        self.raw.clear();
        encode(sample, section, &mut self.raw).map_err(|misfit| FormatError::OutOfRange {
            path: self.path.clone(),
            section: self.sections,
            index: misfit.0,
            value: section[misfit.0],
            sample: sample.name(),
            low: sample.range().0,
            high: sample.range().1,
        })?;
        if sample == SampleType::Float32 {
            self.moments.add(section);
        } else {
            // statistics are those of the stored, rounded values
            self.stored.resize(section.len(), 0.0);
            decode(sample, ByteOrder::Little, &self.raw, &mut self.stored);
            self.moments.add(&self.stored);
        }
        self.out.write_all(&self.raw).map_err(|e| FormatError::io(&self.path, "write", e))?;
        self.sections += 1;
        Ok(())
    }

    /// Puts the header in place and returns the flushed `out`, standing at its end.
    ///
    /// # Errors
    /// No section was written, or a full disk.
    pub fn finish(mut self) -> Result<W, FormatError> {
        if self.sections == 0 {
            return Err(FormatError::field(&self.path, "NZ", 8, 0, "at least one section to be appended"));
        }
        let header = self.header();
        let io = |e| FormatError::io(&self.path, "write", e);
        self.out.seek(SeekFrom::Start(0)).map_err(io)?;
        self.out.write_all(&header.to_bytes()).map_err(io)?;
        self.out.seek(SeekFrom::End(0)).map_err(io)?;
        self.out.flush().map_err(io)?;
        Ok(self.out)
    }

    fn header(&self) -> MrcHeader {
        let MrcSpec { width, height, kind, sample, pixel_size_a } = self.spec;
        let depth = if kind == MrcKind::Volume { self.sections } else { 1 };
        let edges = [width, height, depth];
        let mut statistics = self.moments.statistics();
        if sample == SampleType::Float16 {
            // undetermined: mrcfile.validate sums squares in float16, overflows, and refuses any true deviation
            statistics.rms = -1.0;
        }
        MrcHeader {
            size: [width, height, self.sections],
            sample,
            start: [0; 3],
            intervals: edges.map(|n| n as i32),
            cell_a: edges.map(|n| (n as f64 * pixel_size_a) as f32),
            axes: [0, 1, 2],
            statistics,
            space_group: i32::from(kind == MrcKind::Volume),
            extended_bytes: 0,
            extended_type: [0; 4],
            origin_a: [0.0; 3],
            order: ByteOrder::Little,
        }
    }
}
