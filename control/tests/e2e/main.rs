//! Two boxes between two hosts whose kernels know nothing of them: what the hosts see, what is on the wire, and what the
//! boxes say of it. Needs root, and the programs that `.ci/setup.sh` installs.

#![expect(clippy::panic, reason = "the helpers of these tests are tests too")]

mod boxes;
mod browser;
mod diagnosing;
mod etcd_leader;
mod faults;
mod hosts;
mod lost_port;
mod monitoring;
mod page;
mod path_mtu;
mod ports;
mod registration;
mod roll_over;
mod starting;
mod stream;
mod take_over;
mod truth;
mod wire;

use boxes::{
    MIDDLEBOX, ROOMY, SOON, assert_form, capture_host, end, end_quietly, end_running, key_file, start, start_both,
    stop, turn,
};
use protocol::five_tuple::FiveTuple;
use protocol::wire::dest_opts;
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use rig::capture::Limits;
use rig::command;
use rig::counters::Counters;
use rig::forwarders::{BoxConfig, Keys};
use rig::running::Running;
use rig::{Options, Rig, Side};
use rustix::process::Signal;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::Duration;
use testkit::captures;
use testkit::frames::{A, B, in_ethernet, udp_packet};

#[test]
fn e2e_all_traffic_crosses_sealed_and_arrives_as_it_was() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let boxes = start_both(&rig, &BoxConfig { keys: Keys::Registrar, ..BoxConfig::default() });
    let wire = rig.capture_wire(Limits::default()).expect("captures");
    let taps = Side::BOTH.map(|side| capture_host(&rig, side));

    for side in Side::BOTH {
        let pings = rig.ping(side, side.other().address(), 50, 10).expect("ping");
        assert_eq!(pings.received, pings.sent, "IPv6 pings from {side:?}");
        let pings = rig.ping(side, side.other().address4(), 20, 10).expect("ping");
        assert_eq!(pings.received, pings.sent, "IPv4 pings from {side:?}");
        hosts::send_tcp(&rig, side, side.other().address(), 5001, 8 << 20);
        hosts::send_tcp(&rig, side, side.other().address4(), 5001, 1 << 20);
    }
    hosts::exchange_udp(&rig, 5002, (0..300).map(|i| i * 1412 / 299));

    rig.quiesce().expect("silence");
    let wire = wire.map(stop);
    let taps = taps.map(stop);
    let [a, b] = end_quietly(&rig, boxes);
    for (counters, peer) in [(&a, &b), (&b, &a)] {
        assert_eq!(counters.get("/inbound/removed/encrypted"), peer.get("/outbound/added/encrypted"));
        assert_eq!(counters.get("/outbound/passed/oversize"), 0);
        assert!(counters.get("/delays/round_trip/count") > 0 && counters.get("/delays/server_delay/count") > 0);
    }

    wire.iter().chain(&taps).for_each(|path| wire::assert_well_formed(path));
    let wire = wire.map(|path| wire::frames(&path));
    let taps = taps.map(|path| wire::frames(&path));
    assert_form(&wire::measured(&wire.concat()), Some(Form::Encrypted));
    assert_form(&wire::measured(&taps.concat()), None);
    for (side, mac) in [(Side::A, 0x0a), (Side::B, 0x0b)] {
        let sent = wire::others(&taps[side as usize], mac);
        assert!(sent.iter().any(|f| f[12..14] == [8, 6]), "{side:?} asked by ARP");
        assert_eq!(sent, wire::others(&wire[side as usize], mac), "IPv4 and ARP of {side:?} on the wire");
        assert_eq!(sent, wire::others(&taps[side.other() as usize], mac), "IPv4 and ARP of {side:?} at the other");
    }
}

