//! mmCIF: the categories `atom_site`, `struct`, `entry`, `citation`, and those of the assemblies.

use super::pdb::LARGEST_COORDINATE_A;
use super::{Assembly, AssemblyPart, Atom, AtomicModel, AtomicModelError, Element, RigidMotion, WATER};
use std::collections::HashMap;
use std::path::Path;

/// More motions in one assembly than any virus has (a broken file must not make us allocate for them).
const MAX_MOTIONS: usize = 100_000;

/// A word of the file: bare, quoted, or a text between lines that begin with `;`.
struct Token<'a> {
    text: &'a str,
    bare: bool,
    line: usize,
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at)? {
                b'\n' => self.line += 1,
                b if b.is_ascii_whitespace() => {}
                b'#' => {
                    while bytes.get(self.at + 1).is_some_and(|b| *b != b'\n') {
                        self.at += 1;
                    }
                }
                b';' if self.at == 0 || bytes[self.at - 1] == b'\n' => return Some(self.text_field()),
                quote @ (b'\'' | b'"') => return Some(self.quoted(*quote)),
                _ => {
                    let rest = &self.text[self.at..];
                    let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
                    self.at += end;
                    return Some(Token { text: &rest[..end], bare: true, line: self.line });
                }
            }
            self.at += 1;
        }
    }
}

impl<'a> Tokens<'a> {
    /// From a `;` at the start of a line to the next; without an end, to that of the file.
    fn text_field(&mut self) -> Token<'a> {
        let start = self.at + 1;
        let rest = &self.text[start..];
        let length = rest.find("\n;").unwrap_or(rest.len());
        let token = Token { text: &rest[..length], bare: false, line: self.line };
        self.line += token.text.matches('\n').count() + 1;
        self.at = (start + length + 2).min(self.text.len());
        token
    }

    /// To the same quote before a blank; without one, to the end of the line.
    fn quoted(&mut self, quote: u8) -> Token<'a> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let blank = |at: usize| bytes.get(at).is_none_or(u8::is_ascii_whitespace);
        let stops = |at: usize| bytes[at] == b'\n' || (bytes[at] == quote && blank(at + 1));
        let end = (start..bytes.len()).find(|&at| stops(at)).unwrap_or(bytes.len());
        self.at = if bytes.get(end) == Some(&quote) { end + 1 } else { end };
        Token { text: &self.text[start.min(end)..end], bare: false, line: self.line }
    }
}

/// A category: items and rows of values.
#[derive(Default)]
struct Category<'a> {
    items: Vec<&'a str>,
    cells: Vec<(&'a str, usize)>,
}

impl<'a> Category<'a> {
    fn find(&self, item: &str) -> Option<usize> {
        self.items.iter().position(|name| *name == item)
    }

    fn rows(&self) -> impl Iterator<Item = &[(&'a str, usize)]> {
        self.cells.chunks_exact(self.items.len().max(1))
    }

    /// A value of the first row; `?` and `.` stand for none.
    fn first(&self, item: &str) -> Option<&'a str> {
        let column = self.find(item)?;
        let value = self.rows().next()?[column].0.trim();
        (value != "?" && value != ".").then_some(value)
    }
}

/// The categories that are looked at.
const KNOWN: &[&str] =
    &["entry", "struct", "citation", "atom_site", "pdbx_struct_assembly_gen", "pdbx_struct_oper_list"];

struct File<'a> {
    path: &'a Path,
    categories: HashMap<&'a str, Category<'a>>,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<AtomicModel, AtomicModelError> {
    let file = File::scan(path, text)?;
    let first = |category: &str, item: &str| {
        let value = file.categories.get(category).and_then(|c| c.first(item)).unwrap_or("");
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut model = AtomicModel {
        id: first("entry", "id"),
        title: first("struct", "title"),
        citation: [
            first("citation", "journal_abbrev"),
            first("citation", "journal_volume"),
            first("citation", "year"),
        ]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" "),
        ..AtomicModel::default()
    };
    file.atoms(&mut model)?;
    model.assemblies = file.assemblies()?;
    Ok(model)
}

