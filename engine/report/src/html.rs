//! The page: one file that opens anywhere, with no script and nothing loaded from elsewhere.

use crate::escape::escape;
use crate::number::grouped;
use crate::svg::{self, STYLE, Setting};
use crate::{Report, ReportError, clean, files};
use serde_json::{Map, Value};
use vitreous_model::report::{Cell, Figure, Number, Skipped, Table};

const PAGE_STYLE: &str = include_str!("page.css");
/// Rasters of at least this width take the full width of the page.
const WIDE_RASTER: u32 = 700;
/// Rows of a table that are shown; the rest is in report.json.
const SHOWN_ROWS: usize = 300;
/// With up to so many rows the list of skipped items stands open.
const OPEN_ROWS: usize = 8;

/// The report as one HTML document: key figures, notes, tables, figures, skipped items and the records.
///
/// # Errors
/// [`ReportError::Figure`] as [`crate::write`].
pub fn render_html(report: &Report) -> Result<String, ReportError> {
    let report = clean::cleaned(report);
    files::check_ids(&report)?;
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{PAGE_STYLE}{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    out += &cards(&report.numbers);
    if !report.notes.is_empty() {
        let items: String = report.notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
        out += &format!("<ul class=\"notes\">\n{items}</ul>\n");
    }
    report.tables.iter().for_each(|table| out += &table_html(table));
    if !report.figures.is_empty() {
        out += "<div class=\"figures\">\n";
        for figure in &report.figures {
            out += &figure_html(figure)?;
        }
        out += "</div>\n";
    }
    out += &skipped_html(&report.skipped);
    for (name, value) in &report.data {
        out += &records_html(name, value);
    }
    out += "<footer>Drawn by Vitreous from report.json</footer>\n</main>\n</body>\n</html>\n";
    Ok(out)
}

pub(crate) fn cards(numbers: &[Number]) -> String {
    if numbers.is_empty() {
        return String::new();
    }
    let card = |number: &Number| {
        let value = number.value.map_or("–".into(), grouped);
        let unit =
            if number.unit.is_empty() { String::new() } else { format!("<i>{}</i>", escape(&number.unit)) };
        format!("<li><span class=\"label\">{}</span><b>{value}{unit}</b></li>\n", escape(&number.label))
    };
    format!("<ul class=\"cards\">\n{}</ul>\n", numbers.iter().map(card).collect::<String>())
}

pub(crate) fn figure_html(figure: &Figure) -> Result<String, ReportError> {
    let (class, title) = match figure {
        Figure::Image { raster, title, .. } if raster.width >= WIDE_RASTER => ("image wide", title),
        Figure::Image { title, .. } => ("image", title),
        Figure::Plot { title, .. } | Figure::Directions { title, .. } => ("plot", title),
    };
    let drawing = svg::figure_svg(figure, Setting::Page)?;
    let (id, title) = (escape(figure.id()), escape(title));
    Ok(format!(
        "<figure id=\"{id}\" class=\"{class}\">\n<figcaption>{title}</figcaption>\n{drawing}</figure>\n"
    ))
}

fn table_html(table: &Table) -> String {
    let is_number =
        |column: usize| table.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Number(_))));
    let class = |column: usize| if is_number(column) { " class=\"n\"" } else { "" };
    let head: String = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let unit = if column.unit.is_empty() { String::new() } else { format!(" ({})", column.unit) };
            format!("<th{}>{}{}</th>", class(index), escape(&column.label), escape(&unit))
        })
        .collect();
    let cell = |(index, cell): (usize, &Cell)| match cell {
        Cell::Number(value) => format!("<td class=\"n\">{}</td>", grouped(*value)),
        Cell::Text(text) => format!("<td{}>{}</td>", class(index), escape(text)),
        Cell::Absent => format!("<td{}>–</td>", class(index)),
    };
    let row =
        |row: &Vec<Cell>| format!("<tr>{}</tr>\n", row.iter().enumerate().map(cell).collect::<String>());
    let rows: String = table.rows.iter().take(SHOWN_ROWS).map(row).collect();
    format!(
        "<section class=\"table\">\n<h2>{}</h2>\n<div class=\"scroll\"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n{}</section>\n",
        escape(&table.title),
        left_out(table.rows.len())
    )
}

fn skipped_html(skipped: &[Skipped]) -> String {
    if skipped.is_empty() {
        return String::new();
    }
    let open = if skipped.len() <= OPEN_ROWS { " open" } else { "" };
    let row = |s: &Skipped| format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(&s.item), escape(&s.reason));
    let rows: String = skipped.iter().take(SHOWN_ROWS).map(row).collect();
    format!(
        "<details{open}>\n<summary>Skipped: {}</summary>\n<div class=\"scroll\"><table>\n\
         <tr><th>Item</th><th>Reason</th></tr>\n{rows}</table></div>\n{}</details>\n",
        skipped.len(),
        left_out(skipped.len())
    )
}

fn left_out(rows: usize) -> String {
    match rows.saturating_sub(SHOWN_ROWS) {
        0 => String::new(),
        more => format!("<p>… and {more} more in report.json</p>\n"),
    }
}

/// A list of objects as a table, columns in the order in which keys first come; anything else is not shown.
fn records_html(name: &str, value: &Value) -> String {
    let objects: Option<Vec<&Map<String, Value>>> =
        value.as_array().map(|list| list.iter().filter_map(Value::as_object).collect());
    let Some(objects) = objects.filter(|list| !list.is_empty()) else { return String::new() };
    let mut keys: Vec<&str> = Vec::new();
    for key in objects.iter().take(SHOWN_ROWS).flat_map(|object| object.keys()) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let head: String = keys
        .iter()
        .map(|key| {
            let number = objects.iter().any(|object| object.get(*key).is_some_and(Value::is_number));
            format!("<th{}>{}</th>", if number { " class=\"n\"" } else { "" }, escape(key))
        })
        .collect();
    let rows: String = objects
        .iter()
        .take(SHOWN_ROWS)
        .map(|object| {
            format!("<tr>{}</tr>\n", keys.iter().map(|key| cell(object.get(*key))).collect::<String>())
        })
        .collect();
    format!(
        "<details>\n<summary>{}: {}</summary>\n<div class=\"scroll\"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n{}</details>\n",
        escape(name),
        objects.len(),
        left_out(objects.len())
    )
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "<td>–</td>".into(),
        Some(Value::Number(number)) => {
            format!("<td class=\"n\">{}</td>", number.as_f64().map_or_else(|| number.to_string(), grouped))
        }
        Some(Value::String(text)) => format!("<td>{}</td>", escape(text)),
        Some(other) => format!("<td>{}</td>", escape(&other.to_string())),
    }
}
