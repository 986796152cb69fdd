//! One time through all particles: what each says of its defocus, and sums of each optics group.

use super::compare::{Compared, Weights};
use super::defocus::{AstigmatismTerms, Offset, Quadratures};
use super::lattice::Lattice;
use super::magnification::Terms;
use super::phases::{EVEN_COLUMNS, ODD_COLUMNS, Sums, even_of, odd_of};
use super::reference::Reference;
use crate::particle_images::ParticleImages;
use crate::ranks::{share, share_records};
use crate::{Ctx, StageError};
use rayon::prelude::*;
use vitreous_compute::fourier::HalfImage;
use vitreous_jobs::refine_ctf::RefineCtf;
use vitreous_model::ctf::CtfParams;
use vitreous_model::event::EventKind;
use vitreous_model::particle::ParticleSet;
use vitreous_model::pose::Pose;

/// Particles at once.
const CHUNK: usize = 128;
/// Particles from which noise and amplitude are taken: a shell of radius 10 has some ten thousand coefficients of them.
const SAMPLE: usize = 256;
/// Numbers of a particle that ranks exchange.
const NUMBERS: usize = 9;

/// What all passes have in common.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The job.
    pub ctx: &'a Ctx<'a>,
    /// Its parameters.
    pub params: &'a RefineCtf,
    /// The map.
    pub reference: &'a Reference,
    /// The coefficients compared.
    pub lattice: &'a Lattice,
}

/// The particles as they are taken to be now.
pub struct Particles<'a> {
    /// All of them.
    pub set: &'a ParticleSet,
    /// Their images, corrected as the set says.
    pub images: &'a ParticleImages,
    /// Places of those that take part.
    pub usable: &'a [usize],
    /// By usable particle: by how much its defocus was changed so far, Å.
    pub offsets_a: &'a [f64],
    /// By usable particle: its optics group, as an index from 0.
    pub groups: &'a [usize],
    /// Number of optics groups in use.
    pub group_count: usize,
}

/// What one particle said.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Said {
    /// Best change of its defocus.
    pub offset: Offset,
    /// What it says of its micrograph's astigmatism.
    pub astigmatism: AstigmatismTerms,
    /// Its log-likelihood before, nats.
    pub log_likelihood: f64,
}

/// What came of a pass.
pub struct Outcome {
    /// By usable particle; `None`: its image could not be read.
    pub said: Vec<Option<Said>>,
    /// By optics group, empty if not wanted.
    pub odd: Vec<Sums>,
    /// Likewise.
    pub even: Vec<Sums>,
    /// Likewise.
    pub magnification: Vec<Terms>,
    /// Usable particles whose image could not be used, and why.
    pub failed: Vec<(usize, String)>,
}

/// Of one particle.
struct Found {
    said: Said,
    odd: Vec<f32>,
    even: Vec<f32>,
    magnification: Option<Terms>,
}

impl Particles<'_> {
    /// CTF and pose of a usable particle.
    fn known(&self, which: usize) -> Option<(&CtfParams, &Pose)> {
        let particle = &self.set.particles[self.usable[which]];
        Some((particle.ctf.as_ref()?, particle.pose.as_ref()?))
    }

    /// Transform of the image of a usable particle.
    fn image(&self, which: usize) -> Result<HalfImage, String> {
        Ok(HalfImage::of_box(self.images.read_fit(self.usable[which])?.view()))
    }
}

/// Sums by shell over a sample of particles, as [`Compared::shell_sums`] with a map of amplitude 1 and noise of variance 1,
/// and how many coefficients went into each.
pub struct Sample {
    sums: Vec<[f64; 3]>,
    counts: Vec<f64>,
}

