//! Exchanges between ranks that several job types need.

use crate::{Ctx, StageError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vitreous_compute::comm::Comm;

/// The numbers of every rank, in order, for every rank. Lists may differ in length.
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

/// The records of every rank, in order, for every rank.
///
/// # Errors
/// Records that JSON cannot hold.
pub fn share_records<T: Serialize + DeserializeOwned>(
    ctx: &Ctx<'_>,
    mine: &[T],
) -> Result<Vec<T>, StageError> {
    let failed = |error: serde_json::Error| StageError::io(&ctx.job_dir, error.into());
    let mut all: Vec<T> = Vec::new();
    for bytes in ctx.comm.gather(&serde_json::to_vec(mine).map_err(failed)?) {
        all.extend(serde_json::from_slice::<Vec<T>>(&bytes).map_err(failed)?);
    }
    let mut bytes = serde_json::to_vec(&all).map_err(failed)?;
    ctx.comm.broadcast(0, &mut bytes);
    serde_json::from_slice(&bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_compute::comm::Threads;

    #[test]
    fn every_rank_gets_all_numbers_in_order() {
        let all = Threads::run(3, |comm| {
            let mine: Vec<f64> = (0..comm.rank()).map(|i| (10 * comm.rank() + i) as f64).collect();
            share(comm, &mine)
        });
        assert_eq!(all, vec![vec![vec![], vec![10.0], vec![20.0, 21.0]]; 3]);
    }
}
