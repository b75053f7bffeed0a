//! Numbers as people read them: the same in the terminal and on the box's page.

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

/// A number to its last digit, in groups of three.
#[must_use]
pub fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
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
        assert_eq!([0, 999, 1000, 1_234_567].map(whole), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.00001, 0.0123, 0.5, 1.0].map(per_cent), ["0%", "<0.01%", "1.23%", "50.0%", "100.0%"]);
        assert_eq!([5.0, 61.0, 7_260.0, 90_000.0].map(span), ["5 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]);
        assert_eq!([5, 4096, 5 << 20, 20 << 30].map(octets), ["5 B", "4 KiB", "5 MiB", "20 GiB"]);
    }
}
