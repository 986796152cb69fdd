//! Text columns: fixed-length UTF-8 in a few widths, variable-length beyond.
//!
//! Fixed lengths compress well (padding and repeated paths vanish in deflate) where variable-length strings lie
//! uncompressed in HDF5's global heap.

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, Extents, Group, H5Type};
use std::ops::Range;
use std::str::FromStr;

/// Rows converted and moved at a time, which bounds the copies in memory.
const BATCH: usize = 1 << 16;

/// Calls `$body` with `$n` bound to the smallest known width of at least `$width` bytes, `$otherwise` beyond the widest.
macro_rules! with_width {
    ($width:expr, $n:ident => $body:expr, $otherwise:expr) => {
        match $width {
            0..=16 => {
                const $n: usize = 16;
                $body
            }
            17..=32 => {
                const $n: usize = 32;
                $body
            }
            33..=64 => {
                const $n: usize = 64;
                $body
            }
            65..=128 => {
                const $n: usize = 128;
                $body
            }
            129..=256 => {
                const $n: usize = 256;
                $body
            }
            257..=512 => {
                const $n: usize = 512;
                $body
            }
            _ => $otherwise,
        }
    };
}

/// Creates the data set for texts of at most `width` bytes.
pub(super) fn create(
    group: &Group,
    name: &str,
    width: usize,
    extents: Extents,
    chunk: usize,
    deflate: u8,
) -> hdf5::Result<Dataset> {
    let builder = || group.new_dataset_builder().chunk(chunk).shuffle().deflate(deflate);
    with_width!(
        width,
        N => builder().empty::<FixedUnicode<N>>().shape(extents).create(name),
        builder().empty::<VarLenUnicode>().shape(extents).create(name)
    )
}

/// Bytes that a cell of this data set can hold; `None` if it holds no text.
pub(super) fn capacity(dataset: &Dataset) -> hdf5::Result<Option<usize>> {
    Ok(match dataset.dtype()?.to_descriptor()? {
        TypeDescriptor::FixedUnicode(n) | TypeDescriptor::FixedAscii(n) => Some(n),
        TypeDescriptor::VarLenUnicode | TypeDescriptor::VarLenAscii => Some(usize::MAX),
        _ => None,
    })
}

/// Writes texts to the rows from `first` on.
pub(super) fn write(dataset: &Dataset, first: usize, cells: &[String]) -> hdf5::Result<()> {
    match dataset.dtype()?.to_descriptor()? {
        TypeDescriptor::FixedUnicode(n) => with_width!(
            n,
            N => write_as::<FixedUnicode<N>>(dataset, first, cells),
            Err("text column of unknown width".into())
        ),
        _ => write_as::<VarLenUnicode>(dataset, first, cells),
    }
}

fn write_as<T: H5Type + FromStr>(dataset: &Dataset, first: usize, cells: &[String]) -> hdf5::Result<()>
where
    T::Err: std::fmt::Display,
{
    for (i, batch) in cells.chunks(BATCH).enumerate() {
        let parse = |cell: &String| {
            T::from_str(cell).map_err(|e| hdf5::Error::from(format!("{cell:?}: {e}").as_str()))
        };
        let batch = batch.iter().map(parse).collect::<hdf5::Result<Vec<T>>>()?;
        let start = first + i * BATCH;
        dataset.write_slice(&batch, start..start + batch.len())?;
    }
    Ok(())
}

/// Why a text column could not be read.
pub(super) enum ReadError {
    /// The library's error.
    Hdf5(hdf5::Error),
    /// The row holds bytes that are not UTF-8.
    NotUtf8(usize),
    /// The column holds something else.
    NotText(String),
}

impl From<hdf5::Error> for ReadError {
    fn from(error: hdf5::Error) -> Self {
        Self::Hdf5(error)
    }
}

/// Reads all texts of a data set of `rows` rows, of any string type.
pub(super) fn read(dataset: &Dataset, rows: usize) -> Result<Vec<String>, ReadError> {
    let descriptor = dataset.dtype()?.to_descriptor()?;
    match descriptor {
        TypeDescriptor::FixedUnicode(n) => with_width!(
            n,
            N => read_as::<FixedUnicode<N>>(dataset, rows, FixedUnicode::as_bytes),
            Err(ReadError::NotText(format!("text cells of {n} bytes (known: up to 512)")))
        ),
        TypeDescriptor::FixedAscii(n) => with_width!(
            n,
            N => read_as::<FixedAscii<N>>(dataset, rows, FixedAscii::as_bytes),
            Err(ReadError::NotText(format!("text cells of {n} bytes (known: up to 512)")))
        ),
        TypeDescriptor::VarLenUnicode => read_as(dataset, rows, VarLenUnicode::as_bytes),
        TypeDescriptor::VarLenAscii => read_as(dataset, rows, VarLenAscii::as_bytes),
        other => Err(ReadError::NotText(format!("{other}"))),
    }
}

fn read_as<T: H5Type>(
    dataset: &Dataset,
    rows: usize,
    bytes: fn(&T) -> &[u8],
) -> Result<Vec<String>, ReadError> {
    let mut texts = Vec::with_capacity(rows.min(BATCH));
    for start in (0..rows).step_by(BATCH) {
        let range: Range<usize> = start..(start + BATCH).min(rows);
        let batch = dataset.read_slice_1d::<T, _>(range)?;
        for (i, cell) in batch.iter().enumerate() {
            let text = std::str::from_utf8(bytes(cell)).map_err(|_| ReadError::NotUtf8(start + i))?;
            texts.push(text.to_owned());
        }
    }
    Ok(texts)
}
