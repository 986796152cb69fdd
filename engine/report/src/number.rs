//! Numbers as people read them, and the ticks of axes.

/// Between groups of three digits on pages and figures.
const THIN_SPACE: char = '\u{2009}';
/// No axis has more ticks.
const MOST_TICKS: i64 = 40;

/// A place on an axis and what is written there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub label: String,
}

/// Three significant digits, whole numbers in full: `3.42`, `12.3`, `10563`, `0.0123`, `1.5×10⁻⁷`.
pub(crate) fn plain(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 || (value.fract() == 0.0 && size < 1e12) {
        return minus(format!("{value:.0}"));
    }
    if !(1e-4..1e12).contains(&size) {
        return scientific(value, 2);
    }
    let decimals = (2.0 - size.log10().floor()).clamp(0.0, 7.0) as usize;
    minus(format!("{value:.decimals$}"))
}

/// [`plain`] without zeros at the end of a fraction: `0.143`, `0.5`.
pub(crate) fn short(value: f64) -> String {
    let text = plain(value);
    if text.contains('.') && !text.contains('×') {
        return text.trim_end_matches('0').trim_end_matches('.').into();
    }
    text
}

/// [`plain`] with thin spaces between thousands.
pub(crate) fn grouped(value: f64) -> String {
    group(&plain(value))
}

fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().any(|b| (b'1'..=b'9').contains(&b)) => format!("−{rest}"),
        Some(rest) => rest.to_string(),
        None => text,
    }
}

/// Thin spaces between thousands of the whole part, from five digits on.
fn group(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('−') {
        Some(rest) => ("−", rest),
        None => ("", text),
    };
    let (whole, fraction) = match digits.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => digits.split_at(at),
        None => (digits, ""),
    };
    if whole.len() < 5 {
        return text.into();
    }
    let mut out = String::from(sign);
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(THIN_SPACE);
        }
        out.push(c);
    }
    out + fraction
}

fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let superscript = exponent.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' => '⁰',
        c => char::from_u32('⁰' as u32 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
    });
    format!("{}×10{}", minus(mantissa.into()), superscript.collect::<String>())
}

/// The smallest of 1, 2, 5 × 10ⁿ that cuts `span` into at most `parts` parts.
pub(crate) fn nice_step(span: f64, parts: f64) -> f64 {
    let raw = span / parts;
    if !(raw.is_finite() && raw > 0.0) {
        return 1.0;
    }
    let decade = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|f| f * decade)
        .find(|step| *step >= raw * (1.0 - 1e-9))
        .unwrap_or(raw)
}

