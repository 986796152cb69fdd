//! The container: byte order, classic or BigTIFF, and directories of tags.

use crate::error::FormatError;
use crate::samples::ByteOrder;
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Directories are read with this many bytes at first; nearly all fit.
const FIRST_READ: usize = 1024;
/// Tags a directory may have; TIFF 6.0 defines some 70.
const MAX_TAGS: u64 = 4096;
/// Values a tag may have of which the first is wanted: one for each colour.
const MAX_SAMPLES: u64 = 16;

/// One tag of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Tag number.
    pub tag: u16,
    /// Type of its values.
    kind: u16,
    /// How many there are.
    pub count: u64,
    /// The values if they fit, else where they are, in the file's byte order.
    value: [u8; 8],
    /// Where the entry stands in the file.
    pub offset: u64,
}

/// A page's tags.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Where it starts.
    pub offset: u64,
    entries: Vec<Entry>,
    /// Where the next one starts; 0: none.
    next: u64,
}

impl Directory {
    /// The tag, if there.
    pub fn entry(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }
}

/// An open TIFF file.
#[derive(Debug)]
pub struct Container {
    path: PathBuf,
    file: File,
    length: u64,
    /// Byte order of everything in it.
    pub order: ByteOrder,
    big: bool,
    first: u64,
}

impl Container {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read or is no TIFF.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let io = |action| move |e| FormatError::io(path, action, e);
        let file = File::open(path).map_err(io("open"))?;
        let length = file.metadata().map_err(io("read"))?.len();
        let mut head = [0; 16];
        let got = head.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        file.read_exact_at(&mut head[..got], 0).map_err(io("read"))?;
        let (order, big) = match &head[..4] {
            b"II*\0" => (ByteOrder::Little, false),
            b"MM\0*" => (ByteOrder::Big, false),
            b"II+\0" => (ByteOrder::Little, true),
            b"MM\0+" => (ByteOrder::Big, true),
            other => {
                return Err(FormatError::field(path, "magic", 0, format!("{other:02x?}"), "that of a TIFF"));
            }
        };
        let needed = if big { 16 } else { 8 };
        if got < needed {
            return Err(FormatError::truncated(path, "the TIFF header", needed as u64, length));
        }
        let first = if big { unsigned(&head[8..16], order) } else { unsigned(&head[4..8], order) };
        Ok(Self { path: path.into(), file, length, order, big, first })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `bytes` from `offset`; `what` names them if the file ends before.
    ///
    /// # Errors
    /// A file that ends too early or cannot be read.
    pub fn read(&self, offset: u64, bytes: &mut [u8], what: impl Fn() -> String) -> Result<(), FormatError> {
        self.check_extent(offset, bytes.len() as u64, what)?;
        self.file.read_exact_at(bytes, offset).map_err(|e| FormatError::io(&self.path, "read", e))
    }

    /// Refuses an extent that reaches beyond the end of the file.
    ///
    /// # Errors
    /// A file that ends too early.
    pub fn check_extent(
        &self,
        offset: u64,
        bytes: u64,
        what: impl Fn() -> String,
    ) -> Result<(), FormatError> {
        let end = offset.saturating_add(bytes);
        if end > self.length {
            return Err(FormatError::truncated(&self.path, what(), end, self.length));
        }
        Ok(())
    }

