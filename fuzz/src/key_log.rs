//! `pdmv2 decode --key-log`: any file is read, and what counts in it is written as it stands.

use common::key_log::{KeyLog, Writer};
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::ScopeId;
use protocol::suite::Scope;
use std::path::PathBuf;

/// A file of this process that goes with it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

thread_local! {
    static PLACE: Place = Place(std::env::temp_dir().join(format!("pdmv2-fuzz-{}.keylog", std::process::id())));
}

/// A key log of any octets.
pub fn key_log(data: &[u8]) {
    let log = KeyLog::read(&mut &data[..]).expect("memory can be read");
    let lines = data.split(|&octet| octet == b'\n').count();
    let names: usize = log.known.iter().map(|known| known.names.len()).sum();
    assert!(names as u64 + log.bad_lines <= lines as u64, "more secrets than lines");
    assert_eq!(log.bad_lines > 0, log.first_bad.is_some());
    if names == 0 {
        return;
    }
    PLACE.with(|place| {
        let _ = std::fs::remove_file(&place.0);
        let mut writer = Writer::open(&place.0).expect("a temporary file can be made");
        let mut written = 0;
        for known in &log.known {
            // Those of clients are written for many at once, which is another way.
            for name in known.names.iter().filter(|name| !matches!(name.scope, ScopeId::Client(_))) {
                let (scope, id) = match name.scope {
                    ScopeId::Node(id) => (Scope::Node, id),
                    ScopeId::Shared | ScopeId::Client(_) => (Scope::Shared, [0; 16]),
                };
                let keys = GenerationKeys::Ready(known.secret.clone());
                writer.take(name.generation, scope, id, &keys).expect("room on the disk");
                written += 1;
            }
        }
        writer.flush().expect("room on the disk");
        if written > 0 {
            let again = KeyLog::load(&place.0).expect("what was written is read");
            let names: usize = again.known.iter().map(|known| known.names.len()).sum();
            assert_eq!((names, again.bad_lines), (written, 0), "what was written is read");
        }
    });
}

/// Key logs of several scopes and suites, with lines of others.
pub fn key_logs() -> Vec<Vec<u8>> {
    let id = "20010db8000a00000000000000000001";
    let line = |generation: u32, scope: &str, id: &str, suite: &str, octets: usize| {
        format!("PDMV2 {generation} {scope} {id} {suite} {}\n", "7f".repeat(octets))
    };
    let lines = [
        line(7, "node", id, "0020-0001-0001", 32),
        line(8, "client", id, "0020-0002-0002", 48),
        line(u32::MAX, "shared", "-", "647a-0003-0003", 64),
        line(9, "node", id, "0020-0001-0001", 32),
        "# a comment\r\nCLIENT_RANDOM 1 2\n\nPDMV2 half".to_owned(),
    ];
    let all = lines.concat();
    lines.iter().map(|line| line.clone().into_bytes()).chain([all.into_bytes()]).collect()
}
