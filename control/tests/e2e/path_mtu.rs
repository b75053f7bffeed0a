//! A link between the boxes that is narrower than the hosts', behind a real router each way.

use crate::boxes::{SOON, capture_host, end_running, key_file, start, stop, turn};
use crate::{hosts, wire};
use protocol::wire::ext_chain::walk;
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use rig::counters::Counters;
use rig::forwarders::BoxConfig;
use rig::{Options, Rig, Side};
use rustix::net::sockopt::{Ipv6PathMtuDiscovery, ipv6_mtu, set_ipv6_mtu_discover};
use std::net::UdpSocket;

const MODES: [(&str, Form); 3] = [("pdm", Form::Pdm), ("clear", Form::Clear), ("encrypted", Form::Encrypted)];

/// Runs both boxes in this mode with such a link, and gives their counters and what the hosts were sent.
fn across(
    narrow_mtu: u16,
    mode: &str,
    forwarding: &str,
    traffic: impl FnOnce(&Rig),
) -> ([Counters; 2], [Vec<wire::Octets>; 2]) {
    let rig = Rig::new(Options::default()).expect("rig");
    let routers = rig.routers(narrow_mtu).expect("routers");
    let policies = format!("[[policy]]\nname = \"all\"\nmode = \"{mode}\"\n");
    let config =
        BoxConfig { keys: key_file(&rig), policies, forwarding: forwarding.to_owned(), ..BoxConfig::default() };
    let boxes = Side::BOTH.map(|side| start(&rig, side, &config));
    rig.connect_through(&routers, SOON).expect("hosts that reach each other");
    let taps = Side::BOTH.map(|side| capture_host(&rig, side));
    traffic(&rig);
    rig.quiesce().expect("silence");
    let taps = taps.map(|tap| wire::frames(&stop(tap)));
    (end_running(boxes, [0; 2]), taps)
}

/// A socket that never lets its host cut a datagram in pieces, and hears what routers say.
fn unfragmented(rig: &Rig, from: Side, port: u16) -> UdpSocket {
    let socket = hosts::udp(rig, from, 0);
    set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DO).expect("a socket option");
    socket.connect((from.other().address(), port)).expect("connected");
    socket
}

/// Sends until the host's kernel knows what the path takes; then a datagram of just that size must arrive.
fn find_mtu(rig: &Rig, from: Side, port: u16) -> u32 {
    let (client, server) = (unfragmented(rig, from, port), hosts::udp(rig, from.other(), port));
    let mut buffer = vec![0; 2000];
    for _ in 0..20 {
        let mtu = ipv6_mtu(&client).expect("a socket option");
        let datagram = vec![0x55; mtu as usize - 48];
        // A message that has come meanwhile is told by an error; then the next size is tried.
        let sent = client.send(&datagram);
        server.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("time-out");
        if sent.is_ok() && server.recv(&mut buffer).is_ok_and(|len| len == datagram.len()) {
            return mtu;
        }
    }
    panic!("the host at {from:?} does not find a size that arrives; at last {}", ipv6_mtu(&client).expect("MTU"));
}

/// What the ICMPv6 errors that a host heard quote: packets as the host sent them.
fn errors(frames: &[wire::Octets], side: Side) -> Vec<(u8, u32)> {
    let host: std::net::Ipv6Addr = side.address().parse().expect("address");
    let mut errors = Vec::new();
    for frame in frames {
        let Some(packet) = wire::ipv6_at(frame).map(|at| &frame[at..]) else { continue };
        let Ok(chain) = walk(packet, packet.len()) else { continue };
        let kind = packet[chain.upper_offset.min(packet.len() - 1)];
        if chain.five_tuple.protocol != ipv6::ICMPV6 || kind >= 128 || chain.five_tuple.dst != host.octets() {
            continue;
        }
        let quoted = walk(&packet[48..], usize::MAX).expect("a packet is quoted");
        assert_eq!(quoted.option, None, "an option in what the host hears: {frame:02x?}");
        assert_eq!(quoted.five_tuple.src, host.octets());
        errors.push((kind, u32::from_be_bytes(packet[44..48].try_into().expect("four octets"))));
    }
    errors
}