#[test]
fn e2e_icmpv6_errors_find_their_senders() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(Options::default()).expect("rig");
    let forwarding = "oversize = \"ptb\"".to_owned();
    let boxes = start_both(&rig, &BoxConfig { keys: Keys::Registrar, forwarding, ..BoxConfig::default() });
    assert_eq!(hosts::udp_error(&rig, Side::B.address()), ErrorKind::ConnectionRefused);

    const FORBIDDEN: &str = "2001:db8:b:f::1";
    let (a, b) = (rig.host(Side::A), rig.host(Side::B));
    b.sysctl(&["net.ipv6.conf.all.forwarding=1"]).expect("a router");
    b.ip(&format!("-6 route add prohibit {FORBIDDEN}")).expect("route");
    a.ip(&format!("-6 route add {FORBIDDEN} via {} dev tA onlink", Side::B.address())).expect("route");
    assert_eq!(hosts::udp_error(&rig, FORBIDDEN), ErrorKind::PermissionDenied);

    // 1,500 octets with the IPv6 header, and no room for the option on a wire of 1,500.
    let ping = ["ping", "-6", "-M", "do", "-s", "1452", "-c", "1", "-W", "2", Side::B.address()];
    let answer = a.run(&ping, SOON).expect("ping").stdout;
    assert!(answer.contains("Packet too big: mtu=1460"), "{answer}");
    // The hosts' kernels have learnt it, and send in pieces what is longer.
    let [a, _] = end_quietly(&rig, boxes);
    assert_eq!(a.get("/outbound/too_big"), 1);
}

#[test]
fn e2e_tcp_keeps_room_for_the_option() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(Options::default()).expect("rig");
    let boxes = start_both(&rig, &BoxConfig { keys: Keys::Registrar, ..BoxConfig::default() });
    let wire = rig.capture_wire(Limits::default()).expect("captures");
    for side in Side::BOTH {
        hosts::send_tcp(&rig, side, side.other().address(), 5001, 8 << 20);
    }
    // 32,767 packets of one flow, and some more: the key changes on the way.
    hosts::exchange_udp(&rig, 5002, (0..33_000).map(|_| 16));
    let wire = wire.map(stop);
    let [a, b] = end_quietly(&rig, boxes);
    for counters in [a, b] {
        assert_eq!(counters.get("/outbound/passed/oversize"), 0);
        assert_eq!(counters.get("/rotations/sealed"), 1);
        assert_eq!(counters.get("/rotations/opened"), 1);
    }
    let packets = wire::measured(&wire.map(|path| wire::frames(&path)).concat());
    assert_form(&packets, Some(Form::Encrypted));
}

#[test]
fn e2e_each_policy_has_its_form_on_the_wire() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    const FORMS: [(u16, &str, Option<Form>); 4] = [
        (5001, "off", None),
        (5002, "pdm", Some(Form::Pdm)),
        (5003, "clear", Some(Form::Clear)),
        (5004, "encrypted", Some(Form::Encrypted)),
    ];
    let policy = |&(port, mode, _): &(u16, &str, _)| {
        format!("[[policy]]\nname = \"{mode}\"\nprotocol = \"udp\"\nports = [{port}]\nmode = \"{mode}\"\n")
    };
    let policies = FORMS.iter().map(policy).collect();
    let boxes = start_both(&rig, &BoxConfig { keys: Keys::Registrar, policies, ..BoxConfig::default() });
    let wire = rig.capture_wire(Limits::default()).expect("captures");
    for (port, ..) in FORMS {
        hosts::exchange_udp(&rig, port, (0..40).map(|i| i * 30));
    }
    let wire = wire.map(stop);
    let counters = end_quietly(&rig, boxes);
    for (place, form) in [("pdm", 40), ("clear", 40), ("encrypted", 40)] {
        for c in &counters {
            assert_eq!(c.get(&format!("/outbound/added/{place}")), form, "{place}");
            assert_eq!(c.get(&format!("/inbound/removed/{place}")), form, "{place}");
        }
    }
    wire.iter().for_each(|path| wire::assert_well_formed(path));
    let packets = wire::measured(&wire.map(|path| wire::frames(&path)).concat());
    for (port, _, form) in FORMS {
        let of: Vec<_> = packets.iter().filter(|p| [p.tuple.sport, p.tuple.dport].contains(&port)).copied().collect();
        assert_eq!(of.len(), 80, "port {port}");
        assert_form(&of, form);
    }
}

