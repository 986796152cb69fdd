//! FSC curves as the EMDB takes them: one curve in an XML file.
//!
//! ```xml
//! <fsc title="…" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">
//!   <coordinate>
//!     <x>0.01</x>
//!     <y>0.999</y>
//!   </coordinate>
//! </fsc>
//! ```
//! x is the spatial frequency in 1/Å.

use roxmltree::{Document, Node, ParsingOptions};
use std::io::{self, Write};

/// What x is, as the EMDB writes it.
pub const X_AXIS: &str = "Resolution (A-1)";
/// What y is.
pub const Y_AXIS: &str = "Correlation Coefficient";
/// Nodes of the largest document that is read: a curve of a box of 4,096 has 2,049 points of 5 nodes with their text.
const MOST_NODES: u32 = 1 << 16;

/// A curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FscCurve {
    /// For people.
    pub title: String,
    /// Spatial frequency (1/Å) and correlation, by rising frequency.
    pub points: Vec<(f64, f64)>,
}

/// Why a file is no curve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FscXmlError {
    /// No XML.
    #[error("not XML: {0}")]
    Syntax(String),
    /// XML of another form.
    #[error("line {line}: found {found}, expected {expected}")]
    Form {
        /// Where.
        line: u32,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
}

impl FscCurve {
    /// A curve by shell (from 0) of a box of `n` pixels of `pixel_size_a` Å, without shell 0.
    pub fn of_shells(title: &str, curve: &[f64], n: usize, pixel_size_a: f64) -> Self {
        let edge_a = n as f64 * pixel_size_a;
        let points = curve.iter().enumerate().skip(1).map(|(shell, &value)| (shell as f64 / edge_a, value));
        Self { title: title.into(), points: points.collect() }
    }

    /// Writes it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        let title = escaped(&self.title);
        writeln!(out, "<fsc title=\"{title}\" xaxis=\"{X_AXIS}\" yaxis=\"{Y_AXIS}\">")?;
        for (x, y) in &self.points {
            writeln!(out, "  <coordinate>\n    <x>{x:.6}</x>\n    <y>{y:.6}</y>\n  </coordinate>")?;
        }
        writeln!(out, "</fsc>")
    }

    /// Reads one, and nothing that has another form: every element and attribute as above, frequencies rising.
    ///
    /// # Errors
    /// No XML, or another form.
    pub fn read(text: &str) -> Result<Self, FscXmlError> {
        let options = ParsingOptions { nodes_limit: MOST_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options)
            .map_err(|error| FscXmlError::Syntax(error.to_string()))?;
        let root = document.root_element();
        let form = |node: Node<'_, '_>, found: &str, expected| {
            let line = document.text_pos_at(node.range().start).row;
            FscXmlError::Form { line, found: found.into(), expected }
        };
        if root.tag_name().name() != "fsc" || root.tag_name().namespace().is_some() {
            return Err(form(root, root.tag_name().name(), "the element fsc"));
        }
        for attribute in ["title", "xaxis", "yaxis"] {
            if root.attribute(attribute).is_none() {
                return Err(form(root, "none of it", "the attributes title, xaxis and yaxis"));
            }
        }
        let mut points: Vec<(f64, f64)> = Vec::new();
        for coordinate in elements(root) {
            if coordinate.tag_name().name() != "coordinate" {
                return Err(form(coordinate, coordinate.tag_name().name(), "the element coordinate"));
            }
            let values: Vec<Node<'_, '_>> = elements(coordinate).collect();
            let [x, y] = values.as_slice() else {
                return Err(form(coordinate, &format!("{} elements", values.len()), "x and y"));
            };
            let number = |node: &Node<'_, '_>, name| {
                let text = node.text().unwrap_or_default().trim();
                let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
                let value = value.ok_or_else(|| form(*node, text, "a number"))?;
                if node.tag_name().name() == name {
                    Ok(value)
                } else {
                    Err(form(*node, node.tag_name().name(), "x, then y"))
                }
            };
            let point = (number(x, "x")?, number(y, "y")?);
            if points.last().is_some_and(|last| last.0 >= point.0) {
                return Err(form(coordinate, &point.0.to_string(), "a higher frequency than before"));
            }
            points.push(point);
        }
        if points.is_empty() {
            return Err(form(root, "no coordinate", "at least one"));
        }
        Ok(Self { title: root.attribute("title").unwrap_or_default().into(), points })
    }
}

fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// Text for an attribute. Characters that XML has no place for are left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> FscCurve {
        FscCurve::of_shells("\"half\" maps <1 & 2>", &[1.0, 0.99, 0.5, -0.01], 6, 2.0)
    }

    fn text(curve: &FscCurve) -> String {
        let mut out = Vec::new();
        curve.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_curve_is_written_in_the_schema_s_form_and_read_back() {
        let text = text(&curve());
        let read = FscCurve::read(&text).unwrap();
        assert_eq!(read.title, "\"half\" maps <1 & 2>");
        assert_eq!(read.points, [(0.083333, 0.99), (0.166667, 0.5), (0.25, -0.01)]);
        assert!(text.contains("xaxis=\"Resolution (A-1)\" yaxis=\"Correlation Coefficient\">\n  <coordinate>\n    <x>0.083333</x>"));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let text = text(&curve());
        for end in 0..text.trim_end().len() {
            if text.is_char_boundary(end) {
                assert!(FscCurve::read(&text[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn other_forms_are_told() {
        let axes = "title=\"t\" xaxis=\"x\" yaxis=\"y\"";
        for (text, word) in [
            ("<a/>".to_string(), "found a, expected the element fsc"),
            ("<fsc/>".to_string(), "title, xaxis"),
            (format!("<fsc {axes}/>"), "at least one"),
            (format!("<fsc {axes}><point/></fsc>"), "the element coordinate"),
            (format!("<fsc {axes}>\n<coordinate><x>1</x></coordinate></fsc>"), "line 2: found 1 elements"),
            (format!("<fsc {axes}><coordinate><y>1</y><x>1</x></coordinate></fsc>"), "x, then y"),
            (format!("<fsc {axes}><coordinate><x>1</x><y>inf</y></coordinate></fsc>"), "a number"),
            (
                format!("<fsc {axes}>{0}{0}</fsc>", "<coordinate><x>1</x><y>1</y></coordinate>"),
                "a higher frequency",
            ),
        ] {
            let error = FscCurve::read(&text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
