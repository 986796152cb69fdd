//! What Jinja2 has and minijinja lacks or does otherwise, as far as scripts of sites use it.

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

/// Makes `environment` speak Jinja2: its filters, and the methods that Python's texts, lists and maps have.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("center", center);
    environment.add_filter("wordcount", |text: &str| text.split_whitespace().count());
    environment.add_filter("truncate", truncate);
}

/// A number as Jinja2 reads it: text that is none gives the default.
fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::String => value.as_str()?.trim().parse().ok(),
        _ => None,
    }
}

/// An undefined value is no number, not even the default.
fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(()) }
}

/// `int(default=0, base=10)`: towards zero, as Python's.
fn int(value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    defined(&value)?;
    let default = argument(&args, 0, &named, "default")?.unwrap_or_else(|| Value::from(0));
    let base = argument(&args, 1, &named, "base")?.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    named.assert_all_used()?;
    if let Ok(whole) = i64::try_from(value.clone())
        && value.kind() == ValueKind::Number
    {
        return Ok(Value::from(whole));
    }
    if let Some(text) = value.as_str() {
        let digits = text.trim().trim_start_matches(match base {
            16 => "0x",
            8 => "0o",
            2 => "0b",
            _ => "\0",
        });
        if (2..=36).contains(&base)
            && let Ok(whole) = i64::from_str_radix(digits, base)
        {
            return Ok(Value::from(whole));
        }
    }
    let whole =
        number(&value).filter(|number| number.is_finite()).map(|number| Value::from(number.trunc() as i64));
    Ok(whole.unwrap_or(default))
}

/// `float(default=0.0)`.
fn float(value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    defined(&value)?;
    let default = argument(&args, 0, &named, "default")?.unwrap_or_else(|| Value::from(0.0));
    named.assert_all_used()?;
    Ok(number(&value).map_or(default, Value::from))
}

/// `round(precision=0, method='common')`, with `ceil` and `floor`. Halves go to the even neighbour, and whole numbers
/// stay what they are: as with Python's `round`.
fn round(value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    defined(&value)?;
    let bad = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    let precision = argument(&args, 0, &named, "precision")?.map(i32::try_from).transpose()?.unwrap_or(0);
    let method = argument(&args, 1, &named, "method")?;
    named.assert_all_used()?;
    if value.is_integer() && precision >= 0 && method.is_none() {
        return Ok(value);
    }
    let number = number(&value).ok_or_else(|| bad(format!("`round` needs a number, found `{value}`")))?;
    let scale = 10f64.powi(precision);
    let scaled = number * scale;
    let whole = match method.as_ref().map_or(Some("common"), Value::as_str) {
        Some("common") => scaled.round_ties_even(),
        Some("ceil") => scaled.ceil(),
        Some("floor") => scaled.floor(),
        _ => return Err(bad("the method of `round` is `common`, `ceil` or `floor`".into())),
    };
    Ok(Value::from(whole / scale))
}

/// `center(width=80)`.
fn center(text: &str, width: Option<usize>) -> String {
    let missing = width.unwrap_or(80).saturating_sub(text.chars().count());
    let left = missing / 2;
    format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left))
}

/// `truncate(length=255, killwords=False, end='...')`; a text that is at most 5 characters too long stays.
fn truncate(text: &str, length: Option<usize>, killwords: Option<bool>, end: Option<&str>) -> String {
    const LEEWAY: usize = 5;
    let (length, end) = (length.unwrap_or(255), end.unwrap_or("..."));
    if text.chars().count() <= length + LEEWAY {
        return text.into();
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if killwords == Some(true) {
        &kept[..]
    } else {
        kept.rsplit_once(' ').map_or(&kept[..], |(all, _)| all)
    };
    format!("{kept}{end}")
}

fn argument(args: &Rest<Value>, at: usize, named: &Kwargs, name: &str) -> Result<Option<Value>, Error> {
    if named.has(name) {
        return named.get(name).map(Some);
    }
    Ok(args.get(at).cloned())
}

#[cfg(test)]
mod tests {
    /// Expected values are those that Jinja2 3.1 prints.
    #[test]
    fn filters_answer_as_in_jinja2() {
        let environment = crate::cryosparc::template::environment();
        for (template, expected) in [
            ("{{ 24.0 }}", "24.0"),
            ("{{ (1.5 * 1000)|int }}", "1500"),
            ("{{ '12abc'|int }} {{ 'x'|int(7) }} {{ 'ff'|int(base=16) }} {{ '3.9'|int }}", "0 7 255 3"),
            ("{{ '2.5'|float * 2 }} {{ 'x'|float(1.5) }}", "5.0 1.5"),
            ("{{ 2.3|round(0, 'ceil') }} {{ 2.7|round(method='floor')|int }}", "3.0 2"),
            ("{{ 2.5|round }} {{ 3.5|round }} {{ 7|round }} {{ 1.2345|round(2) }}", "2.0 4.0 7 1.23"),
            ("{{ 7 // 2 }} {{ 7 % 4 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 2 ** 3 }}", "3 3 3.5 4.0 8"),
            ("{{ [3, 1, 2]|min }} {{ [3, 1, 2]|max }} {{ -3|abs }}", "1 3 3"),
            ("{{ (-3)|abs }} {{ '%02d:%s'|format(3, 'x') }}", "3 03:x"),
            ("{{ x|default('d') }} {{ 'a'|upper ~ 'B'|lower }} {{ ' t '|trim }}", "d Ab t"),
            ("{{ 'a-b'|replace('-', '_') }} {{ ['a', 'b']|join(',') }} {{ 'abc'|length }}", "a_b a,b 3"),
            ("{{ ['a', 'b']|first }}{{ ['a', 'b']|last }}{{ 3|string ~ 'x' }}", "ab3x"),
            ("{{ 'a b'.split()[1] }} {{ 'Ab'.lower() }} {{ 'J12'.startswith('J') }}", "b ab True"),
            ("{% if 2 > 1 and not false %}y{% endif %}{{ 'a' if 1 == 2 else 'b' }}", "yb"),
            ("{% set n = 3 %}{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(n) }}", "<3>"),
            ("{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "0,1,2"),
            ("{{ none }} {{ true }} {{ [1, 'a'] }}", "None True [1, \"a\"]"),
            ("{{ 'abc'|center(7) }}|{{ 'a b c'|wordcount }}", "  abc  |3"),
            ("{{ 'the quick brown fox'|truncate(9, true) }}", "the qu..."),
        ] {
            let got = environment.render_str(template, minijinja::context!()).unwrap();
            assert_eq!(got, expected, "{template}");
        }
        assert!(environment.render_str("{{ x|int }}", minijinja::context!()).is_err());
        assert!(environment.render_str("{{ 1.5|round(0, 'up') }}", minijinja::context!()).is_err());
    }
}
