//! How lines of a length are transformed: radices, the parts of long lines, roots of unity.

use crate::runtime::{Float2, SHARED_BYTES};
use bytemuck::{Pod, Zeroable};
use std::f64::consts::TAU;

/// The largest prime factor of a length that kernels transform: primes beyond 5 are summed directly, for each result over
/// as many terms.
pub const LARGEST_RADIX: usize = 256;

/// Complex numbers of all lines of a block, which stand in shared memory twice.
const MOST_VALUES: usize = SHARED_BYTES / (2 * size_of::<Float2>());

/// As many are enough for a block; more blocks then share a processor.
const ENOUGH_VALUES: usize = MOST_VALUES / 2;

/// Neighbouring lines of a block, of eight bytes an element, that make whole sectors of memory.
const SECTOR_LINES: usize = 4;

/// Most lines of a block.
const MOST_LINES: usize = 16;

/// The longest part of a line that is strided in memory: two neighbours fit into a block.
const LONGEST_PART: usize = MOST_VALUES / 2;

/// `MOST_STAGES` of `transform.cuh`.
const MOST_STAGES: usize = 8;

/// Most threads of a block.
const MOST_THREADS: usize = 256;

/// `LinePlan` of `transform.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LinePlan {
    length: i32,
    root_step: i32,
    stages: i32,
    radices: [i32; MOST_STAGES],
}

impl LinePlan {
    /// For a part of `length` of a line of `whole`, whose roots of unity are at hand; `None` where kernels cannot.
    fn new(length: usize, whole: usize) -> Option<Self> {
        let radices = radices(length)?;
        let mut plan = Self {
            length: length as i32,
            root_step: (whole / length) as i32,
            stages: radices.len() as i32,
            radices: [0; MOST_STAGES],
        };
        let stages = plan.radices.get_mut(..radices.len())?;
        stages.iter_mut().zip(radices).for_each(|(to, radix)| *to = radix as i32);
        Some(plan)
    }
}

/// The factors of the stages of a length; odd ones first, for their strides do not compete for banks of shared memory.
/// `None` beyond [`LARGEST_RADIX`].
fn radices(length: usize) -> Option<Vec<usize>> {
    let (mut rest, mut odd, mut twos) = (length, Vec::new(), 0);
    let mut factor = 2;
    while rest > 1 {
        if factor > LARGEST_RADIX {
            return None;
        }
        if !rest.is_multiple_of(factor) {
            factor += 1;
            continue;
        }
        rest /= factor;
        if factor == 2 { twos += 1 } else { odd.push(factor) }
    }
    odd.reverse();
    let powers: &[usize] = match (twos / 3, twos % 3) {
        (_, 0) => &[],
        // 8 · 2 = 4 · 4
        (eights, 1) if eights > 0 => &[4, 4],
        (_, 1) => &[2],
        _ => &[4],
    };
    let eights = if powers.len() == 2 { twos / 3 - 1 } else { twos / 3 };
    odd.extend_from_slice(powers);
    odd.extend(std::iter::repeat_n(8, eights));
    Some(odd)
}

/// `exp(-2πi k/n)` for all k.
pub fn roots(n: usize) -> Vec<Float2> {
    (0..n)
        .map(|k| {
            let (sin, cos) = (-TAU * k as f64 / n as f64).sin_cos();
            Float2 { x: cos as f32, y: sin as f32 }
        })
        .collect()
}

/// How lines of one length are transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// At once.
    Whole(LinePlan),
    /// First along the slow index of `first × second`, then along the fast one.
    Two(LinePlan, LinePlan),
}

impl Parts {
    /// For lines that lie in memory with a stride.
    pub fn strided(length: usize) -> Option<Self> {
        Self::new(length, LONGEST_PART)
    }

    /// For lines of neighbouring numbers.
    pub fn contiguous(length: usize) -> Option<Self> {
        Self::new(length, MOST_VALUES)
    }

    fn new(length: usize, longest: usize) -> Option<Self> {
        if length <= longest {
            return LinePlan::new(length, length).map(Self::Whole);
        }
        // the most even pair
        let first = (1..=length.isqrt()).rev().find(|&factor| length.is_multiple_of(factor))?;
        let second = length / first;
        if second > LONGEST_PART {
            return None;
        }
        Some(Self::Two(LinePlan::new(first, length)?, LinePlan::new(second, length)?))
    }
}

/// Threads, lines and shared memory of blocks that transform lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Lines in a block.
    pub lines: usize,
    /// Threads.
    pub threads: u32,
    /// Shared memory, bytes.
    pub shared_bytes: u32,
}

