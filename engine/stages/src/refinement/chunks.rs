//! Particles in chunks of a fixed size: the unit of work, of reading ahead and of exchange between ranks. Chunk c belongs
//! to rank c modulo the number of ranks; whatever is summed in floating point is summed chunk by chunk in order, so that
//! nothing depends on how many ranks there are.

use super::data::Data;
use crate::ranks::share;
use crate::{Ctx, StageError};
use ndarray::Array2;
use num_complex::Complex32;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use vitreous_compute::comm::Comm;
use vitreous_compute::fourier::HalfImage;
use vitreous_model::event::EventKind;

/// Particles per chunk.
pub const CHUNK: usize = 128;

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;

/// Images are kept in at most this share of the memory that was granted: the rest is for the grids.
const SHARE_OF_MEMORY: f64 = 0.5;

/// Transforms of a chunk's images.
type Images = Arc<Vec<HalfImage>>;

/// The chunks of a refinement's usable particles.
pub struct Chunks<'a> {
    data: &'a Data,
    mine: Vec<usize>,
    image_cache_gib: f64,
    /// How many of this rank's chunks, from the first on, are kept in memory once they were read; known when the first is.
    kept: OnceLock<usize>,
    cache: Mutex<HashMap<usize, Images>>,
}

impl<'a> Chunks<'a> {
    /// The chunks of this rank; images are kept in memory up to so many GiB of all ranks.
    pub fn new(data: &'a Data, image_cache_gib: f64, comm: &dyn Comm) -> Self {
        let mine: Vec<usize> =
            (comm.rank()..data.usable.len().div_ceil(CHUNK)).step_by(comm.size()).collect();
        Self { data, mine, image_cache_gib, kept: OnceLock::new(), cache: Mutex::default() }
    }

    /// Number of chunks of all ranks.
    pub fn count(&self) -> usize {
        self.data.usable.len().div_ceil(CHUNK)
    }

    /// The usable particles of a chunk.
    pub fn range(&self, chunk: usize) -> Range<usize> {
        chunk * CHUNK..((chunk + 1) * CHUNK).min(self.data.usable.len())
    }

    /// Transforms of a chunk that are in memory.
    fn known(&self, chunk: usize) -> Option<Images> {
        self.cache.lock().expect("reading the cache should not panic").get(&chunk).cloned()
    }

    /// Transforms of a chunk's images, phase origin at the centre; kept if there is room for them.
    fn transformed(&self, position: usize, chunk: usize, pixels: &[Array2<f32>]) -> Images {
        let images: Images =
            Arc::new(pixels.par_iter().map(|image| HalfImage::of_box(image.view())).collect());
        if self.kept.get().is_some_and(|&kept| position < kept) {
            self.cache.lock().expect("filling the cache should not panic").insert(chunk, images.clone());
        }
        images
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
        if self.kept.get().is_none() {
            let bytes = cache_bytes(self.image_cache_gib, ctx.comm.size(), ctx.memory_mib);
            // the same on all threads, whichever comes first
            let _ = self.kept.set(bytes / chunk_bytes(self.data.geometry.n));
        }
        let mine: Vec<usize> = self.mine.iter().copied().filter(|&chunk| chunk < limit).collect();
        let total = self.range(limit.min(self.count()).max(1) - 1).end as u64;
        let to_read = mine.iter().filter(|&&chunk| self.known(chunk).is_none());
        let blocks: Vec<&[usize]> = to_read.map(|&chunk| &self.data.usable[self.range(chunk)]).collect();
        self.data.images.read_ahead(&blocks, |next| {
            for (position, &chunk) in mine.iter().enumerate() {
                let images = match self.known(chunk) {
                    Some(images) => images,
                    None => self.transformed(position, chunk, &next()?),
                };
                work(chunk, &images)?;
                ctx.say(EventKind::Progress { done: self.range(chunk).end as u64, total });
            }
            Ok(())
        })
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

/// Bytes of the transforms of a full chunk of images of `n` pixels.
fn chunk_bytes(n: usize) -> usize {
    CHUNK * n * (n / 2 + 1) * size_of::<Complex32>()
}

/// What one of `ranks` may keep in memory of images: its share of what is asked for, within its share of what was granted.
fn cache_bytes(asked_gib: f64, ranks: usize, granted_mib: Option<u64>) -> usize {
    let asked = asked_gib * GIB / ranks as f64;
    let granted = granted_mib.map_or(f64::INFINITY, |mib| SHARE_OF_MEMORY * mib as f64 * f64::from(1 << 20));
    asked.min(granted) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_kept_in_what_is_asked_for_and_half_of_what_was_granted() {
        assert_eq!(cache_bytes(2.0, 1, None), 2 << 30);
        assert_eq!(cache_bytes(2.0, 4, None), 1 << 29);
        assert_eq!(cache_bytes(2.0, 1, Some(1024)), 1 << 29);
        assert_eq!(cache_bytes(0.0, 1, Some(1024)), 0);
        // 128 images of 256 pixels: 32 MiB and the column of the Nyquist frequency
        assert_eq!(chunk_bytes(256), (32 << 20) + 128 * 256 * 8);
    }
}
