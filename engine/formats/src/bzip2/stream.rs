//! The decompressed bytes of a bzip2 file, at random access, without holding them all.

use super::block::{CHAINS, Why};
use super::blocks::{self, MARK_BYTES, MAX_PACKED_BYTES, Mark, MarkKind, Stored};
use crate::error::FormatError;
use rayon::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes searched for marks at a time.
const SEARCH_BYTES: usize = 1 << 22;
/// The end of the last stream is looked for in so many last bytes; what follows it means nothing.
const TAIL_BYTES: u64 = 1 << 16;
/// Marks that chance may put into one block; each has a probability of about 1e-8.
const FALSE_MARKS: usize = 3;
/// Decoded blocks that are kept, bytes: those that two frames share, and those decoded ahead.
const KEPT_BYTES: usize = 64 << 20;

/// Bytes that a block gives as a rule.
const USUAL_BYTES: u64 = 900_000;

/// Who decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread.
    Caller,
    /// The current rayon pool.
    Pool,
}

/// A block that has been decoded once.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Where it begins in the file, bits.
    from: u64,
    /// Where it ends, bits.
    to: u64,
    /// Where its first byte is among the decompressed.
    start: u64,
    /// How many it gives.
    length: usize,
}

/// Where the next block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// Nothing is known yet.
    #[default]
    First,
    /// At this mark.
    At(usize),
    /// There is none.
    None,
}

/// What is known of the blocks so far.
#[derive(Debug, Default)]
struct Index {
    /// Blocks in order without a gap.
    blocks: Vec<Block>,
    /// The mark where the next one begins.
    next: Next,
    /// Decoded blocks that are kept, oldest first, with their numbers.
    kept: VecDeque<(usize, Arc<Vec<u8>>)>,
    /// Blocks after the next one that a thread has decoded or is decoding, by their marks.
    ahead: BTreeMap<usize, Ahead>,
}

/// A block that others need not decode.
#[derive(Debug)]
enum Ahead {
    /// A thread is at it.
    Claimed,
    /// The mark where it ends, and its bytes.
    Decoded(usize, Arc<Vec<u8>>),
}

impl Index {
    /// Decompressed bytes known.
    fn length(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.start + block.length as u64)
    }

    fn keep(&mut self, number: usize, bytes: Arc<Vec<u8>>) {
        if self.kept(number).is_some() {
            return;
        }
        self.kept.push_back((number, bytes));
        let mut total: usize = self.kept.iter().map(|(_, bytes)| bytes.len()).sum();
        while total > KEPT_BYTES && self.kept.len() > 1 {
            total -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
    }

    /// Takes up what was decoded ahead, as far as it goes on from the blocks known.
    fn advance(&mut self, marks: &[Mark]) {
        while let Next::At(mark) = self.next {
            let Some(Ahead::Decoded(end, bytes)) = self.ahead.get(&mark) else { break };
            let (end, bytes) = (*end, Arc::clone(bytes));
            let block = Block {
                from: marks[mark].bit,
                to: marks[end].bit,
                start: self.length(),
                length: bytes.len(),
            };
            let number = self.blocks.len();
            self.blocks.push(block);
            self.keep(number, bytes);
            self.next = next_block(marks, end).map_or(Next::None, Next::At);
        }
        // what lies before are false marks inside of blocks, and blocks that two threads decoded
        match self.next {
            Next::At(mark) => self.ahead = self.ahead.split_off(&mark),
            Next::First | Next::None => self.ahead.clear(),
        }
    }

    fn kept(&self, number: usize) -> Option<Arc<Vec<u8>>> {
        self.kept.iter().find(|(kept, _)| *kept == number).map(|(_, bytes)| Arc::clone(bytes))
    }
}

/// A mark, where what begins there ends, and its decoded bytes or why it cannot be decoded.
struct Piece {
    mark: usize,
    decoded: Result<(usize, Vec<u8>), FormatError>,
}

/// A block of the index, its number, and its bytes if they are kept.
type Known = (usize, Block, Option<Arc<Vec<u8>>>);

/// Some bytes of the stream and where they begin.
type Run = (u64, Arc<Vec<u8>>);

