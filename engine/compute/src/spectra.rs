//! Noise spectra of particle images: `σ²(r) = E|noise coefficient|²` by shell, of unnormalised transforms.
//!
//! (RELION's `sigma2` is per real component: half of ours.)

/// Sums by shell over images, to be summed over ranks before a mean is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct ShellSums {
    /// Sums, one per shell.
    pub sums: Vec<f64>,
    /// Weights (images), one per shell.
    pub weights: Vec<f64>,
}

impl ShellSums {
    /// Empty sums over so many shells.
    pub fn new(shells: usize) -> Self {
        Self { sums: vec![0.0; shells], weights: vec![0.0; shells] }
    }

    /// Adds one image's shell means.
    pub fn add(&mut self, shell_means: &[f64]) {
        for ((sum, weight), value) in self.sums.iter_mut().zip(&mut self.weights).zip(shell_means) {
            *sum += value;
            *weight += 1.0;
        }
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.weights.iter_mut().zip(&other.weights).for_each(|(a, b)| *a += b);
    }

    /// Sums over all ranks.
    pub fn sum_over(&mut self, comm: &dyn crate::comm::Comm) {
        comm.sum_in_place(&mut self.sums);
        comm.sum_in_place(&mut self.weights);
    }

    /// Means by shell; 0 where nothing was added.
    pub fn means(&self) -> Vec<f64> {
        self.sums.iter().zip(&self.weights).map(|(s, w)| if *w > 0.0 { s / w } else { 0.0 }).collect()
    }
}

/// A first noise spectrum: the mean power of the images less that of their mean image, which holds what all have in
/// common; at least a hundredth of the mean power, and positive.
pub fn first_noise(mean_power: &[f64], power_of_mean: &[f64]) -> Vec<f64> {
    let floor = mean_power.iter().copied().fold(0.0, f64::max) * 1e-9;
    mean_power
        .iter()
        .enumerate()
        .map(|(shell, &power)| {
            let common = power_of_mean.get(shell).copied().unwrap_or(0.0);
            (power - common).max(0.01 * power).max(floor).max(f64::MIN_POSITIVE)
        })
        .collect()
}

/// The spectrum of a group of `images` images, drawn towards that of all when the group is small: weight
/// `images / (images + enough)` for its own.
pub fn shrunk(group: &[f64], all: &[f64], images: f64, enough: f64) -> Vec<f64> {
    let own = images / (images + enough);
    group.iter().zip(all).map(|(g, a)| own * g + (1.0 - own) * a).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_first_noise() {
        let mut sums = ShellSums::new(2);
        sums.add(&[1.0, 4.0]);
        sums.add(&[3.0, 8.0]);
        let mut twice = sums.clone();
        twice.merge(&sums);
        assert_eq!((sums.means(), twice.means()), (vec![2.0, 6.0], vec![2.0, 6.0]));
        assert_eq!(ShellSums::new(1).means(), vec![0.0]);
        assert_eq!(first_noise(&[10.0, 10.0], &[4.0, 10.0]), vec![6.0, 0.1]);
        assert_eq!(shrunk(&[2.0], &[4.0], 100.0, 100.0), vec![3.0]);
    }
}
