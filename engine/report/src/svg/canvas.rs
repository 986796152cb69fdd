//! Building SVG text: elements with a class, coordinates in user units (x right, y down).

use super::{STYLE, Setting};
use crate::escape::escape;

/// Which end of a text stands at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A drawing that grows by elements.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    width: f64,
    height: f64,
    body: String,
}

/// A coordinate with as many decimals as anyone sees, and no trailing zeros.
pub(super) fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// About the width of a text, in units of its font size: enough for margins and legends.
pub(super) fn text_width_em(text: &str) -> f64 {
    text.chars()
        .map(|c| if matches!(c, 'i' | 'l' | '.' | ',' | ' ' | '\u{2009}' | '|' | 'I') { 0.32 } else { 0.58 })
        .sum()
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(coordinate);
        self.raw(&format!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    pub(super) fn rect(&mut self, attributes: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
        let [x, y, width, height] = [x, y, width, height].map(coordinate);
        self.raw(&format!(r#"<rect {attributes} x="{x}" y="{y}" width="{width}" height="{height}"/>"#));
    }

    pub(super) fn circle(&mut self, [x, y]: [f64; 2], radius: f64) {
        let [x, y, radius] = [x, y, radius].map(coordinate);
        self.raw(&format!(r#"<circle cx="{x}" cy="{y}" r="{radius}"/>"#));
    }

    pub(super) fn path(&mut self, attributes: &str, d: &str) {
        self.raw(&format!(r#"<path {attributes} d="{d}"/>"#));
    }

    /// `attributes` are ours (class, transform); `text` is escaped.
    pub(super) fn text(&mut self, attributes: &str, anchor: Anchor, [x, y]: [f64; 2], text: &str) {
        let [x, y] = [x, y].map(coordinate);
        let (anchor, text) = (anchor.word(), escape(text));
        self.raw(&format!(r#"<text {attributes} x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#));
    }

    pub(super) fn open_group(&mut self, attributes: &str) {
        self.raw(&format!("<g {attributes}>"));
    }

    pub(super) fn close_group(&mut self) {
        self.raw("</g>");
    }

    /// An element as text; the caller has escaped it.
    pub(super) fn raw(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole document or element. In a file of its own the title stands above the drawing.
    pub(super) fn finish(self, title: &str, setting: Setting) -> String {
        let Self { width, height, body } = self;
        let escaped = escape(title);
        let open = |top: f64, bottom: f64, extra: &str| {
            let view = [0.0, -top, width, height + top + bottom].map(coordinate).join(" ");
            format!(r#"<svg class="vf" {extra}viewBox="{view}" role="img"><title>{escaped}</title>"#) + "\n"
        };
        match setting {
            Setting::Page => open(0.0, 0.0, "") + &body + "</svg>\n",
            Setting::File => {
                // a raster's own pixels are the unit there, so the title's size follows the width
                let unit = (width / 480.0).max(0.1);
                let lines = wrapped(title, 0.94 * width / (14.5 * unit));
                let top = (lines.len() as f64 * 19.0 + 13.0) * unit;
                let size = format!(
                    r#"xmlns="http://www.w3.org/2000/svg" width="{}" "#,
                    coordinate(width.max(640.0))
                );
                let mut head = Self::new(width, height);
                head.raw(&format!("<style>{STYLE}</style>"));
                head.rect(r#"class="paper""#, [0.0, -top], [width, height + top]);
                for (i, line) in lines.iter().enumerate() {
                    let y = -top + (22.0 + 19.0 * i as f64) * unit;
                    let style = format!(r#"class="name" style="font-size:{}px""#, coordinate(14.5 * unit));
                    head.text(&style, Anchor::Start, [12.0 * unit, y], line);
                }
                open(top, 0.0, &size) + &head.body + &body + "</svg>\n"
            }
        }
    }
}

/// Lines of at most `width_em` (one word may be longer), at most three.
fn wrapped(text: &str, width_em: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if lines_fit(line, word, width_em) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    if lines.len() > 3 {
        lines.truncate(3);
        lines[2].push_str(" …");
    }
    lines
}

fn lines_fit(line: &str, word: &str, width_em: f64) -> bool {
    text_width_em(line) + text_width_em(word) + 0.32 <= width_em
}
