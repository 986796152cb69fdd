//! Quoting for POSIX shells.

/// `text` as one word of a POSIX shell: as it is if nothing in it is special, else in single quotes.
///
/// ```
/// use vitreous_schedulers::quote::sh;
/// assert_eq!(sh("/data/T20S-1.tif"), "/data/T20S-1.tif");
/// assert_eq!(sh("it's $(id)"), r#"'it'"'"'s $(id)'"#);
/// assert_eq!(sh(""), "''");
/// ```
pub fn sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    // a leading `~`, `-` or `=` would be special to the shell or to the command
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('=') {
        return text.to_string();
    }
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// `text` as one word of a directive in a script's head (`#SBATCH`, `#$`, `#PBS`), which no shell reads. All three
/// parsers take words in single or in double quotes, but only some join `'it'"'"'s'` to one word, and none spans lines.
/// Grid Engine's cannot be given a `#` (a comment begins even in quotes) or a `'` (taken away) at all; no name there may
/// hold them.
///
/// ```
/// use vitreous_schedulers::quote::directive;
/// assert_eq!(directive("gpu.q"), "gpu.q");
/// assert_eq!(directive("a b#c"), "'a b#c'");
/// assert_eq!(directive("it's"), "\"it's\"");
/// ```
pub fn directive(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !line.is_empty() && line.chars().all(plain) {
        return line;
    }
    if line.contains('\'') { format!("\"{}\"", line.replace('"', "'")) } else { format!("'{line}'") }
}

/// A command as a person would type it.
pub fn command_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(sh).collect::<Vec<_>>().join(" ")
}