impl Block {
    /// For `lines` of a length.
    pub fn of(plan: &LinePlan, lines: usize) -> Self {
        let length = plan.length as usize;
        let fit = |values: usize| values / length;
        let wanted = fit(ENOUGH_VALUES).max(fit(MOST_VALUES).min(SECTOR_LINES));
        let lines = wanted.clamp(1, MOST_LINES).min(lines.max(1));
        // a thread has about one butterfly of radix 4 at a time
        let threads = (lines * length / 4).next_multiple_of(32).clamp(32, MOST_THREADS);
        let shared_bytes = 2 * lines * length * size_of::<Float2>();
        Self { lines, threads: threads as u32, shared_bytes: shared_bytes as u32 }
    }
}

/// `RowShape` of `transform.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RowShape {
    pub plan: LinePlan,
    pub ny: i32,
    pub nx: i32,
    pub y0: i32,
    pub x0: i32,
    pub pairs: i32,
    pub scale: f32,
}

/// `LineShape` of `transform.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct LineShape {
    pub plan: LinePlan,
    pub lines: i32,
    pub inner: i32,
    pub from_stride: i32,
    pub from_outer: i32,
    pub from_item: i32,
    pub to_stride: i32,
    pub to_outer: i32,
    pub to_item: i32,
    pub at_once: i32,
    pub whole: i32,
    pub exchange_from: i32,
    pub exchange_to: i32,
}

impl LineShape {
    /// Lines of all of their length, `lines` side by side, in an item of as many times their length.
    pub fn whole(plan: LinePlan, lines: usize) -> Self {
        let (length, lines) = (plan.length, lines as i32);
        Self {
            plan,
            lines,
            inner: lines,
            from_stride: lines,
            from_outer: 0,
            from_item: length * lines,
            to_stride: lines,
            to_outer: 0,
            to_item: length * lines,
            at_once: 1,
            whole: 0,
            exchange_from: 0,
            exchange_to: 0,
        }
    }

    /// The two passes of lines in two parts.
    pub fn parts(first: LinePlan, second: LinePlan, lines: usize) -> [Self; 2] {
        let (n1, n2, inner) = (first.length, second.length, lines as i32);
        let item = n1 * n2 * inner;
        let shared = Self { inner, from_item: item, to_item: item, ..Self::whole(first, lines) };
        let slow = Self {
            lines: n2 * inner,
            from_stride: n2 * inner,
            from_outer: inner,
            to_stride: n2 * inner,
            to_outer: inner,
            whole: n1 * n2,
            ..shared
        };
        let fast = Self {
            plan: second,
            lines: n1 * inner,
            from_stride: inner,
            from_outer: n2 * inner,
            to_stride: n1 * inner,
            to_outer: inner,
            ..shared
        };
        [slow, fast]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radices_multiply_to_the_length_and_fit_the_stages() {
        for length in 1..=MOST_VALUES {
            if let Some(radices) = radices(length) {
                assert_eq!(radices.iter().product::<usize>(), length);
                assert!(LinePlan::new(length, length).is_some(), "{length}: {radices:?}");
            }
        }
        assert_eq!(radices(2 * 3 * 5 * 64), Some(vec![5, 3, 4, 4, 8]));
        assert_eq!([radices(257), radices(2 * 509)], [None, None]);
    }

    #[test]
    fn long_lines_are_of_two_parts_and_very_long_primes_are_refused() {
        assert!(matches!(Parts::strided(1536), Some(Parts::Whole(_))));
        assert!(matches!(Parts::contiguous(3072), Some(Parts::Whole(_))));
        for length in [1540, 3838, 4092, 4096, 8184, 11_520, 65_536] {
            let Some(Parts::Two(first, second)) = Parts::strided(length) else {
                panic!("{length} should be of two parts")
            };
            assert_eq!((first.length * second.length) as usize, length);
        }
        assert_eq!(Parts::contiguous(4093), None);
        assert_eq!(Parts::contiguous(2 * 4099), None);
    }

    #[test]
    fn blocks_fit_the_device() {
        for length in 1..=MOST_VALUES {
            let Some(plan) = LinePlan::new(length, length) else { continue };
            let block = Block::of(&plan, 1000);
            assert!(block.lines >= 1 && block.shared_bytes as usize <= SHARED_BYTES, "{length}: {block:?}");
            assert!(length > 768 || block.lines >= SECTOR_LINES, "{length}: {block:?}");
        }
    }
}