impl<'a> File<'a> {
    /// Collects the known categories of the first data block.
    fn scan(path: &'a Path, text: &'a str) -> Result<Self, AtomicModelError> {
        let mut file = Self { path, categories: HashMap::new() };
        let mut tokens = Tokens { text, at: 0, line: 1 }.peekable();
        let mut blocks = 0;
        while let Some(token) = tokens.next() {
            if token.bare && token.text.starts_with("data_") {
                blocks += 1;
                if blocks > 1 {
                    break;
                }
            } else if token.bare && token.text.eq_ignore_ascii_case("loop_") {
                let mut items = Vec::new();
                while let Some(item) = tokens.next_if(|t| t.bare && t.text.starts_with('_')) {
                    items.push(item.text);
                }
                let mut cells = Vec::new();
                let is_value = |t: &Token<'_>| !t.bare || !is_keyword(t.text);
                while let Some(value) = tokens.next_if(is_value) {
                    cells.push((value.text, value.line));
                }
                file.add_loop(&items, cells, token.line)?;
            } else if token.bare && token.text.starts_with('_') {
                let Some(value) = tokens.next() else {
                    return Err(file.bad(token.line, token.text, "the end of the file", "a value"));
                };
                let Some((name, item)) = split_item(token.text) else { continue };
                let category = file.categories.entry(name).or_default();
                category.items.push(item);
                category.cells.push((value.text, value.line));
            }
        }
        Ok(file)
    }