/// An open bzip2 file.
#[derive(Debug)]
pub struct Bzip2Stream {
    path: PathBuf,
    file: File,
    length: u64,
    /// All marks; searched for when first needed.
    marks: Mutex<Option<Arc<[Mark]>>>,
    /// Never held while something is decoded.
    index: Mutex<Index>,
}

impl Bzip2Stream {
    /// Opens a file and looks for the end of its last stream.
    ///
    /// # Errors
    /// A file that cannot be read or is cut off.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let io = |action| move |e| FormatError::io(path, action, e);
        let file = File::open(path).map_err(io("open"))?;
        let length = file.metadata().map_err(io("read"))?.len();
        let index = Mutex::new(Index::default());
        let stream = Self { path: path.into(), file, length, marks: Mutex::new(None), index };
        let tail = stream.search(length.saturating_sub(TAIL_BYTES), length)?;
        if tail.last().is_none_or(|mark| mark.kind != MarkKind::End || mark.bit + 80 > 8 * length) {
            return Err(FormatError::truncated(path, "the end of the last bzip2 stream", length + 1, length));
        }
        Ok(stream)
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length, packed.
    pub fn packed_bytes(&self) -> u64 {
        self.length
    }

    /// Fills `out` with decompressed bytes from `offset`; `what` names them if there are not as many.
    ///
    /// # Errors
    /// A file that cannot be read, a corrupt block, a stream that ends too early.
    pub fn read(&self, offset: u64, out: &mut [u8], what: &str, threads: Threads) -> Result<(), FormatError> {
        let end = offset + out.len() as u64;
        let mut at = offset;
        while at < end {
            let Some(runs) = self.fetch(at, end, threads)? else {
                let found = self.locked().length();
                return Err(FormatError::truncated(&self.path, format!("{what} (decompressed)"), end, found));
            };
            for (start, bytes) in runs {
                let from = (at - start) as usize;
                let to = bytes.len().min((end - start) as usize);
                out[(at - offset) as usize..][..to - from].copy_from_slice(&bytes[from..to]);
                at = start + to as u64;
            }
        }
        Ok(())
    }

    /// Blocks without a gap from that which holds byte `at` on, but none that begins at `end` or after it; `None` if the
    /// stream ends before.
    fn fetch(&self, at: u64, end: u64, threads: Threads) -> Result<Option<Vec<Run>>, FormatError> {
        loop {
            let wanted: Vec<Known> = {
                let index = self.locked();
                let first = index.blocks.partition_point(|block| block.start + block.length as u64 <= at);
                let blocks = index.blocks.iter().enumerate().skip(first);
                let wanted =
                    blocks.take(batch(threads, usize::MAX)).take_while(|(_, block)| block.start < end);
                wanted.map(|(number, block)| (number, *block, index.kept(number))).collect()
            };
            if wanted.is_empty() {
                let blocks = (end - at).div_ceil(USUAL_BYTES) as usize;
                if !self.advance(threads, blocks)? {
                    return Ok(None);
                }
                continue;
            }
            let runs = each_few(&wanted, threads, |few| self.decode_known(few))?;
            let mut index = self.locked();
            runs.iter().for_each(|(number, _, bytes)| index.keep(*number, Arc::clone(bytes)));
            return Ok(Some(runs.into_iter().map(|(_, start, bytes)| (start, bytes)).collect()));
        }
    }

    /// Number, start and bytes of blocks in the index.
    fn decode_known(&self, blocks: &[Known]) -> Result<Vec<(usize, u64, Arc<Vec<u8>>)>, FormatError> {
        let missing = || blocks.iter().filter(|(_, _, kept)| kept.is_none());
        let mut stored = Vec::new();
        for (number, block, _) in missing() {
            let read = self.read_block(block.from, block.to)?;
            stored.push(read.map_err(|why| self.corrupt(*number, block.from, why))?);
        }
        let mut texts = blocks::texts(stored).into_iter();
        let mut runs = Vec::with_capacity(blocks.len());
        for (number, block, kept) in blocks {
            let bytes = match kept {
                Some(bytes) => Arc::clone(bytes),
                None => {
                    let text = texts.next().expect("a text should come for every block that is not kept");
                    Arc::new(text.map_err(|why| self.corrupt(*number, block.from, why))?)
                }
            };
            runs.push((*number, block.start, bytes));
        }
        Ok(runs)
    }

