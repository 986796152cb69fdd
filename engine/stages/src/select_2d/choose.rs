//! Which classes are kept, and why the others are not.

use vitreous_jobs::select_2d::Select2d;
use vitreous_model::class_average::ClassAverage;
use vitreous_model::params::BadParam;

/// Classes that hold this part of the particles, by their detail from the best, are good beyond doubt; the last of them
/// is what others are compared with.
const BEST_PART: f64 = 0.2;

/// Noise shows up to 1.5 nats of detail where some hundred images of it were aligned to their own average.
const NOISE_NATS: f64 = 2.0;

/// A class and what was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Number of the class.
    pub number: u32,
    /// Why it is left out; `None` if it is kept.
    pub reason: Option<String>,
}

/// The detail that classes are compared with: that of the class that ends the best fifth of the particles.
pub fn usual_detail(classes: &[ClassAverage]) -> f64 {
    let mut order: Vec<&ClassAverage> = classes.iter().filter(|class| class.particles > 0).collect();
    order.sort_by(|a, b| b.detail.total_cmp(&a.detail));
    let total: u64 = order.iter().map(|class| class.particles).sum();
    let mut seen = 0;
    for class in &order {
        seen += class.particles;
        if seen as f64 >= BEST_PART * total as f64 {
            return class.detail;
        }
    }
    0.0
}

/// Decides on every class.
///
/// # Errors
/// Numbers of classes that there are not.
pub fn choose(params: &Select2d, classes: &[ClassAverage]) -> Result<Vec<Decision>, BadParam> {
    let wanted = known("classes", &params.classes, classes)?;
    let unwanted = known("exclude", &params.exclude, classes)?;
    let by_hand = !wanted.is_empty();
    let least_detail = if params.min_detail > 0.0 {
        (params.min_detail * usual_detail(classes)).max(NOISE_NATS)
    } else {
        f64::NEG_INFINITY
    };
    let reason = |class: &ClassAverage| -> Option<String> {
        if unwanted.contains(&class.number) {
            return Some("excluded".into());
        }
        if by_hand {
            return (!wanted.contains(&class.number)).then(|| "not among those named".into());
        }
        if class.particles == 0 {
            return Some("empty".into());
        }
        if class.particles < params.min_particles {
            return Some(format!("{} particles, fewer than {}", class.particles, params.min_particles));
        }
        if let Some(limit) = params.max_resolution.filter(|&limit| class.resolution_a > limit) {
            return Some(format!("resolved to {:.1} Å, worse than {limit} Å", class.resolution_a));
        }
        (class.detail < least_detail)
            .then(|| format!("detail {:.2} nats, less than {least_detail:.2}", class.detail))
    };
    Ok(classes.iter().map(|class| Decision { number: class.number, reason: reason(class) }).collect())
}

/// The numbers of a list, all of which are classes.
fn known(key: &'static str, list: &str, classes: &[ClassAverage]) -> Result<Vec<u32>, BadParam> {
    let numbers = Select2d::numbers(key, list)?;
    let missing = numbers.iter().find(|&&number| !classes.iter().any(|class| class.number == number));
    match missing {
        None => Ok(numbers),
        Some(number) => {
            let largest = classes.iter().map(|class| class.number).max().unwrap_or(0);
            let text = format!("names class {number}, but the classes are numbered up to {largest}");
            Err(BadParam::new(key, list, &text))
        }
    }
}
