//! The figures of box and registrar: their documentation is what their tables say, and Prometheus' own tool finds nothing
//! to say against them.

mod programs;

use common::metrics::{docs, prometheus};
use crossbeam_utils::CachePadded;
use middlebox::observe::counts::{Counts, ExportCount, MemoryCount, PortSettings, RegistrationCounts};
use middlebox::observe::figures;
use middlebox::observe::sums::{CountedPair, CountedPolicy, Sums};
use pipeline::observe::counters::{Outcome, PolicyCounters, WorkerCounters};
use pipeline::observe::reasons::Reason;
use pipeline::state::rules::Rules;
use registrar::metrics as registrar_figures;
use std::path::Path;
use std::sync::Arc;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

/// What to do about a reason.
fn remedy(reason: &str) -> &'static str {
    Reason::ALL.iter().find(|known| known.name() == reason).map_or("", |known| known.remedy())
}

#[test]
fn the_documentation_is_what_the_tables_say() {
    let (of_box, of_registrar) = (&figures::BOOK, &registrar_figures::BOOK);
    let tables = [
        ("reasons", docs::values_and(of_box, "reason", "what to do", remedy)),
        ("figures of a box", docs::figures(of_box)),
        ("labels of a box", docs::labels(of_box)),
        ("figures of a registrar", docs::figures(of_registrar)),
        ("labels of a registrar", docs::labels(of_registrar)),
        ("findings", docs::values(of_box, "finding")),
    ];
    let is = std::fs::read_to_string(DOCUMENT).expect("docs/metrics.md");
    let mut should = is.clone();
    for (name, table) in tables {
        let replaced = docs::replace(&should, name, &table);
        assert!(replaced.is_some(), "docs/metrics.md has no place '<!-- {name} -->'");
        should = replaced.unwrap_or_default();
    }
    if std::env::var_os(docs::UPDATE).is_some() {
        std::fs::write(DOCUMENT, &should).expect("docs/metrics.md");
        return;
    }
    let differs = is.lines().zip(should.lines()).find(|(is, should)| is != should);
    assert!(
        is == should,
        "docs/metrics.md and the tables differ: {differs:?}\nWrite it anew: {}=1 cargo test -p control --test metrics",
        docs::UPDATE
    );
}

/// A metric that a document names is there.
#[test]
fn documents_name_metrics_that_there_are() {
    const OTHERS: [&str; 3] = ["pdmv2_secret", "pdmv2_confirm_client", "pdmv2_confirm_server"];
    let of_box = figures::BOOK.figures.iter().map(|figure| figure.name);
    let names: Vec<_> = of_box.chain(registrar_figures::BOOK.figures.iter().map(|figure| figure.name)).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let mut seen = 0;
    for path in documents.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(&path).expect("a document");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("pdmv2_")) {
            assert!(names.contains(&word) || OTHERS.contains(&word), "{}: there is no {word}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn promtool_finds_nothing_when_everything_has_occurred() {
    let worker = WorkerCounters::default();
    for direction in [&worker.outbound, &worker.inbound] {
        for &reason in Reason::ALL {
            [Outcome::Passed(reason), Outcome::Stripped(reason), Outcome::Dropped(reason)]
                .into_iter()
                .for_each(|outcome| direction.count(outcome, 1));
        }
    }
    worker.quotations.iter().for_each(|finding| finding.add(1));
    worker.round_trip.record(1_000_000);
    let mut counts = Counts::of(&[Arc::new(worker)], &Rules::default());
    let counters = Arc::from([CachePadded::new(PolicyCounters::default())]);
    let sums = Sums(vec![counters]);
    counts.pairs = vec![CountedPair { name: "a pair".into(), sums: sums.clone() }];
    counts.policies = vec![CountedPolicy { name: "a \"policy\"\\".into(), mode: "encrypted", ends_ns: Some(1), sums }];
    counts.turn_ages = vec![0.1];
    counts.registration = Some(RegistrationCounts::default());
    counts.export = vec![ExportCount::default()];
    counts.resumptions = [("stopped", 1)].into();
    counts.memory = vec![MemoryCount { of: "records", pages: "2M", octets: 1 }];
    counts.port_settings = vec![PortSettings::default(), PortSettings::default()];
    let text = prometheus::text(&figures::BOOK, &counts).expect("text");
    for figure in figures::BOOK.figures.iter().filter(|figure| !figure.name.is_empty()) {
        assert!(text.contains(&format!("# TYPE {} ", figure.name)), "{} is not shown", figure.name);
    }
    programs::promtool(&text);
}