    /// All directories in order.
    ///
    /// # Errors
    /// A directory that is cut off, or met twice.
    pub fn directories(&self) -> impl Iterator<Item = Result<Directory, FormatError>> + '_ {
        let mut seen = HashSet::new();
        let mut next = self.first;
        std::iter::from_fn(move || {
            if next == 0 {
                return None;
            }
            let directory = if seen.insert(next) {
                self.directory(next)
            } else {
                let field = format!("next directory of page {}", seen.len() - 1);
                Err(FormatError::field(&self.path, field, next, next, "a directory not met before (a loop)"))
            };
            next = directory.as_ref().map_or(0, |directory| directory.next);
            Some(directory)
        })
    }

    /// The directory at `offset`.
    ///
    /// # Errors
    /// A directory that is cut off or has an absurd number of tags.
    pub fn directory(&self, offset: u64) -> Result<Directory, FormatError> {
        let (head, size, link) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let what = || format!("the directory at byte {offset}");
        let available = self.length.saturating_sub(offset);
        let mut bytes = vec![0; FIRST_READ.min(usize::try_from(available).unwrap_or(FIRST_READ)).max(head)];
        self.read(offset, &mut bytes, what)?;
        let count = unsigned(&bytes[..head], self.order);
        if !(1..=MAX_TAGS).contains(&count) {
            let field = format!("number of tags of {}", what());
            return Err(FormatError::field(&self.path, field, offset, count, format!("1 to {MAX_TAGS}")));
        }
        let length = head + count as usize * size + link;
        if bytes.len() < length {
            bytes = vec![0; length];
            self.read(offset, &mut bytes, what)?;
        }
        let entries = bytes[head..length - link].chunks_exact(size).enumerate();
        let entries = entries.map(|(i, raw)| self.entry(raw, offset + (head + i * size) as u64)).collect();
        let next = unsigned(&bytes[length - link..length], self.order);
        Ok(Directory { offset, entries, next })
    }

    fn entry(&self, raw: &[u8], offset: u64) -> Entry {
        let inline = if self.big { &raw[12..20] } else { &raw[8..12] };
        let mut value = [0; 8];
        value[..inline.len()].copy_from_slice(inline);
        Entry {
            tag: unsigned(&raw[..2], self.order) as u16,
            kind: unsigned(&raw[2..4], self.order) as u16,
            count: unsigned(if self.big { &raw[4..12] } else { &raw[4..8] }, self.order),
            value,
            offset,
        }
    }

    /// The raw values of an entry, `width` bytes each.
    fn raw_values(&self, entry: &Entry, width: usize) -> Result<Vec<u8>, FormatError> {
        let pointer = if self.big { 8 } else { 4 };
        let what = || format!("the values of tag {}", entry.tag);
        let bytes = entry.count.saturating_mul(width as u64);
        if bytes <= pointer as u64 {
            return Ok(entry.value[..bytes as usize].to_vec());
        }
        let offset = unsigned(&entry.value[..pointer], self.order);
        self.check_extent(offset, bytes, what)?;
        let mut values = vec![0; bytes as usize];
        self.read(offset, &mut values, what)?;
        Ok(values)
    }

    /// The values of an entry of unsigned integers.
    ///
    /// # Errors
    /// Another type, or values beyond the end of the file.
    pub fn integers(&self, entry: &Entry) -> Result<Vec<u64>, FormatError> {
        let width = match entry.kind {
            1 => 1,
            3 => 2,
            4 | 13 => 4,
            16 | 18 => 8,
            kind => {
                let field = format!("type of tag {}", entry.tag);
                return Err(FormatError::field(
                    &self.path,
                    field,
                    entry.offset,
                    kind,
                    "an unsigned integer type",
                ));
            }
        };
        let raw = self.raw_values(entry, width)?;
        Ok(raw.chunks_exact(width).map(|bytes| unsigned(bytes, self.order)).collect())
    }

    /// The first value of a tag of unsigned integers; `None` without the tag.
    ///
    /// # Errors
    /// As [`Container::integers`], and a tag without values.
    pub fn integer(&self, directory: &Directory, tag: u16) -> Result<Option<u64>, FormatError> {
        let Some(entry) = directory.entry(tag) else { return Ok(None) };
        if !(1..=MAX_SAMPLES).contains(&entry.count) {
            let found = format!("a list of {} values", entry.count);
            let expected = format!("1 to {MAX_SAMPLES} values");
            return Err(FormatError::field(&self.path, format!("tag {tag}"), entry.offset, found, expected));
        }
        Ok(self.integers(entry)?.first().copied())
    }

    /// The value of a tag of one rational; `None` without the tag or for another type.
    pub fn rational(&self, directory: &Directory, tag: u16) -> Option<f64> {
        const RATIONAL: u16 = 5;
        let entry = directory.entry(tag).filter(|entry| entry.kind == RATIONAL && entry.count == 1)?;
        let raw = self.raw_values(entry, 8).ok()?;
        Some(unsigned(&raw[..4], self.order) as f64 / unsigned(&raw[4..8], self.order) as f64)
    }
}

/// An unsigned integer of up to eight bytes.
fn unsigned(bytes: &[u8], order: ByteOrder) -> u64 {
    let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, push),
        ByteOrder::Big => bytes.iter().fold(0, push),
    }
}
