//! What a refinement of several classes reports.

use crate::Ctx;
use crate::map_figures;
use crate::refinement::data::Data;
use crate::refinement::maximisation::HalfMaps;
use crate::refinement::state::State;
use crate::refinement::{Settings, classes};
use ndarray::Array3;
use serde_json::json;
use vitreous_compute::fsc::fsc_of_maps;
use vitreous_model::conventions::resolution_at;
use vitreous_model::report::{Axis, Figure, Report, Series};

/// A class with a smaller share of the particles than this is pointed out.
const SMALL_SHARE: f64 = 0.02;

/// Everything the report is made of; classes are added one by one.
pub struct Story<'a> {
    data: &'a Data,
    settings: &'a Settings,
    state: &'a State,
    fsc: Vec<Vec<f64>>,
    maps: Vec<Array3<f32>>,
}

impl<'a> Story<'a> {
    /// Without any class.
    pub fn new(data: &'a Data, settings: &'a Settings, state: &'a State) -> Self {
        Self { data, settings, state, fsc: Vec::new(), maps: Vec::new() }
    }

    /// Adds the next class: its half maps and the map of both.
    pub fn add(&mut self, maps: &HalfMaps, combined: Array3<f32>) {
        self.fsc.push(maps.fsc.corrected.clone());
        self.maps.push(combined);
    }

    fn resolution(&self, curve: &[f64], threshold: f64) -> f64 {
        resolution_at(curve, threshold, self.data.geometry.n, self.data.geometry.pixel_size_a).0
    }

    /// The report.
    pub fn report(&self, ctx: &Ctx<'_>) -> Report {
        let (data, state) = (self.data, self.state);
        let mut report = Report::new(format!(
            "{} particles in {} classes, {}",
            data.usable.len(),
            self.maps.len(),
            self.settings.symmetry
        ));
        report.number("particles", "Particles", data.usable.len() as f64, "");
        report.number("iterations", "Iterations", f64::from(state.iteration), "");
        self.class_numbers(&mut report);
        let certain =
            |p: &crate::refinement::state::ParticleState| p.modes.first().map_or(0.0, |best| best.share);
        let certainty =
            state.particles.iter().map(certain).sum::<f64>() / state.particles.len().max(1) as f64;
        report.number("class_probability", "Mean probability of the particles' classes", certainty, "");
        if let Some(last) = state.history.last() {
            let moved = last.moved;
            report.number(
                "moved_fraction",
                "Particles that left their class in the last iteration",
                moved,
                "",
            );
            report.number("log_likelihood", "Mean log-likelihood per particle", last.log_likelihood, "nat");
        }
        report.notes = self.notes();
        report.figures = self.figures();
        report.skipped = ctx.skipped();
        report.data.insert("classes".into(), self.class_table());
        report.data.insert("iterations".into(), self.history());
        report
    }

    fn members(&self, class: usize) -> usize {
        self.state.particles.iter().filter(|particle| particle.class() == class).count()
    }