    /// Decodes next blocks, as many as are `wanted` at most on one thread, and puts them into the index; false if there
    /// are none.
    fn advance(&self, threads: Threads, wanted: usize) -> Result<bool, FormatError> {
        let marks = self.marks()?;
        let Some(claimed) = self.claim(&marks, batch(threads, wanted)) else { return Ok(false) };
        let pieces = each_few(&claimed, threads, |few| Ok(self.decode_at(&marks, few)))?;
        let mut index = self.locked();
        let (before, mut harm) = (index.next, None);
        for Piece { mark, decoded } in pieces {
            match decoded {
                Ok((end, bytes)) => {
                    index.ahead.insert(mark, Ahead::Decoded(end, Arc::new(bytes)));
                }
                // the marks further on may be false ones inside of a block
                Err(error) => {
                    index.ahead.remove(&mark);
                    harm = harm.or((index.next == Next::At(mark)).then_some(error));
                }
            }
            index.advance(&marks);
        }
        // blocks before the harm may be all that is wanted
        harm.filter(|_| index.next == before).map_or(Ok(true), Err)
    }

    /// Marks of blocks that no other thread decodes, `count` at most, which the caller then has to decode; the next one if
    /// others are at all that may be decoded ahead, for nobody waits (a thread that waits could wait for itself, as pools
    /// have threads go on with other things meanwhile). `None` if all blocks are known.
    fn claim(&self, marks: &[Mark], count: usize) -> Option<Vec<usize>> {
        let mut index = self.locked();
        if index.next == Next::First {
            index.next = block_at(marks, blocks::FIRST_BLOCK).map_or(Next::None, Next::At);
        }
        let Next::At(first) = index.next else { return None };
        let blocks = (first..marks.len()).filter(|&mark| marks[mark].kind == MarkKind::Block);
        let free = blocks.take(count.max(most_ahead())).filter(|mark| !index.ahead.contains_key(mark));
        let mut claimed: Vec<usize> = free.take(count).collect();
        if claimed.is_empty() {
            claimed.push(first);
        }
        claimed.iter().for_each(|&mark| {
            index.ahead.entry(mark).or_insert(Ahead::Claimed);
        });
        Some(claimed)
    }