    fn add_loop(
        &mut self,
        items: &[&'a str],
        cells: Vec<(&'a str, usize)>,
        line: usize,
    ) -> Result<(), AtomicModelError> {
        let Some((name, _)) = items.first().and_then(|item| split_item(item)) else { return Ok(()) };
        if !cells.len().is_multiple_of(items.len()) {
            let found = format!("{} values", cells.len());
            let last = cells.last().map_or(line, |(_, line)| *line);
            return Err(self.bad(
                last,
                &format!("loop of {name}"),
                &found,
                &format!("a multiple of {}", items.len()),
            ));
        }
        let items = items.iter().map(|item| split_item(item).map_or("", |(_, item)| item)).collect();
        self.categories.insert(name, Category { items, cells });
        Ok(())
    }

    fn bad(&self, line: usize, field: &str, found: &str, expected: &str) -> AtomicModelError {
        AtomicModelError::Field {
            path: self.path.into(),
            line,
            field: field.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn number(&self, row: &[(&str, usize)], column: usize, item: &str) -> Result<f64, AtomicModelError> {
        let (cell, line) = row[column];
        let value = cell.parse().ok().filter(|v: &f64| v.is_finite() && v.abs() <= LARGEST_COORDINATE_A);
        value.ok_or_else(|| self.bad(line, item, cell, "a number"))
    }

    fn atoms(&self, model: &mut AtomicModel) -> Result<(), AtomicModelError> {
        let Some(sites) = self.categories.get("atom_site") else { return Ok(()) };
        let need = |item: &str| {
            sites.find(item).ok_or_else(|| AtomicModelError::MissingItem {
                path: self.path.into(),
                item: format!("_atom_site.{item}"),
            })
        };
        let symbol = need("type_symbol")?;
        let position = [need("Cartn_x")?, need("Cartn_y")?, need("Cartn_z")?];
        let [occupancy, b_factor, residue, chain, ensemble] =
            ["occupancy", "B_iso_or_equiv", "label_comp_id", "label_asym_id", "pdbx_PDB_model_num"]
                .map(|item| sites.find(item));
        let first_model = sites.rows().next().zip(ensemble).map(|(row, column)| row[column].0);
        for row in sites.rows() {
            if ensemble.map(|column| row[column].0) != first_model {
                break;
            }
            if residue.is_some_and(|column| WATER.contains(&row[column].0)) {
                model.waters += 1;
                continue;
            }
            let (name, line) = row[symbol];
            let element = Element::from_symbol(name)
                .ok_or_else(|| self.bad(line, "_atom_site.type_symbol", name, "a chemical symbol"))?;
            let or = |column: Option<usize>, item: &str, absent: f64| match column {
                Some(column) if !matches!(row[column].0, "?" | ".") => self.number(row, column, item),
                _ => Ok(absent),
            };
            let [x, y, z] = position.map(|column| self.number(row, column, "_atom_site.Cartn"));
            let chain = model.chain_index(chain.map_or("", |column| row[column].0));
            model.atoms.push(Atom {
                element,
                position_a: [x?, y?, z?],
                occupancy: or(occupancy, "_atom_site.occupancy", 1.0)?,
                b_factor_a2: or(b_factor, "_atom_site.B_iso_or_equiv", 0.0)?,
                chain,
            });
        }
        Ok(())
    }

    fn assemblies(&self) -> Result<Vec<Assembly>, AtomicModelError> {
        let (Some(parts), Some(list)) =
            (self.categories.get("pdbx_struct_assembly_gen"), self.categories.get("pdbx_struct_oper_list"))
        else {
            return Ok(Vec::new());
        };
        let motions = self.motions(list)?;
        let [Some(id), Some(expression), Some(chains)] =
            ["assembly_id", "oper_expression", "asym_id_list"].map(|item| parts.find(item))
        else {
            return Ok(Vec::new());
        };
        let mut assemblies: Vec<Assembly> = Vec::new();
        for row in parts.rows() {
            let part = AssemblyPart {
                chains: row[chains].0.split(',').map(|name| name.trim().to_string()).collect(),
                motions: self.expand(row[expression], &motions)?,
            };
            match assemblies.iter_mut().find(|assembly| assembly.id == row[id].0) {
                Some(assembly) => assembly.parts.push(part),
                None => assemblies.push(Assembly { id: row[id].0.into(), parts: vec![part] }),
            }
        }
        Ok(assemblies)
    }

    fn motions(&self, list: &Category<'a>) -> Result<HashMap<&'a str, RigidMotion>, AtomicModelError> {
        let need = |item: String| {
            let missing = AtomicModelError::MissingItem {
                path: self.path.into(),
                item: format!("_pdbx_struct_oper_list.{item}"),
            };
            list.find(&item).ok_or(missing)
        };
        let id = need("id".into())?;
        let mut motions = HashMap::new();
        for row in list.rows() {
            let mut motion = RigidMotion::IDENTITY;
            for i in 0..3 {
                for j in 0..3 {
                    let item = format!("matrix[{}][{}]", i + 1, j + 1);
                    motion.rotation[i][j] = self.number(row, need(item.clone())?, &item)?;
                }
                let item = format!("vector[{}]", i + 1);
                motion.translation_a[i] = self.number(row, need(item.clone())?, &item)?;
            }
            motions.insert(row[id].0, motion);
        }
        Ok(motions)
    }

    /// The motions of an expression such as `1`, `1,3-5` or `(1-60)(61,62)`, where the right factor acts first.
    fn expand(
        &self,
        (expression, line): (&str, usize),
        known: &HashMap<&str, RigidMotion>,
    ) -> Result<Vec<RigidMotion>, AtomicModelError> {
        let bad = || {
            let expected = "numbers of operators that exist, as 1 or 1,3-5 or (1-60)(61)";
            self.bad(line, "_pdbx_struct_assembly_gen.oper_expression", expression, expected)
        };
        let mut result = vec![RigidMotion::IDENTITY];
        for factor in expression.split(['(', ')']).map(str::trim).filter(|factor| !factor.is_empty()) {
            let mut choices = Vec::new();
            for item in factor.split(',').map(str::trim) {
                match item.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))) {
                    Some((first, last)) => {
                        let range: std::ops::RangeInclusive<usize> = first..=last;
                        if range.clone().count() > MAX_MOTIONS {
                            return Err(bad());
                        }
                        for number in range {
                            choices.push(*known.get(number.to_string().as_str()).ok_or_else(bad)?);
                        }
                    }
                    None => choices.push(*known.get(item).ok_or_else(bad)?),
                }
            }
            if result.len() * choices.len() > MAX_MOTIONS {
                return Err(bad());
            }
            result = result.iter().flat_map(|left| choices.iter().map(|right| left.after(right))).collect();
        }
        Ok(result)
    }
}

/// Whether a bare word ends a loop's values.
fn is_keyword(word: &str) -> bool {
    word.starts_with('_') || word.starts_with("data_") || word.eq_ignore_ascii_case("loop_")
}

/// Category and item of `_category.item`, if the category is looked at.
fn split_item(name: &str) -> Option<(&str, &str)> {
    let (category, item) = name.strip_prefix('_')?.split_once('.')?;
    KNOWN.contains(&category).then_some((category, item))
}
