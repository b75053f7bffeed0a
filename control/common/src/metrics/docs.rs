//! Figures as the tables of the documentation.

use super::{Book, Kind};

/// The environment variable with which the test that compares writes the documentation anew.
pub const UPDATE: &str = "UPDATE_DOCS";

/// One line for each figure.
#[must_use]
pub fn figures<T>(book: &Book<T>) -> String {
    let mut text = "| metric | kind | unit | labels | JSON | meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in book.figures {
        let kind = match figure.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
            Kind::Word => "word",
        };
        let labels = figure.labels.iter().map(|&label| code(label)).collect::<Vec<_>>().join(", ");
        let cells = [code(figure.name), kind.into(), figure.unit.into(), labels, code(figure.json), cell(figure.help)];
        text += &row(&cells);
    }
    text
}

/// One line for each label, with its values where they are few.
#[must_use]
pub fn labels<T>(book: &Book<T>) -> String {
    let mut text = "| label | meaning |\n|---|---|\n".to_owned();
    for label in book.labels {
        let values = (label.values)();
        let with_meaning = |&(value, meaning): &(&str, &str)| match meaning {
            "" => code(value),
            meaning => format!("{} ({meaning})", code(value)),
        };
        let values = match values.len() {
            0 => String::new(),
            1..=6 => format!(" {}.", values.iter().map(with_meaning).collect::<Vec<_>>().join("; ")),
            _ => " Its values have a table of their own.".to_owned(),
        };
        text += &row(&[code(label.name), cell(&[label.help, &values].concat())]);
    }
    text
}

/// One line for each value of a label.
#[must_use]
pub fn values<T>(book: &Book<T>, label: &str) -> String {
    let mut text = format!("| {label} | meaning |\n|---|---|\n");
    for (value, meaning) in book.label(label).map(|label| (label.values)()).unwrap_or_default() {
        text += &row(&[code(value), cell(meaning)]);
    }
    text
}

/// The same, with a column more.
#[must_use]
pub fn values_and<T>(book: &Book<T>, label: &str, head: &str, more: impl Fn(&str) -> &'static str) -> String {
    let mut text = format!("| {label} | meaning | {head} |\n|---|---|---|\n");
    for (value, meaning) in book.label(label).map(|label| (label.values)()).unwrap_or_default() {
        text += &row(&[code(value), cell(meaning), cell(more(value))]);
    }
    text
}

/// Puts `text` between the lines `<!-- NAME -->` and `<!-- end of NAME -->`. `None`: they are not there.
#[must_use]
pub fn replace(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some([before, &begin, text, &end, after].concat())
}

fn row(cells: &[String]) -> String {
    format!(
        "|{}\n",
        cells.iter().map(|cell| if cell.is_empty() { " |".into() } else { format!(" {cell} |") }).collect::<String>()
    )
}

fn code(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("`{name}`") }
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::example::BOOK;
    use super::*;

    #[test]
    fn every_figure_and_every_value_has_a_line() {
        let text = figures(&BOOK);
        assert_eq!(text.lines().count(), 2 + BOOK.figures.len());
        assert!(
            text.contains(
                "\n| `a_side_total` | counter | things | `side` | `sides.{side}` | Seen, by side \\| of all. |\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n| | word | | | `name` | Its name. |\n"), "{text}");
        assert_eq!(
            values(&BOOK, "side"),
            "| side | meaning |\n|---|---|\n| `left` | near side |\n| `right` | far side |\n"
        );
        let more = |value: &str| if value == "left" { "go there" } else { "" };
        let with_more = values_and(&BOOK, "side", "what to do", more);
        assert!(with_more.ends_with("|---|---|---|\n| `left` | near side | go there |\n| `right` | far side | |\n"));
        assert!(labels(&BOOK).ends_with(
            "| `side` | Where. `left` (near side); `right` (far side). |\n| `version` | The program's. |\n"
        ));
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        let new = replace(document, "x", "new\n").expect("marks");
        assert_eq!(new, "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n");
        assert_eq!(replace(document, "y", ""), None);
    }
}