#[test]
fn e2e_vlan_tags_stay() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let boxes = start_both(&rig, &BoxConfig { keys: Keys::Registrar, ..BoxConfig::default() });
    let wire = rig.capture_wire(Limits::default()).expect("captures");
    let tap = capture_host(&rig, Side::B);
    if rig.add_vlans().expect("VLANs") {
        let pings = rig.ping(Side::A, Side::B.vlan_address(), 20, 10).expect("ping");
        assert_eq!(pings.received, pings.sent, "pings on the VLAN");
    } else {
        eprintln!("this kernel has no VLANs: only frames made by hand are sent");
    }
    let sent: Vec<_> = (0..40).map(|i| tagged(1 + i % 2, i as u8)).collect();
    inject(&rig, &sent);
    let arrived = || Ok((hand_made(&wire::frames(tap.path())).len() >= sent.len()).then_some(()));
    command::until(SOON, arrived).expect("capture").expect("all frames arrive");

    let [from_a, _] = wire.map(stop);
    let tap = stop(tap);
    end_quietly(&rig, boxes);
    assert_eq!(hand_made(&wire::frames(&tap)), sent, "at host B");
    let crossed = hand_made(&wire::frames(&from_a));
    assert_eq!(crossed.len(), sent.len());
    for (crossed, sent) in crossed.iter().zip(&sent) {
        let at = wire::ipv6_at(crossed).expect("IPv6");
        assert_eq!(wire::measured(std::slice::from_ref(crossed))[0].form, Some(Form::Encrypted));
        let mut packet = crossed[at..].to_vec();
        assert!(dest_opts::remove_from_vec(&mut packet).is_ok());
        assert_eq!([&crossed[..at], &packet].concat(), *sent);
    }
}

/// A UDP packet from host A to host B, port 7777, under this many VLAN tags.
fn tagged(tags: usize, number: u8) -> Vec<u8> {
    let flow = FiveTuple { src: A, sport: 7777, dst: B, dport: 7777, protocol: ipv6::UDP };
    in_ethernet(&[0x6007, 0x6008][..tags], &udp_packet(&flow, &[number; 40]))
}

/// Those frames of [`tagged`] again, among others.
fn hand_made(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    frames.iter().filter(|f| f[12..14] == [0x81, 0] && f.ends_with(&[f[f.len() - 1]; 40])).cloned().collect()
}

/// Sends frames from host A's interface as they are: a third box does it, which takes them from a file.
fn inject(rig: &Rig, frames: &[Vec<u8>]) {
    let file = rig.dir().join("inject.pcap");
    captures::write_ethernet(&file, frames);
    let config = rig.dir().join("inject.toml");
    let text = format!(
        "[node]\nname = \"inject\"\n[eal]\nargs = [\"-l\", \"0\", \"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \
         \"--iova-mode=va\", \"--no-pci\", \"--no-telemetry\", \"--file-prefix=inject\"]\n\
         [ports.inside]\ndevice = \"net_pcap0,rx_pcap={}\"\n[ports.outside]\ndevice = \"net_af_packet0,iface=tA\"\n\
         [workers]\ncores = [0]\nidle = \"sleep\"\n[[policy]]\nname = \"none\"\nmode = \"off\"\n",
        file.display()
    );
    std::fs::write(&config, text).expect("configuration");
    let args = [MIDDLEBOX, "run", "--json", "--config", &config.display().to_string()];
    let mut sender = rig.host(Side::A).start("inject", &args, rig.dir()).expect("sender");
    sender.wait_for("ready", SOON).expect("sender");
    std::thread::sleep(Duration::from_millis(500));
    assert!(sender.stop(Signal::TERM, SOON).expect("end").success(), "{}", sender.tail());
    let sent = Counters::parse(&sender.out()).expect("counters").get("/outbound/forwarded");
    assert_eq!(sent, frames.len() as u64, "frames sent");
}