    fn class_numbers(&self, report: &mut Report) {
        for (class, fsc) in self.fsc.iter().enumerate() {
            let number = class + 1;
            let count = self.members(class) as f64;
            report.number(
                &format!("class_{number}_particles"),
                &format!("Class {number}: particles"),
                count,
                "",
            );
            report.number(
                &format!("class_{number}_resolution_A"),
                &format!("Class {number}: resolution (FSC 0.143, corrected for the mask)"),
                self.resolution(fsc, 0.143),
                "Å",
            );
            if class > 0 {
                let with_first = fsc_of_maps(self.maps[0].view(), self.maps[class].view(), None);
                report.number(
                    &format!("class_{number}_like_first_A"),
                    &format!("Class {number}: like class 1 to (FSC 0.5)"),
                    self.resolution(&with_first, 0.5),
                    "Å",
                );
            }
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.state.iteration >= self.settings.max_iterations {
            notes.push(
                "Refinement ended at max_iterations: particles may not have found their classes.".into(),
            );
        }
        let occupancies = classes::occupancies(self.data, &self.state.particles, self.maps.len());
        for (class, share) in classes::shares(&occupancies).iter().enumerate() {
            if *share < SMALL_SHARE {
                notes.push(format!(
                    "Class {} has {:.1} % of the particles: its map means little, and fewer classes may do.",
                    class + 1,
                    100.0 * share
                ));
            }
        }
        notes.push(
            "Classes were chosen and refined together; refine-homogeneous of one class's particles (split-particles by \
             class) gives its map at full resolution."
                .into(),
        );
        notes
    }

    fn figures(&self) -> Vec<Figure> {
        let (n, pixel_a) = (self.data.geometry.n, self.data.geometry.pixel_size_a);
        let labels: Vec<String> = (1..=self.maps.len()).map(|number| format!("class {number}")).collect();
        let curves: Vec<(&str, &[f64])> =
            labels.iter().map(String::as_str).zip(self.fsc.iter().map(Vec::as_slice)).collect();
        let mut figures = vec![
            map_figures::fsc("fsc", "Correlation of the half maps of each class", &curves, n, pixel_a),
            self.course("shares", "Share of the particles in each class", &labels),
        ];
        for (label, map) in labels.iter().zip(&self.maps) {
            let id = label.replace(' ', "-");
            let title = format!("Central slices of {label}");
            figures.push(map_figures::slices(&format!("slices-{id}"), &title, map.view(), pixel_a));
        }
        for (label, map) in labels.iter().zip(&self.maps).skip(1) {
            let id = label.replace(' ', "-");
            let title = format!("Central slices of {label} less class 1");
            let difference = map - &self.maps[0];
            figures.push(map_figures::slices(
                &format!("difference-{id}"),
                &title,
                difference.view(),
                pixel_a,
            ));
        }
        figures
    }

    fn course(&self, id: &str, title: &str, labels: &[String]) -> Figure {
        let x: Vec<f64> = (1..=self.state.history.len()).map(|i| i as f64).collect();
        let line = |(class, label): (usize, &String)| {
            let share = |shares: &Vec<f64>| if shares.len() > 1 { shares[class] } else { f64::NAN };
            Series::line(label, x.clone(), self.state.history.iter().map(|record| share(&record.shares)))
        };
        let mut series: Vec<Series> = labels.iter().enumerate().map(line).collect();
        series.push(Series::line("left their class", x.clone(), self.state.history.iter().map(|r| r.moved)));
        Figure::Plot {
            id: id.into(),
            title: title.into(),
            x: Axis::new("iteration", ""),
            y: Axis::new("share of the particles", ""),
            series,
            levels: Vec::new(),
            x_is_resolution: false,
            equal_axes: false,
        }
    }

    fn class_table(&self) -> serde_json::Value {
        let edge_a = self.data.geometry.edge_a();
        let row = |(class, fsc): (usize, &Vec<f64>)| {
            let curve: Vec<_> = fsc
                .iter()
                .enumerate()
                .map(|(shell, value)| json!({"frequency_per_A": shell as f64 / edge_a, "corrected": value}))
                .collect();
            json!({"class": class + 1, "particles": self.members(class), "fsc": curve})
        };
        self.fsc.iter().enumerate().map(row).collect()
    }

    fn history(&self) -> serde_json::Value {
        let finite = |value: f64| value.is_finite().then_some(value);
        let records = self.state.history.iter().enumerate();
        records
            .map(|(index, record)| {
                json!({
                    "iteration": index + 1,
                    "resolution_A": finite(record.resolution_a),
                    "shares": record.shares,
                    "moved_fraction": finite(record.moved),
                    "jumped_fraction": finite(record.jumped),
                    "change_deg": finite(record.change_deg),
                    "log_likelihood_nat": finite(record.log_likelihood),
                })
            })
            .collect()
    }
}
