//! What is asked of a running box: any path and query gets an answer or an error that says what to do.
//!
//! Input: a path and, behind a question mark, a query, as they stand in a request.

use common::admin::{Failure, Reloaded, Successor};
use middlebox::admin::World;
use middlebox::admin::query::{self, Flows};
use middlebox::admin::{hours, watching};
use middlebox::observe::counts::Counts;
use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::state::policies::{Mode, Policy};
use pipeline::state::rules::PathConfig;
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::prseq::MasterKey;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::sync::{Arc, OnceLock};

/// What is repeated of what somebody wrote is cut: an error is no longer than this.
const LONGEST: usize = 300;

/// A box with two policies, and nothing else.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let named = |name: &str| Policy { name: name.into(), ..Policy::everything(Mode::Clear) };
        let config = PathConfig { policies: vec![named("web"), named("my mail")], ..PathConfig::default() };
        let table = FlowTable::new(TableSize { capacity: 64, tombstones: 64 }, [7; 16]);
        let shared = Arc::new(Shared::new(config, table, SnapshotCell::default(), MasterKey::new([9; 32]), 1));
        let of_counts = Arc::clone(&shared);
        World {
            counts: Box::new(move || Counts::of(&[], &of_counts.snapshots.rules())),
            shared,
            workers: Vec::new(),
            now: Box::new(|| 0),
            cores: Vec::new(),
            reload: Box::new(|| Ok(Reloaded { changed: Vec::new(), warnings: Vec::new() })),
            take_over: Box::new(|| Ok(Successor { process: 2, from_process: 1 })),
            stop: Arc::default(),
        }
    })
}

fn is_an_answer<T>(result: &Result<T, Failure>) {
    let Err(Failure { error, remedy, known }) = result else { return };
    assert!(!error.is_empty() && !remedy.is_empty(), "an error says what to do: {error}: {remedy}");
    assert!(error.len() < LONGEST, "an error of {} octets", error.len());
    assert!(known.iter().all(|name| !name.is_empty()));
}

/// Any request.
pub fn admin(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*text, None),
    };
    match path {
        "/v1/policies/start" => {
            let asked = query::start(query);
            is_an_answer(&asked);
            if let Ok((policy, seconds)) = asked {
                is_an_answer(&hours::start(world(), &policy, seconds));
            }
        }
        "/v1/policies/stop" => {
            let asked = query::stop(query);
            is_an_answer(&asked);
            if let Ok(policy) = asked {
                is_an_answer(&hours::stop(world(), &policy));
            }
        }
        "/v1/histograms" => is_an_answer(&query::histograms(query)),
        "/v1/trace" => is_an_answer(&watching::trace(world(), query)),
        "/v1/capture" => is_an_answer(&watching::capture(world(), query)),
        "/v1/flows" => {
            let asked = query::flows(query);
            is_an_answer(&asked);
            if let Ok(asked) = asked {
                let again = query::flows(Some(&written(&asked)));
                assert_eq!(again.as_ref(), Ok(&asked), "what was understood can be asked for again");
            }
        }
        _ => is_an_answer(&query::nothing(query)),
    }
}

/// A query that asks for this.
fn written(asked: &Flows) -> String {
    let Flows { address, prefix, port, policy, protocol, sort, ascending, limit, pair } = asked;
    let order = if *ascending { "asc" } else { "desc" };
    let mut query = format!("sort={}&order={order}&limit={limit}", sort.name());
    let mut put = |name: &str, value: Option<String>| {
        let Some(value) = value else { return };
        let _ = write!(query, "&{name}="); // into a String, as what follows
        for octet in value.bytes() {
            let _ = write!(query, "%{octet:02X}");
        }
    };
    put("address", address.map(|octets| Ipv6Addr::from(octets).to_string()));
    put("prefix", prefix.as_ref().map(ToString::to_string));
    put("port", port.map(|port| port.to_string()));
    put("policy", policy.clone());
    put("pair", pair.clone());
    put("protocol", protocol.map(|protocol| protocol.to_string()));
    query
}

/// Requests with every parameter that there is.
pub fn requests() -> Vec<Vec<u8>> {
    let requests = [
        "/v1/status",
        "/v1/policies?",
        "/v1/flows?address=2001%3Adb8::1&port=443&protocol=tcp&sort=server_delay&order=asc&limit=7",
        "/v1/flows?prefix=2001:db8::/32&policy=my+mail&protocol=58&sort=loss&order=desc",
        "/v1/flows?sort=rtt&limit=10000",
        "/v1/histograms?policy=web",
        "/v1/flows?pair=west&sort=idle",
        "/v1/policies/start?policy=web&for_seconds=60",
        "/v1/policies/start?policy=my+mail",
        "/v1/policies/stop?policy=web",
        "/v1/trace?policy=web&protocol=udp&n=20&seconds=60",
        "/v1/trace?address=::1&prefix=fe80::/10&port=0",
        "/v1/capture?point=inside&snaplen=128&n=1000000&seconds=3600",
        "/v1/capture?point=dropped&policy=nobody",
        "/v1/flows?adress=::1",
        "/v1/flows?port=1&port=2",
        "/v1/flows?port=65536",
    ];
    requests.map(|request| request.as_bytes().to_vec()).to_vec()
}