#[test]
fn e2e_a_box_without_keys_forwards_and_says_so() {
    let Some(_turn) = turn() else { return };
    const PORT: u16 = 9469;
    let rig = Rig::new(ROOMY).expect("rig");
    let boxes = start_both(&rig, &BoxConfig { telemetry: Some(PORT), ..BoxConfig::default() });
    let wire = rig.capture_wire(Limits::default()).expect("captures");
    let pings = rig.ping(Side::A, Side::B.address(), 50, 10).expect("ping");
    assert_eq!(pings.received, pings.sent);
    hosts::exchange_udp(&rig, 5002, (0..50).map(|i| i * 20));
    for (side, running) in Side::BOTH.iter().zip(&boxes.running) {
        assert!(running.line("no keys: packets pass without the option").is_some(), "{}", running.tail());
        let value = |name: &str| hosts::metric(&rig, *side, PORT, name);
        assert_eq!(value("pdmv2_sealing"), Some(0.0));
        assert!(value("pdmv2_packets_passed_total{direction=\"outbound\",reason=\"no_key\"}") >= Some(100.0));
    }
    let wire = wire.map(stop);
    rig.quiesce().expect("silence");
    for counters in end(boxes) {
        assert!(counters.get("/outbound/passed/no_key") >= 100);
        assert_eq!(counters.sum("/outbound/added"), 0);
    }
    assert_form(&wire::measured(&wire.map(|path| wire::frames(&path)).concat()), None);
}

#[test]
fn e2e_a_killed_box_comes_back_under_a_new_generation() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let audit = rig.dir().join("audit");
    let config = BoxConfig { keys: key_file(&rig), ..BoxConfig::default() };
    let audited = BoxConfig { audit: Some(audit.clone()), ..config.clone() };
    let mut b = start(&rig, Side::B, &config);
    let (mut generations, mut records) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let mut a = start(&rig, Side::A, &audited);
        rig.connect(SOON).expect("traffic that comes back");
        // The same flow each time: its packets are numbered from 0 again.
        let pings = rig.ping(Side::A, Side::B.address(), 20, 10).expect("ping");
        if pings.received != pings.sent {
            let counters = end_running([a, b], [0; 2]);
            panic!("round {round}, {pings:?}: {counters:?}");
        }
        hosts::exchange_udp(&rig, 5002, (0..200).map(|i| i * 5));
        generations.push(generation(&a));
        assert_eq!(a.stop(Signal::KILL, SOON).expect("end").code(), None, "killed, not ended");
        records.push(std::fs::read(&audit).expect("audit file").len());
    }
    assert!(b.poll().expect("box B").is_none(), "box B still runs:\n{}", b.tail());
    assert!(b.stop(Signal::TERM, SOON).expect("end").success());
    let counters = Counters::parse(&b.out()).expect("counters");
    assert_eq!(counters.policies("failed"), 0, "box B opens each new generation");
    assert!(counters.get("/inbound/removed/encrypted") >= 3 * 220);

    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert!(records.is_sorted_by(|a, b| a < b), "{records:?}");
    let audit = std::fs::read(&audit).expect("audit file");
    let (pairs, rest) = audit.as_chunks::<{ pipeline::observe::audit::RECORD }>();
    assert!(pairs.len() >= 3 * 220 && rest.is_empty(), "{} records", pairs.len());
    let distinct: HashSet<_> = pairs.iter().collect();
    assert_eq!(distinct.len(), pairs.len(), "a (key, nonce) pair was used twice");
}

/// What a box said it seals under.
fn generation(running: &Running) -> u32 {
    let line = running.line("ready").expect("a line");
    let (_, rest) = line.split_once("generation ").expect("a generation");
    rest.split(|c: char| !c.is_ascii_digit()).next().expect("a number").parse().expect("a number")
}
