//! What the documents say of the tree is held against the tree: files that they name, and where `unsafe` stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the project")
}

/// All files of the project, as paths from its root; not what was built.
fn files() -> BTreeSet<String> {
    fn walk(dir: &Path, root: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, into);
            }
            let path = path.strip_prefix(root).expect("within").to_str().expect("plain names");
            into.insert(path.to_owned());
        }
    }
    let (root, mut all) = (root(), BTreeSet::new());
    walk(&root, &root, &mut all);
    all
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// The documents for people, but for what was: a changelog names what is gone.
fn documents() -> Vec<String> {
    let all = files();
    let documents = all.into_iter().filter(|p| p.ends_with(".md") && p != "CHANGELOG.md" && !p.contains("/corpus/"));
    documents.collect()
}

/// What stands between backquotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a quotation is a file or folder of this project, and not, say, a user's.
fn names_a_file(text: &str) -> bool {
    const ROOMS: [&str; 8] =
        ["protocol/", "pipeline/", "control/", "bench/", "dpdk-ffi/", "fuzz/", "docs/", "configs/"];
    /// Of other projects.
    const ELSEWHERE: [&str; 1] = ["app/pktgen-constants.h"];
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let source = [".rs", ".c", ".h", ".proto"].iter().any(|end| text.ends_with(end));
    plain
        && !text.starts_with('.')
        && !ELSEWHERE.contains(&text)
        && (source || ROOMS.iter().any(|room| text.starts_with(room)))
        && !text.starts_with("bench/results")
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let (files, documents) = (files(), documents());
    assert!(documents.iter().any(|d| d == "README.md") && documents.len() > 8, "{documents:?}");
    let is_there = |name: &str| {
        let name = name.trim_end_matches('/');
        files.contains(name) || files.iter().any(|file| file.ends_with(&format!("/{name}")))
    };
    let mut gone = Vec::new();
    let mut named = 0;
    for document in &documents {
        for (number, line) in read(document).lines().enumerate() {
            for name in quoted(line).filter(|text| names_a_file(text)) {
                named += 1;
                if !is_there(name) {
                    gone.push(format!("{document}:{}: {name}", number + 1));
                }
            }
        }
    }
    assert!(named > 100, "{named} files are named: does this test still find them?");
    assert!(gone.is_empty(), "the documents name files that are not there:\n{}", gone.join("\n"));
}

/// Links between documents lead somewhere.
#[test]
fn every_document_that_is_linked_is_there() {
    let mut lost = Vec::new();
    for document in documents() {
        let text = read(&document);
        let dir = root().join(Path::new(&document).parent().expect("a directory"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !file.contains(' ') && !dir.join(file).exists() {
                lost.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(lost.is_empty(), "links that lead nowhere:\n{}", lost.join("\n"));
}

/// `unsafe` outside comments and texts, as code has it.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"].iter().any(|w| code.contains(w))
}

#[test]
fn unsafe_stands_where_the_architecture_says() {
    const BEGIN: &str = "<!-- where unsafe stands: tested by control/tests/documents.rs -->";
    let stands: BTreeSet<String> = files()
        .into_iter()
        .filter(|path| path.ends_with(".rs") && path != "control/tests/documents.rs" && !path.starts_with("target"))
        .filter(|path| read(path).lines().any(is_unsafe))
        .collect();
    assert!(stands.iter().any(|p| p == "protocol/src/aead/vaes512.rs"), "{stands:?}");
    let text = read("docs/architecture.md");
    let list = text.split_once(BEGIN).expect("the list").1.split("\n\n").nth(1).expect("a paragraph");
    let said: BTreeSet<String> =
        list.lines().flat_map(quoted).filter(|t| t.ends_with(".rs")).map(str::to_owned).collect();
    let missing: Vec<_> = stands.difference(&said).collect();
    let gone: Vec<_> = said.difference(&stands).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/architecture.md, where `unsafe` stands: add {missing:?}, take out {gone:?}"
    );
}
