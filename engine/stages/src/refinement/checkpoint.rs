//! The state as bytes: what is sent to other ranks after an iteration and what a killed job goes on from. Every float
//! comes back bit by bit, so a resumed refinement ends where an uninterrupted one does.

use super::schedule::Progress;
use super::state::{ClassState, IterationRecord, ParticleState, State};
use ndarray::Array3;

/// First bytes of a checkpoint.
const MAGIC: &[u8; 8] = b"VTRREFN4";

/// Name in the job folder.
pub const FILE: &str = "checkpoint/refinement.bin";

/// Writes numbers one after the other, little endian.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    fn list(&mut self, values: &[f64]) {
        self.u64(values.len() as u64);
        values.iter().for_each(|&value| self.f64(value));
    }

    fn volume(&mut self, volume: &Array3<f32>) {
        self.u64(volume.dim().0 as u64);
        volume.iter().for_each(|value| self.0.extend(value.to_bits().to_le_bytes()));
    }
}

/// Reads them back; `None` at the end of the bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*head))
    }

    fn f64(&mut self) -> Option<f64> {
        self.u64().map(f64::from_bits)
    }

    /// A number of elements of `bytes` bytes each that can still follow.
    fn count(&mut self, bytes: usize) -> Option<usize> {
        let count = usize::try_from(self.u64()?).ok()?;
        (count.checked_mul(bytes)? <= self.0.len()).then_some(count)
    }

    fn list(&mut self) -> Option<Vec<f64>> {
        let count = self.count(8)?;
        (0..count).map(|_| self.f64()).collect()
    }

    fn volume(&mut self) -> Option<Array3<f32>> {
        let n = usize::try_from(self.u64()?).ok()?;
        let voxels = n.checked_pow(3)?;
        let bytes = self.0.get(..voxels.checked_mul(4)?)?;
        self.0 = &self.0[bytes.len()..];
        let values =
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_bits(u32::from_le_bytes(*b))).collect();
        Array3::from_shape_vec((n, n, n), values).ok()
    }
}

/// The state as bytes; `fingerprint` names what it belongs to.
pub fn encode(state: &State, fingerprint: u64) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    out.u64(fingerprint);
    out.u64(state.iteration.into());
    out.u64(state.classified.into());
    out.u64(state.refills.into());
    out.u64(u64::from(state.ended) | u64::from(state.search) << 1);
    let Progress { best_resolved, stalled, change_deg } = state.progress;
    for value in [state.resolved, state.well_resolved, state.shift_sigma_a, best_resolved, change_deg] {
        out.f64(value);
    }
    out.u64(stalled.into());
    let mut numbers = Vec::new();
    state.particles.iter().for_each(|particle| particle.write(&mut numbers));
    out.list(&numbers);
    out.u64(state.noise.len() as u64);
    state.noise.iter().for_each(|spectrum| out.list(spectrum));
    out.list(&state.amplitudes);
    out.u64(state.classes.len() as u64);
    for class in &state.classes {
        class.maps.iter().chain([&class.mask]).for_each(|volume| out.volume(volume));
        out.list(&class.fsc);
    }
    out.u64(state.history.len() as u64);
    for record in &state.history {
        let IterationRecord {
            box_px,
            resolution_a,
            band_px,
            change_deg,
            log_likelihood,
            jumped,
            moved,
            shares,
        } = record;
        out.list(&[*box_px, *resolution_a, *band_px, *change_deg, *log_likelihood, *jumped, *moved]);
        out.list(shares);
    }
    out.0
}

