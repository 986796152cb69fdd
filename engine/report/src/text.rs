//! A report for a terminal.

use crate::number::plain;
use crate::{Report, clean};
use vitreous_model::report::{Cell, Figure, Series, SeriesStyle, Table};

/// Items of `skipped` that are listed; the rest is counted.
const LISTED: usize = 10;
/// Characters of a curve.
const SPARK_WIDTH: usize = 48;

/// The report in plain text: headline, key figures, tables, a line of blocks per plot, notes and what was skipped.
/// Ends with a newline; holds no escape sequences, and control characters of names are replaced.
pub fn summary_text(report: &Report) -> String {
    let report = clean::cleaned(report);
    let mut out = format!("{}\n", one_line(&report.title));
    let width = report.numbers.iter().map(|n| n.label.chars().count()).max().unwrap_or(0);
    for number in &report.numbers {
        let value = number.value.map_or("–".into(), plain);
        let line = format!("  {:width$}  {value} {}", one_line(&number.label), one_line(&number.unit));
        out += line.trim_end();
        out.push('\n');
    }
    report.tables.iter().for_each(|table| out += &table_text(table));
    for figure in &report.figures {
        if let Some(line) = sparkline_of(figure) {
            out += &line;
        }
    }
    for note in &report.notes {
        out += &format!("  note: {}\n", one_line(note));
    }
    if !report.skipped.is_empty() {
        out += &format!("  skipped: {}\n", report.skipped.len());
        for skipped in report.skipped.iter().take(LISTED) {
            out += &format!("    {}: {}\n", one_line(&skipped.item), one_line(&skipped.reason));
        }
        if report.skipped.len() > LISTED {
            out += &format!("    … and {} more\n", report.skipped.len() - LISTED);
        }
    }
    out
}

/// Rows of a table that are listed.
const LISTED_ROWS: usize = 40;

/// The title and the rows, columns aligned, numbers to the right.
fn table_text(table: &Table) -> String {
    let head = table.columns.iter().map(|column| match column.unit.as_str() {
        "" => one_line(&column.label),
        unit => format!("{} ({})", one_line(&column.label), one_line(unit)),
    });
    let text = |cell: &Cell| match cell {
        Cell::Number(value) => plain(*value),
        Cell::Text(text) => one_line(text),
        Cell::Absent => "–".into(),
    };
    let shown = table.rows.iter().take(LISTED_ROWS);
    let rows: Vec<Vec<String>> =
        std::iter::once(head.collect()).chain(shown.map(|row| row.iter().map(text).collect())).collect();
    let length = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|column| rows.iter().map(|row| length(row, column)).max().unwrap_or(0))
        .collect();
    let is_number =
        |column: usize| table.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Number(_))));
    let mut out = format!("  {}\n", one_line(&table.title));
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if is_number(column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        out += format!("    {}", cells.collect::<Vec<_>>().join("  ")).trim_end();
        out.push('\n');
    }
    if table.rows.len() > LISTED_ROWS {
        out += &format!("    … and {} more\n", table.rows.len() - LISTED_ROWS);
    }
    out
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `  title  ▁▂▅█  0.010 to 0.998`, for the first curve of a plot.
fn sparkline_of(figure: &Figure) -> Option<String> {
    let Figure::Plot { title, series, y, .. } = figure else { return None };
    let curve = series.iter().find(|s| s.style != SeriesStyle::Points)?;
    let (blocks, low, high) = sparkline(curve)?;
    let range = format!("{} to {} {}", plain(low), plain(high), one_line(&y.unit));
    Some(format!("  {}\n    {blocks}  {}\n", one_line(title), range.trim_end()))
}

/// Means of the curve's values in equal parts of its x range as blocks of eight heights, and their extremes.
fn sparkline(curve: &Series) -> Option<(String, f64, f64)> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points: Vec<(f64, f64)> =
        curve.x.iter().zip(&curve.y).filter_map(|(x, y)| y.map(|y| (*x, y))).collect();
    let extreme = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (first, last) = extreme(&mut points.iter().map(|p| p.0));
    if points.len() < 2 || first >= last {
        return None;
    }
    let width = SPARK_WIDTH.min(curve.x.len());
    let mut sums = vec![(0.0, 0u32); width];
    for (x, y) in points {
        let part = (((x - first) / (last - first) * width as f64) as usize).min(width - 1);
        sums[part].0 += y;
        sums[part].1 += 1;
    }
    let means: Vec<Option<f64>> = sums.iter().map(|(sum, n)| (*n > 0).then(|| sum / f64::from(*n))).collect();
    let (low, high) = extreme(&mut means.iter().flatten().copied());
    let scale = if high > low { 7.999 / (high - low) } else { 0.0 };
    let block = |mean: &Option<f64>| mean.map_or(' ', |v| BLOCKS[((v - low) * scale) as usize]);
    Some((means.iter().map(block).collect(), low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_model::report::{Axis, Skipped};

    #[test]
    fn text_is_aligned_and_counts_what_it_leaves_out() {
        let mut report = Report::new("Refinement");
        report.number("resolution_A", "Resolution", 3.4178, "Å");
        report.number("particles", "Particles", 12345.0, "");
        report.number("bfactor_A2", "B factor", f64::NAN, "Å²");
        report.notes.push("one\u{1b}[31m note".into());
        report.figures.push(Figure::Plot {
            id: "fsc".into(),
            title: "FSC".into(),
            x: Axis::new("Resolution", "Å"),
            y: Axis::new("FSC", ""),
            series: vec![Series::line("masked", vec![0.0, 1.0, 2.0, 3.0], [1.0, 0.5, f64::NAN, 0.0])],
            levels: vec![],
            x_is_resolution: true,
            equal_axes: false,
        });
        for i in 0..12 {
            report.skipped.push(Skipped { item: format!("m{i}"), reason: "truncated".into() });
        }
        let text = summary_text(&report);
        let expected = "Refinement\n  Resolution  3.42 Å\n  Particles   12345\n  B factor    – Å²\n  FSC\n    █▄ ▁  0 to 1\n  \
                        note: one [31m note\n  skipped: 12\n    m0: truncated\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("    m9: truncated\n    … and 2 more\n"), "{text}");
    }

    #[test]
    fn tables_have_aligned_columns_with_units() {
        let mut report = Report::new("Test");
        let mut table = Table::new("Checks", &[("what", ""), ("speed", "MB/s")]);
        table.rows.push(vec!["a long name".into(), 12.0.into()]);
        table.rows.push(vec!["b".into(), f64::NAN.into()]);
        report.tables.push(table);
        let expected = "Test\n  Checks\n    what         speed (MB/s)\n    a long name            12\n    b                       –\n";
        assert_eq!(summary_text(&report), expected);
        let page = crate::render_html(&report).unwrap();
        assert!(
            page.contains("<th class=\"n\">speed (MB/s)</th>") && page.contains("<td class=\"n\">–</td>"),
            "{page}"
        );
        let stored = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&stored).unwrap(), report);
    }
}
