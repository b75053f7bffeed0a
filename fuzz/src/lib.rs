//! The fuzz targets. Each takes any octets and panics on a finding.

pub mod admin;
pub mod bursts;
pub mod capture;
pub mod corpus;
pub mod key_log;
pub mod messages;
mod opening;
pub mod two_boxes;

use common::config::Checks;
use common::key_file::KeyFile;
use middlebox::config::Config;
use protocol::wire::dest_opts::{insert_into_vec, plan_remove, remove_from_vec};
use protocol::wire::ext_chain::walk as walk_chain;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_encrypted, emit_pdm};
use registrar::config::RegistrarConfig;
use std::path::Path;
use tools::selftest::check;

pub use admin::admin;
pub use bursts::bursts;
pub use capture::capture;
pub use key_log::key_log;
pub use messages::messages;
pub use opening::open;
pub use two_boxes::boxes;

/// Takes any octets and panics on a finding.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("walk", walk),
    ("open", open),
    ("boxes", boxes),
    ("bursts", bursts),
    ("config", config),
    ("vectors", vectors),
    ("capture", capture),
    ("key_log", key_log),
    ("messages", messages),
    ("admin", admin),
];

/// The walk along the chain, and insertion and removal where the walk lets them.
pub fn walk(data: &[u8]) {
    let Ok(chain) = walk_chain(data, data.len()) else { return };
    assert!(chain.upper_offset <= chain.payload_end && chain.payload_end <= data.len());
    // A first segment that ends anywhere must not be read beyond.
    if let Some(&cut) = data.last() {
        let first = data.len().saturating_sub(usize::from(cut));
        let _ = walk_chain(&data[..first], data.len());
    }
    if chain.option.is_some() {
        assert!(plan_remove(&chain, data).is_some());
        let mut removed = data.to_vec();
        assert_eq!(remove_from_vec(&mut removed), Ok(true));
        let after = walk_chain(&removed, removed.len()).expect("a packet stays one without its option");
        assert!(after.option.is_none());
        assert_eq!(after.five_tuple, chain.five_tuple);
        assert_eq!(
            removed[after.upper_offset..],
            data[chain.upper_offset..],
            "what is behind the headers is untouched"
        );
        return;
    }
    let (head, metrics) = (Prefix6 { reserved: 0, prseq: 1, f: 0 }, Metrics::default());
    let options = [
        emit_pdm(&metrics).to_vec(),
        emit_clear(&head, &metrics).to_vec(),
        emit_encrypted(&head.emit(Form::Encrypted), &[1; 14], &[2; 16]).to_vec(),
    ];
    for (form, option) in [Form::Pdm, Form::Clear, Form::Encrypted].into_iter().zip(options) {
        let mut packet = data.to_vec();
        if insert_into_vec(&mut packet, &option, form).is_err() {
            assert_eq!(packet, data, "what is refused is unchanged");
            continue;
        }
        let with = walk_chain(&packet, packet.len()).expect("a packet stays one with the option");
        assert_eq!((with.option.map(|o| o.form), with.five_tuple), (Some(form), chain.five_tuple));
        assert_eq!(remove_from_vec(&mut packet), Ok(true));
        assert_eq!(packet, data, "add and remove give the packet back");
    }
}

/// Configurations of boxes and registrars, and key files.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(errors) = Config::parse(&text, Path::new("fuzz.toml"), Checks::TextOnly) {
        assert!(errors.to_string().contains("fuzz.toml"), "an error names its place");
    }
    if let Err(errors) = RegistrarConfig::parse(&text, Path::new("fuzz.toml"), Checks::TextOnly) {
        assert!(errors.to_string().contains("fuzz.toml"), "an error names its place");
    }
    if let Ok(file) = KeyFile::parse(&text, "fuzz.keys") {
        let again = KeyFile::parse(&file.to_toml(), "again").expect("what was read can be written and read");
        assert_eq!(again.fingerprint(), file.fingerprint());
    }
}

/// Files of test vectors.
pub fn vectors(data: &[u8]) {
    let mut out = Vec::new();
    if let Ok(summary) = check(&String::from_utf8_lossy(data), &mut out) {
        let last = format!("{} passed, {} failed\n", summary.passed, summary.failed);
        assert!(String::from_utf8_lossy(&out).ends_with(&last), "the summary comes last");
        assert!(summary.passed + summary.failed > 0, "nothing was checked, and nobody was told");
    }
}