    /// Decodes the blocks that begin at some marks.
    fn decode_at(&self, marks: &[Mark], few: &[usize]) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(few.len());
        let (mut places, mut stored) = (Vec::new(), Vec::new());
        for &mark in few {
            match self.read_at(marks, mark) {
                Ok((end, block)) => {
                    places.push((mark, end));
                    stored.push(block);
                }
                Err(error) => pieces.push(Piece { mark, decoded: Err(error) }),
            }
        }
        for ((mark, end), text) in places.into_iter().zip(blocks::texts(stored)) {
            let decoded = text.map(|text| (end, text)).map_err(|why| self.corrupt_at(marks, mark, why));
            pieces.push(Piece { mark, decoded });
        }
        pieces.sort_by_key(|piece| piece.mark);
        pieces
    }

    /// Reads the block that begins at a mark: up to the next one, or to one of those after it where that does not give a
    /// block. Returns the mark where it ends.
    fn read_at(&self, marks: &[Mark], mark: usize) -> Result<(usize, Stored), FormatError> {
        let from = marks[mark].bit;
        let mut why = "no end of it was found".to_string();
        let ends = (mark + 1..marks.len()).take(1 + FALSE_MARKS);
        for end in ends.take_while(|&end| marks[end].bit - from <= 8 * MAX_PACKED_BYTES) {
            match self.read_block(from, marks[end].bit)? {
                Ok(block) => return Ok((end, block)),
                Err(said) if end == mark + 1 => why = said,
                Err(_) => {}
            }
        }
        Err(self.corrupt_at(marks, mark, why))
    }

    /// Reads the block in bits `from..to` of the file; the inner error is what is wrong with it.
    fn read_block(&self, from: u64, to: u64) -> Result<Result<Stored, Why>, FormatError> {
        let (first, last) = (from / 8, to.div_ceil(8));
        let mut packed = vec![0; (last - first) as usize];
        self.file.read_exact_at(&mut packed, first).map_err(|e| FormatError::io(&self.path, "read", e))?;
        Ok(blocks::read(&packed, from - 8 * first, to - 8 * first))
    }

    /// Takes these for the marks of the file.
    #[cfg(test)]
    pub fn set_marks(&self, marks: Vec<Mark>) {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = Some(marks.into());
    }

    /// All marks of the file, in order.
    pub fn marks(&self) -> Result<Arc<[Mark]>, FormatError> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*marks {
            return Ok(Arc::clone(found));
        }
        let found: Arc<[Mark]> = self.search(0, self.length)?.into();
        *marks = Some(Arc::clone(&found));
        Ok(found)
    }

    /// The marks between two bytes of the file.
    fn search(&self, from: u64, to: u64) -> Result<Vec<Mark>, FormatError> {
        let mut found = Vec::new();
        let mut buffer = Vec::new();
        let mut at = from;
        while at < to {
            let length = (to - at).min((SEARCH_BYTES + MARK_BYTES - 1) as u64) as usize;
            buffer.resize(length, 0);
            self.file.read_exact_at(&mut buffer, at).map_err(|e| FormatError::io(&self.path, "read", e))?;
            blocks::find_marks(&buffer, at, &mut found);
            at += SEARCH_BYTES as u64;
        }
        Ok(found)
    }

    fn corrupt_at(&self, marks: &[Mark], mark: usize, why: Why) -> FormatError {
        let number = marks[..mark].iter().filter(|mark| mark.kind == MarkKind::Block).count();
        self.corrupt(number, marks[mark].bit, why)
    }

    fn corrupt(&self, block: usize, from: u64, why: String) -> FormatError {
        FormatError::CorruptBlock { path: self.path.clone(), block, offset: from / 8, why }
    }

    fn locked(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks that are decoded in one go if `wanted` are; a thread puts the texts of [`CHAINS`] together at a time.
fn batch(threads: Threads, wanted: usize) -> usize {
    match threads {
        Threads::Caller => wanted.clamp(1, CHAINS),
        Threads::Pool => CHAINS * rayon::current_num_threads(),
    }
}

/// Blocks that are decoded or being decoded at a time, from the next one on.
fn most_ahead() -> usize {
    CHAINS * (1 + rayon::current_num_threads())
}

/// Has `decode` take [`CHAINS`] of `all` at a time, and returns what it gives in their order.
fn each_few<T: Sync, U: Send>(
    all: &[T],
    threads: Threads,
    decode: impl Fn(&[T]) -> Result<Vec<U>, FormatError> + Send + Sync,
) -> Result<Vec<U>, FormatError> {
    let few: Vec<Vec<U>> = match threads {
        Threads::Caller => all.chunks(CHAINS).map(decode).collect::<Result<_, _>>()?,
        Threads::Pool => {
            // fewer at a time where some threads would have none
            let size = all.len().div_ceil(rayon::current_num_threads()).clamp(1, CHAINS);
            all.par_chunks(size).map(decode).collect::<Result<_, _>>()?
        }
    };
    Ok(few.into_iter().flatten().collect())
}

/// The mark where the block after that which ends at mark `end` begins; `None` after the last of the last stream.
fn next_block(marks: &[Mark], end: usize) -> Option<usize> {
    match marks[end].kind {
        MarkKind::Block => Some(end),
        MarkKind::End => block_at(marks, blocks::next_stream_block(marks[end].bit)),
    }
}

/// The mark of the block that begins at `bit`, or of the first after it if streams without a block begin there.
fn block_at(marks: &[Mark], mut bit: u64) -> Option<usize> {
    loop {
        let mark = marks.binary_search_by_key(&bit, |mark| mark.bit).ok()?;
        match marks[mark].kind {
            MarkKind::Block => return Some(mark),
            MarkKind::End => bit = blocks::next_stream_block(bit),
        }
    }
}
