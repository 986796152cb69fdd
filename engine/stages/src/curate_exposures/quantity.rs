//! What exposures are judged by.

use super::run::Judged;
use vitreous_jobs::curate_exposures::CurateExposures;
use vitreous_model::exposure::{CtfFit, Exposure, MotionSummary};

/// A figure of an exposure with its thresholds.
pub(super) struct Quantity {
    /// Name for programs, with the unit.
    pub key: &'static str,
    /// Name for people, as in "its … is 3".
    pub label: &'static str,
    /// Unit; empty for none.
    pub unit: &'static str,
    /// The job type whose results hold it.
    pub made_by: &'static str,
    /// Its value; `None` where it is not known.
    value: fn(&Exposure, Option<f64>) -> Option<f64>,
    /// Lower threshold, upper threshold.
    limits: fn(&CurateExposures) -> [Option<f64>; 2],
}

impl Quantity {
    /// The value of an exposure; `None` where it is not known.
    pub fn of(&self, exposure: &Exposure, judged: &Judged) -> Option<f64> {
        (self.value)(exposure, judged.mean).filter(|value| value.is_finite())
    }

    /// Lower and upper threshold; `None`: none.
    pub fn limits(&self, params: &CurateExposures) -> [Option<f64>; 2] {
        (self.limits)(params)
    }

    /// Whether a threshold was given.
    pub fn is_asked(&self, params: &CurateExposures) -> bool {
        self.limits(params).iter().any(Option::is_some)
    }

    /// Why the exposure does not pass; `None`: it does.
    pub fn complaint(
        &self,
        exposure: &Exposure,
        mean: Option<f64>,
        params: &CurateExposures,
    ) -> Option<String> {
        if !self.is_asked(params) {
            return None;
        }
        let with_unit = |value: f64| {
            let value = format!("{value:.4}");
            let value = value.trim_end_matches('0').trim_end_matches('.');
            format!("{value} {}", self.unit).trim_end().to_string()
        };
        let Some(value) = (self.value)(exposure, mean).filter(|value| value.is_finite()) else {
            return Some(format!("its {} is not known", self.label));
        };
        match self.limits(params) {
            [Some(low), _] if value < low => {
                Some(format!("its {} is {}, the least is {}", self.label, with_unit(value), with_unit(low)))
            }
            [_, Some(high)] if value > high => {
                Some(format!("its {} is {}, the most is {}", self.label, with_unit(value), with_unit(high)))
            }
            _ => None,
        }
    }
}

macro_rules! of_ctf {
    ($value:expr) => {
        |exposure, _| {
            let value: fn(&CtfFit) -> f64 = $value;
            exposure.ctf.as_ref().map(value)
        }
    };
}

macro_rules! of_motion {
    ($value:expr) => {
        |exposure, _| {
            let value: fn(&MotionSummary) -> f64 = $value;
            exposure.motion.as_ref().map(value)
        }
    };
}

/// Every quantity, in the order of the report. A rejected exposure counts for the first one that it fails.
pub(super) static QUANTITIES: &[Quantity] = &[
    Quantity {
        key: "fit_resolution_A",
        label: "fit resolution",
        unit: "Å",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.fit_resolution_a),
        limits: |p| [None, p.max_fit_resolution],
    },
    Quantity {
        key: "defocus_A",
        label: "mean defocus",
        unit: "Å",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| 0.5 * (fit.ctf.defocus_u_a + fit.ctf.defocus_v_a)),
        limits: |p| [p.min_defocus, p.max_defocus],
    },
    Quantity {
        key: "astigmatism_A",
        label: "astigmatism",
        unit: "Å",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| (fit.ctf.defocus_u_a - fit.ctf.defocus_v_a).abs()),
        limits: |p| [None, p.max_astigmatism],
    },
    Quantity {
        key: "score",
        label: "correlation with the CTF's fit",
        unit: "",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.score),
        limits: |p| [p.min_score, None],
    },
    Quantity {
        key: "defocus_error_A",
        label: "standard error of the defocus",
        unit: "Å",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.defocus_error_a.unwrap_or(f64::NAN)),
        limits: |p| [None, p.max_defocus_error],
    },
    Quantity {
        key: "tilt_deg",
        label: "tilt",
        unit: "°",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.surface.tilt().0),
        limits: |p| [None, p.max_tilt],
    },
    Quantity {
        key: "ice_ring",
        label: "ring of ice",
        unit: "",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.ice_ring.unwrap_or(f64::NAN)),
        limits: |p| [None, p.max_ice],
    },
    Quantity {
        key: "drift_A",
        label: "drift seen in the spectrum",
        unit: "Å",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.drift_a.unwrap_or(f64::NAN)),
        limits: |p| [None, p.max_drift],
    },
    Quantity {
        key: "phase_shift_deg",
        label: "phase shift",
        unit: "°",
        made_by: "estimate-ctf",
        value: of_ctf!(|fit| fit.ctf.phase_shift.0),
        limits: |p| [p.min_phase_shift, p.max_phase_shift],
    },
    Quantity {
        key: "motion_A",
        label: "motion",
        unit: "Å",
        made_by: "correct-motion",
        value: of_motion!(|motion| motion.total_a),
        limits: |p| [None, p.max_motion],
    },
    Quantity {
        key: "early_motion_A",
        label: "early motion",
        unit: "Å",
        made_by: "correct-motion",
        value: of_motion!(|motion| motion.early_a),
        limits: |p| [None, p.max_early_motion],
    },
    Quantity {
        key: "late_motion_A",
        label: "late motion",
        unit: "Å",
        made_by: "correct-motion",
        value: of_motion!(|motion| motion.late_a),
        limits: |p| [None, p.max_late_motion],
    },
    Quantity {
        key: "mean",
        label: "mean grey value",
        unit: "",
        made_by: "import-micrographs",
        value: |_, mean| mean,
        limits: |p| [p.min_mean, p.max_mean],
    },
];
