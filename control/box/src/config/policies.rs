//! The `[[policy]]` tables.

use common::config::reader::{self, Table};
use common::config::report::{At, Report};
use common::identity;
use common::identity::NAME_REMEDY;
use pipeline::state::policies::{InboundAction, Mode, OnFailure, OutboundAction, Policy, ProtocolMatch};
use protocol::prefix::Prefix;
use protocol::wire::ipv6;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

const MODES: [(&str, Mode); 4] =
    [("off", Mode::Off), ("pdm", Mode::Pdm), ("clear", Mode::Clear), ("encrypted", Mode::Encrypted)];
const ON_FAILURE: [(&str, OnFailure); 3] =
    [("drop", OnFailure::Drop), ("strip", OnFailure::Strip), ("pass", OnFailure::Pass)];
const OUTBOUND: [(&str, OutboundAction); 2] = [("add", OutboundAction::Add), ("pass", OutboundAction::Pass)];
const INBOUND: [(&str, InboundAction); 3] =
    [("remove", InboundAction::Remove), ("verify", InboundAction::Verify), ("pass", InboundAction::Pass)];
const PROTOCOLS: [(&str, u8); 7] = [
    ("tcp", ipv6::TCP),
    ("udp", ipv6::UDP),
    ("icmpv6", ipv6::ICMPV6),
    ("sctp", ipv6::SCTP),
    ("dccp", ipv6::DCCP),
    ("udplite", ipv6::UDPLITE),
    ("esp", ipv6::ESP),
];
/// Protocols with ports (profile section 2).
const WITH_PORTS: [u8; 5] = [ipv6::TCP, ipv6::UDP, ipv6::SCTP, ipv6::DCCP, ipv6::UDPLITE];
/// Extension headers: never what a packet carries in the end.
const EXTENSIONS: [u8; 5] = [ipv6::HOP_BY_HOP, ipv6::ROUTING, ipv6::FRAGMENT, ipv6::AH, ipv6::DEST_OPTS];
/// Policies the box looks through for the first packet of a flow.
const MAX_POLICIES: usize = 1024;

pub fn policies(root: &mut Table<'_>, report: &mut Report<'_>) -> Vec<Policy> {
    let there = root.value("policy").is_some();
    let tables = root.tables("policy", report);
    if !there {
        report.warn(0, "no policy: every packet passes unchanged", "add a [[policy]], see configs/box-a.toml");
    }
    if let Some(table) = tables.get(MAX_POLICIES) {
        report.error(table.at, format!("more than {MAX_POLICIES} policies"), "join some: a policy takes lists");
    }
    let mut policies: Vec<Policy> = Vec::new();
    let mut catch_all: Option<String> = None;
    for table in tables {
        let Some(At { value: policy, at }) = policy(table, report) else { continue };
        if policies.iter().any(|p| p.name == policy.name) {
            let remedy = "rename one: counters are told apart by it";
            report.error(at, format!("two policies are named '{}'", policy.name), remedy);
        }
        if let Some(earlier) = &catch_all {
            let message = format!("policy '{}' is never used: '{earlier}' before it matches every packet", policy.name);
            report.warn(at, message, format!("move it before '{earlier}'"));
        } else if policy.inside.is_empty()
            && policy.outside.is_empty()
            && policy.ports.is_empty()
            && policy.protocol == ProtocolMatch::Any
        {
            catch_all = Some(policy.name.clone());
        }
        policies.push(policy);
    }
    policies
}

/// What policies and pairs have alike: a name, and prefixes of either side, none for every address.
pub(super) fn named_prefixes<'t>(
    table: &mut Table<'t>,
    report: &mut Report<'_>,
) -> (Option<At<&'t str>>, [Option<Vec<Prefix>>; 2]) {
    let name = table.text("name", report);
    if let Some(name) = name
        && let Err(message) = identity::check_name(name.value)
    {
        report.error(name.at, message, NAME_REMEDY);
    }
    let mut prefixes = |key| {
        if table.value(key).is_none() { Some(Vec::new()) } else { reader::prefixes(table, key, report) }
    };
    let sides = [prefixes("inside"), prefixes("outside")];
    (name, sides)
}