impl Sample {
    /// Takes it; every rank gets the same.
    pub fn take(job: &Job<'_>, particles: &Particles<'_>) -> Self {
        let (lattice, comm) = (job.lattice, job.ctx.comm);
        let shells = lattice.shells();
        let weights = Weights { over_noise: vec![1.0; shells], amplitude: 1.0 };
        let step = particles.usable.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<usize> = (0..particles.usable.len()).step_by(step).collect();
        let mine: Vec<usize> = sample.iter().copied().skip(comm.rank()).step_by(comm.size()).collect();
        let numbers = |&which: &usize| -> Vec<f64> {
            let Some(known) = particles.known(which) else { return vec![f64::NAN; 3 * shells] };
            let Ok(image) = particles.image(which) else { return vec![f64::NAN; 3 * shells] };
            let map = job.reference.of(particles.set.particles[particles.usable[which]].half);
            Compared::new(lattice, map, &image, known, &weights, false).shell_sums(lattice).concat()
        };
        let numbers: Vec<f64> = mine.par_iter().map(numbers).collect::<Vec<_>>().concat();
        let shared = share(comm, &numbers);
        let mut sums = vec![[0.0; 3]; shells];
        let mut images = 0.0;
        for place in 0..sample.len() {
            let own = &shared[place % comm.size()][place / comm.size() * 3 * shells..][..3 * shells];
            if own[0].is_nan() {
                continue;
            }
            images += 1.0;
            for (sum, own) in sums.iter_mut().zip(own.as_chunks::<3>().0) {
                (0..3).for_each(|i| sum[i] += own[i]);
            }
        }
        let mut counts = vec![0.0; shells];
        lattice.points.iter().for_each(|point| counts[point.shell as usize] += images);
        Self { sums, counts }
    }

    /// Amplitude and noise; `None` if images do not resemble the map.
    pub fn weights(&self) -> Option<Weights> {
        let used = || self.sums.iter().zip(&self.counts).filter(|(sum, count)| **count > 0.0 && sum[2] > 0.0);
        let over = |i: usize| -> f64 { used().map(|(sum, count)| sum[i] * count / sum[2]).sum() };
        let amplitude = over(0) / over(1);
        if !(amplitude > 0.0 && amplitude.is_finite()) {
            return None;
        }
        let over_noise = |(sum, count): (&[f64; 3], &f64)| {
            let rest = sum[2] - 2.0 * amplitude * sum[0] + amplitude * amplitude * sum[1];
            // a map cannot explain more than most of an image
            let rest = rest.max(1e-3 * sum[2]);
            if rest > 0.0 { (count / rest) as f32 } else { 0.0 }
        };
        Some(Weights {
            over_noise: self.sums.iter().zip(&self.counts).map(over_noise).collect(),
            amplitude: amplitude as f32,
        })
    }

    /// Correlation of images with the map's slices, by shell; NaN where nothing is compared.
    pub fn correlation(&self) -> Vec<f64> {
        self.sums.iter().map(|[cross, norm, power]| cross / (norm * power).sqrt()).collect()
    }
}

/// Goes through all particles.
///
/// # Errors
/// Asked to stop.
pub fn go_through(
    job: &Job<'_>,
    particles: &Particles<'_>,
    weights: &Weights,
    round: u32,
) -> Result<Outcome, StageError> {
    let (ctx, params) = (job.ctx, job.params);
    let (comm, points) = (ctx.comm, job.lattice.points.len());
    let total = particles.usable.len();
    let of_groups = |wanted: bool| if wanted { particles.group_count } else { 0 };
    let mut odd = vec![Sums::new(ODD_COLUMNS, points); of_groups(params.beam_tilt)];
    let mut even = vec![Sums::new(EVEN_COLUMNS, points); of_groups(params.fourth_order)];
    let mut magnification = vec![Terms::default(); of_groups(params.magnification)];
    let (mut numbers, mut reasons, mut stopped) = (Vec::new(), Vec::new(), None);
    ctx.say(EventKind::Phase { name: format!("round {round}"), total: total as u64 });
    for chunk in (comm.rank()..total.div_ceil(CHUNK)).step_by(comm.size()) {
        stopped = ctx.check_stop().err();
        if stopped.is_some() {
            break;
        }
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(total);
        let found: Vec<Result<Found, String>> =
            range.clone().into_par_iter().map(|which| of_particle(job, particles, weights, which)).collect();
        for (which, found) in range.clone().zip(found) {
            let group = particles.groups[which];
            match found {
                Ok(found) => {
                    numbers.extend(packed(&found.said));
                    odd.get_mut(group).into_iter().for_each(|sums| sums.add(&found.odd));
                    even.get_mut(group).into_iter().for_each(|sums| sums.add(&found.even));
                    if let (Some(sums), Some(own)) = (magnification.get_mut(group), &found.magnification) {
                        sums.add(own);
                    }
                }
                Err(reason) => {
                    numbers.extend([f64::NAN; NUMBERS]);
                    reasons.push((which, reason));
                }
            }
        }
        ctx.say(EventKind::Progress { done: range.end as u64, total: total as u64 });
    }
    crate::items::agree(ctx, stopped)?;
    odd.iter_mut().chain(&mut even).for_each(|sums| comm.sum_in_place_i64(sums.data_mut()));
    magnification.iter_mut().for_each(|terms| comm.sum_in_place_i64(&mut terms.0));
    let mut failed: Vec<(usize, String)> = share_records(ctx, &reasons)?;
    failed.sort();
    let said = in_order(&share(comm, &numbers), total);
    Ok(Outcome { said, odd, even, magnification, failed })
}

