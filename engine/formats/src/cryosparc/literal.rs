//! Python literals as numpy writes them into headers: strings, integers, truths, tuples, lists, dictionaries.

/// Literals within literals; numpy needs five.
const DEEPEST: usize = 16;

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    /// A string.
    Text(String),
    /// An integer.
    Integer(u64),
    /// `True` or `False`.
    Truth(bool),
    /// A tuple or list.
    Sequence(Vec<Literal>),
    /// A dictionary with strings as keys, in order.
    Dictionary(Vec<(String, Literal)>),
}

/// Where the text is no literal (bytes from its start), and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoLiteral {
    pub offset: usize,
    pub why: String,
}

/// Parses a text that holds one literal and blanks.
pub(super) fn parse(text: &str) -> Result<Literal, NoLiteral> {
    let mut parser = Parser { text, at: 0 };
    let literal = parser.value(0)?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.error("something follows the literal"));
    }
    Ok(literal)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, why: impl Into<String>) -> NoLiteral {
        NoLiteral { offset: self.at, why: why.into() }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `mark` if it is next.
    fn takes(&mut self, mark: &str) -> bool {
        self.blanks();
        let is_next = self.rest().starts_with(mark);
        self.at += if is_next { mark.len() } else { 0 };
        is_next
    }

    fn value(&mut self, depth: usize) -> Result<Literal, NoLiteral> {
        if depth > DEEPEST {
            return Err(self.error("too deep"));
        }
        self.blanks();
        match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => self.string(quote).map(Literal::Text),
            Some('(') => self.sequence("(", ")", depth),
            Some('[') => self.sequence("[", "]", depth),
            Some('{') => self.dictionary(depth),
            Some('0'..='9') => self.integer(),
            _ if self.takes("True") => Ok(Literal::Truth(true)),
            _ if self.takes("False") => Ok(Literal::Truth(false)),
            Some(other) => Err(self.error(format!("`{other}` begins no literal"))),
            None => Err(self.error("it ends in the middle")),
        }
    }

    fn string(&mut self, quote: char) -> Result<String, NoLiteral> {
        let inner = &self.rest()[1..];
        let end = inner.find(quote).ok_or_else(|| self.error("a string without end"))?;
        let text = &inner[..end];
        if text.contains('\\') {
            return Err(self.error("a string with escapes"));
        }
        self.at += end + 2;
        Ok(text.to_string())
    }

    fn integer(&mut self) -> Result<Literal, NoLiteral> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let value = rest[..end].parse().map_err(|_| self.error("an integer too large"))?;
        self.at += end;
        // Python 2 wrote long integers as 5L
        self.at += usize::from(self.rest().starts_with('L'));
        Ok(Literal::Integer(value))
    }

    fn sequence(&mut self, open: &str, close: &str, depth: usize) -> Result<Literal, NoLiteral> {
        self.takes(open);
        let mut values = Vec::new();
        while !self.takes(close) {
            values.push(self.value(depth + 1)?);
            if !self.takes(",") {
                if !self.takes(close) {
                    return Err(self.error(format!("expected `,` or `{close}`")));
                }
                break;
            }
        }
        Ok(Literal::Sequence(values))
    }

    fn dictionary(&mut self, depth: usize) -> Result<Literal, NoLiteral> {
        self.takes("{");
        let mut pairs = Vec::new();
        while !self.takes("}") {
            let Literal::Text(key) = self.value(depth + 1)? else {
                return Err(self.error("a key that is no string"));
            };
            if !self.takes(":") {
                return Err(self.error("expected `:`"));
            }
            pairs.push((key, self.value(depth + 1)?));
            if !self.takes(",") {
                if !self.takes("}") {
                    return Err(self.error("expected `,` or `}`"));
                }
                break;
            }
        }
        Ok(Literal::Dictionary(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_parsed() {
        let text = "{'descr': [('uid', '<u8'), (\"a/b\", '<f4', (2,)), ], 'fortran_order': False, 'shape': (7L,), }  \n";
        let Literal::Dictionary(pairs) = parse(text).unwrap() else { panic!("a dictionary") };
        assert_eq!(pairs[1], ("fortran_order".into(), Literal::Truth(false)));
        assert_eq!(pairs[2], ("shape".into(), Literal::Sequence(vec![Literal::Integer(7)])));
        let Literal::Sequence(fields) = &pairs[0].1 else { panic!("a list") };
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn what_is_no_literal_is_placed() {
        assert_eq!(
            parse("(1, x)").unwrap_err(),
            NoLiteral { offset: 4, why: "`x` begins no literal".into() }
        );
        assert_eq!(parse("(1, 2").unwrap_err().why, "expected `,` or `)`");
        assert_eq!(parse("'abc").unwrap_err().why, "a string without end");
        assert_eq!(parse("1 2").unwrap_err().offset, 2);
        assert!(parse(&"(".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_literal_or_an_error(text in "[\\[\\](){}'\",:0-9a-zTF é]{0,80}") {
            let _ = parse(&text);
        }
    }
}