fn policy(mut table: Table<'_>, report: &mut Report<'_>) -> Option<At<Policy>> {
    let at = table.at;
    table.require("name", "name = \"…\": what counters and messages call it", report);
    let (name, [inside, outside]) = named_prefixes(&mut table, report);
    let protocol = protocol(&mut table, report);
    let ports = ports(&mut table, report);
    table.require("mode", "mode = \"encrypted\", \"clear\", \"pdm\" or \"off\"", report);
    let mode = table.choice("mode", &MODES, report);
    let on_failure = table.choice("on_failure", &ON_FAILURE, report).map(|v| v.value).unwrap_or_default();
    let outbound = table.choice("outbound", &OUTBOUND, report).map_or(OutboundAction::Add, |v| v.value);
    let inbound = table.choice("inbound", &INBOUND, report).map_or(InboundAction::Remove, |v| v.value);
    // 100 years: what still fits 64 bits of nanoseconds.
    let century = Duration::from_secs(100 * 365 * 86_400);
    let lifetime = table.duration("lifetime", Duration::from_secs(1)..=century, report);
    if let Some(mode) = mode
        && mode.value == Mode::Off
        && let Some(key) =
            ["on_failure", "outbound", "inbound", "lifetime"].into_iter().find(|k| table.value(k).is_some())
    {
        report.warn(mode.at, format!("'{key}' means nothing with mode = \"off\""), format!("delete '{key}'"));
    }
    table.finish(report);
    let (protocol, ports, mode) = (protocol?, ports?, mode?);
    check_protocol(protocol.value, &ports, mode, report);
    Some(At {
        value: Policy {
            name: name?.value.to_owned(),
            inside: inside?,
            outside: outside?,
            protocol: protocol.value,
            ports: ports.value,
            mode: mode.value,
            on_failure,
            outbound,
            inbound,
            lifetime_ns: lifetime.map(|l| u64::try_from(l.value.as_nanos()).unwrap_or(u64::MAX)),
        },
        at,
    })
}

fn check_protocol(protocol: ProtocolMatch, ports: &At<Vec<(u16, u16)>>, mode: At<Mode>, report: &mut Report<'_>) {
    match protocol {
        ProtocolMatch::Number(n) if !ports.value.is_empty() && !WITH_PORTS.contains(&n) => {
            let message = format!("'ports', but protocol {n} has none");
            report.error(ports.at, message, "delete 'ports', or choose tcp, udp, sctp, dccp or udplite");
        }
        ProtocolMatch::Any if !ports.value.is_empty() => {
            let message = "'ports' without a protocol also matches the identifiers of ICMPv6 echoes";
            report.warn(ports.at, message, "add protocol = \"tcp\" or \"udp\"");
        }
        ProtocolMatch::Number(ipv6::ESP) if matches!(mode.value, Mode::Pdm | Mode::Clear) => {
            let message = "no option in clear goes outside ESP: it would show what ESP hides (RFC 8250 section 3.4.1)";
            report.error(mode.at, message, "use mode = \"encrypted\" or \"off\"");
        }
        _ => {}
    }
}

fn protocol(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<At<ProtocolMatch>> {
    let Some(value) = table.value("protocol") else { return Some(At { value: ProtocolMatch::Any, at: table.at }) };
    let at = value.span().start;
    if value.get_ref().is_integer() {
        let number = reader::integer(value, &table.path("protocol"), 0..=255, report)? as u8;
        if EXTENSIONS.contains(&number) {
            let message = format!("protocol {number} is an extension header: no packet carries it in the end");
            report.error(at, message, "name the upper-layer protocol, such as \"tcp\"");
        }
        return Some(At { value: ProtocolMatch::Number(number), at });
    }
    let words: Vec<_> = PROTOCOLS
        .iter()
        .map(|&(name, number)| (name, ProtocolMatch::Number(number)))
        .chain([("any", ProtocolMatch::Any)])
        .collect();
    table.choice("protocol", &words, report)
}

/// Ports and ranges, inclusive; none when the key is absent.
fn ports(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<At<Vec<(u16, u16)>>> {
    if table.value("ports").is_none() {
        return Some(At { value: Vec::new(), at: table.at });
    }
    let list = table.list("ports", report)?;
    let mut ranges = Vec::new();
    for value in list.value {
        match range(value) {
            Ok(range) => ranges.push(range),
            Err(message) => {
                report.error(value.span().start, message, "write a number from 0 to 65535, or a range \"8000-8999\"");
            }
        }
    }
    (ranges.len() == list.value.len()).then_some(At { value: ranges, at: list.at })
}

fn range(value: &Spanned<DeValue<'_>>) -> Result<(u16, u16), String> {
    let value = value.get_ref();
    if let Some(number) = value.as_integer() {
        let port = u16::from_str_radix(number.as_str(), number.radix());
        return port.map(|p| (p, p)).map_err(|_| format!("{} is not a port", number.as_str()));
    }
    let text = value.as_str().ok_or_else(|| format!("a {} is not a port", value.type_str()))?;
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |s: &str| s.trim().parse::<u16>().map_err(|_| format!("'{text}' is neither a port nor a range"));
    let (low, high) = (port(low)?, port(high)?);
    if low > high { Err(format!("the range '{text}' ends before it starts")) } else { Ok((low, high)) }
}