/// ICMPv6 messages that a host's kernel took for damaged.
fn damaged(rig: &Rig, side: Side) -> u64 {
    let text = rig.host(side).check(&["cat", "/proc/net/snmp6"], SOON).expect("counters");
    let value = text.lines().find_map(|l| l.strip_prefix("Icmp6InCsumErrors")?.trim().parse().ok());
    value.expect("Icmp6InCsumErrors")
}

#[test]
fn e2e_a_narrow_path_is_found_and_traffic_goes_on_measured() {
    let Some(_turn) = turn() else { return };
    for (mode, form) in MODES {
        let told = 1400 - form.header_len() as u32;
        let (counters, taps) = across(1400, mode, "", |rig| {
            for from in Side::BOTH {
                hosts::send_tcp(rig, from, from.other().address(), 5001, 2 << 20);
                assert_eq!(find_mtu(rig, from, 5002), told, "{mode} from {from:?}");
                // Two hops on, time is exceeded.
                let ping = ["ping", "-6", "-n", "-t", "2", "-c", "1", "-W", "5", from.other().address()];
                let answer = rig.host(from).run(&ping, SOON).expect("ping").stdout;
                assert!(answer.contains("Time exceeded: Hop limit"), "{answer}");
                assert_eq!(damaged(rig, from), 0, "the kernel takes what it hears");
            }
        });
        for (side, (c, frames)) in Side::BOTH.into_iter().zip(counters.iter().zip(&taps)) {
            let heard = errors(frames, side);
            // What was on its way when the box heard of it goes without the option, and is refused too.
            let sizes = |&(kind, mtu): &(u8, u32)| kind != 2 || mtu == told || mtu == 1400;
            assert!(heard.contains(&(2, told)) && heard.iter().all(sizes), "{heard:?}");
            assert!(heard.iter().any(|&(kind, _)| kind == 3), "{heard:?}");
            assert!(c.get("/quotations/mended") >= 2, "{mode}: {}", c.0);
            assert_eq!(c.sum("/quotations"), c.get("/quotations/mended"), "{mode}: {}", c.0);
            assert_eq!(c.get("/path_mtu/known"), 1);
            let (added, without) = (c.sum("/outbound/added"), c.get("/outbound/passed/path_mtu"));
            assert!(added > 500 && without < added / 20, "{mode}: {added} measured, {without} not");
        }
    }
}

/// TCP without the clamp has to find the path's MTU by errors alone. One way at a time: a host that has found it says so in
/// the MSS that it offers.
#[test]
fn e2e_tcp_finds_a_narrow_path_without_the_clamp() {
    let Some(_turn) = turn() else { return };
    for ((mode, form), from) in MODES.into_iter().zip(Side::BOTH.into_iter().cycle()) {
        let (counters, taps) = across(1400, mode, "mss_clamp = false", |rig| {
            hosts::send_tcp(rig, from, from.other().address(), 5001, 2 << 20);
        });
        let (heard, told) = (errors(&taps[from.index()], from), 1400 - form.header_len() as u32);
        let c = &counters[from.index()];
        assert!(heard.contains(&(2, told)), "{mode}: {heard:?} at {from:?}: {}", c.0);
        assert!(c.get("/quotations/mended") >= 1, "{mode}: {}", c.0);
    }
}

#[test]
fn e2e_a_path_without_room_for_the_option_carries_traffic_without_it() {
    let Some(_turn) = turn() else { return };
    for (narrow_mtu, mode, form) in [(1300, "encrypted", Form::Encrypted), (1280, "pdm", Form::Pdm)] {
        let (counters, taps) = across(narrow_mtu, mode, "", |rig| {
            for from in Side::BOTH {
                hosts::send_tcp(rig, from, from.other().address(), 5001, 2 << 20);
                // What the link takes, where the first long packet went without the option already.
                let found = find_mtu(rig, from, 5002);
                assert!([1280, u32::from(narrow_mtu)].contains(&found), "{mode} from {from:?}: {found}");
            }
        });
        for (side, (c, frames)) in Side::BOTH.into_iter().zip(counters.iter().zip(&taps)) {
            let heard = errors(frames, side);
            assert!(
                heard.iter().all(|&(kind, mtu)| kind != 2 || (1280..=1280 + form.header_len() as u32).contains(&mtu))
            );
            assert!(c.get("/outbound/passed/path_mtu") > 500, "{mode} over {narrow_mtu}: {}", c.0);
        }
    }
}
