//! Man pages, which the packages' build has the programs write, and what the programs call themselves.

mod programs;

use programs::{BOX, TOOL};
use std::collections::BTreeSet;
use std::process::{Command, Output};

fn ran(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("it runs")
}

/// The commands that `--help` lists, but for `help` itself.
fn commands(program: &str, of: &[&str]) -> Vec<String> {
    let help = ran(program, &[of, &["--help"]].concat());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    let list = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_programs_say_their_names() {
    for (program, name) in [(BOX, "pdmv2-middlebox"), (TOOL, "pdmv2")] {
        let said = ran(program, &["--version"]).stdout;
        let version = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&said), version);
    }
}

#[test]
fn each_command_has_a_page_and_only_those() {
    for (program, name) in [(BOX, "pdmv2-middlebox"), (TOOL, "pdmv2")] {
        let dir = tempfile::tempdir().expect("a directory");
        let pages = dir.path().join("made/man1");
        let output = ran(program, &["man", pages.to_str().expect("plain names")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut wanted = BTreeSet::from([name.to_owned()]);
        for command in commands(program, &[]) {
            for below in commands(program, &[&command]) {
                wanted.insert(format!("{name}-{command}-{below}"));
            }
            wanted.insert(format!("{name}-{command}"));
        }
        assert!(wanted.len() > 2 && !wanted.iter().any(|page| page.ends_with("-man")), "{wanted:?}");
        let made = std::fs::read_dir(&pages).expect("pages").flatten().filter_map(|e| e.file_name().into_string().ok());
        assert_eq!(made.collect::<BTreeSet<_>>(), wanted.iter().map(|page| format!("{page}.1")).collect());
        for page in &wanted {
            let text = std::fs::read_to_string(pages.join(format!("{page}.1"))).expect("a page");
            let roff = page.replace('-', "\\-");
            let title = format!(
                "\n.TH \"{}\" 1 \"\" \"{name} {}\" \"PDMv2 middlebox\"\n",
                roff.to_uppercase(),
                env!("CARGO_PKG_VERSION")
            );
            assert!(text.contains(&title), "{page}: {text}");
            assert!(text.contains(&format!("\n{roff} \\- ")), "{page}: {text}");
            assert!(text.contains("\n.SH \"SEE ALSO\"\n"), "{page}: {text}");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    for program in [BOX, TOOL] {
        let output = ran(program, &["man", file.join("man").to_str().expect("plain names")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("file/man"), "{said}");
    }
}
