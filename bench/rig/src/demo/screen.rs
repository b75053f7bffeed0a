//! The demo's output: plain lines, with some weight and colour on a terminal.

use std::io::IsTerminal;
use std::time::Instant;

/// Where it is shown.
pub struct Screen {
    terminal: bool,
    start: Instant,
}

impl Screen {
    /// Standard output.
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), start: Instant::now() }
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn title(&self, text: &str) {
        println!("{}\n", self.styled("1", text));
    }

    pub fn heading(&self, text: &str) {
        println!("\n{}", self.styled("1", text));
    }

    pub fn text(&self, text: &str) {
        println!("{text}");
    }

    /// Progress, with the time since the start.
    pub fn step(&self, text: &str) {
        let time = format!("{:5.1} s", self.start.elapsed().as_secs_f64());
        println!("{}  {text} …", self.styled("2", &time));
    }

    pub fn row(&self, name: &str, a: &str, b: &str) {
        println!("  {name:<42}{a:>14}{b:>14}");
    }

    pub fn verdict(&self, holds: bool, what: &str) {
        let word = if holds { self.styled("32", "ok    ") } else { self.styled("31;1", "FAILED") };
        println!("  {word} {what}");
    }
}

/// Three digits behind the point of the largest unit that fits.
pub fn nanoseconds(ns: u64) -> String {
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000)] {
        if ns >= size {
            return format!("{}.{:03} {unit}", ns / size, ns % size * 1000 / size);
        }
    }
    format!("{ns} ns")
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn times_are_shown_in_the_unit_that_fits() {
        let shown = [0, 999, 1000, 1_234_567, 59_999_999_999].map(nanoseconds);
        assert_eq!(shown, ["0 ns", "999 ns", "1.000 us", "1.234 ms", "59.999 s"]);
    }
}