/// The range from `low` to `high` widened to fifths of a step; an empty or single-valued one is opened up.
pub(crate) fn nice_range(low: f64, high: f64, parts: f64) -> [f64; 2] {
    let (low, high) = opened(low, high);
    let step = 0.2 * nice_step(high - low, parts);
    [(low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step]
}

/// The range itself if it has a width, else one around it.
pub(crate) fn opened(low: f64, high: f64) -> (f64, f64) {
    if !(low.is_finite() && high.is_finite()) || low > high {
        return (0.0, 1.0);
    }
    if high - low > 1e-12 * low.abs().max(high.abs()) {
        return (low, high);
    }
    let half = if low == 0.0 { 0.5 } else { 0.1 * low.abs() };
    (low - half, high + half)
}

/// Ticks on whole steps in `[low, high]`, at most about `parts`.
pub(crate) fn linear_ticks([low, high]: [f64; 2], parts: f64) -> Vec<Tick> {
    let step = nice_step(high - low, parts);
    let first = (low / step - 1e-6).ceil();
    let last = (high / step + 1e-6).floor();
    if !(first.is_finite() && last.is_finite()) || last < first {
        return Vec::new();
    }
    let largest = low.abs().max(high.abs());
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let count = ((last - first) as i64).min(MOST_TICKS);
    let label = |value: f64| {
        if value == 0.0 && decimals > 3 {
            return "0".into();
        }
        if !(1e-4..1e7).contains(&largest) {
            return scientific(value, 2);
        }
        group(&minus(format!("{value:.decimals$}")))
    };
    (0..=count)
        .map(|i| {
            let value = (first + i as f64) * step;
            Tick { value, label: label(value) }
        })
        .collect()
}

/// Seconds between ticks of time: parts of a minute, an hour, a day, then days.
const TIME_STEPS_S: [f64; 22] = [
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    604_800.0,
    2_592_000.0,
    31_536_000.0,
];
const DAY_S: f64 = 86_400.0;

/// Ticks at round times (seconds since 1970 on the wall clock), at most about `parts`: dates at midnight, else times of
/// day.
pub(crate) fn time_ticks([low, high]: [f64; 2], parts: f64) -> Vec<Tick> {
    let wanted = (high - low) / parts;
    let step = TIME_STEPS_S.into_iter().find(|step| *step >= wanted).unwrap_or(wanted);
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    if !(first.is_finite() && last.is_finite() && last - first < MOST_TICKS as f64) {
        return Vec::new();
    }
    let count = (last - first).max(-1.0) as i64;
    (0..=count)
        .map(|i| {
            let value = (first + i as f64) * step;
            let is_midnight = value.rem_euclid(DAY_S) == 0.0;
            Tick { value, label: if is_midnight { date(value) } else { time_of_day(value, step < 60.0) } }
        })
        .collect()
}

/// `18:05`, or `18:05:09`.
pub(crate) fn time_of_day(wall_s: f64, with_seconds: bool) -> String {
    let second = wall_s.rem_euclid(DAY_S).floor() as u32;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    if with_seconds { format!("{hour:02}:{minute:02}:{second:02}") } else { format!("{hour:02}:{minute:02}") }
}

/// `29 Nov`.
pub(crate) fn date(wall_s: f64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // civil date of a day number, in years that begin in March (H. Hinnant, chrono-compatible date algorithms)
    let days = (wall_s / DAY_S).floor() + 719_468.0;
    let of_era = days.rem_euclid(146_097.0) as u64;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    format!("{day} {}", MONTHS[((month + 2) % 12) as usize])
}

/// Ticks at round resolutions (Å) on an axis of spatial frequency (1/Å), at least `gap` apart in the axis' unit.
/// The roundest resolutions are placed first.
pub(crate) fn resolution_ticks([low, high]: [f64; 2], gap: f64) -> Vec<Tick> {
    const TIERS: [&[f64]; 4] =
        [&[1.0, 2.0, 5.0], &[3.0, 4.0], &[1.5, 2.5, 6.0, 8.0], &[1.2, 1.8, 2.2, 3.5, 4.5, 7.0]];
    let mut ticks: Vec<Tick> = Vec::new();
    for tier in TIERS {
        for decade in -1..4 {
            for factor in tier {
                let resolution_a = factor * 10f64.powi(decade);
                let value = 1.0 / resolution_a;
                let inside = value >= low && value <= high * (1.0 + 1e-9);
                if inside && ticks.iter().all(|tick| (tick.value - value).abs() >= gap) {
                    let decimals = usize::from(resolution_a < 10.0 && resolution_a.fract() > 1e-9);
                    ticks.push(Tick { value, label: format!("{resolution_a:.decimals$}") });
                }
            }
        }
    }
    ticks.sort_by(|a, b| a.value.total_cmp(&b.value));
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_three_significant_digits() {
        let cases = [
            (3.4178, "3.42"),
            (12.345, "12.3"),
            (123.6, "124"),
            (10563.4, "10563"),
            (0.012345, "0.0123"),
            (-0.5, "−0.500"),
            (0.0, "0"),
            (-0.0, "0"),
            (164.0, "164"),
            (1.5e-7, "1.5×10⁻⁷"),
            (-2.5e14, "−2.5×10¹⁴"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(plain(value), text);
        }
        assert_eq!(grouped(1_234_567.0), "1\u{2009}234\u{2009}567");
        assert_eq!(grouped(-12345.6), "−12\u{2009}346");
        assert_eq!(grouped(1234.0), "1234");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |ticks: Vec<Tick>| ticks.into_iter().map(|t| t.label).collect::<Vec<_>>();
        assert_eq!(labels(linear_ticks([0.0, 1.0], 5.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(linear_ticks([-3.0, 47.0], 5.0)), ["0", "10", "20", "30", "40"]);
        assert_eq!(labels(linear_ticks([0.0, 0.1], 2.0)), ["0.00", "0.05", "0.10"]);
        assert_eq!(labels(linear_ticks([0.0, 4e-6], 2.0)), ["0", "2×10⁻⁶", "4×10⁻⁶"]);
        assert!(linear_ticks([0.0, f64::INFINITY], 5.0).is_empty());
        for ([low, high], wanted) in [([3.0, 97.0], [0.0, 100.0]), ([-0.01, 1.01], [-0.1, 1.1])] {
            let got = nice_range(low, high, 5.0);
            assert!((0..2).all(|i| (got[i] - wanted[i]).abs() < 1e-9), "{got:?}");
        }
        let [low, high] = nice_range(5.0, 5.0, 5.0);
        assert!(low < 4.6 && high > 5.4, "{low} {high}");
        let [low, high] = nice_range(f64::INFINITY, f64::NEG_INFINITY, 5.0);
        assert!((low, (high - 1.0).abs() < 1e-12) == (0.0, true), "{low} {high}");
    }

    #[test]
    fn times_have_round_ticks_and_dates_at_midnight() {
        let labels = |range, parts| {
            time_ticks(range, parts).into_iter().map(|tick| tick.label).collect::<Vec<String>>()
        };
        // 2026-11-29 is day 20786 since 1970
        let midnight = 20_786.0 * DAY_S;
        assert_eq!(
            labels([midnight - 5000.0, midnight + 10_000.0], 6.0),
            ["23:00", "29 Nov", "01:00", "02:00"]
        );
        assert_eq!(labels([midnight + 61.0, midnight + 100.0], 3.0), ["00:01:15", "00:01:30"]);
        assert_eq!(labels([midnight, midnight + 2.0 * DAY_S], 2.0), ["29 Nov", "30 Nov", "1 Dec"]);
        assert!(time_ticks([0.0, f64::INFINITY], 6.0).is_empty());
        let dates = [(0.0, "1 Jan"), (11_016.0, "29 Feb"), (11_017.0, "1 Mar"), (-1.0, "31 Dec")];
        for (day, text) in dates {
            assert_eq!(date(day * DAY_S), text);
        }
        assert_eq!(time_of_day(midnight + 65_109.7, true), "18:05:09");
    }

    #[test]
    fn resolution_ticks_keep_their_distance() {
        let ticks = resolution_ticks([0.0, 0.34], 0.03);
        let labels: Vec<&str> = ticks.iter().map(|t| t.label.as_str()).collect();
        assert_eq!(labels, ["50", "20", "10", "6", "5", "4", "3.5", "3"]);
        assert!(ticks.windows(2).all(|pair| pair[1].value - pair[0].value >= 0.03));
    }
}
