//! Numbers as people read them.

/// A time: three digits and a unit. `-`: there is none.
#[must_use]
pub fn time(ns: u64) -> String {
    match ns {
        0 => "-".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => three(ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => three(ns as f64 / 1e6, "ms"),
        _ => three(ns as f64 / 1e9, "s"),
    }
}

fn three(number: f64, unit: &str) -> String {
    // What would be rounded to a digit more has one less behind the point.
    let digits = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.digits$} {unit}")
}

/// A number in some five characters.
#[must_use]
pub fn many(number: f64) -> String {
    match number {
        n if n < 99.95 && n.fract() != 0.0 => format!("{n:.1}"),
        n if n < 9_999.5 => format!("{n:.0}"),
        n if n < 999_500.0 => three(n / 1e3, "k"),
        n if n < 999_500_000.0 => three(n / 1e6, "M"),
        n => three(n / 1e9, "G"),
    }
}

/// A part of the whole. `-`: of nothing.
#[must_use]
pub fn per_cent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0%".to_owned(),
        p if p < 0.01 => "<0.01%".to_owned(),
        p if p < 9.995 => format!("{p:.2}%"),
        p => format!("{p:.1}%"),
    }
}

/// Seconds as days, hours and so on, the two greatest.
#[must_use]
pub fn span(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Octets.
#[must_use]
pub fn octets(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{} KiB", octets >> 10),
        1_048_576..10_737_418_240 => format!("{} MiB", octets >> 20),
        _ => format!("{} GiB", octets >> 30),
    }
}

/// Text without what a terminal would obey.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Columns, as wide as they have to be: the first to the left, the others to the right.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let times = [0, 7, 1_500, 999_999, 1_234_567, 99_960_000, 12_000_000_000].map(time);
        assert_eq!(times, ["-", "7 ns", "1.50 us", "1000 us", "1.23 ms", "100 ms", "12.0 s"]);
        assert_eq!(
            [0.0, 1.5, 100.0, 9999.0, 12_345.0, 1.5e6, 2e9].map(many),
            ["0", "1.5", "100", "9999", "12.3 k", "1.50 M", "2.00 G"]
        );
        assert_eq!([0.0, 0.00001, 0.0123, 0.5, 1.0].map(per_cent), ["0%", "<0.01%", "1.23%", "50.0%", "100.0%"]);
        assert_eq!([5.0, 61.0, 7_260.0, 90_000.0].map(span), ["5 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]);
        assert_eq!([5, 4096, 5 << 20, 20 << 30].map(octets), ["5 B", "4 KiB", "5 MiB", "20 GiB"]);
        assert_eq!(plain("a\x1b[31mb\n"), "a?[31mb?");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "100".to_owned()]];
        assert_eq!(columns(&rows), "a       1\nlong  100\n");
    }
}
