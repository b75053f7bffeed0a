//! Figures as the table printed at the end, for people.

use super::{Book, Figure, Print, Sample, Times, Value};

/// A line, and what stands below it.
struct Line {
    head: String,
    parts: String,
    below: String,
    shown: bool,
}

/// All figures that are printed.
#[must_use]
pub fn table<T>(book: &Book<T>, of: &T) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for figure in book.figures {
        let (Print::On(head, text) | Print::IfAny(head, text) | Print::Below(head, text)) = figure.print else {
            continue;
        };
        for sample in figure.samples(of) {
            let head = fill(book, figure, &sample, head);
            let at = lines.iter().position(|line| line.head == head).unwrap_or_else(|| {
                lines.push(Line { head, parts: String::new(), below: String::new(), shown: false });
                lines.len() - 1
            });
            let Some(line) = lines.get_mut(at) else { continue };
            match figure.print {
                Print::Below(..) if sample.value.is_zero() => {}
                Print::Below(..) => {
                    let what = fill(book, figure, &sample, text);
                    line.below += &format!("  {:>12}  {what}\n", word(&sample.value));
                }
                print => {
                    line.parts += &part(book, figure, &sample, text);
                    line.shown |= matches!(print, Print::On(..)) || !sample.value.is_zero();
                }
            }
        }
    }
    let text = |line: Line| if line.shown { line.head + &line.parts + "\n" + &line.below } else { line.below };
    lines.into_iter().map(text).collect()
}

/// A part of a line: what stands before `|`, or after it when the value says no.
fn part<T>(book: &Book<T>, figure: &Figure<T>, sample: &Sample, text: &str) -> String {
    let text = match text.split_once('|') {
        Some((_, otherwise)) if sample.value.is_zero() => otherwise,
        Some((text, _)) => text,
        None => text,
    };
    fill(book, figure, sample, text).replace("{}", &word(&sample.value))
}

/// Puts in what labels say, and what it means.
fn fill<T>(book: &Book<T>, figure: &Figure<T>, sample: &Sample, text: &str) -> String {
    let mut text = text.to_owned();
    for (name, value) in figure.labels.iter().zip(&sample.labels) {
        text = text.replace(&format!("{{{name}}}"), value);
        let meaning = format!("{{{name}.meaning}}");
        if text.contains(&meaning) {
            let values = book.label(name).map(|label| (label.values)()).unwrap_or_default();
            let means = values.into_iter().find(|(of, _)| of == value).map_or("", |(_, means)| means);
            text = text.replace(&meaning, means);
        }
    }
    text
}

fn word(value: &Value) -> String {
    match value {
        Value::Count(n) => n.to_string(),
        Value::Amount(amount) => format!("{amount:.1}"),
        Value::Flag(is) => is.to_string(),
        Value::Word(word) => word.clone(),
        Value::State(state) => (*state).to_owned(),
        Value::Times(times) => of_times(times),
        Value::Nothing => String::new(),
    }
}

fn of_times(t: &Times) -> String {
    let us = |ns: u64| ns as f64 / 1000.0;
    let (mean, p50, p90, p99) = (us(t.mean_ns()), us(t.p50_ns), us(t.p90_ns), us(t.p99_ns));
    format!("mean {mean:.1} us, p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1} ({} samples)", t.count)
}

#[cfg(test)]
mod tests {
    use super::super::example::{BOOK, World};
    use super::*;

    #[test]
    fn lines_take_their_parts_and_what_stands_below_them() {
        let expected = "\
name: w
all: 3 seen, no key; turns: 3 left, 1 right
             3  on the near side
wait: mean 1.5 us, p50 1.0, p90 2.0, p99 3.5 (3 samples)
";
        assert_eq!(table(&BOOK, &World { seen: 3, key: None }), expected);
        assert_eq!(
            table(&BOOK, &World { seen: 0, key: Some(9) }),
            "name: w\nall: 0 seen, key 9; turns: 0 left, 1 right\n"
        );
    }
}
