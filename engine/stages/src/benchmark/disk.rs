//! A disk, through a file of our own that has no name and is gone afterwards.

use super::measured::{Measured, at_least_a_tick};
use crate::{Ctx, StageError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::fs::{Advice, fadvise, statfs};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

const MIB: usize = 1 << 20;
/// Bytes written or read in one go.
const PIECE: usize = 4 * MIB;
/// Rounds: write, read, read again, read here and there.
const ROUNDS: usize = 3;
/// Bytes of single reads, smallest first: a page, and a stripe of a particle stack.
const SINGLE_READS: [usize; 2] = [4096, 65536];
/// Single reads of one round at most.
const MOST_READS: usize = 20_000;

/// What was measured of a disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Disk {
    /// The values.
    pub measured: Vec<Measured>,
    /// Name of its file system; a number where the name is not known.
    pub file_system: String,
}

/// Writes and reads a file of `disk_mib` in a folder; `place` names the disk.
///
/// # Errors
/// What the system refuses.
pub(super) fn measure(
    ctx: &Ctx<'_>,
    place: &str,
    folder: &Path,
    disk_mib: u32,
    seconds: f64,
) -> Result<Disk, StageError> {
    let io = |source| StageError::io(folder, source);
    let file = ctx.nameless_file(folder)?;
    let mut random = ChaCha8Rng::seed_from_u64(ctx.comm.rank() as u64);
    // nothing that a disk could compress
    let mut piece = vec![0u8; PIECE];
    random.fill(piece.as_mut_slice());
    let bytes = disk_mib as usize * MIB;
    let (mut written, mut read, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let mut single = vec![(Vec::new(), Vec::new()); SINGLE_READS.len()];
    for _ in 0..ROUNDS {
        ctx.check_stop()?;
        written.push(write(&file, &piece, bytes).map_err(io)?);
        forget(&file).map_err(io)?;
        read.push(read_all(&file, &mut piece, bytes).map_err(io)?);
        again.push(read_all(&file, &mut piece, bytes).map_err(io)?);
        for (size, (rates, times_us)) in SINGLE_READS.iter().zip(&mut single) {
            forget(&file).map_err(io)?;
            let (rate, time_us) =
                read_here_and_there(&file, *size, bytes, seconds / ROUNDS as f64, &mut random).map_err(io)?;
            rates.push(rate);
            times_us.push(time_us);
        }
    }
    let mut measured = vec![
        Measured::rate(format!("{place}, written and synced"), "MB/s", written),
        Measured::rate(format!("{place}, read, cache dropped"), "MB/s", read),
        Measured::rate(format!("{place}, read again, from the cache"), "MB/s", again),
    ];
    for (size, (rates, times_us)) in SINGLE_READS.iter().zip(single) {
        let what = format!("{place}, single reads of {} KiB, cache dropped", size / 1024);
        measured.push(Measured::rate(&what, "reads/s", rates));
        measured.push(Measured::time(format!("{what}, median wait"), "µs", times_us));
    }
    Ok(Disk { measured, file_system: file_system(folder) })
}

/// Writes the whole file over and waits until it is on the disk; MB/s.
fn write(file: &File, piece: &[u8], bytes: usize) -> std::io::Result<f64> {
    let start = Instant::now();
    for offset in (0..bytes).step_by(piece.len()) {
        file.write_all_at(&piece[..piece.len().min(bytes - offset)], offset as u64)?;
    }
    file.sync_all()?;
    Ok(bytes as f64 / 1e6 / at_least_a_tick(start.elapsed()))
}

/// Reads the whole file from its beginning; MB/s.
fn read_all(file: &File, piece: &mut [u8], bytes: usize) -> std::io::Result<f64> {
    let start = Instant::now();
    for offset in (0..bytes).step_by(piece.len()) {
        let length = piece.len().min(bytes - offset);
        file.read_exact_at(&mut piece[..length], offset as u64)?;
    }
    std::hint::black_box(&piece);
    Ok(bytes as f64 / 1e6 / at_least_a_tick(start.elapsed()))
}

/// Reads `size` bytes at random places that are multiples of it, one after the other; reads per second, and the median time of
/// one, µs.
fn read_here_and_there(
    file: &File,
    size: usize,
    bytes: usize,
    seconds: f64,
    random: &mut ChaCha8Rng,
) -> std::io::Result<(f64, f64)> {
    let mut buffer = vec![0u8; size];
    let mut times_us = Vec::new();
    let start = Instant::now();
    while times_us.len() < 3 || (start.elapsed().as_secs_f64() < seconds && times_us.len() < MOST_READS) {
        let offset = random.random_range(0..(bytes / size).max(1)) * size;
        let one = Instant::now();
        file.read_exact_at(&mut buffer, offset as u64)?;
        times_us.push(1e6 * at_least_a_tick(one.elapsed()));
    }
    std::hint::black_box(&buffer);
    let rate = times_us.len() as f64 / at_least_a_tick(start.elapsed());
    Ok((rate, super::measured::median(times_us.into_iter())))
}

/// Asks the kernel to drop what it has of the file in memory. It does so for pages that are on the disk; servers and disks
/// keep what they have.
fn forget(file: &File) -> std::io::Result<()> {
    file.sync_all()?;
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

/// The file system that a folder is on.
pub(super) fn file_system(folder: &Path) -> String {
    let Ok(found) = statfs(folder) else { return "unknown".into() };
    match found.f_type as u32 {
        0xEF53 => "ext".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683E => "btrfs".into(),
        0x2FC1_2FC1 => "zfs".into(),
        0x0102_1994 => IN_MEMORY.into(),
        0x794C_7630 => "overlayfs".into(),
        0x6969 => "nfs".into(),
        0x0BD0_0BD0 => "lustre".into(),
        0x4750_4653 => "gpfs".into(),
        0x1983_0326 => "beegfs".into(),
        0x00C3_6400 => "ceph".into(),
        0x6573_5546 => "fuse".into(),
        0xFF53_4D42 | 0xFE53_4D42 => "cifs".into(),
        other => format!("of type {other:#x}"),
    }
}

/// Name of the file system that is kept in memory.
pub(super) const IN_MEMORY: &str = "tmpfs";
