//! `pdmv2 selftest`: any file of vectors ends in a summary or an error.

use crate::mark;
use control::selftest::check;

/// Pieces of such files.
pub const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "-1",
    "0.5",
    "1e400",
    "18446744073709551616",
    "65535",
    "32768",
    "\"packets\"",
    "\"delta_time\"",
    "\"key_file\"",
    "\"scope\"",
    "\"shared\"",
    "\"flow\"",
    "\"five_tuple\"",
    "00",
    "3c",
];

/// See [`crate::Target::run`].
pub fn run(data: &[u8]) -> u64 {
    let mut out = Vec::new();
    match check(data, &mut out) {
        Ok(summary) => {
            let out = String::from_utf8(out).expect("messages are text");
            assert_eq!(out.lines().last(), Some(summary.to_string().as_str()));
            assert!(summary.passed + summary.failed > 0, "nothing was checked, and nobody was told");
            let kinds: String = out.chars().filter(char::is_ascii_lowercase).take(200).collect();
            mark(&kinds) % 4096
        }
        Err(error) => mark(&error.to_string()) % 64,
    }
}

/// See [`crate::Target::seeds`]: a few objects of each section, since mutations should meet each of them.
pub fn seeds() -> Vec<Vec<u8>> {
    let text = include_str!("../../protocol/tests/vectors/pdmv2.json");
    let mut seeds = Vec::new();
    for section in ["key_file", "key_schedule_and_seal", "delta_time", "packets"] {
        let Some(start) = text.find(&format!("\"{section}\"")) else { continue };
        let object = text[start..].find('{').map_or(start, |at| start + at);
        let (mut depth, mut end) = (0, object);
        for (at, c) in text[object..].char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 {
                end = object + at + 1;
                break;
            }
        }
        seeds.push(format!("{{\"{section}\": [{}]}}", &text[object..end]).into_bytes());
    }
    seeds
}
