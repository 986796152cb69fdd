//! Particles in chunks of a fixed size: the unit of work, of reading ahead and of exchange between ranks. Chunk c belongs
//! to rank c modulo the number of ranks; whatever is summed in floating point is summed chunk by chunk in order, so that
//! nothing depends on how many ranks there are.

use super::data::Data;
use crate::{Ctx, StageError};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use vitreous_compute::comm::Comm;
use vitreous_compute::fourier::HalfImage;
use vitreous_model::event::EventKind;

/// Particles per chunk.
pub const CHUNK: usize = 128;

/// Transforms are kept in memory from one iteration to the next up to this many bytes per rank.
const CACHE_BYTES: usize = 1 << 30;

/// The chunks of a refinement's usable particles.
pub struct Chunks<'a> {
    data: &'a Data,
    mine: Vec<usize>,
    cache: Option<Mutex<HashMap<usize, Arc<Vec<HalfImage>>>>>,
}

impl<'a> Chunks<'a> {
    /// The chunks of this rank.
    pub fn new(data: &'a Data, comm: &dyn Comm) -> Self {
        let mine: Vec<usize> =
            (comm.rank()..data.usable.len().div_ceil(CHUNK)).step_by(comm.size()).collect();
        let n = data.geometry.n;
        let bytes = mine.len() * CHUNK * n * (n / 2 + 1) * size_of::<num_complex::Complex32>();
        Self { data, mine, cache: (bytes <= CACHE_BYTES).then(Mutex::default) }
    }

    /// Number of chunks of all ranks.
    pub fn count(&self) -> usize {
        self.data.usable.len().div_ceil(CHUNK)
    }

    /// The usable particles of a chunk.
    pub fn range(&self, chunk: usize) -> Range<usize> {
        chunk * CHUNK..((chunk + 1) * CHUNK).min(self.data.usable.len())
    }

    /// Transforms of a chunk's images, phase origin at the centre.
    fn read(&self, chunk: usize) -> Result<Arc<Vec<HalfImage>>, StageError> {
        if let Some(cache) = &self.cache {
            let known = cache.lock().expect("reading the cache should not panic").get(&chunk).cloned();
            if let Some(known) = known {
                return Ok(known);
            }
        }
        let transform = |which: usize| {
            let pixels = self.data.images.read(self.data.usable[which])?;
            Ok(HalfImage::of_box(pixels.view()))
        };
        let images = Arc::new(
            self.range(chunk).into_par_iter().map(transform).collect::<Result<Vec<_>, StageError>>()?,
        );
        if let Some(cache) = &self.cache {
            cache.lock().expect("filling the cache should not panic").insert(chunk, images.clone());
        }
        Ok(images)
    }

    /// Calls `work` with each of this rank's chunks among the first `limit`, the next one being read meanwhile.
    ///
    /// # Errors
    /// An image that cannot be read, what `work` returns.
    pub fn for_each(
        &self,
        ctx: &Ctx<'_>,
        limit: usize,
        mut work: impl FnMut(usize, &[HalfImage]) -> Result<(), StageError> + Send,
    ) -> Result<(), StageError> {
        let mine: Vec<usize> = self.mine.iter().copied().filter(|&chunk| chunk < limit).collect();
        let Some(&first) = mine.first() else { return Ok(()) };
        let total = self.range(limit.min(self.count()).max(1) - 1).end as u64;
        let mut next = self.read(first)?;
        for (position, &chunk) in mine.iter().enumerate() {
            let current = next.clone();
            let ahead = mine.get(position + 1).copied();
            let (done, read) =
                rayon::join(|| work(chunk, &current), || ahead.map(|chunk| self.read(chunk)).transpose());
            done?;
            if let Some(images) = read? {
                next = images;
            }
            ctx.say(EventKind::Progress { done: self.range(chunk).end as u64, total });
        }
        Ok(())
    }

    /// Lists of numbers, one per chunk of this rank in order, as the lists of all chunks of all ranks in order.
    pub fn share(&self, comm: &dyn Comm, lists: &[Vec<f64>], limit: usize) -> Vec<Vec<f64>> {
        // each list goes with its length
        let mine: Vec<f64> = lists
            .iter()
            .flat_map(|list| [list.len() as f64].into_iter().chain(list.iter().copied()))
            .collect();
        let limit = limit.min(self.count());
        let mut all = vec![Vec::new(); limit];
        for (rank, numbers) in share(comm, &mine).iter().enumerate() {
            let mut rest = numbers.as_slice();
            for chunk in (rank..limit).step_by(comm.size()) {
                let Some((&length, after)) = rest.split_first() else { break };
                let (list, after) = after.split_at((length as usize).min(after.len()));
                all[chunk] = list.to_vec();
                rest = after;
            }
        }
        all
    }
}

/// The numbers of every rank, in order, for every rank.
pub fn share(comm: &dyn Comm, mine: &[f64]) -> Vec<Vec<f64>> {
    let bytes: Vec<u8> = mine.iter().flat_map(|value| value.to_le_bytes()).collect();
    let gathered = comm.gather(&bytes);
    let mut packed: Vec<u8> = Vec::new();
    for part in &gathered {
        packed.extend((part.len() as u64).to_le_bytes());
        packed.extend(part);
    }
    comm.broadcast(0, &mut packed);
    let mut rest = packed.as_slice();
    let mut all = Vec::with_capacity(comm.size());
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let length = (u64::from_le_bytes(*length) as usize).min(after.len());
        let (part, after) = after.split_at(length);
        all.push(part.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect());
        rest = after;
    }
    all
}