/// The state from bytes; `None` if they are not a whole checkpoint or belong to something else.
pub fn decode(bytes: &[u8], fingerprint: u64) -> Option<State> {
    let mut input = Reader(bytes.strip_prefix(MAGIC)?);
    if input.u64()? != fingerprint {
        return None;
    }
    let iteration = u32::try_from(input.u64()?).ok()?;
    let classified = u32::try_from(input.u64()?).ok()?;
    let refills = u32::try_from(input.u64()?).ok()?;
    let flags = input.u64()?;
    let [resolved, well_resolved, shift_sigma_a, best_resolved, change_deg] =
        [input.f64()?, input.f64()?, input.f64()?, input.f64()?, input.f64()?];
    let stalled = u32::try_from(input.u64()?).ok()?;
    let particles = particles(&input.list()?)?;
    let groups = input.count(8)?;
    let noise = (0..groups).map(|_| input.list()).collect::<Option<Vec<_>>>()?;
    let amplitudes = input.list()?;
    // a class has the edges of three volumes and the length of a list at least
    let count = input.count(32)?;
    let classes = (0..count).map(|_| class(&mut input)).collect::<Option<Vec<_>>>()?;
    let count = input.count(16)?;
    let history = (0..count).map(|_| record(&mut input)).collect::<Option<Vec<_>>>()?;
    let state = State {
        iteration,
        classified,
        refills,
        ended: flags & 1 != 0,
        search: flags & 2 != 0,
        resolved,
        well_resolved,
        shift_sigma_a,
        progress: Progress { best_resolved, stalled, change_deg },
        particles,
        noise,
        amplitudes,
        classes,
        history,
    };
    input.0.is_empty().then_some(state)
}

fn particles(mut numbers: &[f64]) -> Option<Vec<ParticleState>> {
    let mut all = Vec::new();
    while !numbers.is_empty() {
        all.push(ParticleState::read(&mut numbers)?);
    }
    Some(all)
}

fn class(input: &mut Reader<'_>) -> Option<ClassState> {
    let (first, second, mask) = (input.volume()?, input.volume()?, input.volume()?);
    Some(ClassState { maps: [first, second], mask, fsc: input.list()? })
}

fn record(input: &mut Reader<'_>) -> Option<IterationRecord> {
    let [box_px, resolution_a, band_px, change_deg, log_likelihood, jumped, moved] =
        input.list()?.try_into().ok()?;
    let shares = input.list()?;
    Some(IterationRecord { box_px, resolution_a, band_px, change_deg, log_likelihood, jumped, moved, shares })
}

#[cfg(test)]
mod unit {
    use super::super::state::Mode;
    use super::*;
    use vitreous_model::pose::{Pose, Rotation};

    fn state() -> State {
        let volume = |seed: f32| {
            Array3::from_shape_fn((3, 3, 3), |(z, y, x)| seed / (1.0 + z as f32 + y as f32 * x as f32))
        };
        State {
            iteration: 3,
            classified: 2,
            refills: 1,
            ended: false,
            search: true,
            resolved: 11.0,
            well_resolved: 9.0,
            shift_sigma_a: 1.0 / 3.0,
            progress: Progress { best_resolved: 11.0, stalled: 1, change_deg: 0.1 },
            particles: vec![
                ParticleState::unknown(),
                ParticleState {
                    modes: vec![
                        Mode {
                            class: 1,
                            pose: Pose {
                                rotation: Rotation::from_rotation_vector([0.1, 0.7, -0.3]),
                                shift_a: [1.0 / 7.0, -0.1],
                            },
                            share: 0.77,
                        },
                        Mode {
                            class: 0,
                            pose: Pose { rotation: Rotation::IDENTITY, shift_a: [0.3, 1.0 / 9.0] },
                            share: 0.23,
                        },
                    ],
                    log_likelihood: 12.345,
                    change_deg: 0.2,
                    jumped: true,
                    moved: true,
                },
            ],
            noise: vec![vec![1.0, 0.3], vec![2.0, 1e-300]],
            amplitudes: vec![1.1, 0.9],
            classes: [1.0, 0.5]
                .map(|scale| ClassState {
                    maps: [volume(scale), volume(0.7 * scale)],
                    mask: volume(0.3),
                    fsc: vec![1.0, 0.2],
                })
                .into(),
            history: vec![IterationRecord {
                box_px: 40.0,
                resolution_a: 12.1,
                band_px: 9.0,
                change_deg: 3.0,
                log_likelihood: 5.0,
                jumped: 0.5,
                moved: 0.25,
                shares: vec![0.6, 0.4],
            }],
        }
    }

    #[test]
    fn states_come_back_bit_by_bit() {
        let bytes = encode(&state(), 7);
        let back = decode(&bytes, 7).unwrap();
        // NaN differs from itself, bytes do not
        assert_eq!(encode(&back, 7), bytes);
        assert_eq!(back.classes, state().classes);
        assert!(decode(&bytes, 8).is_none());
    }

    #[test]
    fn anything_but_a_whole_checkpoint_is_refused() {
        let bytes = encode(&state(), 7);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], 7).is_none(), "{cut}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode(&longer, 7).is_none());
    }
}
