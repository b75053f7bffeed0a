//! The examples in `docs/admin.md` are what the commands print. `UPDATE_DOCS=1` writes them anew.

use super::asked::Outputs;
use std::path::PathBuf;

/// What is run, and whether the order of its parts, which blank lines divide, is by chance.
const EXAMPLES: [(&str, bool); 3] =
    [(STATUS, false), ("flows --policy web --sort server-delay -n 6", false), ("trace --port 443 -n 2", true)];
/// Not written anew: what reasons it has, and how it stands with links and drivers, is not as on a machine with NICs.
const STATUS: &str = "status";
const OF_LINKS: [&str; 2] = ["up", "DOWN"];
/// What comes then in a status depends on what else the hosts say.
const BY_CHANCE: [&str; 3] = ["\n\ndropped:", "\n\nstripped (", "\n\npassed as they came:"];
const UNITS: [&str; 15] = ["ns", "us", "µs", "ms", "s", "min", "h", "d", "k", "M", "G", "B", "KiB", "MiB", "GiB"];

/// Holds them against what this box prints, of which the policy `web` measures a flow to port 443.
pub fn hold(outputs: &Outputs<'_>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/admin.md");
    let mut text = std::fs::read_to_string(&path).expect("docs/admin.md");
    for (command, in_any_order) in EXAMPLES {
        let printed = outputs.command(&command.split(' ').collect::<Vec<_>>());
        let line = format!("$ sudo pdmv2 {command}\n");
        let start = text.find(&line).unwrap_or_else(|| panic!("docs/admin.md does not show '{command}'")) + line.len();
        let end = start + text[start..].find("\n```").expect("the example ends");
        if std::env::var_os("UPDATE_DOCS").is_some() && command != STATUS {
            text.replace_range(start..end, printed.trim_end());
            continue;
        }
        let [mut shown, mut real] = [&text[start..end], printed.trim_end()].map(parts);
        if in_any_order {
            shown.sort();
            real.sort();
        }
        assert_eq!(shown, real, "docs/admin.md: '{command}' prints another form: UPDATE_DOCS=1 writes it\n{printed}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("docs/admin.md");
    }
}

/// The form of each part, without what differs from run to run: numbers, their units, and blanks.
fn parts(text: &str) -> Vec<String> {
    let end = BY_CHANCE.iter().filter_map(|heading| text.find(heading)).min().unwrap_or(text.len());
    text[..end].split("\n\n").map(form).collect()
}

fn form(text: &str) -> String {
    let mut form = String::new();
    for line in text.lines() {
        let words = line.split_whitespace().map(masked);
        for word in words.filter(|word| ![&UNITS[..], &OF_LINKS].concat().contains(&word.trim_end_matches(','))) {
            form += if word.starts_with("net_") { "net" } else { &word };
            form.push(' ');
        }
        form.push('\n');
    }
    form
}

/// Every number of a word, with what is written directly behind it as its unit, is one sign.
fn masked(word: &str) -> String {
    let mut masked = String::new();
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if !c.is_ascii_digit() {
            masked.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        masked.push('#');
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        if UNITS.contains(&&rest[..letters]) {
            rest = &rest[letters..];
        }
    }
    masked.replace("<#", "#")
}

#[test]
fn what_differs_from_run_to_run_is_left_out() {
    assert_eq!(
        form("up 2 s, 12.3 k  <0.01%\n 1.25ms, at 10:09:08.123456 x:"),
        form("up  13 min, 7   5%\n45.00µs, at 1:2:3 x:")
    );
    assert_ne!(form("late 3"), form("lost 3"));
    assert_eq!(masked("[2001:db8:a::1]:443"), "[#:db#:a::#]:#");
    assert_eq!(parts("a\n\nb 1\n\npassed as they came:\n x"), ["a \n", "b # \n"]);
}
