//! What is asked for, behind the question mark of a path. Nothing that is not understood is passed over.

use common::admin::{FLOWS, Failure, MOST_FLOWS, MOST_POLICY_SECONDS, Sort};
use protocol::prefix::Prefix;
use protocol::wire::ipv6;
use std::net::Ipv6Addr;

/// Which flows, and in which order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flows {
    /// Of either end.
    pub address: Option<[u8; 16]>,
    /// Around the address of either end.
    pub prefix: Option<Prefix>,
    /// Of either end.
    pub port: Option<u16>,
    /// Name of the policy.
    pub policy: Option<String>,
    /// Name of the pair of prefixes.
    pub pair: Option<String>,
    /// Number of the upper-layer protocol.
    pub protocol: Option<u8>,
    /// What they are sorted by.
    pub sort: Sort,
    /// Whether the least comes first.
    pub ascending: bool,
    /// How many, at most.
    pub limit: usize,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            address: None,
            prefix: None,
            port: None,
            policy: None,
            pair: None,
            protocol: None,
            sort: Sort::Received,
            ascending: false,
            limit: FLOWS,
        }
    }
}

const OF_FLOWS: [&str; 9] = ["address", "prefix", "port", "policy", "pair", "protocol", "sort", "order", "limit"];

/// The parameters of `/v1/flows`.
///
/// # Errors
/// One that there is not, twice the same, or a value that it cannot have.
pub fn flows(query: Option<&str>) -> Result<Flows, Failure> {
    let mut asked = Flows::default();
    for (name, value) in parameters(query, &OF_FLOWS)? {
        let wrong = |known: &[&str], remedy: String| {
            failure(format!("{name}: '{}' is no value of it", short(&value)), remedy, known)
        };
        match name {
            "address" => {
                let address: Result<Ipv6Addr, _> = value.parse();
                let octets =
                    address.map_err(|_| wrong(&[], "write an IPv6 address, like 2001:db8::1".into()))?.octets();
                asked.address = Some(octets);
            }
            "prefix" => {
                let remedy = "write an IPv6 prefix, like 2001:db8::/32";
                asked.prefix = Some(value.parse().map_err(|_| wrong(&[], remedy.into()))?);
            }
            "port" => asked.port = Some(value.parse().map_err(|_| wrong(&[], "write a port from 0 to 65535".into()))?),
            "policy" => asked.policy = Some(value),
            "pair" => asked.pair = Some(value),
            "protocol" => {
                let remedy = "write a protocol's name or its number from 0 to 255";
                asked.protocol = Some(protocol(&value).ok_or_else(|| wrong(&NAMES, remedy.into()))?);
            }
            "sort" => asked.sort = sort(&value)?,
            "order" => match value.as_str() {
                "asc" => asked.ascending = true,
                "desc" => asked.ascending = false,
                _ => return Err(wrong(&["asc", "desc"], "choose one that is known".into())),
            },
            _ => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST_FLOWS).contains(limit));
                asked.limit = limit.ok_or_else(|| wrong(&[], format!("write a number from 1 to {MOST_FLOWS}")))?;
            }
        }
    }
    Ok(asked)
}

/// The parameters of `/v1/histograms`: which policy.
///
/// # Errors
/// As [`flows`].
pub fn histograms(query: Option<&str>) -> Result<Option<String>, Failure> {
    Ok(parameters(query, &["policy"])?.pop().map(|(_, value)| value))
}

/// The parameters of what starts a policy: its name, and for how many seconds; none: for its lifetime.
///
/// # Errors
/// As [`flows`]; and if it is not said which policy.
pub fn start(query: Option<&str>) -> Result<(String, Option<u64>), Failure> {
    const KNOWN: [&str; 2] = ["policy", "for_seconds"];
    let (mut policy, mut seconds) = (None, None);
    for (name, value) in parameters(query, &KNOWN)? {
        if name == "policy" {
            policy = Some(value);
            continue;
        }
        let valid = value.parse().ok().filter(|seconds| (1..=MOST_POLICY_SECONDS).contains(seconds));
        let remedy = || format!("write a number of seconds from 1 to {MOST_POLICY_SECONDS}");
        let wrong = || failure(format!("{name}: '{}' is no value of it", short(&value)), remedy(), &[]);
        seconds = Some(valid.ok_or_else(wrong)?);
    }
    let missing = || failure("policy: it is not said which".to_owned(), "name one".to_owned(), &KNOWN);
    Ok((policy.ok_or_else(missing)?, seconds))
}

/// The parameters of what ends a policy: its name.
///
/// # Errors
/// As [`start`].
pub fn stop(query: Option<&str>) -> Result<String, Failure> {
    let missing = || failure("policy: it is not said which".to_owned(), "name one".to_owned(), &["policy"]);
    parameters(query, &["policy"])?.pop().map(|(_, value)| value).ok_or_else(missing)
}

/// Of whom, and since when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Name of the policy. `None`: the whole box.
    pub policy: Option<String>,
    /// Only what is later than this, milliseconds since 1970.
    pub since_ms: u64,
}

/// The parameters of `/v1/history`.
///
/// # Errors
/// As [`flows`].
pub fn history(query: Option<&str>) -> Result<History, Failure> {
    let mut asked = History::default();
    for (name, value) in parameters(query, &["policy", "since"])? {
        match name {
            "policy" => asked.policy = Some(value),
            _ => {
                let remedy = "write milliseconds since 1970: the time_ms of the last moment that you have";
                let wrong = || failure(format!("{name}: '{}' is no value of it", short(&value)), remedy.into(), &[]);
                asked.since_ms = value.parse().map_err(|_| wrong())?;
            }
        }
    }
    Ok(asked)
}

