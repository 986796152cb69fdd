//! Smooth functions of spatial frequency: uniform cubic B-splines over the rings of a spectrum.

/// Splines with equal distances of their knots over a range of frequencies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RingBasis {
    first: f64,
    spacing: f64,
    len: usize,
}

/// The four splines that do not vanish at a frequency: the number of the first, and their values; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Local {
    pub first: usize,
    pub values: [f64; 4],
}

impl RingBasis {
    /// Splines from frequency `first` to `last` (1/Å), with knots as near to `spacing` as fits.
    pub fn new(first: f64, last: f64, spacing: f64) -> Self {
        let intervals = ((last - first) / spacing).round().max(1.0);
        Self { first, spacing: (last - first) / intervals, len: intervals as usize + 3 }
    }

    /// Number of splines.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The splines at frequency `k`, held at the range's ends beyond them.
    pub fn at(&self, k: f64) -> Local {
        let place = ((k - self.first) / self.spacing).clamp(0.0, (self.len - 3) as f64);
        let first = (place as usize).min(self.len - 4);
        let t = place - first as f64;
        let (t2, t3) = (t * t, t * t * t);
        let values = [
            (1.0 - t).powi(3) / 6.0,
            (3.0 * t3 - 6.0 * t2 + 4.0) / 6.0,
            (-3.0 * t3 + 3.0 * t2 + 3.0 * t + 1.0) / 6.0,
            t3 / 6.0,
        ];
        Local { first, values }
    }
}

impl Local {
    /// The function with these coefficients.
    pub fn value(&self, coefficients: &[f64]) -> f64 {
        self.values.iter().zip(&coefficients[self.first..]).map(|(value, c)| value * c).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splines_follow_a_parabola_exactly_and_add_up_to_one() {
        let basis = RingBasis::new(0.03, 0.25, 0.02);
        assert_eq!(basis.len(), 14);
        // a uniform cubic spline reproduces t² with the coefficients j² - 1/3, knots counted from the first
        let coefficients: Vec<f64> = (0..14).map(|j| (j as f64 - 1.0).powi(2) - 1.0 / 3.0).collect();
        for k in [0.03, 0.051, 0.13, 0.2499, 0.25] {
            let local = basis.at(k);
            let t = (k - 0.03) / basis.spacing;
            assert!((local.values.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!((local.value(&coefficients) - t * t).abs() < 1e-9, "{k}");
        }
        assert_eq!(basis.at(0.9), basis.at(0.25));
        assert_eq!(basis.at(0.0), basis.at(0.03));
    }
}