fn of_particle(
    job: &Job<'_>,
    particles: &Particles<'_>,
    weights: &Weights,
    which: usize,
) -> Result<Found, String> {
    let (lattice, params) = (job.lattice, job.params);
    let known = particles.known(which).ok_or("it has no CTF or no pose")?;
    let image = particles.image(which)?;
    let half = particles.set.particles[particles.usable[which]].half;
    let mut compared = Compared::new(lattice, job.reference.of(half), &image, known, weights, false);
    let log_likelihood = compared.log_likelihood();
    let wavelength_a = known.0.voltage.wavelength_a();
    let mut offset = Offset::default();
    if params.defocus {
        let per_a = lattice.phase_per_a(wavelength_a);
        // the prior is about the defocus that was given
        let mean_a = -particles.offsets_a[which];
        offset = Quadratures::of(lattice, &compared).best(&per_a, mean_a, params.defocus_sd);
        compared.advance(lattice, |bin| per_a[bin] * offset.offset_a);
    }
    let of_group = match params.beam_tilt || params.fourth_order || params.magnification {
        true => {
            let other = job.reference.of_other(half);
            let mut of_group = Compared::new(lattice, other, &image, known, weights, params.magnification);
            let per_a = lattice.phase_per_a(wavelength_a);
            of_group.advance(lattice, |bin| per_a[bin] * offset.offset_a);
            Some(of_group)
        }
        false => None,
    };
    let sd_a = if params.defocus { params.defocus_sd } else { 0.0 };
    let astigmatism = match params.astigmatism {
        true => AstigmatismTerms::of(lattice, &compared, wavelength_a, sd_a),
        false => AstigmatismTerms::default(),
    };
    Ok(Found {
        said: Said { offset, astigmatism, log_likelihood },
        odd: of_group.as_ref().filter(|_| params.beam_tilt).map(odd_of).unwrap_or_default(),
        even: of_group.as_ref().filter(|_| params.fourth_order).map(even_of).unwrap_or_default(),
        magnification: of_group.as_ref().filter(|_| params.magnification).map(|c| Terms::of(lattice, c)),
    })
}

fn packed(said: &Said) -> [f64; NUMBERS] {
    let Said { offset, astigmatism, log_likelihood } = said;
    let ([a, b], [aa, ab, bb]) = (astigmatism.gradient, astigmatism.curvature);
    [offset.offset_a, offset.error_a, offset.gain, a, b, aa, ab, bb, *log_likelihood]
}

/// What all ranks packed, in the order of the particles.
fn in_order(shared: &[Vec<f64>], total: usize) -> Vec<Option<Said>> {
    let mut said = vec![None; total];
    for (rank, numbers) in shared.iter().enumerate() {
        let owned = (rank..total.div_ceil(CHUNK))
            .step_by(shared.len())
            .flat_map(|chunk| chunk * CHUNK..((chunk + 1) * CHUNK).min(total));
        for (which, &[offset_a, error_a, gain, a, b, aa, ab, bb, log_likelihood]) in
            owned.zip(numbers.as_chunks::<NUMBERS>().0)
        {
            let offset = Offset { offset_a, error_a, gain };
            let astigmatism = AstigmatismTerms { gradient: [a, b], curvature: [aa, ab, bb] };
            said[which] = (!offset_a.is_nan()).then_some(Said { offset, astigmatism, log_likelihood });
        }
    }
    said
}