/// What the page is to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Name of the policy. `None`: the whole box.
    pub policy: Option<String>,
    /// What the flows are sorted by.
    pub sort: Sort,
    /// Without what a page that is shown already has.
    pub live: bool,
}

/// The parameters of the page.
///
/// # Errors
/// As [`flows`].
pub fn page(query: Option<&str>) -> Result<Page, Failure> {
    let mut asked = Page { policy: None, sort: Sort::ServerDelay, live: false };
    for (name, value) in parameters(query, &["policy", "sort", "live"])? {
        match name {
            // What a form says for the whole box.
            "policy" => asked.policy = Some(value).filter(|name| !name.is_empty()),
            "sort" => asked.sort = sort(&value)?,
            _ => asked.live = true,
        }
    }
    Ok(asked)
}

fn sort(value: &str) -> Result<Sort, Failure> {
    let found = Sort::ALL.iter().find(|(name, _)| *name == value).map(|(_, sort)| *sort);
    found.ok_or_else(|| {
        let error = format!("sort: '{}' is no value of it", short(value));
        failure(error, "choose one that is known".into(), &Sort::ALL.map(|(name, _)| name))
    })
}

/// No parameters.
///
/// # Errors
/// There are some.
pub fn nothing(query: Option<&str>) -> Result<(), Failure> {
    parameters(query, &[]).map(drop)
}

const NAMES: [&str; 7] = ["tcp", "udp", "icmpv6", "sctp", "dccp", "udplite", "esp"];

fn protocol(text: &str) -> Option<u8> {
    let named = NAMES.contains(&text).then(|| (0..=255).find(|&number| ipv6::name(number) == Some(text))).flatten();
    named.or_else(|| text.parse().ok())
}

/// Each at most once, by the name it is known by.
pub(super) fn parameters(query: Option<&str>, known: &[&'static str]) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(&name) = known.iter().find(|known| **known == name) else {
            let remedy = if known.is_empty() { "ask without parameters" } else { "use one that is known" };
            return Err(failure(format!("there is no parameter '{}'", short(&name)), remedy.to_owned(), known));
        };
        if found.iter().any(|(before, _)| *before == name) {
            return Err(failure(format!("{name} is there twice"), "name it once".to_owned(), known));
        }
        found.push((name, value.into_owned()));
    }
    Ok(found)
}

pub(super) fn failure(error: String, remedy: String, known: &[&str]) -> Failure {
    Failure { error, remedy, known: known.iter().map(|&known| known.to_owned()).collect() }
}

/// What is repeated of what somebody wrote.
pub(super) fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_is_understood() {
        assert_eq!(flows(None), Ok(Flows::default()));
        let asked = "address=2001%3Adb8::1&prefix=2001:db8::/32&port=443&policy=my+web&pair=west&protocol=tcp&sort=loss&order=asc&limit=7";
        let expected = Flows {
            address: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets()),
            prefix: Some("2001:db8::/32".parse().expect("a prefix")),
            port: Some(443),
            policy: Some("my web".into()),
            pair: Some("west".into()),
            protocol: Some(6),
            sort: Sort::Loss,
            ascending: true,
            limit: 7,
        };
        assert_eq!(flows(Some(asked)), Ok(expected));
        assert_eq!(flows(Some("protocol=132")).map(|asked| asked.protocol), Ok(Some(132)));
        assert_eq!(histograms(Some("policy=a")), Ok(Some("a".into())));
        assert_eq!((histograms(None), nothing(Some(""))), (Ok(None), Ok(())));
        assert_eq!(history(None), Ok(History::default()));
        let asked = History { policy: Some("my web".into()), since_ms: 12 };
        assert_eq!(history(Some("since=12&policy=my+web")), Ok(asked));
        assert_eq!(page(Some("policy=")), page(None));
        let asked = Page { policy: Some("a&b".into()), sort: Sort::Loss, live: true };
        assert_eq!(page(Some("policy=a%26b&sort=loss&live=1")), Ok(asked));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_there_is() {
        let said = |query| flows(Some(query)).expect_err(query);
        assert_eq!(said("adress=::1").known, OF_FLOWS);
        assert!(said("adress=::1").error.contains("'adress'"));
        assert!(said("sort=size").known.contains(&"rtt".to_owned()));
        for query in [
            "address=1.2.3.4",
            "prefix=::/129",
            "port=65536",
            "protocol=x",
            "limit=0",
            "limit=10001",
            "order=up",
            "sort=",
        ] {
            let name = query.split('=').next().expect("a name");
            assert!(said(query).error.starts_with(name), "{query}");
        }
        assert!(said("port=1&port=1").error.contains("twice"));
        assert!(said(&format!("{}=1", "x".repeat(5000))).error.len() < 100);
        assert!(nothing(Some("a=b")).is_err() && histograms(Some("limit=1")).is_err());
        assert!(history(Some("since=-1")).is_err() && page(Some("sort=size")).is_err() && page(Some("q")).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_asked_gets_an_answer(query in ".{0,200}", value in ".{0,40}", which in 0usize..9) {
            let _ = flows(Some(&query));
            let _ = flows(Some(&format!("{}={value}", OF_FLOWS[which])));
            let _ = (histograms(Some(&query)), history(Some(&query)), page(Some(&query)));
            let (_, _) = (start(Some(&query)), stop(Some(&query)));
            let _ = start(Some(&format!("policy=a&for_seconds={value}")));
        }
    }
}
